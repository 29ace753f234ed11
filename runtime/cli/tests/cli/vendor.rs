//! Boards that only their vendor's tools can build.

use crate::{check, lampyris, redact, transcript};
use expect_test::{Expect, expect};
use lampyris_bundle::Bundle;
use std::path::Path;
use tempfile::TempDir;

/// A transcript without the revision of the sources and the hash of the configuration, and without the
/// columns, which the former widens.
fn check_inspect(folder: &Path, args: &[&str], expected: &Expect) {
    let text = transcript(&lampyris(folder, args));
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("sources ") && !line.starts_with("configuration "))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
    expected.assert_eq(&lines.collect::<String>());
}

/// A folder with the bundle of a board, `bundle`, and what its making said.
fn bundled(board: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let args = [
        "compile",
        "tiny",
        "--board",
        board,
        "--context",
        "64",
        "--bitstream",
        "-o",
        "bundle",
    ];
    let output = lampyris(folder.path(), &args);
    (folder, redact(&transcript(&output)))
}

#[test]
fn a_zynq_board_gets_a_project() {
    let (folder, said) = bundled("kv260");
    let path = folder.path();
    expect![[r#"
        exit code 0
        --- stdout
        --- stderr
        forecast for kv260 (modelled): 1.9 MiB of 2.0 GiB memory; at most 3592.0 tokens/s, since a token reads 870.0 KiB of weights at no more than 3200 MB/s
        project for kv260 in bundle/fpga (emitted, never built): 12 files besides the RTL
        there is no bitstream: lampyris does not run Vivado; with Vivado 2022.2 or later, in bundle:
          sh fpga/build.sh
        then:
          copy fpga/build/lampyris.bit.bin, fpga/build/lampyris.dtbo and fpga/shell.json to /lib/firmware/xilinx/lampyris on the board
          sudo xmutil unloadapp
          sudo xmutil loadapp lampyris
        compiled tiny (1,312,384 parameters) to bundle in #.# s: #.# KiB of weights, #.# KiB of program for all lengths up to 64, DRAM #.# MiB
    "#]].assert_eq(&said);
    let bundle = Bundle::open(path.join("bundle")).expect("it opens");
    let project = bundle.manifest.project.as_ref().expect("a project");
    assert_eq!(project.level, "emitted, never built");
    assert_eq!(bundle.manifest.build, None);
    for name in [
        "build.tcl",
        "rtl/soc/top_axi.sv",
        "overlay.dts",
        "golden.json",
        "board.toml",
    ] {
        assert!(
            bundle.manifest.file(&format!("fpga/{name}")).is_some(),
            "{name}"
        );
    }
    check_inspect(
        path,
        &["bundle", "inspect", "bundle"],
        &expect![[r#"
            exit code 0
            --- stdout
            model tiny
            parameters 1,312,384
            layers 6
            context 64
            memory 1.9 MiB
            weights read for a token 870.0 KiB
            project for kv260
            board's memory 2.0 GiB
            state emitted, never built
            needs Vivado 2022.2 or later

            build
            sh fpga/build.sh

            load
            copy fpga/build/lampyris.bit.bin, fpga/build/lampyris.dtbo and fpga/shell.json to /lib/firmware/xilinx/lampyris on the board
            sudo xmutil unloadapp
            sudo xmutil loadapp lampyris
            --- stderr
        "#]],
    );
    check(
        path,
        &["flash", "bundle"],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: kv260 is loaded by its vendor's programs, not by openFPGALoader, and nothing was loaded

        hint: in bundle, with Vivado 2022.2 or later:
          sh fpga/build.sh
          copy fpga/build/lampyris.bit.bin, fpga/build/lampyris.dtbo and fpga/shell.json to /lib/firmware/xilinx/lampyris on the board
          sudo xmutil unloadapp
          sudo xmutil loadapp lampyris
    "#]],
    );
    check(
        path,
        &["flash", "bundle", "--dry-run"],
        &expect![[r#"
        exit code 0
        --- stdout
        --- stderr
        in bundle, with Vivado 2022.2 or later:
          sh fpga/build.sh
          copy fpga/build/lampyris.bit.bin, fpga/build/lampyris.dtbo and fpga/shell.json to /lib/firmware/xilinx/lampyris on the board
          sudo xmutil unloadapp
          sudo xmutil loadapp lampyris
    "#]],
    );
    check(
        path,
        &["flash", "bundle", "--permanent"],
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: kv260 has no bitstream for its flash memory: it is loaded after each start

        hint: leave --permanent out
    "#]],
    );
    check(
        path,
        &["bundle", "rebuild", "bundle", "--check"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: the bitstream of kv260 needs Vivado 2022.2 or later, which lampyris does not run

            hint: in bundle: sh fpga/build.sh
        "#]],
    );
    check(
        path,
        &["board", "smoke", "bundle", "--port", "sim:"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: bundle holds a project for kv260 (emitted, never built), no bitstream that lampyris built

            hint: build it with Vivado 2022.2 or later: sh fpga/build.sh
        "#]],
    );
    let verified = transcript(&lampyris(path, &["bundle", "verify", "bundle"]));
    assert!(verified.starts_with("exit code 0\n"), "{verified}");
}

#[test]
fn a_card_gets_a_kernel_and_an_old_one_a_warning() {
    let (_folder, said) = bundled("alveo-u280");
    expect![[r#"
        exit code 0
        --- stdout
        --- stderr
        forecast for alveo-u280 (modelled): 1.9 MiB of 8.0 GiB memory; at most 14367.8 tokens/s, since a token reads 870.0 KiB of weights at no more than 12800 MB/s
        warning: alveo-u280 is pinned to Vivado and Vitis 2022.1 to 2023.2 (Vivado 2024.1 and later do not know the U280, which is no longer made); 2023.2 is the last that can build it
        project for alveo-u280 in bundle/fpga (emitted, never built): 8 files besides the RTL
        there is no bitstream: lampyris does not run Vivado; with Vivado 2022.1 to 2023.2, in bundle:
          sh fpga/build.sh
        then:
          xbutil examine
          xbutil program --device BDF --user fpga/build/lampyris.xclbin
        compiled tiny (1,312,384 parameters) to bundle in #.# s: #.# KiB of weights, #.# KiB of program for all lengths up to 64, DRAM #.# MiB
    "#]].assert_eq(&said);
    let (_folder, said) = bundled("vhk158");
    expect![[r#"
        exit code 0
        --- stdout
        --- stderr
        forecast for vhk158 (modelled): 1.9 MiB of 32.0 GiB memory; at most 14367.8 tokens/s, since a token reads 870.0 KiB of weights at no more than 12800 MB/s
        project for vhk158 in bundle/fpga (emitted, never built): 8 files besides the RTL
        there is no bitstream: lampyris does not run Vivado; with Vivado 2023.2 or later, in bundle:
          PLATFORM=platform.xpfm sh fpga/build.sh
        then:
          boot the board with an image that v++ --package makes of build/lampyris.xsa
        compiled tiny (1,312,384 parameters) to bundle in #.# s: #.# KiB of weights, #.# KiB of program for all lengths up to 64, DRAM #.# MiB
    "#]].assert_eq(&said);
}

#[test]
fn a_model_that_is_too_large_is_told_what_fits() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = include_str!("../../../../boards/kv260.toml");
    let small = small
        .replace("mebibytes = 4096", "mebibytes = 3")
        .replace("reserved_mebibytes = 2048", "reserved_mebibytes = 1");
    std::fs::write(folder.path().join("tight.toml"), small).expect("writes");
    let args = |context| {
        [
            "compile",
            "tiny",
            "--board",
            "tight.toml",
            "--context",
            context,
            "--bitstream",
            "-o",
            "out",
        ]
    };
    check(
        folder.path(),
        &args("256"),
        &expect![[r#"
        exit code 1
        --- stdout
        --- stderr
        error: tiny needs 2.1 MiB of memory, kv260 has 2.0 MiB (besides 1.0 MiB that its processors use): 136.0 KiB too little

        hint: --context 64 fits
    "#]],
    );
    check(
        folder.path(),
        &[
            "compile",
            "tiny",
            "--board",
            "kv260",
            "--bitstream",
            "--seeds",
            "2",
            "-o",
            "out",
        ],
        &expect![[r#"
            exit code 2
            --- stdout
            --- stderr
            error: --seed, --seeds, --jobs and --allow-missed-timing are of no use for kv260, which its vendor's tools place
        "#]],
    );
    assert!(!folder.path().join("out").exists());
}
