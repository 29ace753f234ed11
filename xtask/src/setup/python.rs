//! The Python environment and its pinned packages.

use super::debian;
use crate::process::{logged, succeeds};
use crate::progress::{Step, already};
use anyhow::{Context, Result, anyhow, bail};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;
use verilator_sys::toolchain::{Cache, Pins, PythonPin, python};

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
    let step = Step::start(name, "creating");
    create(cache, &python())?;
    step.done("created");
    Ok(())
}

/// Makes the environment with pip in it. Debian's interpreter carries no pip unless the package
/// python3-venv is installed; then pip comes out of the package that python3-venv takes it from.
fn create(cache: &Cache, interpreter: &OsStr) -> Result<()> {
    let usual = cache.logs().join("venv.log");
    if venv(cache, interpreter, &[], &usual).is_ok() {
        return Ok(());
    }
    let log = cache.logs().join("venv-without-pip.log");
    venv(cache, interpreter, &["--clear", "--without-pip"], &log)?;
    bring_pip(cache).map_err(|error| {
        let error = format!("{error:#}");
        let hint = if error.contains("hint:") {
            ""
        } else {
            "\n\nhint: sudo apt-get update && sudo apt-get install python3-venv, then run the same \
             command again; without apt, set LAMPYRIS_PYTHON to an interpreter whose venv module \
             brings pip"
        };
        anyhow!(
            "`{} -m venv` brings no pip (its output: {}), and pip could not be brought from \
             Debian's package: {error}{hint}",
            interpreter.display(),
            usual.display()
        )
    })
}

fn venv(cache: &Cache, interpreter: &OsStr, options: &[&str], log: &Path) -> Result<()> {
    let mut command = Command::new(interpreter);
    command.args(["-m", "venv"]).args(options).arg(cache.venv());
    logged(&mut command, log)
}

/// Lets the pip inside Debian's wheel install that wheel into the environment.
fn bring_pip(cache: &Cache) -> Result<()> {
    let packages = &Pins::get().debian.pip_wheel;
    let unpacked = debian::unpack(cache, packages)?;
    let folder = unpacked.root().join("usr/share/python-wheels");
    let wheels = debian::files(&folder, "pip-", ".whl")?;
    let [wheel] = wheels.as_slice() else {
        bail!(
            "{} holds {} wheels of pip, wanted one",
            packages.join(" "),
            wheels.len()
        );
    };
    let mut command = Command::new(cache.python());
    command.arg(wheel.join("pip"));
    command.args(["install", "--no-index", "--no-deps", "--no-input"]);
    command.arg("--disable-pip-version-check").arg(wheel);
    logged(&mut command, &cache.logs().join("pip.log"))
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
    if let Some(arguments) = cmake_args(pin, has_avx512()) {
        command.env("CMAKE_ARGS", arguments);
    }
    logged(
        &mut command,
        &cache.logs().join(format!("{}.log", pin.name)),
    )?;
    step.done("installed");
    Ok(())
}

/// `CMAKE_ARGS` for this processor.
fn cmake_args(pin: &PythonPin, avx512: bool) -> Option<String> {
    let more = pin.cmake_args_avx512.iter().filter(|_| avx512);
    let all: Vec<_> = pin.cmake_args.iter().chain(more).cloned().collect();
    (!all.is_empty()).then(|| all.join(" "))
}

/// Whether this processor has every extension that `cmake_args_avx512` turns on.
fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        has!("avx512f")
            && has!("avx512bw")
            && has!("avx512vl")
            && has!("avx512vbmi")
            && has!("avx512vnni")
            && has!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_that_makes_no_environment_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let error = create(&cache, OsStr::new("false")).unwrap_err().to_string();
        for part in [
            "`false -m venv --clear --without-pip",
            "venv-without-pip.log",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(cache.logs().join("venv.log").is_file());
    }

    #[test]
    fn avx512_adds_to_the_cmake_arguments() {
        let pin = Pins::get().python("llama-cpp-python").unwrap();
        let (plain, avx512) = (cmake_args(pin, false), cmake_args(pin, true));
        assert!(avx512.unwrap().starts_with(&format!("{} ", plain.unwrap())));
        assert_eq!(cmake_args(Pins::get().python("numpy").unwrap(), true), None);
    }

    #[test]
    fn requirements_carry_every_hash() {
        let folder = tempfile::tempdir().unwrap();
        let file = requirements(folder.path(), "tool", "1.2", &["aa", "bb"]).unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        assert_eq!(text, "tool==1.2 --hash=sha256:aa --hash=sha256:bb\n");
    }
}
