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
    fn new(cache: &Cache) -> Result<Unpacked> {
        if let Some(program) = missing_program() {
            bail!("this system has no `{program}` to download packages with");
        }
        let folder = tempfile::Builder::new()
            .prefix(".debian-")
            .tempdir_in(cache.root())
            .with_context(|| format!("cannot write in `{}`", cache.root().display()))?;
        Ok(Unpacked { folder })
    }

    /// The folder that stands for `/` in the packages.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn extract(&self, cache: &Cache, package: &Path) -> Result<()> {
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(package).arg(self.root());
        logged(&mut command, &cache.logs().join("dpkg-deb.log"))
    }
}

/// A program that packages cannot be had without, and that this system lacks.
pub(crate) fn missing_program() -> Option<&'static str> {
    let runs = |program| succeeds(Command::new(program).arg("--version"));
    ["apt-get", "dpkg-deb"].into_iter().find(|p| !runs(*p))
}

/// Downloads the packages and unpacks them beside each other, on the cache's file system.
pub(crate) fn unpack(cache: &Cache, packages: &[String]) -> Result<Unpacked> {
    let unpacked = Unpacked::new(cache)?;
    let folder = unpacked.folder.path();
    download(cache, packages, folder)?;
    for package in files(folder, "", ".deb")? {
        unpacked.extract(cache, &package)?;
    }
    Ok(unpacked)
}

/// Downloads `programs` with whatever of their dependencies this system lacks, and `twins`, which
/// are packages among these for the machine `architecture`, alone and of the same versions. Unpacks
/// all beside each other. The system's own packages, and what architectures it knows, stay as they
/// are.
pub(crate) fn unpack_cross(
    cache: &Cache,
    programs: &[String],
    twins: &[String],
    architecture: &str,
) -> Result<Unpacked> {
    let unpacked = Unpacked::new(cache)?;
    let folder = unpacked.folder.path();
    let lists = Lists::new(folder, &[HOST, architecture])?;
    let updated = lists.update(cache);
    let mut command = lists.apt();
    // Nothing is installed, so the locks, which need root, are not needed. Reinstalling fetches
    // programs that the system has, too: their libraries must lie beside the twins.
    command.args(["-o", "Debug::NoLocking=1", "install", "--download-only"]);
    command.args(["--yes", "--reinstall", "--no-install-recommends"]);
    command.args(programs);
    let result = logged(&mut command, &cache.logs().join("apt-install.log"));
    blame(updated, result)?;
    for twin in twins {
        let package = files(&lists.archives, &format!("{twin}_"), ".deb")?;
        let [package] = package.as_slice() else {
            bail!(
                "apt brought {} files of `{twin}`, wanted one",
                package.len()
            );
        };
        let mut command = lists.apt();
        let version = version(package)?;
        let twin = format!("{twin}:{architecture}={version}");
        command.current_dir(folder).args(["download", &twin]);
        logged(&mut command, &cache.logs().join("apt-download.log"))?;
    }
    for from in [&lists.archives, folder] {
        for package in files(from, "", ".deb")? {
            unpacked.extract(cache, &package)?;
            // Unpacked, they take gigabytes together with their files.
            fs::remove_file(&package)
                .with_context(|| format!("cannot delete `{}`", package.display()))?;
        }
    }
    Ok(unpacked)
}

/// Debian's name for the machine that the cross tools run on.
const HOST: &str = "amd64";

/// The version inside a package file.
fn version(package: &Path) -> Result<String> {
    let mut command = Command::new("dpkg-deb");
    command.arg("--field").arg(package).arg("Version");
    let output = command.output().context("cannot run `dpkg-deb`")?;
    if !output.status.success() {
        bail!("`{}` is not a Debian package", package.display());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
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
    if logged(&mut fetch(Command::new("apt-get"), packages, folder), &log).is_ok() {
        return Ok(());
    }
    let lists = Lists::new(folder, &[])?;
    let updated = lists.update(cache);
    let result = logged(&mut fetch(lists.apt(), packages, folder), &log);
    blame(updated, result)
}

/// One broken source of several fails the update of the lists too; whether the packages come is
/// what counts.
fn blame(updated: Result<()>, result: Result<()>) -> Result<()> {
    match (updated, result) {
        (_, Ok(())) => Ok(()),
        (Err(cause), Err(_)) => {
            Err(cause.context("apt has no usable package lists, and cannot renew them"))
        }
        (Ok(()), Err(error)) => Err(error),
    }
}

/// Package lists of our own.
struct Lists {
    lists: PathBuf,
    archives: PathBuf,
    architectures: Vec<String>,
}

impl Lists {
    /// Folders for the lists; without `architectures` they are for those of the system.
    fn new(folder: &Path, architectures: &[&str]) -> Result<Lists> {
        let lists = folder.join("lists");
        let archives = folder.join("archives");
        for folder in [&lists, &archives] {
            let partial = folder.join("partial");
            fs::create_dir_all(&partial)
                .with_context(|| format!("cannot create `{}`", partial.display()))?;
        }
        Ok(Lists {
            lists,
            archives,
            architectures: architectures.iter().map(|&name| name.to_owned()).collect(),
        })
    }

    /// apt with these lists.
    fn apt(&self) -> Command {
        let mut command = Command::new("apt-get");
        for (key, folder) in [
            ("Dir::State::lists", &self.lists),
            ("Dir::Cache::archives", &self.archives),
        ] {
            command
                .arg("-o")
                .arg(format!("{key}={}/", folder.display()));
        }
        for name in &self.architectures {
            command
                .arg("-o")
                .arg(format!("APT::Architectures::={name}"));
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
        command
    }

    fn update(&self, cache: &Cache) -> Result<()> {
        let mut update = self.apt();
        // Without the first option, apt takes sources that it cannot reach for a success.
        for option in ["APT::Update::Error-Mode=any", "Acquire::Languages=none"] {
            update.args(["-o", option]);
        }
        update.arg("update");
        logged(&mut update, &cache.logs().join("apt-update.log"))
    }
}

fn fetch(mut apt: Command, packages: &[String], folder: &Path) -> Command {
    apt.current_dir(folder).arg("download").args(packages);
    apt
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
