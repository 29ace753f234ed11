//! From the RTL folder to a Verilated design for one configuration.

use crate::error::{Result, SimError};
use lampyris_isa::HwConfig;
use std::path::{Path, PathBuf};
use verilator_sys::{Build, Design, InitialState};

/// Name of the top module.
const TOP: &str = "lampyris";

/// The packages, which come before all modules.
const PACKAGES: [&str; 2] = ["gen/lampyris_isa_pkg.sv", "core/lampyris_pkg.sv"];

/// Folders with modules.
const FOLDERS: [&str; 8] = ["prim", "mem", "dma", "mm", "sfu", "ctrl", "gen", "core"];

/// What to build in besides the design.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Waveforms ([`super::Wave`]).
    pub waves: bool,
    /// The RTL's own assertions.
    pub assertions: bool,
    /// Registers and memories hold random bits at first, from the seed.
    pub random_state: bool,
}

/// The RTL folder of the source tree that this crate was compiled in.
pub fn default_rtl_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl")
}

/// All sources of the RTL, packages first.
///
/// # Errors
/// A folder that cannot be listed.
pub fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = PACKAGES.iter().map(|p| root.join(p)).collect();
    for folder in FOLDERS {
        let path = root.join(folder);
        let error = |source| SimError::Io {
            path: path.display().to_string(),
            source,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(error)? {
            let file = entry.map_err(error)?.path();
            let extension = file.extension().and_then(|e| e.to_str());
            if matches!(extension, Some("sv" | "v")) && !files.contains(&file) {
                found.push(file);
            }
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// Verilates and compiles the accelerator for a configuration, or finds it in the cache.
///
/// # Errors
/// A configuration out of range, missing tools or sources, or what Verilator or the compiler say.
pub fn build(root: &Path, config: &HwConfig, features: Features) -> Result<Design> {
    config.check()?;
    let mut build = Build::new(TOP)
        .sources(sources(root)?)
        .trace_fst(features.waves)
        .assertions(features.assertions);
    if features.random_state {
        build = build.initial_state(InitialState::Random);
    }
    for (name, value) in config.parameters() {
        build = build.param(name, value);
    }
    let design = build
        .param("ConfigHash", format!("32'd{}", config.hash()))
        .build();
    design.map_err(|source| SimError::Verilator {
        context: "building the RTL",
        source,
    })
}
