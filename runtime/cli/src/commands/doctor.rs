//! `lampyris doctor`.

use super::JSON_SCHEMA;
use crate::output::{note, print, table};
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;
use verilator_sys::toolchain::{Cache, survey};

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let cache = Cache::locate()?;
    let findings = survey(&cache);
    let missing = findings.iter().any(|f| !f.ok && !f.optional);
    let code = if missing {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
    if args.json {
        let value =
            json!({"schema_version": JSON_SCHEMA, "cache": cache.root(), "findings": findings});
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
        return Ok(code);
    }
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|f| {
            let state = match (f.ok, f.optional) {
                (true, _) => "ok",
                (false, true) => "missing (optional)",
                (false, false) => "MISSING",
            };
            let found = f.found.clone().unwrap_or_else(|| "-".into());
            vec![
                f.name.clone(),
                state.into(),
                found,
                format!("wanted {}", f.wanted),
            ]
        })
        .collect();
    print(&table(&rows));
    let mut commands: Vec<&str> = findings
        .iter()
        .filter(|f| !f.ok)
        .map(|f| f.mend.as_str())
        .collect();
    commands.dedup();
    for command in commands {
        note(&format!("hint: {command}"));
    }
    Ok(code)
}
