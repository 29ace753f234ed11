//! Errors of building, loading and evaluating a Verilated design.

use std::fmt;
use std::path::PathBuf;

/// What can go wrong. Every message names its subject and, where something can be done, ends with
/// a `hint:`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read, written or locked.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// Verb phrase, for example `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A pinned tool is not installed.
    #[error("{what} was not found\n\nhint: {mend}")]
    Missing {
        /// Name and wanted version.
        what: String,
        /// Command that mends it.
        mend: String,
    },
    /// The cache folder cannot be determined.
    #[error(
        "no cache folder: neither LAMPYRIS_CACHE, XDG_CACHE_HOME nor HOME is set\n\nhint: set LAMPYRIS_CACHE to a writable folder"
    )]
    NoCache,
    /// Verilator refused the sources; a lint warning counts.
    #[error(
        "Verilator refused `{top}`:\n{text}\n\nhint: each warning is an error; mend the source, or waive a rule in the module that breaks it and say why"
    )]
    Verilate {
        /// Top module.
        top: String,
        /// Verilator's own words.
        text: String,
    },
    /// The C++ compiler failed.
    #[error(
        "the C++ compiler failed on `{subject}`:\n{text}\n\nhint: `{compiler}` must be g++ 12 or later, or clang++ 16 or later; the environment variable CXX picks another"
    )]
    Compile {
        /// What was compiled.
        subject: String,
        /// Program that ran.
        compiler: String,
        /// The compiler's own words, shortened to the first errors.
        text: String,
    },
    /// Verilator's generated header does not read as expected.
    #[error("generated header `{}` line {line}: {problem}\n\nhint: the pinned Verilator writes a form that is understood; run `cargo xtask setup`", path.display())]
    Header {
        /// The header.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A compiled design could not be loaded.
    #[error("cannot load the compiled design `{}`\n\nhint: delete that file; it is built again", path.display())]
    Load {
        /// The shared object.
        path: PathBuf,
        /// Cause.
        source: libloading::Error,
    },
    /// A compiled design's interface is not the one that this crate expects.
    #[error("compiled design `{}`: {problem}\n\nhint: delete that file; it is built again", path.display())]
    Interface {
        /// The shared object.
        path: PathBuf,
        /// What differs.
        problem: String,
    },
    /// A port that the design does not have, or has with another direction or width.
    #[error("port `{port}` of `{top}`: {problem}\n\nhint: ports: {known}")]
    Port {
        /// Name asked for.
        port: String,
        /// Top module.
        top: String,
        /// What is wrong with the request.
        problem: String,
        /// What the design has.
        known: String,
    },
    /// The design ended the simulation.
    #[error(transparent)]
    Halt(Box<Halt>),
    /// The design was built without a feature that is now asked for.
    #[error("`{top}` was built without {feature}\n\nhint: set `{setting}` on the `Build`")]
    NotBuilt {
        /// Top module.
        top: String,
        /// The feature.
        feature: &'static str,
        /// The field of `Build`.
        setting: &'static str,
    },
    /// An argument that cannot be passed on.
    #[error("{what} is unusable: {problem}\n\nhint: {hint}")]
    Argument {
        /// The argument.
        what: String,
        /// Why.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}

/// How a simulation was ended by the design or by the simulator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HaltKind {
    /// `$finish`.
    Finish,
    /// `$stop`, `$fatal`, `$error` or a failing assertion.
    Stop,
    /// The simulator gave up, for example on a combinational loop.
    Fatal,
}

/// The design or the simulator ended the simulation. The model stays halted: every later
/// evaluation returns the same halt.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Halt {
    /// Top module.
    pub top: String,
    /// What ended it.
    pub kind: HaltKind,
    /// Source file as given to Verilator; empty when unknown.
    pub file: String,
    /// Line in the file.
    pub line: u32,
    /// Simulation time ([`crate::Model::time`]).
    pub time: u64,
    /// What the design printed during that evaluation, then the simulator's own message.
    pub message: String,
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            HaltKind::Finish => "$finish",
            HaltKind::Stop => "$stop, $fatal or a failed assertion",
            HaltKind::Fatal => "a fatal error of the simulator",
        };
        write!(
            f,
            "`{}` halted at time {} by {what} at {}:{}",
            self.top, self.time, self.file, self.line
        )?;
        let message = self.message.trim_end();
        if !message.is_empty() {
            write!(f, "\n{message}")?;
        }
        Ok(())
    }
}
