//! Writes a model with random weights in the shape of a real one.
//!
//! `cargo run --release -p lampyris-tests --example synth-model -- --shape 7b -o synthetic.gguf`

use anyhow::Result;
use clap::{Parser, ValueEnum};
use lampyris_flash::{Gguf, TensorType};
use lampyris_tests::{
    smollm2,
    synth::{Shape, Synthetic},
};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Writes a model with random weights in the shape of a real one")]
struct Arguments {
    /// File to write
    #[arg(long, short)]
    output: PathBuf,
    /// Sizes
    #[arg(long, default_value = "7b")]
    shape: Named,
    /// Layers, in place of the shape's
    #[arg(long)]
    layers: Option<usize>,
    /// Format of the matrices: F16, Q4_0, Q8_0, Q4_K and so on
    #[arg(long = "type", default_value = "Q4_0", value_parser = tensor_type)]
    ty: TensorType,
    /// Gives the weights
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave holes in place of matrices: all zero, and no room is taken
    #[arg(long)]
    holes: bool,
    /// ReLU in place of SiLU
    #[arg(long)]
    relu: bool,
    /// GGUF file whose tokenizer is copied, or `tiny` [default: the pinned SmolLM2]
    #[arg(long)]
    tokenizer: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Named {
    #[value(name = "7b")]
    SevenB,
    #[value(name = "llama2-7b")]
    Llama2,
    #[value(name = "40gb")]
    FortyGb,
    Small,
}

fn tensor_type(name: &str) -> Result<TensorType, String> {
    TensorType::all()
        .find(|ty| ty.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| format!("no element format `{name}`"))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let tokenizer = match &arguments.tokenizer {
        None => Gguf::open(smollm2::model_path()?)?,
        Some(path) if path.as_os_str() == lampyris_import::TINY => {
            Gguf::parse(lampyris_import::tiny_gguf())?
        }
        Some(path) => Gguf::open(path)?,
    };
    let shape = match arguments.shape {
        Named::SevenB => Shape::SEVEN_B,
        Named::Llama2 => Shape::LLAMA2_7B,
        Named::FortyGb => Shape::FORTY_GB,
        Named::Small => Shape::SMALL,
    };
    let model = Synthetic {
        shape: Shape {
            layers: arguments.layers.unwrap_or(shape.layers),
            ..shape
        },
        ty: arguments.ty,
        seed: arguments.seed,
        holes: arguments.holes,
        relu: arguments.relu,
    };
    model.write(&tokenizer, &arguments.output)?;
    Ok(())
}
