//! `lampyris flash`.

use super::bundle::build_of;
use crate::output::note;
use anyhow::{Context, Result, bail};
use lampyris_boards::Board;
use lampyris_bundle::{Bundle, Project, names};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory that `lampyris compile --bitstream` wrote
    bundle: PathBuf,
    /// Print the command, and do not run it
    #[arg(long)]
    dry_run: bool,
    /// Write to the board's flash memory, so that the bitstream is there after power-up
    #[arg(long)]
    permanent: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let bundle = Bundle::open(&args.bundle)?;
    if let Some(project) = &bundle.manifest.project {
        return by_hand(project, args);
    }
    build_of(&bundle.manifest, &args.bundle)?;
    let board = Board::open(&args.bundle.join(names::BOARD).to_string_lossy())?;
    let mut command = command(&board, &args.bundle, args.permanent)?;
    note(&format!("$ {}", shown(&command)));
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    match command.status() {
        Ok(status) if status.success() => Ok(ExitCode::SUCCESS),
        Ok(status) => bail!(
            "openFPGALoader failed ({status})\n\nhint: is the board connected, and may you use its USB device?"
        ),
        Err(error) => bail!(
            "cannot run openFPGALoader: {error}\n\nhint: sudo apt-get install openfpgaloader, or run the command above elsewhere"
        ),
    }
}

/// Boards that openFPGALoader does not load: says what does.
fn by_hand(project: &Project, args: &Args) -> Result<ExitCode> {
    if args.permanent {
        bail!(
            "{} has no bitstream for its flash memory: it is loaded after each start\n\nhint: leave --permanent out",
            project.board
        );
    }
    let steps = project.build.iter().chain(&project.load);
    let steps = steps.map(|step| format!("\n  {step}")).collect::<String>();
    if args.dry_run {
        note(&format!(
            "in {}, with {}:{steps}",
            args.bundle.display(),
            project.tools
        ));
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "{} is loaded by its vendor's programs, not by openFPGALoader, and nothing was loaded\n\nhint: in {}, with {}:{steps}",
        project.board,
        args.bundle.display(),
        project.tools,
    )
}

fn command(board: &Board, bundle: &Path, permanent: bool) -> Result<Command> {
    let loader = board.hardware.as_ref().and_then(|h| h.loader.as_deref());
    let loader = loader.with_context(|| {
        format!("{} names no `loader`\n\nhint: add `loader = \"NAME\"` to the board's file; openFPGALoader --list-boards lists them", board.name)
    })?;
    let mut command = Command::new("openFPGALoader");
    command.args(["--board", loader]);
    if permanent {
        command.arg("--write-flash");
    }
    command.arg(bundle.join(names::BITSTREAM));
    Ok(command)
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
