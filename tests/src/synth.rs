//! Models of any shape with random weights, for figures that depend on size and not on sense.
//!
//! They are written in one pass with little memory, the same bytes for the same seed, and carry
//! the tokenizer of a real model, so that any program that reads GGUF runs them. Scales are chosen
//! such that activations keep their size from layer to layer: logits are finite and differ.

use anyhow::{Context, Result, bail};
use lampyris_flash::{
    Gguf, TensorType,
    block::{SparseBlock, Sparsity, sparse_blocks},
    gguf::{Builder, Value},
};
use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::Path,
};

/// Sizes of a Llama-style model with tied embeddings; the vocabulary is the tokenizer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Neurons of each FFN.
    pub ffn: usize,
    /// Query heads; `d_model` is a multiple.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Positions.
    pub context: usize,
}

impl Shape {
    /// That of Mistral 7B: about 4 GB in Q4_0.
    pub const SEVEN_B: Self = Self {
        layers: 32,
        d_model: 4096,
        ffn: 14336,
        heads: 32,
        kv_heads: 8,
        context: 4096,
    };
    /// That of LLaMA-2 7B.
    pub const LLAMA2_7B: Self = Self {
        layers: 32,
        d_model: 4096,
        ffn: 11008,
        heads: 32,
        kv_heads: 32,
        context: 4096,
    };
    /// Layers of Llama 2 70B, four more of them: about 40 GB in Q4_0.
    pub const FORTY_GB: Self = Self {
        layers: 84,
        d_model: 8192,
        ffn: 28672,
        heads: 64,
        kv_heads: 8,
        context: 4096,
    };
    /// For tests: about 10 MB in Q4_0 with a small vocabulary.
    pub const SMALL: Self = Self {
        layers: 4,
        d_model: 512,
        ffn: 2048,
        heads: 8,
        kv_heads: 4,
        context: 256,
    };
}

/// What to write.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    /// Sizes.
    pub shape: Shape,
    /// Format of the matrices.
    pub ty: TensorType,
    /// Gives the weights.
    pub seed: u64,
    /// Whether matrices are holes, all zero, that take no room on storage.
    pub holes: bool,
    /// Whether FFNs have ReLU in place of SiLU (architecture `relu-llama`).
    pub relu: bool,
}

impl Synthetic {
    /// Writes the model to `output`, with tokenizer and template of `tokenizer`.
    ///
    /// # Errors
    /// What cannot be written; a tokenizer file without a vocabulary.
    pub fn write(&self, tokenizer: &Gguf, output: &Path) -> Result<()> {
        let (builder, tensors) = self.describe(tokenizer)?;
        let (header, offsets) = builder.header()?;
        let mut file = File::create(output).with_context(|| output.display().to_string())?;
        file.write_all(&header)?;
        let mut end = header.len() as u64;
        for (tensor, &offset) in tensors.iter().zip(&offsets) {
            let bytes = tensor.bytes();
            if tensor.is_vector() {
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(&1.0f32.to_le_bytes().repeat(tensor.cols))?;
            } else if !self.holes {
                file.seek(SeekFrom::Start(offset))?;
                self.fill(tensor, &mut file)?;
            }
            end = offset + bytes;
        }
        file.set_len(end)?;
        file.sync_all()?;
        Ok(())
    }

    fn describe(&self, tokenizer: &Gguf) -> Result<(Builder, Vec<Tensor>)> {
        let shape = &self.shape;
        let arch = if self.relu { "relu-llama" } else { "llama" };
        let Some(Value::Array(tokens)) = tokenizer.metadata().get("tokenizer.ggml.tokens") else {
            bail!("{} has no vocabulary", tokenizer.file());
        };
        let vocab = tokens.len();
        let head_dim = shape.d_model / shape.heads;
        let key = |name: &str| format!("{arch}.{name}");
        let mut builder = Builder::new()
            .metadata("general.architecture", arch)
            .metadata("general.name", "Synthetic, random weights")
            .metadata(
                "general.description",
                "Random weights in the shape of a real model, for benches; says nothing",
            )
            .metadata("general.quantization_version", 2u32)
            .metadata(key("block_count"), shape.layers as u32)
            .metadata(key("context_length"), shape.context as u32)
            .metadata(key("embedding_length"), shape.d_model as u32)
            .metadata(key("feed_forward_length"), shape.ffn as u32)
            .metadata(key("attention.head_count"), shape.heads as u32)
            .metadata(key("attention.head_count_kv"), shape.kv_heads as u32)
            .metadata(key("attention.layer_norm_rms_epsilon"), 1e-5f32)
            .metadata(key("rope.dimension_count"), head_dim as u32)
            .metadata(key("rope.freq_base"), 10_000f32)
            .metadata(key("vocab_size"), vocab as u32);
        for (name, value) in tokenizer.metadata().iter() {
            if name.starts_with("tokenizer.") {
                builder = builder.metadata(name, value.clone());
            }
        }
        let tensors = self.tensors(vocab);
        for tensor in &tensors {
            let dims = [tensor.cols, tensor.rows];
            let dims = if tensor.is_vector() {
                &dims[..1]
            } else {
                &dims[..]
            };
            builder = builder.declare(&tensor.name, dims, tensor.ty);
        }
        Ok((builder, tensors))
    }

    fn tensors(&self, vocab: usize) -> Vec<Tensor> {
        let Shape {
            layers,
            d_model: d,
            ffn,
            heads,
            kv_heads,
            ..
        } = self.shape;
        let kv = d / heads * kv_heads;
        let vector = |name: String| Tensor {
            name,
            ty: TensorType::F32,
            cols: d,
            rows: 0,
            rms: 0.0,
        };
        // Rows of length n and RMS 1 / sqrt(n) keep the size of what they multiply.
        let matrix = |name: String, rows: usize, cols: usize, gain: f32| {
            let rms = gain / (cols as f32).sqrt();
            // Rows of the embedding are read one by one, which sparse types do not allow.
            let ty = match self.ty.sparsity() {
                Some(_) if name == "token_embd.weight" => TensorType::Q4_0,
                _ => self.ty,
            };
            Tensor {
                name,
                ty,
                rows,
                cols,
                rms,
            }
        };
        // Logits get a standard deviation of 2.5.
        let mut tensors = vec![matrix("token_embd.weight".into(), vocab, d, 2.5)];
        for i in 0..layers {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            tensors.extend([
                vector(name("attn_norm")),
                matrix(name("attn_q"), d, d, 1.0),
                matrix(name("attn_k"), kv, d, 1.0),
                matrix(name("attn_v"), kv, d, 1.0),
                matrix(name("attn_output"), d, d, 0.5),
                vector(name("ffn_norm")),
                matrix(name("ffn_gate"), ffn, d, 1.0),
                matrix(name("ffn_up"), ffn, d, 1.0),
                matrix(name("ffn_down"), d, ffn, 0.5),
            ]);
        }
        tensors.push(vector("output_norm.weight".into()));
        tensors
    }

    /// Writes a matrix of random blocks.
    fn fill(&self, tensor: &Tensor, out: &mut impl Write) -> Result<()> {
        let name = tensor
            .name
            .bytes()
            .fold(self.seed, |h, b| mix(h ^ u64::from(b)));
        let mut random = Random(name);
        let mut left = tensor.bytes() as usize;
        let block = tensor.ty.block_bytes();
        let mut buf = vec![0; (1 << 20) / block * block];
        while left > 0 {
            let n = left.min(buf.len());
            random_blocks(tensor.ty, tensor.rms, &mut random, &mut buf[..n]);
            out.write_all(&buf[..n])?;
            left -= n;
        }
        Ok(())
    }
}

struct Tensor {
    name: String,
    ty: TensorType,
    cols: usize,
    /// 0: a vector.
    rows: usize,
    /// Root of the mean square of the values.
    rms: f32,
}

impl Tensor {
    fn is_vector(&self) -> bool {
        self.rows == 0
    }

    fn bytes(&self) -> u64 {
        let row = self.ty.row_bytes(self.cols).unwrap_or(0);
        row as u64 * self.rows.max(1) as u64
    }
}

/// SplitMix64.
struct Random(u64);

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    fn next(&mut self) -> u64 {
        let value = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        value
    }

    /// Uniform in `-1..1`.
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// Random codes, and a scale for each block such that values have about this RMS and no mean.
fn random_blocks(ty: TensorType, rms: f32, random: &mut Random, out: &mut [u8]) {
    // Of uniform values in -1..1.
    let uniform = rms * 3f32.sqrt();
    match ty {
        TensorType::F32 => {
            for b in out.chunks_exact_mut(4) {
                b.copy_from_slice(&(uniform * random.signed()).to_le_bytes());
            }
            return;
        }
        TensorType::F16 => {
            for b in out.chunks_exact_mut(2) {
                b.copy_from_slice(&half::f16::from_f32(uniform * random.signed()).to_le_bytes());
            }
            return;
        }
        TensorType::BF16 => {
            for b in out.chunks_exact_mut(2) {
                b.copy_from_slice(&half::bf16::from_f32(uniform * random.signed()).to_le_bytes());
            }
            return;
        }
        _ => {}
    }
    let (words, rest) = out.as_chunks_mut::<8>();
    words
        .iter_mut()
        .for_each(|w| *w = random.next().to_le_bytes());
    rest.iter_mut().for_each(|b| *b = random.next() as u8);
    // Where the scale lies, the RMS of random codes with scale 1, and where the minimum lies and
    // its size in scales, which takes the mean away.
    let (at, code_rms, minimum) = match ty {
        TensorType::Q4_0 => (0, 4.64, None),
        TensorType::Q4_1 => (0, 4.61, Some((2, -7.5))),
        TensorType::Q5_0 => (0, 9.25, None),
        TensorType::Q5_1 => (0, 9.23, Some((2, -15.5))),
        TensorType::Q8_0 => (0, 73.9, None),
        TensorType::Q4_K => (0, 258.0, Some((2, 7.5))),
        TensorType::Q5_K => (0, 527.0, Some((2, 15.5))),
        TensorType::Q6_K => (208, 1366.0, None),
        TensorType::Q2_1 => (0, 1.118, Some((2, -1.5))),
        TensorType::Q3_1 => (0, 2.291, Some((2, -3.5))),
        TensorType::Q6_1 => (0, 18.47, Some((2, -31.5))),
        // As Q4_0, but only a half and a quarter of the columns.
        TensorType::Q4_2OF4 => (0, 3.28, None),
        TensorType::Q4_4OF16 => (0, 2.32, None),
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => unreachable!("done above"),
    };
    if let Some(sparsity) = ty.sparsity() {
        order_columns(ty, sparsity, out);
    }
    for b in out.chunks_exact_mut(ty.block_bytes()) {
        // Half to one and a half times the usual scale, of either sign.
        let signed = random.signed();
        let scale = rms / code_rms * (signed + 0.5f32.copysign(signed));
        b[at..at + 2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
        if let Some((at, factor)) = minimum {
            b[at..at + 2].copy_from_slice(&half::f16::from_f32(scale * factor).to_le_bytes());
        }
    }
}

/// Keeps random codes, but spreads the kept columns over each group in ascending order.
fn order_columns(ty: TensorType, sparsity: Sparsity, out: &mut [u8]) {
    let spread = sparsity.group() / sparsity.kept();
    let ordered: Vec<u8> = sparse_blocks(ty, out)
        .expect("whole blocks")
        .flat_map(|b| {
            let index =
                |j: usize| j % sparsity.kept() * spread + usize::from(b.fields[j] >> 4) % spread;
            let mut block = Vec::new();
            SparseBlock::new(sparsity, b.scale, |j| b.code(j), index).write(&mut block);
            block
        })
        .collect();
    out.copy_from_slice(&ordered);
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_flash::block::dequantize_row;

    #[test]
    fn values_have_the_size_that_was_asked_for() {
        for ty in TensorType::all() {
            let mut blocks = vec![0; 400 * ty.block_bytes()];
            random_blocks(ty, 0.02, &mut Random(7), &mut blocks);
            let mut values = vec![0.0; 400 * ty.block_len()];
            dequantize_row(ty, &blocks, &mut values).unwrap();
            let n = values.len() as f32;
            let mean = values.iter().sum::<f32>() / n;
            let rms = (values.iter().map(|v| v * v).sum::<f32>() / n).sqrt();
            assert!((0.016..0.026).contains(&rms), "{ty}: RMS {rms}");
            assert!(mean.abs() < 0.15 * rms, "{ty}: mean {mean}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_model() {
        let tokenizer = Gguf::parse(lampyris_import::tiny_gguf()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, seed: u64, holes: bool| {
            let model = Synthetic {
                shape: Shape::SMALL,
                ty: TensorType::Q4_0,
                seed,
                holes,
                relu: false,
            };
            let path = folder.path().join(name);
            model.write(&tokenizer, &path).unwrap();
            path
        };
        let first = std::fs::read(write("a", 1, false)).unwrap();
        assert!(first == std::fs::read(write("b", 1, false)).unwrap());
        assert!(first != std::fs::read(write("c", 2, false)).unwrap());
        let model = lampyris_import::Model::open(folder.path().join("a")).unwrap();
        model.check_finite().unwrap();
        let reference = lampyris_runtime::Reference::new(&model).unwrap();
        let logits = reference.session().step(5).unwrap();
        let n = logits.len() as f32;
        let mean = logits.iter().sum::<f32>() / n;
        let deviation = (logits.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
        assert!((1.0..6.0).contains(&deviation), "deviation {deviation}");

        let holes = std::fs::read(write("d", 1, true)).unwrap();
        assert_eq!(holes.len(), first.len());
    }
}
