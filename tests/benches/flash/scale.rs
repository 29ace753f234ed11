//! A model of 40 GB, packed and planned in 256 MiB.

use super::{Report, mib, models, plot};
use anyhow::{Context, Result, bail};
use lampyris_pack::ModelIndex;
use lampyris_pack::pack::{Options, Plan};
use lampyris_runtime::engine::{self, Engine};
use lampyris_tests::cage::{Cage, Evidence, Limits};
use lampyris_tests::figures::{Level, Target, columns};
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

const LIMIT: u64 = 256 << 20;
/// Budget that is planned for.
const BUDGET: u64 = 8 << 30;
/// Seconds for the whole file against those for half of it; 2 is linear.
const LINEAR: f64 = 2.5;

/// Packs `model` to `target` in this process.
pub(crate) fn pack(model: &Path, target: &Path) -> Result<()> {
    Plan::new(model, &Options::default())?.write(target, &mut |_, _| {})?;
    Ok(())
}

/// Plans a run of `model` in this process.
pub(crate) fn plan(model: &Path) -> Result<()> {
    let options = engine::Options {
        memory: Some(BUDGET),
        context: 2048,
        ..engine::Options::default()
    };
    println!("{}", Engine::plan_for(&ModelIndex::open(model)?, &options)?);
    Ok(())
}

/// This program with `arguments` under the limit; seconds and evidence.
fn caged(arguments: &[&std::ffi::OsStr]) -> Result<(f64, Evidence)> {
    let cage = Cage::new(Limits {
        memory: Some(LIMIT),
        disk: None,
    })?;
    let myself = std::env::current_exe().context("cannot find this program")?;
    let mut command = cage.command(myself);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status().context("cannot start this program")?;
    let seconds = start.elapsed().as_secs_f64();
    let evidence = cage.evidence()?;
    if !status.success() {
        bail!("{arguments:?} failed ({status}, {evidence:?})");
    }
    Ok((seconds, evidence))
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir_in(models::folder()?).context("cannot make a folder")?;
    let mut rows = vec![
        [
            "file GB",
            "packed GB",
            "pack s",
            "pack peak MiB",
            "plan s",
            "plan peak MiB",
        ]
        .map(str::to_owned),
    ];
    let (mut seconds, mut groups) = (Vec::new(), Vec::new());
    for half in [true, false] {
        let model = models::with_holes(half, folder.path())?;
        let target = folder.path().join("model.lampack");
        let (packing, packed) = caged(&["--pack".as_ref(), model.as_ref(), target.as_ref()])?;
        let (planning, planned) = caged(&["--plan".as_ref(), target.as_ref()])?;
        let gb = |path: &Path| -> Result<String> {
            Ok(format!(
                "{:.1}",
                std::fs::metadata(path)?.len() as f64 / 1e9
            ))
        };
        let name = if half { "20 GB" } else { "40 GB" };
        report.budget(&format!("pack {name}"), LIMIT, packed);
        report.budget(&format!("plan {name}"), LIMIT, planned);
        rows.push([
            gb(&model)?,
            gb(&target)?,
            format!("{packing:.1}"),
            mib(packed.peak_bytes),
            format!("{planning:.2}"),
            mib(planned.peak_bytes),
        ]);
        report.details.push(json!({
            "part": "scale", "half": half, "pack_seconds": packing, "plan_seconds": planning,
            "pack": packed, "plan": planned,
        }));
        seconds.push(packing);
        groups.push((name.to_owned(), vec![packing, planning]));
        for file in [&model, &target] {
            std::fs::remove_file(file).context("cannot delete a file of the bench")?;
        }
    }
    println!(
        "Scale: files with holes, under {} MiB\n{}",
        mib(LIMIT),
        columns(rows)
    );
    report.figures.judge(
        "packing 40 GB against 20 GB, time",
        seconds[1] / seconds[0],
        "x",
        Level::Measured,
        Target::AtMost(LINEAR),
    );
    plot::bars(
        report.plots.as_deref(),
        "scale",
        "Files with holes in 256 MiB of memory (measured)",
        "seconds",
        &["packing", "planning"],
        &groups,
    )
}
