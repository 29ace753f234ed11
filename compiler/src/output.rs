//! Puts the stages together and writes the compiled directory.

use crate::buffers::{self, Buffers};
use crate::contents::contents;
use crate::error::{Error, Result};
use crate::format::stored;
use crate::image::{self, Image, Item, WEIGHTS_BASE};
use crate::kv::KvFormat;
use crate::lower::{CacheMap, DataMap, Lowering, Tokens};
use crate::mask;
use crate::pack::{self, Requantized};
use crate::program::Code;
use crate::ring::Ring;
use crate::schedule::schedule;
use crate::spill::spill;
use lampyris_bundle::manifest::{DebugTable, Manifest, Model as ModelEntry, SCHEMA_VERSION};
use lampyris_bundle::writer::Writer;
use lampyris_bundle::{Content, Mask, Region, RegionKind, Ring as RingEntry, Schedule, names};
use lampyris_import::Model;
use lampyris_isa::insn::INSN_BYTES;
use lampyris_isa::{HwConfig, ISA_VERSION};
use std::collections::BTreeMap;
use std::path::Path;

/// What to compile for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Hardware.
    pub config: HwConfig,
    /// Positions of the KV cache.
    pub context: usize,
    /// How operators follow each other.
    pub schedule: Schedule,
    /// First positions that a ring cache never forgets; `None` makes no ring: texts end when the
    /// cache is full.
    pub sinks: Option<usize>,
    /// Blocks of the cache that tokens see; all if `None`.
    pub mask: Option<Mask>,
    /// How keys and values are cached.
    pub kv: KvFormat,
}

impl Options {
    /// The defaults for a configuration and a number of positions.
    pub fn new(config: HwConfig, context: usize) -> Options {
        Options {
            config,
            context,
            schedule: Schedule::default(),
            sinks: None,
            mask: None,
            kv: KvFormat::default(),
        }
    }
}

/// Serialised tokenizer for the directory.
#[derive(Clone, Debug)]
pub struct Tokenization {
    /// Contents of `tokenizer.json`.
    pub json: String,
}

/// Everything that is known before weights are packed.
#[derive(Debug)]
pub struct Plan {
    /// On-chip memory.
    pub buffers: Buffers,
    /// The cache as a ring, if it is one.
    pub ring: Option<RingEntry>,
    /// Constants.
    pub image: Image,
    /// DRAM regions.
    pub regions: Vec<Region>,
    /// What lies where in the regions of constants and cache.
    pub contents: Vec<Content>,
    /// Instructions.
    pub code: Code,
    /// Entry points.
    pub entries: BTreeMap<String, u32>,
}

/// Result of compilation.
#[derive(Debug)]
pub struct Compiled {
    /// The manifest as written.
    pub manifest: Manifest,
    /// Tensors that were not kept losslessly.
    pub requantized: Vec<Requantized>,
    /// Types whose codes became wider, without loss.
    pub widened: Vec<Widened>,
}

/// Tensors of a type whose width the configuration lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widened {
    /// Stored type.
    pub from: &'static str,
    /// Bits of a stored code.
    pub stored_bits: usize,
    /// Bits of a code in the tiles.
    pub bits: usize,
    /// Tensors.
    pub tensors: usize,
}

/// What the tiles of an image keep in more bits than are stored, by stored type.
fn widened(model: &Model, image: &Image) -> Result<Vec<Widened>> {
    let mut found: Vec<Widened> = Vec::new();
    for item in &image.items {
        let Item::Matrix(matrix) = item else {
            continue;
        };
        let ty = model.tensor_view(&matrix.tensor)?.ty;
        let (Some(stored), bits) = (stored(ty), matrix.format.bits) else {
            continue;
        };
        match found.iter_mut().find(|w| w.from == ty.name()) {
            Some(of_type) => of_type.tensors += 1,
            None if stored.bits != bits => found.push(Widened {
                from: ty.name(),
                stored_bits: stored.bits,
                bits,
                tensors: 1,
            }),
            None => {}
        }
    }
    Ok(found)
}

fn data_map(model: &Model, image: &Image, options: &Options) -> (DataMap, Vec<Region>) {
    let (spec, hw) = (model.spec(), &options.config);
    let page = |v: u64| v.next_multiple_of(4096);
    let weights = Region {
        kind: RegionKind::Weights,
        base: WEIGHTS_BASE,
        bytes: image.bytes,
    };
    let tokens = Region {
        kind: RegionKind::Tokens,
        base: page(weights.base + weights.bytes),
        bytes: 4096,
    };
    let logits_bytes = (spec.vocab_size.next_multiple_of(hw.tile_rows()) * 4) as u64;
    let logits = Region {
        kind: RegionKind::Logits,
        base: tokens.base + tokens.bytes,
        bytes: page(logits_bytes),
    };
    let kv_base = logits.base + logits.bytes;
    let mut next = kv_base;
    let mut cache = Vec::new();
    for run in &image.runs {
        let map = CacheMap::new(next, &run.spec, hw, options.context, options.kv.bits());
        next += map.layer_bytes * run.count as u64;
        cache.push(map);
    }
    let kv = Region {
        kind: RegionKind::Kv,
        base: kv_base,
        bytes: next - kv_base,
    };
    let data = DataMap {
        tokens: tokens.base,
        logits: logits.base,
        cache,
    };
    (data, vec![weights, tokens, logits, kv])
}

/// Homes of the words of vector memory, behind the other regions.
fn activations(regions: &[Region], buffers: &Buffers) -> Region {
    let end = regions.iter().map(|r| r.base + r.bytes).max().unwrap_or(0);
    Region {
        kind: RegionKind::Activations,
        base: end.next_multiple_of(4096),
        bytes: 4 * u64::from(buffers.vmem_words),
    }
}

/// Plans and lowers a model, without touching weights.
///
/// # Errors
/// The model does not fit the configuration, or uses what the instruction set cannot do.
pub fn plan(model: &Model, options: &Options) -> Result<Plan> {
    options.config.check()?;
    let spec = model.spec();
    if options.context == 0 || options.context > spec.context_length {
        return Err(Error::unsupported(
            "--context",
            format!("{} positions", options.context),
            "the model was made for fewer positions; choose 1 to its context length (see `lampyris inspect`)",
        ));
    }
    options.kv.check(spec, &options.config)?;
    let ring = options
        .sinks
        .map(|sinks| Ring::new(spec, options.context, sinks))
        .transpose()?;
    let image = image::plan(
        model,
        &options.config,
        options.context,
        ring.as_ref(),
        options.kv,
    )?;
    if let Some(mask) = options.mask {
        mask::check(mask, &options.config, ring.is_some(), options.schedule)?;
    }
    let kept = buffers::Positions {
        visible: mask::visible(options.mask, options.context),
        sinks: ring.map(|ring| ring.sinks),
    };
    let buffers = buffers::plan(spec, &options.config, kept, image.span())?;
    if let Some(ring) = &ring {
        ring.check(buffers.tokens as usize)?;
    }
    let (data, mut regions) = data_map(model, &image, options);
    let activations = activations(&regions, &buffers);
    if options.schedule == Schedule::Spilled {
        regions.push(activations);
    }
    let lowering = Lowering {
        spec,
        hw: &options.config,
        buffers: &buffers,
        image: &image,
        data: &data,
        schedule: options.schedule,
        ring: ring.as_ref(),
        mask: options.mask,
        kv: options.kv,
    };
    lowering.check()?;
    let mut code = Code::default();
    let mut entries = BTreeMap::new();
    for (name, tokens) in [("decode", Tokens::One), ("prefill", Tokens::Counted)] {
        entries.insert(name.to_owned(), code.insns.len() as u32);
        let mut nodes = lowering.entry(tokens);
        if options.schedule == Schedule::Spilled {
            nodes = spill(nodes, tokens, activations.base)?;
        }
        code.append(&schedule(nodes, options.config.queue_depth as usize));
    }
    check_code(&code)?;
    let bytes = (code.insns.len() * INSN_BYTES) as u64;
    regions.insert(
        0,
        Region {
            kind: RegionKind::Program,
            base: 0,
            bytes,
        },
    );
    Ok(Plan {
        buffers,
        ring: ring.map(|ring| ring.entry()),
        contents: contents(&image, &data),
        image,
        regions,
        code,
        entries,
    })
}

/// Every field value fits its width and the program fits below the constants.
fn check_code(code: &Code) -> Result<()> {
    for (insn, label) in code.insns.iter().zip(&code.labels) {
        if let Err((field, value)) = insn.check_ranges() {
            return Err(Error::unsupported(
                label.as_str(),
                format!(
                    "{value} does not fit `{}` of `{}` ({} bits)",
                    field.name,
                    insn.spec().mnemonic,
                    field.width
                ),
                "the model has a dimension beyond the instruction set's limits",
            ));
        }
    }
    if (code.insns.len() * INSN_BYTES) as u64 > WEIGHTS_BASE {
        return Err(Error::unsupported(
            "program",
            format!("{} instructions", code.insns.len()),
            "at most 32768 fit",
        ));
    }
    Ok(())
}

/// Compiles a model to a directory, which appears whole or not at all. `progress` is called with
/// the bytes of weights written and their total.
///
/// # Errors
/// As [`plan`], or a weight is not finite, or the directory cannot be written.
pub fn compile(
    model: &Model,
    tokenization: &Tokenization,
    options: &Options,
    target: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Compiled> {
    let plan = plan(model, options)?;
    let mut writer = Writer::create(target)?;
    let mut program = writer.file(names::PROGRAM)?;
    for insn in &plan.code.insns {
        program.write(&insn.to_bytes())?;
    }
    writer.close(program)?;
    let mut weights = writer.file(names::WEIGHTS)?;
    let total = plan.image.bytes;
    let requantized = pack::write(model, &plan.image, &mut weights, &mut |done| {
        progress(done, total)
    })?;
    writer.close(weights)?;
    let debug = serde_json::to_string(&DebugTable::new(&plan.code.labels, plan.contents.clone()))
        .expect("plain data");
    writer.write(names::DEBUG, debug.as_bytes())?;
    writer.write(names::TOKENIZER, tokenization.json.as_bytes())?;
    let manifest = writer.finish(manifest(model, options, &plan)?)?;
    Ok(Compiled {
        manifest,
        requantized,
        widened: widened(model, &plan.image)?,
    })
}

fn manifest(model: &Model, options: &Options, plan: &Plan) -> Result<Manifest> {
    let spec = model.spec();
    let kv = plan
        .regions
        .iter()
        .find(|r| r.kind == RegionKind::Kv)
        .map_or(0, |r| r.bytes);
    let layers: u64 = plan
        .image
        .runs
        .iter()
        .map(|r| r.stride * r.count as u64)
        .sum();
    let summary = model.summary()?.parameters;
    Ok(Manifest {
        build: None,
        project: None,
        schema_version: SCHEMA_VERSION,
        isa_version: ISA_VERSION,
        config: options.config.into(),
        config_hash: format!("{:08x}", options.config.hash()),
        model: ModelEntry {
            name: spec.name.clone(),
            architecture: spec.architecture.to_string(),
            layers: spec.layers.len() as u32,
            vocab_size: spec.vocab_size as u32,
            parameters: summary,
            kv_bytes_per_token: kv / options.context as u64,
            weight_bytes_per_token: layers + plan.image.head.bytes(),
        },
        entries: plan.entries.clone(),
        schedule: options.schedule,
        kv_bits: options.kv.bits() as u8,
        prefill_tokens: plan.buffers.tokens,
        context: options.context as u32,
        ring: plan.ring,
        attention_mask: options.mask,
        regions: plan.regions.clone(),
        files: Vec::new(),
    })
}
