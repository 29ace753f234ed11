//! `cargo xtask lint`: formatting, Rust lints, RTL lints.

use crate::process::{cargo, echoed};
use anyhow::{Context, Result};
use lampyris_isa::HwConfig;
use std::path::{Path, PathBuf};
use verilator_sys::{Build, source_tree};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Check the RTL alone
    #[arg(long)]
    rtl: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = crate::root()?;
    if !arguments.rtl {
        rust(&root)?;
    }
    let sources = source_tree(&root.join("rtl"))?;
    eprintln!("\nVerilator -Wall over {} RTL files", sources.len());
    for (name, config) in HwConfig::NAMED {
        rtl(&config, &sources).with_context(|| format!("configuration `{name}`"))?;
        eprintln!("configuration `{name}`: clean");
    }
    for channels in [2, 8] {
        let config = HwConfig {
            channels,
            ..HwConfig::WIDE
        };
        rtl(&config, &sources).with_context(|| format!("`wide` with {channels} channels"))?;
        eprintln!("`wide` with {channels} channels: clean");
    }
    for axi_bits in [128, 256, 512] {
        let link = Build::new("link_top").param("AxiBits", axi_bits);
        let checked = link.sources(&sources).lint();
        checked.with_context(|| format!("host link of {axi_bits} bits"))?;
    }
    eprintln!("host link: clean");
    for axi_ports in [1, 2] {
        let top = Build::new("top_axi").param("AxiPorts", axi_ports);
        let checked = top.sources(&sources).lint();
        checked.with_context(|| format!("vendor boards' top level with {axi_ports} ports"))?;
    }
    eprintln!("vendor boards' top level: clean");
    Ok(())
}

fn rust(root: &Path) -> Result<()> {
    echoed(cargo().current_dir(root).args(["fmt", "--all", "--check"]))?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    echoed(cargo().current_dir(root).args(clippy))?;
    Ok(())
}

fn rtl(config: &HwConfig, sources: &[PathBuf]) -> Result<()> {
    let build = config
        .parameters()
        .into_iter()
        .fold(Build::new("lampyris"), |build, (name, value)| {
            build.param(name, value)
        });
    build.sources(sources).lint()?;
    Ok(())
}
