//! Memory that direct I/O can write into.

use crate::error::{Error, Result};
use crate::region::Region;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

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
///
/// Blocks of 2 MiB and more, and the blocks of [`AlignedBuf::many`] together, lie in huge pages
/// where the system has them for whoever asks. Direct reads then hand the device few long pieces
/// of memory in place of many pages.
pub struct AlignedBuf {
    data: NonNull<u8>,
    len: usize,
    alignment: usize,
    /// Keeps the memory; several buffers may share one region.
    region: Arc<Region>,
}

// SAFETY: the block has one owner and no interior mutability, as a `Box<[u8]>`; buffers of one
// region do not overlap.
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
        let mut one = AlignedBuf::many(1, len, alignment)?;
        Ok(one.remove(0))
    }

    /// `count` buffers of `len` bytes out of one region: what rings of buffers for direct I/O
    /// should be made of. Its memory goes back to the system when the last of them is dropped.
    ///
    /// # Errors
    /// If `alignment` is not a power of two, or memory is exhausted.
    pub fn many(count: usize, len: usize, alignment: usize) -> Result<Vec<AlignedBuf>> {
        if !alignment.is_power_of_two() {
            return Err(Error::Setting {
                what: "buffer alignment",
                value: alignment.to_string(),
                range: "the powers of two".into(),
                hint: "use the alignment of the engine or the page size",
            });
        }
        let exhausted = |bytes| Error::Memory { bytes, alignment };
        let stride = len.checked_next_multiple_of(alignment);
        let total = stride
            .and_then(|s| s.checked_mul(count))
            .ok_or(exhausted(usize::MAX))?;
        let region = Region::new(total, alignment).ok_or(exhausted(total))?;
        let (region, stride) = (Arc::new(region), stride.unwrap_or(0));
        let buffer = |index: usize| AlignedBuf {
            // SAFETY: buffer `index` lies inside the region of `count` strides.
            data: unsafe { region.data().add(index * stride) },
            len,
            alignment,
            region: Arc::clone(&region),
        };
        Ok((0..count).map(buffer).collect())
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The alignment that was asked for.
    pub fn alignment(&self) -> usize {
        self.alignment
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `data` points to that many initialised bytes of the region, which belong to
        // this buffer alone.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, region) = (self.len, self.region.len());
        write!(f, "AlignedBuf({len} bytes at {:p}, of {region})", self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_writable() {
        for alignment in [1, 512, page_size(), 2 << 20] {
            for len in [0, 1, 4097, 5 << 20] {
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
    fn buffers_of_a_region_do_not_overlap() {
        for len in [1000, 1 << 20] {
            let mut bufs = AlignedBuf::many(7, len, 512).expect("memory");
            for (i, buf) in bufs.iter_mut().enumerate() {
                assert!(buf.iter().all(|&b| b == 0));
                assert_eq!(buf.as_ptr() as usize % 512, 0);
                buf.fill(i as u8 + 1);
            }
            let last = bufs.pop().expect("seven");
            for (i, buf) in bufs.iter().enumerate() {
                assert!(buf.iter().all(|&b| b == i as u8 + 1));
            }
            drop(bufs);
            assert!(
                last.iter().all(|&b| b == 7),
                "the region outlives the others"
            );
        }
        assert!(AlignedBuf::many(0, 10, 1).expect("none").is_empty());
    }

    #[test]
    fn impossible_buffers_are_errors() {
        let odd = AlignedBuf::new(10, 3).expect_err("3 is no power of two");
        assert!(odd.to_string().contains("buffer alignment is 3"));
        for (count, len) in [
            (1, usize::MAX),
            (1, isize::MAX as usize),
            (1 << 20, 1 << 50),
        ] {
            let huge = AlignedBuf::many(count, len, 4096).expect_err("no such memory");
            assert!(huge.to_string().contains("cannot allocate"), "{huge}");
        }
    }
}
