//! Reading ranges of files by offset, without mapping them.

use crate::{Error, Result, cache};
use rustix::fs::SeekFrom;
use std::{
    fs::File,
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Bytes of a buffer for streaming.
pub(crate) const BUFFER: usize = 1 << 20;
/// Streamed bytes after which the page cache is told to drop them.
const DROP_BYTES: u64 = 16 << 20;
/// The largest page size in use.
const PAGE: u64 = 64 << 10;

/// Takes pieces of a file, with their offsets.
type Take<'a, E> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), E>;

/// The files of a model, opened for reading.
pub(crate) struct Files {
    files: Vec<(PathBuf, File)>,
}

impl Files {
    /// Opens all of `paths`.
    ///
    /// # Errors
    /// [`Error::Read`] naming the file.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let open = |path: &PathBuf| match File::open(path) {
            Ok(file) => {
                cache::opened(&file);
                Ok((path.clone(), file))
            }
            Err(source) => Err(Error::read(path, source)),
        };
        Ok(Self {
            files: paths.iter().map(open).collect::<Result<_>>()?,
        })
    }

    /// The path of file `i`.
    pub(crate) fn path(&self, i: usize) -> &Path {
        &self.files[i].0
    }

    /// Length of file `i`.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn bytes(&self, i: usize) -> Result<u64> {
        Ok(self.metadata(i)?.len())
    }

    /// What the file system says of file `i`.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn metadata(&self, i: usize) -> Result<std::fs::Metadata> {
        let (path, file) = &self.files[i];
        file.metadata().map_err(|source| Error::read(path, source))
    }

    /// Fills `buf` from `offset` of file `i`; `what` is named if the file is too short.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Truncated`].
    pub(crate) fn read(&self, i: usize, offset: u64, buf: &mut [u8], what: &str) -> Result<()> {
        let (path, file) = &self.files[i];
        file.read_exact_at(buf, offset)
            .map_err(|source| match source.kind() {
                ErrorKind::UnexpectedEof => Error::Truncated {
                    path: path.clone(),
                    what: what.into(),
                    at: offset,
                },
                _ => Error::read(path, source),
            })
    }

    /// Reads `bytes` that are known to lie in the file, as they bound what is allocated.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_vec(
        &self,
        i: usize,
        offset: u64,
        bytes: u64,
        what: &str,
    ) -> Result<Vec<u8>> {
        let mut data = vec![0; bytes as usize];
        self.read(i, offset, &mut data, what)?;
        Ok(data)
    }

    /// Gives `bytes` from `offset` of file `i` to `take` in pieces of at most `buf`, with their
    /// offsets. Holes are not read but given as zeros, and the page cache keeps nothing.
    ///
    /// # Errors
    /// As [`read`](Self::read); those of `take`.
    pub(crate) fn stream<E: From<Error>>(
        &self,
        i: usize,
        offset: u64,
        bytes: u64,
        what: &str,
        buf: &mut [u8],
        take: Take<'_, E>,
    ) -> Result<(), E> {
        let end = offset + bytes;
        let mut at = offset;
        let mut data_from = self.next_data(i, at, end);
        let mut dropped = offset;
        while at < end {
            let n = (end - at).min(buf.len() as u64);
            let piece = &mut buf[..n as usize];
            if at + n <= data_from {
                piece.fill(0);
            } else {
                self.read(i, at, piece, what)?;
                data_from = self.next_data(i, at + n, end);
            }
            take(at, piece)?;
            at += n;
            if at - dropped >= DROP_BYTES || at == end {
                self.drop_cache(i, dropped, at - dropped);
                dropped = at;
            }
        }
        Ok(())
    }

    /// First byte at or after `at` that is not in a hole, at most `end`; `at` where the file
    /// system does not say.
    fn next_data(&self, i: usize, at: u64, end: u64) -> u64 {
        if at >= end {
            return end;
        }
        match rustix::fs::seek(&self.files[i].1, SeekFrom::Data(at)) {
            Ok(data) => data.clamp(at, end),
            // No data up to the end of the file, or past it: reading finds out.
            Err(rustix::io::Errno::NXIO) if self.bytes(i).is_ok_and(|len| len >= end) => end,
            Err(_) => at,
        }
    }

    /// Says that small ranges far apart will be read.
    pub(crate) fn expect_scattered(&self) {
        self.files
            .iter()
            .for_each(|(_, file)| cache::scattered(file));
    }

    /// [`drop_cache`](Self::drop_cache) of all pages that the range touches.
    pub(crate) fn drop_pages(&self, i: usize, offset: u64, bytes: u64) {
        let first = offset / PAGE * PAGE;
        self.drop_cache(i, first, (offset + bytes).next_multiple_of(PAGE) - first);
    }

    /// Tells the page cache that a range is not needed again.
    pub(crate) fn drop_cache(&self, i: usize, offset: u64, bytes: u64) {
        cache::done(&self.files[i].1, offset, bytes);
    }
}
