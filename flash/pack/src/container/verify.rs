//! Reading a whole packed file and comparing it with its hashes.

use super::{Packed, SECTION_ALIGN, UnitCrc};
use crate::{Error, Result, read::BUFFER};
use sha2::{Digest, Sha256};

/// What [`Packed::verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Sections in file order: name, bytes, whether they have their hash.
    pub sections: Vec<(String, u64, bool)>,
    /// First bytes of units that do not have their checksum, with the names of their sections.
    pub bad_units: Vec<(String, u64)>,
}

impl Verified {
    /// Whether everything has its hash.
    pub fn is_intact(&self) -> bool {
        self.bad_units.is_empty() && self.sections.iter().all(|(_, _, intact)| *intact)
    }
}

/// Most bad units that are listed.
const LISTED_MAX: usize = 1000;

impl Packed {
    /// Reads every byte of the file and compares all hashes and checksums; `progress` gets the
    /// bytes read so far. Bytes between the parts, which must be zero, are the section `padding`.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Truncated`]; damage is no error but in the result. A damaged
    /// checksum table is [`Error::Section`].
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified> {
        let files = self.files()?;
        let table = self.checksums()?;
        let mut found = Verified {
            sections: Vec::new(),
            bad_units: Vec::new(),
        };
        let mut buf = vec![0; BUFFER];
        let mut padding = Padding {
            end: super::PREAMBLE_BYTES as u64,
            intact: true,
            bytes: 0,
        };
        for section in &self.header.sections {
            padding.check(&files, &mut buf, section.offset)?;
            let mut hash = Sha256::new();
            let mut units = UnitCrc::new(section.grid);
            files.stream(
                0,
                section.offset,
                section.bytes,
                &section.name,
                &mut buf,
                &mut |at, data| {
                    hash.update(data);
                    units.update(data);
                    progress(at + data.len() as u64);
                    Ok::<(), Error>(())
                },
            )?;
            let intact = super::header::hex(&hash.finalize()) == section.sha256;
            found
                .sections
                .push((section.name.clone(), section.bytes, intact));
            let crc = units.finish();
            let start = |unit| section.offset + section.grid.unit_range(unit, section.bytes).start;
            let bad = table.differences(&section.name, &crc).map(start);
            let room = LISTED_MAX - found.bad_units.len();
            found
                .bad_units
                .extend(bad.take(room).map(|at| (section.name.clone(), at)));
            padding.end = section.offset + section.bytes;
        }
        padding.check(&files, &mut buf, self.header.checksums.offset)?;
        padding.end = self.header.checksums.offset + self.header.checksums.bytes;
        padding.check(&files, &mut buf, self.preamble.header_offset)?;
        padding.end = self.preamble.header_offset + self.preamble.header_bytes;
        padding.check(&files, &mut buf, self.preamble.file_bytes)?;
        found
            .sections
            .push(("padding".into(), padding.bytes, padding.intact));
        progress(self.preamble.file_bytes);
        Ok(found)
    }
}

/// Bytes between the parts of a file.
struct Padding {
    /// Where the last part ended.
    end: u64,
    intact: bool,
    bytes: u64,
}

impl Padding {
    /// Checks that all is zero up to `next`. At most a few pages lie between parts.
    fn check(&mut self, files: &crate::read::Files, buf: &mut [u8], next: u64) -> Result<()> {
        debug_assert!(next.is_multiple_of(SECTION_ALIGN));
        let intact = &mut self.intact;
        files.stream(
            0,
            self.end,
            next - self.end,
            "padding",
            buf,
            &mut |_, data| {
                *intact &= data.iter().all(|&b| b == 0);
                Ok::<(), Error>(())
            },
        )?;
        self.bytes += next - self.end;
        Ok(())
    }
}
