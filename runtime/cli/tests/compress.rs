//! `lampyris compress` as people and scripts see it, on the built-in model.
//!
//! `UPDATE_EXPECT=1 cargo test -p lampyris --test compress` rewrites the expected texts.

mod program;

use expect_test::{Expect, expect};
use lampyris_flash::{Gguf, TensorType};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

/// What makes a run short.
const SHORT: [&str; 10] = [
    "--calib",
    "text",
    "--tokens",
    "512",
    "--eval-tokens",
    "256",
    "--window",
    "128",
    "--sensitivity-tokens",
    "32",
];

fn run(folder: &Path, args: &[&str]) -> Output {
    program::lampyris()
        .arg("compress")
        .args(args)
        .current_dir(folder)
        .env("COLUMNS", "100")
        .env("LAMPYRIS_CACHE", folder.join("cache"))
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("the command starts")
}

/// A run on the text, as JSON.
fn json(folder: &Path, args: &[&str]) -> Value {
    let all: Vec<&str> = args
        .iter()
        .chain(&SHORT)
        .chain(&["--json"])
        .copied()
        .collect();
    let output = run(folder, &all);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON on stdout")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let names = [
        "Emma",
        "Mr. Knightley",
        "Harriet",
        "Miss Bates",
        "Mr. Elton",
    ];
    let lines = (0..600usize).map(|i| {
        let (who, whom) = (names[i * 7 % 5], names[(i * 3 + 1) % 5]);
        format!("{who} was sure that {whom} had been at Hartfield {i} times before dinner.\n")
    });
    fs::write(folder.path().join("text"), lines.collect::<String>()).expect("writes");
    folder
}

/// Everything that a run shows, but for time.
fn transcript(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let code = output.status.code().expect("not killed");
    let (out, mut err) = (text(&output.stdout), text(&output.stderr));
    if let (Some(start), Some(end)) = (err.find("forecast "), err.find(" s: about")) {
        err.replace_range(start + "forecast ".len()..end, "#");
    }
    format!("exit code {code}\n--- stdout\n{out}--- stderr\n{err}")
}

fn check(folder: &Path, args: &[&str], expected: &Expect) {
    expected.assert_eq(&transcript(&run(folder, args)));
}

#[test]
fn the_file_has_the_size_and_the_perplexity_that_are_reported() {
    let folder = folder();
    let at = folder.path();
    // No multiple of anything.
    let report = json(at, &["tiny", "-o", "out.gguf", "--target-size", "601237"]);
    let result = &report["results"][0];
    let bytes = fs::metadata(at.join("out.gguf")).expect("a file").len();
    assert_eq!(result["file_bytes"], bytes);
    assert!(bytes <= 601_237 && bytes > 580_000, "{bytes}");
    assert!(report["feasible"]["least_file_bytes"].as_u64() < Some(bytes));
    let file = Gguf::open(at.join("out.gguf")).expect("a GGUF file");
    for matrix in result["matrices"].as_array().expect("a list") {
        let tensor = file.tensor(matrix["tensor"].as_str().expect("a name"));
        let tensor = tensor.expect("is in the file");
        assert_eq!(matrix["type"], tensor.ty.name());
        assert_eq!(matrix["bytes"], tensor.data.len());
    }
    let loss = result["loss"].as_f64().expect("a number");
    assert!(loss > -0.05 && loss < 0.3, "{loss}");

    // The written file as a source has the perplexity that was reported for it.
    let again = json(at, &["out.gguf", "--sweep", "4.2"]);
    assert_eq!(again["source"]["perplexity"], result["perplexity"]);
    assert_eq!(again["source"]["file_bytes"], bytes);
    let left = fs::read_dir(at).expect("lists").count();
    assert_eq!(left, 2, "the text and the model");
}

#[test]
fn sweeps_are_drawn() {
    let folder = folder();
    let report = json(
        folder.path(),
        &[
            "tiny",
            "--sweep",
            "3.2,4",
            "--plot",
            "p.svg",
            "--rounding",
            "nearest",
            "--sparsity",
            "auto",
        ],
    );
    let results = report["results"].as_array().expect("a list");
    let bits = |i: usize| results[i]["bits_per_weight"].as_f64().expect("a number");
    assert!(
        bits(0) <= 3.2 && bits(1) <= 4.0 && bits(1) > 3.9,
        "{} {}",
        bits(0),
        bits(1)
    );
    let plot = fs::read_to_string(folder.path().join("p.svg")).expect("a plot");
    assert_eq!(plot.matches("<circle").count(), 3);
}

#[test]
fn patterns_prune_every_layer_and_the_report_says_what_it_costs() {
    let folder = folder();
    let args = [
        "tiny",
        "-o",
        "out.gguf",
        "--sparsity",
        "4:16",
        "--prune",
        "wanda",
    ];
    let all: Vec<&str> = args.iter().chain(&SHORT).copied().collect();
    let output = run(folder.path(), &all);
    let shown = transcript(&output);
    assert!(output.status.success(), "{shown}");
    for words in [
        "attn_q × 6",
        "Q4_4OF16 × 6",
        "token_embd × 1",
        "Q8_0 × 1",
        "pruned: Q4_4OF16 reads 2.25 bits a weight on the accelerator, 25 % less than dense 2-bit weights",
        "wrote out.gguf",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let file = Gguf::open(folder.path().join("out.gguf")).expect("a GGUF file");
    assert_eq!(
        file.tensor("blk.3.ffn_down.weight").expect("is there").ty,
        TensorType::Q4_4OF16
    );
    assert_eq!(
        file.metadata()
            .require::<&str>("lampyris.compress.pruning")
            .expect("text"),
        "wanda"
    );
}

#[test]
fn impossible_wishes_are_refused_before_anything_is_computed() {
    let folder = folder();
    let at = folder.path();
    let with = |args: &[&'static str]| -> Vec<&str> {
        let calib: &[&str] = &["--calib", "text"];
        args.iter().chain(calib).copied().collect()
    };
    check(
        at,
        &with(&["tiny", "-o", "x", "--target-size", "100KiB"]),
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: a budget of 102400 bytes is impossible for `tiny` with these formats: the smallest that fits is 529344 bytes

            hint: give at least --target-size 529344, or allow narrower formats (--widths, --sparsity auto)
        "#]],
    );
    check(
        at,
        &with(&["tiny", "-o", "x", "--target-bpw", "2.5"]),
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: a budget of 2.5 bits a weight is impossible for `tiny` with these formats: the smallest that fits is 3.037

            hint: give at least --target-bpw 3.037, or allow narrower formats (--widths, --sparsity auto)
        "#]],
    );
    check(
        at,
        &with(&["tiny", "-o", "x", "--target-bpw", "0"]),
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: 0 bits a weight

            hint: give more than 0, at most 32
        "#]],
    );
    check(
        at,
        &with(&["tiny", "-o", "x", "--target-bpw", "4", "--widths", "4,7"]),
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: weights of 7 bits are not supported

            hint: choose from 2, 3, 4, 5, 6 and 8; the nearest is 6
        "#]],
    );
    check(
        at,
        &with(&["tiny", "-o", "x", "--sparsity", "1:4"]),
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: invalid value '1:4' for '--sparsity <PATTERN>': the supported patterns are 2:4 and 4:16; the nearest is 4:16

            For more information, try '--help'.
        "#]],
    );
    check(
        at,
        &with(&["tiny", "-o", "x"]),
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: nothing says how small the model shall become

        hint: give --target-size, --target-bpw, --sparsity 2:4, or --sweep to compare
    "#]],
    );
    check(
        at,
        &with(&["tiny", "--target-bpw", "4"]),
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: give the file to write with -o
    "#]],
    );
    check(
        at,
        &with(&["tiny", "-o", "x", "--sweep", "4"]),
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: --sweep writes no model

            hint: give --target-bpw too, or leave -o out
        "#]],
    );
    check(
        at,
        &["tiny", "-o", "x", "--target-bpw", "4"],
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: the following required arguments were not provided:
              --calib <TEXT>

            Usage: lampyris compress --calib <TEXT> --output <OUTPUT> --target-bpw <BITS> <MODEL>

            For more information, try '--help'.
        "#]],
    );
    check(
        at,
        &["tiny", "-o", "x", "--target-bpw", "4", "--calib", "absent"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: cannot read `absent`: No such file or directory (os error 2)
        "#]],
    );
    assert_eq!(fs::read_dir(at).expect("lists").count(), 1);
}

/// Ctrl-C while the file is being written: it stops in order and leaves nothing behind.
#[cfg(unix)]
#[test]
fn a_signal_leaves_nothing_behind() {
    let folder = folder();
    let at = folder.path();
    let args = [
        "tiny",
        "-o",
        "out.gguf",
        "--target-bpw",
        "3.3",
        "--calib",
        "text",
        "--tokens",
        "8192",
        "--window",
        "256",
        "--eval-tokens",
        "64",
        "--sensitivity-tokens",
        "0",
    ];
    let mut child = program::lampyris()
        .arg("compress")
        .args(args)
        .current_dir(at)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the command starts");
    let names = || -> Vec<String> {
        let entries = fs::read_dir(at).expect("lists");
        let names = entries.map(|e| e.expect("lists").file_name().into_string());
        names.map(|name| name.expect("text")).collect()
    };
    while names() == ["text"] {
        let ended = child.try_wait().expect("it can be asked");
        assert_eq!(ended, None, "it ended before it wrote");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let id = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status();
    assert!(sent.expect("`kill` starts").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(names(), ["text"]);
}
