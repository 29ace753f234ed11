//! `lampyris probe`.

mod plot;

use super::JSON_SCHEMA;
use crate::output::{bar, bytes, note, print, table};
use anyhow::Result;
use lampyris_io::probe::{Pattern, Profile, Progress, Settings, Stage, measure};
use serde_json::json;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use verilator_sys::toolchain::Cache;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder on the disk, where a temporary file is written, or a large file to read
    path: PathBuf,
    /// Size of the temporary file, at least 64MiB
    #[arg(long, default_value = "512MiB", value_parser = crate::size::parse)]
    size: u64,
    /// Seconds to measure; writing the temporary file takes at most as long again
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Draw throughput against the size of reads to this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let cache = Cache::locate()?;
    let settings = Settings {
        size: args.size,
        time: Duration::from_secs(args.seconds),
    };
    let profile = measure_with_bar(&args.path, &settings)?;
    for text in &profile.notes {
        note(text);
    }
    let saved = profile.save(cache.root())?;
    if let Some(file) = &args.plot {
        plot::write(&profile, file)?;
    }
    if args.json {
        let value = json!({"schema_version": JSON_SCHEMA, "saved": saved, "profile": profile});
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
    } else {
        print(&report(&profile));
        note(&format!("saved in `{}`", saved.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// One bar for writing, one for reading.
fn measure_with_bar(path: &Path, settings: &Settings) -> Result<Profile> {
    let mut shown = None;
    let mut show = |now: Progress| {
        if shown.as_ref().map(|(stage, _)| *stage) != Some(now.stage) {
            let (text, is_bytes) = match now.stage {
                Stage::Write => ("writing", true),
                Stage::Read => ("reading", false),
            };
            shown = Some((now.stage, bar(now.total, text, is_bytes)));
        }
        if let Some((_, bar)) = &shown {
            bar.set_position(now.done);
        }
        ControlFlow::Continue(())
    };
    let profile = measure(path, settings, &mut show);
    if let Some((_, bar)) = shown {
        bar.finish_and_clear();
    }
    Ok(profile?)
}

/// Depths that were measured with a pattern by the engine that reads models.
fn depths(profile: &Profile, pattern: Pattern) -> Vec<u32> {
    let mut depths: Vec<u32> = table_points(profile, pattern).map(|p| p.depth).collect();
    depths.sort_unstable();
    depths.dedup();
    depths
}

fn table_points(
    profile: &Profile,
    pattern: Pattern,
) -> impl Iterator<Item = &lampyris_io::probe::Point> {
    profile
        .points
        .iter()
        .filter(move |p| p.pattern == pattern && p.threads.is_none())
}

fn megabytes(bytes_per_second: u64) -> String {
    format!("{:.0}", bytes_per_second as f64 / 1e6)
}

fn report(profile: &Profile) -> String {
    let mut out = format!(
        "{} reads of a file of {}, MB/s\n\n",
        profile.engine,
        bytes(profile.sample_bytes)
    );
    out.push_str(&rates(profile));
    let threads = threads(profile);
    if threads.len() > 1 {
        out.push_str("\nthreads with pread, random, MB/s\n\n");
        out.push_str(&table(&threads));
    }
    let best = profile.recommendation;
    out.push_str(&format!(
        "\nsequential: {} MB/s with reads of {}, {} in flight\n",
        megabytes(best.bytes_per_second),
        bytes(best.chunk),
        best.depth
    ));
    let small = profile.bytes_per_second(Pattern::Random, 32 << 10, 8);
    out.push_str(&format!(
        "random 32 KiB, 8 in flight: {} MB/s; pays against reading everything below {:.0} %\n",
        megabytes(small as u64),
        100.0 * (small / profile.sequential().max(1.0)).min(1.0)
    ));
    out
}

/// Rates by size; a column for each pattern and depth.
fn rates(profile: &Profile) -> String {
    let columns: Vec<(Pattern, &str, u32)> =
        [(Pattern::Sequential, "seq"), (Pattern::Random, "rand")]
            .into_iter()
            .flat_map(|(p, name)| depths(profile, p).into_iter().map(move |d| (p, name, d)))
            .collect();
    let mut head = vec!["read".to_owned()];
    head.extend(
        columns
            .iter()
            .map(|(_, name, depth)| format!("{name} ×{depth}")),
    );
    let mut chunks: Vec<u64> = profile.points.iter().map(|p| p.chunk).collect();
    chunks.sort_unstable();
    chunks.dedup();
    let mut rows = vec![head];
    for chunk in chunks {
        let mut row = vec![bytes(chunk)];
        row.extend(columns.iter().map(|&(pattern, _, depth)| {
            table_points(profile, pattern)
                .find(|p| p.chunk == chunk && p.depth == depth)
                .map_or("-".into(), |p| megabytes(p.bytes_per_second))
        }));
        rows.push(row);
    }
    table(&rows)
}

fn threads(profile: &Profile) -> Vec<Vec<String>> {
    let points: Vec<_> = profile
        .points
        .iter()
        .filter_map(|p| Some((p.threads?, p)))
        .collect();
    let mut counts: Vec<u32> = points.iter().map(|(n, _)| *n).collect();
    counts.sort_unstable();
    counts.dedup();
    let mut chunks: Vec<u64> = points.iter().map(|(_, p)| p.chunk).collect();
    chunks.sort_unstable();
    chunks.dedup();
    let mut head = vec!["read".to_owned()];
    head.extend(counts.iter().map(u32::to_string));
    let mut rows = vec![head];
    for chunk in chunks {
        let mut row = vec![bytes(chunk)];
        row.extend(counts.iter().map(|n| {
            points
                .iter()
                .find(|(threads, p)| threads == n && p.chunk == chunk)
                .map_or("-".into(), |(_, p)| megabytes(p.bytes_per_second))
        }));
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_shows_the_assumptions_as_a_table() {
        let profile = Profile::assumed("d", "p");
        let text = report(&profile);
        expect_test::expect![[r#"
            assumed reads of a file of 0 B, MB/s

            read       seq ×1  seq ×8  rand ×1  rand ×8
            4.0 KiB       123     500       38      303
            8.0 KiB       198     500       70      500
            16.0 KiB      284     500      123      500
            32.0 KiB      362     500      198      500
            64.0 KiB      420     500      284      500
            128.0 KiB     456     500      362      500
            256.0 KiB     477     500      420      500
            512.0 KiB     488     500      456      500
            1.0 MiB       494     500      477      500
            2.0 MiB       497     500      488      500
            4.0 MiB       499     500      494      500

            sequential: 477 MB/s with reads of 256.0 KiB, 1 in flight
            random 32 KiB, 8 in flight: 500 MB/s; pays against reading everything below 100 %
        "#]]
        .assert_eq(&text);
    }
}
