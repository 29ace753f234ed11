//! `lampyris run` on the engine.

use super::process::{nothing_left, start};
use super::{PROMPT, check, json, lampyris, program, transcript};
use expect_test::expect;
use serde_json::Value;
use std::path::Path;

const RUN: [&str; 6] = ["run", "tiny", "--prompt", PROMPT, "--max-tokens", "24"];

/// The text that `RUN` prints with more options.
fn text(folder: &Path, more: &[&str]) -> String {
    let output = lampyris(folder, &[&RUN[..], more].concat());
    assert!(output.status.success(), "{}", transcript(&output));
    String::from_utf8(output.stdout).expect("text")
}

fn events(folder: &Path, args: &[&str]) -> Vec<Value> {
    let output = lampyris(folder, args);
    assert!(output.status.success(), "{}", transcript(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")))
        .collect()
}

/// The least budget that a plan names.
fn minimum(folder: &Path) -> u64 {
    let plan = json(&lampyris(folder, &["run", "tiny", "--plan", "--json"]));
    plan["plan"]["minimum"].as_u64().expect("bytes")
}

#[test]
fn options_do_not_change_the_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = text(folder.path(), &[]);
    assert!(plain.ends_with('\n') && plain.len() > 24, "{plain:?}");
    // Room for what the process itself uses to differ between runs; an emulator is part of it.
    let room = if program::is_emulated() { 64 } else { 1 } << 20;
    let little = (minimum(folder.path()) + room).to_string();
    for more in [
        &["--memory", little.as_str()][..],
        &["--memory", "2GiB", "--threads", "1"],
        &["--threads", "3", "--io", "buffered"],
        &["--io", "pread:2", "--memory", little.as_str()],
        &["--draft"],
        &["--draft=3", "--context", "100"],
        &["--sinks=2"],
        &["--top-k", "1", "--temperature", "5", "--seed", "3"],
    ] {
        assert_eq!(text(folder.path(), more), plain, "{more:?}");
    }
    // Rounding of the cache may change it.
    assert!(text(folder.path(), &["--kv", "q8"]).len() > 24);
}

#[test]
fn the_plan_comes_first_and_the_figures_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = lampyris(folder.path(), &[&RUN[..], &["--memory", "1GiB"]].concat());
    let shown = String::from_utf8_lossy(&output.stderr);
    let place = |text: &str| {
        shown
            .find(text)
            .unwrap_or_else(|| panic!("no {text:?} in {shown}"))
    };
    assert!(place("budget 1024 MiB") < place("all weights are resident"));
    assert!(place("forecast ") < place("prefill 19 tokens at "));
    assert!(place("prefill 19 tokens at ") < place("decode 24 tokens at "));
    if cfg!(target_os = "linux") {
        assert!(shown.trim_end().ends_with("of 1.0 GiB"), "{shown}");
    }
}

#[test]
fn a_plan_alone_is_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = lampyris(folder.path(), &["run", "tiny", "--plan"]);
    assert!(output.status.success() && output.stderr.is_empty());
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.starts_with("tiny: "), "{shown}");
    let args = ["run", "tiny", "--plan", "--json", "--context", "100"];
    let value = json(&lampyris(folder.path(), &args));
    assert_eq!(value["schema_version"], 1);
    assert_eq!(value["plan"]["context"], 100);
    assert_eq!(value["plan"]["streamed_bytes"], 0);
}

#[test]
fn events_tell_the_whole_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = text(folder.path(), &[]);
    let events = events(folder.path(), &[&RUN[..], &["--json"]].concat());
    assert!(events.iter().all(|e| e["schema_version"] == 2));
    let names: Vec<_> = events
        .iter()
        .map(|e| e["event"].as_str().expect("a name"))
        .collect();
    let (first, rest) = names.split_first().expect("events");
    let (last, tokens) = rest.split_last().expect("events");
    assert_eq!((*first, *last, tokens.len()), ("plan", "done", 24));
    assert!(tokens.iter().all(|t| *t == "token"));
    assert!(events[0]["plan"]["forecast"]["tokens_per_second"].is_number());
    let done = &events[25];
    let pieces: String = events[1..25]
        .iter()
        .map(|e| e["text"].as_str().expect("text"))
        .collect();
    assert_eq!(format!("{pieces}\n"), plain);
    assert_eq!(done["text"], pieces);
    let ids: Vec<_> = events[1..25].iter().map(|e| e["id"].clone()).collect();
    assert_eq!(done["tokens"], Value::Array(ids));
    assert_eq!(done["finish_reason"], "length");
    let keys: Vec<_> = done.as_object().expect("an object").keys().collect();
    expect![[r#"
        [
            "decode_tokens_per_second",
            "event",
            "finish_reason",
            "peak_rss_bytes",
            "prefill_tokens_per_second",
            "prompt_tokens",
            "reused_tokens",
            "schema_version",
            "storage",
            "text",
            "tokens",
        ]
    "#]]
    .assert_debug_eq(&keys);
}

#[test]
fn the_context_ends_the_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = [&RUN[..], &["--json", "--context", "22"]].concat();
    let events = events(folder.path(), &args);
    let done = events.last().expect("events");
    assert_eq!(done["finish_reason"], "length");
    // The last token needs no position.
    assert_eq!(done["tokens"].as_array().map(Vec::len), Some(22 - 19 + 1));
    check(
        folder.path(),
        &[&RUN[..], &["--context", "19"]].concat(),
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: the prompt has 19 tokens, the context 19

            hint: shorten the prompt, or give a longer --context if the model allows it
        "#]],
    );
}

#[test]
fn a_seed_repeats_a_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |seed| text(folder.path(), &["--temperature", "3", "--seed", seed]);
    assert_eq!(with("1"), with("1"));
    assert_ne!(with("1"), with("2"));
}

#[test]
fn a_budget_that_is_too_small_names_the_least() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = lampyris(folder.path(), &[&RUN[..], &["--memory", "1MiB"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(
        shown.contains("1.0 MiB") && shown.contains("\nhint: "),
        "{shown}"
    );
}

#[test]
fn wrong_options_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut told = String::new();
    for more in [
        &["--memory", "2G"][..],
        &["--memory", "lots"],
        &["--io", "magic"],
        &["--context", "1"],
        &["--threads", "0"],
        &["--reference", "--memory", "2GiB"],
    ] {
        let output = lampyris(folder.path(), &[&RUN[..], more].concat());
        told.push_str(&format!("{}\n{}\n", more.join(" "), transcript(&output)));
    }
    for args in [
        &["run", "tiny"][..],
        &["run", "tiny", "-p", "x", "--max-tokens", "0"],
    ] {
        told.push_str(&transcript(&lampyris(folder.path(), args)));
    }
    expect![[r#"
        --memory 2G
        exit code 2
        --- stdout
        --- stderr
        error: invalid value '2G' for '--memory <SIZE>': unknown unit `G`; write GiB for powers of 1024, GB for powers of 1000

        For more information, try '--help'.

        --memory lots
        exit code 2
        --- stdout
        --- stderr
        error: invalid value 'lots' for '--memory <SIZE>': expected a number with a unit, such as 2GiB or 512MiB

        For more information, try '--help'.

        --io magic
        exit code 2
        --- stdout
        --- stderr
        error: invalid value 'magic' for '--io <HOW>': I/O engine is `magic`, which is not in auto, uring, pread, pread:THREADS, buffered, mmap
        hint: `auto` takes the fastest that works

        For more information, try '--help'.

        --context 1
        exit code 2
        --- stdout
        --- stderr
        error: invalid value '1' for '--context <TOKENS>': 1 is not in 2..=4294967295

        For more information, try '--help'.

        --threads 0
        exit code 2
        --- stdout
        --- stderr
        error: invalid value '0' for '--threads <N>': 0 is not in 1..=1024

        For more information, try '--help'.

        --reference --memory 2GiB
        exit code 2
        --- stdout
        --- stderr
        error: the argument '--reference' cannot be used with '--memory <SIZE>'

        Usage: lampyris run --prompt <PROMPT> --max-tokens <MAX_TOKENS> --reference <MODEL>

        For more information, try '--help'.

        exit code 2
        --- stdout
        --- stderr
        error: the following required arguments were not provided:
          --prompt <PROMPT>

        Usage: lampyris run --prompt <PROMPT> <MODEL>

        For more information, try '--help'.
        exit code 2
        --- stdout
        --- stderr
        error: --max-tokens: 0 tokens are no text

        hint: ask for at least one
    "#]]
    .assert_eq(&told);
}

#[test]
fn signals_stop_a_run_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        // Endless: only the signal can end it.
        let args = [
            "run",
            "tiny",
            "-p",
            PROMPT,
            "--max-tokens",
            "1000000000",
            "--sinks",
            "--json",
            "--context",
            "128",
        ];
        let mut running = start(folder.path(), &args);
        assert_eq!(running.event()["event"], "plan");
        for _ in 0..3 {
            assert_eq!(running.event()["event"], "token");
        }
        running.signal(signal);
        let (status, events) = running.end();
        assert_eq!(status.code(), Some(code));
        let done = events.last().expect("events");
        assert_eq!(done["event"], "done");
        assert_eq!(done["finish_reason"], "cancelled");
        assert!(done["text"].as_str().is_some_and(|t| !t.is_empty()));
        nothing_left(folder.path());
    }
}
