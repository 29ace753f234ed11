//! How keys and values are cached: codes of 8 bits, or of 4 bits, with or without a rotation.
//!
//! A rotation multiplies the heads of queries, keys and values by a Walsh-Hadamard matrix H (the
//! sign of element (i, j) is the parity of the bits that i and j share) divided by the square root
//! of the head's size, after RoPE. Scores do not change, since (H q) . (H k) = q . k, and the
//! result of attention is H times what it should be, so one more product with H, which is its own
//! inverse, restores it. What changes is how evenly the elements of a head spread over the codes.

use crate::error::{Error, Result};
use lampyris_import::arch::ModelSpec;
use lampyris_isa::HwConfig;
use lampyris_isa::format::{BLOCK, Sparsity, matrix_bytes, row_groups};

/// Form of the cache of keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvFormat {
    /// Codes of 8 bits.
    #[default]
    Int8,
    /// Codes of 4 bits of rotated heads.
    Int4,
    /// Codes of 4 bits of heads as they are: less accurate, to compare with.
    Int4Plain,
}

impl KvFormat {
    /// The form for `--kv-bits`, if there is one.
    pub fn from_bits(bits: u32) -> Option<KvFormat> {
        match bits {
            8 => Some(KvFormat::Int8),
            4 => Some(KvFormat::Int4),
            _ => None,
        }
    }

    /// Bits of a code.
    pub fn bits(self) -> usize {
        match self {
            KvFormat::Int8 => 8,
            KvFormat::Int4 | KvFormat::Int4Plain => 4,
        }
    }

    /// The field `nibbles` of instructions that make or store codes.
    pub(crate) fn nibbles(self) -> u8 {
        u8::from(self.bits() == 4)
    }

    /// Whether heads are rotated.
    pub fn is_rotated(self) -> bool {
        self == KvFormat::Int4
    }

    /// Checks that the configuration has the form and the model's heads can be rotated.
    ///
    /// # Errors
    /// Names the configuration's parameter or the layer.
    pub fn check(self, spec: &ModelSpec, hw: &HwConfig) -> Result<()> {
        if self.bits() == 4 && !hw.has_kv4() {
            return Err(Error::unsupported(
                "a KV cache of 4 bits",
                format!("on a configuration with `mac_rows` {}", hw.mac_rows),
                "take a configuration with `mac_rows` of 2 or more, such as `base`, or --kv-bits 8",
            ));
        }
        if self.is_rotated() && hw.channels > 1 {
            return Err(Error::unsupported(
                "a KV cache of 4 bits",
                format!("on a configuration with {} memory channels", hw.channels),
                "take a configuration with one channel, such as `base`, or --kv-bits 8",
            ));
        }
        for (i, layer) in spec.layers.iter().enumerate() {
            for (what, dim) in [("key", layer.head_dim_k), ("value", layer.head_dim_v)] {
                if self.is_rotated() && !(dim.is_power_of_two() && dim >= BLOCK) {
                    return Err(Error::unsupported(
                        format!("blk.{i}"),
                        format!("{what} heads of {dim} elements with a KV cache of 4 bits"),
                        "the rotation needs heads of 32, 64, 128, ... elements; take --kv-bits 8",
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A rotation matrix in the image: tiles with two codes, for the two signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Rows and columns: elements of a head.
    pub dim: usize,
    /// Bits of a code, the fewest that the configuration has.
    pub bits: usize,
    /// Byte address.
    pub addr: u64,
}

impl Rotation {
    /// Bytes of all tiles.
    pub fn bytes(&self) -> u64 {
        matrix_bytes(self.dim, self.dim, self.bits, Sparsity::Dense) as u64
    }

    /// Row groups.
    pub fn groups(&self) -> usize {
        row_groups(self.dim)
    }

    /// Tiles, and blocks, along the reduction.
    pub fn blocks(&self) -> usize {
        self.dim / BLOCK
    }

    /// Whether element (row, column) is positive: code 1; negative ones have code 0.
    pub(crate) fn is_positive(row: usize, column: usize) -> bool {
        (row & column).count_ones().is_multiple_of(2)
    }

    /// Magnitude of all elements; for sizes that are no power of four, f16 is off by 0.01 %.
    pub(crate) fn magnitude(&self) -> f64 {
        (self.dim as f64).sqrt().recip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rotation_is_its_own_inverse() {
        let rotation = Rotation {
            dim: 64,
            bits: 2,
            addr: 0,
        };
        let magnitude = rotation.magnitude();
        let element = |i, j| {
            if Rotation::is_positive(i, j) {
                magnitude
            } else {
                -magnitude
            }
        };
        for i in 0..64 {
            for j in 0..64 {
                let sum: f64 = (0..64).map(|k| element(i, k) * element(k, j)).sum();
                assert_eq!(sum, f64::from(u8::from(i == j)), "({i}, {j})");
            }
        }
        assert_eq!(rotation.bytes(), 8 * 192);
    }
}
