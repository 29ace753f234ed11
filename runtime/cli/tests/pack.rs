//! `lampyris pack` as people and scripts see it, killed on the way, without room, and with little
//! memory.
//!
//! `UPDATE_EXPECT=1 cargo test -p lampyris --test pack` rewrites the expected texts.
#![cfg(unix)]

mod program;

use expect_test::{Expect, expect};
use lampyris_flash::{Gguf, TensorType, gguf::Builder};
use serde_json::Value;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = program::lampyris();
    command
        .args(args)
        .current_dir(folder)
        .env("COLUMNS", "100")
        .env("LAMPYRIS_CACHE", folder.join("cache"))
        .env_remove("RUST_BACKTRACE");
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().expect("the command starts")
}

/// Everything that a run shows, but for room and time.
fn transcript(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let code = output.status.code().expect("not killed");
    let mut shown = format!(
        "exit code {code}\n--- stdout\n{}--- stderr\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    for (before, after) in [("; ", " are free there"), (" in ", " s: ")] {
        if let Some(end) = shown.find(after)
            && let Some(start) = shown[..end].rfind(before)
        {
            shown.replace_range(start + before.len()..end, "#");
        }
    }
    shown
}

fn check(folder: &Path, args: &[&str], expected: &Expect) {
    expected.assert_eq(&transcript(&run(folder, args)));
}

/// Sizes of a model.
struct Shape {
    layers: usize,
    d: usize,
    ffn: usize,
}

/// Writes a model in binary16 with the tokenizer of `tiny`: random weights, or holes.
fn model(path: &Path, shape: &Shape, holes: bool) {
    let tiny = Gguf::parse(lampyris_import::tiny_gguf()).expect("the embedded model");
    let mut builder = Builder::new()
        .metadata("general.architecture", "relu-llama")
        .metadata("relu-llama.block_count", shape.layers as u32)
        .metadata("relu-llama.context_length", 64u32)
        .metadata("relu-llama.embedding_length", shape.d as u32)
        .metadata("relu-llama.feed_forward_length", shape.ffn as u32)
        .metadata("relu-llama.attention.head_count", 4u32)
        .metadata("relu-llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    for (name, value) in tiny.metadata().iter() {
        if name.starts_with("tokenizer.") && !name.ends_with("_token_id") {
            builder = builder.metadata(name, value.clone());
        }
    }
    let (d, ffn) = (shape.d, shape.ffn);
    let mut sizes = vec![("token_embd.weight".to_owned(), d * 64)];
    builder = builder.declare("token_embd.weight", &[d, 64], TensorType::F16);
    for i in 0..shape.layers {
        let fixed = ["attn_q", "attn_k", "attn_v", "attn_output"].map(|n| (n, d, d));
        let all = fixed.into_iter().chain([
            ("ffn_gate", d, ffn),
            ("ffn_up", d, ffn),
            ("ffn_down", ffn, d),
        ]);
        for (name, cols, rows) in all {
            let name = format!("blk.{i}.{name}.weight");
            builder = builder.declare(&name, &[cols, rows], TensorType::F16);
            sizes.push((name, cols * rows));
        }
    }
    let norms = (0..shape.layers)
        .flat_map(|i| ["attn_norm", "ffn_norm"].map(|n| format!("blk.{i}.{n}.weight")));
    for name in norms.chain(["output_norm.weight".into()]) {
        builder = builder.declare(name, &[d], TensorType::F32);
    }
    let (header, offsets) = builder.header().expect("the shapes fit");
    let file = File::create(path).expect("the model is created");
    file.write_all_at(&header, 0)
        .expect("the header is written");
    let mut state = 0x1357_9bdf_2468_ace0u64;
    for ((_, elements), &offset) in sizes.iter().zip(&offsets).filter(|_| !holes) {
        let halves = (0..*elements).flat_map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Below 2 in size.
            ((state >> 40) as u16 & 0xbbff).to_le_bytes()
        });
        file.write_all_at(&halves.collect::<Vec<_>>(), offset)
            .expect("weights are written");
    }
    let end = offsets.last().expect("tensors") + 4 * d as u64;
    file.set_len(end).expect("the file grows");
}

#[test]
fn pack_and_verify() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    check(
        at,
        &["pack", "tiny", "-o", "t.lampack"],
        &expect![[r#"
        exit code 0
        --- stdout
        --- stderr
        tiny: 892.8 KiB will become 992.0 KiB, layout dense; # are free there
        every weight has its value from the model
        packed tiny into t.lampack in # s: 1008.0 KiB, layout dense
    "#]],
    );
    check(
        at,
        &["pack", "--verify", "t.lampack"],
        &expect![[r#"
        exit code 0
        --- stdout
        text              20.9 KiB  intact
        vectors            6.5 KiB  intact
        embeddings             0 B  intact
        blk.0.attention   30.0 KiB  intact
        blk.0.ffn         90.0 KiB  intact
        blk.1.attention   30.0 KiB  intact
        blk.1.ffn         90.0 KiB  intact
        blk.2.attention   30.0 KiB  intact
        blk.2.ffn         90.0 KiB  intact
        blk.3.attention   30.0 KiB  intact
        blk.3.ffn         90.0 KiB  intact
        blk.4.attention   30.0 KiB  intact
        blk.4.ffn         90.0 KiB  intact
        blk.5.attention   30.0 KiB  intact
        blk.5.ffn         90.0 KiB  intact
        output           136.0 KiB  intact
        padding          115.7 KiB  intact
        --- stderr
    "#]],
    );
    let packed = run(
        at,
        &[
            "pack",
            "tiny",
            "-o",
            "b.lampack",
            "--layout",
            "bundled",
            "--json",
        ],
    );
    let report: Value = serde_json::from_slice(&packed.stdout).expect("stdout is JSON alone");
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["requantized"][0]["tensor"], "blk.0.ffn_down");
    let error = report["requantized"][0]["relative_rms"]
        .as_f64()
        .expect("a number");
    assert!((0.001..0.01).contains(&error), "{error}");
    let verified = run(at, &["pack", "--verify", "b.lampack", "--json"]);
    let report: Value = serde_json::from_slice(&verified.stdout).expect("stdout is JSON alone");
    assert_eq!(
        (&report["intact"], &report["layout"]),
        (&true.into(), &"bundled".into())
    );

    let path = at.join("t.lampack");
    let mut bytes = fs::read(&path).expect("the file");
    let at_weight = bytes.len() / 2;
    bytes[at_weight] ^= 1;
    fs::write(&path, bytes).expect("the file");
    let output = run(at, &["pack", "--verify", "t.lampack"]);
    let shown = transcript(&output);
    assert!(
        shown.starts_with("exit code 1\n") && shown.contains("DAMAGED"),
        "{shown}"
    );
    assert!(shown.contains("1 damaged sections (blk."), "{shown}");
}

#[test]
fn wrong_usage_and_what_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    fs::write(at.join("other"), "text").expect("a file");
    check(
        at,
        &["pack", "tiny"],
        &expect![[r#"
        exit code 2
        --- stdout
        --- stderr
        error: the following required arguments were not provided:
          --output <OUTPUT>

        Usage: lampyris pack --output <OUTPUT> <MODEL>

        For more information, try '--help'.
    "#]],
    );
    check(
        at,
        &["pack", "tiny", "-o", "x", "--down-type", "Q9"],
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: invalid value 'Q9' for '--down-type <TYPE>': no such format; choose F32, F16, BF16, Q8_0, Q6_1, Q5_0, Q5_1, Q4_0, Q4_1, Q3_1 or Q2_1

            For more information, try '--help'.
        "#]],
    );
    check(
        at,
        &["pack", "tiny", "-o", "other"],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        tiny: 892.8 KiB will become 992.0 KiB, layout dense; # are free there
        error: `other` exists and is not a packed file

        hint: choose another name with -o
    "#]],
    );
    check(
        at,
        &["pack", "--verify", "other"],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: `other`: 4 bytes are too few for a packed file

        hint: the file is damaged; `lampyris pack --verify` lists the sections; pack the model again
    "#]],
    );
    check(
        at,
        &[
            "pack",
            "tiny",
            "-o",
            "x",
            "--layout",
            "bundled",
            "--down-type",
            "q4_k",
        ],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: cannot pack `tiny`: Q4_K is a format that is read, not quantized to

            hint: choose F32, F16, BF16, Q8_0, Q6_1, Q5_0, Q5_1, Q4_0, Q4_1, Q3_1 or Q2_1
        "#]],
    );
    assert_eq!(fs::read_dir(at).expect("the folder").count(), 1);
}

/// Lines of the journal: one for the plan and one for each finished section.
fn journal_lines(output: &Path) -> usize {
    let journal = output.with_file_name("m.lampack.part.journal");
    fs::read(journal).map_or(0, |text| text.iter().filter(|&&b| b == b'\n').count())
}

fn start(folder: &Path, args: &[&str]) -> Child {
    let mut command = command(folder, args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the command starts")
}

#[test]
fn a_killed_run_leaves_no_file_and_the_next_completes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let shape = Shape {
        layers: 16,
        d: 256,
        ffn: 1024,
    };
    model(&at.join("m.gguf"), &shape, false);
    assert!(run(at, &["pack", "m.gguf", "-o", "whole"]).status.success());
    let expected = fs::read(at.join("whole")).expect("the packed file");
    let output = at.join("m.lampack");
    let mut killed = 0;
    for lines in [2, 12, 25] {
        let mut child = start(at, &["pack", "m.gguf", "-o", "m.lampack"]);
        let ended = loop {
            if journal_lines(&output) >= lines {
                break false;
            }
            if child.try_wait().expect("the child's state").is_some() {
                break true;
            }
            sleep(Duration::from_micros(200));
        };
        // SIGKILL.
        let _ = child.kill();
        let success = child.wait().expect("the child ends").success();
        if ended || success {
            // It was faster than this test; the next kill comes later anyway.
            fs::remove_file(&output).expect("the packed file");
            continue;
        }
        killed += 1;
        assert!(!output.exists());
    }
    assert!(killed > 0, "no run was killed on its way");
    let last = run(at, &["pack", "m.gguf", "-o", "m.lampack", "--json"]);
    let report: Value = serde_json::from_slice(&last.stdout).expect("stdout is JSON alone");
    assert!(report["sections_resumed"].as_u64() >= Some(1), "{report}");
    assert!(fs::read(&output).expect("the packed file") == expected);
    let mut names: Vec<_> = fs::read_dir(at)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["m.gguf", "m.lampack", "whole"]);
}

/// More than a disk of a few MiB holds.
const FOUR_LAYERS: Shape = Shape {
    layers: 4,
    d: 256,
    ffn: 1024,
};

/// Runs a script, in which `"$@"` is the command under test, with a shell.
fn in_shell(folder: &Path, shell: &[&str], script: &str) -> std::io::Result<Output> {
    let program = program::lampyris();
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args([script, "sh"]);
    command.arg(program.get_program()).args(program.get_args());
    command.current_dir(folder).output()
}

#[test]
fn without_room_the_error_says_so_and_the_next_run_continues() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    model(&at.join("m.gguf"), &FOUR_LAYERS, false);
    // A limit on the size of files stands for a full disk: the system refuses the same calls.
    let script = "trap '' XFSZ; ulimit -f 10000; exec \"$@\" pack m.gguf -o m.lampack";
    let output = in_shell(at, &["sh", "-c"], script).expect("the shell starts");
    let shown = transcript(&output);
    assert!(shown.starts_with("exit code 1\n"), "{shown}");
    assert!(
        shown.contains("error: cannot write `m.lampack.part`: File too large"),
        "{shown}"
    );
    assert!(
        shown.contains(", after ") && shown.contains("\nhint: see that the folder"),
        "{shown}"
    );
    assert!(!at.join("m.lampack").exists());
    let last = run(at, &["pack", "m.gguf", "-o", "m.lampack", "--json"]);
    let report: Value = serde_json::from_slice(&last.stdout).expect("stdout is JSON alone");
    assert!(report["sections_resumed"].as_u64() >= Some(3), "{report}");
    assert!(run(at, &["pack", "--verify", "m.lampack"]).status.success());
}

/// A disk of 3 MiB in a mount namespace of its own, which goes when the script ends.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_before_anything_is_packed() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    model(&at.join("m.gguf"), &FOUR_LAYERS, false);
    let namespace = ["unshare", "--map-root-user", "--mount", "sh", "-ec"];
    let unshare = |script: &str| in_shell(at, &namespace, script);
    let disk = "mkdir -p disk; mount -t tmpfs -o size=3m none disk";
    if !unshare(disk).is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: this system lets nobody mount a disk in a namespace");
        return;
    }
    let script =
        format!("{disk}; set +e; \"$@\" pack m.gguf -o disk/m.lampack; echo code $?; ls disk");
    let shown = transcript(&unshare(&script).expect("the shell starts"));
    assert!(shown.contains("code 1\nm.lampack.part\n"), "{shown}");
    assert!(shown.contains(" bytes free\n\nhint: make room"), "{shown}");
}

/// Peak of the child's resident memory in KiB, sampled until it ends.
#[cfg(target_os = "linux")]
fn peak_kib(child: &mut Child) -> u64 {
    let path: PathBuf = format!("/proc/{}/status", child.id()).into();
    let mut peak = 0;
    while child.try_wait().expect("the child's state").is_none() {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let now = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
        peak = now.unwrap_or(0).max(peak);
        sleep(Duration::from_millis(2));
    }
    peak
}

/// One layer of a 7B model in binary16: its down matrix alone has 117 MB.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_matrices() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let shape = Shape {
        layers: 1,
        d: 4096,
        ffn: 14336,
    };
    model(&at.join("m.gguf"), &shape, true);
    for layout in ["dense", "bundled"] {
        let mut child = start(
            at,
            &["pack", "m.gguf", "-o", "m.lampack", "--layout", layout],
        );
        let peak = peak_kib(&mut child);
        assert!(child.wait().expect("the child ends").success());
        assert!(peak > 1 << 10 && peak < 160 << 10, "{layout}: {peak} KiB");
        let file = fs::metadata(at.join("m.lampack")).expect("the packed file");
        // Holes stay holes.
        assert!(
            file.len() > 450 << 20 && file.blocks() * 512 < 16 << 20,
            "{file:?}"
        );
    }
}
