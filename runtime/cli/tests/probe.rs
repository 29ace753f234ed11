//! `lampyris probe` as people and scripts see it. Nothing here depends on the machine's speed.

mod program;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn folder() -> TempDir {
    // The build folder lies on a disk, where the system's folder for temporary files may not.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn probe(folder: &Path, args: &[&str]) -> Output {
    program::lampyris()
        .arg("probe")
        .args(args)
        .current_dir(folder)
        .env("LAMPYRIS_CACHE", folder.join("cache"))
        .output()
        .expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn a_folder_is_measured_drawn_and_remembered() {
    let folder = folder();
    fs::create_dir(folder.path().join("disk")).expect("a folder");
    let args = [
        "disk",
        "--size",
        "64MiB",
        "--seconds",
        "1",
        "--json",
        "--plot",
        "plot.svg",
    ];
    let output = probe(folder.path(), &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).expect("stdout is JSON alone");
    assert_eq!(value["schema_version"], 1);
    let profile = &value["profile"];
    assert_eq!(
        (&profile["schema_version"], &profile["path"]),
        (&1.into(), &"disk".into())
    );
    assert_eq!(profile["origin"], "measured");
    assert_eq!(profile["sample_bytes"], 64 << 20);
    let points = profile["points"].as_array().expect("points");
    assert!(points.len() > 60, "{}", points.len());
    let saved = value["saved"].as_str().expect("a path");
    let saved: Value = serde_json::from_slice(&fs::read(saved).expect("saved")).expect("JSON");
    assert_eq!(&saved, profile);
    let drawing = fs::read_to_string(folder.path().join("plot.svg")).expect("drawn");
    assert!(drawing.starts_with("<svg") && drawing.contains("MB/s"));
    let left = fs::read_dir(folder.path().join("disk"))
        .expect("lists")
        .count();
    assert_eq!(left, 0, "nothing stays");
}

#[test]
fn a_file_is_measured_as_a_table() {
    let folder = folder();
    fs::write(folder.path().join("model"), vec![1; 64 << 20]).expect("writes");
    let output = probe(folder.path(), &["model", "--seconds", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(
        table.contains("reads of a file of 64.0 MiB, MB/s\n\nread "),
        "{table}"
    );
    for row in ["\n4.0 KiB ", "\n64.0 KiB ", "\n4.0 MiB ", "\nsequential: "] {
        assert!(table.contains(row), "{table}");
    }
    assert!(text(&output.stderr).contains("saved in `"));
}

#[test]
fn what_cannot_be_measured_is_an_error_with_a_hint() {
    let folder = folder();
    fs::write(folder.path().join("small"), "few").expect("writes");
    for (args, code, says) in [
        (&["missing"][..], 1, "error: cannot open `missing`: "),
        (
            &["small"],
            1,
            "it has 3 bytes, and at least 67108864 are needed",
        ),
        (&[".", "--size", "4096TiB"], 1, "bytes are free, and"),
        (
            &[".", "--size", "1MiB"],
            1,
            "size of the temporary file is 1048576",
        ),
        (
            &["/dev/null"],
            1,
            "error: `/dev/null` is not a regular file",
        ),
        (&[".", "--size", "5 potatoes"], 2, "unknown unit `potatoes`"),
        (&[".", "--seconds", "0"], 2, "0 is not in 1..=600"),
        (&[], 2, "<PATH>"),
    ] {
        let output = probe(folder.path(), args);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: {err}");
        assert!(code == 2 || err.contains("\nhint: "), "{args:?}: {err}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert!(
        !folder.path().join("cache/storage").exists(),
        "nothing was saved"
    );
    let plot = ["small", "--plot", "missing/plot.svg"];
    assert_eq!(probe(folder.path(), &plot).status.code(), Some(1));
}
