//! Checksums of units: a flipped bit found while streaming names its section.

use super::header::{Grid, Header, Section};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// CRC-32 of every unit of a packed file; four bytes for each 64 KiB or neuron.
#[derive(Clone, Debug)]
pub struct Checksums {
    path: PathBuf,
    /// Sections with the index of their first checksum, in file order.
    sections: Vec<(Section, usize)>,
    values: Vec<u32>,
}

impl Checksums {
    /// The table's `bytes`, whose length was checked with the header.
    pub(super) fn new(path: &Path, header: &Header, bytes: &[u8]) -> Self {
        let mut first = 0;
        let sections = header.sections.iter().map(|section| {
            let at = first;
            first += section.grid.units(section.bytes) as usize;
            (section.clone(), at)
        });
        Self {
            path: path.to_owned(),
            sections: sections.collect(),
            values: bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| u32::from_le_bytes(*b))
                .collect(),
        }
    }

    /// Checks every unit that lies wholly within `data`, which begins at `offset` of the file;
    /// the number of bytes that were checked.
    ///
    /// # Errors
    /// [`Error::Checksum`] naming the section and the first bad unit.
    pub fn check(&self, offset: u64, data: &[u8]) -> Result<u64> {
        let end = offset + data.len() as u64;
        let start = self
            .sections
            .partition_point(|(s, _)| s.offset + s.bytes <= offset);
        let mut checked = 0;
        for (section, first) in &self.sections[start..] {
            if section.offset >= end {
                break;
            }
            for unit in units_within(section, offset, end) {
                let range = section.grid.unit_range(unit, section.bytes);
                let from = (section.offset + range.start - offset) as usize;
                let bytes = &data[from..][..(range.end - range.start) as usize];
                if crc32fast::hash(bytes) != self.values[first + unit as usize] {
                    return Err(Error::Checksum {
                        path: self.path.clone(),
                        section: section.name.clone(),
                        offset: section.offset + range.start,
                        bytes: bytes.len(),
                    });
                }
                checked += bytes.len() as u64;
            }
        }
        Ok(checked)
    }

    /// Indices of the units of the section called `name` that differ from `found`.
    pub(super) fn differences<'a>(
        &'a self,
        name: &str,
        found: &'a [u32],
    ) -> impl Iterator<Item = u64> + 'a {
        let first = self.sections.iter().find(|(s, _)| s.name == name);
        let first = first.map_or(0, |(_, first)| *first);
        let pairs = self.values[first..].iter().zip(found).enumerate();
        pairs.filter(|(_, (a, b))| a != b).map(|(i, _)| i as u64)
    }

    /// Bytes that the table holds in memory.
    pub fn memory(&self) -> usize {
        self.values.len() * size_of::<u32>()
    }
}

/// The units of `section` that lie within bytes `from..to` of the file.
fn units_within(section: &Section, from: u64, to: u64) -> std::ops::Range<u64> {
    let grid = &section.grid;
    let first = {
        // The first unit that begins at or after `from`.
        let at = from.saturating_sub(section.offset);
        let within = (at % grid.group).div_ceil(grid.unit).min(grid.per_group);
        at / grid.group * grid.per_group + within
    };
    let mut last = {
        // The first unit that begins at or after `to`; the one before it may reach past `to`.
        let at = (to - section.offset).min(section.bytes);
        grid.units(at)
    };
    while last > first && section.offset + grid.unit_range(last - 1, section.bytes).end > to {
        last -= 1;
    }
    first..last.max(first)
}

/// Computes the checksums of a section's units while its bytes pass by.
#[derive(Clone, Debug)]
pub(crate) struct UnitCrc {
    grid: Grid,
    /// Bytes that passed.
    at: u64,
    unit: crc32fast::Hasher,
    values: Vec<u32>,
}

impl UnitCrc {
    pub(crate) fn new(grid: Grid) -> Self {
        Self {
            grid,
            at: 0,
            unit: crc32fast::Hasher::new(),
            values: Vec::new(),
        }
    }

    pub(crate) fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let within = self.at % self.grid.group;
            let covered = self.grid.unit * self.grid.per_group;
            // To the end of the unit, or over the zeros at the end of the group.
            let left = match within < covered {
                true => self.grid.unit - within % self.grid.unit,
                false => self.grid.group - within,
            };
            let n = left.min(data.len() as u64);
            if within < covered {
                self.unit.update(&data[..n as usize]);
                if n == left {
                    self.finish_unit();
                }
            }
            self.at += n;
            data = &data[n as usize..];
        }
    }

    fn finish_unit(&mut self) {
        let unit = std::mem::replace(&mut self.unit, crc32fast::Hasher::new());
        self.values.push(unit.finalize());
    }

    /// The checksums; the last unit may be short.
    pub(crate) fn finish(mut self) -> Vec<u32> {
        if (self.values.len() as u64) < self.grid.units(self.at) {
            self.finish_unit();
        }
        self.values
    }
}
