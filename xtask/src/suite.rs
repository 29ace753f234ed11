//! `cargo xtask test`: set up, then every test of the workspace.

use crate::process::{cargo, echoed};
use crate::setup;
use anyhow::Result;
use verilator_sys::toolchain::{Cache, model};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments for `cargo test`, after `--`
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::default())?;
    let mut command = cargo();
    // Without --no-fail-fast the first failing suite would hide the others.
    command.args(["test", "--workspace", "--no-fail-fast"]);
    command.args(&arguments.rest);
    // Crates that cannot see the cache find the real model by this variable.
    command.env("LAMPYRIS_SMOLLM2", model(&Cache::locate()?, None)?);
    command.current_dir(crate::root()?);
    echoed(&mut command)
}
