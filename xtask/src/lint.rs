//! `cargo xtask lint`: formatting, Rust lints, RTL lints.

use crate::process::{cargo, echoed};
use anyhow::{Context, Result};
use lampyris_isa::HwConfig;
use verilator_sys::{Build, source_tree};

pub(crate) fn run() -> Result<()> {
    let root = crate::root()?;
    echoed(cargo().current_dir(&root).args(["fmt", "--all", "--check"]))?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    echoed(cargo().current_dir(&root).args(clippy))?;
    let sources = source_tree(&root.join("rtl"))?;
    eprintln!("\nVerilator -Wall over {} RTL files", sources.len());
    for (name, config) in HwConfig::NAMED {
        rtl(&config, &sources).with_context(|| format!("configuration `{name}`"))?;
        eprintln!("configuration `{name}`: clean");
    }
    Ok(())
}

fn rtl(config: &HwConfig, sources: &[std::path::PathBuf]) -> Result<()> {
    let build = config
        .parameters()
        .into_iter()
        .fold(Build::new("lampyris"), |build, (name, value)| {
            build.param(name, value)
        });
    build.sources(sources).lint()?;
    Ok(())
}
