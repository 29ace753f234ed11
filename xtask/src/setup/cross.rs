//! Compiler, linker and emulator for ARM64, unpacked from Debian packages into the cache.
//!
//! The packages hold 1.1 GB, most of it for other uses; a third of that stays.

use super::debian;
use crate::progress::{Step, already};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use verilator_sys::toolchain::{Cache, Pins};

const NAME: &str = "ARM64 tools";

/// Where the unpacked programs lie.
pub(crate) struct Tools {
    root: PathBuf,
}

impl Tools {
    /// The script that runs `name`: the compiler, its documentation tool or the emulator.
    pub(crate) fn script(&self, name: &str) -> PathBuf {
        self.root.join("bin").join(name)
    }

    /// The folder that stands for `/` in the packages.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A program of a package; the system's, if it had it before.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let own = self.root.join("usr/bin").join(name);
        if own.exists() { own } else { name.into() }
    }
}

/// What marks installed tools, and its content.
fn marker() -> (&'static str, String) {
    let pins = &Pins::get().debian;
    let wanted = [pins.cross.join(" "), pins.cross_twins.join(" ")].join("\n");
    ("packages", wanted)
}

fn installed(root: &Path) -> bool {
    let (marker, wanted) = marker();
    fs::read_to_string(root.join(marker)).is_ok_and(|found| found == wanted)
}

/// Why there are no tools for this machine; `None` where a failed installation is a failure.
pub(crate) fn unavailable(cache: &Cache) -> Option<String> {
    if installed(&cache.cross()) {
        return None;
    }
    if !HAS_PACKAGES {
        return Some("the tools are packages for x86-64 Linux".to_owned());
    }
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian(&system) {
        return Some("the tools are packages of Debian, which this system is not".to_owned());
    }
    let program = debian::missing_program()?;
    Some(format!("this system has no `{program}`"))
}

/// Whether packages exist for this machine.
const HAS_PACKAGES: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// Whether the text of `os-release` is Debian's. Systems made from it lack some of the packages.
fn is_debian(system: &str) -> bool {
    system.lines().any(|line| line == "ID=debian")
}

/// Installs the tools unless they are there.
pub(crate) fn install(cache: &Cache) -> Result<Tools> {
    let pins = &Pins::get().debian;
    let tools = Tools {
        root: cache.cross(),
    };
    if installed(&tools.root) {
        already(NAME, "already there");
        return Ok(tools);
    }
    ensure!(
        HAS_PACKAGES,
        "the packages of the ARM64 tools are for x86-64 Debian\n\nhint: on another machine test \
         natively, with `cargo xtask test`"
    );
    let step = Step::start(NAME, "downloading 230 MB of Debian packages");
    let unpacked = debian::unpack_cross(cache, &pins.cross, &pins.cross_twins, "arm64").context(
        "the ARM64 tools cannot be installed\n\nhint: they are taken from Debian; `cargo xtask \
         test --no-cross` runs all other tests",
    )?;
    prune(&unpacked.root())?;
    scripts(&unpacked.root(), &tools.root)?;
    let (marker, wanted) = marker();
    write(&unpacked.root().join(marker), &wanted)?;
    if tools.root.exists() {
        fs::remove_dir_all(&tools.root)
            .with_context(|| format!("cannot delete `{}`", tools.root.display()))?;
    }
    fs::rename(unpacked.root(), &tools.root)
        .with_context(|| format!("cannot make `{}`", tools.root.display()))?;
    verify(&tools)?;
    step.done("unpacked");
    Ok(tools)
}

/// Deletes what is large and not needed: emulators of other machines, the compiler's own source.
fn prune(root: &Path) -> Result<()> {
    delete(&root.join("usr/share"), |_| true)?;
    delete(&root.join("usr/bin"), |name| {
        name.starts_with("qemu-") && name != EMULATOR || name.contains("lto-dump")
    })?;
    for source in debian::files(&root.join("usr/src"), "rustc-", "")? {
        delete(&source, |name| name != "library" && name != "Cargo.lock")?;
    }
    Ok(())
}

fn delete(folder: &Path, which: impl Fn(&str) -> bool) -> Result<()> {
    for path in debian::files(folder, "", "")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if which(&name) {
            let result = if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            result.with_context(|| format!("cannot delete `{}`", path.display()))?;
        }
    }
    Ok(())
}

/// Programs as scripts, because they need libraries from the folder they were unpacked to. The
/// compiler would look for the standard library beside the first of these that the system has; the
/// emulator looks for the emulated system's files, whose programs want no such variable.
fn scripts(root: &Path, place: &Path) -> Result<()> {
    let folder = root.join("bin");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let place = place
        .to_str()
        .filter(|place| !place.contains('\''))
        .with_context(|| {
            format!(
                "`{}` cannot stand in a shell script\n\nhint: choose another folder for the cache \
                 with LAMPYRIS_CACHE",
                place.display()
            )
        })?;
    let compiler = format!("--sysroot '{place}/usr'");
    let emulator = format!("-U LD_LIBRARY_PATH -L '{place}/usr/aarch64-linux-gnu'");
    for (name, options) in [
        ("rustc", &compiler),
        ("rustdoc", &compiler),
        (EMULATOR, &emulator),
    ] {
        let text = format!(
            "#!/bin/sh\n\
             export LD_LIBRARY_PATH='{place}/{LIBRARIES}'\"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n\
             exec '{place}/usr/bin/{name}' {options} \"$@\"\n"
        );
        let path = folder.join(name);
        write(&path, &text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make `{}` executable", path.display()))?;
    }
    Ok(())
}

/// Emulates one program on an ARM64 processor.
pub(crate) const EMULATOR: &str = "qemu-aarch64";

/// Debian's folder for libraries of the host.
pub(crate) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Runs each program once: a library that neither the system nor the packages have shows here.
fn verify(tools: &Tools) -> Result<()> {
    for program in [
        tools.script("rustc"),
        tools.program("aarch64-linux-gnu-gcc"),
        tools.program("aarch64-linux-gnu-ld"),
        tools.script(EMULATOR),
    ] {
        let output = Command::new(&program)
            .arg("--version")
            .env("LD_LIBRARY_PATH", tools.root.join(LIBRARIES))
            .output()
            .with_context(|| format!("cannot run `{}`", program.display()))?;
        if !output.status.success() {
            // So that the next attempt installs again.
            let _ = fs::remove_file(tools.root.join(marker().0));
            bail!(
                "`{}` does not run: {}",
                program.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_keeps_what_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in [
            "usr/bin/qemu-aarch64",
            "usr/bin/qemu-mips",
            "usr/bin/rustc",
            "usr/share/doc/text",
            "usr/src/rustc-1.0/library/std/lib.rs",
            "usr/src/rustc-1.0/compiler/lib.rs",
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        prune(root).unwrap();
        for kept in ["bin/qemu-aarch64", "bin/rustc", "src/rustc-1.0/library/std"] {
            assert!(root.join("usr").join(kept).exists(), "{kept}");
        }
        for gone in ["bin/qemu-mips", "share/doc", "src/rustc-1.0/compiler"] {
            assert!(!root.join("usr").join(gone).exists(), "{gone}");
        }
    }

    #[test]
    fn systems_made_from_debian_are_not_debian() {
        assert!(is_debian(
            "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\n"
        ));
        assert!(!is_debian("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(!is_debian(""));
    }

    #[test]
    fn scripts_run_the_program_in_its_final_place() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("final");
        fs::create_dir_all(place.join("usr/bin")).unwrap();
        let program = place.join("usr/bin/rustc");
        fs::write(&program, "#!/bin/sh\necho \"$LD_LIBRARY_PATH $*\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        scripts(folder.path(), &place).unwrap();
        let output = Command::new(folder.path().join("bin/rustc"))
            .arg("a b")
            .env("LD_LIBRARY_PATH", "other")
            .output()
            .unwrap();
        let place = place.display();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{place}/{LIBRARIES}:other --sysroot {place}/usr a b\n")
        );
        assert!(scripts(folder.path(), Path::new("it's")).is_err());
    }
}
