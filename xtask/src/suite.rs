//! `cargo xtask test`: set up, the emulated tests, then every test of the workspace.

use crate::cross;
use crate::process::{cargo, echoed};
use crate::setup;
use anyhow::Result;
use verilator_sys::toolchain::{Cache, model};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave out emulated ARM64 and the type check for macOS
    #[arg(long)]
    no_cross: bool,

    /// Arguments for `cargo test`, after `--`; with any, `cargo xtask cross` is left out
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::default())?;
    // Arguments choose among the native tests.
    if !arguments.no_cross && arguments.rest.is_empty() {
        cross::run_where_possible()?;
    }
    let mut command = cargo();
    // Without --no-fail-fast the first failing suite would hide the others.
    command.args(["test", "--workspace", "--no-fail-fast"]);
    command.args(&arguments.rest);
    // Crates that cannot see the cache find the real model by this variable.
    command.env("LAMPYRIS_SMOLLM2", model(&Cache::locate()?, None)?);
    command.current_dir(crate::root()?);
    echoed(&mut command)
}
