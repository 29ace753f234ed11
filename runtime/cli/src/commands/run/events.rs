//! `--json`: one JSON object a line, each with `schema_version` and `event`.
//!
//! | event | when | fields |
//! | --- | --- | --- |
//! | `plan` | before loading (not with `--reference`) | `plan`: memory by use, streamed bytes, forecast |
//! | `token` | for each token | `id`, and `text` that became certain with it (may be empty) |
//! | `done` | at the end, also after Ctrl-C | `finish_reason` (`stop`, `length`, `cancelled`), `text`, `prompt_tokens`, `tokens` (ids), `reused_tokens`, rates, `storage` |

use super::generation::Ran;
use crate::output::print;
use lampyris_runtime::engine::Plan;
use lampyris_serve::Finish;
use serde_json::{Value, json};

/// Version of the events' layout; the document that came before them was 1.
const SCHEMA: u32 = 2;

fn emit(event: &str, mut value: Value) {
    value["schema_version"] = SCHEMA.into();
    value["event"] = event.into();
    print(&format!("{value}\n"));
}

pub(super) fn plan(plan: &Plan) {
    emit("plan", json!({"plan": plan}));
}

pub(super) fn token(id: u32, text: &str) {
    emit("token", json!({"id": id, "text": text}));
}

pub(super) fn done(ran: &Ran) {
    let finish = match ran.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Cancelled => "cancelled",
    };
    let storage = json!({
        "read_bytes": ran.counters.read_bytes,
        "reads": ran.counters.reads,
        "wait_seconds": ran.counters.wait_seconds,
        "compute_seconds": ran.counters.compute_seconds,
    });
    emit(
        "done",
        json!({
            "finish_reason": finish,
            "text": ran.text,
            "prompt_tokens": ran.prompt,
            "reused_tokens": ran.reused,
            "tokens": ran.tokens,
            "prefill_tokens_per_second": ran.prefill_rate(),
            "decode_tokens_per_second": ran.decode_rate(),
            "storage": storage,
            "peak_rss_bytes": ran.counters.peak_rss_bytes,
        }),
    );
}
