//! The file of `lampyris sim --trace`.

use crate::output::{grouped, note};
use anyhow::{Result, anyhow, bail};
use lampyris_isa::HwConfig;
use lampyris_sim::timeline::Timeline;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A trace file that appears when it is complete. Begun before the run, so that a target that
/// cannot be written fails at once.
pub(crate) struct TraceFile {
    target: PathBuf,
    file: NamedTempFile,
}

impl TraceFile {
    /// Begins the file.
    pub(crate) fn create(target: &Path) -> Result<TraceFile> {
        let parent = match target.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".lampyris-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(parent);
        Ok(TraceFile {
            target: target.to_path_buf(),
            file: file.map_err(|e| unwritable(target, e))?,
        })
    }

    /// Writes the recording and puts the file in place.
    pub(crate) fn write(self, timeline: Option<&Timeline>, config: &HwConfig) -> Result<()> {
        let TraceFile { target, file } = self;
        let Some(timeline) = timeline else {
            bail!("nothing was recorded\n\nhint: report this");
        };
        timeline
            .write(BufWriter::new(file.as_file()), config.clock_khz)
            .map_err(|e| unwritable(&target, e))?;
        file.persist(&target)
            .map_err(|e| unwritable(&target, e.error))?;
        if timeline.left_out() > 0 {
            note(&format!(
                "note: the trace ends after {} instructions; {} more retired",
                grouped(timeline.records().len() as u64),
                grouped(timeline.left_out())
            ));
        }
        Ok(())
    }
}

/// The kind of error alone: the whole one may name the temporary file.
fn unwritable(target: &Path, error: std::io::Error) -> anyhow::Error {
    anyhow!(
        "cannot write `{}`: {}\n\nhint: choose a file in a directory that you can write with --trace",
        target.display(),
        error.kind()
    )
}
