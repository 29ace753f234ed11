//! The models that the bench runs, made or found once and kept in the cache.

use anyhow::{Context, Result, bail};
use lampyris_flash::{Gguf, TensorType};
use lampyris_tests::smollm2;
use lampyris_tests::synth::{Shape, Synthetic};
use std::fs;
use std::path::{Path, PathBuf};
use verilator_sys::toolchain::Cache;

/// The folder for what the bench makes.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = Cache::locate()?.root().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    Ok(folder)
}

/// A model of 7B shape with random Q4_0 weights, 4.04 GB.
pub(crate) fn seven_b() -> Result<PathBuf> {
    let path = folder()?.join("synthetic-7b-q4_0.gguf");
    if !path.exists() {
        eprintln!("writing {} (4 GB, once)", path.display());
        write(Shape::SEVEN_B, false, &path)?;
    }
    Ok(path)
}

/// The small ReLU model that the repository carries.
pub(crate) fn relu_small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/relu-small/relu-small.gguf")
}

/// Held-out tokens for it.
pub(crate) fn relu_small_tokens() -> Result<Vec<u32>> {
    #[derive(serde::Deserialize)]
    struct Reference {
        window: Window,
    }
    #[derive(serde::Deserialize)]
    struct Window {
        tokens: Vec<u32>,
    }
    let text = include_str!("../../models/relu-small/reference.json");
    let reference: Reference = serde_json::from_str(text).context("the small model's reference")?;
    Ok(reference.window.tokens)
}

/// SmolLM2 with ReLU gates, which set-up builds.
pub(crate) fn relu_smollm2() -> Result<PathBuf> {
    let path = Cache::locate()?
        .root()
        .join("models/SmolLM2-135M-ReLU.gguf");
    if !path.exists() {
        bail!(
            "`{}` is missing\n\nhint: run `cargo xtask setup`, which builds it",
            path.display()
        );
    }
    Ok(path)
}

/// A model of 40 GB, or of half as many layers, whose matrices are holes.
pub(crate) fn with_holes(half: bool, folder: &Path) -> Result<PathBuf> {
    let mut shape = Shape::FORTY_GB;
    if half {
        shape.layers /= 2;
    }
    let path = folder.join(if half { "half.gguf" } else { "whole.gguf" });
    write(shape, true, &path)?;
    Ok(path)
}

fn write(shape: Shape, holes: bool, path: &Path) -> Result<()> {
    let tokenizer = Gguf::open(smollm2::model_path()?)?;
    let model = Synthetic {
        shape,
        ty: TensorType::Q4_0,
        seed: 1,
        holes,
        relu: false,
    };
    // Its own writer is atomic.
    model.write(&tokenizer, path)
}
