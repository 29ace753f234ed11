//! Where the bytes of a request come from: one attempt at a time.

use crate::error::Result;
use std::io;
use std::path::Path;

/// A set of open files, read from any thread. An attempt may be short or fail; [`crate::task`]
/// decides what that means.
pub(crate) trait Source: Send + Sync + 'static {
    /// Number of files.
    fn count(&self) -> usize;

    /// The name of a file in messages.
    fn path(&self, file: usize) -> &Path;

    /// Size of a file when it was opened.
    fn size(&self, file: usize) -> u64;

    /// What offset, length and address must be a multiple of.
    fn alignment(&self) -> usize;

    /// Reads once; fewer bytes than `into` has are possible.
    fn read_once(&self, file: usize, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Called when a request has all its bytes: fails if the file is not the one that was opened
    /// any more.
    fn check(&self, file: usize) -> Result<()>;

    /// Called after that: gives up what the read left in the page cache.
    fn forget(&self, _file: usize, _offset: u64, _len: usize) {}
}
