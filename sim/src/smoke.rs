//! Walks a device from its registers to a token and says at which step it first differs from what
//! the functional model computed.
//!
//! Each step needs what the steps before it showed: a board whose memory drops an address line is
//! stopped at the memory test, not by a wrong token.

use crate::device::{Device, Limits, Outcome, Start};
use crate::error::{Result, SimError};
use crate::golden::{Golden, line};
use crate::rng::Rng;
use crate::session::{Session, Want};
use lampyris_bundle::{Bundle, RegionKind};
use lampyris_isa::asm::parse_program;
use lampyris_isa::csr;

/// The steps, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Identity, version and configuration; writable registers keep what is written.
    Registers,
    /// Address lines, data lines and random blocks of the memory.
    Memory,
    /// A program of one instruction halts with its code, then one moves data through the chip.
    Instruction,
    /// The bundle's image is written and read back.
    Load,
    /// The first layer leaves the right keys and values.
    Layer,
    /// So do all layers.
    Layers,
    /// The logits and the next token are right.
    Token,
}

impl Step {
    /// All of them.
    pub const ALL: [Step; 7] = [
        Step::Registers,
        Step::Memory,
        Step::Instruction,
        Step::Load,
        Step::Layer,
        Step::Layers,
        Step::Token,
    ];

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Step::Registers => "registers",
            Step::Memory => "memory test",
            Step::Instruction => "one instruction",
            Step::Load => "image in memory",
            Step::Layer => "one layer",
            Step::Layers => "all layers",
            Step::Token => "one token",
        }
    }
}

/// Where a device first differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The step.
    pub step: Step,
    /// What was found and what was expected.
    pub message: String,
}

/// Bytes of a random block of the memory test.
const BLOCK: usize = 1024;

/// Runs all steps up to the first that fails; `passed` hears of each that does not.
///
/// # Errors
/// The device cannot be reached; a wrong result is no error.
pub fn run(
    bundle: &Bundle,
    golden: &Golden,
    device: &mut dyn Device,
    memory_bytes: u64,
    passed: &mut dyn FnMut(Step),
) -> Result<Option<Fault>> {
    for step in Step::ALL {
        let found = match step {
            Step::Registers => registers(device)?,
            Step::Memory => memory(device, memory_bytes)?,
            Step::Instruction => instruction(device)?,
            Step::Load => load(bundle, device)?,
            Step::Layer => match token(bundle, golden, device)? {
                Some(message) => Some(message),
                None => cache(bundle, golden, device, Some(0))?,
            },
            Step::Layers => cache(bundle, golden, device, None)?,
            Step::Token => result(bundle, golden, device)?,
        };
        if let Some(message) = found {
            return Ok(Some(Fault { step, message }));
        }
        passed(step);
    }
    Ok(None)
}

type Found = Result<Option<String>>;

fn registers(device: &mut dyn Device) -> Found {
    match device.check_identity() {
        Err(SimError::Start { problem, .. }) => return Ok(Some(problem)),
        other => other?,
    }
    for value in [0x5555_5500, 0xaaaa_aa80, 0] {
        device.write_register(csr::PROG_BASE, value)?;
        let found = device.read_register(csr::PROG_BASE)?;
        if found != value {
            return Ok(Some(format!(
                "PROG_BASE is {found:#010x} after {value:#010x} was written"
            )));
        }
    }
    Ok(None)
}

/// Writes every power of two with its own address before any is read, so that a stuck or shorted
/// address line shows as the value of another address; then random blocks, for the data lines.
fn memory(device: &mut dyn Device, bytes: u64) -> Found {
    let powers: Vec<u64> = (2..40)
        .map(|bit| 1 << bit)
        .take_while(|a| a + 64 <= bytes)
        .collect();
    let addresses: Vec<u64> = std::iter::once(0).chain(powers).collect();
    let pattern = |addr: u64| (addr as u32 ^ 0x5a5a_a5a5).to_le_bytes();
    for addr in &addresses {
        device.write_memory(*addr, &pattern(*addr))?;
    }
    for addr in &addresses {
        let mut found = [0; 4];
        device.read_memory(*addr, &mut found)?;
        if found != pattern(*addr) {
            let source = addresses.iter().find(|other| pattern(**other) == found);
            let tail = source.map_or(String::new(), |other| format!(", the value of {other:#x}"));
            return Ok(Some(format!(
                "{addr:#x} holds {:#010x}, {:#010x} was written{tail}",
                u32::from_le_bytes(found),
                u32::from_le_bytes(pattern(*addr)),
            )));
        }
    }
    let mut random = Rng::new(1);
    for at in [0, bytes / 2, bytes.saturating_sub(BLOCK as u64)] {
        let at = at / 64 * 64;
        let block: Vec<u8> = (0..BLOCK).map(|_| random.bits() as u8).collect();
        device.write_memory(at, &block)?;
        let mut found = vec![0; BLOCK];
        device.read_memory(at, &mut found)?;
        if let Some(difference) = difference(at, &found, &block) {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

/// The first byte that differs.
fn difference(at: u64, found: &[u8], wanted: &[u8]) -> Option<String> {
    let first = found.iter().zip(wanted).position(|(a, b)| a != b)?;
    Some(format!(
        "{:#x} holds {:#04x}, expected {:#04x} (bits {:#04x} differ)",
        at + first as u64,
        found[first],
        wanted[first],
        found[first] ^ wanted[first]
    ))
}

/// Program at 0, data at 4 KiB, its copy at 8 KiB.
fn instruction(device: &mut dyn Device) -> Found {
    let halt = execute(device, "halt code=77")?;
    if halt != Outcome::Halted(77) {
        return Ok(Some(format!("`halt code=77` ended with: {halt}")));
    }
    let data: Vec<u8> = (0..128u32)
        .flat_map(|i| (i * 0x0101_0101).to_le_bytes())
        .collect();
    device.write_memory(0x1000, &data)?;
    device.write_memory(0x2000, &vec![0; data.len()])?;
    let copy = "ld.v addr=0x1000 count=128 rows=1 post=2\n\
                st.v addr=0x2000 count=128 wait=1\n\
                fence units=15\nhalt code=78";
    let outcome = execute(device, copy)?;
    if outcome != Outcome::Halted(78) {
        return Ok(Some(format!(
            "a copy through vector memory ended with: {outcome}"
        )));
    }
    let mut found = vec![0; data.len()];
    device.read_memory(0x2000, &mut found)?;
    Ok(difference(0x2000, &found, &data)
        .map(|text| format!("after a copy through vector memory {text}")))
}

fn execute(device: &mut dyn Device, text: &str) -> Result<Outcome> {
    let program = parse_program(text).expect("a fixed program");
    let bytes: Vec<u8> = program.iter().flat_map(|insn| insn.to_bytes()).collect();
    device.write_memory(0, &bytes)?;
    device.start(&Start::default())?;
    device.run(&SHORT)
}

/// Enough for programs of some instructions.
const SHORT: Limits = Limits {
    instructions: 1 << 16,
    cycles: 1 << 20,
};

/// Writes the bundle's image to a device: program and weights, and zeros for the rest.
///
/// # Errors
/// Files that cannot be mapped, and failures of the device.
pub fn write_image(
    bundle: &Bundle,
    device: &mut dyn Device,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let regions = &bundle.manifest.regions;
    let total = regions.iter().map(|region| region.bytes).sum();
    let mut done = 0;
    for region in regions {
        let file = region
            .kind
            .file()
            .map(|name| bundle.map(name))
            .transpose()?;
        let zeros = [0; PIECE];
        for at in (0..region.bytes).step_by(PIECE) {
            let len = PIECE.min((region.bytes - at) as usize);
            let piece = match &file {
                Some(file) => &file[at as usize..][..len],
                None => &zeros[..len],
            };
            device.write_memory(region.base + at, piece)?;
            done += len as u64;
            progress(done, total);
        }
    }
    Ok(())
}

/// Bytes that are written between two reports of progress.
const PIECE: usize = 4096;

fn load(bundle: &Bundle, device: &mut dyn Device) -> Found {
    write_image(bundle, device, &mut |_, _| {})?;
    for region in &bundle.manifest.regions {
        let Some(name) = region.kind.file() else {
            continue;
        };
        let file = bundle.map(name)?;
        // A sample: reading everything back doubles the time of loading.
        let step = (file.len() / 16).max(1).next_multiple_of(64);
        for at in (0..file.len()).step_by(step) {
            let wanted = &file[at..file.len().min(at + 64)];
            let mut found = vec![0; wanted.len()];
            device.read_memory(region.base + at as u64, &mut found)?;
            if let Some(text) = difference(region.base + at as u64, &found, wanted) {
                return Ok(Some(format!("in {name}: {text}")));
            }
        }
    }
    Ok(None)
}

/// Lets the device decode the golden token.
fn token(bundle: &Bundle, golden: &Golden, device: &mut dyn Device) -> Found {
    let mut session = Session::new(bundle, device, Limits::default())?;
    match session.feed(&[golden.token], Want::Logits) {
        Ok(_) => Ok(None),
        Err(SimError::Start { problem, .. }) => Ok(Some(problem)),
        Err(other) => Err(other),
    }
}

/// Compares keys and values, of one layer or of all; layers lie one after the other.
fn cache(bundle: &Bundle, golden: &Golden, device: &mut dyn Device, only: Option<u64>) -> Found {
    let Some(region) = bundle.manifest.region(RegionKind::Kv) else {
        return Ok(None);
    };
    let layers = u64::from(bundle.manifest.model.layers.max(1));
    let layer = |addr: u64| (addr - region.base) * layers / region.bytes;
    for wanted in &golden.cache {
        let at = layer(wanted.addr);
        if only.is_some_and(|only| only != at) {
            continue;
        }
        let found = line(device, wanted.addr)?;
        if let Some(word) = found.iter().zip(&wanted.words).position(|(a, b)| a != b) {
            return Ok(Some(format!(
                "keys and values of layer {at} (counted by size): {:#x} holds {:#010x}, expected {:#010x}",
                wanted.addr + 4 * word as u64,
                found[word],
                wanted.words[word]
            )));
        }
    }
    Ok(None)
}

fn result(bundle: &Bundle, golden: &Golden, device: &mut dyn Device) -> Found {
    let next = device.results()?[0];
    let session = Session::new(bundle, device, Limits::default())?;
    let logits = session.logits()?;
    let wrong = logits
        .iter()
        .zip(&golden.logits)
        .position(|(a, b)| a.to_bits() != *b);
    if let Some(at) = wrong {
        return Ok(Some(format!(
            "the logit of token {at} is {}, expected {}",
            logits[at],
            f32::from_bits(golden.logits[at])
        )));
    }
    if next != golden.next {
        return Ok(Some(format!(
            "the next token is {next}, expected {}",
            golden.next
        )));
    }
    Ok(None)
}
