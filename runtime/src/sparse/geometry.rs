//! Where the parts of a layer's neurons lie, in terms of what must be known first.

use super::chunks::Places;
use super::options::SparseError;
use lampyris_pack::{Bundles, Part};

/// A layer's bundles. The *key* is what decides whether a neuron is active: the gate row, or the
/// up row of a network without gate. The *second* row is the up row of a gated network.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub(super) name: String,
    pub(super) file: usize,
    pub(super) neurons: usize,
    pub(super) width: usize,
    pub(super) key: Part,
    pub(super) second: Option<Part>,
    pub(super) down: Part,
    offset: u64,
    bundle_bytes: usize,
    group_neurons: usize,
    group_bytes: usize,
}

/// Which rows of all neurons stay in memory, beside the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resident {
    Nothing,
    Key,
    KeyAndSecond,
}

/// The part of every bundle that is read on demand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'g> {
    geometry: &'g Geometry,
    /// First byte within the bundle.
    pub(super) from: usize,
    pub(super) bytes: usize,
}

impl Geometry {
    /// Checks what reading relies on: parts in the order of use, inside the bundle, of the right
    /// size.
    pub(super) fn new(bundles: &Bundles) -> Result<Self, SparseError> {
        let wrong = |problem: String| SparseError::Bundle {
            name: bundles.name.clone(),
            problem,
        };
        let (key, second) = match bundles.gate {
            Some(gate) => (gate, Some(bundles.up)),
            None => (bundles.up, None),
        };
        let mut end = 0;
        for part in [Some(key), second, Some(bundles.down)]
            .into_iter()
            .flatten()
        {
            if part.ty.row_bytes(bundles.width) != Some(part.bytes) {
                let (bytes, ty) = (part.bytes, part.ty);
                return Err(wrong(format!("{bytes} bytes are no row of {ty}")));
            }
            if part.offset < end {
                return Err(wrong("gate, up and down are not in this order".into()));
            }
            end = part.offset + part.bytes;
        }
        if end > bundles.bundle_bytes || bundles.group_neurons == 0 || bundles.neurons == 0 {
            return Err(wrong(format!("bundles of {} bytes", bundles.bundle_bytes)));
        }
        Ok(Self {
            name: bundles.name.clone(),
            file: bundles.file,
            neurons: bundles.neurons,
            width: bundles.width,
            key,
            second,
            down: bundles.down,
            offset: bundles.offset,
            bundle_bytes: bundles.bundle_bytes,
            group_neurons: bundles.group_neurons,
            group_bytes: bundles.group_bytes,
        })
    }

    /// Offset in the file of the bundle at `position`.
    pub(super) fn place(&self, position: u32) -> u64 {
        let position = position as usize;
        let group = (position / self.group_neurons) as u64 * self.group_bytes as u64;
        let within = (position % self.group_neurons) as u64 * self.bundle_bytes as u64;
        self.offset + group + within
    }

    /// What is read on demand, beside what stays in memory.
    pub(super) fn span(&self, resident: Resident) -> Span<'_> {
        let from = match (resident, self.second) {
            (Resident::Nothing, _) => self.key.offset,
            (Resident::Key, Some(second)) => second.offset,
            _ => self.down.offset,
        };
        Span {
            geometry: self,
            from,
            bytes: self.down.offset + self.down.bytes - from,
        }
    }

    /// Bytes that stay in memory for each neuron.
    pub(super) fn resident_bytes(&self, resident: Resident) -> usize {
        let second = self.second.map_or(0, |p| p.bytes);
        match resident {
            Resident::Nothing => 0,
            Resident::Key => self.key.bytes,
            Resident::KeyAndSecond => self.key.bytes + second,
        }
    }

    /// The parts that a span of demand reading holds, as they lie in it: key, second, down.
    pub(super) fn parts_in(&self, resident: Resident) -> Vec<Part> {
        let from = self.span(resident).from;
        let parts = [Some(self.key), self.second, Some(self.down)];
        let inside = parts.into_iter().flatten().filter(|p| p.offset >= from);
        let shifted = inside.map(|p| Part {
            offset: p.offset - from,
            ..p
        });
        shifted.collect()
    }
}

impl Places for Span<'_> {
    fn start(&self, position: u32) -> u64 {
        self.geometry.place(position) + self.from as u64
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Ranges of positions whose whole spans fit one read of `largest` bytes, in order.
pub(super) fn sweep(
    span: Span<'_>,
    first: usize,
    align: usize,
    largest: usize,
) -> Vec<std::ops::Range<u32>> {
    let align = align.max(1) as u64;
    let (mut at, end) = (first as u32, span.geometry.neurons as u32);
    let mut ranges = Vec::new();
    while at < end {
        let start = span.start(at) / align * align;
        let fits = |p: u32| {
            let stop = (span.start(p) + span.bytes as u64).next_multiple_of(align);
            stop - start <= largest as u64
        };
        let mut next = at + 1;
        while next < end && fits(next) {
            next += 1;
        }
        ranges.push(at..next);
        at = next;
    }
    ranges
}
