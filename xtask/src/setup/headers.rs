//! C headers that waveforms need, unpacked from Debian packages without root.

use super::debian;
use crate::progress::{Step, already};
use anyhow::{Context, Result};
use std::fs;
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
    let unpacked = debian::unpack(cache, &Pins::get().debian.fst_headers)?;
    let target = cache.debian();
    if target.exists() {
        fs::remove_dir_all(&target)
            .with_context(|| format!("cannot delete `{}`", target.display()))?;
    }
    fs::rename(unpacked.root(), &target)
        .with_context(|| format!("cannot make `{}`", target.display()))
}
