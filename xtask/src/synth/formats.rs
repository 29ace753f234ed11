//! `cargo xtask synth --formats`: what weight formats cost in the matrix unit.

use super::netlist;
use anyhow::Result;
use lampyris_boards::{Board, Budget};
use lampyris_flow::report::utilisation;
use lampyris_flow::yosys::Family;
use lampyris_isa::HwConfig;
use lampyris_isa::config::ALL_WEIGHT_BITS;
use std::fmt::Write as _;
use verilator_sys::toolchain::Cache;

/// Counting takes a budget, and here nothing is compared with it.
const UNLIMITED: Budget = Budget {
    lut: u32::MAX,
    ff: u32::MAX,
    dsp: u32::MAX,
    bram: u32::MAX,
};

/// A table of the unit's resources with each set of formats, and with multipliers that two rows
/// share; the rest is as the board has it.
pub(super) fn compare(cache: &Cache, board: &Board) -> Result<String> {
    let with = |weight_bits, sparsity| HwConfig {
        weight_bits,
        sparsity,
        mul_pack: 0,
        ..board.config
    };
    let mut variants = vec![
        ("4 and 8 bits", with(1 << 4 | 1 << 8, 0)),
        ("all widths", with(ALL_WEIGHT_BITS, 0)),
        ("all widths, 2:4", with(ALL_WEIGHT_BITS, 1)),
        ("all widths, 2:4, 4:16", with(ALL_WEIGHT_BITS, 2)),
    ];
    if board.config.mac_rows >= 2 {
        let packed = |weight_bits, sparsity| HwConfig {
            mul_pack: 1,
            ..with(weight_bits, sparsity)
        };
        variants.push(("4 and 8 bits, shared", packed(1 << 4 | 1 << 8, 0)));
        variants.push(("all, shared", packed(ALL_WEIGHT_BITS, 2)));
    }
    let mut out = format!("synthesis of mm_unit for {}, with formats\n", board.name);
    for (name, config) in variants {
        let netlist = netlist(cache, &config, Family::Ecp5, "mm_unit", name)?;
        let _ = write!(out, "{name:<22}");
        for resource in utilisation(&netlist.cells, &UNLIMITED) {
            let _ = write!(out, " {:>8} {:<10}", resource.used, resource.name);
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    Ok(out)
}
