//! What a compiled program will do on a configuration, by the cycle estimator. Modelled, not
//! measured.

use anyhow::Result;
use lampyris_boards::Board;
use lampyris_compiler::Plan;
use lampyris_isa::HwConfig;
use lampyris_sim::Start;
use lampyris_sim::estimate::{Estimate, PortTiming, estimate};
use serde::Serialize;

/// Part of the pins' peak that the SDR SDRAM controller gives a stream of reads (`tests/rtl_sdram`),
/// and cycles from an address to its first beat.
const SDR_STREAM: f64 = 0.99;
const SDR_LATENCY: f64 = 20.0;

/// Tokens of the prompt that a forecast of prefill is made for.
pub(crate) const PROMPT: u64 = 128;

/// One decode step, or a prompt.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Forecast {
    /// Positions attended to, at the end.
    pub(crate) position: u64,
    /// Tokens processed.
    pub(crate) tokens: u64,
    /// Bytes over the memory ports.
    pub(crate) bytes: u64,
    /// Cycles from start to halt.
    pub(crate) cycles: u64,
    /// Share of the cycles in which the port that reads weights moves a beat.
    pub(crate) port_share: f64,
    /// Share of the cycles in which the multipliers work.
    pub(crate) mac_share: f64,
    /// Speed.
    pub(crate) tokens_per_second: f64,
}

impl Forecast {
    /// What keeps it from being faster.
    pub(crate) fn bound(&self, port: PortTiming) -> &'static str {
        if self.port_share >= 0.9 * port.rate {
            "the memory"
        } else if self.mac_share >= 0.8 {
            "the multipliers"
        } else {
            "neither memory nor multipliers alone"
        }
    }
}

/// How the memory of a board, or one that never makes the port wait, looks to the estimator.
pub(crate) fn port(board: &Board) -> PortTiming {
    let Some(hardware) = &board.hardware else {
        return PortTiming::FIXED;
    };
    let clock = board.config.clock_khz;
    let pins = hardware.memory_bytes_per_second(clock) as f64;
    let port = f64::from(board.config.load_beat_bytes()) * f64::from(clock) * 1e3;
    PortTiming {
        latency: SDR_LATENCY,
        rate: (SDR_STREAM * pins / port).min(1.0),
    }
}

/// A decode step whose token is at `position`, counted from 1.
pub(crate) fn decode(
    plan: &Plan,
    hw: &HwConfig,
    port: PortTiming,
    position: u64,
) -> Result<Forecast> {
    let last = position.saturating_sub(1);
    let estimate = call(plan, hw, port, last, 1)?;
    Ok(forecast(&[estimate], hw, position, 1))
}

/// A prompt of `tokens` tokens, in calls of the plan's size.
pub(crate) fn prefill(
    plan: &Plan,
    hw: &HwConfig,
    port: PortTiming,
    tokens: u64,
) -> Result<Forecast> {
    let chunk = u64::from(plan.buffers.tokens);
    let starts = (0..tokens).step_by(chunk as usize);
    let calls: Vec<Estimate> = starts
        .map(|at| call(plan, hw, port, at, chunk.min(tokens - at)))
        .collect::<Result<_>>()?;
    Ok(forecast(&calls, hw, tokens, tokens))
}

fn call(
    plan: &Plan,
    hw: &HwConfig,
    port: PortTiming,
    position: u64,
    tokens: u64,
) -> Result<Estimate> {
    let entry = if tokens == 1 { "decode" } else { "prefill" };
    let start = Start {
        prog_base: 0,
        entry: plan.entries[entry],
        args: [tokens as u32, position as u32, 1, 0, 0, 0, 0, 0],
    };
    Ok(estimate(&plan.code.insns, &start, hw, port)?)
}

fn forecast(calls: &[Estimate], hw: &HwConfig, position: u64, tokens: u64) -> Forecast {
    let sum = |of: fn(&Estimate) -> f64| calls.iter().map(of).sum::<f64>();
    let cycles = sum(|e| e.cycles).max(1.0);
    let fetched = if hw.axi_ports == 1 {
        sum(|e| e.fetch_beats + e.write_beats)
    } else {
        0.0
    };
    Forecast {
        position,
        tokens,
        bytes: calls.iter().map(|e| e.bytes(hw)).sum::<f64>() as u64,
        cycles: cycles as u64,
        port_share: (sum(|e| e.read_beats) + fetched) / cycles,
        mac_share: sum(|e| e.mac_steps) / cycles,
        tokens_per_second: tokens as f64 * f64::from(hw.clock_khz) * 1e3 / cycles,
    }
}
