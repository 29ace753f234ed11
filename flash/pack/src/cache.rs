//! Hints to the page cache, so that what is read or written once does not push out what others
//! need, and does not count as memory of this process where memory is limited. All of it is
//! advice: failure changes no result.

use std::fs::File;

/// After opening a file that is read or written once.
pub(crate) fn opened(file: &File) {
    system::opened(file);
}

/// Before reading small ranges far apart: nothing around them is worth reading ahead.
pub(crate) fn scattered(file: &File) {
    system::scattered(file);
}

/// `bytes` from `offset` are not needed again.
pub(crate) fn done(file: &File, offset: u64, bytes: u64) {
    system::done(file, offset, bytes);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use rustix::fs::{Advice, fadvise};
    use std::{fs::File, num::NonZeroU64};

    pub(super) fn opened(_file: &File) {}

    pub(super) fn scattered(file: &File) {
        let _ = fadvise(file, 0, None, Advice::Random);
    }

    pub(super) fn done(file: &File, offset: u64, bytes: u64) {
        if let Some(bytes) = NonZeroU64::new(bytes) {
            let _ = fadvise(file, offset, Some(bytes), Advice::DontNeed);
        }
    }
}

/// macOS has no way to drop a range; files stay out of the cache from the start.
#[cfg(target_vendor = "apple")]
mod system {
    use std::fs::File;

    pub(super) fn opened(file: &File) {
        let _ = rustix::fs::fcntl_nocache(file, true);
    }

    pub(super) fn scattered(_file: &File) {}

    pub(super) fn done(_file: &File, _offset: u64, _bytes: u64) {}
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
mod system {
    use std::fs::File;

    pub(super) fn opened(_file: &File) {}

    pub(super) fn scattered(_file: &File) {}

    pub(super) fn done(_file: &File, _offset: u64, _bytes: u64) {}
}
