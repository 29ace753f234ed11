//! Project tasks. Each subcommand is a module of its own; `cargo xtask help` lists them.

mod bench;
mod bitstream;
mod cross;
mod demo;
mod formal;
mod generate;
mod lint;
mod process;
mod progress;
mod setup;
mod suite;
mod synth;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Project tasks"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the pinned tools and models into the cache
    Setup(setup::Arguments),
    /// Set up, build, compile a real model and decode tokens on the simulated accelerator
    Demo(demo::Arguments),
    /// Set up and run every test
    Test(suite::Arguments),
    /// Test on emulated ARM64 processors, type-check for macOS
    Cross(cross::Arguments),
    /// Write the generated files again
    Gen(generate::Arguments),
    /// Check formatting, Rust lints and RTL lints of every configuration
    Lint(lint::Arguments),
    /// Synthesise the smallest configuration and compare with the FPGA's resources
    Synth(synth::Arguments),
    /// Build a board's bundle, build it again, and drive it in simulation (an hour)
    Bitstream(bitstream::Arguments),
    /// Prove rules of RTL modules, and that errors put into them are found
    Formal(formal::Arguments),
    /// Set up for the benches and run them
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let result = match task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => suite::run(&arguments),
        Task::Cross(arguments) => cross::run(&arguments),
        Task::Gen(arguments) => generate::run(&arguments),
        Task::Lint(arguments) => lint::run(&arguments),
        Task::Synth(arguments) => synth::run(&arguments),
        Task::Bitstream(arguments) => bitstream::run(&arguments),
        Task::Formal(arguments) => formal::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root folder.
fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .context("xtask lies in a folder of the workspace")
}
