//! The table at the end of a bench: figures with their level and target.

use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// How a figure was obtained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Level {
    /// Clocked or counted on this machine.
    #[serde(rename = "measured")]
    Measured,
    /// Counted by the Verilated RTL, cycle by cycle.
    #[serde(rename = "RTL-simulated")]
    RtlSimulated,
    /// Computed by the functional model, which equals the RTL bit by bit.
    #[serde(rename = "functional model")]
    Model,
    /// Computed by a model of time that was checked against the RTL.
    #[serde(rename = "modelled")]
    Modelled,
    /// Published by others; the row names the source.
    #[serde(rename = "quoted")]
    Quoted,
    /// Compared with results that were recorded earlier and checked in.
    #[serde(rename = "recorded")]
    Recorded,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Measured => "measured",
            Level::RtlSimulated => "RTL-simulated",
            Level::Model => "functional model",
            Level::Modelled => "modelled",
            Level::Quoted => "quoted",
            Level::Recorded => "recorded",
        }
    }
}

/// What a figure must reach.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Target::AtLeast(limit) => value >= limit,
            Target::AtMost(limit) => value <= limit,
        }
    }
}

/// One line of the table.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Unit of the value and of the target.
    pub unit: &'static str,
    /// How it was obtained.
    pub level: Level,
    /// What it must reach, if anything.
    pub target: Option<Target>,
    /// Whether it does.
    pub pass: Option<bool>,
}

/// The figures of a bench.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Figures {
    /// In the order of the table.
    pub figures: Vec<Figure>,
}

impl Figures {
    /// Adds a figure for information.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, level: Level) {
        self.push(name.into(), value, unit, level, None);
    }

    /// Adds a figure that must reach a target.
    pub fn judge(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        level: Level,
        target: Target,
    ) {
        self.push(name.into(), value, unit, level, Some(target));
    }

    fn push(
        &mut self,
        name: String,
        value: f64,
        unit: &'static str,
        level: Level,
        target: Option<Target>,
    ) {
        self.figures.push(Figure {
            name,
            value,
            unit,
            level,
            target,
            // NaN reaches no target.
            pass: target.map(|target| target.is_met(value)),
        });
    }

    /// Whether every target is reached.
    pub fn pass(&self) -> bool {
        self.figures.iter().all(|figure| figure.pass != Some(false))
    }

    /// The table.
    pub fn table(&self) -> String {
        let head = ["figure", "value", "level", "target", ""].map(str::to_owned);
        let rows = self.figures.iter().map(|figure| {
            let target = match figure.target {
                Some(Target::AtLeast(limit)) => format!(">= {limit} {}", figure.unit),
                Some(Target::AtMost(limit)) => format!("<= {limit} {}", figure.unit),
                None => String::new(),
            };
            let verdict = match figure.pass {
                Some(true) => "pass",
                Some(false) => "FAIL",
                None => "",
            };
            [
                figure.name.clone(),
                format!("{} {}", shown(figure.value), figure.unit),
                figure.level.name().to_owned(),
                target,
                verdict.to_owned(),
            ]
        });
        columns(std::iter::once(head).chain(rows))
    }

    /// Writes the figures as JSON, with further results under their own keys.
    ///
    /// # Errors
    /// Names the file if it cannot be written.
    pub fn write_json(&self, path: &Path, rest: &serde_json::Value) -> anyhow::Result<()> {
        use anyhow::Context;
        let all = serde_json::json!({
            "schema_version": 1,
            "pass": self.pass(),
            "figures": self.figures,
            "details": rest,
        });
        std::fs::write(path, format!("{all:#}\n"))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }
}

/// Four significant digits, whole numbers in full.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value}");
    }
    let digits = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Lines up rows of cells.
pub fn columns<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_fails_the_whole() {
        let mut figures = Figures::default();
        figures.judge("a", 96.0, "%", Level::Model, Target::AtLeast(96.0));
        figures.add("b", 1.0, "s", Level::Measured);
        assert!(figures.pass());
        figures.judge("c", 1.01, "%", Level::Model, Target::AtMost(1.0));
        assert!(!figures.pass());
        let table = figures.table();
        assert!(
            table.contains("1.010 %") && table.contains("FAIL"),
            "{table}"
        );
        let mut nan = Figures::default();
        nan.judge("d", f64::NAN, "%", Level::Model, Target::AtMost(1.0));
        assert!(!nan.pass());
    }
}
