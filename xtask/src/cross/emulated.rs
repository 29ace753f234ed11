//! Tests compiled for ARM64 Linux, under an emulator.

use super::{Arguments, optimize, unpacked_cargo};
use crate::process::shown;
use crate::setup::cross::{self as tools, Tools};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Instant;

/// Crates whose tests run on every processor.
const TESTED: &[&str] = &["lampyris-flash", "lampyris-kernels"];

/// Crates whose tests run on the last processor alone: nothing in them depends on which it is.
const TESTED_ONCE: &[&str] = &[
    "lampyris-io",
    "lampyris-pack",
    "lampyris-runtime",
    "lampyris-serve",
    "lampyris",
];

/// Tests that the emulator cannot run or cannot run in time, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "the_process_stays_within_its_budget_and_does_not_grow",
        PROCESS,
    ),
    ("nothing_grows", PROCESS),
    ("memory_does_not_grow_with_the_matrices", PROCESS),
    ("predictors_are_trained_for_models_with_relu", SLOW),
    ("thresholds_are_calibrated_for_models_without", SLOW),
    ("training_beats_its_own_start", SLOW),
    (
        "the_file_has_the_size_and_the_perplexity_that_are_reported",
        SLOW,
    ),
    (
        "patterns_prune_every_layer_and_the_report_says_what_it_costs",
        SLOW,
    ),
    ("sweeps_are_drawn", SLOW),
    ("a_signal_leaves_nothing_behind", SLOW),
    ("flipped_header_bytes_do_no_harm", SLOW),
    ("compiled_tiny_continues_as_recorded", SLOW),
];

/// Several times what the longest test program takes.
const MOST_SECONDS: &str = "1200";
const PROCESS: &str = "it measures the process's memory, of which the emulator takes part";
const SLOW: &str = "it takes a minute or more under an emulator";

/// Crates whose loops take minutes in tests without being optimized.
const OPTIMIZED: &[&str] = &[
    "crc32fast",
    "fastrand",
    "half",
    "lampyris-flash",
    "lampyris-kernels",
    "lampyris-pack",
    "lampyris-runtime",
    "matrixmultiply",
    "ndarray",
    "serde_json",
    "sha2",
];

const LINUX: &str = "aarch64-unknown-linux-gnu";

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

/// Compiles the tests and runs them on every processor that the arguments name.
pub(super) fn run(tools: &Tools, arguments: &Arguments, report: &mut Vec<String>) -> Result<()> {
    let wanted = arguments.cpu.as_deref();
    let processors: Vec<_> = PROCESSORS
        .iter()
        .filter(|p| wanted.is_none_or(|name| name == p.name))
        .collect();
    ensure!(
        !processors.is_empty(),
        "no such processor: `{}`\n\nhint: {}",
        wanted.unwrap_or_default(),
        PROCESSORS.map(|p| p.name).join(", ")
    );
    let start = Instant::now();
    let programs = build(tools, arguments)?;
    let seconds = start.elapsed().as_secs_f64();
    report.push(format!("{LINUX}: compiled in {seconds:.0} s"));
    for processor in processors {
        report.push(test(tools, processor, &programs, arguments)?);
    }
    for (name, reason) in LEFT_OUT {
        report.push(format!("left out: `{name}`, because {reason}"));
    }
    Ok(())
}

/// A compiled test program.
struct Program {
    path: PathBuf,
    /// Cargo's name of its crate, with the version.
    package: String,
    /// Where its crate lies.
    folder: PathBuf,
}

impl Program {
    /// Reads one of cargo's messages; most are about something else.
    fn read(message: &str) -> Option<Program> {
        let message: Value = serde_json::from_str(message).ok()?;
        if message["profile"]["test"] != true {
            return None;
        }
        let manifest = Path::new(message["manifest_path"].as_str()?);
        Some(Program {
            path: message["executable"].as_str()?.into(),
            package: message["package_id"].as_str()?.to_owned(),
            folder: manifest.parent()?.to_owned(),
        })
    }

    /// Whether it belongs to one of these crates.
    fn is_of(&self, crates: &[&str]) -> bool {
        let is = |name: &&str| self.package.contains(&format!("#{name}@"));
        crates.iter().any(is)
    }
}

/// Compiles the tests, all crates at once: cargo would compile dependencies again for some of them
/// alone, with fewer features.
fn build(tools: &Tools, arguments: &Arguments) -> Result<Vec<Program>> {
    let mut command = unpacked_cargo(tools, LINUX)?;
    let linker = tools.program("aarch64-linux-gnu-gcc");
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", linker);
    // The linker's scripts name the C library by absolute paths.
    let flags = format!("-Clink-arg=--sysroot={}", tools.root().display());
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
    command.args(["test", "--no-run", "--target", LINUX]);
    command.args(["--lib", "--bins", "--tests"]);
    command.arg("--message-format=json-render-diagnostics");
    optimize(&mut command, OPTIMIZED);
    match &arguments.package {
        Some(package) => command.args(["-p", package]),
        None => command.args(TESTED.iter().chain(TESTED_ONCE).flat_map(|p| ["-p", p])),
    };
    eprintln!("\ncompiling for {LINUX}\n$ {}", shown(&command));
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "the tests do not compile for {LINUX}"
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    let programs = messages.lines().filter_map(Program::read).collect();
    Ok(programs)
}

/// A test program on one processor, kept on one CPU of this machine.
///
/// The emulator lets a load overtake an earlier store where both are sequentially consistent, which
/// ARM64 forbids (once in a million times, measured with two threads): channels then lose
/// wake-ups, and a test waits for ever. On one CPU nothing is reordered.
fn emulated(tools: &Tools, processor: &Processor, program: &Program, cpu: u32) -> Command {
    let emulator = tools.script(tools::EMULATOR);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &cpu.to_string()]);
    // Whatever still hangs is a failure, not a job without end.
    command.args(["timeout", "--kill-after=10", MOST_SECONDS]);
    command.arg(&emulator).arg(&program.path);
    for (name, _) in LEFT_OUT {
        command.args(["--skip", name]);
    }
    command.current_dir(&program.folder);
    // As cargo does; texts that tests expect are found by it.
    command.env("CARGO_MANIFEST_DIR", &program.folder);
    command.env("LAMPYRIS_EXPECT_ISAS", processor.kernels);
    // For tests that start the command: the system alone runs no ARM64 program.
    command.env("LAMPYRIS_EMULATOR", emulator);
    command.env("QEMU_CPU", processor.name);
    command
}

/// CPUs of this machine that this process may use.
fn cpus() -> Result<Vec<u32>> {
    let status = "/proc/self/status";
    let text =
        std::fs::read_to_string(status).with_context(|| format!("cannot read `{status}`"))?;
    let list = text
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .and_then(|list| parse_cpus(list.trim()));
    list.with_context(|| format!("`{status}` does not list the CPUs of this process"))
}

/// Reads a list such as `0-2,5`.
fn parse_cpus(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(cpus)
}

/// What the test programs did on one processor.
#[derive(Default)]
struct Outcome {
    counts: Counts,
    /// Programs that failed, or could not run.
    failed: Vec<String>,
}

impl Outcome {
    /// Takes the output of one program, and prints it whole: others run at the same time.
    fn add(&mut self, program: &Program, output: std::io::Result<Output>) -> Result<()> {
        let name = program.path.display();
        let output = match output {
            Ok(output) => output,
            Err(error) => {
                self.failed.push(format!("`{name}` ({error})"));
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().for_each(|line| self.counts.read(line));
        let mut terminal = std::io::stdout().lock();
        let errors = String::from_utf8_lossy(&output.stderr);
        write!(terminal, "\n{name}\n{text}{errors}").context("cannot write to standard output")?;
        if !output.status.success() {
            self.failed.push(format!("`{name}` ({})", output.status));
        }
        Ok(())
    }
}

/// Runs the tests on one processor, a program on each CPU at a time.
fn test(
    tools: &Tools,
    processor: &Processor,
    programs: &[Program],
    arguments: &Arguments,
) -> Result<String> {
    let start = Instant::now();
    eprintln!("\nprocessor {} ({})", processor.name, processor.kernels);
    let last = processor.name == PROCESSORS[PROCESSORS.len() - 1].name;
    let every = last || arguments.package.is_some();
    let queue = Mutex::new(programs.iter().filter(|p| every || p.is_of(TESTED)));
    let outcome = Mutex::new(Outcome::default());
    let work = |cpu| -> Result<()> {
        let next = || queue.lock().expect("no panic").next();
        while let Some(program) = next() {
            let mut command = emulated(tools, processor, program, cpu);
            let output = command.args(&arguments.rest).output();
            outcome.lock().expect("no panic").add(program, output)?;
        }
        Ok(())
    };
    let cpus = cpus()?;
    std::thread::scope(|scope| {
        let workers: Vec<_> = cpus.iter().map(|cpu| scope.spawn(|| work(*cpu))).collect();
        let mut results = workers.into_iter().map(|w| w.join().expect("no panic"));
        results.try_for_each(|result| result)
    })?;
    let Outcome { counts, failed } = outcome.into_inner().expect("no panic");
    if !failed.is_empty() {
        bail!("tests failed on {}: {}", processor.name, failed.join(", "));
    }
    let whole = arguments.package.is_none() && arguments.rest.is_empty();
    counts.check(processor, whole, whole && last)?;
    Ok(format!(
        "{} under qemu-user ({}): {} tests passed, {} ignored, {} left out, {:.0} s",
        processor.name,
        processor.kernels,
        counts.passed,
        counts.ignored,
        counts.left_out,
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
    left_out: u32,
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
                "filtered out" => self.left_out += number,
                _ => {}
            }
        }
    }

    /// Whether as much ran as the report says: what does not run cannot fail.
    fn check(&self, processor: &Processor, detection: bool, all: bool) -> Result<()> {
        let name = processor.name;
        ensure!(self.passed > 0, "no test ran on {name}");
        ensure!(
            self.detection || !detection,
            "the test `{DETECTION}` did not run on {name}"
        );
        ensure!(
            !all || self.left_out as usize == LEFT_OUT.len(),
            "{} tests were left out on {name}, wanted {}\n\nhint: names of tests that do not exist \
             any more stand in `LEFT_OUT`",
            self.left_out,
            LEFT_OUT.len()
        );
        Ok(())
    }
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
            left_out: 2,
            detection: true,
        };
        assert_eq!(counts, wanted);
    }

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse_cpus("0"), Some(vec![0]));
        assert_eq!(parse_cpus("0-2,5,8-9"), Some(vec![0, 1, 2, 5, 8, 9]));
        assert_eq!(parse_cpus("none"), None);
    }

    #[test]
    fn test_programs_are_read_from_what_cargo_says() {
        let line = |test: bool, program: &str| {
            format!(
                r#"{{"reason": "compiler-artifact", "manifest_path": "/w/io/Cargo.toml",
                    "package_id": "path+file:///w/io#lampyris-io@0.1.0",
                    "target": {{"name": "soak"}}, "profile": {{"test": {test}}},
                    "executable": {program}}}"#
            )
        };
        let found = Program::read(&line(true, r#""/t/soak-1""#)).unwrap();
        assert_eq!(found.path, Path::new("/t/soak-1"));
        assert_eq!(found.folder, Path::new("/w/io"));
        assert!(found.is_of(&["lampyris", "lampyris-io"]) && !found.is_of(&["lampyris"]));
        for other in [
            line(true, "null"),
            line(false, r#""/t/lampyris""#),
            r#"{"reason": "build-finished", "success": true}"#.to_owned(),
            "running 3 tests".to_owned(),
        ] {
            assert!(Program::read(&other).is_none(), "{other}");
        }
    }
}
