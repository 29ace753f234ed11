//! A command that is still running: what it prints, and signals to it.

use super::program;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// A running command; ends with the test.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// Starts the command with its temporary files in `folder/tmp`.
pub(crate) fn start(folder: &Path, args: &[&str]) -> Running {
    let temporary = folder.join("tmp");
    std::fs::create_dir_all(&temporary).expect("a folder");
    let mut child = program::lampyris()
        .args(args)
        .current_dir(folder)
        .env("TMPDIR", temporary)
        .env("LAMPYRIS_CACHE", folder.join("cache"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe"));
    Running { child, lines }
}

impl Running {
    /// The next event of `--json`.
    pub(crate) fn event(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status();
        assert!(status.expect("`kill` starts").success());
    }

    /// Waits for the end; what else it printed, as events.
    pub(crate) fn end(&mut self) -> (ExitStatus, Vec<Value>) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("text");
        let events = rest
            .lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l:?}")))
            .collect();
        (self.child.wait().expect("it ends"), events)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asserts that nothing is left in `folder/tmp`.
pub(crate) fn nothing_left(folder: &Path) {
    let left = std::fs::read_dir(folder.join("tmp")).expect("lists");
    let left: Vec<_> = left.map(|e| e.expect("lists").file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}
