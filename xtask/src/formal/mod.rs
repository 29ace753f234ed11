//! `cargo xtask formal`: proofs about RTL modules, and errors that the proofs must find.

mod proofs;

use crate::setup;
use anyhow::{Context, Result, bail};
use lampyris_flow::formal::{Method, Verdict, check};
use lampyris_flow::yosys::Design;
use proofs::{LIST, Mutant, Proof};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use verilator_sys::toolchain::Cache;

/// The most that one proof may take, in seconds. A proof that needs more says nothing.
const LIMIT: u32 = 120;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only proofs whose name contains this
    name: Option<String>,
    /// Leave out the mutated designs
    #[arg(long)]
    no_mutants: bool,
}

#[expect(clippy::print_stdout, reason = "the table is this command's result")]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = crate::root()?;
    let proofs = chosen(proofs::read(&root)?, arguments.name.as_deref())?;
    setup::run(&setup::Arguments::default())?;
    let cache = Cache::locate()?;
    let mut surprises = Vec::new();
    println!(
        "{:<22} {:<14} {:<26} {:>7}",
        "design", "property", "result", "seconds"
    );
    for proof in &proofs {
        let mutants = if arguments.no_mutants {
            &[][..]
        } else {
            &proof.mutant
        };
        let all = std::iter::once(None).chain(mutants.iter().map(Some));
        for (index, mutant) in all.enumerate() {
            let start = Instant::now();
            let verdict = one(&cache, &root, proof, mutant)?;
            let name = match mutant {
                Some(_) => format!("  mutant {index}"),
                None => proof.name.clone(),
            };
            println!(
                "{name:<22} {:<14} {:<26} {:>7.1}",
                kind(proof.method()),
                shown(verdict),
                start.elapsed().as_secs_f64()
            );
            if !expected(verdict, mutant.is_some()) {
                surprises.push(surprise(proof, mutant, verdict));
            }
        }
    }
    if surprises.is_empty() {
        return Ok(());
    }
    bail!(
        "{}\n\nhint: docs/formal.md says how to find out why; logs are in {}",
        surprises.join("\n"),
        cache.logs().join("formal").display()
    )
}

fn chosen(all: Vec<Proof>, name: Option<&str>) -> Result<Vec<Proof>> {
    let Some(name) = name else { return Ok(all) };
    let names: Vec<_> = all.iter().map(|proof| proof.name.clone()).collect();
    let chosen: Vec<_> = all.into_iter().filter(|p| p.name.contains(name)).collect();
    if chosen.is_empty() {
        bail!(
            "no proof is called `{name}`\n\nhint: {LIST} has {}",
            names.join(", ")
        );
    }
    Ok(chosen)
}

/// Checks a design as it is or with an error in it.
fn one(cache: &Cache, root: &Path, proof: &Proof, mutant: Option<&Mutant>) -> Result<Verdict> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let sources = sources(root, proof, mutant, folder.path())?;
    let design = Design {
        top: &proof.name,
        sources: &sources,
        primitives: &[],
        parameters: &[],
        root,
    };
    let result = check(cache, &design, proof.method(), LIMIT, folder.path());
    // The logs outlive the folder; those of the last check of a proof are kept.
    let logs = cache.logs().join("formal");
    fs::create_dir_all(&logs).context("cannot create the folder of logs")?;
    let which = if mutant.is_some() { "mutant." } else { "" };
    for log in ["yosys.log", "abc.log"] {
        let kept = logs.join(format!("{}.{which}{log}", proof.name));
        // One that was not written yet is not missed.
        let _ = fs::copy(folder.path().join(log), kept);
    }
    result.with_context(|| format!("the proof `{}`", proof.name))
}

/// The files of a proof; a mutated one is a copy in `folder`.
fn sources(
    root: &Path,
    proof: &Proof,
    mutant: Option<&Mutant>,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let rtl = root.join("rtl");
    let mut sources = Vec::new();
    for file in &proof.sources {
        let path = rtl.join(file);
        match mutant.filter(|mutant| &mutant.file == file) {
            Some(mutant) => {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
                let copy = folder.join("mutant.sv");
                fs::write(&copy, mutant.apply(&text)?).context("cannot write the mutant")?;
                sources.push(copy);
            }
            None => sources.push(path),
        }
    }
    let beside = root.join(LIST).with_file_name("");
    let own = proof.helpers.iter().chain([&proof.name]);
    sources.extend(own.map(|module| beside.join(format!("{module}.sv"))));
    Ok(sources)
}

/// A design must keep its rules, a mutant must break one.
fn expected(verdict: Verdict, mutated: bool) -> bool {
    match verdict {
        Verdict::Proven | Verdict::Holds(_) => !mutated,
        Verdict::Refuted { .. } => mutated,
        Verdict::Undecided => false,
    }
}

fn surprise(proof: &Proof, mutant: Option<&Mutant>, verdict: Verdict) -> String {
    let said = shown(verdict);
    match mutant {
        None => format!("{}: {said}", proof.name),
        Some(mutant) => format!(
            "{} with `{}` instead of `{}`: {said}, should be refuted",
            proof.name, mutant.replacement, mutant.text
        ),
    }
}

fn kind(method: Method) -> String {
    match method {
        Method::Unbounded { .. } => "for ever".into(),
        Method::Bounded(clocks) => format!("{clocks} clocks"),
    }
}

fn shown(verdict: Verdict) -> String {
    match verdict {
        Verdict::Proven => "proven".into(),
        Verdict::Holds(clocks) => format!("holds for {clocks} clocks"),
        Verdict::Refuted { clock } => format!("refuted in clock {clock}"),
        Verdict::Undecided => "undecided".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_verdict_is_expected() {
        let refuted = Verdict::Refuted { clock: 3 };
        assert!(expected(Verdict::Proven, false) && expected(Verdict::Holds(3), false));
        assert!(expected(refuted, true) && !expected(refuted, false));
        assert!(!expected(Verdict::Proven, true) && !expected(Verdict::Holds(3), true));
        assert!(!expected(Verdict::Undecided, false) && !expected(Verdict::Undecided, true));
    }
}
