//! What a configuration takes of an ECP5, without synthesis: for sweeps. Modelled.
//!
//! Block memories follow from widths and depths. LUTs and multipliers are linear in the parameters,
//! fitted to what `cargo xtask synth` counts for the configurations in the tests below; they are
//! good to some percent near those and a guess far from them.

use lampyris_isa::HwConfig;
use lampyris_isa::config::ALL_WEIGHT_BITS;
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

/// Sequencer, queues, host registers, loads and stores; a row of the array with its share of the
/// accumulators' adders; a lane of the special-function unit; a bit of the port; a token's
/// accumulators, which are LUT memory.
const LUT_FIXED: f64 = 9_000.0;
const LUT_ROW: f64 = 4_600.0;
const LUT_LANE: f64 = 7_000.0;
const LUT_PORT_BIT: f64 = 10.0;
const LUT_TOKEN: f64 = 1_000.0;
/// Code widths beside 4 and 8, and sparse tiles, a row.
const LUT_WIDTHS: f64 = 1_000.0;
const LUT_SPARSE: f64 = 3_500.0;

fn lut(c: &HwConfig) -> u64 {
    let rows = f64::from(c.mac_rows);
    let widths = f64::from(u8::from(c.weight_bits == ALL_WEIGHT_BITS));
    let sparse = f64::from(u8::from(c.sparsity > 0));
    let lut = LUT_FIXED
        + rows * (LUT_ROW + widths * LUT_WIDTHS + sparse * LUT_SPARSE)
        + f64::from(c.sfu_lanes) * LUT_LANE
        + f64::from(c.axi_bits) * LUT_PORT_BIT
        + f64::from(c.max_tokens) * LUT_TOKEN;
    lut as u64
}

/// Multipliers of a row: 32 products, and those of its scales; of a lane; of address arithmetic.
const DSP_ROW: u32 = 39;
const DSP_LANE: u32 = 10;
const DSP_FIXED: u32 = 6;

fn dsp(c: &HwConfig) -> u64 {
    u64::from(DSP_FIXED + c.mac_rows * DSP_ROW + c.sfu_lanes * DSP_LANE)
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
    vmem + xbuf + stream + vectors + icache
}
