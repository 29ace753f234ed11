//! Deltas on a small model, and everything that can be wrong with them.

use super::*;
use crate::gguf::Builder;
use crate::{Gguf, TensorType, block};
use serde_json::{Value, json};
use std::fs;

const LAYERS: usize = 2;
const ROWS: usize = 3;
const COLUMNS: usize = 128;

fn sha256(data: &[u8]) -> String {
    hex(Sha256::new_with_prefix(data))
}

/// Bytes without a pattern, the same for the same seed.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn original() -> Vec<u8> {
    let mut builder = Builder::new()
        .metadata("general.architecture", "llama")
        .metadata("general.name", "small")
        .metadata("llama.block_count", LAYERS as u32)
        .metadata("tokenizer.ggml.model", "gpt2")
        .tensor_f32("token_embd.weight", &[4, 2], &[0.5; 8]);
    for layer in 0..LAYERS {
        let values: Vec<f32> = (0..ROWS * COLUMNS)
            .map(|i| ((i * 31 + layer * 7) % 97) as f32 / 50.0 - 1.0)
            .collect();
        let mut data = vec![0; ROWS * COLUMNS / 32 * 20];
        block::quantize_row(TensorType::Q4_1, &values, &mut data).unwrap();
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        builder = builder
            .tensor(name("ffn_up"), &[COLUMNS, ROWS], TensorType::Q4_1, data)
            .tensor_f32(name("ffn_norm"), &[2], &[1.0, 2.0]);
    }
    builder.build().unwrap()
}

/// Scales of about 0.01 to 0.5, either sign.
fn part() -> Vec<u8> {
    let blocks = LAYERS * ROWS * COLUMNS / BLOCK;
    let mut data = noise(1, blocks * BLOCK / 8 * 3);
    for (i, byte) in noise(2, blocks).into_iter().enumerate() {
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        data.extend(half::f16::from_f32(sign * (0.01 + f32::from(byte) / 500.0)).to_le_bytes());
    }
    data
}

struct Case {
    folder: tempfile::TempDir,
    manifest: Value,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("original.gguf"), original()).unwrap();
        fs::write(folder.path().join("up.delta"), part()).unwrap();
        let manifest = json!({
            "schema_version": 1, "name": "small, with ReLU", "architecture": "relu-llama", "license": "MIT",
            "original": {"file": "original.gguf", "bytes": original().len(), "sha256": sha256(&original())},
            "result": {"file": "relu.gguf", "bytes": 1, "sha256": "unknown"},
            "parts": [{"tensor": "ffn_up", "layers": LAYERS, "rows": ROWS, "columns": COLUMNS,
                "file": "up.delta", "sha256": sha256(&part())}],
        });
        Self { folder, manifest }
    }

    fn build(&self) -> Result<Vec<u8>> {
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path("delta.json"), self.manifest.to_string()).unwrap();
        let delta = Delta::open(self.folder.path())?;
        delta.build(&path("original.gguf"), &path("relu.gguf"), &mut |_, _| ())?;
        Ok(fs::read(path("relu.gguf")).unwrap())
    }

    /// With the hash of what comes out.
    fn settled() -> Self {
        let mut case = Self::new();
        let Err(DeltaError::WrongResult { found, .. }) = case.build() else {
            panic!("the hash was not checked")
        };
        case.manifest["result"]["sha256"] = found.into();
        case
    }

    fn refused(&self, expected: &[&str]) {
        let message = self.build().expect_err("it is wrong").to_string();
        for part in expected {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        assert!(message.contains("\nhint: "), "{message}");
        let left: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["delta.json", "original.gguf", "up.delta"].contains(&name.as_str()))
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

#[test]
fn sums_are_rounded_and_the_rest_is_copied() {
    let case = Case::settled();
    let bytes = case.build().unwrap();
    assert_eq!(bytes, case.build().unwrap());
    let built = Gguf::parse(bytes).unwrap();
    let before = Gguf::parse(original()).unwrap();
    let text = |key: &str| built.metadata().require::<&str>(key).unwrap().to_owned();
    assert_eq!(text("general.architecture"), "relu-llama");
    assert_eq!(text("general.name"), "small, with ReLU");
    assert_eq!(text("tokenizer.ggml.model"), "gpt2");
    assert_eq!(
        built
            .metadata()
            .require::<usize>("relu-llama.block_count")
            .unwrap(),
        LAYERS
    );
    assert!(built.metadata().get("llama.block_count").is_none());
    for name in ["token_embd.weight", "blk.1.ffn_norm.weight"] {
        assert_eq!(
            built.tensor_data(name).unwrap(),
            before.tensor_data(name).unwrap()
        );
    }
    let data = part();
    let codes = LAYERS * ROWS * COLUMNS * 3 / 8;
    for layer in 0..LAYERS {
        let name = format!("blk.{layer}.ffn_up.weight");
        let found = built.tensor(&name).unwrap();
        assert_eq!(found.ty, TensorType::Q8_0);
        let old = before.tensor(&name).unwrap().dequantize();
        for (i, (new, old)) in found.dequantize().iter().zip(old).enumerate() {
            let index = layer * ROWS * COLUMNS + i;
            // Bit by bit, as the format says.
            let bit =
                |k: usize| usize::from(data[(index * 3 + k) / 8] >> ((index * 3 + k) % 8) & 1);
            let code = bit(0) + 2 * bit(1) + 4 * bit(2);
            let at = codes + index / BLOCK * 2;
            let scale = half::f16::from_le_bytes([data[at], data[at + 1]]).to_f32();
            let sum = old + scale * LEVELS[code] / 16.0;
            // Half a step of 8 bits, of sums that are at most 1 + 0.52 * 34 / 16 large.
            assert!(
                (new - sum).abs() <= 2.11 / 127.0 * 0.57,
                "{index}: {new}, expected {sum}"
            );
        }
    }
}

#[test]
fn another_original_is_refused() {
    let mut case = Case::settled();
    case.manifest["original"]["sha256"] = "00".into();
    case.refused(&["original.gguf", "not the model", "SHA-256 00"]);
    case.manifest["original"]["bytes"] = 77.into();
    case.refused(&["77 bytes"]);
}

#[test]
fn a_damaged_delta_is_refused() {
    let case = Case::settled();
    let path = case.folder.path().join("up.delta");
    let mut damaged = part();
    damaged[5] ^= 1;
    fs::write(&path, &damaged).unwrap();
    case.refused(&["up.delta", "SHA-256"]);
    fs::write(&path, &damaged[1..]).unwrap();
    case.refused(&["up.delta", "bytes; expected"]);
    fs::remove_file(&path).unwrap();
    case.refused(&["up.delta"]);
}

#[test]
fn a_wrong_manifest_is_refused() {
    let refused = |change: &dyn Fn(&mut Value), expected: &[&str]| {
        let mut case = Case::settled();
        change(&mut case.manifest);
        case.refused(expected);
    };
    refused(
        &|m| m["schema_version"] = 2.into(),
        &["delta.json", "version 2"],
    );
    refused(&|m| m["surprise"] = 2.into(), &["delta.json", "surprise"]);
    refused(
        &|m| m["parts"][0]["rows"] = 0.into(),
        &["up.delta", "expected 0"],
    );
    refused(
        &|m| m["parts"][0]["columns"] = u64::MAX.into(),
        &["delta.json", "impossible sizes"],
    );
    refused(
        &|m| m["result"]["sha256"] = "11".into(),
        &["expected 11", "nothing was written"],
    );
    // Half as many rows that are twice as long: the same size, another shape.
    refused(
        &|m| {
            m["parts"][0]["rows"] = 1.into();
            m["parts"][0]["columns"] = (ROWS * COLUMNS).into();
        },
        &["blk.0.ffn_up.weight", "shape"],
    );
}
