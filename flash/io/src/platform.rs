//! What differs between operating systems: direct I/O, positional reads, the page cache.

use std::fs::File;
use std::io;
use std::path::Path;

/// Reads once at a position, without moving the file's own.
pub(crate) fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_at(file, into, offset)
    }
    #[cfg(windows)]
    {
        std::os::windows::fs::FileExt::seek_read(file, into, offset)
    }
}

/// Drops a range from the page cache, where the system has a call for that; length 0 means to the
/// end. Advice: a refusal changes no result.
pub(crate) fn drop_from_cache(file: &File, offset: u64, len: usize) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        use rustix::fs::{Advice, fadvise};
        let _ = fadvise(
            file,
            offset,
            std::num::NonZeroU64::new(len as u64),
            Advice::DontNeed,
        );
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = (file, offset, len);
}

/// A path at which an open file can be opened again although it has no name.
#[cfg(unix)]
pub(crate) fn path_of(file: &File) -> std::path::PathBuf {
    use std::os::fd::AsRawFd;
    let folder = if cfg!(any(target_os = "linux", target_os = "android")) {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    Path::new(folder).join(file.as_raw_fd().to_string())
}

/// Whether the path lies in a file system that keeps its files in memory.
pub(crate) fn is_memory(path: &Path) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        const TMPFS: u64 = 0x0102_1994;
        const RAMFS: u64 = 0x8584_58f6;
        // The magic numbers have 32 bits; the field's type differs between machines.
        rustix::fs::statfs(path)
            .is_ok_and(|found| [TMPFS, RAMFS].contains(&(found.f_type as u64 & 0xffff_ffff)))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = path;
        false
    }
}

/// Opens `path`, which `plain` has open already, past the page cache, with the alignment that
/// reads need then.
///
/// # Errors
/// The system's own when the file system refuses.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn direct(path: &Path, plain: &File) -> io::Result<(File, usize)> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let alignment = linux::alignment(plain);
    // Some file systems accept the flag and refuse the reads.
    let mut block = crate::AlignedBuf::new(alignment, alignment).map_err(io::Error::other)?;
    loop {
        match read_at(&file, 0, &mut block) {
            Ok(_) => return Ok((file, alignment)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// macOS has no alignment rules: the flag keeps reads out of the cache, and read-ahead would
/// fetch what nobody asked for.
#[cfg(target_vendor = "apple")]
pub(crate) fn direct(path: &Path, _plain: &File) -> io::Result<(File, usize)> {
    let file = File::open(path)?;
    rustix::fs::fcntl_nocache(&file, true)?;
    Ok((file, 1))
}

/// Elsewhere nothing is known; the page cache is used and that is said.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(crate) fn direct(_path: &Path, _plain: &File) -> io::Result<(File, usize)> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this operating system is not supported",
    ))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    use std::fs::{File, read_to_string};
    use std::path::PathBuf;

    /// The bit that asks for the alignment of direct I/O, since Linux 6.1.
    const STATX_DIOALIGN: u32 = 0x2000;
    /// Holds for every disk that is sold.
    const FALLBACK: usize = 4096;

    /// What direct reads of a file must be aligned to: what the file system says, else the
    /// logical block size of its device, else 4 KiB.
    pub(super) fn alignment(file: &File) -> usize {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::from_bits_retain(STATX_DIOALIGN);
        let Ok(found) = statx(file, c"", AtFlags::EMPTY_PATH, mask) else {
            return FALLBACK;
        };
        let said = found.stx_dio_mem_align.max(found.stx_dio_offset_align) as usize;
        if found.stx_mask & STATX_DIOALIGN != 0 && sensible(said) {
            return said;
        }
        block_size(found.stx_dev_major, found.stx_dev_minor).unwrap_or(FALLBACK)
    }

    /// A partition's own folder has no queue; its disk's is one up.
    fn block_size(major: u32, minor: u32) -> Option<usize> {
        let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        ["queue", "../queue"].iter().find_map(|queue| {
            let text = read_to_string(device.join(queue).join("logical_block_size")).ok()?;
            text.trim().parse().ok().filter(|&n| sensible(n))
        })
    }

    fn sensible(n: usize) -> bool {
        n.is_power_of_two() && (1..=1 << 20).contains(&n)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn alignment_is_a_power_of_two() {
            let file = tempfile::tempfile().expect("a file");
            assert!(sensible(alignment(&file)));
        }

        #[test]
        fn unknown_devices_have_no_block_size() {
            assert_eq!(block_size(0, 0), None);
        }
    }
}
