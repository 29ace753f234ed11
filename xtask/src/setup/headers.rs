//! C headers that waveforms need, unpacked from Debian packages without root.

use crate::process::logged;
use crate::progress::{Step, already};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;
use verilator_sys::toolchain::{Cache, Pins, fst_includes};

const NAME: &str = "FST headers";

/// Installs the headers, unless the system has them. They are optional: a failure is reported and
/// setup goes on, because everything but waveforms works without them.
pub(crate) fn install(cache: &Cache) {
    if fst_includes(cache).is_some() {
        already(NAME, "already there");
        return;
    }
    let step = Step::start(NAME, "downloading");
    match unpack(cache) {
        Ok(()) => step.done("unpacked"),
        Err(error) => {
            drop(step);
            let packages = Pins::get().debian.fst_headers.join(" ");
            eprintln!(
                "warning: {NAME} could not be installed, waveforms are off: {error:#}\n\n\
                 hint: sudo apt-get install {packages}"
            );
        }
    }
}

fn unpack(cache: &Cache) -> Result<()> {
    let log = cache.logs().join("debian.log");
    let folder = tempfile::Builder::new()
        .prefix(".debian-")
        .tempdir_in(cache.root())
        .with_context(|| format!("cannot write in `{}`", cache.root().display()))?;
    let mut command = Command::new("apt-get");
    command.current_dir(folder.path()).arg("download");
    command.args(&Pins::get().debian.fst_headers);
    logged(&mut command, &log)?;
    let root = folder.path().join("root");
    for entry in fs::read_dir(folder.path()).context("cannot list the downloads")? {
        let path = entry.context("cannot list the downloads")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            extract(&path, &root, &log)?;
        }
    }
    let target = cache.debian();
    if target.exists() {
        fs::remove_dir_all(&target)
            .with_context(|| format!("cannot delete `{}`", target.display()))?;
    }
    fs::rename(&root, &target).with_context(|| format!("cannot make `{}`", target.display()))
}

fn extract(package: &Path, root: &Path, log: &Path) -> Result<()> {
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").arg(package).arg(root);
    logged(&mut command, log)
}
