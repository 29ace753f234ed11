//! The command under test.

use std::process::Command;

/// The command, started by the emulator that runs this test if one does: the system itself does not
/// know programs for another processor. `cargo xtask cross` sets the variable.
pub(crate) fn lampyris() -> Command {
    let path = env!("CARGO_BIN_EXE_lampyris");
    match std::env::var_os("LAMPYRIS_EMULATOR") {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.arg(path);
            command
        }
        None => Command::new(path),
    }
}
