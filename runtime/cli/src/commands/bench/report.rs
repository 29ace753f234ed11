//! Measurements as Markdown, CSV and JSON.

use crate::commands::JSON_SCHEMA;
use crate::output::bytes;
use anyhow::Result;
use lampyris_runtime::engine::Engine;
use serde::Serialize;
use serde_json::json;
use std::fmt::Write;

/// What was measured on: the same for all tests of one configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Subject {
    pub(super) model: String,
    pub(super) model_bytes: u64,
    pub(super) backend: &'static str,
    pub(super) isa: String,
    pub(super) threads: usize,
    pub(super) kv: String,
    pub(super) io: String,
    /// The budget, if there is one.
    pub(super) memory_bytes: Option<u64>,
    /// Weights that are read for each sweep.
    pub(super) streamed_bytes: u64,
}

impl Subject {
    pub(super) fn new(engine: &Engine) -> Self {
        let plan = engine.plan();
        Self {
            model: plan.model.clone(),
            model_bytes: plan.model_bytes,
            backend: "CPU",
            isa: plan.isa.to_owned(),
            threads: plan.threads,
            kv: plan.kv.to_owned(),
            io: plan.io.clone(),
            memory_bytes: plan.budget,
            streamed_bytes: plan.streamed_bytes,
        }
    }

    /// The budget for people.
    pub(super) fn memory(&self) -> String {
        self.memory_bytes.map_or("none".to_owned(), bytes)
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Sample {
    pub(super) tokens: u32,
    pub(super) seconds: f64,
    pub(super) read_bytes: u64,
    pub(super) wait_seconds: f64,
    pub(super) peak_rss_bytes: u64,
}

impl Sample {
    fn rate(&self) -> f64 {
        f64::from(self.tokens) / self.seconds.max(1e-9)
    }
}

/// A test with its measurements.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) subject: Subject,
    pub(super) test: String,
    pub(super) samples: Vec<Sample>,
}

/// Mean and sample standard deviation.
fn spread(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n.max(1.0);
    let squares: f64 = values.map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}

impl Row {
    /// Tokens per second: mean and standard deviation.
    pub(super) fn rate(&self) -> (f64, f64) {
        spread(self.samples.iter().map(Sample::rate))
    }

    /// Means over the measurements: bytes read per token, share of the time spent waiting.
    fn storage(&self) -> (f64, f64) {
        let per_token = |s: &Sample| s.read_bytes as f64 / f64::from(s.tokens.max(1));
        let waiting = |s: &Sample| s.wait_seconds / s.seconds.max(1e-9);
        (
            spread(self.samples.iter().map(per_token)).0,
            spread(self.samples.iter().map(waiting)).0,
        )
    }

    fn peak(&self) -> u64 {
        let peaks = self.samples.iter().map(|s| s.peak_rss_bytes);
        peaks.max().unwrap_or(0)
    }
}

/// A table as llama-bench prints it, with columns for budget, reads and peak memory.
pub(super) fn markdown(rows: &[Row]) -> String {
    let header = [
        "model",
        "size",
        "backend",
        "isa",
        "threads",
        "kv",
        "memory",
        "read/token",
        "waiting",
        "peak memory",
        "test",
        "t/s",
    ];
    let mut cells = vec![header.map(str::to_owned).to_vec()];
    for row in rows {
        let (mean, deviation) = row.rate();
        let (read, waiting) = row.storage();
        let subject = &row.subject;
        cells.push(vec![
            subject.model.replace('|', "\\|"),
            bytes(subject.model_bytes),
            subject.backend.to_owned(),
            subject.isa.clone(),
            subject.threads.to_string(),
            subject.kv.clone(),
            subject.memory(),
            bytes(read as u64),
            format!("{:.0} %", waiting * 100.0),
            bytes(row.peak()),
            row.test.clone(),
            format!("{mean:.2} ± {deviation:.2}"),
        ]);
    }
    pipes(&cells)
}

/// A Markdown table with aligned columns: text to the left, numbers to the right.
fn pipes(rows: &[Vec<String>]) -> String {
    const LEFT: [usize; 4] = [0, 2, 3, 10];
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let mut out = String::new();
    for (i, row) in rows.iter().enumerate() {
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c] - cell.chars().count());
            out.push_str("| ");
            if LEFT.contains(&c) {
                out.extend([cell.as_str(), &pad, " "]);
            } else {
                out.extend([pad.as_str(), cell, " "]);
            }
        }
        out.push_str("|\n");
        if i == 0 {
            for (c, &w) in widths.iter().enumerate() {
                let dashes = "-".repeat(w);
                let rule = if LEFT.contains(&c) {
                    format!("| {dashes} ")
                } else {
                    format!("| {dashes}:")
                };
                out.push_str(&rule);
            }
            out.push_str("|\n");
        }
    }
    out
}

/// One line for each test; sizes in bytes, times in seconds.
pub(super) fn csv(rows: &[Row]) -> String {
    let mut out = String::from(
        "model,model_bytes,backend,isa,threads,kv,io,memory_bytes,streamed_bytes,test,repetitions,tokens_per_second,tokens_per_second_stddev,read_bytes_per_token,waiting_share,peak_rss_bytes\n",
    );
    for row in rows {
        let (mean, deviation) = row.rate();
        let (read, waiting) = row.storage();
        let s = &row.subject;
        let memory = s.memory_bytes.map_or(String::new(), |b| b.to_string());
        let name = quoted(&s.model);
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{name},{},{},{},{},{},{},{memory},{},{},{},{mean:.4},{deviation:.4},{read:.0},{waiting:.4},{}",
            s.model_bytes,
            s.backend,
            s.isa,
            s.threads,
            s.kv,
            quoted(&s.io),
            s.streamed_bytes,
            row.test,
            row.samples.len(),
            row.peak(),
        );
    }
    out
}

/// A CSV field that may hold anything.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Everything, with each measurement.
pub(super) fn json(rows: &[Row]) -> Result<String> {
    let mut list = Vec::new();
    for row in rows {
        let (mean, deviation) = row.rate();
        let mut value = serde_json::to_value(&row.subject)?;
        value["test"] = row.test.clone().into();
        value["tokens_per_second"] = json!({"mean": mean, "stddev": deviation});
        value["samples"] = serde_json::to_value(&row.samples)?;
        list.push(value);
    }
    let value = json!({"schema_version": JSON_SCHEMA, "rows": list});
    Ok(format!("{}\n", serde_json::to_string_pretty(&value)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two made-up rows.
    pub(in super::super) fn rows() -> Vec<Row> {
        let subject = Subject {
            model: "a, \"model\"".into(),
            model_bytes: 93 << 20,
            backend: "CPU",
            isa: "avx2".into(),
            threads: 2,
            kv: "f16".into(),
            io: "io_uring".into(),
            memory_bytes: Some(64 << 20),
            streamed_bytes: 40 << 20,
        };
        let sample = |tokens: u32, seconds| Sample {
            tokens,
            seconds,
            read_bytes: u64::from(tokens) << 20,
            wait_seconds: seconds / 4.0,
            peak_rss_bytes: 60 << 20,
        };
        let row = |test: &str, samples: Vec<Sample>| Row {
            subject: subject.clone(),
            test: test.into(),
            samples,
        };
        vec![
            row("pp8", vec![sample(8, 1.0), sample(8, 2.0)]),
            row("tg4", vec![sample(4, 2.0)]),
        ]
    }

    #[test]
    fn the_spread_is_that_of_a_sample() {
        let (mean, deviation) = spread([2.0, 4.0, 6.0].into_iter());
        assert_eq!((mean, deviation), (4.0, 2.0));
        assert_eq!(spread([5.0].into_iter()), (5.0, 0.0));
    }

    #[test]
    fn tables_hold_mean_and_spread() {
        let text = markdown(&rows());
        assert!(text.contains("| 6.00 ± 2.83 |"), "{text}");
        assert!(text.contains("| 2.00 ± 0.00 |"), "{text}");
        let widths: Vec<_> = text.lines().map(|l| l.chars().count()).collect();
        assert!(widths.iter().all(|w| *w == widths[0]), "{text}");
    }

    #[test]
    fn csv_quotes_what_it_must() {
        let text = csv(&rows());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let columns = lines[0].split(',').count();
        let rest = lines[1]
            .strip_prefix("\"a, \"\"model\"\"\",")
            .expect("quoted");
        assert_eq!(rest.split(',').count() + 1, columns);
        assert!(
            rest.contains(",pp8,2,6.0000,2.8284,1048576,0.2500,"),
            "{rest}"
        );
    }
}
