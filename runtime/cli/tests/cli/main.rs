//! The command as people and scripts see it: exit codes, data on stdout, everything else on
//! stderr. Only `tiny` and the functional model, so nothing is downloaded or built.
//!
//! `UPDATE_EXPECT=1 cargo test -p lampyris` rewrites the expected texts.

mod attention;
mod bench;
mod boards;
mod chat;
mod process;
#[path = "../program/mod.rs"]
mod program;
mod run;
mod serve;
mod vendor;

use expect_test::{Expect, expect};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

const PROMPT: &str = "It is a truth universally acknowledged, that";

/// Runs the command in `folder`, with an empty cache.
fn lampyris(folder: &Path, args: &[&str]) -> Output {
    program::lampyris()
        .args(args)
        .current_dir(folder)
        .env("LAMPYRIS_CACHE", folder.join("cache"))
        .env("COLUMNS", "100")
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("the command starts")
}

/// Numbers that differ from run to run.
fn redact(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let seconds = line.contains(" s: ") || line.starts_with("simulated ");
        if seconds || line.starts_with("prefill ") {
            let words = line
                .split(' ')
                .map(|w| if w.contains('.') { "#.#" } else { w });
            out.push_str(words.collect::<Vec<_>>().join(" ").trim_end());
            out.push('\n');
        } else {
            out.push_str(line);
        }
    }
    out
}

/// Everything that a run shows.
fn transcript(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let code = output.status.code().expect("not killed");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    redact(&format!(
        "exit code {code}\n--- stdout\n{out}--- stderr\n{err}"
    ))
}

fn check(folder: &Path, args: &[&str], expected: &Expect) {
    expected.assert_eq(&transcript(&lampyris(folder, args)));
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", transcript(output));
    serde_json::from_slice(&output.stdout).expect("stdout is JSON alone")
}

/// A folder with `tiny` compiled to `compiled`.
fn compiled() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["compile", "tiny", "-o", "compiled", "--config", "small"];
    let output = lampyris(folder.path(), &args);
    assert!(output.status.success(), "{}", transcript(&output));
    folder
}

#[test]
fn inspect() {
    let folder = tempfile::tempdir().expect("a folder");
    check(
        folder.path(),
        &["inspect", "tiny"],
        &expect![[r#"
            exit code 0
            --- stdout
            model                      tiny
            architecture               llama
            layers                     6 × (d 128, 4 heads, 2 kv heads, head 32, ffn 384)
            vocabulary                 1,024
            context                    512
            parameters                 1,312,384
            multiplications per token  1,310,720
            KV elements per token      768
            F32 × 13                   6.5 KiB → f32
            Q4_1 × 42                  720.0 KiB → 4-bit, lossless
            Q8_0 × 1                   136.0 KiB → 8-bit, lossless

            configuration `base`, 512 positions
            tokens per prefill call  16
            DRAM                     2.4 MiB
            program                  20.4 KiB
            decode at position 128   4412.3 tokens/s, 45,328 cycles, 1009.4 KiB, port busy 71 %, multipliers 52 %, bound by neither memory nor multipliers alone (modelled)
            prompt of 128 tokens     6538.7 tokens/s, 3,915,132 cycles, 16.6 MiB, port busy 14 %, multipliers 67 %, bound by neither memory nor multipliers alone (modelled)
            --- stderr
        "#]],
    );
    let too_long = ["inspect", "tiny", "--context", "513"];
    check(
        folder.path(),
        &too_long,
        &expect![[r#"
        exit code 0
        --- stdout
        model                      tiny
        architecture               llama
        layers                     6 × (d 128, 4 heads, 2 kv heads, head 32, ffn 384)
        vocabulary                 1,024
        context                    512
        parameters                 1,312,384
        multiplications per token  1,310,720
        KV elements per token      768
        F32 × 13                   6.5 KiB → f32
        Q4_1 × 42                  720.0 KiB → 4-bit, lossless
        Q8_0 × 1                   136.0 KiB → 8-bit, lossless

        configuration `base`, 513 positions
        does not fit: --context: 513 positions

        hint: the model was made for fewer positions; choose 1 to its context length (see `lampyris inspect`)
        --- stderr
    "#]],
    );
}

#[test]
fn explore() {
    let folder = tempfile::tempdir().expect("a folder");
    let few = [
        "--axi-bits",
        "128,256",
        "--mac-rows",
        "1,2",
        "--sfu-lanes",
        "2,8",
    ];
    let with = |more: &[&'static str]| {
        let mut args = vec!["explore", "tiny", "--stream-beats", "512"];
        args.extend(few);
        args.extend(more);
        args
    };
    check(
        folder.path(),
        &with(&["--plot", "speed.svg"]),
        &expect![[r#"
            exit code 0
            --- stdout
            memory  port  lanes  SFU  stream  MHz  tokens/s  port busy    LUT  DSP  BRAM
            ideal    128     32    2     512  200    2134.7       69 %  43555   65   348
            ideal    256     32    2     512  200    2514.2       41 %  44784   65   356
            ideal    256     64    2     512  200    3133.5       51 %  53694  104   356
            ideal    256     32    8     512  200    3367.6       54 %  66222  113   368
            ideal    256     64    8     512  200    4588.2       74 %  75132  152   368
            modelled: decode at position 128; LUT, MULT18 and 18-kbit memories of an ECP5
            --- stderr
        "#]],
    );
    let plot = std::fs::read_to_string(folder.path().join("speed.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("tokens per second"));
    check(
        folder.path(),
        &with(&["--memory", "ddr3-800", "--max-lut", "60000"]),
        &expect![[r#"
            exit code 0
            --- stdout
            memory    port  lanes  SFU  stream  MHz  tokens/s  port busy    LUT  DSP  BRAM
            ddr3-800   128     32    2     512  110    1154.7       67 %  43555   65   348
            ddr3-800   128     64    2     512  110    1162.8       68 %  52465  104   348
            modelled: decode at position 128; LUT, MULT18 and 18-kbit memories of an ECP5
            --- stderr
        "#]],
    );
    check(
        folder.path(),
        &with(&["--position", "9999"]),
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: --position is 9999, allowed: 1 to 512

            hint: --context sets the most positions
        "#]],
    );
    check(
        folder.path(),
        &with(&["--memory", "ddr9"]),
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: no memory is called `ddr9`

        hint: the kinds are sdr-133, ddr3-800, ddr4-2400, hbm2
    "#]],
    );
    check(
        folder.path(),
        &with(&["--max-lut", "10"]),
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: no configuration is within the limits

            hint: the one with the fewest LUTs takes 43555 LUTs, 65 multipliers and 348 block memories; raise --max-lut, --max-dsp or --max-bram, or sweep smaller ones
        "#]],
    );
    check(
        folder.path(),
        &["explore", "tiny", "--mac-rows", "3"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: `mac_rows` is 3, allowed: 1, 2, 4, 8 or 16
        "#]],
    );
}

#[test]
fn inspect_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    check(
        folder.path(),
        &["inspect", "tiny", "--json"],
        &expect![[r#"
            exit code 0
            --- stdout
            {
              "fit": {
                "blocker": null,
                "config": "base",
                "context": 512,
                "dram_bytes": 2523136,
                "forecasts": [
                  {
                    "bytes": 1033664,
                    "cycles": 45328,
                    "mac_share": 0.5195905400635369,
                    "port_share": 0.7126279562301447,
                    "position": 128,
                    "tokens": 1,
                    "tokens_per_second": 4412.283798093893
                  },
                  {
                    "bytes": 17451776,
                    "cycles": 3915132,
                    "mac_share": 0.6664275942675751,
                    "port_share": 0.13929747451682345,
                    "position": 128,
                    "tokens": 128,
                    "tokens_per_second": 6538.732282845125
                  }
                ],
                "prefill_tokens": 16,
                "program_bytes": 20896
              },
              "forecast_level": "modelled",
              "model": {
                "architecture": "llama",
                "context_length": 512,
                "d_model": 128,
                "kv_elements_per_token": 768,
                "layers": 6,
                "macs_per_token": 1310720,
                "name": "tiny",
                "parameters": 1312384,
                "tensors": [
                  {
                    "bytes": 6656,
                    "packed": "f32",
                    "tensors": 13,
                    "type": "F32"
                  },
                  {
                    "bytes": 737280,
                    "packed": "4-bit, lossless",
                    "tensors": 42,
                    "type": "Q4_1"
                  },
                  {
                    "bytes": 139264,
                    "packed": "8-bit, lossless",
                    "tensors": 1,
                    "type": "Q8_0"
                  }
                ],
                "vocab_size": 1024
              },
              "schema_version": 1
            }
            --- stderr
        "#]],
    );
}

#[test]
fn a_board_that_cannot_be_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "name = \"little\"\ninherit = \"small\"\n[accel]\nvmem_words = 1024\n";
    fs::write(folder.path().join("board.toml"), text).expect("written");
    let compile = ["compile", "tiny", "-o", "out", "--config", "board.toml"];
    check(
        folder.path(),
        &compile,
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: board.toml: `vmem_words` is 1024, allowed: a power of two from 4096 to 262144

        hint: correct the value under [accel]
    "#]],
    );
    let compile = ["compile", "tiny", "-o", "out", "--context", "513"];
    check(
        folder.path(),
        &compile,
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: --context: 513 positions

        hint: the model was made for fewer positions; choose 1 to its context length (see `lampyris inspect`)
    "#]],
    );
    assert!(!folder.path().join("out").exists());
}

#[test]
fn compile() {
    let folder = tempfile::tempdir().expect("a folder");
    check(
        folder.path(),
        &["compile", "tiny", "-o", "out"],
        &expect![[r#"
            exit code 0
            --- stdout
            --- stderr
            compiled tiny (1,312,384 parameters) to out in #.# s: #.# KiB of weights, #.# KiB of program for all lengths up to 512, DRAM #.# MiB
        "#]],
    );
    let again = [
        "compile", "tiny", "-o", "out", "--config", "small", "--json",
    ];
    let mut value = json(&lampyris(folder.path(), &again));
    assert!(value["seconds"].as_f64().is_some_and(|s| s >= 0.0));
    value["seconds"] = "redacted".into();
    // The contents have tests of their own; here it is the layout.
    for file in value["manifest"]["files"].as_array_mut().expect("a list") {
        assert_eq!(file["sha256"].as_str().map(str::len), Some(64));
        file["sha256"] = "redacted".into();
        file["bytes"] = "redacted".into();
    }
    for region in value["manifest"]["regions"].as_array_mut().expect("a list") {
        region["base"] = "redacted".into();
        region["bytes"] = "redacted".into();
    }
    value["manifest"]["entries"]["prefill"] = "redacted".into();
    assert_eq!(value["manifest"]["config"]["mac_rows"], 1);
    let hash = value["manifest"]["config_hash"].as_str();
    assert_eq!(hash.map(str::len), Some(8));
    value["manifest"]["config"] = "redacted".into();
    value["manifest"]["config_hash"] = "redacted".into();
    let text = serde_json::to_string_pretty(&value).expect("plain data");
    expect![[r#"
        {
          "manifest": {
            "config": "redacted",
            "config_hash": "redacted",
            "context": 512,
            "entries": {
              "decode": 0,
              "prefill": "redacted"
            },
            "files": [
              {
                "bytes": "redacted",
                "name": "debug.json",
                "sha256": "redacted"
              },
              {
                "bytes": "redacted",
                "name": "program.bin",
                "sha256": "redacted"
              },
              {
                "bytes": "redacted",
                "name": "tokenizer.json",
                "sha256": "redacted"
              },
              {
                "bytes": "redacted",
                "name": "weights.bin",
                "sha256": "redacted"
              }
            ],
            "isa_version": 2,
            "model": {
              "architecture": "llama",
              "kv_bytes_per_token": 864,
              "layers": 6,
              "name": "tiny",
              "parameters": 1312384,
              "vocab_size": 1024,
              "weight_bytes_per_token": 890880
            },
            "prefill_tokens": 2,
            "regions": [
              {
                "base": "redacted",
                "bytes": "redacted",
                "kind": "program"
              },
              {
                "base": "redacted",
                "bytes": "redacted",
                "kind": "weights"
              },
              {
                "base": "redacted",
                "bytes": "redacted",
                "kind": "tokens"
              },
              {
                "base": "redacted",
                "bytes": "redacted",
                "kind": "logits"
              },
              {
                "base": "redacted",
                "bytes": "redacted",
                "kind": "kv"
              }
            ],
            "schedule": "fused",
            "schema_version": 4
          },
          "output": "out",
          "requantized": [],
          "schema_version": 1,
          "seconds": "redacted",
          "widened": []
        }"#]]
    .assert_eq(&text);
}

#[test]
fn sim_on_the_model() {
    let folder = compiled();
    let args = ["sim", "compiled", "--prompt", PROMPT, "--max-tokens", "12"];
    let output = lampyris(folder.path(), &args);
    assert!(output.status.success(), "{}", transcript(&output));
    // Text alone on stdout.
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        " it is not a man whose nature, and
"
    );
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(
        shown.contains("functional model  prefill  decode"),
        "{shown}"
    );
    let value = json(&lampyris(folder.path(), &[&args[..], &["--json"]].concat()));
    let text = value["text"].as_str().expect("text");
    assert_eq!(format!("{text}\n").as_bytes(), output.stdout);
    assert_eq!(value["tokens"].as_array().map(Vec::len), Some(12));
    assert_eq!(value["prefill"]["cycles"], 0, "the model has no time");
}

#[test]
fn sim_schedule_spilled_computes_the_same_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let compile = [
        "compile",
        "tiny",
        "--config",
        "small",
        "--context",
        "64",
        "-o",
    ];
    let mut texts = Vec::new();
    for schedule in ["fused", "spilled"] {
        let more = [schedule, "--schedule", schedule];
        let output = lampyris(folder.path(), &[&compile[..], &more].concat());
        assert!(output.status.success(), "{}", transcript(&output));
        let sim = ["sim", schedule, "--prompt", PROMPT, "--max-tokens", "4"];
        let output = lampyris(folder.path(), &sim);
        assert!(output.status.success(), "{}", transcript(&output));
        texts.push(output.stdout);
    }
    assert_eq!(texts[0], texts[1]);
    let manifest = std::fs::read_to_string(folder.path().join("spilled/manifest.json"));
    let manifest: serde_json::Value =
        serde_json::from_str(&manifest.expect("a manifest")).expect("valid JSON");
    assert_eq!(manifest["schedule"], "spilled");
}

#[test]
fn run_with_the_reference() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = [
        "run",
        "tiny",
        "--prompt",
        PROMPT,
        "--max-tokens",
        "12",
        "--reference",
    ];
    check(
        folder.path(),
        &args,
        &expect![[r#"
        exit code 0
        --- stdout
         it is not a man whose conduct,
        --- stderr
        note: f32 reference executor: exact and slow; it is the arbiter, not the fast path
        prefill 19 tokens at #.# tokens/s, decode 12 tokens at #.# tokens/s (measured)
    "#]],
    );
}

#[test]
fn a_full_cache_ends_the_text_and_not_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let compile = [
        "compile",
        "tiny",
        "-o",
        "out",
        "--context",
        "24",
        "--config",
        "small",
    ];
    assert!(lampyris(folder.path(), &compile).status.success());
    let sim = ["sim", "out", "-p", PROMPT, "--max-tokens", "100"];
    let output = lampyris(folder.path(), &sim);
    assert!(output.status.success());
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(
        shown.contains("note: the text ends because the KV cache is full"),
        "{shown}"
    );
    let value = json(&lampyris(folder.path(), &[&sim[..], &["--json"]].concat()));
    let count = |key: &str| value[key].as_array().map_or(0, Vec::len);
    // The last token needs no position of its own.
    assert_eq!(count("prompt_tokens") + count("tokens"), 24 + 1);
    assert_eq!(value["context_full"], true);
    let long = PROMPT.repeat(3);
    check(
        folder.path(),
        &["sim", "out", "-p", &long],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: start: 57 positions, the cache has 24

        hint: compile with a longer --context, or with --ring to go on past it; or ask for fewer tokens
    "#]],
    );
}

#[test]
fn failures_say_what_to_do() {
    let folder = compiled();
    let path = folder.path();
    check(
        path,
        &["inspect", "absent.gguf"],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: cannot read `absent.gguf`: No such file or directory (os error 2)

        hint: check that the path exists and is readable
    "#]],
    );
    check(
        path,
        &["inspect", "tiny", "--config", "nope"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: nope: No such file or directory (os error 2)

            hint: name a configuration (base, small, wide), a board of this program (ulx3s-85f, kv260, alveo-u55c, alveo-u280, vhk158) or a board's file
        "#]],
    );
    check(
        path,
        &["run", "tiny", "-p", "Hello", "--chat"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: the model has no chat template

            hint: leave out --chat to continue plain text
        "#]],
    );
    check(
        path,
        &["sim", "absent", "-p", "x"],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: absent/manifest.json: No such file or directory (os error 2)

        hint: is this a directory that `lampyris compile` wrote?
    "#]],
    );
    fs::write(path.join("text.gguf"), "not a model").expect("written");
    check(
        path,
        &["compile", "text.gguf", "-o", "out"],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: `text.gguf` is malformed at byte 0: magic number is [6e, 6f, 74, 20], not "GGUF"

        hint: this is not a GGUF file; pass a .gguf file or a directory with safetensors
    "#]],
    );
    check(
        path,
        &["compile", "tiny", "-o", "."],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: . exists and is not a compiled directory, or holds other files too

        hint: choose another name with -o
    "#]],
    );
    check(
        path,
        &["compile", "tiny", "-o", "absent/out"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: cannot write absent/out: No such file or directory (os error 2)

            hint: choose another place with -o, or see that its parent directory exists, can be written and has room
        "#]],
    );
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let folder = compiled();
    let path = folder.path();
    let sim = ["sim", "compiled", "-p", "x"];
    let with = |more: &[&'static str]| [&sim[..], more].concat();
    check(
        path,
        &with(&["--wave", "9..3"]),
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: invalid value '9..3' for '--wave <WAVE>': expected two cycles A..B with A < B

        For more information, try '--help'.
    "#]],
    );
    check(
        path,
        &with(&["--wave", "3..9"]),
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: --wave: needs the RTL alone

        hint: add --engine rtl
    "#]],
    );
    check(
        path,
        &with(&["--wave-file", "x.fst"]),
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: the following required arguments were not provided:
          --wave <WAVE>

        Usage: lampyris sim --prompt <PROMPT> --wave <WAVE> --wave-file <WAVE_FILE> <DIRECTORY>

        For more information, try '--help'.
    "#]],
    );
    check(
        path,
        &with(&["--trace", "t.json"]),
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: --trace: the functional model has no time

        hint: add --engine lockstep
    "#]],
    );
    check(
        path,
        &with(&["--trace", "t.json", "--engine", "rtl"]),
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: --trace: the RTL alone does not say which instruction it retires

            hint: add --engine lockstep
        "#]],
    );
    check(
        path,
        &with(&["--rtl", "rtl"]),
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: --rtl: the functional model needs no RTL

        hint: add --engine rtl
    "#]],
    );
    check(
        path,
        &with(&["--temperature", "-1"]),
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: unexpected argument '-1' found

          tip: to pass '-1' as a value, use '-- -1'

        Usage: lampyris sim [OPTIONS] --prompt <PROMPT> <DIRECTORY>

        For more information, try '--help'.
    "#]],
    );
    check(
        path,
        &["run", "tiny", "-p", ""],
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: the prompt has no tokens

        hint: give some text with --prompt
    "#]],
    );
    check(
        path,
        &[
            "run",
            "tiny",
            "-p",
            "x",
            "--temperature",
            "1",
            "--top-p",
            "3",
        ],
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: top_p is 3, which is outside above 0 to 1

            hint: choose a value in that range
        "#]],
    );
    assert!(!path.join("t.json").exists());
}

#[test]
fn doctor_reports_an_empty_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = lampyris(folder.path(), &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1), "tools are missing");
    let value: Value = serde_json::from_slice(&output.stdout).expect("stdout is JSON alone");
    assert_eq!(value["schema_version"], 1);
    let findings = value["findings"].as_array().expect("a list");
    let mut names = Vec::new();
    for finding in findings {
        let keys: Vec<_> = finding.as_object().expect("an object").keys().collect();
        let expected = [
            "found", "mend", "name", "ok", "optional", "path", "purpose", "wanted",
        ];
        assert_eq!(keys, expected, "{finding}");
        let ok = finding["ok"].as_bool().expect("a truth value");
        assert_eq!(
            ok,
            finding["mend"] == "",
            "what is missing has a remedy: {finding}"
        );
        names.push(finding["name"].as_str().expect("a name"));
    }
    assert!(
        names.contains(&"verilator") && names.contains(&"python3"),
        "{names:?}"
    );
    let text = lampyris(folder.path(), &["doctor"]);
    let (out, err) = (
        String::from_utf8_lossy(&text.stdout),
        String::from_utf8_lossy(&text.stderr),
    );
    assert!(
        out.contains("MISSING") && err.contains("hint: cargo xtask setup"),
        "{out}{err}"
    );
}
