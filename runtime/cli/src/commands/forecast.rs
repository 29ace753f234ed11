//! Roofline forecast: what the memory port and the multipliers allow. Modelled, not measured.

use lampyris_compiler::Plan;
use lampyris_import::Model;
use lampyris_isa::HwConfig;
use serde::Serialize;

/// Bounds of one decode step.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Forecast {
    /// Positions attended to.
    pub(crate) position: u64,
    /// Bytes that must be read.
    pub(crate) bytes: u64,
    /// Cycles that the port needs for them.
    pub(crate) port_cycles: u64,
    /// Cycles that the multipliers need.
    pub(crate) mac_cycles: u64,
    /// Upper bound of the speed.
    pub(crate) tokens_per_second: f64,
}

/// Bounds for a token at `position`.
pub(crate) fn decode(
    model: &Model,
    plan: &Plan,
    config: &HwConfig,
    position: u64,
) -> anyhow::Result<Forecast> {
    let layers: u64 = plan
        .image
        .runs
        .iter()
        .map(|r| r.stride * r.count as u64)
        .sum();
    let kv: u64 = model
        .spec()
        .layers
        .iter()
        .map(|l| (l.n_kv_heads * (l.head_dim_k * 9 / 8 + l.head_dim_v + 4)) as u64)
        .sum();
    let bytes = layers + plan.image.head.bytes() + kv * position;
    let port_cycles = bytes.div_ceil(u64::from(config.beat_bytes()));
    let summary = model.summary()?;
    // Sparse matrices take fewer multiplications than the model has weights.
    let attention = summary.macs_per_token(position) - summary.linear_macs_per_token;
    let macs = plan.image.macs() + attention;
    let mac_cycles = macs.div_ceil(u64::from(config.mac_lanes()));
    let cycles = port_cycles.max(mac_cycles);
    let tokens_per_second = f64::from(config.clock_khz) * 1e3 / cycles as f64;
    Ok(Forecast {
        position,
        bytes,
        port_cycles,
        mac_cycles,
        tokens_per_second,
    })
}
