//! A compiled model on a device: loads the memory image, feeds tokens, collects results.

use crate::device::{Counters, Device, Limits, Outcome, Start};
use crate::error::{Result, SimError};
use crate::memory::Memory;
use crate::traffic::Traffic;
use lampyris_bundle::{Bundle, RegionKind};
use std::sync::Arc;

/// What a call is to produce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Only the KV cache is filled.
    Nothing,
    /// The most likely next token.
    Token,
    /// The token, and the logits in DRAM.
    Logits,
}

/// One call of an entry point.
#[derive(Clone, Debug)]
pub struct Call {
    /// Entry point, `decode` or `prefill`.
    pub entry: &'static str,
    /// Tokens processed.
    pub tokens: usize,
    /// Position of the first.
    pub position: usize,
    /// Most likely next token, if wanted.
    pub next: Option<u32>,
    /// Performance counters of this call.
    pub counters: Counters,
    /// What the bytes on the memory ports were, from a device that watches them.
    pub traffic: Option<Traffic>,
}

/// The memory of a device that runs `bundle`: program and weights mapped and shared, the rest
/// zeroed.
///
/// # Errors
/// Files that cannot be mapped, or a memory map that does not fit.
pub fn memory(bundle: &Bundle) -> Result<Memory> {
    let mut memory = Memory::new();
    for region in &bundle.manifest.regions {
        let name = format!("{:?}", region.kind).to_lowercase();
        match region.kind.file() {
            Some(file) => memory.add_shared(&name, region.base, Arc::new(bundle.map(file)?))?,
            None => memory.add_zeroed(&name, region.base, region.bytes)?,
        }
    }
    Ok(memory)
}

/// Feeds tokens to a device.
pub struct Session<'a> {
    bundle: &'a Bundle,
    device: &'a mut dyn Device,
    limits: Limits,
    position: usize,
}

impl<'a> Session<'a> {
    /// Starts a conversation on a device that holds [`memory`] of the bundle.
    ///
    /// # Errors
    /// The device is not the one that the bundle was compiled for.
    pub fn new(bundle: &'a Bundle, device: &'a mut dyn Device, limits: Limits) -> Result<Self> {
        device.check_identity()?;
        Ok(Session {
            bundle,
            device,
            limits,
            position: 0,
        })
    }

    /// Goes on with a conversation that another device began: `position` tokens are in the KV
    /// cache, which the device's memory already holds.
    ///
    /// # Errors
    /// As [`Session::new`]; more positions than the cache has.
    pub fn resume(
        bundle: &'a Bundle,
        device: &'a mut dyn Device,
        limits: Limits,
        position: usize,
    ) -> Result<Self> {
        let mut session = Session::new(bundle, device, limits)?;
        if position > session.limit() {
            return Err(SimError::Start {
                problem: format!("position {position}, the cache has {}", session.limit()),
                hint: "resume with the bundle that filled the cache",
            });
        }
        session.position = position;
        Ok(session)
    }

    /// Tokens so far: the position of the next one.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Positions that a conversation can have: those of the KV cache, or in a ring as many as the
    /// program has angles for.
    pub fn limit(&self) -> usize {
        let m = &self.bundle.manifest;
        m.ring.map_or(m.context, |ring| ring.positions) as usize
    }

    /// Positions that the KV cache has room for.
    pub fn context(&self) -> usize {
        self.bundle.manifest.context as usize
    }

    /// Forgets everything after `position`; returns the position of the next token. A ring that has
    /// overwritten what a token there must see starts again from nothing.
    pub fn rewind(&mut self, position: usize) -> usize {
        let m = &self.bundle.manifest;
        let overwritten = m.ring.is_some() && self.position > m.context as usize;
        // The last token's slot is that which it would overwrite again.
        if position + 1 < self.position && overwritten {
            self.position = 0;
        }
        self.position = self.position.min(position);
        self.position
    }

    /// The device.
    pub fn device(&mut self) -> &mut dyn Device {
        self.device
    }

    /// Processes tokens in chunks of the program's prefill size; the last chunk produces what is
    /// wanted. Returns one record per call of the accelerator.
    ///
    /// # Errors
    /// Token ids beyond the vocabulary, more positions than [`Session::limit`], and failures of
    /// the device.
    pub fn feed(&mut self, tokens: &[u32], want: Want) -> Result<Vec<Call>> {
        self.check(tokens)?;
        let chunk = self.bundle.manifest.prefill_tokens as usize;
        let chunks: Vec<&[u32]> = tokens.chunks(chunk).collect();
        let last = chunks.len().saturating_sub(1);
        let mut calls = Vec::with_capacity(chunks.len());
        for (i, chunk) in chunks.into_iter().enumerate() {
            calls.push(self.call(chunk, if i == last { want } else { Want::Nothing })?);
        }
        Ok(calls)
    }

    fn check(&self, tokens: &[u32]) -> Result<()> {
        let m = &self.bundle.manifest;
        if let Some(bad) = tokens.iter().find(|&&t| t >= m.model.vocab_size) {
            return Err(SimError::Start {
                problem: format!("token {bad} in a vocabulary of {}", m.model.vocab_size),
                hint: "the tokenizer and the model do not belong together",
            });
        }
        let wanted = self.position + tokens.len();
        if wanted <= self.limit() {
            return Ok(());
        }
        let (problem, hint) = match m.ring {
            None => (
                format!("{wanted} positions, the cache has {}", m.context),
                "compile with a longer --context, or with --ring to go on past it; or ask for fewer tokens",
            ),
            Some(ring) => (
                format!(
                    "{wanted} positions, the program has angles for {}",
                    ring.positions
                ),
                "begin a new conversation",
            ),
        };
        Err(SimError::Start { problem, hint })
    }

    fn call(&mut self, tokens: &[u32], want: Want) -> Result<Call> {
        let m = &self.bundle.manifest;
        let entry = if tokens.len() == 1 {
            "decode"
        } else {
            "prefill"
        };
        let missing = |what: &str| SimError::Start {
            problem: format!("the bundle has no {what}"),
            hint: "compile the model again",
        };
        let base = m
            .region(RegionKind::Tokens)
            .ok_or_else(|| missing("token region"))?
            .base;
        let program = m
            .region(RegionKind::Program)
            .ok_or_else(|| missing("program"))?
            .base;
        let ids: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
        self.device.write_memory(base, &ids)?;
        let context = m.context as usize;
        let slot = m.ring.map_or(0, |ring| ring.slot(self.position, context));
        let args = [
            tokens.len() as u32,
            self.position as u32,
            u32::from(want != Want::Nothing),
            u32::from(want == Want::Logits),
            0,
            0,
            slot as u32,
            0,
        ];
        let entry_index = *m.entries.get(entry).ok_or_else(|| missing(entry))?;
        self.device.start(&Start {
            prog_base: program,
            entry: entry_index,
            args,
        })?;
        match self.device.run(&self.limits)? {
            Outcome::Halted(0) => {}
            other => {
                return Err(SimError::Start {
                    problem: format!("`{entry}` ended unexpectedly: {other}"),
                    hint: "run `lampyris sim --engine lockstep` to find the first difference",
                });
            }
        }
        let next = (want != Want::Nothing).then_some(self.device.results()?[0]);
        let call = Call {
            entry,
            tokens: tokens.len(),
            position: self.position,
            next,
            counters: self.device.counters()?,
            traffic: self.device.traffic(),
        };
        self.position += tokens.len();
        Ok(call)
    }

    /// Logits of the last call that wanted them.
    ///
    /// # Errors
    /// The bundle has no region for them.
    pub fn logits(&self) -> Result<Vec<f32>> {
        let m = &self.bundle.manifest;
        let Some(region) = m.region(RegionKind::Logits) else {
            return Ok(Vec::new());
        };
        let mut bytes = vec![0; m.model.vocab_size as usize * 4];
        self.device.read_memory(region.base, &mut bytes)?;
        let value = |c: &[u8]| f32::from_le_bytes(c.try_into().expect("four bytes"));
        Ok(bytes.chunks_exact(4).map(value).collect())
    }
}
