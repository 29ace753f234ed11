//! Rules of the workspace that the compiler does not check.

use cargo_metadata::{Metadata, MetadataCommand};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may use of ours, for any purpose. docs/ARCHITECTURE.md says why.
const DIRECTIONS: [(&str, &[&str]); 20] = [
    ("lampyris-isa", &[]),
    ("verilator-sys", &[]),
    ("lampyris-io", &[]),
    ("lampyris-boards", &["lampyris-isa"]),
    ("lampyris-bundle", &["lampyris-isa"]),
    (
        "lampyris-flow",
        &["lampyris-boards", "lampyris-isa", "verilator-sys"],
    ),
    ("lampyris-control", &["lampyris-isa"]),
    ("lampyris-flash", &["lampyris-isa"]),
    ("lampyris-link", &["lampyris-isa"]),
    ("lampyris-import", &["lampyris-flash"]),
    ("lampyris-kernels", &["lampyris-flash"]),
    ("lampyris-pack", &["lampyris-flash", "lampyris-import"]),
    (
        "lampyris-compiler",
        &[
            "lampyris-isa",
            "lampyris-bundle",
            "lampyris-flash",
            "lampyris-import",
            "lampyris-boards",
        ],
    ),
    (
        "lampyris-compress",
        &["lampyris-flash", "lampyris-import", "lampyris-runtime"],
    ),
    // Never the compiler or the importer: sharing code would be sharing bugs.
    (
        "lampyris-sim",
        &[
            "lampyris-isa",
            "lampyris-bundle",
            "lampyris-boards",
            "lampyris-link",
            "verilator-sys",
        ],
    ),
    // Never the compiler or the simulator: this is what a small device carries.
    (
        "lampyris-runtime",
        &[
            "lampyris-flash",
            "lampyris-import",
            "lampyris-io",
            "lampyris-isa",
            "lampyris-kernels",
            "lampyris-pack",
        ],
    ),
    ("lampyris-serve", &["lampyris-runtime", "lampyris-import"]),
    (
        "xtask",
        &[
            "lampyris-isa",
            "lampyris-control",
            "lampyris-boards",
            "lampyris-flash",
            "lampyris-flow",
            "verilator-sys",
        ],
    ),
    ("lampyris", EVERY),
    ("lampyris-tests", EVERY),
];

/// Stands for every crate of the workspace.
const EVERY: &[&str] = &["*"];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests lie in the workspace")
        .to_path_buf()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo describes the workspace")
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let ours: BTreeSet<_> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let known: BTreeSet<_> = DIRECTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, known, "give every crate its line in DIRECTIONS");
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let (_, allowed) = DIRECTIONS
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
            .expect("checked above");
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let free = allowed == &EVERY || allowed.contains(&name);
            if ours.contains(name) && !free {
                wrong.push(format!(
                    "{} uses {name} ({:?})",
                    package.name, dependency.kind
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "not allowed:\n{}", wrong.join("\n"));
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for package in metadata().packages {
        let text = fs::read_to_string(&package.manifest_path).expect("the manifest reads");
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{} lacks `[lints] workspace = true`",
            package.manifest_path
        );
        assert_eq!(
            package.publish,
            Some(Vec::new()),
            "{} could be published",
            package.name
        );
    }
}

/// Files below `folder`, without what tools produce.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("the folder lists");
    for entry in entries {
        let entry = entry.expect("the folder lists");
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let hidden = name.starts_with('.') && ![".ci", ".cargo"].contains(&name.as_ref());
        if hidden || ["target", "__pycache__"].contains(&name.as_ref()) {
            continue;
        }
        let path = entry.path();
        if entry.file_type().expect("the entry has a type").is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn all_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    assert!(found.len() > 50, "the walk found too little");
    found
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(OsStr::to_str).unwrap_or_default()
}

/// Text that people write: code, scripts, documents. Not lock files, data and golden outputs.
fn written_text() -> Vec<(PathBuf, String)> {
    let written = [
        "rs", "sv", "svh", "v", "vlt", "toml", "md", "py", "sh", "cpp", "h", "yml", "yaml", "tcl",
    ];
    all_files()
        .into_iter()
        .filter(|path| {
            written.contains(&extension(path))
                || path
                    .parent()
                    .is_some_and(|p| p.file_name().is_some_and(|name| name == ".ci"))
        })
        // This file names what it forbids.
        .filter(|path| !path.ends_with("tests/tests/tidy.rs"))
        .map(|path| {
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{} is not text: {error}", path.display()));
            (path, text)
        })
        .collect()
}

/// Lines of written text that hold one of `words`, as `file:line: word`.
fn lines_with(words: &[&str], kinds: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in written_text() {
        if !kinds.is_empty() && !kinds.contains(&extension(&path)) {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                let path = path.strip_prefix(root()).unwrap_or(&path);
                found.push(format!("{}:{}: {word}", path.display(), index + 1));
            }
        }
    }
    found
}

#[test]
fn no_registry_or_machine_is_named() {
    let words = [
        "pypi.org",
        "pythonhosted.org",
        "crates.io",
        "npmjs.",
        "deb.debian.org",
        "huggingface.co",
        "/work/",
        "/root/",
        "/home/",
        "/tmp/",
    ];
    let found = lines_with(&words, &[]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_is_left_to_do() {
    let words = ["todo!", "unimplemented!", "dbg!", "FIXME", "XXX", "TODO"];
    let found = lines_with(&words, &["rs", "sv", "svh", "v", "py", "cpp", "h"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_readme_is_short() {
    let text = fs::read_to_string(root().join("README.md")).expect("the project has a README.md");
    let lines = text.lines().count();
    assert!(
        lines <= 150,
        "README.md has {lines} lines, at most 150 are read"
    );
}

/// Names of the modules, packages and interfaces that a SystemVerilog text declares.
fn declared(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
            let keyword = words.next()?;
            let found = ["module", "package", "interface"].contains(&keyword);
            found.then(|| words.find(|word| !word.is_empty()))?
        })
        .collect()
}

#[test]
fn declarations_are_found() {
    let text = "// module a\nmodule b #(\n  input x);\nendmodule\npackage c;\n  module_d e;\n";
    assert_eq!(declared(text), ["b", "c"]);
}

#[test]
fn each_hardware_file_explains_and_declares_one_module() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, text) in written_text() {
        if !["sv", "v"].contains(&extension(&path)) {
            continue;
        }
        count += 1;
        let name = path.strip_prefix(root()).unwrap_or(&path).display();
        let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let declared = declared(&text);
        // rust-hdl puts helper modules of a block into its file; hand-written files hold one.
        let own = match extension(&path) {
            "v" => declared.contains(&stem),
            _ => declared == [stem],
        };
        if !own {
            wrong.push(format!("{name}: declares {declared:?}, wanted `{stem}`"));
        }
        if !text.starts_with("// ") {
            wrong.push(format!("{name}: starts without a header comment"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 10, "only {count} hardware files were found");
}
