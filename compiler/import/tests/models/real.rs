//! Imports the real model, if it is in the cache.

use lampyris_import::{Model, arch::Arch};
use std::path::PathBuf;

const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// `$LAMPYRIS_SMOLLM2`, or the file in the cache. Absent: `None` with a message, an error in CI.
fn smollm2() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let cached = cache.map(|dir| dir.join("lampyris/models").join(FILE));
    let path = std::env::var_os("LAMPYRIS_SMOLLM2")
        .map(PathBuf::from)
        .or(cached)?;
    if path.exists() {
        return Some(path);
    }
    let message = format!("{} is absent; run `cargo xtask setup`", path.display());
    assert!(std::env::var_os("CI").is_none(), "{message}");
    eprintln!("SKIPPED: {message}");
    None
}

#[test]
fn smollm2_is_imported() {
    let Some(path) = smollm2() else { return };
    let model = Model::open(path).unwrap();
    let spec = model.spec();
    assert_eq!((spec.architecture, spec.layers.len()), (Arch::Llama, 30));
    assert_eq!(
        (spec.d_model, spec.vocab_size, spec.context_length),
        (576, 49152, 8192)
    );
    assert_eq!((spec.bos, spec.eos.as_slice()), (Some(1), &[2][..]));
    assert!(spec.tied_embeddings);
    assert_eq!(
        (spec.layers[29].n_heads, spec.layers[29].n_kv_heads),
        (9, 3)
    );
    let summary = model.summary().unwrap();
    assert_eq!(summary.parameters, 134_515_008);
    assert_eq!(summary.kv_elements_per_token, 30 * 2 * 3 * 64);
    assert_eq!(model.tensors().len(), 272);
    model.check_finite().unwrap();
}
