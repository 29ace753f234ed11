//! `lampyris bench`: what it reports, not how fast anything is.

use super::{check, json, lampyris, transcript};
use expect_test::expect;
use std::path::Path;

const BENCH: [&str; 10] = [
    "bench", "tiny", "-p", "8", "-n", "4", "-r", "2", "-t", "1,2",
];

fn text(folder: &Path, more: &[&str]) -> String {
    let output = lampyris(folder, &[&BENCH[..], more].concat());
    assert!(output.status.success(), "{}", transcript(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn json_has_every_measurement() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = [
        "-o",
        "json",
        "--memory",
        "none,512MiB",
        "--plot",
        "plot.svg",
    ];
    let value = json(&lampyris(folder.path(), &[&BENCH[..], &more].concat()));
    assert_eq!(value["schema_version"], 1);
    let rows = value["rows"].as_array().expect("a list");
    let told: Vec<_> = rows
        .iter()
        .map(|r| {
            let samples = r["samples"].as_array().expect("a list");
            assert_eq!(samples.len(), 2);
            assert!(samples.iter().all(|s| s["seconds"].as_f64() > Some(0.0)));
            assert!(r["tokens_per_second"]["mean"].as_f64() > Some(0.0));
            let test = r["test"].as_str().expect("text");
            format!("{} {} {test}", r["memory_bytes"], r["threads"])
        })
        .collect();
    // Budgets from the smallest on.
    expect![[r#"
        [
            "536870912 1 pp8",
            "536870912 1 tg4",
            "536870912 2 pp8",
            "536870912 2 tg4",
            "null 1 pp8",
            "null 1 tg4",
            "null 2 pp8",
            "null 2 tg4",
        ]
    "#]]
    .assert_debug_eq(&told);
    let keys: Vec<_> = rows[0].as_object().expect("an object").keys().collect();
    expect![[r#"
        [
            "backend",
            "io",
            "isa",
            "kv",
            "memory_bytes",
            "model",
            "model_bytes",
            "samples",
            "streamed_bytes",
            "test",
            "threads",
            "tokens_per_second",
        ]
    "#]]
    .assert_debug_eq(&keys);
    let plot = std::fs::read_to_string(folder.path().join("plot.svg")).expect("a plot");
    assert!(plot.starts_with("<svg") && plot.contains("tg4, 2 threads, memory 512.0 MiB"));
}

#[test]
fn tables_for_people_and_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = text(folder.path(), &[]);
    let header = table.lines().next().expect("a header");
    let columns: Vec<_> = header.split('|').map(str::trim).collect();
    expect![[r#"
        [
            "",
            "model",
            "size",
            "backend",
            "isa",
            "threads",
            "kv",
            "memory",
            "read/token",
            "waiting",
            "peak memory",
            "test",
            "t/s",
            "",
        ]
    "#]]
    .assert_debug_eq(&columns);
    assert_eq!(table.lines().count(), 2 + 4, "{table}");
    assert!(table.lines().skip(2).all(|l| l.contains(" ± ")), "{table}");
    let csv = text(folder.path(), &["-o", "csv"]);
    let widths: Vec<_> = csv.lines().map(|l| l.split(',').count()).collect();
    assert_eq!(widths, [16; 5], "{csv}");
}

#[test]
fn wrong_usage_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    check(
        folder.path(),
        &["bench", "tiny", "-p", "0", "-n", "0"],
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: there is nothing to measure

            hint: give a length above 0 with -p or -n
        "#]],
    );
    check(
        folder.path(),
        &["bench", "tiny", "--memory", "none,2G"],
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: invalid value '2G' for '--memory <SIZE>': unknown unit `G`; write GiB for powers of 1024, GB for powers of 1000

            For more information, try '--help'.
        "#]],
    );
    let more = ["--plot", "absent/plot.svg"];
    let output = lampyris(folder.path(), &[&BENCH[..], &more].concat());
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(shown.contains("cannot write absent/plot.svg"), "{shown}");
}
