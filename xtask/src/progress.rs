//! One line per step on stderr: a spinner or bar on a terminal, plain text elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// A step that is running.
pub(crate) struct Step {
    name: String,
    bar: ProgressBar,
    start: Instant,
}

impl Step {
    /// A step of unknown length.
    pub(crate) fn start(name: impl Into<String>, doing: &str) -> Step {
        let step = Step::new(name.into(), ProgressBar::new_spinner(), doing);
        step.bar.set_style(style("{spinner} {msg} {elapsed}"));
        step
    }

    /// A step over a known count of bytes.
    pub(crate) fn bytes(name: impl Into<String>, doing: &str, total: u64) -> Step {
        let step = Step::new(name.into(), ProgressBar::new(total), doing);
        step.bar
            .set_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}"));
        step
    }

    fn new(name: String, bar: ProgressBar, doing: &str) -> Step {
        if std::io::stderr().is_terminal() {
            bar.set_message(format!("{name}: {doing}"));
            bar.enable_steady_tick(Duration::from_millis(120));
        } else {
            // The bar hides itself; a log still shows what takes the time.
            eprintln!("{name}: {doing} ...");
        }
        Step {
            name,
            bar,
            start: Instant::now(),
        }
    }

    /// Moves the bar.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Ends the step.
    pub(crate) fn done(self, what: &str) {
        self.bar.finish_and_clear();
        let seconds = self.start.elapsed().as_secs_f64();
        eprintln!("{}: {what} ({seconds:.1} s)", self.name);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // A failed step leaves no bar on the line where its error goes.
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; the default style stands in for a mistyped one.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Says that a step had been done before.
pub(crate) fn already(name: &str, what: &str) {
    eprintln!("{name}: {what}");
}
