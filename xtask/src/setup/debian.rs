//! Files of Debian packages, without root: apt downloads and verifies them, dpkg-deb unpacks them.

use crate::process::{logged, succeeds};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use verilator_sys::toolchain::Cache;

/// Unpacked packages, deleted with this value.
pub(crate) struct Unpacked {
    folder: TempDir,
}

impl Unpacked {
    /// The folder that stands for `/` in the packages.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }
}

/// Downloads the packages and unpacks them beside each other, on the cache's file system.
pub(crate) fn unpack(cache: &Cache, packages: &[String]) -> Result<Unpacked> {
    for program in ["apt-get", "dpkg-deb"] {
        if !succeeds(Command::new(program).arg("--version")) {
            bail!("this system has no `{program}` to download packages with");
        }
    }
    let folder = tempfile::Builder::new()
        .prefix(".debian-")
        .tempdir_in(cache.root())
        .with_context(|| format!("cannot write in `{}`", cache.root().display()))?;
    download(cache, packages, folder.path())?;
    let unpacked = Unpacked { folder };
    let folder = unpacked.folder.path();
    for package in files(folder, "", ".deb")? {
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(package).arg(unpacked.root());
        logged(&mut command, &cache.logs().join("dpkg-deb.log"))?;
    }
    Ok(unpacked)
}

/// The files of `folder` whose names begin and end so.
pub(crate) fn files(folder: &Path, start: &str, end: &str) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot list `{}`", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(start) && name.ends_with(end) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Downloads into `folder`. The system's package lists may be absent (containers ship without
/// them) or too old, and renewing them needs root; a second attempt brings lists of its own. apt
/// checks them against the system's keys, and the packages against them, in both cases.
fn download(cache: &Cache, packages: &[String], folder: &Path) -> Result<()> {
    let log = cache.logs().join("apt-download.log");
    if logged(&mut fetch(packages, folder), &log).is_ok() {
        return Ok(());
    }
    let lists = folder.join("lists");
    let archives = folder.join("archives");
    for folder in [&lists, &archives] {
        let partial = folder.join("partial");
        fs::create_dir_all(&partial)
            .with_context(|| format!("cannot create `{}`", partial.display()))?;
    }
    let private = |command: &mut Command| {
        for (key, folder) in [
            ("Dir::State::lists", &lists),
            ("Dir::Cache::archives", &archives),
        ] {
            command
                .arg("-o")
                .arg(format!("{key}={}/", folder.display()));
        }
        // Keep the index caches out of the system's folder as well. Under root apt would drop to
        // a user that cannot write here.
        for option in [
            "Dir::Cache::pkgcache=",
            "Dir::Cache::srcpkgcache=",
            "APT::Sandbox::User=",
        ] {
            command.args(["-o", option]);
        }
    };
    let mut update = Command::new("apt-get");
    // Without the option, apt takes sources that it cannot reach for a success.
    update.args(["update", "-o", "APT::Update::Error-Mode=any"]);
    private(&mut update);
    // One broken source of several fails it too; whether the packages come is what counts.
    let updated = logged(&mut update, &cache.logs().join("apt-update.log"));
    let mut command = fetch(packages, folder);
    private(&mut command);
    let result = logged(&mut command, &log);
    match (updated, result) {
        (_, Ok(())) => Ok(()),
        (Err(cause), Err(_)) => {
            Err(cause.context("apt has no usable package lists, and cannot renew them"))
        }
        (Ok(()), Err(error)) => Err(error),
    }
}

fn fetch(packages: &[String], folder: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.current_dir(folder).arg("download").args(packages);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_both_ends_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pip-23.0.whl", "pip-23.0.txt", "wheel-0.38.whl"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = files(folder.path(), "pip-", ".whl").unwrap();
        assert_eq!(found, [folder.path().join("pip-23.0.whl")]);
        let error = files(&folder.path().join("absent"), "", "").unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }
}
