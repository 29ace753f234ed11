//! `cargo xtask bitstream`: a board's bundle from model to bitstream, built twice and driven in
//! simulation. Long: what a nightly run is for.

use crate::process::{cargo, echoed};
use crate::setup;
use anyhow::Result;
use std::time::Instant;
use verilator_sys::toolchain::Cache;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Board: a name or a file
    #[arg(long, default_value = "ulx3s-85f")]
    board: String,
    /// Model file or `tiny`
    #[arg(long, default_value = "tiny")]
    model: String,
    /// Positions of the KV cache
    #[arg(long, default_value_t = 128)]
    context: u32,
    /// Most placements to try
    #[arg(long, default_value_t = 4)]
    seeds: u32,
    /// Do not build a second time to compare
    #[arg(long)]
    once: bool,
}

#[expect(clippy::print_stdout, reason = "the times are this command's result")]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments {
        fpga: true,
        ..setup::Arguments::default()
    })?;
    let bundle = Cache::locate()?.root().join("bitstream");
    let bundle = bundle.to_string_lossy();
    let (context, seeds) = (arguments.context.to_string(), arguments.seeds.to_string());
    let compile = [
        ["compile", &arguments.model],
        ["--board", &arguments.board],
        ["--context", &context],
        ["--seeds", &seeds],
        ["-o", &bundle],
    ];
    let compile = [compile.as_flattened(), &["--bitstream"]].concat();
    let mut commands = vec![
        compile,
        vec!["bundle", "verify", &bundle],
        vec!["bundle", "inspect", &bundle],
        vec!["flash", &bundle, "--dry-run"],
    ];
    if !arguments.once {
        commands.push(vec!["bundle", "rebuild", &bundle, "--check"]);
    }
    commands.push(vec!["board", "smoke", &bundle, "--port", "sim:"]);
    let root = crate::root()?;
    let mut times = Vec::new();
    for words in &commands {
        let start = Instant::now();
        let mut command = cargo();
        command.current_dir(&root);
        command.args(["run", "--release", "--quiet", "--package", "lampyris", "--"]);
        echoed(command.args(words))?;
        times.push((words[..2].join(" "), start.elapsed().as_secs()));
    }
    for (name, seconds) in times {
        println!("{seconds:>6} s  lampyris {name}");
    }
    Ok(())
}
