//! `lampyris compile --bitstream` for a board that only its vendor's tools can build: the model and a
//! project for them as one bundle.

use super::bitstream::{Work, revision};
use super::fit::{self, Room};
use super::{Args, compile, sbom};
use crate::output::note;
use anyhow::{Context, Result};
use lampyris_boards::Board;
use lampyris_bundle::writer::Writer;
use lampyris_bundle::{Bundle, Project, names};
use lampyris_compiler::Compiled;
use lampyris_flow::vendor;
use lampyris_sim::golden;
use lampyris_sim::rtl::default_rtl_root;
use std::fs;
use std::path::Path;

/// Compiles, emits, and writes the bundle.
pub(super) fn run(args: &Args, board: &Board) -> Result<Compiled> {
    args.build.without_placements(&board.name)?;
    let hardware = vendor::of(board)?;
    let rtl = default_rtl_root();
    let emitted = vendor::project(board, &rtl)?;
    let forecast = fit::check(args, &Room::of_vendor(board, hardware))?;
    note(&forecast);
    let mut writer = Writer::create(&args.output)?;
    let work = Work::new(args)?;
    let directory = work.path.join("compiled");
    let mut compiled = compile(args, &directory)?;
    let golden = golden::record(&Bundle::open(&directory)?)?;
    writer.adopt(&directory, &compiled.manifest)?;
    add_files(&mut writer, board, &emitted, &rtl)?;
    writer.write(names::GOLDEN, serde_json::to_string(&golden)?.as_bytes())?;
    let mut manifest = compiled.manifest.clone();
    manifest.project = Some(Project {
        board: board.name.clone(),
        memory_bytes: hardware.memory.bytes(),
        level: vendor::LEVEL.into(),
        tools: format!("Vivado {}", hardware.tools.range()),
        build: emitted.build.clone(),
        load: emitted.load.clone(),
        source_revision: revision(),
    });
    let sbom = serde_json::to_string_pretty(&sbom::document(&manifest))?;
    writer.write(names::SBOM, sbom.as_bytes())?;
    compiled.manifest = writer.finish(manifest)?;
    if let Some(warning) = vendor::pinned(&board.name, &hardware.tools) {
        note(&warning);
    }
    note(&summary(args, &compiled, &emitted));
    Ok(compiled)
}

fn add_files(
    writer: &mut Writer,
    board: &Board,
    emitted: &vendor::Project,
    rtl: &Path,
) -> Result<()> {
    writer.write(names::BOARD, board.text.as_bytes())?;
    for (name, text) in &emitted.files {
        writer.write(&format!("{}/{name}", names::FPGA), text.as_bytes())?;
    }
    for source in &emitted.sources {
        let data =
            fs::read(source).with_context(|| format!("cannot read `{}`", source.display()))?;
        let name = source.strip_prefix(rtl).unwrap_or(source);
        writer.write(&format!("{}/{}", names::RTL, name.display()), &data)?;
    }
    Ok(())
}

/// What was written, and what was not done.
fn summary(args: &Args, compiled: &Compiled, emitted: &vendor::Project) -> String {
    let project = compiled.manifest.project.as_ref();
    let (board, tools) = project.map_or(("", ""), |p| (p.board.as_str(), p.tools.as_str()));
    let output = args.output.display();
    format!(
        "project for {board} in {output}/{} ({}): {} files besides the RTL\n\
         there is no bitstream: lampyris does not run Vivado; with {tools}, in {output}:\n  {}\nthen:\n  {}",
        names::FPGA,
        vendor::LEVEL,
        emitted.files.len(),
        emitted.build.join("\n  "),
        emitted.load.join("\n  "),
    )
}
