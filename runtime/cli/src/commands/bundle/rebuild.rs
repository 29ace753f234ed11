//! `lampyris bundle rebuild`.

use super::build_of;
use crate::commands::compile::with_progress;
use crate::output::note;
use anyhow::{Context, Result, bail};
use lampyris_boards::Board;
use lampyris_bundle::{Bundle, names};
use lampyris_flow::{Request, check};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use verilator_sys::toolchain::Cache;

/// Arguments.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Directory that `lampyris compile --bitstream` wrote
    bundle: PathBuf,
    /// Compare with the bundle's bitstream; a difference is a failure
    #[arg(long)]
    check: bool,
    /// Write the bitstream here
    #[arg(long, short, required_unless_present = "check")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let directory = args
        .bundle
        .canonicalize()
        .with_context(|| format!("cannot find `{}`", args.bundle.display()))?;
    let bundle = Bundle::open(&directory)?;
    if let Some(project) = &bundle.manifest.project {
        bail!(
            "the bitstream of {} needs {}, which lampyris does not run\n\nhint: in {}: {}",
            project.board,
            project.tools,
            args.bundle.display(),
            project.build.join("; "),
        );
    }
    let build = build_of(&bundle.manifest, &args.bundle)?;
    for (name, version) in lampyris_flow::tools() {
        let used = build.tools.get(name).map_or("none", String::as_str);
        if used != version {
            let revision = build.source_revision.as_deref();
            bail!(
                "the bundle was built with {name} {used}, this program has {version}\n\nhint: use the lampyris that wrote it{}",
                revision.map_or(String::new(), |revision| format!(
                    ", of revision {revision}"
                ))
            );
        }
    }
    let board = Board::open(&directory.join(names::BOARD).to_string_lossy())?;
    let cache = Cache::locate()?;
    check(&cache, &board)?;
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let request = Request {
        board: &board,
        rtl: &directory.join(names::RTL),
        folder: folder.path(),
        first_seed: build.seed,
        seeds: 1,
        jobs: 1,
        // The bundle says what it reached; here only equality counts.
        allow_missed_timing: true,
    };
    let built = with_progress(|progress| lampyris_flow::build(&cache, &request, progress))?;
    let data = fs::read(&built.bitstream).context("cannot read the bitstream")?;
    if args.check {
        let original = bundle.map(names::BITSTREAM)?;
        if let Some(at) = first_difference(&original, &data) {
            bail!(
                "the bitstreams differ from byte {at} on ({} and {} bytes)\n\nhint: were tools or sources changed after the bundle was written?",
                original.len(),
                data.len()
            );
        }
        note(&format!("the same bitstream, {} bytes", data.len()));
    }
    if let Some(output) = &args.output {
        fs::write(output, &data).with_context(|| format!("cannot write `{}`", output.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where two files first differ.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    let common = a.iter().zip(b).position(|(x, y)| x != y);
    common.or((a.len() != b.len()).then(|| a.len().min(b.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_at_the_end_too() {
        assert_eq!(first_difference(b"abc", b"abc"), None);
        assert_eq!(first_difference(b"abc", b"axc"), Some(1));
        assert_eq!(first_difference(b"abc", b"abcd"), Some(3));
    }
}
