//! Llama models of any block format, and what models need to be packed: a tokenizer.

use lampyris_flash::{Gguf, TensorType, gguf::Builder};
use lampyris_import::saved::TextTools;
use std::path::{Path, PathBuf};

/// Width of the residual stream: one K-quant super-block.
pub(crate) const D: usize = 256;
pub(crate) const FFN: usize = 512;
pub(crate) const LAYERS: usize = 2;

/// Xorshift.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Random blocks whose floats are small and finite.
pub(crate) fn random_blocks(ty: TensorType, elements: usize, random: &mut Random) -> Vec<u8> {
    let mut data = vec![0; ty.row_bytes(elements).unwrap()];
    data.iter_mut().for_each(|b| *b = random.next() as u8);
    let halves: &[usize] = match ty {
        TensorType::F32 | TensorType::BF16 => &[],
        TensorType::Q4_1
        | TensorType::Q5_1
        | TensorType::Q4_K
        | TensorType::Q5_K
        | TensorType::Q2_1
        | TensorType::Q3_1
        | TensorType::Q6_1 => &[0, 2],
        TensorType::Q6_K => &[208],
        TensorType::F16 | TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 => &[0],
        TensorType::Q4_2OF4 | TensorType::Q4_4OF16 => {
            unreachable!("random columns would not ascend")
        }
    };
    for block in data.chunks_exact_mut(ty.block_bytes()) {
        for &at in halves {
            // An exponent from 2^-14 to 2^-7, either sign.
            block[at + 1] = block[at + 1] & 0x9f | 0x04;
        }
        match ty {
            TensorType::F32 => block[3] = block[3] & 0x81 | 0x3c,
            TensorType::BF16 => block[1] = block[1] & 0x81 | 0x3c,
            _ => {}
        }
    }
    data
}

/// Adds the tokenizer and template of the embedded model.
pub(crate) fn with_tokenizer(mut builder: Builder) -> Builder {
    let tiny = Gguf::parse(lampyris_import::tiny_gguf()).unwrap();
    for (name, value) in tiny.metadata().iter() {
        if name.starts_with("tokenizer.") && !name.ends_with("_token_id") {
            builder = builder.metadata(name, value.clone());
        }
    }
    builder
}

/// Puts a tokenizer into a Hugging Face directory.
pub(crate) fn add_tokenizer(folder: &Path) {
    let tiny = lampyris_import::open("tiny").unwrap();
    let text = TextTools::from_model_file(tiny.file())
        .unwrap()
        .to_json()
        .unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pipeline = document["tokenizer"]["pipeline"].to_string();
    std::fs::write(folder.join("tokenizer.json"), pipeline).unwrap();
}

/// The GGUF of a model whose matrices have format `ty`.
pub(crate) fn llama(arch: &str, ty: TensorType, layers: usize) -> Builder {
    let mut random = Random(0x1234_5678_9abc_def1);
    let key = |suffix: &str| format!("{arch}.{suffix}");
    let mut builder = Builder::new()
        .metadata("general.architecture", arch)
        .metadata(key("block_count"), layers as u32)
        .metadata(key("context_length"), 64u32)
        .metadata(key("embedding_length"), D as u32)
        .metadata(key("feed_forward_length"), FFN as u32)
        .metadata(key("attention.head_count"), 4u32)
        .metadata(key("attention.head_count_kv"), 2u32)
        .metadata(key("attention.layer_norm_rms_epsilon"), 1e-5f32)
        .metadata("tokenizer.ggml.bos_token_id", 1u32)
        .metadata("tokenizer.ggml.eos_token_id", 2u32);
    let mut add = |name: String, rows: usize, cols: usize| {
        let data = random_blocks(ty, rows * cols, &mut random);
        builder = std::mem::take(&mut builder).tensor(name, &[cols, rows], ty, data);
    };
    add("token_embd.weight".into(), 64, D);
    for i in 0..layers {
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        add(name("attn_q"), D, D);
        add(name("attn_k"), D / 2, D);
        add(name("attn_v"), D / 2, D);
        add(name("attn_output"), D, D);
        add(name("ffn_gate"), FFN, D);
        add(name("ffn_up"), FFN, D);
        add(name("ffn_down"), D, FFN);
    }
    let ones = vec![1.0; D];
    let norms =
        (0..layers).flat_map(|i| ["attn_norm", "ffn_norm"].map(|n| format!("blk.{i}.{n}.weight")));
    for name in norms.chain(["output_norm.weight".into()]) {
        builder = builder.tensor_f32(name, &[D], &ones);
    }
    with_tokenizer(builder)
}

/// Writes a model of the format to `folder`.
pub(crate) fn write(folder: &Path, ty: TensorType) -> PathBuf {
    let path = folder.join(format!("{ty}.gguf"));
    std::fs::write(&path, llama("llama", ty, LAYERS).build().unwrap()).unwrap();
    path
}
