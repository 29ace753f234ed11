//! How well the accelerator's arithmetic keeps the model's quality: SmolLM2 on the functional
//! model, on the f32 reference executor and on llama.cpp, teacher-forced over two texts, then
//! greedy continuations side by side.
//!
//! `cargo xtask bench accuracy`. The functional model equals the RTL at every instruction (the
//! `lockstep` bench and suite show it), so its figures are the accelerator's.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

mod llama;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lampyris_bundle::Bundle;
use lampyris_import::tokenizer::Tokenizer;
use lampyris_isa::HwConfig;
use lampyris_runtime::{Reference, WindowScore, argmax, perplexity};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Limits, Model};
use lampyris_tests::figures::{Figures, Level, Target, columns};
use lampyris_tests::scores::{agreement, first_difference, greedy, on_model};
use lampyris_tests::smollm2::{Recorded, model_path, recorded};
use llama::Judge;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Tokens of a window; the model's cache holds as many positions.
const WINDOW: usize = 1024;
/// Most tokens of a continuation, as recorded.
const GENERATE: usize = 64;
/// Largest difference of the perplexity from llama.cpp's, percent.
const PERPLEXITY_PERCENT: f64 = 1.0;
/// Smallest share of positions with llama.cpp's most likely token, percent.
const TOP1_PERCENT: f64 = 96.0;

#[derive(Parser)]
#[command(about = "Accuracy of the accelerator's arithmetic on a real model")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Python with llama-cpp-python [default: the one that setup made]
    #[arg(long)]
    python: Option<PathBuf>,
    /// Score only the first tokens of each text; for a quick look
    #[arg(long)]
    tokens: Option<usize>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// A text as sequences of at most [`WINDOW`] tokens.
struct Text {
    name: String,
    windows: Vec<Vec<u32>>,
}

impl Text {
    fn new(name: &str, tokens: &[u32], most: Option<usize>) -> Text {
        let tokens = &tokens[..most.unwrap_or(tokens.len()).min(tokens.len())];
        Text {
            name: name.to_owned(),
            windows: tokens.chunks(WINDOW).map(<[u32]>::to_vec).collect(),
        }
    }
}

/// Scores of one text by all engines.
struct Scored {
    name: String,
    ours: Vec<WindowScore>,
    exact: Vec<WindowScore>,
    /// Absent where llama.cpp is not installed and nothing was recorded.
    llama: Option<Vec<WindowScore>>,
}

/// A prompt's continuations.
struct Continued {
    prompt: String,
    ours: Vec<u32>,
    exact: Vec<u32>,
    llama: Vec<u32>,
    /// Positions of llama.cpp's continuation at which the accelerator, given the same tokens,
    /// chooses the same next one; and all.
    forced: (usize, usize),
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let path = model_path()?;
    let model = lampyris_import::open(&path)?;
    let tokenizer = Tokenizer::from_model_file(model.file())?;
    let recorded = recorded();
    let texts = texts(&recorded, &tokenizer, args.tokens)?;
    let compiled = lampyris_tests::compile(&model, HwConfig::BASE, WINDOW);
    let reference = Reference::new(&model)?;
    let request = llama::Request {
        model: &path,
        windows: texts.iter().flat_map(|t| t.windows.clone()).collect(),
        prompts: recorded
            .prompts
            .iter()
            .map(|p| p.prompt_tokens.clone())
            .collect(),
        generate: GENERATE,
    };
    let judge = llama::start(args.python.as_deref(), &request)?;
    let scored = score(&compiled.bundle, &reference, &texts)?;
    let judge = judge.finish(&recorded)?;
    let scored = with_judge(scored, &texts, &judge, &recorded);
    let continued = continuations(&compiled.bundle, &reference, &tokenizer, &recorded, &judge)?;

    println!(
        "model            {}",
        path.file_name().unwrap_or_default().to_string_lossy()
    );
    println!("accelerator      configuration `base`, functional model");
    println!("f32 reference    exact weights, f32 activations");
    println!("llama.cpp        {}, {}\n", judge.engine, judge.source());
    print_texts(&scored);
    print_continuations(&continued, &tokenizer)?;
    let figures = figures(&scored, &continued, &judge);
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        let details =
            json!({ "llama_cpp": judge.engine, "llama_cpp_run_now": judge.live.is_some() });
        figures.write_json(file, &details)?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn texts(recorded: &Recorded, tokenizer: &Tokenizer, most: Option<usize>) -> Result<Vec<Text>> {
    let licence = tokenizer.encode(include_str!("../../LICENSE-APACHE"), false)?;
    let (novel, _) = recorded
        .perplexity
        .text
        .split_once(" (")
        .context("a title")?;
    Ok(vec![
        Text::new(novel, &recorded.perplexity.tokens, most),
        Text::new("Apache License 2.0", &licence, most),
    ])
}

/// Scores by the accelerator and by the reference, at the same time.
fn score(bundle: &Bundle, reference: &Reference<'_>, texts: &[Text]) -> Result<Vec<Scored>> {
    let windows: Vec<&[u32]> = texts
        .iter()
        .flat_map(|t| &t.windows)
        .map(Vec::as_slice)
        .collect();
    let bar = bar(windows.iter().map(|w| w.len() as u64).sum());
    let progress = || bar.inc(1);
    let (ours, exact) = std::thread::scope(|scope| {
        let exact = scope.spawn(|| reference.score(&windows));
        let ours = on_model(bundle, &windows, &progress);
        (ours, exact.join().expect("the reference does not panic"))
    });
    bar.finish_and_clear();
    let (mut ours, mut exact) = (ours?.into_iter(), exact?.into_iter());
    let scored = texts.iter().map(|text| Scored {
        name: text.name.clone(),
        ours: ours.by_ref().take(text.windows.len()).collect(),
        exact: exact.by_ref().take(text.windows.len()).collect(),
        llama: None,
    });
    Ok(scored.collect())
}

/// Adds llama.cpp's scores: those of this run, or the recorded ones of the first text.
fn with_judge(
    mut scored: Vec<Scored>,
    texts: &[Text],
    judge: &Judge,
    recorded: &Recorded,
) -> Vec<Scored> {
    let Some(live) = &judge.live else {
        scored[0].llama = Some(llama::recorded_scores(
            &recorded.perplexity,
            &texts[0].windows,
        ));
        return scored;
    };
    let mut live = live.iter().cloned();
    for (scored, text) in scored.iter_mut().zip(texts) {
        scored.llama = Some(live.by_ref().take(text.windows.len()).collect());
    }
    scored
}

fn continuations(
    bundle: &Bundle,
    reference: &Reference<'_>,
    tokenizer: &Tokenizer,
    recorded: &Recorded,
    judge: &Judge,
) -> Result<Vec<Continued>> {
    let is_end = |token| tokenizer.is_eos(token);
    let mut out = Vec::new();
    for (prompt, llama) in recorded.prompts.iter().zip(&judge.continuations) {
        let tokens = &prompt.prompt_tokens;
        let mut device = Model::new(bundle.config, memory(bundle)?)?;
        let mut session = Session::new(bundle, &mut device, Limits::default())?;
        let ours = greedy(tokens, GENERATE, is_end, |tokens| -> Result<u32> {
            let calls = session.feed(tokens, Want::Token)?;
            calls
                .last()
                .and_then(|c| c.next)
                .context("the call gives no token")
        })?;
        let mut session = reference.session();
        let exact = greedy(tokens, GENERATE, is_end, |tokens| -> Result<u32> {
            let logits = session.prefill(tokens)?;
            Ok(argmax(&logits).context("the logits are empty")? as u32)
        })?;
        let mut forced = tokens.clone();
        forced.extend(&llama[..llama.len() - 1]);
        let score = on_model(bundle, &[&forced], &|| ())?.remove(0);
        let chosen = &score.top1[tokens.len() - 1..];
        let same = chosen.iter().zip(llama).filter(|(a, b)| a == b).count();
        out.push(Continued {
            prompt: prompt.prompt.clone(),
            ours,
            exact,
            llama: llama.clone(),
            forced: (same, llama.len()),
        });
    }
    Ok(out)
}

fn bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "functional model {bar:30} {human_pos}/{human_len} tokens, {eta} left",
    )
    .expect("the template is fixed");
    ProgressBar::new(total).with_style(style)
}

/// Difference from another engine's perplexity, percent.
fn difference(a: &[WindowScore], b: &[WindowScore]) -> f64 {
    100.0 * (perplexity(a) / perplexity(b) - 1.0)
}

fn percent((same, all): (usize, usize)) -> f64 {
    100.0 * same as f64 / all as f64
}

fn print_texts(scored: &[Scored]) {
    let head = [
        "text",
        "tokens",
        "engine",
        "perplexity",
        "vs llama.cpp",
        "vs f32",
        "top-1 = llama.cpp",
        "top-1 = f32",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for text in scored {
        let llama = text.llama.as_deref();
        let engines = [
            ("accelerator", Some(text.ours.as_slice())),
            ("f32 reference", Some(&text.exact)),
            ("llama.cpp", llama),
        ];
        for (name, scores) in engines {
            let Some(scores) = scores else { continue };
            let tokens: usize = scores.iter().map(|s| s.top1.len()).sum();
            let against = |other: Option<&[WindowScore]>| match other {
                Some(other) if !std::ptr::eq(other, scores) => {
                    let (same, all) = agreement(scores, other);
                    [
                        format!("{:+.2} %", difference(scores, other)),
                        format!("{same}/{all} = {:.2} %", percent((same, all))),
                    ]
                }
                _ => [String::new(), String::new()],
            };
            let [llama_ppl, llama_top] = against(llama);
            let [exact_ppl, exact_top] = against(Some(&text.exact));
            rows.push([
                text.name.clone(),
                tokens.to_string(),
                name.to_owned(),
                format!("{:.3}", perplexity(scores)),
                llama_ppl,
                exact_ppl,
                llama_top,
                exact_top,
            ]);
        }
    }
    println!("{}", columns(rows));
}

fn print_continuations(continued: &[Continued], tokenizer: &Tokenizer) -> Result<()> {
    println!(
        "greedy continuations; >> stands before the first token that differs from llama.cpp's\n"
    );
    for c in continued {
        println!("prompt: {:?}", c.prompt);
        let engines = [
            ("llama.cpp", &c.llama),
            ("accelerator", &c.ours),
            ("f32 reference", &c.exact),
        ];
        for (name, tokens) in engines {
            let text = match first_difference(&c.llama, tokens) {
                None => quoted(tokenizer, tokens)?,
                Some(at) => {
                    let (same, rest) = tokens.split_at(at);
                    let [same, rest] = [quoted(tokenizer, same)?, quoted(tokenizer, rest)?];
                    format!("{same} >> {rest}")
                }
            };
            println!("  {name:14} {text}");
        }
        let (same, all) = c.forced;
        println!(
            "  given llama.cpp's tokens, the accelerator chooses the same next one at {same} of \
             {all} positions\n"
        );
    }
    Ok(())
}

/// Text of tokens in quotes; an end token shows after them.
fn quoted(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<String> {
    let end = tokens.last().is_some_and(|last| tokenizer.is_eos(*last));
    let text = tokenizer.decode(tokens)?;
    Ok(format!("{text:?}{}", if end { " (end)" } else { "" }))
}

fn figures(scored: &[Scored], continued: &[Continued], judge: &Judge) -> Figures {
    let mut figures = Figures::default();
    let level = if judge.live.is_some() {
        Level::Model
    } else {
        Level::Recorded
    };
    for text in scored {
        let name = &text.name;
        let exact = difference(&text.ours, &text.exact);
        figures.add(
            format!("{name}: perplexity vs f32 reference"),
            exact,
            "%",
            Level::Model,
        );
        let exact = percent(agreement(&text.ours, &text.exact));
        figures.add(
            format!("{name}: top-1 = f32 reference"),
            exact,
            "%",
            Level::Model,
        );
        let Some(llama) = &text.llama else { continue };
        let ppl = difference(&text.ours, llama).abs();
        let target = Target::AtMost(PERPLEXITY_PERCENT);
        figures.judge(
            format!("{name}: perplexity vs llama.cpp, magnitude"),
            ppl,
            "%",
            level,
            target,
        );
        let top1 = percent(agreement(&text.ours, llama));
        let target = Target::AtLeast(TOP1_PERCENT);
        figures.judge(
            format!("{name}: top-1 = llama.cpp"),
            top1,
            "%",
            level,
            target,
        );
        let exact = percent(agreement(&text.exact, llama));
        figures.add(
            format!("{name}: f32 reference's top-1 = llama.cpp"),
            exact,
            "%",
            level,
        );
    }
    let sum = continued
        .iter()
        .fold((0, 0), |s, c| (s.0 + c.forced.0, s.1 + c.forced.1));
    figures.add(
        "continuations: top-1 = llama.cpp, teacher-forced",
        percent(sum),
        "%",
        level,
    );
    figures
}
