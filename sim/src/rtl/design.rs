//! From the RTL folder to a Verilated design for one configuration.

use crate::error::{Result, SimError};
use lampyris_isa::HwConfig;
use std::path::{Path, PathBuf};
use verilator_sys::{Build, Design, InitialState, source_tree};

/// Name of the top module.
const TOP: &str = "lampyris";

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

/// Verilates and compiles the accelerator for a configuration, or finds it in the cache.
///
/// # Errors
/// A configuration out of range, missing tools or sources, or what Verilator or the compiler say.
pub fn build(root: &Path, config: &HwConfig, features: Features) -> Result<Design> {
    config.check()?;
    let failed = |source| SimError::Verilator {
        context: "building the RTL",
        source,
    };
    let mut build = Build::new(TOP)
        .sources(source_tree(root).map_err(failed)?)
        .trace_fst(features.waves)
        .assertions(features.assertions);
    if features.random_state {
        build = build.initial_state(InitialState::Random);
    }
    for (name, value) in config.parameters() {
        build = build.param(name, value);
    }
    let hash = format!("32'd{}", config.hash());
    build.param("ConfigHash", hash).build().map_err(failed)
}
