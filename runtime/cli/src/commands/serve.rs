//! `lampyris serve`: the OpenAI-compatible HTTP server.

use super::engine::{EngineArgs, Prepared};
use crate::interrupt;
use crate::output::{WrongUsage, note, print};
use crate::size;
use anyhow::Result;
use lampyris_runtime::{Sampler, SamplerConfig};
use lampyris_serve::{Config, Server};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Memory of the server beside the engine for each request that may wait: its tokens and text.
const REQUEST_BYTES: u64 = 256 << 10;
/// Memory of the server beside the engine: connections, metrics, templates.
const SERVER_BYTES: u64 = 8 << 20;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, packed file, or `tiny`
    model: String,
    /// Address to listen on; others than this machine's own can be reached by anyone
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 takes any free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Requests that may wait while one is served; more are refused
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(0..=4096))]
    queue: u16,
    /// Name of the model, as clients see it [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// Largest body of a request
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size::parse)]
    body_limit: u64,
    /// Seconds that the running request may go on after Ctrl-C
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u32,
    /// Print JSON events, one a line: where it listens, and its end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    defaults: Defaults,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What requests do not set.
#[derive(clap::Args)]
#[command(next_help_heading = "Defaults of requests")]
struct Defaults {
    /// 0 always takes the most likely token
    #[arg(long, default_value_t = 1.0)]
    temperature: f32,
    /// Keep only the K most likely tokens; 0 keeps all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Keep the most likely tokens with this total probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Drop tokens less likely than this share of the most likely one
    #[arg(long, default_value_t = 0.0)]
    min_p: f32,
}

impl Defaults {
    fn config(&self) -> Result<SamplerConfig> {
        let config = SamplerConfig {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            seed: 0,
        };
        Sampler::new(config).map_err(|e| WrongUsage(e.to_string()))?;
        Ok(config)
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut config = Config::new(args.name.clone().unwrap_or_else(|| name(&args.model)));
    config.queue = args.queue.into();
    config.body_limit = usize::try_from(args.body_limit).unwrap_or(usize::MAX);
    config.grace = Duration::from_secs(args.grace.into());
    config.sampling = args.defaults.config()?;
    let reserve = SERVER_BYTES + 2 * args.body_limit + REQUEST_BYTES * u64::from(args.queue);
    let prepared = Prepared::open(&args.model, args.engine.options(reserve), &args.engine.more)?;
    let (engine, tools) = prepared.load_with_plan()?;
    config.props = serde_json::to_value(engine.plan())?;
    let (model, chat) = (config.model.clone(), tools.template.is_some());
    let address = SocketAddr::new(args.host, args.port);
    let server = Server::bind(address, config, tools, Box::new(engine))?;
    let handle = server.handle();
    let mut signals = 0;
    interrupt::listen(move |signal| {
        signals += 1;
        if signals > 2 {
            std::process::exit(128 + signal);
        }
        // The first lets the running request finish, the second does not.
        handle.shutdown();
    })?;
    let url = format!("http://{}", server.address());
    if args.json {
        event("listening", &json!({"url": url, "model": model}));
    } else {
        print(&format!("{url}\n"));
    }
    if !args.host.is_loopback() {
        note("warning: anyone who reaches this address can use the model; there is no password");
    }
    if !chat {
        note("note: the model has no chat template, so /v1/chat/completions refuses requests");
    }
    note(&format!(
        "serving `{model}`, one request at a time, {} may wait; Ctrl-C ends",
        args.queue
    ));
    server.run()?;
    if args.json {
        event("ended", &json!({}));
    }
    Ok(ExitCode::SUCCESS)
}

fn event(name: &str, fields: &serde_json::Value) {
    let mut value = fields.clone();
    value["schema_version"] = super::JSON_SCHEMA.into();
    value["event"] = name.into();
    print(&format!("{value}\n"));
}

/// A model's name from its path.
fn name(model: &str) -> String {
    let path = Path::new(model.trim_end_matches('/'));
    let known = ["gguf", "lampack"];
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let name = if known.contains(&extension) {
        path.file_stem()
    } else {
        path.file_name()
    };
    name.and_then(|n| n.to_str()).unwrap_or(model).to_owned()
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_models_name_is_its_files() {
        assert_eq!(name("tiny"), "tiny");
        assert_eq!(name("models/SmolLM2-135M.Q4_1.gguf"), "SmolLM2-135M.Q4_1");
        assert_eq!(name("models/SmolLM2-1.7B/"), "SmolLM2-1.7B");
        assert_eq!(name(".."), "..");
    }
}
