//! `cargo xtask cross`: the flash runtime on machines other than this one.
//!
//! Its tests are compiled for ARM64 Linux and run under an emulator, on processors with different
//! instructions; its code is type-checked for macOS. `cargo xtask test` includes it.

mod emulated;

use crate::process::{cargo, echoed};
use crate::setup::{self, cross as tools, cross::Tools};
use anyhow::Result;
use std::process::Command;
use std::time::Instant;
use verilator_sys::toolchain::Cache;

/// Crates that are type-checked for macOS.
const CHECKED: &[&str] = &[
    "lampyris-flash",
    "lampyris-kernels",
    "lampyris-io",
    "lampyris-pack",
    "lampyris-runtime",
    "lampyris-serve",
    "lampyris",
];

const MACOS: &str = "aarch64-apple-darwin";

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Emulate this processor alone (cortex-a72, cortex-a76, max)
    #[arg(long, value_name = "NAME", conflicts_with = "macos")]
    cpu: Option<String>,

    /// Only type-check for macOS
    #[arg(long)]
    macos: bool,

    /// Test this crate alone
    #[arg(long, short, value_name = "CRATE")]
    package: Option<String>,

    /// Arguments for the test programs, after `--`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// As a part of all tests: that there are no tools for this machine is said, and is no failure.
pub(crate) fn run_where_possible() -> Result<()> {
    if let Some(reason) = tools::unavailable(&Cache::locate()?) {
        eprintln!(
            "\nSKIPPED `cargo xtask cross`: {reason}. Nothing was compiled, run or checked for ARM64 \
             Linux and macOS."
        );
        return Ok(());
    }
    run(&Arguments::default())
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cache = Cache::locate()?;
    let start = Instant::now();
    let tools = {
        let _lock = setup::lock(&cache, "cross")?;
        tools::install(&cache)?
    };
    let mut report = vec![format!("tools: {:.0} s", start.elapsed().as_secs_f64())];
    if !arguments.macos {
        emulated::run(&tools, arguments, &mut report)?;
    }
    if arguments.macos || arguments.cpu.is_none() && arguments.package.is_none() {
        report.push(check(&tools)?);
    }
    eprintln!("\nother machines, {:.0} s:", start.elapsed().as_secs_f64());
    for line in report {
        eprintln!("  {line}");
    }
    Ok(())
}

/// Cargo with the unpacked compiler.
fn unpacked_cargo(tools: &Tools, target: &str) -> Result<Command> {
    let root = crate::root()?;
    let mut command = cargo();
    command.current_dir(&root);
    command.env("RUSTC", tools.script("rustc"));
    command.env("RUSTDOC", tools.script("rustdoc"));
    for variable in ["RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTFLAGS"] {
        command.env_remove(variable);
    }
    // Nobody debugs these, and they link in a third of the time.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Most runs start from nothing, where it costs time.
    command.env("CARGO_INCREMENTAL", "0");
    // The usual target folder holds what another compiler made.
    command.env("CARGO_TARGET_DIR", root.join("target/cross").join(target));
    Ok(command)
}

/// Options that optimize `some` crates a little, and neither the others nor what runs while
/// compiling. Speed is not what these builds are for, and optimizing as for native tests takes
/// minutes.
fn optimize(command: &mut Command, some: &[&str]) {
    let all = [String::new(), r#"package."*"."#.to_owned()];
    let single = OPTIMIZED.iter().map(|name| format!("package.{name}."));
    let none = all.into_iter().chain(single).map(|what| (what, 0));
    let some = some.iter().map(|name| (format!("package.{name}."), 1));
    for (what, level) in none.chain(some) {
        let option = format!("profile.dev.{what}opt-level={level}");
        command.args(["--config", &option]);
    }
}

/// Crates with a level of their own in the workspace's profile.
const OPTIMIZED: [&str; 5] = [
    "lampyris-compress",
    "lampyris-kernels",
    "lampyris-pack",
    "lampyris-runtime",
    "lampyris-sim",
];

/// Type-checks for macOS, together with the standard library, of which no binary is packaged.
fn check(tools: &Tools) -> Result<String> {
    let start = Instant::now();
    let mut command = unpacked_cargo(tools, MACOS)?;
    // Building the standard library is an unstable feature of cargo.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.args(["check", "-Zbuild-std=std,panic_abort", "--target", MACOS]);
    optimize(&mut command, &[]);
    for name in CHECKED {
        command.args(["-p", name]);
    }
    eprintln!("\ntype-checking for {MACOS}");
    echoed(&mut command)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(format!(
        "{MACOS}: {} crates type-checked in {seconds:.0} s, never run",
        CHECKED.len()
    ))
}
