//! Open files: how they are read, what they need, and whether they are still what they were.

use crate::engine::Note;
use crate::error::{Error, Result};
use crate::platform;
use crate::source::Source;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How files are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Past the page cache; an error where that is impossible.
    Direct,
    /// Past the page cache where that is possible, else through it without filling it.
    DirectIfPossible,
    /// Through the page cache.
    Cached,
}

/// What must stay the same while a file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            size: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

struct OpenFile {
    path: PathBuf,
    file: File,
    stamp: Stamp,
    alignment: usize,
    /// Drop from the page cache what was read.
    forget: bool,
}

impl OpenFile {
    fn open(path: &Path, access: Access, notes: &mut Vec<Note>) -> Result<OpenFile> {
        let file = File::open(path).map_err(Error::open(path))?;
        let metadata = file.metadata().map_err(Error::open(path))?;
        if !metadata.is_file() {
            return Err(Error::NotAFile {
                path: path.to_path_buf(),
            });
        }
        let mut open = OpenFile {
            path: path.to_path_buf(),
            file,
            stamp: Stamp::of(&metadata),
            alignment: 1,
            forget: false,
        };
        if access == Access::Cached {
            return Ok(open);
        }
        match platform::direct(path, &open.file) {
            Ok((file, alignment)) => {
                // The path was opened twice; both must be the same file.
                if Stamp::of(&file.metadata().map_err(Error::open(path))?) != open.stamp {
                    return Err(open.changed("it was replaced while it was opened".into()));
                }
                open.file = file;
                open.alignment = alignment;
            }
            Err(source) if access == Access::Direct => {
                let path = open.path;
                return Err(Error::DirectRefused { path, source });
            }
            Err(source) => {
                open.forget = true;
                notes.push(Note::DirectRefused {
                    path: open.path.clone(),
                    reason: source.to_string(),
                });
            }
        }
        Ok(open)
    }

    fn changed(&self, what: String) -> Error {
        Error::Changed {
            path: self.path.clone(),
            what,
        }
    }

    /// Writers change the time of modification before the bytes, so a look after a read finds
    /// every change that the read can have seen.
    fn check(&self) -> Result<()> {
        let now = Stamp::of(&self.file.metadata().map_err(Error::open(&self.path))?);
        if now == self.stamp {
            return Ok(());
        }
        if now.size < self.stamp.size {
            return Err(Error::Truncated {
                path: self.path.clone(),
                opened: self.stamp.size,
                now: now.size,
            });
        }
        let (then, now) = (self.stamp.size, now.size);
        Err(self.changed(if then == now {
            "its time of modification differs".into()
        } else {
            format!("it had {then} bytes when opened and has {now} now")
        }))
    }
}

/// The files of an engine.
pub(crate) struct FileSet {
    files: Vec<OpenFile>,
    notes: Vec<Note>,
    alignment: usize,
}

impl FileSet {
    /// Opens all of `paths`.
    ///
    /// # Errors
    /// If one cannot be opened, is not a regular file, or has no direct I/O although that was
    /// demanded.
    pub(crate) fn open(paths: &[PathBuf], access: Access) -> Result<FileSet> {
        let mut notes = Vec::new();
        let files: Vec<OpenFile> = paths
            .iter()
            .map(|path| OpenFile::open(path, access, &mut notes))
            .collect::<Result<_>>()?;
        let alignment = files.iter().map(|f| f.alignment).max().unwrap_or(1);
        Ok(FileSet {
            files,
            notes,
            alignment,
        })
    }

    /// Whether every file is read past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.notes.is_empty()
    }

    pub(crate) fn notes(&self) -> &[Note] {
        &self.notes
    }

    pub(crate) fn file(&self, index: usize) -> &File {
        &self.files[index].file
    }
}

impl Source for FileSet {
    fn count(&self) -> usize {
        self.files.len()
    }

    fn path(&self, file: usize) -> &Path {
        &self.files[file].path
    }

    fn size(&self, file: usize) -> u64 {
        self.files[file].stamp.size
    }

    fn alignment(&self) -> usize {
        self.alignment
    }

    fn read_once(&self, file: usize, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        platform::read_at(&self.files[file].file, offset, into)
    }

    fn check(&self, file: usize) -> Result<()> {
        self.files[file].check()
    }

    fn forget(&self, file: usize, offset: u64, len: usize) {
        if self.files[file].forget {
            platform::drop_from_cache(&self.files[file].file, offset, len);
        }
    }
}
