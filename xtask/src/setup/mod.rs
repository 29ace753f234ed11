//! `cargo xtask setup`: the pinned tools and models, into the cache.
//!
//! Every step looks first whether its result is there, makes it under another name and renames it
//! when complete. So an interrupted setup goes on where it stopped, and a second one does nothing.

pub(crate) mod cross;
mod debian;
mod headers;
mod model;
mod python;
mod relu;

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use verilator_sys::toolchain::{Cache, Finding, Group, Pins, SETUP, survey};

/// What setup reads from the environment, for its `--help`.
const VARIABLES: &str = "\
Environment variables:
  LAMPYRIS_CACHE   Folder for everything that setup installs [default: ~/.cache/lampyris]
  LAMPYRIS_PYTHON  Interpreter that the Python environment is made with, 3.11 or later; an
                   environment that exists keeps its own [default: python3]";

#[derive(clap::Args, Default)]
#[command(after_help = VARIABLES)]
pub(crate) struct Arguments {
    /// Also install what the benches compare with; compiles llama.cpp
    #[arg(long)]
    pub(crate) bench: bool,
    /// Also install what bitstreams are built with
    #[arg(long)]
    pub(crate) fpga: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cache = Cache::locate()?;
    let _lock = lock(&cache, "setup")?;
    prerequisites(&cache)?;
    python::environment(&cache)?;
    let wanted = |group: Group| match group {
        Group::Core => true,
        Group::Bench => arguments.bench,
        Group::Fpga => arguments.fpga,
    };
    // Wheels first: what is compiled from source may import them while it is built.
    let mut pins: Vec<_> = Pins::get().python.iter().collect();
    pins.retain(|pin| wanted(pin.group));
    pins.sort_by_key(|pin| pin.source);
    for pin in pins {
        python::package(&cache, pin)?;
    }
    for pin in &Pins::get().model {
        model::install(&cache, pin)?;
    }
    relu::install(&cache, &crate::root()?)?;
    headers::install(&cache);
    verify(&cache)
}

/// Keeps other setups of this name out until the value is dropped: two at once would install into
/// the same folders.
pub(crate) fn lock(cache: &Cache, name: &str) -> Result<File> {
    let root = cache.root();
    fs::create_dir_all(root).with_context(|| format!("cannot create `{}`", root.display()))?;
    let lock = root.join(format!("{name}.lock"));
    let lock =
        File::create(&lock).with_context(|| format!("cannot create `{}`", lock.display()))?;
    if lock.try_lock().is_err() {
        eprintln!("another setup is running; waiting for it");
        lock.lock().context("cannot lock the cache")?;
    }
    Ok(lock)
}

/// What setup cannot install itself.
fn prerequisites(cache: &Cache) -> Result<()> {
    let missing: Vec<_> = survey(cache)
        .into_iter()
        .filter(|finding| !finding.ok && !finding.mend.starts_with(SETUP))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("{}", report(&missing));
}

fn verify(cache: &Cache) -> Result<()> {
    let missing: Vec<_> = survey(cache)
        .into_iter()
        .filter(|finding| !finding.ok && !finding.optional)
        .collect();
    if !missing.is_empty() {
        bail!("setup ended, but {}", report(&missing));
    }
    eprintln!("setup: complete in {}", cache.root().display());
    Ok(())
}

fn report(missing: &[Finding]) -> String {
    let names: Vec<_> = missing
        .iter()
        .map(|f| match &f.found {
            Some(found) => format!("{} is `{found}`, wanted {}", f.name, f.wanted),
            None => format!("{} ({}) is missing", f.name, f.wanted),
        })
        .collect();
    let mut mends: Vec<_> = missing.iter().map(|f| f.mend.clone()).collect();
    mends.dedup();
    format!("{}\n\nhint: {}", names.join("; "), mends.join("; "))
}
