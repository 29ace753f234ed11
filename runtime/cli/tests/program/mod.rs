//! The command under test.

use std::process::Command;

/// The command, started by the emulator that runs this test if one does: the system itself does not
/// know programs for another processor.
pub(crate) fn lampyris() -> Command {
    let path = env!("CARGO_BIN_EXE_lampyris");
    match std::env::var_os(EMULATOR) {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.arg(path);
            command
        }
        None => Command::new(path),
    }
}

/// Set by `cargo xtask cross`.
const EMULATOR: &str = "LAMPYRIS_EMULATOR";

/// Whether an emulator runs this test, whose memory counts as the command's.
#[allow(dead_code, reason = "not every suite asks")]
pub(crate) fn is_emulated() -> bool {
    std::env::var_os(EMULATOR).is_some()
}
