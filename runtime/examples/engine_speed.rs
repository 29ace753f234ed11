//! Speed of the engine: `cargo run --release -p lampyris-runtime --example engine_speed -- MODEL
//! [key=value]...` with keys threads, memory (MiB), resident (MiB), context, pp, tg, batch,
//! request (KiB), io, rate (MB/s), runs, draft, text (1: with a tokenizer).

#![allow(clippy::print_stdout, reason = "a program")]

use std::ops::ControlFlow;
use std::time::Instant;

use lampyris_pack::ModelIndex;
use lampyris_runtime::engine::{DraftOptions, Engine, Options, Rate, Request};
use lampyris_runtime::{Sampler, SamplerConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("a model")?;
    let (mut prompt, mut answer, mut runs) = (512usize, 128usize, 1usize);
    let mut text = false;
    let mut options = Options {
        context: 1024,
        ..Options::default()
    };
    for arg in args {
        let (key, value) = arg.split_once('=').ok_or("key=value")?;
        let number = || value.parse::<usize>();
        match key {
            "threads" => options.threads = number()?,
            "memory" => options.memory = Some((number()? as u64) << 20),
            "resident" => options.resident = Some((number()? as u64) << 20),
            "context" => options.context = number()?,
            "batch" => options.batch = number()?,
            "request" => options.request = number()? << 10,
            "io" => options.io = value.parse()?,
            "rate" => {
                options.storage = Some(Rate {
                    bytes_per_second: number()? as f64 * 1e6,
                    source: "given".to_owned(),
                });
            }
            "draft" => {
                options.draft = Some(DraftOptions {
                    max_tokens: number()?,
                    ..DraftOptions::default()
                });
            }
            "pp" => prompt = number()?,
            "tg" => answer = number()?,
            "runs" => runs = number()?,
            "text" => text = number()? > 0,
            _ => return Err(format!("unknown key {key}").into()),
        }
    }
    let index = ModelIndex::open(&path)?;
    // As a program that talks would have it; it counts against the budget.
    let tools = match text {
        true => Some(index.text_tools()?),
        false => None,
    };
    let mut engine = Engine::with_index(index, options)?;
    print!("{}", engine.plan());
    println!("loaded in {:.0} ms", engine.stats().load_ms);
    let vocab = engine.spec().vocab_size as u32;
    let tokens: Vec<u32> = (0..prompt as u32)
        .map(|i| (i * 7919 + 13) % vocab)
        .collect();
    for _ in 0..runs {
        engine.reset();
        let mut sampler = Sampler::new(SamplerConfig::default())?;
        let start = Instant::now();
        let mut first = None;
        let before = engine.stats();
        engine.generate(
            Request {
                prompt: &tokens,
                max_tokens: answer + 1,
                sampler: &mut sampler,
                stop: &|_| false,
                cancelled: &|| false,
            },
            &mut |_| {
                first.get_or_insert_with(|| start.elapsed());
                ControlFlow::Continue(())
            },
        )?;
        let first = first.unwrap_or_default();
        let rest = start.elapsed() - first;
        println!(
            "pp {:.1} tok/s, tg {:.2} tok/s",
            prompt as f64 / first.as_secs_f64(),
            answer as f64 / rest.as_secs_f64()
        );
        println!("{:?}", engine.stats().since(&before));
    }
    drop(tools);
    Ok(())
}
