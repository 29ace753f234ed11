//! The engine against the reference executor, itself under other conditions, and failing storage.

mod bits;
mod faults;
mod generation;
mod packed;
mod ring;
mod sparse;

use std::path::PathBuf;

use lampyris_flash::TensorType;
use lampyris_flash::gguf::{Builder, Value};

use super::*;

/// A folder with a model in it.
pub(super) struct TestModel {
    _folder: tempfile::TempDir,
    pub(super) path: PathBuf,
}

/// Pseudo-random numbers.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// In -0.5..0.5.
    fn unit(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 31) as f32 - 0.5
    }
}

/// Sizes of a test model: large enough that matrices are cut into several units.
pub(super) const WIDTH: usize = 64;
const FFN: usize = 160;
pub(super) const LAYERS: usize = 3;
pub(super) const VOCAB: usize = 544;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
pub(super) const CONTEXT: usize = 96;

fn blocks(ty: TensorType, rows: usize, cols: usize, random: &mut Random, scale: f32) -> Vec<u8> {
    let mut out = Vec::new();
    match ty {
        TensorType::F32 => {
            for _ in 0..rows * cols {
                out.extend((random.unit() * scale).to_le_bytes());
            }
        }
        TensorType::Q8_0 => {
            for _ in 0..rows * cols / 32 {
                out.extend(half::f16::from_f32(scale / 256.0).to_le_bytes());
                out.extend((0..32).map(|_| random.next() as u8));
            }
        }
        TensorType::Q4_0 => {
            for _ in 0..rows * cols / 32 {
                out.extend(half::f16::from_f32(scale / 16.0).to_le_bytes());
                out.extend((0..16).map(|_| random.next() as u8));
            }
        }
        other => panic!("no random {other}"),
    }
    out
}

/// A Llama with random weights of type `ty`.
pub(super) fn llama(ty: TensorType, tied: bool) -> TestModel {
    decoder("llama", ty, tied)
}

/// Adds the embedded model's tokenizer, without which nothing can be packed.
fn with_tokenizer(mut builder: Builder) -> Builder {
    let tiny = lampyris_flash::Gguf::parse(lampyris_import::tiny_gguf()).unwrap();
    for (name, value) in tiny.metadata().iter() {
        if name.starts_with("tokenizer.") && !name.ends_with("_token_id") {
            builder = builder.metadata(name, value.clone());
        }
    }
    builder
}

/// A model of this architecture with random weights of type `ty`.
pub(super) fn decoder(architecture: &str, ty: TensorType, tied: bool) -> TestModel {
    let mut random = Random(7);
    let key = |name: &str| format!("{architecture}.{name}");
    let mut builder = Builder::new()
        .metadata("general.architecture", architecture)
        .metadata("general.name", "random llama")
        .metadata(key("block_count"), LAYERS as u32)
        .metadata(key("context_length"), CONTEXT as u32)
        .metadata(key("embedding_length"), WIDTH as u32)
        .metadata(key("feed_forward_length"), FFN as u32)
        .metadata(key("attention.head_count"), HEADS as u32)
        .metadata(key("attention.head_count_kv"), KV_HEADS as u32)
        .metadata(
            key("attention.layer_norm_rms_epsilon"),
            Value::from(1e-5f32),
        )
        .metadata(key("rope.freq_base"), Value::from(10000.0f32))
        .metadata(key("rope.dimension_count"), (WIDTH / HEADS) as u32);
    builder = with_tokenizer(builder);
    let kv = KV_HEADS * WIDTH / HEADS;
    let mut matrix = |b: Builder, name: &str, rows: usize, cols: usize, scale: f32| {
        let data = blocks(ty, rows, cols, &mut random, scale);
        b.tensor(name, &[cols, rows], ty, data)
    };
    builder = matrix(builder, "token_embd.weight", VOCAB, WIDTH, 2.0);
    let ones = vec![1.0f32; WIDTH];
    for i in 0..LAYERS {
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        builder = builder.tensor_f32(name("attn_norm"), &[WIDTH], &ones);
        builder = matrix(builder, &name("ffn_down"), WIDTH, FFN, 0.6);
        builder = matrix(builder, &name("ffn_gate"), FFN, WIDTH, 0.6);
        builder = matrix(builder, &name("ffn_up"), FFN, WIDTH, 0.6);
        builder = builder.tensor_f32(name("ffn_norm"), &[WIDTH], &ones);
        builder = matrix(builder, &name("attn_k"), kv, WIDTH, 0.5);
        builder = matrix(builder, &name("attn_output"), WIDTH, WIDTH, 0.8);
        builder = matrix(builder, &name("attn_q"), WIDTH, WIDTH, 0.5);
        builder = matrix(builder, &name("attn_v"), kv, WIDTH, 0.8);
    }
    builder = builder.tensor_f32("output_norm.weight", &[WIDTH], &ones);
    if !tied {
        builder = matrix(builder, "output.weight", VOCAB, WIDTH, 1.0);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, builder.build().unwrap()).unwrap();
    TestModel {
        _folder: folder,
        path,
    }
}

/// Tokens for a model of [`VOCAB`] tokens.
pub(super) fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..n).map(|_| random.next() % VOCAB as u32).collect()
}

/// All logits of `tokens`, as bits.
pub(super) fn logits(engine: &mut Engine, tokens: &[u32]) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    engine
        .logits(tokens, &mut |i, row| {
            assert_eq!(i, all.len());
            all.push(row.iter().map(|v| v.to_bits()).collect());
        })
        .unwrap();
    all
}

/// Options that do not depend on the machine.
pub(super) fn options() -> Options {
    Options {
        context: CONTEXT,
        threads: 1,
        ..Options::default()
    }
}

/// Bytes of the weights that every token needs.
pub(super) fn swept(index: &lampyris_pack::ModelIndex) -> u64 {
    planner::matrices(index).iter().map(|m| m.bytes()).sum()
}

/// The root mean square of the differences relative to that of the values.
pub(super) fn error(found: &[u32], expected: &[f32]) -> f32 {
    let square = |x: f32| x * x;
    let pairs = found.iter().zip(expected);
    let off: f32 = pairs.map(|(a, b)| square(f32::from_bits(*a) - b)).sum();
    let all: f32 = expected.iter().map(|b| square(*b)).sum();
    (off / all).sqrt()
}

/// An engine of whose weights about `percent` are resident, with small requests.
pub(super) fn streaming(
    model: &TestModel,
    percent: u64,
    change: impl FnOnce(&mut Options),
) -> Engine {
    let index = lampyris_pack::ModelIndex::open(&model.path).unwrap();
    let mut options = Options {
        resident: Some(swept(&index) * percent / 100),
        request: 4096,
        ..options()
    };
    change(&mut options);
    let engine = Engine::with_index(index, options).unwrap();
    assert_eq!(
        engine.plan().streamed_bytes == 0,
        percent >= 100,
        "{percent} %"
    );
    engine
}
