//! What programs padded to buckets of lengths need, to compare them with ours, which pads nothing.
//!
//! A bucket is one straight-line program for all positions up to its end: what depends on the
//! length is fixed for the end, and scores of positions that are not there yet are masked.

use crate::error::{Error, Result};
use crate::lower::{reg, vop};
use lampyris_import::arch::ModelSpec;
use lampyris_isa::Insn;
use lampyris_isa::format::{BLOCK, CHUNK_BYTES, TILE_ROWS, tile_bytes};
use lampyris_isa::insn::Vop;

/// The argument register with the position of the first token.
pub const POSITION: u8 = reg::POS;

/// Added to the score of a position that is not there: its weight is zero.
pub const MASKED: f32 = -1e30;

/// Registers of the `decode` entry with the values that a bucket of positions 0 to `end - 1`
/// fixes, for one memory channel.
///
/// # Errors
/// Layers with key heads of different sizes, which change these registers on the way.
pub fn registers(spec: &ModelSpec, end: usize) -> Result<Vec<(u8, u64)>> {
    let head = spec.layers.first().map_or(BLOCK, |l| l.head_dim_k);
    if let Some(i) = spec.layers.iter().position(|l| l.head_dim_k != head) {
        return Err(Error::unsupported(
            format!("blk.{i}"),
            "key heads of another size than in the first layer",
            "buckets need one size; compile the model as it is, for all lengths",
        ));
    }
    let groups = end.div_ceil(TILE_ROWS);
    let blocks = end.div_ceil(BLOCK);
    let key_chunks = groups * head / BLOCK * tile_bytes(8, true) / CHUNK_BYTES;
    let value_chunks = blocks * tile_bytes(8, false) / CHUNK_BYTES;
    let values = [
        (reg::LEN, end),
        (reg::KEY_GROUPS, groups),
        (reg::KEY_CHUNKS, key_chunks),
        (reg::VALUE_BLOCKS, blocks),
        (reg::VALUE_CHUNKS, value_chunks),
    ];
    Ok(values.map(|(reg, value)| (reg, value as u64)).to_vec())
}

/// The instruction that adds a mask, a word a position from `mask` on, to the scores which this
/// one finds the maximum of; `None` for others.
pub fn masking(insn: &Insn, mask: u32) -> Option<Insn> {
    let Insn::Vop(max) = insn else {
        return None;
    };
    (max.rn == reg::LEN && max.red == vop::MAX).then(|| {
        let add = Vop {
            red: 0,
            red_addr: 0,
            write: 1,
            d: max.a,
            dstride: max.astride,
            rd: max.ra,
            add: vop::ADD_B,
            b: mask,
            bstride: 0,
            wait: 0,
            post: 0,
            ..*max
        };
        add.into()
    })
}
