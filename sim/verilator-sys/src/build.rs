//! From SystemVerilog sources to a loaded design, through the cache.

use crate::compile::{Compiler, Features};
use crate::toolchain::{self, Cache, Verilator};
use crate::{Design, Error, Result, header};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the C++ class of every design; the compiled interface is written against it.
const PREFIX: &str = "Vmodel";
/// The shared object's name inside its cache entry.
const OBJECT: &str = "model.so";

/// What registers and unassigned values hold at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InitialState {
    /// Whatever simulates fastest. For designs whose reset is already proven.
    #[default]
    Fast,
    /// Random bits from the seed of [`crate::Setup`]: finds state that reset forgot.
    Random,
}

/// A design to build. Start with [`Build::new`], end with [`Build::build`].
#[derive(Clone, Debug)]
pub struct Build {
    top: String,
    sources: Vec<PathBuf>,
    include_dirs: Vec<PathBuf>,
    params: Vec<(String, String)>,
    defines: Vec<(String, String)>,
    trace_fst: bool,
    coverage: bool,
    assertions: bool,
    initial_state: InitialState,
    opt: u8,
    cache: Option<Cache>,
    extra_args: Vec<String>,
}

impl Build {
    /// A design whose top module is `top`: no assertions, no waveforms, C++ at `-O2`.
    pub fn new(top: impl Into<String>) -> Build {
        Build {
            top: top.into(),
            sources: Vec::new(),
            include_dirs: Vec::new(),
            params: Vec::new(),
            defines: Vec::new(),
            trace_fst: false,
            coverage: false,
            assertions: false,
            initial_state: InitialState::Fast,
            opt: 2,
            cache: None,
            extra_args: Vec::new(),
        }
    }

    /// Adds a source or a waiver file; packages come before their users.
    #[must_use]
    pub fn source(mut self, path: impl Into<PathBuf>) -> Build {
        self.sources.push(path.into());
        self
    }

    /// Adds several sources.
    #[must_use]
    pub fn sources(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Build {
        self.sources.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Adds a folder for `` `include `` and for modules found by file name.
    #[must_use]
    pub fn include_dir(mut self, path: impl Into<PathBuf>) -> Build {
        self.include_dirs.push(path.into());
        self
    }

    /// Sets a parameter of the top module (`-G`).
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Build {
        self.params.push((name.into(), value.to_string()));
        self
    }

    /// Defines a macro.
    #[must_use]
    pub fn define(mut self, name: impl Into<String>, value: impl ToString) -> Build {
        self.defines.push((name.into(), value.to_string()));
        self
    }

    /// Allows [`crate::Model::trace_open`]. Costs speed even when no file is open.
    #[must_use]
    pub fn trace_fst(mut self, on: bool) -> Build {
        self.trace_fst = on;
        self
    }

    /// Allows [`crate::Model::coverage_write`].
    #[must_use]
    pub fn coverage(mut self, on: bool) -> Build {
        self.coverage = on;
        self
    }

    /// Checks assertions; a failing one halts the model.
    #[must_use]
    pub fn assertions(mut self, on: bool) -> Build {
        self.assertions = on;
        self
    }

    /// What registers hold at first.
    #[must_use]
    pub fn initial_state(mut self, state: InitialState) -> Build {
        self.initial_state = state;
        self
    }

    /// C++ optimisation level, 0 to 3. Level 0 compiles small test benches faster.
    #[must_use]
    pub fn opt(mut self, level: u8) -> Build {
        self.opt = level;
        self
    }

    /// Uses another cache than the environment's.
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Build {
        self.cache = Some(cache);
        self
    }

    /// Adds an argument for Verilator.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Build {
        self.extra_args.push(argument.into());
        self
    }

    /// Builds, or finds in the cache, and loads the design.
    ///
    /// Several threads and processes may build the same design at once: one does the work.
    ///
    /// # Errors
    /// [`Error::Missing`] without the pinned tools, [`Error::Verilate`] for refused sources,
    /// [`Error::Compile`], [`Error::Io`] and [`Error::Argument`].
    pub fn build(&self) -> Result<Design> {
        self.check()?;
        let cache = match &self.cache {
            Some(cache) => cache.clone(),
            None => Cache::locate()?,
        };
        let verilator = toolchain::verilator(&cache)?;
        let features = Features {
            trace_fst: self.trace_fst,
            coverage: self.coverage,
        };
        let compiler = Compiler::find(&cache, &verilator, features)?;
        let key = self.key(&verilator, &compiler)?;
        let name = format!("{}-{key}", self.top);
        let entry = cached(&cache.verilated(), &name, |folder| {
            self.compile_into(folder, &cache, &verilator, &compiler)
        })?;
        Design::load(&entry.join(OBJECT), &self.top)
    }

    /// Runs the linter alone and returns nothing when the sources are clean.
    ///
    /// # Errors
    /// As [`Build::build`], without those of compilation.
    pub fn lint(&self) -> Result<()> {
        self.check()?;
        let cache = match &self.cache {
            Some(cache) => cache.clone(),
            None => Cache::locate()?,
        };
        let verilator = toolchain::verilator(&cache)?;
        let mut arguments = self.arguments();
        arguments.push("--lint-only".into());
        self.run_verilator(&verilator, &arguments, &[])
    }

    fn check(&self) -> Result<()> {
        let names = std::iter::once(&self.top)
            .chain(self.params.iter().map(|(name, _)| name))
            .chain(self.defines.iter().map(|(name, _)| name));
        for name in names {
            let first = name
                .chars()
                .next()
                .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(Error::Argument {
                    what: format!("name `{name}`"),
                    problem: "not a plain SystemVerilog identifier".into(),
                    hint: "use letters, digits and underscores",
                });
            }
        }
        if self.opt > 3 {
            return Err(Error::Argument {
                what: format!("optimisation level {}", self.opt),
                problem: "levels go from 0 to 3".into(),
                hint: "2 suits simulation",
            });
        }
        Ok(())
    }

    /// Arguments of Verilator that decide what the design is.
    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["-Wall", "--quiet-stats", "-O3", "--top-module"]
            .map(str::to_owned)
            .into();
        arguments.push(self.top.clone());
        let state = match self.initial_state {
            InitialState::Fast => "fast",
            InitialState::Random => "unique",
        };
        for flag in ["--x-assign", "--x-initial"] {
            arguments.extend([flag.to_owned(), state.to_owned()]);
        }
        let assertions = if self.assertions {
            "--assert"
        } else {
            "--no-assert"
        };
        arguments.push(assertions.to_owned());
        if self.trace_fst {
            arguments.extend(["--trace-fst", "--trace-structs"].map(str::to_owned));
        }
        if self.coverage {
            arguments.push("--coverage".into());
        }
        arguments.extend(
            self.params
                .iter()
                .map(|(name, value)| format!("-G{name}={value}")),
        );
        arguments.extend(
            self.defines
                .iter()
                .map(|(name, value)| format!("-D{name}={value}")),
        );
        arguments.extend(self.extra_args.iter().cloned());
        arguments
    }

    /// Hash of everything that the shared object depends on, as 16 hexadecimal digits.
    fn key(&self, verilator: &Verilator, compiler: &Compiler) -> Result<String> {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            // The length first, so that no two lists of inputs give the same bytes.
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(verilator.version.as_bytes());
        add(compiler.identity().as_bytes());
        add(&[self.opt]);
        for argument in self.arguments() {
            add(argument.as_bytes());
        }
        for path in self.inputs()? {
            add(path.as_os_str().as_encoded_bytes());
            add(&fs::read(&path).map_err(Error::io("read", path))?);
        }
        Ok(short_hex(hash))
    }

    /// The sources, then every file of the include folders that could be pulled in, sorted.
    fn inputs(&self) -> Result<Vec<PathBuf>> {
        let mut files = self.sources.clone();
        for folder in &self.include_dirs {
            let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
            let mut found = Vec::new();
            for entry in entries {
                let path = entry.map_err(Error::io("list", folder))?.path();
                let extension = path.extension().and_then(OsStr::to_str);
                if matches!(extension, Some("sv" | "svh" | "v" | "vh")) {
                    found.push(path);
                }
            }
            found.sort();
            files.append(&mut found);
        }
        Ok(files)
    }

    fn run_verilator(
        &self,
        verilator: &Verilator,
        arguments: &[String],
        more: &[&OsStr],
    ) -> Result<()> {
        let mut command = Command::new(&verilator.binary);
        command
            .env("VERILATOR_ROOT", &verilator.root)
            .args(arguments)
            .args(more);
        for folder in &self.include_dirs {
            command.arg(format!("-I{}", folder.display()));
        }
        command.args(&self.sources);
        let output = command
            .output()
            .map_err(Error::io("run", &verilator.binary))?;
        if output.status.success() {
            return Ok(());
        }
        let text =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        Err(Error::Verilate {
            top: self.top.clone(),
            text: text.trim().to_owned(),
        })
    }

    fn compile_into(
        &self,
        folder: &Path,
        cache: &Cache,
        verilator: &Verilator,
        compiler: &Compiler,
    ) -> Result<()> {
        let generated = folder.join("generated");
        let more = ["--cc", "--prefix", PREFIX, "--Mdir"].map(OsStr::new);
        let more = [&more[..], &[generated.as_os_str()]].concat();
        self.run_verilator(verilator, &self.arguments(), &more)?;

        let header = generated.join(format!("{PREFIX}.h"));
        let text = fs::read_to_string(&header).map_err(Error::io("read", &header))?;
        let ports = header::ports(&header, &text)?;
        let runtime_sources =
            compiler.runtime_sources(&generated.join(format!("{PREFIX}_classes.mk")))?;
        let runtime = format!("runtime-{}", compiler.runtime_key(&runtime_sources));
        let runtime = cached(&cache.verilated(), &runtime, |folder| {
            compiler.runtime(folder, &runtime_sources)
        })?;
        let object = folder.join(OBJECT);
        compiler.design(
            &self.top,
            &generated,
            &header::table(&ports),
            &runtime,
            &object,
            self.opt,
        )?;
        // The generated C++ is large and can be made again.
        fs::remove_dir_all(&generated).map_err(Error::io("delete", generated))
    }
}

/// Every SystemVerilog and Verilog file under `folder`, packages (`*_pkg.sv`) first, sorted by
/// file name: the order in which tools that need declarations before uses can read them.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be listed.
pub fn source_tree(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(Error::io("list", &folder))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &folder))?;
            // A link's own type, so that a loop of links is not followed.
            let kind = entry.file_type().map_err(Error::io("read", entry.path()))?;
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if matches!(path.extension().and_then(OsStr::to_str), Some("sv" | "v")) {
                found.push(path);
            }
        }
    }
    let package = |path: &Path| path.to_string_lossy().ends_with("_pkg.sv");
    found.sort_by_key(|path| (!package(path), path.file_name().map(OsStr::to_owned)));
    Ok(found)
}

/// First 16 hexadecimal digits of a hash: enough for a cache of some thousand entries.
pub(crate) fn short_hex(hash: Sha256) -> String {
    hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The cache entry `parent/name`, made by `make` in a temporary folder when it does not exist.
///
/// A lock file makes other builders wait instead of repeating the work; the rename makes an entry
/// appear complete or not at all, also when a builder is killed.
pub(crate) fn cached(
    parent: &Path,
    name: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let entry = parent.join(name);
    if entry.is_dir() {
        return Ok(entry);
    }
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let lock_path = parent.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(Error::io("create", &lock_path))?;
    lock.lock().map_err(Error::io("lock", &lock_path))?;
    if entry.is_dir() {
        return Ok(entry);
    }
    let folder = tempfile::Builder::new()
        .prefix(".build-")
        .tempdir_in(parent)
        .map_err(Error::io("create a folder in", parent))?;
    make(folder.path())?;
    let made = folder.keep();
    fs::rename(&made, &entry).map_err(Error::io("rename", made))?;
    Ok(entry)
}
