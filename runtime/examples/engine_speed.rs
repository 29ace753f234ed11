//! Speed of the engine: `cargo run --release -p lampyris-runtime --example engine_speed -- MODEL
//! [key=value]...` with keys threads, memory (MiB), resident (MiB), context, pp, tg, batch,
//! request (KiB), io, rate (MB/s), runs, draft, text (1: with a tokenizer).

#![allow(clippy::print_stdout, reason = "a program")]

use std::ops::ControlFlow;
use std::time::Instant;

use lampyris_pack::ModelIndex;
use lampyris_runtime::engine::{DraftOptions, Engine, Options, Rate, Request};
use lampyris_runtime::{Sampler, SamplerConfig};

/// What to run, besides the engine's options.
struct Run {
    prompt: usize,
    answer: usize,
    runs: usize,
    text: bool,
}

type Error = Box<dyn std::error::Error>;

fn set(run: &mut Run, options: &mut Options, key: &str, value: &str) -> Result<(), Error> {
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
        "pp" => run.prompt = number()?,
        "tg" => run.answer = number()?,
        "runs" => run.runs = number()?,
        "text" => run.text = number()? > 0,
        _ => return Err(format!("unknown key {key}").into()),
    }
    Ok(())
}

fn measure(engine: &mut Engine, run: &Run) -> Result<(), Error> {
    let vocab = engine.spec().vocab_size as u32;
    let tokens: Vec<u32> = (0..run.prompt as u32)
        .map(|i| (i * 7919 + 13) % vocab)
        .collect();
    engine.reset();
    let mut sampler = Sampler::new(SamplerConfig::default())?;
    let before = engine.stats();
    let start = Instant::now();
    let mut first = None;
    let request = Request {
        prompt: &tokens,
        max_tokens: run.answer + 1,
        sampler: &mut sampler,
        stop: &|_| false,
        cancelled: &|| false,
    };
    engine.generate(request, &mut |_| {
        first.get_or_insert_with(|| start.elapsed());
        ControlFlow::Continue(())
    })?;
    let first = first.unwrap_or_default();
    let rest = start.elapsed() - first;
    println!(
        "pp {:.1} tok/s, tg {:.2} tok/s",
        run.prompt as f64 / first.as_secs_f64(),
        run.answer as f64 / rest.as_secs_f64()
    );
    println!("{:?}", engine.stats().since(&before));
    Ok(())
}

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("a model")?;
    let mut run = Run {
        prompt: 512,
        answer: 128,
        runs: 1,
        text: false,
    };
    let mut options = Options {
        context: 1024,
        ..Options::default()
    };
    for arg in args {
        let (key, value) = arg.split_once('=').ok_or("key=value")?;
        set(&mut run, &mut options, key, value)?;
    }
    let index = ModelIndex::open(&path)?;
    // As a program that talks would have it; it counts against the budget.
    let tools = match run.text {
        true => Some(index.text_tools()?),
        false => None,
    };
    let mut engine = Engine::with_index(index, options)?;
    print!("{}", engine.plan());
    println!("loaded in {:.0} ms", engine.stats().load_ms);
    for _ in 0..run.runs {
        measure(&mut engine, &run)?;
    }
    drop(tools);
    Ok(())
}
