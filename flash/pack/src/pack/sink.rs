//! The file that is being written: hashes what passes, leaves holes for zeros, keeps the page
//! cache small.

use crate::{
    cache,
    container::{UnitCrc, header::Grid},
};
use sha2::{Digest, Sha256};
use std::{fs::File, io, os::unix::fs::FileExt};

/// Zeros are left out in whole pieces of this size.
const PIECE: u64 = 64 << 10;
/// Written bytes after which they are sent to the device and dropped from the page cache.
const SYNC_BYTES: u64 = 64 << 20;

/// Writes one section after the other. The file must be cut off at the start of each, so that
/// what is left out reads as zeros.
pub(super) struct Sink {
    file: File,
    /// Where the next byte goes.
    at: u64,
    hash: Sha256,
    units: UnitCrc,
    /// Start of what was not yet sent to the device.
    unsynced: u64,
}

/// Hash and checksums of a section.
#[derive(Debug)]
pub(super) struct Sums {
    pub(super) sha256: String,
    pub(super) units: Vec<u32>,
}

impl Sink {
    pub(super) fn new(file: File) -> Self {
        cache::opened(&file);
        Self {
            file,
            at: 0,
            hash: Sha256::new(),
            units: UnitCrc::new(Grid::plain(PIECE)),
            unsynced: 0,
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Where the next byte goes.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Begins a section at `offset`, at which the file ends afterwards.
    pub(super) fn begin(&mut self, offset: u64, grid: Grid) -> io::Result<()> {
        self.file.set_len(offset)?;
        self.at = offset;
        self.unsynced = self.unsynced.min(offset);
        self.hash = Sha256::new();
        self.units = UnitCrc::new(grid);
        Ok(())
    }

    /// Appends `data`.
    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.hash.update(data);
        self.units.update(data);
        let start = self.at;
        let end = start + data.len() as u64;
        // Neighbouring pieces that are not zero go out together.
        let mut pending = start..start;
        while self.at < end {
            let next = end.min((self.at / PIECE + 1) * PIECE);
            if is_zero(&data[(self.at - start) as usize..(next - start) as usize]) {
                self.put(&pending, start, data)?;
                pending = next..next;
            } else {
                pending.end = next;
            }
            self.at = next;
        }
        self.put(&pending, start, data)?;
        if self.at - self.unsynced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes bytes `range` of the file; `data` are those from `start`.
    fn put(&self, range: &std::ops::Range<u64>, start: u64, data: &[u8]) -> io::Result<()> {
        let bytes = &data[(range.start - start) as usize..(range.end - start) as usize];
        self.file.write_all_at(bytes, range.start)
    }

    /// Appends zeros up to `offset`.
    pub(super) fn pad_to(&mut self, offset: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.at < offset {
            let n = (offset - self.at).min(ZEROS.len() as u64);
            self.write(&ZEROS[..n as usize])?;
        }
        Ok(())
    }

    /// Ends the section; its last bytes may be a hole.
    pub(super) fn finish(&mut self, grid: Grid) -> io::Result<Sums> {
        self.file.set_len(self.at)?;
        let hash = std::mem::replace(&mut self.hash, Sha256::new());
        let units = std::mem::replace(&mut self.units, UnitCrc::new(grid));
        Ok(Sums {
            sha256: crate::container::header::hex(&hash.finalize()),
            units: units.finish(),
        })
    }

    /// Sends everything to the device, and lets the page cache drop it.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        cache::done(
            &self.file,
            self.unsynced,
            self.at.saturating_sub(self.unsynced),
        );
        self.unsynced = self.at;
        Ok(())
    }
}

pub(super) fn is_zero(data: &[u8]) -> bool {
    let (words, rest) = data.as_chunks::<16>();
    words.iter().all(|w| u128::from_ne_bytes(*w) == 0) && rest.iter().all(|&b| b == 0)
}
