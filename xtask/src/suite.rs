//! `cargo xtask test`: set up, then every test of the workspace.

use crate::cross;
use crate::process::{cargo, echoed};
use crate::setup;
use anyhow::Result;
use verilator_sys::toolchain::{Cache, model};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Skip emulated ARM64 processors and the type check for macOS
    #[arg(long)]
    no_cross: bool,

    /// Arguments for `cargo test`, after `--`; other machines are skipped then
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
    // Selected tests are not those of the other machines.
    if arguments.no_cross || !arguments.rest.is_empty() {
        eprintln!("\nnot tested: ARM64, macOS (`cargo xtask cross` does)");
        return echoed(&mut command);
    }
    // A failure there does not hide one here, and the last lines are those of this machine's tests.
    let other = cross::run(&cross::Arguments::ALL);
    if let Err(error) = &other {
        eprintln!("error: {error:#}");
    }
    echoed(&mut command).and(other)
}
