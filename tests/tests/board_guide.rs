//! Walks the guide of docs/boards.md: a board is one TOML file and one pin file.

use lampyris_boards::Board;
use lampyris_compiler::{Options, Tokenization, compile};
use std::fs;
use std::path::Path;

/// The only TOML block of the guide.
fn board_text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/boards.md");
    let guide = fs::read_to_string(path).expect("the guide reads");
    let (_, rest) = guide.split_once("```toml\n").expect("a board");
    let (board, rest) = rest.split_once("```").expect("its end");
    assert!(!rest.contains("```toml"), "one board");
    board.to_owned()
}

#[test]
fn the_guides_board_opens_compiles_and_gives_scripts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("my-board.toml");
    fs::write(&path, board_text()).expect("writes");
    let name = path.to_string_lossy().into_owned();
    let error = Board::open(&name).expect_err("no pin file").to_string();
    assert!(error.contains("my-board.lpf"), "{error}");
    fs::write(
        folder.path().join("my-board.lpf"),
        "LOCATE COMP \"clk_i\" SITE \"G2\";\n",
    )
    .expect("writes");
    let board = Board::open(&name).expect("the guide's board is legal");

    let rtl = lampyris_sim::rtl::default_rtl_root();
    let sources = verilator_sys::source_tree(&rtl).expect("the RTL lies there");
    let scripts = lampyris_flow::scripts(&board, &rtl, &sources, 1).expect("scripts");
    assert!(
        scripts.shell.contains("--45k --package CABGA381 --speed 7"),
        "{}",
        scripts.shell
    );
    assert!(scripts.synthesis.contains(" -G XbufBlocks=256 "));
    assert!(scripts.synthesis.contains(" rtl/soc/top_sdr.sv"));

    let model = lampyris_import::open("tiny").expect("the embedded model");
    let options = Options {
        config: board.config,
        context: 64,
        schedule: Default::default(),
        kv: Default::default(),
    };
    let text = Tokenization { json: "{}".into() };
    let output = folder.path().join("tiny");
    let compiled = compile(&model, &text, &options, &output, &mut |_, _| {}).expect("compiles");
    let memory = board.hardware.expect("it can be built").memory_bytes();
    assert!(compiled.manifest.dram_bytes() <= memory);
}
