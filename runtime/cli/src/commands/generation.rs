//! Text from a device, and the report on it.

use super::JSON_SCHEMA;
use super::memory::Hardware;
use super::report::{Phase, render};
use crate::output::print;
use anyhow::{Context, Result};
use lampyris_bundle::Bundle;
use lampyris_import::saved::TextTools;
use lampyris_runtime::Sampler;
use lampyris_sim::session::{Call, Session, Want};
use serde_json::json;
use std::time::Duration;

/// What a generation produced.
pub(super) struct Run {
    pub(super) tokens: Vec<u32>,
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    /// It ended because no position was left in the cache, or in a ring no angles.
    pub(super) context_full: bool,
}

/// What to generate.
pub(super) struct Wanted {
    pub(super) max_tokens: usize,
    /// Take the most likely token, which the accelerator finds itself.
    pub(super) greedy: bool,
    /// Keep the text for a document instead of printing it.
    pub(super) json: bool,
}

/// Feeds the prompt and generates.
///
/// # Errors
/// Failures of the device, and tokens that the tokenizer does not know.
pub(super) fn generate(
    wanted: &Wanted,
    mut sampler: Sampler,
    tools: &TextTools,
    prompt: &[u32],
    session: &mut Session<'_>,
) -> Result<Run> {
    let want = if wanted.greedy {
        Want::Token
    } else {
        Want::Logits
    };
    let mut stream = tools.tokenizer.decode_stream();
    let mut run = Run {
        tokens: Vec::new(),
        text: String::new(),
        calls: Vec::new(),
        context_full: false,
    };
    let mut input = prompt.to_vec();
    while run.tokens.len() < wanted.max_tokens {
        let calls = session.feed(&input, want)?;
        let next = calls
            .last()
            .and_then(|c| c.next)
            .context("the last call returned no token")?;
        run.calls.extend(calls);
        let token = if wanted.greedy {
            next
        } else {
            sampler.sample(&session.logits()?)?
        };
        if tools.tokenizer.is_eos(token) {
            break;
        }
        run.tokens.push(token);
        let piece = stream.push(token)?;
        emit(&piece, wanted.json, &mut run.text);
        input = vec![token];
        if session.position() == session.limit() {
            run.context_full = true;
            break;
        }
    }
    emit(&stream.finish()?, wanted.json, &mut run.text);
    Ok(run)
}

fn emit(piece: &str, json: bool, text: &mut String) {
    text.push_str(piece);
    if !json {
        print(piece);
    }
}

fn phases(hardware: &Hardware, run: &Run) -> (Phase, Phase) {
    let of = |entry: &'static str| {
        Phase::new(run.calls.iter().filter(move |c| c.entry == entry), hardware)
    };
    (of("prefill"), of("decode"))
}

/// The table of a run for people; `level` says how its figures were found.
pub(super) fn text_report(
    level: &str,
    hardware: &Hardware,
    run: &Run,
    elapsed: Duration,
) -> String {
    let (prefill, decode) = phases(hardware, run);
    let mut out = format!(
        "\n{}",
        render(
            &[("prefill", &prefill), ("decode", &decode)],
            hardware,
            level
        )
    );
    let seconds = elapsed.as_secs_f64();
    let tokens = prefill.tokens + decode.tokens;
    out.push_str(&format!("simulated {tokens} tokens in {seconds:.1} s"));
    let cycles = prefill.cycles + decode.cycles;
    if cycles > 0 {
        out.push_str(&format!(
            ", {:.2} M cycles/s",
            cycles as f64 / seconds / 1e6
        ));
    }
    out
}

/// The same for programs.
pub(super) fn json_report(
    bundle: &Bundle,
    hardware: &Hardware,
    prompt: &[u32],
    run: &Run,
    elapsed: Duration,
) -> Result<String> {
    let (prefill, decode) = phases(hardware, run);
    let value = json!({
        "schema_version": JSON_SCHEMA,
        "text": run.text,
        "prompt_tokens": prompt,
        "tokens": run.tokens,
        "context_full": run.context_full,
        "config_hash": bundle.manifest.config_hash,
        "seconds": elapsed.as_secs_f64(),
        "prefill": prefill,
        "decode": decode,
    });
    Ok(serde_json::to_string_pretty(&value)?)
}
