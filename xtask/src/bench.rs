//! `cargo xtask bench`: sets up what the benches compare with, then runs them in release mode.

use crate::process::{cargo, echoed};
use crate::setup;
use anyhow::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install nothing; the bench says what it misses
    #[arg(long)]
    no_setup: bool,
    /// Which bench, and its arguments
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_setup {
        setup::run(&setup::Arguments { bench: true })?;
    }
    let mut command = cargo();
    command.current_dir(crate::root()?);
    command.args([
        "bench",
        "--package",
        "lampyris-tests",
        "--bench",
        "bench",
        "--",
    ]);
    echoed(command.args(&arguments.rest))
}
