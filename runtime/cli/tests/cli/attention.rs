//! Texts that go on past the KV cache, or see only part of it.

use super::*;

#[test]
fn a_ring_goes_on_past_the_cache_and_begins_like_the_text_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let target = ["--context", "24", "--config", "small"];
    for (out, ring) in [("plain", &[][..]), ("ring", &["--ring", "--sinks", "3"])] {
        let compile = [&["compile", "tiny", "-o", out], &target[..], ring].concat();
        let output = lampyris(path, &compile);
        assert!(output.status.success(), "{}", transcript(&output));
        let shown = String::from_utf8_lossy(&output.stderr);
        let past = shown.contains("up to 24 and, with 3 sinks, past it up to 4,194,304");
        assert_eq!(past, out == "ring", "{shown}");
    }
    let sim = |out| {
        let args = ["sim", out, "-p", PROMPT, "--max-tokens", "80", "--json"];
        json(&lampyris(path, &args))
    };
    let (plain, ring) = (sim("plain"), sim("ring"));
    assert_eq!(plain["context_full"], true);
    assert_eq!(ring["context_full"], false);
    let tokens = |value: &Value| value["tokens"].as_array().expect("a list").clone();
    let (plain, ring) = (tokens(&plain), tokens(&ring));
    assert_eq!(ring.len(), 80);
    assert_eq!(plain[..], ring[..plain.len()]);
}

#[test]
fn rings_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let compile = ["compile", "tiny", "-o", "out", "--context", "24"];
    check(
        folder.path(),
        &[&compile[..], &["--ring", "--sinks", "24"]].concat(),
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: --sinks: 24 sinks leave no room in a cache of 24 positions

            hint: give a longer --context or fewer sinks
        "#]],
    );
    check(
        folder.path(),
        &[&compile[..], &["--sinks", "4"]].concat(),
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: the following required arguments were not provided:
              --ring

            Usage: lampyris compile --output <OUTPUT> --ring --context <CONTEXT> --sinks <N> <MODEL>

            For more information, try '--help'.
        "#]],
    );
}

#[test]
fn masks_are_part_of_the_program_and_wrong_ones_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let compile = |mask| {
        [
            "compile",
            "tiny",
            "-o",
            "out",
            "--attention-mask",
            mask,
            "--json",
        ]
    };
    let value = json(&lampyris(path, &compile("first:1,window:2")));
    let found = &value["manifest"]["attention_mask"];
    assert_eq!(*found, serde_json::json!({"first": 1, "window": 2}));
    check(
        path,
        &compile("first:1,window:0"),
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: --attention-mask: a window of 0 blocks: tokens would not see themselves

        hint: give a window of at least one block, such as first:1,window:4
    "#]],
    );
    check(
        path,
        &compile("window:2"),
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: invalid value 'window:2' for '--attention-mask <first:F,window:W>': expected numbers of blocks of 64 tokens, such as first:1,window:4

        For more information, try '--help'.
    "#]],
    );
}
