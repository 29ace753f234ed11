//! `lampyris relufy`.

use super::JSON_SCHEMA;
use crate::output::{bar, bytes, note, print};
use anyhow::Result;
use lampyris_flash::Delta;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model that the delta belongs to: for the delta that ships with the project, the
    /// SmolLM2 GGUF file that `cargo xtask setup` installs
    original: PathBuf,
    /// Folder with `delta.json` and the files that it names
    #[arg(long, value_name = "DIR")]
    delta: PathBuf,
    /// GGUF file to write
    #[arg(long, short)]
    output: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let delta = Delta::open(&args.delta)?;
    let progress = bar(0, "building", true);
    delta.build(&args.original, &args.output, &mut |done, total| {
        progress.set_length(total);
        progress.set_position(done);
    })?;
    progress.finish_and_clear();
    let manifest = delta.manifest();
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        let value = json!({
            "schema_version": JSON_SCHEMA,
            "output": args.output,
            "name": manifest.name,
            "architecture": manifest.architecture,
            "license": manifest.license,
            "bytes": manifest.result.bytes,
            "sha256": manifest.result.sha256,
            "seconds": seconds,
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
        return Ok(ExitCode::SUCCESS);
    }
    note(&format!(
        "built {} ({}, {}) as {} in {seconds:.1} s; SHA-256 as expected",
        manifest.name,
        bytes(manifest.result.bytes),
        manifest.license,
        args.output.display(),
    ));
    Ok(ExitCode::SUCCESS)
}
