//! `train-predictor` and `calibrate` as people and scripts see them, on small models.

mod program;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn lampyris(folder: &Path, args: &[&str]) -> Output {
    program::lampyris()
        .args(args)
        .current_dir(folder)
        .env("LAMPYRIS_CACHE", folder.join("cache"))
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("the command starts")
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON on stdout")
}

/// The model with ReLU that is in the repository.
fn relu_small() -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let path: PathBuf = tests.join("models/relu-small/relu-small.gguf");
    path.to_str().expect("a path of text").to_owned()
}

fn text(folder: &Path) {
    let lines = (0..400).map(|i| {
        format!("Mr. Bingley saw {i} ladies walking to the ball, and Emma laughed at him.\n")
    });
    fs::write(folder.join("text"), lines.collect::<String>()).unwrap();
}

#[test]
fn predictors_are_trained_for_models_with_relu() {
    let folder = tempfile::tempdir().unwrap();
    text(folder.path());
    let model = relu_small();
    let train = [
        "train-predictor",
        &model,
        "--calib",
        "text",
        "-o",
        "p.safetensors",
        "--tokens",
        "384",
        "--window",
        "64",
        "--eval-tokens",
        "64",
        "--rank",
        "32",
        "--epochs",
        "1",
        "--recall",
        "0.95",
        "--statistics",
        "usage.json",
        "--json",
    ];
    let report = json(&lampyris(folder.path(), &train));
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["layers"].as_array().unwrap().len(), 6);
    let recall = report["quality"]["recall"].as_f64().unwrap();
    let density = report["quality"]["active"].as_f64().unwrap();
    assert!(recall > 0.7 && density > 0.01 && density < 0.2, "{report}");
    let share = report["share_of_weights"].as_f64().unwrap();
    assert!(share > 0.01 && share < 0.04, "{share}");
    let perplexity = &report["perplexity"];
    assert!(
        perplexity["predicted"].as_f64().unwrap() > 1.0,
        "{perplexity}"
    );
    let predictor = fs::read(folder.path().join("p.safetensors")).unwrap();
    // The file has a header, thresholds and the report beside the weights.
    let (file, weights) = (predictor.len() as u64, report["bytes"].as_u64().unwrap());
    assert!(
        file > weights && file < weights + weights / 4,
        "{file} {weights}"
    );
    let usage: Value =
        serde_json::from_slice(&fs::read(folder.path().join("usage.json")).unwrap()).unwrap();
    assert_eq!(usage["active"].as_array().unwrap().len(), 6);
    // The same seed gives the same file.
    json(&lampyris(folder.path(), &train));
    assert!(fs::read(folder.path().join("p.safetensors")).unwrap() == predictor);
}

#[test]
fn thresholds_are_calibrated_for_models_without() {
    let folder = tempfile::tempdir().unwrap();
    text(folder.path());
    let calibrate = [
        "calibrate",
        "tiny",
        "--calib",
        "text",
        "--tokens",
        "128",
        "--window",
        "32",
        "--eval-tokens",
        "64",
        "--sparsity",
        "0,60",
        "-o",
        "t.json",
        "--json",
    ];
    let report = json(&lampyris(folder.path(), &calibrate));
    let rows = report["thresholds"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let sparsity = row["sparsity"].as_f64().unwrap();
        let target = row["target"].as_f64().unwrap();
        assert!((sparsity - target).abs() < 0.1, "{row}");
        let loss = row["loss"].as_f64().unwrap();
        assert!(
            if target == 0.0 {
                loss.abs() < 1e-6
            } else {
                // On so few tokens a change may happen to help.
                loss.abs() > 1e-4
            },
            "{row}"
        );
    }
    assert!(folder.path().join("t.json").exists());
    // What they leave can be predicted too.
    let train = [
        "train-predictor",
        "tiny",
        "--calib",
        "text",
        "-o",
        "p",
        "--tokens",
        "320",
        "--window",
        "64",
        "--eval-tokens",
        "0",
        "--epochs",
        "1",
        "--thresholds",
        "t.json",
        "--rule",
        "product",
        "--sparsity",
        "60",
        "--json",
    ];
    let report = json(&lampyris(folder.path(), &train));
    assert!(report["perplexity"].is_null());
    // And the engine runs with them, after it has said what that costs.
    let pack = ["pack", "tiny", "-o", "t.lampack", "--layout", "bundled"];
    assert!(lampyris(folder.path(), &pack).status.success());
    let run = |sparsity| {
        let args = [
            "run",
            "t.lampack",
            "--thresholds",
            "t.json",
            "--rule",
            "gate",
            "--sparsity",
            sparsity,
            "--prompt",
            "the",
            "--max-tokens",
            "8",
        ];
        lampyris(folder.path(), &args)
    };
    let (whole, sparse) = (run("0"), run("60"));
    for output in [&whole, &sparse] {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert!(errors.contains("perplexity"), "{errors}");
    }
    assert_ne!(whole.stdout, sparse.stdout, "60 % of the neurons matter");
}

#[test]
fn wrong_use_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    text(folder.path());
    fs::write(folder.path().join("short"), "x").unwrap();
    let train = ["train-predictor", "tiny", "--calib", "text", "-o", "p"];
    let with = |more: &[&'static str]| [&train[..], more].concat();
    let cases: [(Vec<&str>, i32, &str); 5] = [
        (with(&[]), 1, "has no ReLU"),
        (with(&["--recall", "2"]), 2, "a recall of 2"),
        (
            with(&["--rank", "many"]),
            2,
            "expected a positive number or `auto`",
        ),
        (
            vec!["calibrate", "tiny", "--calib", "short"],
            1,
            "too short",
        ),
        (
            vec!["calibrate", "tiny", "--calib", "text", "--sparsity", "100"],
            2,
            "a sparsity of 100",
        ),
    ];
    for (args, code, message) in cases {
        let output = lampyris(folder.path(), &args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        assert!(errors.contains(message), "{args:?}: {errors}");
    }
    assert!(
        !folder.path().join("p").exists(),
        "nothing half-written is left"
    );
}
