//! What lies where in the regions of a compiled directory, for whoever watches memory traffic.

use lampyris_isa::format::Sparsity;
use serde::{Deserialize, Serialize};

/// A span of DRAM with one kind of contents.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Tensor, table, or layers of a cache.
    pub name: String,
    /// First byte.
    pub base: u64,
    /// Bytes, without padding behind them.
    pub bytes: u64,
    /// What it is.
    pub kind: ContentKind,
}

/// Kinds of contents.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ContentKind {
    /// Weights of a norm, a bias, constants of the program: f32.
    Vector,
    /// Rotary factors or learned positions: f32, a row a position.
    Table,
    /// Weight tiles with a header.
    Matrix {
        /// Bits of a field: of a code, and of its index if sparse.
        bits: u8,
        /// Sparsity as in the field of `mv`.
        sparsity: u8,
        /// What it serves for.
        role: Role,
    },
    /// KV cache: for each layer and head keys (tiles with header), values (tiles without) and
    /// value scales, each of so many bytes.
    Cache {
        /// Bytes of one head's keys.
        key_bytes: u64,
        /// Bytes of one head's values.
        value_bytes: u64,
        /// Bytes of one head's value scales.
        scale_bytes: u64,
        /// Bits of a code, 8 if not said.
        #[serde(default = "eight", skip_serializing_if = "is_eight")]
        bits: u8,
    },
}

/// Bits of a code in the cache, where a file does not say.
pub(crate) fn eight() -> u8 {
    8
}

pub(crate) fn is_eight(bits: &u8) -> bool {
    *bits == 8
}

/// What a matrix serves for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Products.
    Product,
    /// The embedding of tokens, a row each.
    Embedding,
    /// Both: the embedding is tied to the output projection.
    Tied,
}

/// Whether contents are in address order, disjoint, within the address space, and no cache is
/// divided into nothing and no field too narrow for its index.
pub(crate) fn are_plausible(contents: &[Content]) -> bool {
    let mut end = 0u64;
    contents.iter().all(|content| {
        let next = content.base.checked_add(content.bytes);
        let next = next.filter(|&n| content.base >= end && n <= lampyris_isa::insn::REG_MASK);
        end = next.unwrap_or(u64::MAX);
        let divided = match content.kind {
            ContentKind::Cache {
                key_bytes,
                value_bytes,
                scale_bytes,
                bits,
            } => [value_bytes, scale_bytes]
                .iter()
                .try_fold(key_bytes, |sum, &b| sum.checked_add(b))
                .is_some_and(|sum| sum > 0 && matches!(bits, 4 | 8)),
            ContentKind::Matrix { bits, sparsity, .. } => Sparsity::from_field(sparsity)
                .is_some_and(|s| usize::from(bits) > s.index_bits() && bits <= 8),
            ContentKind::Vector | ContentKind::Table => true,
        };
        next.is_some() && divided
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(base: u64, bytes: u64) -> Content {
        Content {
            name: "v".into(),
            base,
            bytes,
            kind: ContentKind::Vector,
        }
    }

    #[test]
    fn overlaps_and_empty_caches_are_refused() {
        assert!(are_plausible(&[vector(64, 64), vector(128, 4)]));
        assert!(!are_plausible(&[vector(64, 65), vector(128, 4)]));
        assert!(!are_plausible(&[vector(u64::MAX, 2)]));
        let cache = |key_bytes, scale_bytes| Content {
            kind: ContentKind::Cache {
                key_bytes,
                value_bytes: 0,
                scale_bytes,
                bits: 8,
            },
            ..vector(0, 64)
        };
        assert!(are_plausible(&[cache(32, 32)]));
        assert!(!are_plausible(&[cache(0, 0)]));
        assert!(!are_plausible(&[cache(u64::MAX, 1)]));
    }
}
