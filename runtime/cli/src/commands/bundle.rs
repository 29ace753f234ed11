//! `lampyris bundle`: what `lampyris compile --bitstream` wrote.

mod rebuild;

use super::JSON_SCHEMA;
use crate::output::{bytes, grouped, note, print, table};
use anyhow::{Context, Result, bail};
use lampyris_bundle::{Build, Bundle, Manifest, Project, names};
use lampyris_flow::report::{self, Report};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check every file of a bundle against its manifest
    Verify {
        /// Directory that `lampyris compile` wrote
        bundle: PathBuf,
    },
    /// Show what a bundle holds, how it was built, and how fast it is
    Inspect {
        /// Directory that `lampyris compile` wrote
        bundle: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Build the bitstream again from the bundle's own sources
    Rebuild(rebuild::Args),
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Verify { bundle } => verify(bundle),
        Command::Inspect { bundle, json } => inspect(bundle, *json),
        Command::Rebuild(args) => rebuild::run(args),
    }
}

/// The part of a manifest that tells of the bitstream.
pub(crate) fn build_of<'a>(manifest: &'a Manifest, directory: &Path) -> Result<&'a Build> {
    if let Some(project) = &manifest.project {
        bail!(
            "{} holds a project for {} ({}), no bitstream that lampyris built\n\nhint: build it with {}: {}",
            directory.display(),
            project.board,
            project.level,
            project.tools,
            project.build.join("; "),
        );
    }
    manifest.build.as_ref().with_context(|| {
        format!(
            "{} has no bitstream\n\nhint: compile the model with --board NAME --bitstream",
            directory.display()
        )
    })
}

fn verify(directory: &Path) -> Result<ExitCode> {
    let bundle = Bundle::open(directory)?;
    let total = bundle.manifest.files.iter().map(|file| file.bytes).sum();
    note(&format!(
        "{}: {} files, {}, all as the manifest says",
        directory.display(),
        bundle.manifest.files.len(),
        bytes(total)
    ));
    Ok(ExitCode::SUCCESS)
}

fn inspect(directory: &Path, as_json: bool) -> Result<ExitCode> {
    let bundle = Bundle::open(directory)?;
    let report = match bundle.manifest.build {
        Some(_) => Some(read_report(&bundle)?),
        None => None,
    };
    if as_json {
        let value = json!({
            "schema_version": JSON_SCHEMA,
            "manifest": bundle.manifest,
            "report": report,
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
        return Ok(ExitCode::SUCCESS);
    }
    print(&model_text(&bundle.manifest));
    if let (Some(build), Some(report)) = (&bundle.manifest.build, &report) {
        print(&build_text(build, report));
    }
    if let Some(project) = &bundle.manifest.project {
        print(&project_text(project));
    }
    Ok(ExitCode::SUCCESS)
}

fn read_report(bundle: &Bundle) -> Result<Report> {
    let data = bundle.map(names::REPORT)?;
    serde_json::from_slice(&data).context("the bundle's report does not read")
}

fn model_text(manifest: &Manifest) -> String {
    let model = &manifest.model;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    table(&[
        row("model", model.name.clone()),
        row("parameters", grouped(model.parameters)),
        row("layers", model.layers.to_string()),
        row("context", grouped(manifest.context.into())),
        row("memory", bytes(manifest.dram_bytes())),
        row(
            "weights read for a token",
            bytes(model.weight_bytes_per_token),
        ),
        row("configuration", manifest.config_hash.clone()),
    ])
}

fn project_text(project: &Project) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let revision = project.source_revision.clone();
    let mut text = table(&[
        row("project for", project.board.clone()),
        row("board's memory", bytes(project.memory_bytes)),
        row("state", project.level.clone()),
        row("needs", project.tools.clone()),
        row(
            "sources",
            revision.unwrap_or_else(|| "not in a repository".into()),
        ),
    ]);
    for (title, commands) in [("build", &project.build), ("load", &project.load)] {
        text.push_str(&format!("\n{title}\n"));
        for command in commands {
            text.push_str(&format!("  {command}\n"));
        }
    }
    text
}

fn build_text(build: &Build, report: &Report) -> String {
    let tools: Vec<_> = build
        .tools
        .iter()
        .map(|(name, v)| format!("{name} {v}"))
        .collect();
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut text = table(&[
        row("board", build.board.clone()),
        row("board's memory", bytes(build.memory_bytes)),
        row("tools", tools.join(", ")),
        row("seed", build.seed.to_string()),
        row(
            "sources",
            build
                .source_revision
                .clone()
                .unwrap_or_else(|| "not in a repository".into()),
        ),
        row(
            "clock",
            format!(
                "{:.1} MHz, highest {:.1} MHz",
                report.target_mhz, report.achieved_mhz
            ),
        ),
        row("figures are", report.level.clone()),
    ]);
    text.push('\n');
    text.push_str(&report::table(&report.utilisation));
    text.push_str("\nblock memories by buffer\n");
    let memories: Vec<_> = report
        .memories
        .iter()
        .map(|(buffer, count)| vec![buffer.clone(), count.to_string()])
        .collect();
    text.push_str(&table(&memories));
    text.push_str(&format!("\n{}\n", report::path_text(&report.critical_path)));
    text
}
