//! What a configuration takes of an ECP5, without synthesis: for sweeps. Modelled.
//!
//! Block memories follow from widths and depths. LUTs and multipliers are linear in the parameters,
//! fitted to what `cargo xtask synth` counts for the configurations in the tests below, and for
//! weight formats to `cargo xtask synth --formats`; they are good to some percent near those and a
//! guess far from them.

use lampyris_isa::HwConfig;
use lampyris_isa::config::ALL_WEIGHT_BITS;
use lampyris_isa::format::BLOCK;
use serde::Serialize;

/// Resources of the accelerator, without memory controller and host link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// 4-input lookup tables, those used as memory included.
    pub lut: u64,
    /// 18 x 18 multipliers.
    pub dsp: u64,
    /// 18-kbit block memories.
    pub bram: u64,
}

/// Estimates a configuration.
pub fn resources(config: &HwConfig) -> Resources {
    Resources {
        lut: lut(config),
        dsp: dsp(config),
        bram: bram(config),
    }
}

/// Sequencer, queues, host registers, loads and stores.
const LUT_FIXED: f64 = 19_077.0;
/// A row of the array with its share of the accumulators' adders.
const LUT_ROW: f64 = 3_280.0;
/// A lane of the special-function unit.
const LUT_LANE: f64 = 3_573.0;
/// A bit of the port.
const LUT_PORT_BIT: f64 = 9.6;
/// A token's accumulators, which are LUT memory: 2 banks of 16 sums of 128 bits.
const LUT_TOKEN: f64 = 384.0;
/// All code widths in place of 4 and 8 bits, a row; then 2:4 tiles, and 4:16 ones, at all and a row.
const LUT_WIDTHS: f64 = 1_500.0;
const LUT_2_OF_4: [f64; 2] = [700.0, 1_000.0];
const LUT_4_OF_16: [f64; 2] = [350.0, 3_130.0];

fn lut(c: &HwConfig) -> u64 {
    let rows = f64::from(c.mac_rows);
    let mut lut = LUT_FIXED
        + rows * LUT_ROW
        + f64::from(c.sfu_lanes) * LUT_LANE
        + f64::from(c.axi_bits) * LUT_PORT_BIT
        + f64::from(c.max_tokens) * LUT_TOKEN;
    if c.weight_bits == ALL_WEIGHT_BITS {
        lut += rows * LUT_WIDTHS;
    }
    if c.sparsity >= 1 {
        lut += LUT_2_OF_4[0] + rows * LUT_2_OF_4[1];
    }
    if c.sparsity >= 2 {
        lut += LUT_4_OF_16[0] + rows * LUT_4_OF_16[1];
    }
    lut as u64
}

/// Multipliers of a row: 32 products, and those of its scales; of a lane; of address arithmetic.
const DSP_ROW: u32 = 39;
const DSP_LANE: u32 = 8;
const DSP_FIXED: u32 = 10;

fn dsp(c: &HwConfig) -> u64 {
    let shared = if c.mul_pack == 0 { 0 } else { c.mac_rows / 2 };
    let products = shared * BLOCK as u32;
    u64::from(DSP_FIXED + c.mac_rows * DSP_ROW - products + c.sfu_lanes * DSP_LANE)
}

/// Shapes of a block memory: width and depth.
const SHAPES: [(u64, u64); 5] = [(36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192)];

/// Blocks of a memory of `depth` words of `width` bits.
fn blocks(width: u64, depth: u64) -> u64 {
    let of = |&(w, d): &(u64, u64)| width.div_ceil(w) * depth.div_ceil(d);
    SHAPES.iter().map(of).min().unwrap_or(0)
}

/// Bits of an entry of the activation buffer, and beats of the vector loads' buffer.
const ACT_BITS: u64 = 282;
const VEC_BEATS: u64 = 128;

fn bram(c: &HwConfig) -> u64 {
    let [axi, lanes] = [c.axi_bits, c.sfu_lanes].map(u64::from);
    let vmem = lanes * blocks(32, u64::from(c.vmem_words) / lanes);
    let banks = if c.sparsity > 0 { 4 } else { 1 };
    let xbuf = banks * blocks(ACT_BITS, u64::from(c.xbuf_blocks) / banks);
    let stream = blocks(axi, c.stream_beats.into());
    let vectors = blocks(axi + 9, VEC_BEATS);
    let row = axi.max(256);
    let icache = blocks(row, u64::from(c.icache_lines) * 1024 / row);
    // Tables of the functions: two a lane, and one for what the lanes share.
    let tables = 2 * lanes + 1;
    vmem + xbuf + stream + vectors + icache + tables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counted by `cargo xtask synth` (Yosys 0.70): LUT4, MULT18X18D, DP16KD.
    #[test]
    fn the_fit_is_close_to_what_yosys_counts() {
        let small = HwConfig::SMALL;
        let counted = [
            (small, [31_500, 65, 61]),
            (
                HwConfig {
                    mac_rows: 2,
                    ..small
                },
                [34_780, 104, 61],
            ),
            (
                HwConfig {
                    sfu_lanes: 4,
                    ..small
                },
                [38_646, 81, 65],
            ),
            (
                HwConfig {
                    axi_bits: 512,
                    mac_rows: 8,
                    sfu_lanes: 8,
                    max_tokens: 8,
                    ..small
                },
                [81_908, 386, 102],
            ),
        ];
        for (config, [lut, dsp, bram]) in counted {
            let ours = resources(&config);
            assert_eq!((ours.dsp, ours.bram), (dsp, bram), "{config:?}");
            let off = ours.lut as f64 / lut as f64 - 1.0;
            assert!(
                off.abs() < 0.03,
                "{config:?}: {} LUTs, counted {lut}",
                ours.lut
            );
        }
    }
}
