//! The compiled directory: what the compiler writes, and the simulator, the host driver and the
//! board flow read.
//!
//! ```text
//! manifest.json   schema, versions, configuration, memory map, entry points, file hashes
//! program.bin     instructions, 32 bytes each
//! weights.bin     constants in the order in which they are read
//! debug.json      source of each instruction, what lies where in memory
//! tokenizer.json  tokenizer and chat template
//! fpga/           in bundles for a board: bitstream, reports, sources, golden results
//! ```
//!
//! Invariants: a directory appears whole or not at all ([`writer::Writer`]); a directory whose
//! files do not match the manifest is refused ([`Bundle::open`]).

pub mod contents;
mod error;
pub mod manifest;
pub mod writer;

pub use contents::{Content, ContentKind, Role};
pub use error::{Error, Result};
pub use manifest::{
    Build, Config, Figure, MASK_BLOCK, Manifest, Mask, Project, Region, RegionKind, Ring, Schedule,
};

use lampyris_isa::insn::INSN_BYTES;
use lampyris_isa::{HwConfig, ISA_VERSION, Insn};
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// Names of the files in a compiled directory.
pub mod names {
    /// The manifest.
    pub const MANIFEST: &str = "manifest.json";
    /// Encoded instructions.
    pub const PROGRAM: &str = "program.bin";
    /// Constant data.
    pub const WEIGHTS: &str = "weights.bin";
    /// Instruction sources.
    pub const DEBUG: &str = "debug.json";
    /// Tokenizer, special tokens and chat template.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// Folder of everything that belongs to the bitstream.
    pub const FPGA: &str = "fpga";
    /// The bitstream.
    pub const BITSTREAM: &str = "fpga/top.bit";
    /// The board's file.
    pub const BOARD: &str = "fpga/board.toml";
    /// Figures of the build.
    pub const REPORT: &str = "fpga/report.json";
    /// Folder of the RTL.
    pub const RTL: &str = "fpga/rtl";
    /// Results of the functional model, to compare a board with.
    pub const GOLDEN: &str = "fpga/golden.json";
    /// The parts of the bundle and their origins (CycloneDX).
    pub const SBOM: &str = "fpga/sbom.cdx.json";
    /// All files of a directory without a bitstream.
    pub const ALL: [&str; 5] = [MANIFEST, PROGRAM, WEIGHTS, DEBUG, TOKENIZER];
}

/// A manifest larger than this is not ours.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// Most instructions of a program: their indices have 24 bits.
const PROGRAM_INSNS_MAX: usize = 1 << 24;

/// An opened and checked compiled directory.
#[derive(Debug)]
pub struct Bundle {
    /// Where it lies.
    pub directory: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// The hardware configuration that it was compiled for.
    pub config: HwConfig,
    /// Decoded program.
    pub program: Vec<Insn>,
    /// Source of each instruction; empty if the debug table is absent.
    pub labels: Vec<String>,
    /// What lies where in DRAM, in address order; empty if the debug table is absent.
    pub contents: Vec<Content>,
}

impl Bundle {
    /// Opens a directory, checks versions, configuration, memory map and the hash of every file.
    ///
    /// # Errors
    /// Names the file or manifest entry that is wrong.
    pub fn open(directory: impl AsRef<Path>) -> Result<Bundle> {
        let directory = directory.as_ref().to_path_buf();
        let manifest = read_manifest(&directory)?;
        let config = check_versions(&directory, &manifest)?;
        manifest.check_regions(&directory)?;
        for file in &manifest.files {
            check_file(&directory, file)?;
        }
        let program = read_program(&directory, &manifest)?;
        let (labels, contents) = read_debug(&directory, &manifest, program.len())?;
        Ok(Bundle {
            directory,
            manifest,
            config,
            program,
            labels,
            contents,
        })
    }

    /// Maps one of the files that the manifest lists.
    ///
    /// # Errors
    /// The file is not listed, so that its hash was not checked, or cannot be opened or mapped.
    pub fn map(&self, name: &str) -> Result<Mmap> {
        if self.manifest.file(name).is_none() {
            let path = self.directory.join(names::MANIFEST);
            return Err(Error::invalid(&path, format!("`{name}` is not listed")));
        }
        map_file(&self.directory.join(name))
    }

    /// The source of an instruction.
    pub fn label(&self, pc: usize) -> Option<&str> {
        self.labels.get(pc).map(String::as_str)
    }
}

fn map_file(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    // SAFETY: the mapping is private and read-only; a file that another process truncates while
    // it is mapped can raise SIGBUS, as for every user of memory-mapped files.
    unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, e))
}

fn read_manifest(directory: &Path) -> Result<Manifest> {
    let path = directory.join(names::MANIFEST);
    let size = std::fs::metadata(&path)
        .map_err(|e| Error::io(&path, e))?
        .len();
    if size > MANIFEST_BYTES_MAX {
        return Err(Error::invalid(
            &path,
            format!("{size} bytes is no manifest"),
        ));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    serde_json::from_str(&text).map_err(|e| Error::invalid(&path, e.to_string()))
}

fn check_versions(directory: &Path, manifest: &Manifest) -> Result<HwConfig> {
    let path = directory.join(names::MANIFEST);
    let mismatch = |what: &'static str, found: String, expected: String| Error::Mismatch {
        path: path.clone(),
        what,
        found,
        expected,
    };
    if manifest.schema_version != manifest::SCHEMA_VERSION {
        let (found, expected) = (manifest.schema_version, manifest::SCHEMA_VERSION);
        return Err(mismatch(
            "manifest schema",
            found.to_string(),
            expected.to_string(),
        ));
    }
    if manifest.isa_version != ISA_VERSION {
        return Err(mismatch(
            "ISA version",
            manifest.isa_version.to_string(),
            ISA_VERSION.to_string(),
        ));
    }
    let config = HwConfig::from(manifest.config);
    config
        .check()
        .map_err(|e| Error::invalid(&path, format!("configuration: {e}")))?;
    let hash = format!("{:08x}", config.hash());
    if manifest.config_hash != hash {
        return Err(mismatch(
            "configuration hash",
            manifest.config_hash.clone(),
            hash,
        ));
    }
    Ok(config)
}

/// Hex SHA-256 of bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn check_file(directory: &Path, entry: &manifest::FileEntry) -> Result<()> {
    let path = directory.join(&entry.name);
    if !names::ALL[1..].contains(&entry.name.as_str()) && !is_of_bitstream(&entry.name) {
        // Also keeps paths that leave the directory out.
        let path = directory.join(names::MANIFEST);
        let message = format!("`{}` is not a file of a compiled directory", entry.name);
        return Err(Error::invalid(&path, message));
    }
    if !path.is_file() {
        return Err(Error::invalid(&path, "missing or not a file".into()));
    }
    let data = map_file(&path)?;
    if data.len() as u64 != entry.bytes {
        let message = format!("{} bytes, the manifest says {}", data.len(), entry.bytes);
        return Err(Error::invalid(&path, message));
    }
    let found = sha256_hex(&data);
    if found != entry.sha256 {
        return Err(Error::Mismatch {
            path,
            what: "SHA-256",
            found,
            expected: entry.sha256.clone(),
        });
    }
    Ok(())
}

/// Whether this is a name in the folder of the bitstream that does not lead out of it.
fn is_of_bitstream(name: &str) -> bool {
    let parts = Path::new(name).components().collect::<Vec<_>>();
    let plain = |part: &Component<'_>| matches!(part, Component::Normal(_));
    name.starts_with("fpga/") && parts.len() > 1 && parts.iter().all(plain)
}

fn read_program(directory: &Path, manifest: &Manifest) -> Result<Vec<Insn>> {
    let path = directory.join(names::PROGRAM);
    let bytes = map_file(&path)?;
    if bytes.is_empty() || bytes.len() % INSN_BYTES != 0 {
        return Err(Error::invalid(
            &path,
            format!("{} bytes is no whole number of instructions", bytes.len()),
        ));
    }
    if bytes.len() / INSN_BYTES > PROGRAM_INSNS_MAX {
        let message = format!("more than {PROGRAM_INSNS_MAX} instructions");
        return Err(Error::invalid(&path, message));
    }
    let mut program = Vec::with_capacity(bytes.len() / INSN_BYTES);
    for (at, chunk) in bytes.chunks_exact(INSN_BYTES).enumerate() {
        let chunk = chunk.try_into().expect("exact chunks");
        let insn = Insn::from_bytes(chunk)
            .map_err(|e| Error::invalid(&path, format!("instruction {at}: {e}")))?;
        program.push(insn);
    }
    for (name, entry) in &manifest.entries {
        if *entry as usize >= program.len() {
            let message = format!(
                "entry `{name}` is {entry}, the program has {} instructions",
                program.len()
            );
            return Err(Error::invalid(&path, message));
        }
    }
    Ok(program)
}

fn read_debug(
    directory: &Path,
    manifest: &Manifest,
    insns: usize,
) -> Result<(Vec<String>, Vec<Content>)> {
    let path = directory.join(names::DEBUG);
    if manifest.file(names::DEBUG).is_none() {
        return Ok((Vec::new(), Vec::new()));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    let table: manifest::DebugTable =
        serde_json::from_str(&text).map_err(|e| Error::invalid(&path, e.to_string()))?;
    let labels = table
        .expand(insns)
        .ok_or_else(|| Error::invalid(&path, "table does not fit the program".into()))?;
    Ok((labels, table.contents))
}
