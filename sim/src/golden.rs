//! What a right device computes for one token, to compare a board with.

use crate::device::{Device, Limits};
use crate::error::{Result, SimError};
use crate::model::Model;
use crate::session::{Session, Want, memory};
use lampyris_bundle::{Bundle, RegionKind};
use serde::{Deserialize, Serialize};

/// Version of the layout of [`Golden`].
pub const SCHEMA_VERSION: u32 = 1;

/// Bytes of a line.
const LINE: u64 = 64;

/// Results of one decoded token at position 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The token that is fed.
    pub token: u32,
    /// The most likely token after it.
    pub next: u32,
    /// Lines of the KV cache that are not zero afterwards, in the order of their addresses.
    pub cache: Vec<Line>,
    /// The logits' bits.
    pub logits: Vec<u32>,
}

/// 64 bytes of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Address of the first byte.
    pub addr: u64,
    /// The bytes, as little-endian words.
    pub words: Vec<u32>,
}

/// Lets the functional model compute them.
///
/// # Errors
/// Failures of the bundle or the model.
pub fn record(bundle: &Bundle) -> Result<Golden> {
    let mut model = Model::new(bundle.config, memory(bundle)?)?;
    let token = 1 % bundle.manifest.model.vocab_size;
    let (next, logits) = {
        let mut session = Session::new(bundle, &mut model, Limits::default())?;
        let calls = session.feed(&[token], Want::Logits)?;
        let next = calls.last().and_then(|call| call.next);
        (next.unwrap_or_default(), session.logits()?)
    };
    let kv = bundle
        .manifest
        .region(RegionKind::Kv)
        .ok_or(SimError::Start {
            problem: "the bundle has no KV cache".into(),
            hint: "compile the model again",
        })?;
    let mut cache = Vec::new();
    for addr in (kv.base..kv.base + kv.bytes).step_by(LINE as usize) {
        let words = line(&model, addr)?;
        if words.iter().any(|word| *word != 0) {
            cache.push(Line { addr, words });
        }
    }
    Ok(Golden {
        schema_version: SCHEMA_VERSION,
        token,
        next,
        cache,
        logits: logits.into_iter().map(f32::to_bits).collect(),
    })
}

/// Reads a line of a device's memory.
pub(crate) fn line(device: &dyn Device, addr: u64) -> Result<Vec<u32>> {
    let mut bytes = [0; LINE as usize];
    device.read_memory(addr, &mut bytes)?;
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    Ok(bytes.chunks_exact(4).map(word).collect())
}
