//! `cargo xtask gen`: files that come from tables and generators and are checked in.

use anyhow::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail when a file is stale
    #[arg(long)]
    check: bool,
}

/// The generators' libraries are behind a feature (see Cargo.toml), so that this program runs
/// itself again with it.
#[cfg(not(feature = "gen"))]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut command = crate::process::cargo();
    command.args([
        "run",
        "--quiet",
        "--package",
        "xtask",
        "--features",
        "gen",
        "--",
        "gen",
    ]);
    if arguments.check {
        command.arg("--check");
    }
    command.current_dir(crate::root()?);
    crate::process::echoed(&mut command)
}

#[cfg(feature = "gen")]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    use anyhow::{Context, bail};
    use std::fs;

    let root = crate::root()?;
    let mut stale = Vec::new();
    let files = lampyris_isa::generate::files();
    for (name, text) in files.into_iter().chain(lampyris_control::files()) {
        let path = root.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            eprintln!("{name}: up to date");
        } else if arguments.check {
            stale.push(name);
        } else {
            fs::write(&path, text).with_context(|| format!("cannot write `{name}`"))?;
            eprintln!("{name}: written");
        }
    }
    if !stale.is_empty() {
        bail!("stale: {}\n\nhint: run `cargo xtask gen`", stale.join(", "));
    }
    Ok(())
}
