//! `cargo xtask test`: set up, then every test of the workspace.

use crate::process::{cargo, echoed};
use crate::setup;
use anyhow::Result;

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
    command.current_dir(crate::root()?);
    echoed(&mut command)
}
