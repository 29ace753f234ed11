//! Reads by copying out of a mapping, as programs do that map their models.

use crate::error::{Error, Result};
use crate::file::FileSet;
use crate::source::Source;
use memmap2::Mmap;
use std::io;
use std::path::Path;

/// Mapped files. For comparison with the other engines.
pub(crate) struct Mapped {
    files: FileSet,
    maps: Vec<Mmap>,
}

impl Mapped {
    /// Maps open files.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub(crate) fn open(files: FileSet) -> Result<Mapped> {
        let mut maps = Vec::with_capacity(files.count());
        for index in 0..files.count() {
            // SAFETY: the mapping is only copied out of, through a shared slice. A file that
            // another program changes meanwhile gives undefined bytes, which `check` reports
            // before anyone sees them, or SIGBUS if it was truncated, which the documentation of
            // the engine says.
            let map =
                unsafe { Mmap::map(files.file(index)) }.map_err(Error::open(files.path(index)))?;
            maps.push(map);
        }
        Ok(Mapped { files, maps })
    }
}

impl Source for Mapped {
    fn count(&self) -> usize {
        self.files.count()
    }

    fn path(&self, file: usize) -> &Path {
        self.files.path(file)
    }

    fn size(&self, file: usize) -> u64 {
        self.files.size(file)
    }

    fn alignment(&self) -> usize {
        1
    }

    fn read_once(&self, file: usize, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        // Touching pages beyond a new end would end the process: look first.
        let end = self.files.file(file).metadata()?.len();
        let map = &self.maps[file][..];
        let end = usize::try_from(end).unwrap_or(usize::MAX).min(map.len());
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(end);
        let n = into.len().min(end - start);
        into[..n].copy_from_slice(&map[start..start + n]);
        Ok(n)
    }

    fn check(&self, file: usize) -> Result<()> {
        self.files.check(file)
    }
}
