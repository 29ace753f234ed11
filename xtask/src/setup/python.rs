//! The Python environment and its pinned packages.

use crate::process::logged;
use crate::progress::{Step, already};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::NamedTempFile;
use verilator_sys::toolchain::{Cache, PythonPin};

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Makes the environment, unless a working one exists.
pub(crate) fn environment(cache: &Cache) -> Result<()> {
    let name = "Python environment";
    // pip is the last thing that goes in, so a half-made environment lacks it.
    if succeeds(Command::new(cache.python()).args(["-m", "pip", "--version"])) {
        already(name, "already there");
        return Ok(());
    }
    let venv = cache.venv();
    if venv.exists() {
        fs::remove_dir_all(&venv)
            .with_context(|| format!("cannot delete the unusable `{}`", venv.display()))?;
    }
    if !succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        bail!(
            "python3 cannot make environments: its `venv` or `ensurepip` module is missing\n\n\
             hint: sudo apt-get install python3-venv"
        );
    }
    let step = Step::start(name, "creating");
    let mut command = Command::new("python3");
    command.args(["-m", "venv"]).arg(&venv);
    logged(&mut command, &cache.logs().join("venv.log"))?;
    step.done("created");
    Ok(())
}

/// A file in pip's requirements format, with the hashes that it must check.
fn requirements(
    folder: &Path,
    name: &str,
    version: &str,
    hashes: &[&str],
) -> Result<NamedTempFile> {
    let mut line = format!("{name}=={version}");
    for hash in hashes {
        let _ = write!(line, " --hash=sha256:{hash}");
    }
    let mut file = tempfile::Builder::new()
        .prefix("requirements-")
        .suffix(".txt")
        .tempfile_in(folder)
        .with_context(|| format!("cannot write in `{}`", folder.display()))?;
    writeln!(file, "{line}").context("cannot write the requirements")?;
    Ok(file)
}

fn pip(cache: &Cache, verb: &str, requirements: &NamedTempFile) -> Command {
    let mut command = Command::new(cache.python());
    command.args(["-m", "pip", verb, "--require-hashes", "--no-deps"]);
    command.args([
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    ]);
    command.arg("--requirement").arg(requirements.path());
    command
}

/// Installs one package, unless that version is installed.
pub(crate) fn package(cache: &Cache, pin: &PythonPin) -> Result<()> {
    let name = format!("{} {}", pin.name, pin.version);
    if cache.python_package(&pin.name).as_ref() == Some(&pin.version) {
        already(&name, "already installed");
        return Ok(());
    }
    let doing = if pin.source {
        "compiling (this takes many minutes)"
    } else {
        "installing"
    };
    let step = Step::start(&name, doing);
    let hashes: Vec<_> = pin.sha256.iter().map(String::as_str).collect();
    let requirements = requirements(cache.root(), &pin.name, &pin.version, &hashes)?;
    let mut command = pip(cache, "install", &requirements);
    // Completes what an interrupted installation left.
    command.arg("--force-reinstall");
    if pin.source {
        command.args(["--no-binary", &pin.name]);
    } else {
        command.args(["--only-binary", ":all:"]);
    }
    if let Some(arguments) = &pin.cmake_args {
        command.env("CMAKE_ARGS", arguments);
    }
    logged(
        &mut command,
        &cache.logs().join(format!("{}.log", pin.name)),
    )?;
    step.done("installed");
    Ok(())
}

/// Downloads a package's wheel into `folder`; pip checks the hash.
pub(crate) fn download(
    cache: &Cache,
    name: &str,
    version: &str,
    hash: &str,
    folder: &Path,
) -> Result<()> {
    let step = Step::start(format!("{name} {version}"), "downloading");
    let requirements = requirements(cache.root(), name, version, &[hash])?;
    let mut command = pip(cache, "download", &requirements);
    command
        .args(["--only-binary", ":all:", "--dest"])
        .arg(folder);
    logged(&mut command, &cache.logs().join(format!("{name}.log")))?;
    step.done("downloaded");
    Ok(())
}
