//! Writes a compiled directory so that it appears whole or not at all: everything goes to a
//! temporary sibling that is renamed at the end.

use crate::manifest::{FileEntry, Manifest};
use crate::{Error, Result, hex, names};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory under construction; dropped without [`Writer::finish`], nothing remains.
#[derive(Debug)]
pub struct Writer {
    target: PathBuf,
    staging: TempDir,
    files: Vec<FileEntry>,
}

/// A file under construction. Its hash is computed while it is written.
#[derive(Debug)]
pub struct FileWriter {
    name: String,
    path: PathBuf,
    out: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl FileWriter {
    /// Appends bytes.
    ///
    /// # Errors
    /// The disk is full or the like.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        self.out
            .write_all(data)
            .map_err(|e| Error::write(&self.path, e))?;
        self.hash.update(data);
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn position(&self) -> u64 {
        self.bytes
    }
}

impl Writer {
    /// Starts a directory that will be `target`. An existing compiled directory is replaced at
    /// the end; anything else there is an error.
    ///
    /// # Errors
    /// The target is occupied, or its parent cannot be written.
    pub fn create(target: impl AsRef<Path>) -> Result<Writer> {
        let target = target.as_ref().to_path_buf();
        if fs::symlink_metadata(&target).is_ok() && !is_replaceable(&target) {
            return Err(Error::Occupied(target));
        }
        let parent = match target.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
            _ => PathBuf::from("."),
        };
        fs::metadata(&parent).map_err(|e| Error::write(&target, e))?;
        // The kind alone: the whole error names the temporary directory.
        let staging = tempfile::Builder::new()
            .prefix(".lampyris-")
            .tempdir_in(&parent)
            .map_err(|e| Error::write(&target, e.kind().into()))?;
        Ok(Writer {
            target,
            staging,
            files: Vec::new(),
        })
    }

    /// Starts a file.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn file(&self, name: &str) -> Result<FileWriter> {
        let path = self.staging.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
        }
        let out = File::create(&path).map_err(|e| Error::write(&path, e))?;
        let out = BufWriter::with_capacity(1 << 20, out);
        Ok(FileWriter {
            name: name.to_owned(),
            path,
            out,
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    /// Ends a file and records its hash.
    ///
    /// # Errors
    /// The last bytes cannot be written.
    pub fn close(&mut self, mut file: FileWriter) -> Result<()> {
        file.out.flush().map_err(|e| Error::write(&file.path, e))?;
        let sha256 = hex(&file.hash.finalize());
        self.files.push(FileEntry {
            name: file.name,
            bytes: file.bytes,
            sha256,
        });
        Ok(())
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// As [`FileWriter::write`].
    pub fn write(&mut self, name: &str, data: &[u8]) -> Result<()> {
        let mut file = self.file(name)?;
        file.write(data)?;
        self.close(file)
    }

    /// Takes over the files of another directory under construction or finished, which loses them.
    ///
    /// # Errors
    /// A file cannot be moved; both directories then have some of them.
    pub fn adopt(&mut self, directory: &Path, manifest: &Manifest) -> Result<()> {
        for entry in &manifest.files {
            let target = self.staging.path().join(&entry.name);
            fs::rename(directory.join(&entry.name), &target)
                .map_err(|e| Error::write(&target, e))?;
            self.files.push(entry.clone());
        }
        Ok(())
    }

    /// Writes the manifest with the hashes of all files and puts the directory in place.
    ///
    /// # Errors
    /// The manifest cannot be written or the directory not moved; then the target is as before.
    pub fn finish(mut self, mut manifest: Manifest) -> Result<Manifest> {
        self.files.sort_by(|a, b| a.name.cmp(&b.name));
        manifest.files = std::mem::take(&mut self.files);
        let mut text = serde_json::to_string_pretty(&manifest).expect("plain data");
        text.push('\n');
        let path = self.staging.path().join(names::MANIFEST);
        fs::write(&path, text).map_err(|e| Error::write(&path, e))?;
        self.replace_target()?;
        Ok(manifest)
    }

    fn replace_target(self) -> Result<()> {
        let Writer {
            target, staging, ..
        } = self;
        let staged = staging.keep();
        let old = staged.with_extension("old");
        let had_old = target.exists();
        if had_old && let Err(e) = fs::rename(&target, &old) {
            let _ = fs::remove_dir_all(&staged);
            return Err(Error::write(&target, e));
        }
        if let Err(e) = fs::rename(&staged, &target) {
            if had_old {
                let _ = fs::rename(&old, &target);
            }
            let _ = fs::remove_dir_all(&staged);
            return Err(Error::write(&target, e));
        }
        if had_old {
            let _ = fs::remove_dir_all(&old);
        }
        set_readable(&target);
        Ok(())
    }
}

/// Whether nothing but a compiled directory would be lost: an empty directory, or one with a
/// manifest of ours and no other files than ours.
fn is_replaceable(target: &Path) -> bool {
    let Ok(entries) = fs::read_dir(target) else {
        return false;
    };
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return true;
    }
    let known = |entry: std::io::Result<fs::DirEntry>| {
        let ours = |e: &fs::DirEntry| names::ALL.iter().any(|&name| e.file_name() == name);
        entry.is_ok_and(|e| ours(&e) || e.file_name() == names::FPGA)
    };
    entries.all(known) && is_manifest(&target.join(names::MANIFEST))
}

/// Whether a file is a manifest of any version of ours.
fn is_manifest(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    ["schema_version", "isa_version", "config_hash"]
        .iter()
        .all(|key| value.get(key).is_some())
}

/// Temporary directories are private to the user; a compiled directory is an ordinary one.
fn set_readable(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    }
    #[cfg(not(unix))]
    let _ = path;
}
