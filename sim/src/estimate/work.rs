//! What an instruction costs its unit, from its operands. The constants are the latencies that the
//! headers of the RTL's modules state.

use crate::model::Regs;
use lampyris_isa::format::{HEADER_BYTES, Sparsity, TILE_ROWS, quant_blocks, tile_bytes};
use lampyris_isa::insn::{Deq, LdV, LdW, Quant, Vop};
use lampyris_isa::{HwConfig, Insn};

/// Beats of one run of a load, and runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Runs {
    pub(super) beats: u64,
    pub(super) rows: u64,
}

/// A product of tiles and vectors.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Product {
    pub(super) groups: u64,
    pub(super) tiles: u64,
    pub(super) tokens: u64,
    /// Beats of a tile.
    pub(super) beats: f64,
    /// Cycles that a tile takes if its beats are there.
    pub(super) cycles: f64,
    /// Cycles until a group's accumulators are read out.
    pub(super) drain: f64,
}

/// What a unit has to do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Work {
    /// Nothing: it retires after its checks.
    Nothing,
    /// Weights to the stream.
    Weights(Runs),
    /// Words to vector memory, one a cycle.
    Vector { runs: Runs, words: u64 },
    /// Beats to memory, so many cycles apart at most.
    Store { beats: u64, cycles: f64 },
    /// Tiles times vectors.
    Product(Product),
    /// The special-function unit for so many cycles.
    Special(f64),
}

/// Cycles of the parts of a special-function lane, and of reductions.
const MULTIPLY: f64 = 3.0;
const ADD: f64 = 5.0;
const FUNCTION: f64 = 6.0;
const SUM: f64 = 6.0;
const MAXIMUM: f64 = 3.0;

pub(super) fn of(insn: &Insn, regs: &Regs<'_>, hw: &HwConfig) -> Work {
    match insn {
        Insn::LdW(i) => weights(i, regs, hw),
        Insn::LdV(i) => vector(i, regs, hw),
        Insn::StV(i) => {
            let words = regs.add(i.rcount, i.count.into());
            let beats = words.div_ceil(u64::from(hw.axi_bits / 32));
            store(beats, words as f64 + 3.0)
        }
        Insn::StK(i) => {
            let code_bits = if i.nibbles == 1 { 128 } else { 256 };
            let writes = 1 + code_bits / u64::from(hw.axi_bits).min(code_bits);
            let blocks = u64::from(i.blocks);
            store(blocks * writes, (blocks * (writes + 2)) as f64)
        }
        Insn::StT(i) => {
            let blocks = u64::from(i.blocks);
            let writes = if i.nibbles == 1 { 16 } else { 32 };
            store(blocks * writes, (blocks * (writes + 2)) as f64)
        }
        Insn::Mm(i) => product(
            hw,
            [
                regs.add(i.rgroups, i.groups.into()),
                regs.add(i.rk, i.kblocks.into()),
                regs.add(i.rtokens, i.tokens.into()),
            ],
            (i.bits, i.header, i.sparsity),
        ),
        Insn::Mv(i) => product(
            hw,
            [
                regs.add(i.rgroups, i.groups.into()),
                regs.add(i.rk, i.kblocks.into()),
                1,
            ],
            (i.bits, i.header, i.sparsity),
        ),
        Insn::Vop(i) => vop(i, regs, hw),
        Insn::Quant(i) => quant(i, regs, hw),
        Insn::Deq(i) => deq(i, hw),
        _ => Work::Nothing,
    }
}

fn store(beats: u64, cycles: f64) -> Work {
    if beats == 0 {
        return Work::Nothing;
    }
    Work::Store { beats, cycles }
}

fn weights(i: &LdW, regs: &Regs<'_>, hw: &HwConfig) -> Work {
    let chunks = regs.add(i.rcount, i.count.into());
    let runs = Runs {
        beats: chunks * 512 / u64::from(hw.axi_bits),
        rows: i.rows.into(),
    };
    if runs.beats * runs.rows == 0 {
        return Work::Nothing;
    }
    Work::Weights(runs)
}

fn vector(i: &LdV, regs: &Regs<'_>, hw: &HwConfig) -> Work {
    let words = regs.add(i.rcount, i.count.into());
    let rows = u64::from(i.rows);
    if words * rows == 0 {
        return Work::Nothing;
    }
    let runs = Runs {
        beats: words.div_ceil(u64::from(hw.load_beat_bytes() / 4)),
        rows,
    };
    Work::Vector {
        runs,
        words: words * rows,
    }
}

fn product(
    hw: &HwConfig,
    [groups, kblocks, tokens]: [u64; 3],
    (bits, header, sparsity): (u8, u8, u8),
) -> Work {
    let sparsity = Sparsity::from_field(sparsity).unwrap_or(Sparsity::Dense);
    if groups == 0 {
        return Work::Nothing;
    }
    let field = usize::from(bits) + sparsity.index_bits();
    let beat = hw.axi_bits as f64 / 8.0;
    let steps = (TILE_ROWS as u32 / hw.mac_rows) as f64;
    let beats = tile_bytes(field, header == 0) as f64 / beat;
    let header_beats = if header == 0 {
        HEADER_BYTES as f64 / beat
    } else {
        0.0
    };
    // Cycles in which a step is held for a token.
    let held = if hw.rows_together(sparsity, bits.into()) {
        1
    } else {
        2
    };
    let per_token = steps * (tokens * held) as f64;
    // A header goes in while the step before is held for further cycles, if there are several, and
    // during the steps where a beat can hold more than one.
    let narrow_steps = hw
        .weight_widths()
        .any(|bits| bits as u32 * hw.mac_lanes() < hw.channels * hw.axi_bits);
    let cycles = beats.max(if tokens * held == 1 && !narrow_steps {
        per_token + header_beats
    } else {
        per_token
    });
    let at_once = hw.mac_rows.min(hw.sfu_lanes) as f64;
    Work::Product(Product {
        groups,
        tiles: kblocks / sparsity.span() as u64,
        tokens,
        beats,
        cycles,
        drain: tokens as f64 * hw.tile_rows() as f64 / at_once + 1.0,
    })
}

fn vop(i: &Vop, regs: &Regs<'_>, hw: &HwConfig) -> Work {
    let n = regs.add(i.rn, i.n.into());
    let rows = regs.add(i.rrows, i.rows.into());
    if n * rows == 0 {
        return Work::Nothing;
    }
    let lines = n.div_ceil(hw.sfu_lanes.into()) as f64;
    let second = i.mul == 1 || i.add == 1;
    let scalars = f64::from(u8::from((i.mul == 2 || i.add == 2) && i.s1_mem == 1))
        + f64::from(u8::from(i.add == 3));
    let mut latency = 8.0 + scalars + f64::from(u8::from(second));
    latency += if i.mul != 0 { MULTIPLY } else { 0.0 };
    latency += if i.add != 0 { ADD } else { 0.0 };
    latency += if (1..=3).contains(&i.func) {
        FUNCTION
    } else {
        0.0
    };
    latency += match i.red {
        0 => 0.0,
        1 => SUM,
        _ => MAXIMUM,
    };
    // Scalars of one row only are read once; each row reads its own.
    Work::Special(rows as f64 * (lines * (1.0 + f64::from(u8::from(second))) + scalars) + latency)
}

fn quant(i: &Quant, regs: &Regs<'_>, hw: &HwConfig) -> Work {
    let n = regs.add(i.rn, i.n.into());
    let rows = regs.add(i.rrows, i.rows.into());
    if n * rows == 0 {
        return Work::Nothing;
    }
    // Every block is read twice, padding included; what is left is the last block's way.
    let blocks = quant_blocks(n as usize, i.group) as u64;
    let lines = (blocks * 32 / u64::from(hw.sfu_lanes)) as f64;
    Work::Special(2.0 * rows as f64 * lines + 30.0)
}

fn deq(i: &Deq, hw: &HwConfig) -> Work {
    let blocks = u64::from(i.n) / 32;
    if blocks == 0 {
        return Work::Nothing;
    }
    let lines = 32.0 / f64::from(hw.sfu_lanes) + 1.0;
    Work::Special(blocks as f64 * lines + 8.0 + MULTIPLY + ADD)
}
