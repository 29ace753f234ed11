//! Random and extreme inputs.

#![allow(dead_code, reason = "each suite uses a part")]

use lampyris_kernels::TensorType;

/// A small generator (PCG), so that failures repeat.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(0xda3e_39cb_94b9_5bdb);
        let word = ((self.0 >> 18) ^ self.0) >> 27;
        (word as u32).rotate_right((self.0 >> 59) as u32)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    /// In -1..1.
    pub(crate) fn float(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// What kind of numbers a case has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// As models have them.
    Usual,
    /// All codes at one end, scales at the largest finite half.
    Largest,
    /// All codes at the other end (-128 in Q8_0), largest scales.
    Lowest,
    /// Denormal and zero scales.
    Tiny,
    /// Codes at random ends, scales of random sign from denormal to large.
    Wild,
}

pub(crate) const KINDS: [Kind; 5] = [
    Kind::Usual,
    Kind::Largest,
    Kind::Lowest,
    Kind::Tiny,
    Kind::Wild,
];

fn scale(kind: Kind, rng: &mut Rng) -> u16 {
    let sign = (rng.bits() as u16 & 1) << 15;
    match kind {
        Kind::Usual => (0x1800 + rng.below(0x1000) as u16) | sign,
        Kind::Largest | Kind::Lowest => 0x7bff,
        Kind::Tiny => [0, 0x8000, 1, 0x03ff, 0x0400][rng.below(5)],
        Kind::Wild => rng.bits() as u16 & 0xbbff,
    }
}

fn code_byte(kind: Kind, rng: &mut Rng) -> u8 {
    match kind {
        Kind::Usual | Kind::Tiny => rng.bits() as u8,
        Kind::Largest => 0xff,
        // -128 as a signed code, all zeros as nibbles.
        Kind::Lowest => [0x80, 0x00][rng.below(2)],
        Kind::Wild => [0x00, 0x0f, 0xf0, 0xff, 0x80, 0x7f][rng.below(6)],
    }
}

/// Where a block holds binary16 numbers.
fn scale_places(ty: TensorType) -> &'static [usize] {
    match ty {
        TensorType::Q4_0
        | TensorType::Q5_0
        | TensorType::Q8_0
        | TensorType::Q4_2OF4
        | TensorType::Q4_4OF16 => &[0],
        TensorType::Q6_K => &[208],
        _ => &[0, 2],
    }
}

/// `elements` weights of any type, finite.
pub(crate) fn weights(ty: TensorType, elements: usize, kind: Kind, rng: &mut Rng) -> Vec<u8> {
    let floats = |rng: &mut Rng, one: &mut dyn FnMut(&mut Rng) -> Vec<u8>| {
        (0..elements).flat_map(|_| one(rng)).collect::<Vec<u8>>()
    };
    match ty {
        TensorType::F32 => floats(rng, &mut |rng| wide(kind, rng).to_le_bytes().to_vec()),
        TensorType::F16 => floats(rng, &mut |rng| scale(kind, rng).to_le_bytes().to_vec()),
        TensorType::BF16 => floats(rng, &mut |rng| wide(kind, rng).to_le_bytes()[2..].to_vec()),
        _ => {
            let mut data = Vec::new();
            for _ in 0..elements / ty.block_len() {
                let start = data.len();
                data.extend((0..ty.block_bytes()).map(|_| code_byte(kind, rng)));
                for at in scale_places(ty) {
                    data[start + at..][..2].copy_from_slice(&scale(kind, rng).to_le_bytes());
                }
            }
            data
        }
    }
}

fn wide(kind: Kind, rng: &mut Rng) -> f32 {
    match kind {
        Kind::Usual => rng.float(),
        Kind::Largest => 1e15,
        Kind::Lowest => -1e15,
        Kind::Tiny => f32::from_bits(rng.bits() & 0x80ff_ffff),
        Kind::Wild => rng.float() * 10.0f32.powi(rng.below(30) as i32 - 15),
    }
}

/// Activations of the same kinds.
pub(crate) fn activations(n: usize, kind: Kind, rng: &mut Rng) -> Vec<f32> {
    let outlier = rng.below(n.max(1));
    let mut x: Vec<f32> = (0..n)
        .map(|_| match kind {
            Kind::Usual => rng.float(),
            Kind::Largest => 1e4,
            Kind::Lowest => -1e4,
            Kind::Tiny => f32::from_bits(rng.bits() & 0x80ff_ffff),
            Kind::Wild => rng.float() * 10.0f32.powi(rng.below(16) as i32 - 8),
        })
        .collect();
    if kind == Kind::Usual && n > 0 {
        x[outlier] = 300.0;
    }
    x
}
