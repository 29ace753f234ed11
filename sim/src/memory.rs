//! The accelerator's DRAM: segments in a 40-bit byte address space.
//!
//! Read-only segments (weights, the program) are shared between clones, so that the functional
//! model and the Verilated device use one mapped file. Writable segments belong to one clone.
//! A segment starts at a multiple of [`PAGE`] and occupies whole pages; bytes after its contents
//! read as zero. Bursts never cross a page, so a transfer is in range or not as a whole, and the
//! model and the RTL agree on it.

use crate::error::{Result, SimError};
use lampyris_isa::insn::REG_BITS;
use std::sync::Arc;

/// Granule of the address space, bytes. AXI bursts do not cross it.
pub const PAGE: u64 = 4096;

/// Bytes of the address space.
pub const SPACE: u64 = 1 << REG_BITS;

/// Most bytes of all writable segments together.
pub const WRITABLE_MAX: u64 = 1 << 34;

/// Shared bytes: a mapped file, a vector, static data.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

#[derive(Clone)]
enum Contents {
    Shared(SharedBytes),
    Owned(Vec<u8>),
}

impl Contents {
    fn bytes(&self) -> &[u8] {
        match self {
            Contents::Shared(data) => (**data).as_ref(),
            Contents::Owned(data) => data,
        }
    }
}

#[derive(Clone)]
struct Segment {
    name: String,
    base: u64,
    /// Whole pages.
    span: u64,
    contents: Contents,
}

/// The memory of one device.
#[derive(Clone, Default)]
pub struct Memory {
    /// Sorted by base, disjoint.
    segments: Vec<Segment>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(
                self.segments
                    .iter()
                    .map(|s| (&s.name, s.base..s.base + s.span)),
            )
            .finish()
    }
}

impl Memory {
    /// An empty address space.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Places shared read-only bytes at `base`.
    ///
    /// # Errors
    /// A misaligned base, an overlap, or bytes beyond the address space.
    pub fn add_shared(&mut self, name: &str, base: u64, data: SharedBytes) -> Result<()> {
        self.insert(name, base, Contents::Shared(data))
    }

    /// Places a writable segment with the given contents at `base`.
    ///
    /// # Errors
    /// As [`Memory::add_shared`], and more than [`WRITABLE_MAX`] writable bytes in total.
    pub fn add_data(&mut self, name: &str, base: u64, data: Vec<u8>) -> Result<()> {
        self.insert(name, base, Contents::Owned(data))
    }

    /// Places a writable segment of `len` zero bytes at `base`.
    ///
    /// # Errors
    /// As [`Memory::add_data`].
    pub fn add_zeroed(&mut self, name: &str, base: u64, len: u64) -> Result<()> {
        // Checked before the allocation, which may be asked for by a hostile memory map.
        if len > WRITABLE_MAX {
            return Err(segment_error(
                name,
                base,
                len,
                "larger than any device's memory".into(),
            ));
        }
        // An allocation that is refused ends the process; asked for like this it is an error. The
        // zeroed one below takes no pages before they are written.
        let mut probe = Vec::<u8>::new();
        if probe.try_reserve_exact(len as usize).is_err() {
            let problem = "more than this machine's memory".into();
            return Err(segment_error(name, base, len, problem));
        }
        drop(probe);
        self.insert(name, base, Contents::Owned(vec![0; len as usize]))
    }

    /// The address after the last segment.
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.base + s.span)
    }

    fn insert(&mut self, name: &str, base: u64, mut contents: Contents) -> Result<()> {
        let len = contents.bytes().len() as u64;
        let span = len.next_multiple_of(PAGE);
        if !base.is_multiple_of(PAGE) {
            let problem = format!("the address is not a multiple of {PAGE}");
            return Err(segment_error(name, base, len, problem));
        }
        if base.checked_add(span).is_none_or(|end| end > SPACE) {
            let problem = format!("beyond the {REG_BITS}-bit address space");
            return Err(segment_error(name, base, len, problem));
        }
        let at = self.segments.partition_point(|s| s.base < base);
        let clash = |s: &&Segment| s.base < base + span && base < s.base + s.span;
        let near = &self.segments[at.saturating_sub(1)..(at + 1).min(self.segments.len())];
        if let Some(other) = near.iter().find(clash) {
            let problem = format!("overlaps `{}`", other.name);
            return Err(segment_error(name, base, len, problem));
        }
        if let Contents::Owned(data) = &mut contents {
            let held: u64 = self.segments.iter().map(Segment::writable_bytes).sum();
            if held + span > WRITABLE_MAX {
                let problem = format!("more than {WRITABLE_MAX} writable bytes in total");
                return Err(segment_error(name, base, len, problem));
            }
            data.resize(span as usize, 0);
        }
        let segment = Segment {
            name: name.into(),
            base,
            span,
            contents,
        };
        self.segments.insert(at, segment);
        Ok(())
    }

    /// The segment that holds `addr`.
    #[inline]
    fn find(&self, addr: u64) -> Option<usize> {
        let at = self
            .segments
            .partition_point(|s| s.base <= addr)
            .checked_sub(1)?;
        let segment = &self.segments[at];
        (addr - segment.base < segment.span).then_some(at)
    }

    /// The bytes `addr..addr + len` if one segment holds all of them as contents.
    #[inline]
    pub fn slice(&self, addr: u64, len: usize) -> Option<&[u8]> {
        let segment = &self.segments[self.find(addr)?];
        let at = (addr - segment.base) as usize;
        segment.contents.bytes().get(at..at.checked_add(len)?)
    }

    /// Whether all of `addr..addr + len` is mapped (and writable, if `write`).
    pub fn is_mapped(&self, addr: u64, len: u64, write: bool) -> bool {
        let Some(end) = addr.checked_add(len) else {
            return false;
        };
        let mut at = addr;
        while at < end {
            let Some(index) = self.find(at) else {
                return false;
            };
            let segment = &self.segments[index];
            if write && matches!(segment.contents, Contents::Shared(_)) {
                return false;
            }
            at = segment.base + segment.span;
        }
        true
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// Names the range if part of it is not mapped; then `out` is partly written.
    pub fn read(&self, addr: u64, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            let at = addr.wrapping_add(done as u64);
            let Some(index) = self.find(at) else {
                return Err(access_error("read", addr, out.len(), "not mapped"));
            };
            let segment = &self.segments[index];
            let offset = at - segment.base;
            let part = ((segment.span - offset) as usize).min(out.len() - done);
            let bytes = segment.contents.bytes();
            let from = (offset as usize).min(bytes.len());
            let have = &bytes[from..(offset as usize + part).min(bytes.len()).max(from)];
            out[done..done + have.len()].copy_from_slice(have);
            out[done + have.len()..done + part].fill(0);
            done += part;
        }
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// Names the range if part of it is not mapped or read-only; then nothing is written.
    pub fn write(&mut self, addr: u64, data: &[u8]) -> Result<()> {
        if !self.is_mapped(addr, data.len() as u64, true) {
            let mapped = self.is_mapped(addr, data.len() as u64, false);
            let problem = if mapped { "read-only" } else { "not mapped" };
            return Err(access_error("write", addr, data.len(), problem));
        }
        let mut done = 0;
        while done < data.len() {
            let at = addr + done as u64;
            let index = self.find(at).expect("checked above");
            let segment = &mut self.segments[index];
            let offset = (at - segment.base) as usize;
            let part = (segment.span as usize - offset).min(data.len() - done);
            if let Contents::Owned(bytes) = &mut segment.contents {
                bytes[offset..offset + part].copy_from_slice(&data[done..done + part]);
            }
            done += part;
        }
        Ok(())
    }

    /// The writable segments: name, first address and bytes (whole pages).
    pub fn writable(&self) -> impl Iterator<Item = (&str, u64, &[u8])> {
        self.segments.iter().filter_map(|s| match &s.contents {
            Contents::Owned(data) => Some((s.name.as_str(), s.base, data.as_slice())),
            Contents::Shared(_) => None,
        })
    }

    /// The name of the segment that holds `addr` and the offset in it.
    pub fn locate(&self, addr: u64) -> Option<(&str, u64)> {
        let segment = &self.segments[self.find(addr)?];
        Some((&segment.name, addr - segment.base))
    }
}

impl Segment {
    fn writable_bytes(&self) -> u64 {
        match self.contents {
            Contents::Owned(_) => self.span,
            Contents::Shared(_) => 0,
        }
    }
}

fn segment_error(name: &str, base: u64, len: u64, problem: String) -> SimError {
    SimError::Segment {
        name: name.into(),
        base,
        len,
        problem,
        hint: "place segments on distinct 4 KiB pages below 1 TiB",
    }
}

fn access_error(access: &'static str, addr: u64, len: usize, problem: &'static str) -> SimError {
    SimError::Access {
        access,
        addr,
        len: len as u64,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Memory {
        let mut memory = Memory::new();
        let shared: SharedBytes = Arc::new(vec![7u8; 5000]);
        memory.add_shared("weights", 0x1_0000, shared).unwrap();
        memory.add_zeroed("kv", 0x1_2000, 100).unwrap();
        memory
    }

    #[test]
    fn read_across_segments_pads_with_zeros() {
        let mut memory = sample();
        memory.write(0x1_2000, &[9]).unwrap();
        let mut out = [1u8; 4];
        memory.read(0x1_0000 + 4998, &mut out).unwrap();
        assert_eq!(out, [7, 7, 0, 0]);
        let mut out = [1u8; 2];
        memory.read(0x1_1fff, &mut out).unwrap();
        assert_eq!(out, [0, 9]);
        assert!(memory.slice(0x1_0000 + 4998, 4).is_none());
        assert_eq!(memory.slice(0x1_0000, 2), Some(&[7u8, 7][..]));
    }

    #[test]
    fn clone_shares_read_only_and_copies_writable() {
        let original = sample();
        let mut copy = original.clone();
        copy.write(0x1_2000, &[5]).unwrap();
        assert_eq!(original.slice(0x1_2000, 1), Some(&[0u8][..]));
        assert_eq!(copy.slice(0x1_2000, 1), Some(&[5u8][..]));
    }

    #[test]
    fn bad_placement_and_access_are_errors() {
        let mut memory = sample();
        assert!(memory.add_zeroed("a", 0x1_1000, 1).is_err());
        assert!(memory.add_zeroed("a", 0x1_2001, 1).is_err());
        assert!(memory.add_zeroed("a", SPACE - PAGE, PAGE + 1).is_err());
        assert!(memory.add_zeroed("a", 0, u64::MAX).is_err());
        assert!(memory.write(0x1_0000, &[0]).is_err());
        assert!(memory.write(0x1_2000 + PAGE - 1, &[0, 0]).is_err());
        assert!(memory.read(u64::MAX, &mut [0, 0]).is_err());
        assert!(!memory.is_mapped(u64::MAX, 2, false));
    }
}
