//! SmolLM2 in 110 MiB: less than the model and its surroundings need.

use super::child::{self, Job};
use super::{Report, llama, mib, plot, storage};
use anyhow::{Result, ensure};
use lampyris_tests::cage::Limits;
use lampyris_tests::figures::{Level, Target, columns};
use lampyris_tests::smollm2::{model_path, recorded};
use serde_json::json;

const LIMIT: u64 = 110 << 20;
const GENERATE: usize = 48;
const CONTEXT: usize = 256;
const TARGET: f64 = 8.0;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let model = model_path()?;
    let prompt = &recorded().prompts[0].prompt_tokens;
    println!(
        "SmolLM2 under {} MiB, {GENERATE} tokens, context {CONTEXT}",
        mib(LIMIT)
    );
    let limits = Limits {
        memory: Some(LIMIT),
        disk: None,
    };
    let mut rows = vec![
        [
            "threads",
            "llama.cpp tok/s",
            "ours tok/s",
            "ratio",
            "read/token MiB",
        ]
        .map(str::to_owned),
    ];
    let mut best = (0.0, 0.0);
    let mut groups = Vec::new();
    for threads in [1, 2] {
        let mut job = Job {
            model: model.clone(),
            prompt: prompt.clone(),
            generate: GENERATE,
            threads,
            context: CONTEXT,
            ..Job::default()
        };
        let (whole, _) = child::caged(&job, Limits::default())?;
        storage::forget(&model)?;
        let (theirs, _) = llama::caged(&llama::Job::like(&job, 64), limits)?;
        storage::forget(&model)?;
        job.memory = Some(LIMIT);
        let (ours, evidence) = child::caged(&job, limits)?;
        ensure!(
            ours.tokens == whole.tokens,
            "tokens under the limit differ from those in memory"
        );
        report.budget(
            &format!("SmolLM2, 110 MiB, {threads} threads"),
            LIMIT,
            evidence,
        );
        let (llama_rate, our_rate) = (1.0 / theirs.steady(), 1.0 / ours.steady());
        if llama_rate > best.0 {
            best = (llama_rate, our_rate);
        }
        rows.push([
            threads.to_string(),
            format!("{llama_rate:.2}"),
            format!("{our_rate:.2}"),
            format!("{:.1}", our_rate / llama_rate),
            mib(ours.bytes_per_token() as u64),
        ]);
        groups.push((format!("{threads} threads"), vec![llama_rate, our_rate]));
        let same = theirs
            .tokens
            .iter()
            .zip(&ours.tokens)
            .take_while(|(a, b)| a == b);
        println!(
            "{threads} threads: tokens equal to our in-memory run; the first {} of {GENERATE} also to llama.cpp's",
            same.count()
        );
        report.details.push(json!({
            "part": "small", "threads": threads, "ours": ours, "llama": theirs, "evidence": evidence,
        }));
    }
    println!("{}", columns(rows));
    report.figures.judge(
        "SmolLM2 in 110 MiB, tokens/s against llama.cpp",
        best.1 / best.0,
        "x",
        Level::Measured,
        Target::AtLeast(TARGET),
    );
    plot::bars(
        report.plots.as_deref(),
        "small",
        "SmolLM2-135M under 110 MiB (measured)",
        "tokens/s",
        &["llama.cpp", "lampyris"],
        &groups,
    )
}
