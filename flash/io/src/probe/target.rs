//! The file that is read to measure: one that exists, or one that is written for it and is gone
//! whatever happens.

use super::measure::{Progress, Stage};
use crate::error::{Error, Result};
use crate::platform;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Less says nothing about the storage.
pub(super) const SIZE_MIN: u64 = 64 << 20;
/// Bytes between looks at the clock while writing.
const STEP: usize = 8 << 20;

/// A file to read.
pub(super) struct Target {
    /// What to open: not always the name that a user would know.
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// Open for as long as it is needed; a file without a name ends with it.
    _file: File,
    #[cfg(not(unix))]
    _name: Option<tempfile::TempPath>,
}

fn refused(path: &Path, problem: String, hint: &'static str) -> Error {
    Error::Probe {
        path: path.to_path_buf(),
        problem,
        hint,
    }
}

impl Target {
    /// The file at `path`, or a new one of `size` bytes if it is a folder. Writing stops early
    /// after `time`.
    pub(super) fn new(
        path: &Path,
        size: u64,
        time: Duration,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Target> {
        let metadata = fs::metadata(path).map_err(Error::open(path))?;
        if metadata.is_dir() {
            return Target::write(path, size, time, progress);
        }
        if !metadata.is_file() {
            return Err(Error::NotAFile {
                path: path.to_path_buf(),
            });
        }
        Target::existing(path, &metadata)
    }

    fn existing(path: &Path, metadata: &fs::Metadata) -> Result<Target> {
        let size = metadata.len();
        if size < SIZE_MIN {
            let problem = format!("it has {size} bytes, and at least {SIZE_MIN} are needed");
            let hint = "name a larger file, or a folder to write a temporary one in";
            return Err(refused(path, problem, hint));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let stored = metadata.blocks().saturating_mul(512);
            if stored < size / 10 * 9 {
                let problem = format!("only {stored} of its {size} bytes are stored");
                let hint = "holes are not read from the storage; name a file without holes, \
                            or a folder";
                return Err(refused(path, problem, hint));
            }
        }
        let file = File::open(path).map_err(Error::open(path))?;
        // What is in the page cache already would be read from there by some file systems.
        platform::drop_from_cache(&file, 0, 0);
        Ok(Target {
            path: path.to_path_buf(),
            size,
            _file: file,
            #[cfg(not(unix))]
            _name: None,
        })
    }

    fn write(
        folder: &Path,
        size: u64,
        time: Duration,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Target> {
        check_room(folder, size)?;
        let failed = |source: io::Error| Error::Write {
            path: folder.join("(temporary file)"),
            source,
        };
        // The name is gone at once, so that no way to end this process leaves the file behind.
        #[cfg(unix)]
        let mut file = tempfile::tempfile_in(folder).map_err(failed)?;
        #[cfg(not(unix))]
        let (mut file, name) = tempfile::NamedTempFile::new_in(folder)
            .map_err(failed)?
            .into_parts();
        let size = fill(&mut file, size, time, progress).map_err(|e| match e {
            Stop::Io(e) => failed(e),
            Stop::Cancelled => Error::Cancelled,
        })?;
        platform::drop_from_cache(&file, 0, 0);
        #[cfg(unix)]
        let path = platform::path_of(&file);
        #[cfg(not(unix))]
        let path = name.to_path_buf();
        Ok(Target {
            path,
            size,
            _file: file,
            #[cfg(not(unix))]
            _name: Some(name),
        })
    }
}

fn check_room(folder: &Path, size: u64) -> Result<()> {
    if size < SIZE_MIN {
        return Err(Error::Setting {
            what: "size of the temporary file",
            value: size.to_string(),
            range: format!("{SIZE_MIN} bytes and more"),
            hint: "smaller files say nothing about the storage",
        });
    }
    #[cfg(unix)]
    {
        let found =
            rustix::fs::statvfs(folder).map_err(|e| Error::open(folder)(io::Error::from(e)))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        // A file system that is filled to the last block is slow, and in others' way.
        if free < size.saturating_add(size / 4) {
            let problem = format!("{free} bytes are free, and {size} and some room are needed");
            let hint = "use a smaller `--size`, or name an existing large file";
            return Err(refused(folder, problem, hint));
        }
    }
    Ok(())
}

enum Stop {
    Io(io::Error),
    Cancelled,
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Stop {
        Stop::Io(e)
    }
}

/// Writes bytes that no storage can compress; returns how many.
fn fill(
    file: &mut File,
    size: u64,
    time: Duration,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<u64, Stop> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut block = vec![0; STEP];
    let begin = Instant::now();
    let mut written = 0;
    while written < size {
        let now = Progress {
            stage: Stage::Write,
            done: written,
            total: size,
        };
        if progress(now).is_break() {
            return Err(Stop::Cancelled);
        }
        if begin.elapsed() > time && written >= SIZE_MIN {
            break;
        }
        random.fill(&mut block);
        let n = (size - written).min(STEP as u64) as usize;
        file.write_all(&block[..n])?;
        // Otherwise the system collects all of it, and the wait at the end is as long as it likes.
        file.sync_data()?;
        written += n as u64;
    }
    file.sync_all()?;
    Ok(written)
}
