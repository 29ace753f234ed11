//! SmolLM2 with all the memory it wants: the kernels against llama.cpp's.

use super::child::{self, Job};
use super::{Report, llama, plot};
use anyhow::Result;
use lampyris_tests::cage::Limits;
use lampyris_tests::figures::{Level, Target, columns};
use lampyris_tests::smollm2::{model_path, recorded};
use serde_json::json;

const PROMPT: usize = 512;
const GENERATE: usize = 96;
const CONTEXT: usize = 1024;
/// Runs of each program, one after the other in turn; the best of each counts.
const ROUNDS: usize = 4;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let model = model_path()?;
    let text = recorded().perplexity.tokens;
    let prompt = &text[..PROMPT];
    println!(
        "SmolLM2 in memory: prompt {PROMPT}, {GENERATE} tokens, best of {ROUNDS} runs in turn"
    );
    let mut rows =
        vec![["threads", "", "llama.cpp tok/s", "ours tok/s", "ratio"].map(str::to_owned)];
    let mut groups = Vec::new();
    for threads in [1, 2] {
        let job = Job {
            model: model.clone(),
            prompt: prompt.to_vec(),
            generate: GENERATE,
            threads,
            context: CONTEXT,
            ..Job::default()
        };
        let reference = llama::Job::like(&job, PROMPT);
        // Seconds of the prompt and of a token.
        let (mut theirs, mut ours) = ([f64::INFINITY; 2], [f64::INFINITY; 2]);
        for _ in 0..ROUNDS {
            let (outcome, _) = llama::caged(&reference, Limits::default())?;
            keep(&mut theirs, outcome.prefill_seconds, outcome.steady());
            let (outcome, _) = child::caged(&job, Limits::default())?;
            keep(&mut ours, outcome.prefill_seconds, outcome.steady());
        }
        let targets = [("prefill", PROMPT as f64, 0.9), ("decode", 1.0, 1.0)];
        for (i, (name, tokens, target)) in targets.into_iter().enumerate() {
            let ratio = theirs[i] / ours[i];
            rows.push([
                threads.to_string(),
                name.into(),
                format!("{:.1}", tokens / theirs[i]),
                format!("{:.1}", tokens / ours[i]),
                format!("{ratio:.2}"),
            ]);
            let label = format!("{name}, {threads} threads");
            groups.push((label, vec![tokens / theirs[i], tokens / ours[i]]));
            report.figures.judge(
                format!("SmolLM2 in memory, {name}, {threads} threads, against llama.cpp"),
                ratio,
                "x",
                Level::Measured,
                Target::AtLeast(target),
            );
        }
        report.details.push(json!({
            "part": "memory", "threads": threads,
            "ours_seconds": ours, "llama_seconds": theirs,
        }));
    }
    println!("{}", columns(rows));
    plot::bars(
        report.plots.as_deref(),
        "memory",
        "SmolLM2-135M in memory (measured)",
        "tokens/s",
        &["llama.cpp", "lampyris"],
        &groups,
    )
}

fn keep(best: &mut [f64; 2], prefill: f64, token: f64) {
    best[0] = best[0].min(prefill);
    best[1] = best[1].min(token);
}
