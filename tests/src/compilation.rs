//! Time and memory of a compilation, taken in a process of its own so that the memory is the
//! compiler's alone.

use crate::synth::Synthetic;
use anyhow::{Context, Result, bail};
use lampyris_compiler::{Options, Tokenization};
use lampyris_import::saved::TextTools;
use lampyris_isa::HwConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What a compilation took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Compilation {
    /// Seconds by the clock.
    pub seconds: f64,
    /// Most memory resident, pages of mapped files included.
    pub peak_bytes: u64,
}

/// As `lampyris compile`: from the model file to the complete directory. Prints what it took, for
/// the process that started this one with [`measured`].
///
/// # Errors
/// Those of reading and compiling.
#[expect(clippy::print_stdout, reason = "the result is for the parent process")]
pub fn child(path: &Path, config: HwConfig, context: usize, target: &Path) -> Result<()> {
    let start = Instant::now();
    let model = lampyris_import::open(path)?;
    let json = TextTools::from_model_file(model.file())?.to_json()?;
    lampyris_compiler::compile(
        &model,
        &Tokenization { json },
        &Options {
            config,
            context,
            schedule: Default::default(),
            kv: Default::default(),
        },
        target,
        &mut |_, _| {},
    )?;
    let took = Compilation {
        seconds: start.elapsed().as_secs_f64(),
        peak_bytes: peak_bytes()?,
    };
    println!("{}", serde_json::to_string(&took)?);
    Ok(())
}

/// Starts this program with arguments that make it call [`child`].
///
/// # Errors
/// It fails or says nothing.
pub fn measured(arguments: &[&std::ffi::OsStr]) -> Result<Compilation> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let child = Command::new(this).args(arguments).output();
    let child = child.context("cannot start the compilation")?;
    if !child.status.success() {
        bail!(
            "compilation failed: {}",
            String::from_utf8_lossy(&child.stderr)
        );
    }
    serde_json::from_slice(&child.stdout).context("no result")
}

/// Writes a synthetic model, with the tokenizer of the pinned SmolLM2.
///
/// # Errors
/// The tokenizer's model is missing, or the file cannot be written.
pub fn synthesize(model: &Synthetic, path: &Path) -> Result<()> {
    let tokenizer = lampyris_flash::Gguf::open(crate::smollm2::model_path()?)?;
    model.write(&tokenizer, path)?;
    Ok(())
}

/// Most memory that this process has had resident, mapped files included.
fn peak_bytes() -> Result<u64> {
    let file = "/proc/self/status";
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{file}`"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kib.with_context(|| format!("`{file}` has no VmHWM"))? * 1024)
}
