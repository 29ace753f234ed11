//! What programs for every length take: straight-line ones, padded to buckets as FlightLLM, and
//! ours, one program with registers and loops that is exact for every length.
//!
//! `cargo xtask bench lengths`. Instructions are counted by running the sequencer over the compiled
//! program (`lampyris_sim::straight`), never stored: the straight-line form of a call has as many
//! at every position, which is checked at some. Cycles come from the estimator, at some lengths
//! and by straight lines between them.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lampyris_compiler::{Options, Plan, Schedule};
use lampyris_flash::gguf::{Builder, Value};
use lampyris_flash::{Gguf, TensorType};
use lampyris_import::Model;
use lampyris_isa::insn::INSN_BYTES;
use lampyris_isa::{HwConfig, Insn};
use lampyris_sim::estimate::{Control, PortTiming, estimate_with};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Limits, Model as Functional, Start};
use lampyris_tests::compile;
use lampyris_tests::figures::{Figures, Level, Target};
use lampyris_tests::lengths::{Buckets, Calls, Mask, Runner, Way};
use lampyris_tests::smollm2::{model_path, recorded};
use lampyris_tests::synth::{Shape, Synthetic};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Longest length.
const LENGTHS: usize = 2048;

/// Tokens that SmolLM2 generates, and tokens of the prompt before them: a bucket of positions ends
/// on the way.
const GENERATED: usize = 6;
const GENERATED_AFTER: usize = 29;

/// Tokens of LLaMA-2's vocabulary.
const LLAMA2_VOCAB: usize = 32_000;

/// Bytes that FlightLLM reports for LLaMA-2-7B: straight-line, in buckets, and in buckets with
/// instructions that memory channels share.
const FLIGHTLLM: [f64; 3] = [1.67e12, 4.77e9, 3.25e9];

#[derive(Parser)]
#[command(about = "Instruction bytes for all lengths, three ways")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("llama2-7b.gguf");
    llama2(&path)?;
    let models = [
        ("LLaMA-2-7B", lampyris_import::open(&path)?, HwConfig::WIDE),
        (
            "SmolLM2-135M",
            lampyris_import::open(model_path()?)?,
            HwConfig::BASE,
        ),
        ("tiny", lampyris_import::open("tiny")?, HwConfig::BASE),
    ];
    let mut figures = Figures::default();
    for (name, model, config) in &models {
        eprintln!("{name}");
        let ours = compare(name, model, *config, &mut figures)?;
        if *name == "LLaMA-2-7B" {
            quote(ours, &mut figures);
        }
    }
    agree(&models[1].1, &mut figures)?;
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        figures.write_json(file, &json!({ "lengths": LENGTHS }))?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A file in the shape of LLaMA-2-7B whose matrices take no room; programs do not depend on them.
fn llama2(path: &std::path::Path) -> Result<()> {
    let vocabulary: Vec<String> = (0..LLAMA2_VOCAB).map(|i| format!("t{i}")).collect();
    let tokenizer = Builder::new()
        .metadata("general.architecture", "llama")
        .metadata("tokenizer.ggml.tokens", Value::from(vocabulary));
    let tokenizer = Gguf::parse(tokenizer.build()?)?;
    let model = Synthetic {
        shape: Shape::LLAMA2_7B,
        ty: TensorType::Q4_0,
        seed: 1,
        holes: true,
        relu: false,
    };
    model.write(&tokenizer, path)
}

/// A model compiled in memory, with what its calls cost.
struct Subject<'a> {
    model: &'a Model,
    config: HwConfig,
    plan: Plan,
    /// Longest length.
    lengths: usize,
}

impl Subject<'_> {
    fn calls(&self) -> Calls<'_> {
        Calls {
            program: &self.plan.code.insns,
            decode: self.plan.entries["decode"],
            prefill: self.plan.entries["prefill"],
            tokens: self.plan.buffers.tokens as usize,
        }
    }

    fn cycles(&self, start: &Start, control: Control) -> Result<f64> {
        let (program, config) = (&self.plan.code.insns, &self.config);
        Ok(estimate_with(program, start, config, PortTiming::FIXED, control)?.cycles)
    }
}

/// Adds the figures of a model; returns the bytes of our program.
fn compare(name: &str, model: &Model, config: HwConfig, figures: &mut Figures) -> Result<f64> {
    let lengths = LENGTHS.min(model.spec().context_length);
    let options = Options {
        config,
        context: lengths,
        schedule: Schedule::Fused,
        kv: Default::default(),
    };
    let subject = Subject {
        model,
        config,
        plan: lampyris_compiler::plan(model, &options)?,
        lengths,
    };
    let level = Level::Measured;
    let label = |what: &str| format!("{name}, lengths 1-{lengths}: {what}");
    let straight = straight_bytes(&subject)?;
    let padded = padded_bytes(&subject)?;
    let ours = (subject.plan.code.insns.len() * INSN_BYTES) as f64;
    for (way, [prefill, decode]) in [("straight-line", straight), ("buckets", padded)] {
        let all = prefill + decode;
        figures.add(label(&format!("{way}, prefill")), prefill, "B", level);
        figures.add(label(&format!("{way}, decode")), decode, "B", level);
        figures.add(label(&format!("{way}, both")), all, "B", level);
        figures.add(label(&format!("{way}, of ours")), all / ours, "x", level);
    }
    let most = Target::AtMost(f64::from(256 << 10));
    figures.judge(label("ours, both"), ours, "B", level, most);
    let level = Level::Modelled;
    let lost = padding(&subject)?;
    for (entry, lost) in [("prefill", lost[0]), ("decode", lost[1])] {
        let what = format!("buckets, {entry}, further cycles for padding");
        figures.add(label(&what), 100.0 * lost, "%", level);
    }
    control(name, &subject, figures)?;
    Ok(ours)
}

/// What FlightLLM reports, and ours in proportion.
fn quote(ours: f64, figures: &mut Figures) {
    for (way, bytes) in ["straight-line", "buckets", "buckets, shared channels"]
        .iter()
        .zip(FLIGHTLLM)
    {
        let name = format!("FlightLLM (arXiv 2401.03868, section 5), LLaMA-2-7B: {way}");
        figures.add(&name, bytes, "B", Level::Quoted);
        figures.add(format!("{name}, of ours"), bytes / ours, "x", Level::Quoted);
    }
}

/// Generates with SmolLM2 all three ways on the functional model and compares the tokens.
fn agree(model: &Model, figures: &mut Figures) -> Result<()> {
    let options = Options {
        config: HwConfig::BASE,
        context: 256,
        schedule: Schedule::Fused,
        kv: Default::default(),
    };
    let words = lampyris_compiler::plan(model, &options)?.buffers.vmem_words;
    let compiled = compile(model, options.config, options.context);
    let prompt = &recorded().perplexity.tokens[..GENERATED_AFTER];
    eprintln!("generating on the functional model");
    let mut device = Functional::new(options.config, memory(&compiled.bundle)?)?;
    let mut session = Session::new(&compiled.bundle, &mut device, Limits::default())?;
    let (mut ours, mut input) = (Vec::new(), prompt.to_vec());
    while ours.len() < GENERATED {
        let call = session.feed(&input, Want::Token)?.pop();
        let next = call.and_then(|call| call.next).context("no token")?;
        ours.push(next);
        input = vec![next];
    }
    for (name, way) in [
        ("straight-line", Way::Straight),
        ("buckets", Way::Padded(Buckets::FLIGHTLLM)),
    ] {
        let runner = Runner::new(&compiled, model.spec(), words, way)?;
        let mut device = Functional::new(options.config, runner.memory()?)?;
        let found = runner.generate(&mut device, prompt, GENERATED)?;
        let differ = ours.iter().zip(&found).filter(|(a, b)| a != b).count();
        figures.judge(
            format!("SmolLM2-135M, {name}: of {GENERATED} tokens, other than ours"),
            differ as f64,
            "",
            Level::Model,
            Target::AtMost(0.0),
        );
    }
    Ok(())
}

/// Instructions of a call at position 0, where registers hold their zeros already, and elsewhere,
/// checked to be as many at several positions.
#[derive(Clone, Copy)]
struct Count {
    first: u64,
    later: u64,
}

impl Count {
    fn of(subject: &Subject<'_>, tokens: usize, head: bool) -> Result<Count> {
        let calls = subject.calls();
        let at = |position| calls.straight_length(&calls.start(tokens, position, head));
        let last = subject.lengths - tokens;
        let later = at(tokens)?;
        for position in [last / 3, last / 2, last] {
            let count = at(position)?;
            ensure!(
                count == later,
                "a call of {tokens} tokens takes {count} instructions at {position}, {later} at {tokens}"
            );
        }
        let first = at(0)?;
        Ok(Count { first, later })
    }
}

/// Instructions of the calls for a prompt, the last one by `last`, the others by `full`, which
/// takes `most` tokens.
fn of_prompt(length: usize, most: usize, full: Count, last: impl Fn(usize) -> Count) -> u64 {
    let before = (length - 1) / most;
    let rest = last(length - before * most);
    match before {
        0 => rest.first,
        _ => full.first + (before as u64 - 1) * full.later + rest.later,
    }
}

/// Bytes of a straight-line program for each length: prefill, decode.
fn straight_bytes(subject: &Subject<'_>) -> Result<[f64; 2]> {
    let most = subject.calls().tokens;
    let full = Count::of(subject, most, false)?;
    let last: Vec<Count> = (1..=most)
        .map(|tokens| Count::of(subject, tokens, true))
        .collect::<Result<_>>()?;
    let prompt = |length| of_prompt(length, most, full, |tokens| last[tokens - 1]);
    let prefill = (1..=subject.lengths).map(prompt).sum();
    let decode = last[0].first + (subject.lengths as u64 - 1) * last[0].later;
    Ok(bytes([prefill, decode]))
}

/// Bytes of a program for each bucket: prefill (which fills the cache), decode.
fn padded_bytes(subject: &Subject<'_>) -> Result<[f64; 2]> {
    let b = Buckets::FLIGHTLLM;
    let most = subject.calls().tokens;
    let parts: Vec<Count> = (1..=most)
        .map(|tokens| Count::of(subject, tokens, false))
        .collect::<Result<_>>()?;
    let prompt = |bucket| {
        let length = bucket * b.prefill;
        of_prompt(length, most, parts[most - 1], |tokens| parts[tokens - 1])
    };
    let prefill = (1..=subject.lengths.div_ceil(b.prefill)).map(prompt).sum();
    let mask = Mask {
        table: 0,
        positions: subject.lengths,
        // The room that it takes is not counted.
        words: 0,
    };
    let ends = (1..=subject.lengths.div_ceil(b.decode)).map(|bucket| bucket * b.decode);
    let mut decode = 0;
    for end in ends {
        let program: Vec<Insn> = subject.calls().bucket(subject.model.spec(), end, &mask)?;
        decode += program.len() as u64;
    }
    Ok(bytes([prefill, decode]))
}

fn bytes(instructions: [u64; 2]) -> [f64; 2] {
    instructions.map(|count| (count * INSN_BYTES as u64) as f64)
}

/// Values at growing arguments, with straight lines between them.
struct Line(Vec<(f64, f64)>);

impl Line {
    fn new(arguments: &[usize], f: impl Fn(usize) -> Result<f64>) -> Result<Line> {
        let points = arguments.iter().map(|&x| Ok((x as f64, f(x)?)));
        Ok(Line(points.collect::<Result<_>>()?))
    }

    fn at(&self, x: usize) -> f64 {
        let x = x as f64;
        let after = self
            .0
            .partition_point(|p| p.0 < x)
            .clamp(1, self.0.len() - 1);
        let ((x0, y0), (x1, y1)) = (self.0[after - 1], self.0[after]);
        y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    }
}

/// `count` numbers from `first` to `last`.
fn spread(first: usize, last: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count)
        .map(|i| first + (last - first) * i / (count - 1))
        .collect();
    all.dedup();
    all
}

/// What padding adds to the cycles of all lengths, as a share of them: prefill, decode. Masks are
/// not counted, nor that straight-line code is fetched from memory.
fn padding(subject: &Subject<'_>) -> Result<[f64; 2]> {
    Ok([prefill_padding(subject)?, decode_padding(subject)?])
}

/// Of each bucket the same few positions are estimated, of all buckets some.
fn decode_padding(subject: &Subject<'_>) -> Result<f64> {
    let bucket = Buckets::FLIGHTLLM.decode;
    let calls = subject.calls();
    let cycles = |position| subject.cycles(&calls.start(1, position, true), Control::Timed);
    let (mut exact, mut padded) = (0.0, 0.0);
    for at in spread(0, subject.lengths / bucket - 1, 12) {
        let first = at * bucket;
        let line = Line::new(&[first, first + 5, first + 10, first + 15], cycles)?;
        exact += (first..first + bucket).map(|p| line.at(p)).sum::<f64>();
        padded += line.at(first + bucket - 1) * bucket as f64;
    }
    Ok(padded / exact - 1.0)
}

/// Chunks are estimated at some positions, shorter ones in proportion to full ones in the middle.
fn prefill_padding(subject: &Subject<'_>) -> Result<f64> {
    let calls = subject.calls();
    let most = calls.tokens;
    let cycles = |tokens, position, head| {
        subject.cycles(&calls.start(tokens, position, head), Control::Timed)
    };
    let last = subject.lengths - most;
    let full = Line::new(&spread(0, last, 9), |p| cycles(most, p, false))?;
    let middle = cycles(most, last / 2, false)?;
    let parts: Vec<f64> = (0..most)
        .map(|tokens| match tokens {
            0 => Ok(0.0),
            _ => Ok(cycles(tokens, last / 2, false)? / middle),
        })
        .collect::<Result<_>>()?;
    let head = cycles(most, 0, true)? - cycles(most, 0, false)?;
    let mut sums = vec![0.0];
    for chunk in 0..subject.lengths.div_ceil(most) {
        sums.push(sums[chunk] + full.at(chunk * most));
    }
    let of = |length: usize| {
        let chunks = length / most;
        sums[chunks] + parts[length % most] * full.at(chunks * most) + head
    };
    let bucket = Buckets::FLIGHTLLM.prefill;
    let lengths = 1..=subject.lengths;
    let exact: f64 = lengths.clone().map(of).sum();
    let padded: f64 = lengths.map(|l| of(l.next_multiple_of(bucket))).sum();
    Ok(padded / exact - 1.0)
}

/// Shares of the cycles in which all waits for the sequencer.
fn control(name: &str, subject: &Subject<'_>, figures: &mut Figures) -> Result<()> {
    let calls = subject.calls();
    for position in [0, subject.lengths / 2, subject.lengths - calls.tokens] {
        for (entry, tokens) in [("decode", 1), ("prefill", calls.tokens)] {
            let start = calls.start(tokens, position, true);
            let timed = subject.cycles(&start, Control::Timed)?;
            let free = subject.cycles(&start, Control::Free)?;
            let what = format!("{name}, {entry} of {tokens} at {position}: cycles on control");
            let share = 100.0 * (1.0 - free / timed);
            match name {
                "LLaMA-2-7B" => {
                    figures.judge(what, share, "%", Level::Modelled, Target::AtMost(0.5));
                }
                _ => figures.add(what, share, "%", Level::Modelled),
            }
        }
    }
    Ok(())
}
