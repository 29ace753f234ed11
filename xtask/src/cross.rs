//! `cargo xtask cross`: the flash runtime on machines other than this one.
//!
//! Its tests are compiled for ARM64 Linux and run under an emulator, on processors with different
//! instructions; its code is type-checked for macOS.

use crate::process::{cargo, echoed, shown};
use crate::setup::{self, cross as tools, cross::Tools};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;
use verilator_sys::toolchain::Cache;

/// Crates whose tests run on every processor.
const TESTED: &[&str] = &["lampyris-flash", "lampyris-kernels"];

/// Crates whose tests run on the last processor alone: nothing in them depends on which it is.
const TESTED_ONCE: &[&str] = &["lampyris-io"];

/// Crates that are type-checked for macOS.
const CHECKED: &[&str] = &["lampyris-flash", "lampyris-kernels", "lampyris-io"];

const LINUX: &str = "aarch64-unknown-linux-gnu";
const MACOS: &str = "aarch64-apple-darwin";

/// Processors that the emulator stands for, and what the kernels must find on each.
const PROCESSORS: [Processor; 3] = [
    Processor {
        name: "cortex-a72",
        kernels: "scalar,neon",
    },
    Processor {
        name: "cortex-a76",
        kernels: "scalar,neon,neon-dotprod",
    },
    Processor {
        name: "max",
        kernels: "scalar,neon,neon-dotprod,neon-i8mm",
    },
];

struct Processor {
    name: &'static str,
    /// Names of the instruction sets, for the test that compares.
    kernels: &'static str,
}

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

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cache = Cache::locate()?;
    let start = Instant::now();
    let tools = {
        let _lock = setup::lock(&cache, "cross")?;
        tools::install(&cache)?
    };
    let mut report = vec![format!("tools: {:.0} s", start.elapsed().as_secs_f64())];
    if !arguments.macos {
        let processors: Vec<_> = PROCESSORS
            .iter()
            .filter(|p| arguments.cpu.as_deref().is_none_or(|name| name == p.name))
            .collect();
        ensure!(
            !processors.is_empty(),
            "no such processor: `{}`\n\nhint: {}",
            arguments.cpu.as_deref().unwrap_or_default(),
            PROCESSORS.map(|p| p.name).join(", ")
        );
        report.push(build(&tools, arguments)?);
        for processor in processors {
            report.push(test(&tools, processor, arguments)?);
        }
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
    // The usual target folder holds what another compiler made.
    command.env("CARGO_TARGET_DIR", root.join("target/cross").join(target));
    Ok(command)
}

fn arm_cargo(tools: &Tools, processor: &str, arguments: &Arguments) -> Result<Command> {
    let mut command = unpacked_cargo(tools, LINUX)?;
    let root = tools.root().display();
    for (name, value) in [
        (
            "LINKER",
            tools.program("aarch64-linux-gnu-gcc").display().to_string(),
        ),
        // The linker's scripts name the C library by absolute paths.
        ("RUSTFLAGS", format!("-Clink-arg=--sysroot={root}")),
        (
            "RUNNER",
            format!(
                "{} -cpu {processor}",
                tools.script(tools::EMULATOR).display()
            ),
        ),
    ] {
        let name = format!("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_{name}");
        command.env(name, value);
    }
    command.args(["test", "--target", LINUX, "--no-fail-fast"]);
    // Three instruction sets for eight formats take minutes to optimize, and speed under an
    // emulator means nothing.
    command.args([
        "--config",
        "profile.dev.package.lampyris-kernels.opt-level=1",
    ]);
    let all = processor == PROCESSORS[PROCESSORS.len() - 1].name;
    let once = TESTED_ONCE.iter().filter(|_| all);
    let packages: Vec<&str> = match &arguments.package {
        Some(package) => vec![package],
        None => TESTED.iter().chain(once).copied().collect(),
    };
    for package in packages {
        command.args(["-p", package]);
    }
    Ok(command)
}

/// Compiles the tests.
fn build(tools: &Tools, arguments: &Arguments) -> Result<String> {
    let start = Instant::now();
    let mut command = arm_cargo(tools, "max", arguments)?;
    command.args(["--lib", "--bins", "--tests", "--no-run"]);
    eprintln!("\ncompiling for {LINUX}");
    echoed(&mut command)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(format!("{LINUX}: compiled in {seconds:.0} s"))
}

/// Runs the tests on one processor.
fn test(tools: &Tools, processor: &Processor, arguments: &Arguments) -> Result<String> {
    let start = Instant::now();
    let mut command = arm_cargo(tools, processor.name, arguments)?;
    command.args(["--lib", "--bins", "--tests", "--"]);
    command.args(&arguments.rest);
    command.env("LAMPYRIS_EXPECT_ISAS", processor.kernels);
    let text = shown(&command);
    eprintln!(
        "\nprocessor {} ({})\n$ {text}",
        processor.name, processor.kernels
    );
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{text}`"))?;
    let output = child.stdout.take().context("the output is a pipe")?;
    let mut counts = Counts::default();
    let mut terminal = std::io::stdout().lock();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read the tests' output")?;
        counts.read(&line);
        writeln!(terminal, "{line}").context("cannot write to standard output")?;
    }
    let status = child.wait().context("cannot wait for the tests")?;
    if !status.success() {
        bail!(
            "tests failed on {} ({status}): {} of {}",
            processor.name,
            counts.failed,
            counts.failed + counts.passed
        );
    }
    ensure!(counts.passed > 0, "no test ran on {}", processor.name);
    let whole = arguments.package.is_none() && arguments.rest.is_empty();
    if whole && TESTED.contains(&"lampyris-kernels") {
        ensure!(
            counts.detection,
            "the test `{DETECTION}` did not run on {}",
            processor.name
        );
    }
    Ok(format!(
        "{} under qemu-user ({}): {} tests passed, {} ignored, {:.0} s",
        processor.name,
        processor.kernels,
        counts.passed,
        counts.ignored,
        start.elapsed().as_secs_f64()
    ))
}

/// The test that compares what the kernels find with what the processor has. Kernels that are not
/// found are not tested, so without it an error in detection would look like success.
const DETECTION: &str = "the_expected_instruction_sets_are_there";

/// What the test programs' lines say.
#[derive(Default, Debug, PartialEq)]
struct Counts {
    passed: u32,
    failed: u32,
    ignored: u32,
    detection: bool,
}

impl Counts {
    fn read(&mut self, line: &str) {
        if line.ends_with(&format!("{DETECTION} ... ok")) {
            self.detection = true;
        }
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Type-checks for macOS, together with the standard library, of which no binary is packaged.
fn check(tools: &Tools) -> Result<String> {
    let start = Instant::now();
    let mut command = unpacked_cargo(tools, MACOS)?;
    // Building the standard library is an unstable feature of cargo.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.args(["check", "-Zbuild-std=std,panic_abort", "--target", MACOS]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test the_expected_instruction_sets_are_there ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        ] {
            counts.read(line);
        }
        let wanted = Counts {
            passed: 4,
            failed: 2,
            ignored: 1,
            detection: true,
        };
        assert_eq!(counts, wanted);
    }
}
