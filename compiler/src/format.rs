//! How a stored type becomes tiles: width of the codes, sparsity, and what that costs.
//!
//! A tensor keeps its codes. They take the narrowest width of the configuration that holds them;
//! where the configuration lacks the stored width, that is a wider one, which loses nothing but
//! reads more bytes. Types without one scale and minimum for 32 values are re-quantized to 8 bits.

use crate::error::{Error, Result};
use lampyris_flash::TensorType;
use lampyris_isa::HwConfig;
use lampyris_isa::format::{self, Sparsity};

/// Form of a matrix's tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TileFormat {
    /// Bits of a code.
    pub bits: usize,
    /// Which weights are stored.
    pub sparsity: Sparsity,
}

impl TileFormat {
    const fn dense(bits: usize) -> TileFormat {
        TileFormat {
            bits,
            sparsity: Sparsity::Dense,
        }
    }

    /// Bits of a field: code and index.
    pub const fn field_bits(&self) -> usize {
        self.bits + self.sparsity.index_bits()
    }

    /// Bytes of a tile with its header.
    pub const fn tile_bytes(&self) -> usize {
        format::tile_bytes(self.field_bits(), true)
    }
}

impl std::fmt::Display for TileFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.sparsity {
            Sparsity::Dense => write!(f, "{}-bit", self.bits),
            Sparsity::S2Of4 => write!(f, "2:4 {}-bit", self.bits),
            Sparsity::S4Of16 => write!(f, "4:16 {}-bit", self.bits),
        }
    }
}

/// The codes of a stored type, or `None` if packing re-quantizes it.
pub fn stored(ty: TensorType) -> Option<TileFormat> {
    use TensorType::{BF16, F16, F32, Q4_K, Q5_K, Q6_K};
    use TensorType::{Q2_1, Q3_1, Q4_0, Q4_1, Q5_0, Q5_1, Q6_1, Q8_0};
    use TensorType::{Q4_2OF4, Q4_4OF16};
    match ty {
        Q2_1 => Some(TileFormat::dense(2)),
        Q3_1 => Some(TileFormat::dense(3)),
        Q6_1 => Some(TileFormat::dense(6)),
        Q4_2OF4 | Q4_4OF16 => ty
            .sparsity()
            .map(|sparsity| TileFormat { bits: 4, sparsity }),
        Q4_0 | Q4_1 => Some(TileFormat::dense(4)),
        Q5_0 | Q5_1 => Some(TileFormat::dense(5)),
        Q8_0 => Some(TileFormat::dense(8)),
        F32 | F16 | BF16 | Q4_K | Q5_K | Q6_K => None,
    }
}

/// Tiles of a stored type on a configuration, or `None` if it lacks the type's sparsity.
pub fn tiles(ty: TensorType, hw: &HwConfig) -> Option<TileFormat> {
    let codes = stored(ty).unwrap_or(TileFormat::dense(8));
    (codes.bits..=8)
        .find(|&bits| hw.has_tiles(codes.sparsity, bits))
        .map(|bits| TileFormat { bits, ..codes })
}

/// As [`tiles`], for the tensor `name`.
///
/// # Errors
/// The configuration lacks the tensor's sparsity.
pub(crate) fn tiles_of(name: &str, ty: TensorType, hw: &HwConfig) -> Result<TileFormat> {
    tiles(ty, hw).ok_or_else(|| {
        Error::unsupported(
            format!("tensor `{name}`"),
            format!("is stored as {ty}, but the configuration has `sparsity` {}", hw.sparsity),
            "take a configuration whose `sparsity` is 1 for 2:4 or 2 for 4:16 (base, wide), or a dense model",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_their_width_where_the_configuration_has_it() {
        let bits = |ty, hw: &HwConfig| tiles(ty, hw).map(|f| (f.bits, f.sparsity as u8));
        let (base, small) = (HwConfig::BASE, HwConfig::SMALL);
        assert_eq!(bits(TensorType::Q4_0, &small), Some((4, 0)));
        assert_eq!(bits(TensorType::Q5_1, &base), Some((5, 0)));
        assert_eq!(bits(TensorType::Q5_1, &small), Some((8, 0)));
        assert_eq!(bits(TensorType::Q6_K, &base), Some((8, 0)));
        let six = HwConfig {
            weight_bits: 1 << 4 | 1 << 6 | 1 << 8,
            ..small
        };
        assert_eq!(bits(TensorType::Q5_0, &six), Some((6, 0)));
        assert_eq!(bits(TensorType::Q2_1, &base), Some((2, 0)));
        assert_eq!(bits(TensorType::Q2_1, &small), Some((4, 0)));
        assert_eq!(bits(TensorType::Q4_2OF4, &base), Some((4, 1)));
        assert_eq!(bits(TensorType::Q4_4OF16, &base), Some((4, 2)));
        assert_eq!(bits(TensorType::Q4_2OF4, &small), None);
        // Fields of six bits are missing, so that the codes take six of eight.
        let pairs = HwConfig {
            sparsity: 1,
            ..small
        };
        assert_eq!(bits(TensorType::Q4_2OF4, &pairs), Some((6, 1)));
        assert_eq!(bits(TensorType::Q4_4OF16, &pairs), None);
    }

    #[test]
    fn stored_patterns_are_those_of_the_tiles() {
        for ty in TensorType::all() {
            let tiles = stored(ty).map_or(Sparsity::Dense, |f| f.sparsity);
            assert_eq!(ty.sparsity().unwrap_or_default(), tiles, "{ty}");
            if tiles != Sparsity::Dense {
                assert_eq!(ty.block_len(), tiles.span() * format::BLOCK, "{ty}");
            }
        }
    }
}
