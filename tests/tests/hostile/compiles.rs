//! Compilations that fail: nothing is left behind, and what was there is untouched.

use lampyris_bundle::writer::Writer;
use lampyris_bundle::{Bundle, names};
use lampyris_compiler::{Options, Tokenization, compile};
use lampyris_flash::Gguf;
use lampyris_import::Model;
use lampyris_isa::HwConfig;
use std::fs;
use std::path::Path;

fn tiny_bytes() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compiler/import/assets/tiny.gguf");
    fs::read(path).expect("the embedded model's file")
}

/// Compiles for the smallest configuration; the error as people see it.
fn try_compile(bytes: Vec<u8>, target: &Path) -> Result<(), String> {
    let model = Model::parse(bytes).map_err(|e| e.to_string())?;
    let options = Options {
        config: HwConfig::SMALL,
        context: 64,
        schedule: Default::default(),
        kv: Default::default(),
    };
    let tokenization = Tokenization { json: "{}".into() };
    let done = compile(&model, &tokenization, &options, target, &mut |_, _| {});
    done.map(drop).map_err(|e| e.to_string())
}

/// Names in a folder, hidden ones too.
fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("reads");
    let mut names: Vec<_> = entries
        .map(|e| e.expect("reads").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let good = tiny_bytes();
    let file = Gguf::parse(good.clone()).expect("parses");
    let folder = tempfile::tempdir().expect("a folder");
    // f16: NaN, infinities; f32: NaN, infinity.
    for (tensor, at, bad) in [
        ("blk.0.attn_q.weight", 0, &[0x00u8, 0x7e][..]),
        ("blk.5.ffn_down.weight", 2, &[0x00, 0xfc]),
        ("token_embd.weight", 34, &[0x00, 0x7c]),
        ("blk.3.attn_norm.weight", 4, &[0x00, 0x00, 0xc0, 0x7f]),
        ("output_norm.weight", 0, &[0x00, 0x00, 0x80, 0xff]),
    ] {
        let info = file.tensors().iter().find(|t| t.name == tensor);
        let info = info.unwrap_or_else(|| panic!("no `{tensor}`"));
        let mut bytes = good.clone();
        bytes[info.range.start + at..][..bad.len()].copy_from_slice(bad);
        let message = try_compile(bytes, &folder.path().join("out")).expect_err(tensor);
        assert!(message.contains(&format!("`{tensor}`")), "{message}");
        assert!(
            (message.contains("not finite") || message.contains("NaN, infinite"))
                && message.contains("\nhint: "),
            "{message}"
        );
        assert_eq!(listing(folder.path()), [""; 0], "{tensor}");
    }
}

#[test]
fn what_is_not_ours_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("mine");
    let refused = |what: &str| {
        let before = listing(&target);
        let message = try_compile(tiny_bytes(), &target).expect_err(what);
        assert!(
            message.contains("mine") && message.contains("\nhint: "),
            "{what}: {message}"
        );
        assert_eq!(listing(&target), before, "{what}");
        assert_eq!(listing(folder.path()), ["mine"], "{what}");
    };
    fs::create_dir(&target).expect("made");
    fs::write(target.join("notes.txt"), "mine").expect("written");
    refused("other files");
    fs::remove_file(target.join("notes.txt")).expect("removed");
    fs::write(target.join(names::MANIFEST), "{\"name\": \"an extension\"}").expect("written");
    refused("a manifest of something else");
    fs::remove_file(target.join(names::MANIFEST)).expect("removed");
    // An empty directory is replaced, and then a compiled one, unless files were added to it.
    try_compile(tiny_bytes(), &target).expect("compiles");
    try_compile(tiny_bytes(), &target).expect("compiles again");
    Bundle::open(&target).expect("opens");
    fs::write(target.join("notes.txt"), "mine").expect("written");
    refused("files among ours");
}

#[test]
fn targets_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), "text").expect("written");
    for target in ["absent/out", "file/out", "file"] {
        let message = try_compile(tiny_bytes(), &folder.path().join(target)).expect_err(target);
        assert!(message.contains("-o"), "{message}");
        assert_eq!(listing(folder.path()), ["file"]);
    }
    assert_eq!(
        fs::read(folder.path().join("file")).expect("reads"),
        b"text"
    );
}

#[test]
fn a_killed_compilation_does_not_disturb_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("out");
    // What a process leaves that ends without cleaning up.
    let mut writer = Writer::create(&target).expect("a target");
    writer.write(names::PROGRAM, &[1; 32]).expect("written");
    std::mem::forget(writer);
    let left = listing(folder.path());
    assert!(
        left.len() == 1 && left[0].starts_with(".lampyris-"),
        "{left:?}"
    );
    try_compile(tiny_bytes(), &target).expect("compiles");
    Bundle::open(&target).expect("opens");
    assert_eq!(listing(folder.path()), [left[0].as_str(), "out"]);
}
