//! Blocks of memory: small ones from the allocator, large ones from the system, in huge pages.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Size of a huge page on x86-64 and on ARM64 with 4 KiB pages, in bytes. Where it is another,
/// this is still a good alignment.
const HUGE: usize = 2 << 20;

/// Owned, zeroed memory.
pub(crate) struct Region {
    len: usize,
    memory: Memory,
}

enum Memory {
    Allocated(Block),
    #[cfg(target_os = "linux")]
    Mapped(huge::Mapping),
}

// SAFETY: a region owns its memory and hands out only its address.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// `len` bytes at a multiple of `alignment`, a power of two; none if memory is exhausted.
    pub(crate) fn new(len: usize, alignment: usize) -> Option<Region> {
        let memory = if len < HUGE {
            Memory::Allocated(Block::new(len, alignment)?)
        } else {
            large(len, alignment.max(HUGE))?
        };
        Some(Region { len, memory })
    }

    pub(crate) fn data(&self) -> NonNull<u8> {
        match &self.memory {
            Memory::Allocated(block) => block.data,
            #[cfg(target_os = "linux")]
            Memory::Mapped(mapping) => mapping.data(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(target_os = "linux")]
fn large(len: usize, alignment: usize) -> Option<Memory> {
    Some(Memory::Mapped(huge::Mapping::new(len, alignment)?))
}

#[cfg(not(target_os = "linux"))]
fn large(len: usize, alignment: usize) -> Option<Memory> {
    Some(Memory::Allocated(Block::new(len, alignment)?))
}

/// Memory from the allocator.
struct Block {
    data: NonNull<u8>,
    layout: Layout,
}

impl Block {
    fn new(len: usize, alignment: usize) -> Option<Block> {
        // A block of no bytes still needs an address of its own to be freed.
        let layout = Layout::from_size_align(len.max(1), alignment).ok()?;
        // SAFETY: the layout's size is at least 1.
        let data = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        // The system gives pages when they are first written, not before.
        for page in (0..len).step_by(crate::page_size()) {
            // SAFETY: `page` is inside the block.
            unsafe { data.add(page).write_volatile(0) };
        }
        Some(Block { data, layout })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody keeps the address: buffers hold the
        // region.
        unsafe { dealloc(self.data.as_ptr(), self.layout) }
    }
}

#[cfg(target_os = "linux")]
mod huge {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
    use std::ffi::c_void;
    use std::ptr::{NonNull, null_mut};

    /// Memory from the system with an aligned part. What lies around that part is address space
    /// only.
    pub(super) struct Mapping {
        whole: NonNull<c_void>,
        bytes: usize,
        data: NonNull<u8>,
    }

    impl Mapping {
        pub(super) fn new(len: usize, alignment: usize) -> Option<Mapping> {
            let bytes = len.checked_add(alignment)?;
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new anonymous mapping at an address of the system's choice touches
            // nothing that exists.
            let whole = unsafe { mmap_anonymous(null_mut(), bytes, protection, MapFlags::PRIVATE) };
            let whole = NonNull::new(whole.ok()?)?;
            let skip = whole.as_ptr().align_offset(alignment);
            // SAFETY: `skip` is below `alignment`, so `len` bytes remain inside the mapping.
            let data = unsafe { whole.cast::<u8>().add(skip) };
            // Before the first touch, which decides the size of the pages. Only advice: systems
            // without huge pages refuse it.
            // SAFETY: the range is ours and the advice changes no content.
            let _ = unsafe { madvise(data.as_ptr().cast(), len, Advice::LinuxHugepage) };
            for page in (0..len).step_by(crate::page_size()) {
                // SAFETY: `page` is inside the mapping.
                unsafe { data.add(page).write_volatile(0) };
            }
            Some(Mapping { whole, bytes, data })
        }

        pub(super) fn data(&self) -> NonNull<u8> {
            self.data
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: the mapping is ours and nobody keeps an address in it: buffers hold the
            // region.
            let _ = unsafe { munmap(self.whole.as_ptr(), self.bytes) };
        }
    }
}
