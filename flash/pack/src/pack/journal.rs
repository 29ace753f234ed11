//! What a run that was ended has finished: JSON, a line for the plan and one for each section.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// A journal larger than this is not ours.
const BYTES_MAX: u64 = 64 << 20;

/// A finished section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Done {
    pub(super) section: String,
    pub(super) sha256: String,
    /// Error of the down matrix, in bundled FFNs.
    pub(super) down_error: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    identity: String,
}

/// The journal beside a part file. It is locked while it is open.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// Sections that the last run finished, in order; those of another plan are forgotten.
    pub(super) done: Vec<Done>,
}

impl Journal {
    /// Opens or creates the journal of a plan.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process has it; the system's otherwise.
    pub(super) fn open(path: &Path, identity: &str, output: &Path) -> Result<Self, JournalError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy(output.into()).into()),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut text = Vec::new();
        (&mut file).take(BYTES_MAX).read_to_end(&mut text)?;
        let mut journal = Self {
            file,
            path: path.into(),
            done: parse(&text, identity),
        };
        journal.rewrite(identity)?;
        Ok(journal)
    }

    /// Forgets all but the first `n` sections.
    pub(super) fn keep(&mut self, n: usize, identity: &str) -> io::Result<()> {
        self.done.truncate(n);
        self.rewrite(identity)
    }

    /// Also drops a last line that was not written to its end.
    fn rewrite(&mut self, identity: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        let mut text = line(&First {
            identity: identity.into(),
        });
        for done in &self.done {
            text.push_str(&line(done));
        }
        self.file.write_all(text.as_bytes())
    }

    /// Notes a finished section.
    pub(super) fn push(&mut self, done: Done) -> io::Result<()> {
        self.file.write_all(line(&done).as_bytes())?;
        self.done.push(done);
        Ok(())
    }

    /// Deletes the journal, when the output is in its place.
    pub(super) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("text and numbers") + "\n"
}

/// The sections of a journal, if it belongs to the plan, up to the first line that is no section.
fn parse(text: &[u8], identity: &str) -> Vec<Done> {
    let mut lines = text
        .split_inclusive(|&b| b == b'\n')
        .filter(|l| l.ends_with(b"\n"));
    let first = lines
        .next()
        .and_then(|l| serde_json::from_slice::<First>(l).ok());
    if first.is_none_or(|first| first.identity != identity) {
        return Vec::new();
    }
    lines
        .map_while(|l| serde_json::from_slice(l).ok())
        .collect()
}

/// The journal's failures: ours, or the system's, which the caller gives a place.
pub(super) enum JournalError {
    Ours(Error),
    System(io::Error),
}

impl From<Error> for JournalError {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
