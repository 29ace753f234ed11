//! `cargo xtask demo`: from a model file to tokens out of the simulated accelerator.

use crate::process::{cargo, echoed};
use crate::setup;
use anyhow::Result;
use verilator_sys::toolchain::{Cache, model};

/// A text whose continuation is short and known.
const PROMPT: &str = "The capital of France is";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Model file or `tiny`; by default the pinned real model
    #[arg(long)]
    model: Option<String>,
    /// Tokens to decode on the functional model
    #[arg(long, default_value_t = 12)]
    max_tokens: u32,
    /// Tokens to generate on the RTL in lockstep with the functional model: the first comes from
    /// the prefill, the others are decode steps
    #[arg(long, default_value_t = 2)]
    lockstep_tokens: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::default())?;
    let cache = Cache::locate()?;
    let model = match &arguments.model {
        Some(model) => model.clone(),
        None => model(&cache, None)?.to_string_lossy().into_owned(),
    };
    let directory = cache.root().join("demo");
    let directory = directory.to_string_lossy();
    let tokens = arguments.max_tokens.to_string();
    let lockstep = arguments.lockstep_tokens.to_string();
    let sim = ["sim", &directory, "--prompt", PROMPT, "--max-tokens"];
    let commands: [Vec<&str>; 4] = [
        vec!["inspect", &model],
        vec!["compile", &model, "-o", &directory],
        [&sim[..], &[&tokens, "--engine", "model"]].concat(),
        [&sim[..], &[&lockstep, "--engine", "lockstep"]].concat(),
    ];
    let root = crate::root()?;
    for words in commands {
        let mut command = cargo();
        command.current_dir(&root);
        command.args(["run", "--release", "--quiet", "--package", "lampyris", "--"]);
        echoed(command.args(words))?;
    }
    Ok(())
}
