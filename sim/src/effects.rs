//! What an instruction changed, in a form that model and RTL can compare: a digest that does not
//! depend on the order of the writes, and optionally the writes themselves.

use lampyris_isa::num::ActScale;

/// One block of the activation buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActBlock {
    /// Codes.
    pub codes: [i8; 32],
    /// Scale of all codes.
    pub scale: ActScale,
    /// Sum of the codes.
    pub sum: i16,
}

impl Default for ActBlock {
    /// The block that a memory full of zero bits holds.
    fn default() -> Self {
        ActBlock {
            codes: [0; 32],
            scale: ActScale {
                significand: 128,
                exponent: 0,
            },
            sum: 0,
        }
    }
}

impl ActBlock {
    fn digest(&self, at: u32) -> u64 {
        let scale = u64::from(self.scale.significand) << 8 | u64::from(self.scale.exponent);
        let mut hash = mix(1, u64::from(at), scale << 16 | u64::from(self.sum as u16));
        for part in self.codes.as_chunks::<8>().0 {
            hash = finish(hash ^ u64::from_le_bytes(part.map(|c| c as u8)));
        }
        hash
    }
}

/// Hash of a write; sums of these are the digests.
#[inline]
fn mix(space: u64, address: u64, value: u64) -> u64 {
    finish((space << 56 ^ address << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ value)
}

#[inline]
fn finish(x: u64) -> u64 {
    let mut x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 29).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 32
}

/// Where a write went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// A word of vector memory.
    Vmem(u32),
    /// A block of the activation buffer.
    Xbuf(u32),
    /// A byte of DRAM.
    Dram(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Vmem(at) => write!(f, "vector memory word {at}"),
            Place::Xbuf(at) => write!(f, "activation block {at}"),
            Place::Dram(at) => write!(f, "memory byte {at:#x}"),
        }
    }
}

/// The writes of one instruction.
#[derive(Clone, Default, Debug)]
pub struct Effects {
    /// Sum of the hashes of all writes.
    pub digest: u64,
    /// Vector memory words, activation blocks and DRAM bytes written.
    pub writes: u64,
    /// Words written to vector memory, in order, if logged.
    pub vmem: Vec<(u32, u32)>,
    /// Blocks written to the activation buffer, in order, if logged.
    pub xbuf: Vec<(u32, ActBlock)>,
    /// Bytes written to DRAM, in order, if logged.
    pub dram: Vec<(u64, u8)>,
    /// Keep the writes and not only their digest.
    pub log: bool,
}

impl Effects {
    /// No writes yet. `log`: keep the writes.
    pub fn new(log: bool) -> Effects {
        Effects {
            log,
            ..Effects::default()
        }
    }

    /// Records a word of vector memory.
    #[inline]
    pub fn vmem_word(&mut self, at: u32, value: u32) {
        self.digest = self
            .digest
            .wrapping_add(mix(0, u64::from(at), u64::from(value)));
        self.writes += 1;
        if self.log {
            self.vmem.push((at, value));
        }
    }

    /// Records a block of the activation buffer.
    pub fn xbuf_block(&mut self, at: u32, block: &ActBlock) {
        self.digest = self.digest.wrapping_add(block.digest(at));
        self.writes += 1;
        if self.log {
            self.xbuf.push((at, *block));
        }
    }

    /// Records a byte of DRAM.
    #[inline]
    pub fn dram_byte(&mut self, at: u64, value: u8) {
        self.digest = self.digest.wrapping_add(mix(2, at, u64::from(value)));
        self.writes += 1;
        if self.log {
            self.dram.push((at, value));
        }
    }

    /// Whether two instructions wrote the same values to the same places equally often.
    pub fn same(&self, other: &Effects) -> bool {
        (self.digest, self.writes) == (other.digest, other.writes)
    }

    /// The place of the first logged write.
    pub(crate) fn first_place(&self) -> Option<Place> {
        let vmem = self.vmem.first().map(|w| Place::Vmem(w.0));
        let xbuf = self.xbuf.first().map(|w| Place::Xbuf(w.0));
        vmem.or(xbuf)
            .or(self.dram.first().map(|w| Place::Dram(w.0)))
    }

    /// Forgets the writes, keeping allocations and the log flag.
    pub fn clear(&mut self) {
        self.digest = 0;
        self.writes = 0;
        self.vmem.clear();
        self.xbuf.clear();
        self.dram.clear();
    }

    /// Every logged write as place and printed value, sorted by place (stable in time).
    fn entries(&self) -> Vec<(Place, String)> {
        let word = |&(at, v): &(u32, u32)| {
            (
                Place::Vmem(at),
                format!("{v:#010x} ({:e})", f32::from_bits(v)),
            )
        };
        let block = |&(at, b): &(u32, ActBlock)| (Place::Xbuf(at), show_block(&b));
        let byte = |&(at, v): &(u64, u8)| (Place::Dram(at), format!("{v:#04x}"));
        let mut all: Vec<(Place, String)> = self.vmem.iter().map(word).collect();
        all.extend(self.xbuf.iter().map(block));
        all.extend(self.dram.iter().map(byte));
        all.sort_by_key(|e| e.0);
        all
    }

    /// The first place (lowest address) that the two wrote differently, with both values
    /// (`None`: not written). Both must have been logged.
    pub fn first_difference(&self, other: &Effects) -> Option<Difference> {
        let (ours, theirs) = (self.entries(), other.entries());
        let (mut i, mut j) = (0, 0);
        loop {
            let (a, b) = (ours.get(i), theirs.get(j));
            match (a, b) {
                (None, None) => return None,
                (Some(a), Some(b)) if a == b => (i, j) = (i + 1, j + 1),
                (Some(a), Some(b)) if a.0 == b.0 => {
                    return Some((a.0, Some(a.1.clone()), Some(b.1.clone())));
                }
                (Some(a), b) if b.is_none_or(|b| a.0 < b.0) => {
                    return Some((a.0, Some(a.1.clone()), None));
                }
                (_, Some(b)) => return Some((b.0, None, Some(b.1.clone()))),
                (Some(_), None) => unreachable!("covered by the guard above"),
            }
        }
    }
}

/// A place and the two values written there, `None` where nothing was written.
pub type Difference = (Place, Option<String>, Option<String>);

fn show_block(block: &ActBlock) -> String {
    let ActScale {
        significand,
        exponent,
    } = block.scale;
    format!(
        "codes {:?} scale {significand} * 2^{} sum {}",
        block.codes,
        i32::from(exponent) - lampyris_isa::num::ACT_SCALE_BIAS,
        block.sum
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_ignores_order_but_not_values_or_places() {
        let mut a = Effects::new(true);
        let mut b = Effects::new(true);
        a.vmem_word(1, 5);
        a.dram_byte(9, 3);
        b.dram_byte(9, 3);
        b.vmem_word(1, 5);
        assert!(a.same(&b) && a.first_difference(&b).is_none());
        b.vmem_word(2, 0);
        assert!(!a.same(&b));
        let (place, ours, theirs) = a.first_difference(&b).unwrap();
        assert_eq!((place, ours), (Place::Vmem(2), None));
        assert!(theirs.unwrap().starts_with("0x00000000"));
    }

    #[test]
    fn swapped_values_change_the_digest() {
        let mut a = Effects::new(false);
        let mut b = Effects::new(false);
        a.vmem_word(1, 5);
        a.vmem_word(2, 6);
        b.vmem_word(1, 6);
        b.vmem_word(2, 5);
        assert!(!a.same(&b));
    }
}
