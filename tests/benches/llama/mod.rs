//! llama.cpp beside us: runs `llama.py` where llama-cpp-python is installed, else uses what was
//! recorded.

use anyhow::{Context, Result, bail};
use lampyris_runtime::WindowScore;
use lampyris_tests::smollm2::{LongText, Recorded};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use verilator_sys::toolchain::Cache;

/// What llama.cpp is to compute.
#[derive(Serialize)]
pub(crate) struct Request<'a> {
    /// The model file.
    pub(crate) model: &'a Path,
    /// Sequences to score.
    pub(crate) windows: Vec<Vec<u32>>,
    /// Sequences to continue.
    pub(crate) prompts: Vec<Vec<u32>>,
    /// Most tokens of a continuation.
    pub(crate) generate: usize,
}

#[derive(Deserialize)]
struct Reply {
    engine: String,
    windows: Vec<Window>,
    continuations: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Window {
    nll: Vec<f64>,
    top1: Vec<u32>,
}

/// llama.cpp at work, unless it is not installed.
pub(crate) struct Running {
    process: Option<(Child, TempDir)>,
}

/// What llama.cpp computed.
pub(crate) struct Judge {
    /// Program and version.
    pub(crate) engine: String,
    /// Scores of the request's windows; `None` if it was not run now.
    pub(crate) live: Option<Vec<WindowScore>>,
    /// Of the request's prompts, or the recorded ones.
    pub(crate) continuations: Vec<Vec<u32>>,
}

impl Judge {
    /// Where the results come from.
    pub(crate) fn source(&self) -> &'static str {
        match self.live {
            Some(_) => "run now on the same file and tokens",
            None => "recorded earlier (tests/data/smollm2_reference.json)",
        }
    }
}

/// Python with llama-cpp-python.
fn python(given: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(python) = given {
        return Ok(Some(python.to_path_buf()));
    }
    let cache = Cache::locate()?;
    let installed = cache.python_package("llama-cpp-python").is_some();
    Ok(installed.then(|| cache.python()))
}

/// Starts llama.cpp in the background.
///
/// # Errors
/// It is installed but cannot be started.
pub(crate) fn start(given: Option<&Path>, request: &Request<'_>) -> Result<Running> {
    let Some(python) = python(given)? else {
        eprintln!(
            "note: llama-cpp-python is not installed; comparing with recorded results, and the \
             second text with the f32 reference only\nhint: run `cargo xtask setup --bench`"
        );
        return Ok(Running { process: None });
    };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = folder.path().join("request.json");
    std::fs::write(&file, serde_json::to_string(request)?).context("cannot write the request")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/llama.py");
    let child = Command::new(&python)
        .arg(script)
        .arg(&file)
        .arg(folder.path().join("result.json"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run `{}`", python.display()))?;
    Ok(Running {
        process: Some((child, folder)),
    })
}

impl Running {
    /// Waits for the results.
    ///
    /// # Errors
    /// The script failed.
    pub(crate) fn finish(self, recorded: &Recorded) -> Result<Judge> {
        let Some((mut child, folder)) = self.process else {
            return Ok(Judge {
                engine: recorded.engine.clone(),
                live: None,
                continuations: recorded
                    .prompts
                    .iter()
                    .map(|p| p.generated.clone())
                    .collect(),
            });
        };
        let status = child.wait().context("cannot wait for llama.py")?;
        if !status.success() {
            bail!(
                "llama.cpp failed ({status})\n\nhint: its message is above; `cargo xtask setup \
                 --bench` installs the pinned version"
            );
        }
        let text = std::fs::read_to_string(folder.path().join("result.json"))
            .context("llama.py wrote no result")?;
        let reply: Reply =
            serde_json::from_str(&text).context("llama.py's result does not read")?;
        let score = |window: Window| WindowScore {
            nll: window.nll,
            top1: window.top1,
        };
        Ok(Judge {
            engine: reply.engine,
            live: Some(reply.windows.into_iter().map(score).collect()),
            continuations: reply.continuations,
        })
    }
}

/// The recorded scores, cut to the given windows of the same text.
pub(crate) fn recorded_scores(text: &LongText, windows: &[Vec<u32>]) -> Vec<WindowScore> {
    let cut = |(i, window): (usize, &Vec<u32>)| {
        let (nll, top1) = (i * (text.window - 1), i * text.window);
        WindowScore {
            nll: text.nll[nll..nll + window.len() - 1].to_vec(),
            top1: text.top1[top1..top1 + window.len()].to_vec(),
        }
    };
    windows.iter().enumerate().map(cut).collect()
}
