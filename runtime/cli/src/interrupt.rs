//! Ctrl-C and SIGTERM: a run stops at its next token, prints what it has, and leaves nothing
//! behind. While nothing runs, and at a second signal, the process ends at once.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Calls `on_signal` with each signal that asks the process to end.
pub(crate) fn listen(mut on_signal: impl FnMut(i32) + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("signals cannot be received")?;
    std::thread::Builder::new()
        .name("lampyris-signals".into())
        .spawn(move || signals.forever().for_each(&mut on_signal))
        .context("no thread for signals")?;
    Ok(())
}

/// The exit code of a process that a signal ended, as shells report it.
pub(crate) fn code(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
}

/// Whether the user wants the run to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// 0 until there is one.
    signal: AtomicI32,
    /// True while there is something to stop in order.
    busy: AtomicBool,
}

impl Interrupt {
    /// Takes signals from now on.
    pub(crate) fn install() -> Result<Self> {
        let interrupt = Self::default();
        let state = Arc::clone(&interrupt.0);
        listen(move |signal| {
            let first = state.signal.swap(signal, Ordering::SeqCst) == 0;
            if !(first && state.busy.load(Ordering::SeqCst)) {
                std::process::exit(128 + signal);
            }
        })?;
        Ok(interrupt)
    }

    /// True once a signal has come.
    pub(crate) fn raised(&self) -> bool {
        self.signal().is_some()
    }

    /// The signal that came.
    pub(crate) fn signal(&self) -> Option<i32> {
        Some(self.0.signal.load(Ordering::SeqCst)).filter(|&s| s != 0)
    }

    /// Runs `work`, which looks at [`raised`](Self::raised).
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.busy.store(true, Ordering::SeqCst);
        let result = work();
        self.0.busy.store(false, Ordering::SeqCst);
        result
    }

    /// Forgets a signal that has done its work.
    pub(crate) fn forget(&self) {
        self.0.signal.store(0, Ordering::SeqCst);
    }
}
