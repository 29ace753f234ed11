//! Block-sparse attention: tokens are divided into blocks of [`MASK_BLOCK`], and each block sees the
//! first blocks of the text and the last ones up to its own (the lambda shape of StreamingLLM and
//! LM-Infinite, the global and sliding parts of Longformer). What is hidden is neither loaded nor
//! multiplied: the matrix unit sees a shorter cache.
//!
//! A block is four row groups of keys and two blocks of values, so what is visible is two runs of
//! whole tiles, but for the block of the token itself.

use crate::error::{Error, Result};
use lampyris_bundle::{Mask, Schedule};
use lampyris_isa::HwConfig;
use lampyris_isa::format::{BLOCK, TILE_ROWS};

/// Tokens of a block.
pub const MASK_BLOCK: usize = lampyris_bundle::MASK_BLOCK as usize;

const _: () = assert!(MASK_BLOCK.is_multiple_of(TILE_ROWS) && MASK_BLOCK.is_multiple_of(BLOCK));

/// Checks a mask against what else the program is to do.
///
/// # Errors
/// A block that does not see itself; a ring, or the spilled schedule.
pub(crate) fn check(mask: Mask, hw: &HwConfig, ring: bool, schedule: Schedule) -> Result<()> {
    let refuse = |problem: &str, hint| Err(Error::unsupported("--attention-mask", problem, hint));
    if mask.window == 0 {
        return refuse(
            "a window of 0 blocks: tokens would not see themselves",
            "give a window of at least one block, such as first:1,window:4",
        );
    }
    if ring {
        return refuse(
            "a ring cache has no blocks, since its slots pass into each other",
            "take either --ring or --attention-mask",
        );
    }
    if !MASK_BLOCK.is_multiple_of(hw.tile_rows()) {
        return refuse(
            "with 8 memory channels a row group of keys is longer than a block of the mask",
            "take a configuration of up to 4 channels",
        );
    }
    if schedule == Schedule::Spilled {
        return refuse(
            "the spilled schedule uses the registers that a mask needs",
            "compile with --schedule fused",
        );
    }
    Ok(())
}

/// Most positions that a token sees.
pub(crate) fn visible(mask: Option<Mask>, context: usize) -> usize {
    let all = mask.map(|mask| (mask.first as usize).saturating_add(mask.window as usize));
    all.map_or(context, |blocks| {
        blocks.saturating_mul(MASK_BLOCK).min(context)
    })
}
