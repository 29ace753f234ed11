//! The first bytes of a packed file.

use super::{SECTION_ALIGN, VERSION};
use crate::{Error, Result};
use std::path::Path;

/// The first eight bytes.
pub(crate) const MAGIC: [u8; 8] = *b"LAMPACK\0";
/// Bytes of the preamble; the rest of the first 16 KiB is zero.
pub(crate) const PREAMBLE_BYTES: usize = 72;

/// Where the header lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub(crate) header_offset: u64,
    pub(crate) header_bytes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) header_sha256: [u8; 32],
}

impl Preamble {
    pub(crate) fn encode(&self) -> [u8; PREAMBLE_BYTES] {
        let mut out = [0; PREAMBLE_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.header_offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.header_bytes.to_le_bytes());
        out[32..40].copy_from_slice(&self.file_bytes.to_le_bytes());
        out[40..].copy_from_slice(&self.header_sha256);
        out
    }

    /// Reads the preamble of a file that has `file_bytes`.
    ///
    /// # Errors
    /// [`Error::Container`] if it is not a packed file, of another version, cut off, or if the
    /// place of the header is impossible.
    pub(crate) fn parse(path: &Path, data: &[u8; PREAMBLE_BYTES], file_bytes: u64) -> Result<Self> {
        let wrong = |problem: String, hint| Error::container(path, problem, hint);
        if data[..8] != MAGIC {
            let hint = "pass a file that `lampyris pack` wrote";
            return Err(wrong("this is not a packed file".into(), hint));
        }
        let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().expect("8 bytes"));
        if word(8) != VERSION || word(12) != 0 {
            let problem = format!(
                "container version {}.{}; expected {VERSION}.0",
                word(8),
                word(12)
            );
            return Err(wrong(
                problem,
                "pack the model again with this version of lampyris",
            ));
        }
        let preamble = Self {
            header_offset: long(16),
            header_bytes: long(24),
            file_bytes: long(32),
            header_sha256: data[40..].try_into().expect("32 bytes"),
        };
        if preamble.file_bytes != file_bytes {
            let problem = format!(
                "the file has {file_bytes} bytes; it was {} long when it was written",
                preamble.file_bytes
            );
            return Err(wrong(problem, super::header::DAMAGED));
        }
        let end = preamble.header_offset.checked_add(preamble.header_bytes);
        let inside = end.is_some_and(|end| end <= file_bytes);
        if preamble.header_offset < SECTION_ALIGN
            || !preamble.header_offset.is_multiple_of(SECTION_ALIGN)
            || preamble.header_bytes > super::HEADER_BYTES_MAX
            || !inside
        {
            let problem = format!(
                "the header lies at {} and has {} bytes, which is impossible in {file_bytes} bytes",
                preamble.header_offset, preamble.header_bytes
            );
            return Err(wrong(problem, super::header::DAMAGED));
        }
        Ok(preamble)
    }
}
