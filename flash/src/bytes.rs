//! Where the bytes of a file live.

use crate::{Error, Result};
use std::{
    fs::File,
    ops::{Deref, Range},
    path::Path,
    sync::Arc,
};

/// The bytes of a file: mapped, embedded in the program, or owned. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Bytes {
    /// A read-only mapping of a file.
    Mapped(Arc<memmap2::Mmap>),
    /// Data that is part of the program.
    Static(&'static [u8]),
    /// Data on the heap.
    Owned(Arc<[u8]>),
}

impl Bytes {
    /// Maps `path` read-only.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened or mapped.
    pub fn map(path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        // SAFETY: the mapping is private and read-only, so this process cannot change it. A
        // process that truncates the file while it is mapped makes reads fault (SIGBUS); model
        // files are replaced by rename in this project, never rewritten in place.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Ok(Self::Mapped(Arc::new(map)))
    }
}

impl Bytes {
    /// Lets the system take back the memory of a range that will not be read again soon. Reading
    /// it later brings the same bytes back from the file; what is not mapped stays where it is.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the mapping is read-only and private to no writer, so that dropped pages are
            // read from the file again and references into them keep seeing the same bytes.
            let advised = unsafe { map.unchecked_advise_range(advice, range.start, range.len()) };
            // A hint: without it the program takes more memory and is as right.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(data) => data,
            Self::Owned(data) => data,
        }
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(data: &'static [u8]) -> Self {
        Self::Static(data)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(data: Vec<u8>) -> Self {
        Self::Owned(data.into())
    }
}
