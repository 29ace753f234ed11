//! Text to calibrate on and to judge with, as windows of tokens.

use anyhow::{Context, Result, bail};
use lampyris_import::saved::TextTools;
use std::path::{Path, PathBuf};

/// Share of a text that is kept for judging, where no other text is given: its end.
const HELD_OUT: usize = 10;

/// What several commands take.
#[derive(clap::Args)]
pub(crate) struct Calibration {
    /// Text to calibrate on: what the model will be used for, or a novel
    #[arg(long, value_name = "TEXT")]
    calib: PathBuf,
    /// Text to judge with [default: the last tenth of the calibration text, which is then left out]
    #[arg(long, value_name = "TEXT")]
    eval: Option<PathBuf>,
    /// Tokens to calibrate on
    #[arg(long, default_value_t = 8192)]
    pub(crate) tokens: usize,
    /// Tokens to judge with
    #[arg(long, default_value_t = 2048)]
    eval_tokens: usize,
    /// Tokens of a window, each evaluated as a text of its own
    #[arg(long, default_value_t = 512)]
    window: usize,
}

/// Windows of both texts.
pub(crate) struct Windows {
    pub(crate) calibration: Vec<Vec<u32>>,
    pub(crate) judging: Vec<Vec<u32>>,
}

impl Windows {
    /// Tokens to calibrate on.
    pub(crate) fn calibration_tokens(&self) -> usize {
        self.calibration.iter().map(Vec::len).sum()
    }

    /// Tokens to judge with.
    pub(crate) fn judging_tokens(&self) -> usize {
        self.judging.iter().map(Vec::len).sum()
    }
}

impl Calibration {
    /// Reads and tokenizes the texts.
    pub(crate) fn windows(&self, tools: &TextTools, context: usize) -> Result<Windows> {
        if self.window < 2 || self.window > context {
            bail!(
                "windows of {} tokens\n\nhint: choose 2 to the model's context of {context}",
                self.window
            );
        }
        let text = read(&self.calib)?;
        let (calib, eval) = match &self.eval {
            Some(path) => (text.as_str(), read(path)?),
            None => {
                let cut = boundary(&text, text.len() - text.len() / HELD_OUT);
                (&text[..cut], text[cut..].to_owned())
            }
        };
        let name = self.calib.display();
        let calibration = cut_windows(calib, tools, self.tokens, self.window)?;
        let judging = cut_windows(&eval, tools, self.eval_tokens, self.window)?;
        if calibration.is_empty() || (judging.is_empty() && self.eval_tokens > 0) {
            bail!("`{name}` is too short\n\nhint: give a text of at least some pages");
        }
        Ok(Windows {
            calibration,
            judging,
        })
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    String::from_utf8(bytes).map_err(|_| {
        let path = path.display();
        anyhow::anyhow!("`{path}` is not UTF-8 text\n\nhint: give a plain text file")
    })
}

/// The first line's start at or after `at`, else the text's end.
fn boundary(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let found = bytes[at.min(bytes.len())..]
        .iter()
        .position(|&b| b == b'\n');
    found.map_or(bytes.len(), |i| at + i + 1)
}

/// Windows of `window` tokens, `tokens` in all, from places spread evenly over the text.
fn cut_windows(
    text: &str,
    tools: &TextTools,
    tokens: usize,
    window: usize,
) -> Result<Vec<Vec<u32>>> {
    let count = tokens.div_ceil(window);
    let mut windows = Vec::with_capacity(count);
    for i in 0..count {
        let start = boundary(text, text.len() * i / count);
        let end = text.len() * (i + 1) / count;
        // Few texts have more than sixteen bytes a token.
        let end = end.max(start).min(start.saturating_add(window * 16));
        let end = boundary(text, end).max(start);
        let mut ids = tools.tokenizer.encode(&text[start..end], true)?;
        ids.truncate(window.min(tokens - i * window));
        if ids.len() > 1 {
            windows.push(ids);
        }
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_starts_of_lines() {
        let text = "one\ntwo\nthree";
        assert_eq!(
            (boundary(text, 0), boundary(text, 4), boundary(text, 8)),
            (4, 8, 13)
        );
        assert_eq!((boundary("", 0), boundary(text, 99)), (0, 13));
    }

    #[test]
    fn windows_are_spread_over_the_text() {
        let model = lampyris_import::open("tiny").unwrap();
        let tools = TextTools::from_model_file(model.file()).unwrap();
        let text = "Once upon a time there was a little girl.\n".repeat(400);
        let windows = cut_windows(&text, &tools, 100, 32).unwrap();
        let lengths: Vec<usize> = windows.iter().map(Vec::len).collect();
        assert_eq!(lengths, [32, 32, 32, 4]);
        assert!(cut_windows("", &tools, 100, 32).unwrap().is_empty());
    }
}
