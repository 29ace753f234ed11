//! Memory that direct I/O can write into.

use crate::error::{Error, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The page size of this machine in bytes: 4 KiB on x86, up to 64 KiB on ARM.
pub fn page_size() -> usize {
    #[cfg(unix)]
    {
        rustix::param::page_size()
    }
    #[cfg(not(unix))]
    {
        4096
    }
}

/// An owned, zeroed block of bytes at an aligned address. It never moves or grows.
pub struct AlignedBuf {
    data: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the block has one owner and no interior mutability, as a `Box<[u8]>`.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` zero bytes at a multiple of `alignment`, a power of two.
    ///
    /// All pages are touched here, so that memory which is not there is missed now, not in the
    /// middle of a run.
    ///
    /// # Errors
    /// If `alignment` is not a power of two, or memory is exhausted.
    pub fn new(len: usize, alignment: usize) -> Result<AlignedBuf> {
        if !alignment.is_power_of_two() {
            return Err(Error::Setting {
                what: "buffer alignment",
                value: alignment.to_string(),
                range: "the powers of two".into(),
                hint: "use the alignment of the engine or the page size",
            });
        }
        let exhausted = || Error::Memory {
            bytes: len,
            alignment,
        };
        // A block of no bytes still needs an address of its own to be freed.
        let layout = Layout::from_size_align(len.max(1), alignment).map_err(|_| exhausted())?;
        // SAFETY: the layout's size is at least 1.
        let data = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(exhausted)?;
        let layout = Layout::from_size_align(len, alignment).map_err(|_| exhausted())?;
        Ok(AlignedBuf { data, layout })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Whether it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The alignment that was asked for.
    pub fn alignment(&self) -> usize {
        self.layout.align()
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `data` points to that many initialised bytes, which `self` owns.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        let size = self.layout.size().max(1);
        // SAFETY: size and alignment were valid when the block was allocated with them.
        unsafe {
            let layout = Layout::from_size_align_unchecked(size, self.layout.align());
            dealloc(self.data.as_ptr(), layout);
        }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes at {:p})", self.len(), self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_writable() {
        for alignment in [1, 512, page_size(), 2 << 20] {
            for len in [0, 1, 4097] {
                let mut buf = AlignedBuf::new(len, alignment).expect("memory");
                assert_eq!(buf.as_ptr() as usize % alignment, 0);
                assert_eq!((buf.len(), buf.alignment()), (len, alignment));
                assert!(buf.iter().all(|&b| b == 0));
                buf.fill(9);
                assert!(buf.iter().all(|&b| b == 9));
            }
        }
    }

    #[test]
    fn impossible_buffers_are_errors() {
        let odd = AlignedBuf::new(10, 3).expect_err("3 is no power of two");
        assert!(odd.to_string().contains("buffer alignment is 3"));
        let huge = AlignedBuf::new(isize::MAX as usize, 4096).expect_err("no such memory");
        assert!(huge.to_string().contains("cannot allocate"));
    }
}
