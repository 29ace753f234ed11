//! Thresholds on storage: JSON.

use super::Rule;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Version of the layout of the file.
pub const SCHEMA_VERSION: u32 = 1;
/// Longer files are refused.
const MAX_BYTES: u64 = 1 << 26;

/// Why thresholds could not be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum ThresholdError {
    /// The file system refused.
    #[error("cannot {action} `{}`: {source}\nhint: check that the path exists and has room", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The file is not one of thresholds.
    #[error(
        "`{file}` does not hold valid thresholds: {problem}\nhint: make it again with `lampyris calibrate`"
    )]
    Malformed {
        /// File.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The file belongs to another model.
    #[error(
        "the thresholds in `{file}` were calibrated for another model, `{name}`\nhint: calibrate this one with `lampyris calibrate`"
    )]
    WrongModel {
        /// File.
        file: String,
        /// Name of the model that it belongs to.
        name: String,
    },
    /// There is no such entry.
    #[error(
        "`{file}` has no thresholds for {wanted}; it has {found}\nhint: choose one of these, or calibrate again"
    )]
    NotThere {
        /// File.
        file: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
}

/// Quality on text that thresholds were not calibrated on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Tokens scored.
    pub tokens: u64,
    /// Perplexity.
    pub perplexity: f64,
    /// Share of neurons that were left out.
    pub sparsity: f64,
}

/// Thresholds of all layers for one rule and one share of neurons to leave out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// What is compared.
    pub rule: Rule,
    /// Share of neurons to leave out.
    pub target: f64,
    /// One for each layer.
    pub values: Vec<f32>,
    /// What they do to the model.
    pub measured: Measured,
}

/// All that was calibrated for a model at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdFile {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// [`identity`](crate::predictor::identity()) of the model.
    pub model: String,
    /// Name of the model, for people.
    pub model_name: String,
    /// The untouched model on the same text.
    pub dense: Measured,
    /// One for each rule and share.
    pub entries: Vec<Thresholds>,
}

impl ThresholdFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ThresholdError::Io`] and [`ThresholdError::Malformed`].
    pub fn read(path: &Path) -> Result<Self, ThresholdError> {
        let io = |source| ThresholdError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut text = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(io)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads and checks JSON; `name` is for messages.
    ///
    /// # Errors
    /// [`ThresholdError::Malformed`].
    pub fn parse(text: &[u8], name: &str) -> Result<Self, ThresholdError> {
        let bad = |problem: String| ThresholdError::Malformed {
            file: name.into(),
            problem,
        };
        if text.len() as u64 > MAX_BYTES {
            return Err(bad(format!("it is longer than {MAX_BYTES} bytes")));
        }
        let file: Self = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
        if file.schema_version != SCHEMA_VERSION {
            let found = file.schema_version;
            return Err(bad(format!("schema version {found}, not {SCHEMA_VERSION}")));
        }
        for entry in &file.entries {
            let rule = entry.rule.name();
            if !(0.0..=1.0).contains(&entry.target) {
                return Err(bad(format!("a share of {} to leave out", entry.target)));
            }
            if entry.values.iter().any(|v| !v.is_finite() || *v < 0.0) {
                return Err(bad(format!(
                    "a threshold for `{rule}` that is no magnitude"
                )));
            }
        }
        Ok(file)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`ThresholdError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), ThresholdError> {
        let io = |source| ThresholdError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        };
        let text = serde_json::to_string_pretty(self).expect("the file is plain data");
        crate::atomic::write(path, format!("{text}\n").as_bytes()).map_err(io)
    }

    /// The entry for a rule and a share, for the model with this identity and number of layers.
    ///
    /// # Errors
    /// [`ThresholdError::WrongModel`] and [`ThresholdError::NotThere`].
    pub fn find(
        &self,
        rule: Rule,
        target: f64,
        model: &str,
        layers: usize,
        file: &str,
    ) -> Result<&Thresholds, ThresholdError> {
        if self.model != model {
            return Err(ThresholdError::WrongModel {
                file: file.into(),
                name: self.model_name.clone(),
            });
        }
        let name = |rule: Rule, target: f64| format!("{} {:.0} %", rule.name(), target * 100.0);
        let is = |e: &&Thresholds| e.rule == rule && (e.target - target).abs() < 5e-4;
        let found = self.entries.iter().find(is);
        let found = found.filter(|e| e.values.len() == layers);
        found.ok_or_else(|| ThresholdError::NotThere {
            file: file.into(),
            wanted: name(rule, target),
            found: self
                .entries
                .iter()
                .map(|e| name(e.rule, e.target))
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

impl Thresholds {
    /// Perplexity relative to the untouched model's.
    pub fn loss(&self, dense: &Measured) -> f64 {
        self.measured.perplexity / dense.perplexity - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> ThresholdFile {
        let measured = Measured {
            tokens: 10,
            perplexity: 20.0,
            sparsity: 0.0,
        };
        let entry = Thresholds {
            rule: Rule::Gate,
            target: 0.3,
            values: vec![0.1, 0.2],
            measured: Measured {
                perplexity: 21.0,
                sparsity: 0.31,
                ..measured
            },
        };
        ThresholdFile {
            schema_version: SCHEMA_VERSION,
            model: "abc".into(),
            model_name: "a model".into(),
            dense: measured,
            entries: vec![entry],
        }
    }

    #[test]
    fn files_come_back_and_entries_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thresholds.json");
        file().write(&path).unwrap();
        let back = ThresholdFile::read(&path).unwrap();
        assert_eq!(back, file());
        let entry = back.find(Rule::Gate, 0.3, "abc", 2, "f").unwrap();
        assert!((entry.loss(&back.dense) - 0.05).abs() < 1e-12);
        for (rule, target, model, layers, message) in [
            (Rule::Gate, 0.3, "abd", 2, "for another model, `a model`"),
            (
                Rule::Product,
                0.3,
                "abc",
                2,
                "no thresholds for product 30 %; it has gate 30 %",
            ),
            (Rule::Gate, 0.5, "abc", 2, "no thresholds for gate 50 %"),
            (Rule::Gate, 0.3, "abc", 3, "no thresholds for gate 30 %"),
        ] {
            let error = back
                .find(rule, target, model, layers, "f")
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(message) && error.contains("hint: "),
                "{error}"
            );
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let text = serde_json::to_string(&file()).unwrap();
        let changes = [
            (
                "\"schema_version\":1",
                "\"schema_version\":2",
                "schema version 2",
            ),
            ("0.2]", "-0.2]", "no magnitude"),
            ("\"target\":0.3", "\"target\":3", "a share of 3"),
            ("\"gate\"", "\"gait\"", "unknown variant"),
            ("\"entries\"", "\"entires\"", "unknown field"),
        ];
        for (from, to, message) in changes {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            let error = ThresholdFile::parse(changed.as_bytes(), "f")
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
        }
        for cut in 0..text.len() {
            ThresholdFile::parse(&text.as_bytes()[..cut], "f").unwrap_err();
        }
    }
}
