//! `cargo xtask bench`: sets up what a bench needs, then runs it in release mode.

use crate::process::{cargo, echoed};
use crate::setup;
use anyhow::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which bench
    #[arg(value_enum)]
    name: Name,
    /// Install nothing; the bench says what it misses
    #[arg(long)]
    no_setup: bool,
    /// Arguments of the bench, after `--`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// The benches in `tests/benches`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Perplexity and agreement with llama.cpp (setup compiles llama.cpp)
    Accuracy,
    /// Compile time, memory, cycles, bandwidth, simulation speed
    Speed,
    /// Random programs and whole layers, functional model against RTL
    Lockstep,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let name = match arguments.name {
        Name::Accuracy => "accuracy",
        Name::Speed => "speed",
        Name::Lockstep => "lockstep",
    };
    if !arguments.no_setup {
        let bench = arguments.name == Name::Accuracy;
        setup::run(&setup::Arguments { bench })?;
    }
    let mut command = cargo();
    command.current_dir(crate::root()?);
    command.args([
        "bench",
        "--quiet",
        "--package",
        "lampyris-tests",
        "--bench",
        name,
        "--",
    ]);
    echoed(command.args(&arguments.rest))
}
