//! Calls of a compiled model that benches measure: from a filled cache, estimated or run.

use anyhow::{Context, Result};
use lampyris_bundle::{Bundle, RegionKind};
use lampyris_isa::insn::INSN_BYTES;
use lampyris_isa::{HwConfig, Insn};
use lampyris_sim::estimate::{Estimate, PortTiming, estimate};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Limits, Memory, Model, Start};

/// The instructions of a compiled model.
///
/// # Errors
/// Names what the bundle lacks.
pub fn program(bundle: &Bundle) -> Result<Vec<Insn>> {
    let region = bundle.manifest.region(RegionKind::Program);
    let file = region.and_then(|region| region.kind.file());
    let bytes = bundle.map(file.context("the bundle has no program")?)?;
    let words = bytes.as_ref().chunks_exact(INSN_BYTES);
    let insn = |word: &[u8]| Insn::from_bytes(word.try_into().expect("chunks of an instruction"));
    Ok(words.map(insn).collect::<Result<_, _>>()?)
}

/// Estimates the call that takes `tokens` tokens when `position` are in the cache, and gives the
/// next token.
///
/// # Errors
/// As [`estimate`].
pub fn estimated(
    bundle: &Bundle,
    program: &[Insn],
    config: &HwConfig,
    port: PortTiming,
    (position, tokens): (usize, usize),
) -> Result<Estimate> {
    let entry = if tokens == 1 { "decode" } else { "prefill" };
    let m = &bundle.manifest;
    let ring = m.ring.as_ref();
    let slot = ring.map_or(0, |ring| ring.slot(position, m.context as usize));
    let start = Start {
        entry: m.entries[entry],
        args: [tokens as u32, position as u32, 1, 0, 0, 0, slot as u32, 0],
        ..Start::default()
    };
    Ok(estimate(program, &start, config, port)?)
}

/// The memory after the functional model has read `text`.
///
/// # Errors
/// Those of the model.
pub fn filled(bundle: &Bundle, text: &[u32]) -> Result<Memory> {
    let mut device = Model::new(bundle.config, memory(bundle)?)?;
    if !text.is_empty() {
        Session::new(bundle, &mut device, Limits::default())?.feed(text, Want::Nothing)?;
    }
    Ok(device.memory().clone())
}
