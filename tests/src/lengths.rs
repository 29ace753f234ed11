//! Three ways to serve all lengths with one model: straight-line programs, programs padded to
//! buckets (FlightLLM, arXiv 2401.03868, section 5), and ours with registers and loops.

use crate::CompiledDir;
use anyhow::{Context, Result, bail, ensure};
use lampyris_bundle::{Bundle, RegionKind};
use lampyris_compiler::buckets::{self, MASKED, POSITION, masking};
use lampyris_import::arch::ModelSpec;
use lampyris_isa::Insn;
use lampyris_isa::insn::{Alu, Fence, LdV};
use lampyris_sim::session::memory;
use lampyris_sim::straight::{Options, straight_length, straighten};
use lampyris_sim::{Device, Limits, Memory, Outcome, Start};

/// Sizes of buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buckets {
    /// Tokens of a prompt.
    pub prefill: usize,
    /// Positions of a decode step.
    pub decode: usize,
}

impl Buckets {
    /// Those of FlightLLM.
    pub const FLIGHTLLM: Buckets = Buckets {
        prefill: 128,
        decode: 16,
    };
}

/// How lengths are served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A straight-line program for each call.
    Straight,
    /// One for each bucket, padded.
    Padded(Buckets),
}

/// A program with its entries, and the calls that hosts make of them.
#[derive(Clone, Copy, Debug)]
pub struct Calls<'a> {
    /// Instructions.
    pub program: &'a [Insn],
    /// Index of `decode`.
    pub decode: u32,
    /// Index of `prefill`.
    pub prefill: u32,
    /// Most tokens of a call of `prefill`.
    pub tokens: usize,
}

impl<'a> Calls<'a> {
    /// Those of a compiled directory.
    ///
    /// # Errors
    /// It lacks an entry.
    pub fn of_bundle(bundle: &'a Bundle) -> Result<Calls<'a>> {
        let m = &bundle.manifest;
        let entry = |name: &str| m.entries.get(name).copied().context("an entry is missing");
        Ok(Calls {
            program: &bundle.program,
            decode: entry("decode")?,
            prefill: entry("prefill")?,
            tokens: m.prefill_tokens as usize,
        })
    }

    /// The call for some tokens at a position; `head`: the next token is wanted.
    pub fn start(&self, tokens: usize, position: usize, head: bool) -> Start {
        let entry = if tokens == 1 {
            self.decode
        } else {
            self.prefill
        };
        Start {
            prog_base: 0,
            entry,
            args: [tokens as u32, position as u32, head.into(), 0, 0, 0, 0, 0],
        }
    }

    /// The straight-line program of a call.
    ///
    /// # Errors
    /// As [`straighten`].
    pub fn straight(&self, start: &Start) -> Result<Vec<Insn>> {
        self.form(start, &Options::default())
    }

    fn form(&self, start: &Start, options: &Options<'_>) -> Result<Vec<Insn>> {
        let mut out = Vec::new();
        straighten(self.program, start, options, &mut |insn| out.push(insn))?;
        Ok(out)
    }

    /// Instructions of the straight-line program of a call.
    ///
    /// # Errors
    /// As [`straighten`].
    pub fn straight_length(&self, start: &Start) -> Result<u64> {
        let options = Options::default();
        Ok(straight_length(self.program, start, &options)?)
    }

    /// The decode program of the bucket that ends before position `end`.
    ///
    /// # Errors
    /// As [`straighten`] and [`buckets::registers`].
    pub fn bucket(&self, spec: &ModelSpec, end: usize, mask: &Mask) -> Result<Vec<Insn>> {
        let pinned = buckets::registers(spec, end)?;
        let ahead = |insn: &Insn| masking(insn, mask.words);
        let options = Options {
            unknown: 1 << POSITION,
            pinned: &pinned,
            ahead: Some(&ahead),
        };
        let mut out = mask.load(end);
        out.extend(self.form(&self.start(1, 0, true), &options)?);
        Ok(out)
    }
}

/// Where the mask of the bucketed programs lies.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// DRAM address of its table: `positions` zeros, then as many times [`MASKED`].
    pub table: u64,
    /// Zeros of the table.
    pub positions: usize,
    /// First word in vector memory.
    pub words: u32,
}

/// A register that compiled programs do not use.
const SCRATCH: u8 = 7;

impl Mask {
    /// Loads the mask of the call's position: words up to it are zero.
    fn load(&self, end: usize) -> Vec<Insn> {
        let offset = Alu {
            rd: SCRATCH,
            rs: POSITION,
            func: 2,
            use_imm: 1,
            imm: -4,
            ..Alu::default()
        };
        let load = LdV {
            rbase: SCRATCH,
            addr: self.table + 4 * (self.positions as u64 - 1),
            count: end as u32,
            rows: 1,
            dst: self.words,
            ..LdV::default()
        };
        vec![offset.into(), load.into(), Fence { units: 15 }.into()]
    }

    fn contents(&self) -> Vec<u8> {
        let zeros = std::iter::repeat_n(0f32, self.positions);
        let rest = std::iter::repeat_n(MASKED, self.positions);
        zeros.chain(rest).flat_map(f32::to_le_bytes).collect()
    }
}

/// Room for one straight-line program.
const PROGRAM_BYTES: u64 = 16 << 20;

/// Runs a compiled model by programs that are made for each call.
pub struct Runner<'a> {
    bundle: &'a Bundle,
    spec: &'a ModelSpec,
    way: Way,
    mask: Mask,
    /// Address of the straight-line program.
    base: u64,
}

impl<'a> Runner<'a> {
    /// A runner, with `vmem_used` words of vector memory taken by the program.
    ///
    /// # Errors
    /// No room for the mask in vector memory.
    pub fn new(
        compiled: &'a CompiledDir,
        spec: &'a ModelSpec,
        vmem_used: u32,
        way: Way,
    ) -> Result<Runner<'a>> {
        let bundle = &compiled.bundle;
        let positions = bundle.manifest.context as usize;
        let words = vmem_used.next_multiple_of(8);
        ensure!(
            words as usize + positions <= bundle.config.vmem_words as usize,
            "vector memory has no room for a mask"
        );
        let base = bundle.manifest.dram_bytes().next_multiple_of(4096);
        let mask = Mask {
            table: base + PROGRAM_BYTES,
            positions,
            words,
        };
        Ok(Runner {
            bundle,
            spec,
            way,
            mask,
            base,
        })
    }

    /// The memory for a device that runs it.
    ///
    /// # Errors
    /// As [`memory`].
    pub fn memory(&self) -> Result<Memory> {
        let mut memory = memory(self.bundle)?;
        memory.add_zeroed("straight", self.base, PROGRAM_BYTES)?;
        memory.add_data("mask", self.mask.table, self.mask.contents())?;
        Ok(memory)
    }

    /// Generates `count` tokens after a prompt.
    ///
    /// # Errors
    /// Programs that cannot be made or do not halt.
    pub fn generate(
        &self,
        device: &mut dyn Device,
        prompt: &[u32],
        count: usize,
    ) -> Result<Vec<u32>> {
        let (mut position, mut next) = match self.way {
            Way::Straight => (prompt.len(), self.read_exact(device, prompt)?),
            Way::Padded(buckets) => {
                let (&last, rest) = prompt.split_last().context("an empty prompt")?;
                self.read_padded(device, rest, buckets)?;
                (prompt.len(), self.decode(device, last, rest.len())?)
            }
        };
        let mut out = vec![next];
        while out.len() < count {
            next = self.decode(device, next, position)?;
            position += 1;
            out.push(next);
        }
        Ok(out)
    }

    fn read_exact(&self, device: &mut dyn Device, prompt: &[u32]) -> Result<u32> {
        let calls = Calls::of_bundle(self.bundle)?;
        let (mut position, mut next) = (0, 0);
        for chunk in prompt.chunks(calls.tokens) {
            let last = position + chunk.len() == prompt.len();
            let start = calls.start(chunk.len(), position, last);
            next = self.call(device, &calls.straight(&start)?, chunk, &start)?;
            position += chunk.len();
        }
        Ok(next)
    }

    /// Fills the cache with a prompt and what pads it to its bucket.
    fn read_padded(&self, device: &mut dyn Device, prompt: &[u32], b: Buckets) -> Result<()> {
        let calls = Calls::of_bundle(self.bundle)?;
        let mut padded = prompt.to_vec();
        padded.resize(prompt.len().next_multiple_of(b.prefill), 0);
        ensure!(
            padded.len() <= self.mask.positions,
            "the bucket exceeds the cache"
        );
        for (i, chunk) in padded.chunks(calls.tokens).enumerate() {
            let start = calls.start(chunk.len(), i * calls.tokens, false);
            self.call(device, &calls.straight(&start)?, chunk, &start)?;
        }
        Ok(())
    }

    fn decode(&self, device: &mut dyn Device, token: u32, position: usize) -> Result<u32> {
        let calls = Calls::of_bundle(self.bundle)?;
        let start = calls.start(1, position, true);
        let program = match self.way {
            Way::Straight => calls.straight(&start)?,
            Way::Padded(b) => {
                let end = (position + 1).next_multiple_of(b.decode);
                calls.bucket(self.spec, end, &self.mask)?
            }
        };
        self.call(device, &program, &[token], &start)
    }

    /// Runs one program; the token it returns.
    fn call(
        &self,
        device: &mut dyn Device,
        program: &[Insn],
        tokens: &[u32],
        start: &Start,
    ) -> Result<u32> {
        let bytes: Vec<u8> = program.iter().flat_map(|insn| insn.to_bytes()).collect();
        ensure!(
            bytes.len() as u64 <= PROGRAM_BYTES,
            "the program is too long"
        );
        device.write_memory(self.base, &bytes)?;
        let region = self.bundle.manifest.region(RegionKind::Tokens);
        let ids: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
        device.write_memory(region.context("no tokens region")?.base, &ids)?;
        device.start(&Start {
            prog_base: self.base,
            entry: 0,
            args: start.args,
        })?;
        match device.run(&Limits::default())? {
            Outcome::Halted(0) => Ok(device.results()?[0]),
            other => bail!("the straight-line program ended with {other}"),
        }
    }
}
