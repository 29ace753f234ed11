//! Any bytes as the header of a packed file, or as a whole packed file: opened, and everything
//! small loaded.
#![no_main]

#[allow(dead_code)]
#[path = "../../../flash/pack/tests/suite/blocks.rs"]
mod blocks;

use lampyris_flash::TensorType;
use lampyris_pack::{Layout, ModelIndex, Options, Plan, container::reseal};
use std::{fs, path::PathBuf, sync::OnceLock};

/// A folder for the file under test, and a dense and a bundled file whose data it gets.
fn bases() -> &'static (PathBuf, [Vec<u8>; 2]) {
    static BASES: OnceLock<(PathBuf, [Vec<u8>; 2])> = OnceLock::new();
    BASES.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let source = blocks::write(&folder, TensorType::Q8_0);
        let files = [Layout::Dense, Layout::Bundled].map(|layout| {
            let path = folder.join("base");
            let options = Options { layout: Some(layout), ..Options::default() };
            let plan = Plan::new(&source, &options).expect("the model is sound");
            plan.write(&path, &mut |_, _| {}).expect("there is room");
            fs::read(path).expect("it was written")
        });
        (folder, files)
    })
}

fn open(file: &[u8]) {
    let path = bases().0.join("tested.lampack");
    fs::write(&path, file).expect("there is room");
    let Ok(index) = ModelIndex::open(&path) else { return };
    for stored in index.matrices() {
        assert!(stored.offset + stored.bytes() <= file.len() as u64);
    }
    if let Some(packed) = index.packed() {
        let _ = packed.text_tools();
        if let Ok(checksums) = packed.checksums() {
            let _ = checksums.check(0, file);
        }
        let _ = packed.verify(&mut |_| {});
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for base in &bases().1 {
        open(&reseal(base, data));
    }
    open(data);
});
