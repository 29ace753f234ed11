//! The manifest and the debug table, as JSON.

use crate::contents::{Content, are_plausible, eight, is_eight};
use crate::{Error, Result};
use lampyris_isa::HwConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of the manifest's layout.
pub const SCHEMA_VERSION: u32 = 4;

/// `manifest.json`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// [`lampyris_isa::ISA_VERSION`].
    pub isa_version: u32,
    /// Configuration that the program was allocated for.
    pub config: Config,
    /// [`HwConfig::hash`], hexadecimal.
    pub config_hash: String,
    /// The model.
    pub model: Model,
    /// Entry points: instruction index by name (`decode`, `prefill`).
    pub entries: BTreeMap<String, u32>,
    /// How operators follow each other.
    pub schedule: Schedule,
    /// Bits of a code in the KV cache, 8 if not said.
    #[serde(default = "eight", skip_serializing_if = "is_eight")]
    pub kv_bits: u8,
    /// Most tokens that one call of `prefill` takes.
    pub prefill_tokens: u32,
    /// Positions of the KV cache.
    pub context: u32,
    /// The cache is a ring that goes on past its positions; without, it ends when it is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<Ring>,
    /// Blocks of the cache that tokens see; without, all up to their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_mask: Option<Mask>,
    /// DRAM regions, in address order, without overlap.
    pub regions: Vec<Region>,
    /// The bitstream that runs the program; a directory for simulation has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// A project for a vendor's tools, in place of a bitstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Project>,
    /// Every other file with its hash.
    pub files: Vec<FileEntry>,
}

/// How the bitstream of a bundle was made, so that it can be made again. Its files lie in
/// [`crate::names::FPGA`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Name of the board.
    pub board: String,
    /// Bytes of the board's memory.
    pub memory_bytes: u64,
    /// Version of the protocol between host and board.
    pub link_protocol: u32,
    /// Programs that made the bitstream, with their versions.
    pub tools: BTreeMap<String, String>,
    /// Seed of the placement.
    pub seed: u32,
    /// Revision of the sources, if they lie in a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_revision: Option<String>,
    /// What is known of the result.
    pub figures: Vec<Figure>,
}

/// A project in [`crate::names::FPGA`] from which a vendor's tools would make a bitstream.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Name of the board.
    pub board: String,
    /// Bytes of the board's memory that the accelerator may use.
    pub memory_bytes: u64,
    /// How far it was tried.
    pub level: String,
    /// Versions of the tools that know the board.
    pub tools: String,
    /// What builds it, run in the bundle's directory.
    pub build: Vec<String>,
    /// What loads it afterwards, where the board is.
    pub load: Vec<String>,
    /// Revision of the sources, if they lie in a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_revision: Option<String>,
}

/// A number with how it was found.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Value.
    pub value: f64,
    /// Unit.
    pub unit: String,
    /// How it was found: measured, RTL-simulated, modelled or quoted.
    pub level: String,
}

/// The compiled model.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name from the model file.
    pub name: String,
    /// Architecture, such as `llama`.
    pub architecture: String,
    /// Decoder layers.
    pub layers: u32,
    /// Tokens in the vocabulary.
    pub vocab_size: u32,
    /// Parameters.
    pub parameters: u64,
    /// Bytes of KV cache for one position, over all layers.
    pub kv_bytes_per_token: u64,
    /// Bytes of weights that one decode step reads.
    pub weight_bytes_per_token: u64,
}

/// Hardware configuration; see [`HwConfig`] for units and ranges.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // the same names as in HwConfig
pub struct Config {
    pub axi_bits: u32,
    pub axi_ports: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub channels: u32,
    pub mac_rows: u32,
    pub sfu_lanes: u32,
    pub max_tokens: u32,
    pub vmem_words: u32,
    pub xbuf_blocks: u32,
    pub stream_beats: u32,
    pub icache_lines: u32,
    pub queue_depth: u32,
    pub weight_bits: u32,
    pub sparsity: u32,
    pub mul_pack: u32,
    pub clock_khz: u32,
}

macro_rules! convert {
    ($from:ty => $to:ident) => {
        impl From<$from> for $to {
            fn from(c: $from) -> Self {
                $to {
                    axi_bits: c.axi_bits,
                    axi_ports: c.axi_ports,
                    channels: c.channels,
                    mac_rows: c.mac_rows,
                    sfu_lanes: c.sfu_lanes,
                    max_tokens: c.max_tokens,
                    vmem_words: c.vmem_words,
                    xbuf_blocks: c.xbuf_blocks,
                    stream_beats: c.stream_beats,
                    icache_lines: c.icache_lines,
                    queue_depth: c.queue_depth,
                    weight_bits: c.weight_bits,
                    sparsity: c.sparsity,
                    mul_pack: c.mul_pack,
                    clock_khz: c.clock_khz,
                }
            }
        }
    };
}
convert!(HwConfig => Config);
convert!(Config => HwConfig);

/// Manifests do not name a single channel.
fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_one(channels: &u32) -> bool {
    *channels == 1
}

/// What a DRAM region holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum RegionKind {
    /// Instructions, from `program.bin`.
    Program,
    /// Constants, from `weights.bin`.
    Weights,
    /// Token ids, written by the host: u32 each.
    Tokens,
    /// Logits of the last position: f32 each.
    Logits,
    /// Keys and values; zero before the first token.
    Kv,
    /// Homes of the words of vector memory; only in spilled schedules.
    Activations,
}

/// Tokens of a block of a [`Mask`].
pub const MASK_BLOCK: u32 = 64;

/// A block-sparse attention mask: tokens see the first blocks of a text, and those up to their own.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Blocks at the beginning that all see.
    pub first: u32,
    /// Blocks that end with a token's own.
    pub window: u32,
}

/// A KV cache for texts without end: the first positions, the sinks, keep their slots, and the
/// others share the slots behind them, the latest in the place of the oldest.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// First positions that are never forgotten.
    pub sinks: u32,
    /// Positions that the program's tables of angles reach.
    pub positions: u32,
}

impl Ring {
    /// The slot of a position in a cache of `context` slots.
    pub fn slot(&self, position: usize, context: usize) -> usize {
        let sinks = self.sinks as usize;
        match position.checked_sub(sinks) {
            None => position,
            Some(past) => sinks + past % (context - sinks),
        }
    }
}

/// How operators follow each other.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Activations stay on the chip, and loads go ahead of what computes.
    #[default]
    Fused,
    /// Every operator reads its inputs from DRAM, writes its outputs there, and is over before
    /// the next begins: to compare with.
    Spilled,
}

impl RegionKind {
    /// The file with its contents; others are zero at first.
    pub fn file(self) -> Option<&'static str> {
        match self {
            RegionKind::Program => Some(crate::names::PROGRAM),
            RegionKind::Weights => Some(crate::names::WEIGHTS),
            _ => None,
        }
    }
}

/// A DRAM region.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Contents.
    pub kind: RegionKind,
    /// First byte.
    pub base: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A file of the directory.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name in the directory.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Hexadecimal SHA-256.
    pub sha256: String,
}

impl Manifest {
    /// The region of a kind.
    pub fn region(&self, kind: RegionKind) -> Option<Region> {
        self.regions.iter().copied().find(|r| r.kind == kind)
    }

    /// The entry of a file.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|f| f.name == name)
    }

    /// One past the last used byte of DRAM.
    pub fn dram_bytes(&self) -> u64 {
        self.regions
            .iter()
            .map(|r| r.base.saturating_add(r.bytes))
            .max()
            .unwrap_or(0)
    }

    /// Checks that each kind of region is there once (activations if spilled), in order, within 1 TiB, with files of the
    /// right size behind the constant ones, and room for what the host reads and writes.
    pub(crate) fn check_regions(&self, directory: &Path) -> Result<()> {
        let path = directory.join(crate::names::MANIFEST);
        let fail = |message: String| Err(Error::invalid(&path, message));
        let mut end = 0u64;
        for r in &self.regions {
            let next = r
                .base
                .checked_add(r.bytes)
                .filter(|&e| e <= lampyris_isa::insn::REG_MASK);
            match next {
                Some(next) if r.base >= end => end = next,
                _ => {
                    return fail(format!(
                        "region {:?} overlaps or exceeds the address space",
                        r.kind
                    ));
                }
            }
        }
        use RegionKind::{Activations, Kv, Logits, Program, Tokens, Weights};
        for kind in [Program, Weights, Tokens, Logits, Kv, Activations] {
            let count = self.regions.iter().filter(|r| r.kind == kind).count();
            let spilled = self.schedule == Schedule::Spilled;
            let expected = usize::from(kind != Activations || spilled);
            if count != expected {
                return fail(format!("region {kind:?} appears {count} times"));
            }
        }
        for region in &self.regions {
            let kind = region.kind;
            let Some(name) = kind.file() else {
                continue;
            };
            let file = self.file(name);
            if file.map(|f| f.bytes) != Some(region.bytes) {
                return fail(format!("region {kind:?} and file `{name}` differ in size"));
            }
        }
        if self.prefill_tokens == 0 || self.context == 0 || self.model.vocab_size == 0 {
            return fail("context, prefill_tokens and vocab_size must not be zero".into());
        }
        if let Some(Ring { sinks, positions }) = self.ring {
            // The program wraps at most once in a call.
            let room = self.context.saturating_sub(sinks);
            if room < self.prefill_tokens || positions < self.context {
                return fail(format!(
                    "a ring of {} positions with {sinks} sinks and angles for {positions} does not hold {} new ones",
                    self.context, self.prefill_tokens
                ));
            }
        }
        for (kind, words, what) in [
            (Tokens, self.prefill_tokens, "prefill_tokens"),
            (Logits, self.model.vocab_size, "vocab_size"),
        ] {
            let region = self.region(kind).expect("checked above");
            if u64::from(words) * 4 > region.bytes {
                let have = region.bytes;
                return fail(format!(
                    "{what} {words} does not fit region {kind:?} of {have} bytes"
                ));
            }
        }
        Ok(())
    }
}

/// Most bytes of a label; each instruction gets its own copy.
const LABEL_BYTES_MAX: usize = 256;

/// `debug.json`: the source of each instruction, run-length encoded, and what lies where in DRAM.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DebugTable {
    /// (first instruction, source).
    pub runs: Vec<(u32, String)>,
    /// Constants and cache in address order, disjoint.
    pub contents: Vec<Content>,
}

impl DebugTable {
    /// Packs one label per instruction.
    pub fn new(labels: &[String], contents: Vec<Content>) -> DebugTable {
        let mut runs: Vec<(u32, String)> = Vec::new();
        for (pc, label) in labels.iter().enumerate() {
            if runs.last().is_none_or(|(_, last)| last != label) {
                runs.push((pc as u32, label.clone()));
            }
        }
        DebugTable { runs, contents }
    }

    /// One label per instruction, or `None` if the table is out of order or too long, a label has
    /// more than 256 bytes, or contents are out of order.
    pub fn expand(&self, insns: usize) -> Option<Vec<String>> {
        if !are_plausible(&self.contents) {
            return None;
        }
        let mut out = Vec::with_capacity(insns);
        for (i, (start, label)) in self.runs.iter().enumerate() {
            let end = self.runs.get(i + 1).map_or(insns, |next| next.0 as usize);
            let ordered = *start as usize == out.len() && end > out.len() && end <= insns;
            if !ordered || label.len() > LABEL_BYTES_MAX {
                return None;
            }
            out.resize(end, label.clone());
        }
        (out.len() == insns).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_a_ring_come_in_turn_behind_the_sinks() {
        let ring = Ring {
            sinks: 2,
            positions: 64,
        };
        let slots: Vec<usize> = (0..14).map(|position| ring.slot(position, 6)).collect();
        assert_eq!(slots, [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4, 5]);
    }

    #[test]
    fn debug_table_round_trips_and_refuses_nonsense() {
        let labels: Vec<String> = ["a", "a", "b", "a"].map(String::from).to_vec();
        let table = DebugTable::new(&labels, vec![]);
        assert_eq!(table.runs.len(), 3);
        assert_eq!(table.expand(4), Some(labels));
        assert_eq!(table.expand(3), None);
        assert_eq!(
            DebugTable {
                runs: vec![(1, "x".into())],
                contents: vec![],
            }
            .expand(4),
            None
        );
    }
}
