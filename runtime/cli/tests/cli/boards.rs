//! Bundles and boards, with a bundle whose bitstream is a few bytes.

use crate::{check, lampyris, transcript};
use expect_test::expect;
use lampyris_boards::Board;
use lampyris_bundle::writer::Writer;
use lampyris_bundle::{Build, Bundle, Figure, names};
use lampyris_flow::Report;
use lampyris_flow::report::{Hop, Resource};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A folder with a bundle for the ULX3S, `bundle`, and `tiny` compiled for it, `compiled`.
fn bundled() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    for output in ["compiled", "other"] {
        let args = [
            "compile",
            "tiny",
            "--board",
            "ulx3s-85f",
            "--context",
            "64",
            "-o",
            output,
        ];
        let output = lampyris(path, &args);
        assert!(output.status.success(), "{}", transcript(&output));
    }
    write_bundle(&path.join("other"), &path.join("bundle"));
    folder
}

fn write_bundle(compiled: &Path, target: &Path) {
    let mut manifest = Bundle::open(compiled).expect("it opens").manifest;
    let mut writer = Writer::create(target).expect("a bundle");
    writer.adopt(compiled, &manifest).expect("moves");
    let board = Board::open("ulx3s-85f").expect("a shipped board");
    let pins = board
        .hardware
        .as_ref()
        .expect("it can be built")
        .pins
        .clone();
    let report = serde_json::to_string(&report()).expect("plain data");
    for (name, data) in [
        (names::BITSTREAM, "bits"),
        (names::BOARD, &board.text),
        (&format!("{}/{}", names::FPGA, pins.name), &pins.text),
        (names::REPORT, &report),
    ] {
        writer.write(name, data.as_bytes()).expect("writes");
    }
    manifest.build = Some(Build {
        board: "ulx3s-85f".into(),
        memory_bytes: 32 << 20,
        link_protocol: 1,
        tools: [("nextpnr".to_owned(), "0.11".to_owned())].into(),
        seed: 3,
        source_revision: None,
        figures: vec![Figure {
            name: "clock".into(),
            value: 40.0,
            unit: "MHz".into(),
            level: "quoted".into(),
        }],
    });
    writer.finish(manifest).expect("it is whole");
}

fn report() -> Report {
    Report {
        schema_version: 1,
        level: "made up".into(),
        board: "ulx3s-85f".into(),
        target_mhz: 40.0,
        achieved_mhz: 41.5,
        seed: 3,
        seeds: vec![(1, 38.0), (3, 41.5)],
        utilisation: vec![Resource {
            name: "LUT4".into(),
            used: 30_000,
            available: 83_640,
        }],
        memories: [("u_soc.u_vmem".to_owned(), 32)].into(),
        critical_path: vec![Hop {
            instance: "u_soc.u_mm".into(),
            signal: "sum_q".into(),
            logic_ns: 4.0,
            routing_ns: 20.0,
        }],
    }
}

#[test]
fn bundles_are_verified_and_shown() {
    let folder = bundled();
    let path = folder.path();
    check(
        path,
        &["bundle", "verify", "bundle"],
        &expect![[r#"
        exit code 0
        --- stdout
        --- stderr
        bundle: 8 files, 949.7 KiB, all as the manifest says
    "#]],
    );
    check(
        path,
        &["bundle", "inspect", "bundle"],
        &expect![[r#"
            exit code 0
            --- stdout
            model                          tiny
            parameters                1,312,384
            layers                            6
            context                          64
            memory                      1.9 MiB
            weights read for a token  870.0 KiB
            configuration              98754f06
            board                            ulx3s-85f
            board's memory                    32.0 MiB
            tools                         nextpnr 0.11
            seed                                     3
            sources                not in a repository
            clock           40.0 MHz, highest 41.5 MHz
            figures are                        made up

            resource         used  available   share
            LUT4            30000      83640   35.9%

            block memories by buffer
            u_soc.u_vmem  32

            slowest path, 24.0 ns:
              u_soc.u_mm: 4.0 ns logic, 20.0 ns wires, to `sum_q`
            --- stderr
        "#]],
    );
    check(
        path,
        &["flash", "bundle", "--dry-run"],
        &expect![[r#"
        exit code 0
        --- stdout
        --- stderr
        $ openFPGALoader --board ulx3s bundle/fpga/top.bit
    "#]],
    );
    check(
        path,
        &["flash", "bundle", "--dry-run", "--permanent"],
        &expect![[r#"
            exit code 0
            --- stdout
            --- stderr
            $ openFPGALoader --board ulx3s --write-flash bundle/fpga/top.bit
        "#]],
    );
    fs::write(path.join("bundle").join(names::BITSTREAM), "bats").expect("writes");
    check(
        path,
        &["bundle", "verify", "bundle"],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: bundle/fpga/top.bit: SHA-256 is dc1bfe65b13195e3fd4a630252800efe47c31067a1d638d746cde92e497da6b1, expected e5e59d10f196504b6e08ac7785f84430a61e1558fd6246075a9566edaab2e814

        hint: compile the model again with this version of lampyris
    "#]],
    );
}

#[test]
fn failures_with_boards_say_what_to_do() {
    let folder = bundled();
    let path = folder.path();
    check(
        path,
        &["flash", "compiled"],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: compiled has no bitstream

        hint: compile the model with --board NAME --bitstream
    "#]],
    );
    check(
        path,
        &["bundle", "rebuild", "compiled", "--check"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: compiled has no bitstream

            hint: compile the model with --board NAME --bitstream
        "#]],
    );
    check(
        path,
        &["bundle", "rebuild", "bundle", "--check"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: the bundle was built with pyosys none, this program has 0.70

            hint: use the lampyris that wrote it
        "#]],
    );
    check(
        path,
        &["compile", "tiny", "--bitstream", "-o", "out"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: base has no part, pins and clock, so nothing can be built for it

            hint: boards that can be built: ulx3s-85f, kv260, alveo-u55c, alveo-u280, vhk158
        "#]],
    );
    check(
        path,
        &[
            "compile",
            "tiny",
            "--board",
            "ulx3s-85f",
            "--bitstream",
            "-o",
            "out",
        ],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: pyosys is not installed

            hint: run `cargo xtask setup --fpga`
        "#]],
    );
    check(
        path,
        &["board", "smoke", "compiled", "--port", "sim:"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: compiled has no bitstream

            hint: compile the model with --board NAME --bitstream
        "#]],
    );
    check(
        path,
        &["board", "run", "bundle", "--port", "absent", "-p", "x"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: cannot open the serial port `absent`: No such file or directory

            hint: name the board's port, such as /dev/ttyUSB0, and see that you may use it (group dialout); `sim:` simulates the board
        "#]],
    );
    check(
        path,
        &["board", "run", "bundle", "--port", "sim:1", "-p", "x"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: a simulated serial line has 9600 to 3750000 baud
        "#]],
    );
}
