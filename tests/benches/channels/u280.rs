//! Four cores of eight pseudo-channels on a U280, from the cycles of one: arithmetic, no hardware.
//!
//! Rows of every matrix, elements of every vector and attention heads are dealt to the cores, so
//! that a core has a quarter of each unit's work. What a core lacks of a vector that the next
//! product reads in full comes from the others, as quantized blocks.

use super::{CHANNELS, Layer, estimated_layer};
use anyhow::Result;
use lampyris_sim::estimate::PortTiming;
use lampyris_tests::CompiledDir;
use lampyris_tests::figures::{Figures, Level, Target};

/// Clock of FlightLLM on this card; its HBM runs at 900 MHz, which is four times as much, as the
/// 1 GHz of the model are of the 250 MHz that match it.
const CLOCK_HZ: f64 = 225e6;
/// Pins of a pseudo-channel at that clock, bytes a second.
const PINS: f64 = 14.4e9;
const CORES: f64 = 4.0;
const LAYERS: f64 = 32.0;
/// LLaMA-2's vocabulary, width, and width of the feed-forward network.
const VOCAB: f64 = 32_000.0;
const WIDTH: f64 = 4096.0;
const FFN: f64 = 11_008.0;
/// Bits of a stored weight of the output projection: 4, and a header of 32 for a block of 32.
const HEAD_BITS: f64 = 5.0;
/// Cycles from a unit's last input to its last output: deeper than any pipeline of the RTL.
const LATENCY: f64 = 40.0;
/// Operations of a layer on the way from one vector to the next, each of which waits for the one
/// before: two norms (three operations and a quantization each), four groups of products, rotation
/// (three), softmax (six), gate (five), two quantizations, two sums.
const SERIAL: f64 = 8.0 + 4.0 + 3.0 + 6.0 + 5.0 + 2.0 + 2.0;
/// Cycles of a transfer between cores: three crossings of a die boundary, with registers.
const CROSSING: f64 = 100.0;

/// Cycles in which the cores exchange what a layer needs of each other: blocks of 32 codes with
/// their scale, one a cycle, of the three other cores. The inputs of the four groups of products:
/// two norms and the attention result are as wide as the model, the last as the feed-forward
/// network; and two sums of squares.
fn exchange() -> f64 {
    let blocks = (3.0 * WIDTH + FFN) / 32.0 * (CORES - 1.0) / CORES;
    blocks + (4.0 + 2.0) * CROSSING
}

/// Cycles of a layer on each of four cores.
fn quarter(layer: &Layer) -> f64 {
    layer.cycles / CORES + SERIAL * LATENCY * (1.0 - 1.0 / CORES)
}

/// Cycles of the output projection on each of four cores, at the rate that the memory leaves.
fn head(port: PortTiming) -> f64 {
    let bytes = VOCAB * WIDTH * HEAD_BITS / 8.0 / CORES;
    bytes / (64.0 * f64::from(CHANNELS)) / port.rate + CROSSING
}

pub(super) fn report(
    models: &[CompiledDir; 2],
    port: PortTiming,
    lengths: &[usize],
    figures: &mut Figures,
) -> Result<()> {
    let level = Level::Modelled;
    println!(
        "U280, four cores of {CHANNELS} pseudo-channels ({:.0} GB/s), 225 MHz, 2:4 INT4 (3.5 bits):",
        PINS * CORES * f64::from(CHANNELS) / 1e9
    );
    for &length in lengths {
        let layer = estimated_layer(models, port, length)?;
        let (quarter, exchange, head) = (quarter(&layer), exchange(), head(port));
        let token = LAYERS * (quarter + exchange) + head;
        let rate = CLOCK_HZ / token;
        println!("at {length}:");
        println!(
            "  a layer on one core, estimator       {:>12.0} cycles",
            layer.cycles
        );
        println!(
            "    of which beats of its port         {:>12.0}",
            layer.beats
        );
        println!("  a quarter, + {SERIAL} x {LATENCY} x 3/4 of latency  {quarter:>12.0} cycles");
        println!("  exchange between cores               {exchange:>12.0} cycles");
        println!(
            "  x {LAYERS} layers                          {:>12.0} cycles",
            LAYERS * (quarter + exchange)
        );
        println!("  output projection, a quarter         {head:>12.0} cycles");
        println!("  a token                              {token:>12.0} cycles");
        println!("  225,000,000 / that                   {rate:>12.1} tokens/s");
        let share = (LAYERS * layer.beats / CORES + head * port.rate) / token;
        let name = format!("U280 at {length}, 2:4 INT4: tokens per second");
        // FlightLLM's figure, which the target is twice and more of, is for short sequences.
        match length {
            ..=128 => figures.judge(name, rate, "tokens/s", level, Target::AtLeast(130.0)),
            _ => figures.add(name, rate, "tokens/s", level),
        }
        let name = format!("U280 at {length}: share of 460 GB/s");
        figures.add(name, 100.0 * share, "%", level);
    }
    let quoted = [
        ("FlightLLM on a U280, claimed (arXiv 2401.03868)", 55.0),
        ("FlightLLM's package on a U280 at 128, run by others", 57.1),
        ("FlightLLM's package on a U280 at 512, run by others", 52.7),
    ];
    for (name, rate) in quoted {
        figures.add(name, rate, "tokens/s", Level::Quoted);
    }
    Ok(())
}
