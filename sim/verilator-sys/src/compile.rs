//! The C++ side: the compiler, Verilator's runtime as one object, and a design as one
//! translation unit.

use crate::build::short_hex;
use crate::toolchain::{self, Cache, Verilator};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SHIM_HEADER: &str = include_str!("cpp/shim.h");
const SHIM_RUNTIME: &str = include_str!("cpp/runtime.cpp");
const SHIM_MODEL: &str = include_str!("cpp/model.cpp");

/// Version of the C interface between `cpp/model.cpp` and `design.rs`.
pub(crate) const ABI: u32 = 1;

/// Longest part of the compiler's text that an error carries.
const TEXT_LIMIT: usize = 4000;

/// Optional parts of the Verilated runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Features {
    pub(crate) trace_fst: bool,
    pub(crate) coverage: bool,
}

/// A C++ compiler with the flags that every object of the same features shares.
pub(crate) struct Compiler {
    words: Vec<String>,
    flags: Vec<String>,
    include: PathBuf,
    features: Features,
    identity: String,
}

impl Compiler {
    pub(crate) fn find(
        cache: &Cache,
        verilator: &Verilator,
        features: Features,
    ) -> Result<Compiler> {
        let include = verilator.root.join("include");
        let mut compiler = Compiler {
            words: toolchain::cxx(),
            flags: flags(cache, &include, features)?,
            include,
            features,
            identity: String::new(),
        };
        compiler.identity = compiler.probe()?;
        Ok(compiler)
    }

    /// What the machine code depends on besides the sources: the compiler's version, the
    /// processor's features as `-march=native` finds them, the flags and our own C++.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    fn probe(&self) -> Result<String> {
        let mut command = self.command();
        // Predefined macros name both version and processor features.
        command.args(["-march=native", "-dM", "-E", "-x", "c++", "/dev/null"]);
        let macros = self.run(command, "compiler check")?;
        let mut hash = Sha256::new();
        hash.update(macros);
        for text in [SHIM_HEADER, SHIM_RUNTIME, SHIM_MODEL] {
            hash.update(text);
        }
        for flag in &self.flags {
            hash.update(flag);
            hash.update([0]);
        }
        hash.update(ABI.to_le_bytes());
        Ok(short_hex(hash))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        command
    }

    fn run(&self, mut command: Command, subject: &str) -> Result<Vec<u8>> {
        let program = &self.words[0];
        let output = command.output().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Missing {
                what: format!("C++ compiler `{program}`"),
                mend: "sudo apt-get install g++".into(),
            },
            _ => Error::io("run", program)(source),
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let text: String = text.trim().chars().take(TEXT_LIMIT).collect();
        Err(Error::Compile {
            subject: subject.to_owned(),
            compiler: self.words.join(" "),
            text,
        })
    }

    /// Runtime files that the design needs, from Verilator's own list in `classes`.
    pub(crate) fn runtime_sources(&self, classes: &Path) -> Result<Vec<String>> {
        let text = fs::read_to_string(classes).map_err(Error::io("read", classes))?;
        let mut names = Vec::new();
        let mut global = false;
        for line in text.lines() {
            let line = line.trim();
            if let Some((variable, _)) = line.split_once("+=") {
                global = variable.starts_with("VM_GLOBAL_");
            } else if line.is_empty() {
                global = false;
            } else if global {
                names.push(line.trim_end_matches('\\').trim().to_owned());
            }
        }
        if names.iter().any(|name| name == "verilated") {
            names.sort();
            return Ok(names);
        }
        Err(Error::Header {
            path: classes.to_path_buf(),
            line: 1,
            problem: "no list of runtime files".into(),
        })
    }

    pub(crate) fn runtime_key(&self, sources: &[String]) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.identity);
        for source in sources {
            hash.update(source);
            hash.update([0]);
        }
        short_hex(hash)
    }

    /// Compiles Verilator's runtime and our hooks into `folder`.
    pub(crate) fn runtime(&self, folder: &Path, sources: &[String]) -> Result<()> {
        // What the design prints goes to the model that prints it.
        let mut unit =
            String::from("int shim_printf(const char*, ...);\n#define VL_PRINTF shim_printf\n");
        for source in sources {
            let _ = writeln!(unit, "#include \"{source}.cpp\"");
        }
        unit.push_str(SHIM_RUNTIME);
        let path = folder.join("runtime.cpp");
        write(&folder.join("shim.h"), SHIM_HEADER)?;
        write(&path, &unit)?;
        let mut command = self.command();
        command.args(&self.flags).args(["-O2", "-c"]).arg(&path);
        command.arg("-I").arg(&self.include);
        command.arg("-o").arg(folder.join("runtime.o"));
        self.run(command, "Verilator's runtime").map(drop)
    }

    /// Compiles the C++ in `generated` with the C interface and links it with the runtime.
    pub(crate) fn design(
        &self,
        top: &str,
        generated: &Path,
        port_table: &str,
        runtime: &Path,
        object: &Path,
        opt: u8,
    ) -> Result<()> {
        let entries = fs::read_dir(generated).map_err(Error::io("list", generated))?;
        let mut files: Vec<_> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".cpp"))
            .collect();
        files.sort();
        let mut unit = String::new();
        for file in files {
            let _ = writeln!(unit, "#include \"{file}\"");
        }
        let _ = writeln!(unit, "#define SHIM_ABI {ABI}u\n{port_table}");
        unit.push_str(SHIM_MODEL);
        write(&generated.join("shim.h"), SHIM_HEADER)?;
        let path = generated.join("shim_unit.cpp");
        write(&path, &unit)?;

        let mut command = self.command();
        command.args(&self.flags).arg(format!("-O{opt}"));
        command
            .arg("-shared")
            .arg(&path)
            .arg(runtime.join("runtime.o"));
        if self.features.trace_fst {
            // By file name, because only the development packages carry `liblz4.so`.
            command.args(["-l:liblz4.so.1", "-l:libz.so.1"]);
        }
        command.arg("-o").arg(object);
        self.run(command, top).map(drop)
    }
}

fn flags(cache: &Cache, include: &Path, features: Features) -> Result<Vec<String>> {
    let mut flags: Vec<String> = [
        "-std=gnu++20",
        "-march=native",
        "-fPIC",
        // Several designs live in one process: nothing of theirs may be merged by name.
        "-fvisibility=hidden",
        "-fno-gnu-unique",
        "-fcf-protection=none",
        // Generated code, not ours to clean.
        "-w",
        "-DVL_USER_FINISH",
        "-DVL_USER_STOP",
        "-DVL_USER_FATAL",
        "-DVM_SC=0",
        "-DVM_TIMING=0",
    ]
    .map(str::to_owned)
    .into();
    for (name, on) in [
        ("VM_TRACE", features.trace_fst),
        ("VM_TRACE_FST", features.trace_fst),
        ("VM_COVERAGE", features.coverage),
    ] {
        flags.push(format!("-D{name}={}", u8::from(on)));
    }
    let mut includes = vec![include.to_path_buf(), include.join("vltstd")];
    if features.trace_fst {
        let packages = &toolchain::Pins::get().debian.fst_headers;
        let found = toolchain::fst_includes(cache).ok_or_else(|| Error::Missing {
            what: format!("headers for waveforms ({})", packages.join(", ")),
            mend: format!(
                "run `{}`, or sudo apt-get install {}",
                toolchain::SETUP,
                packages.join(" ")
            ),
        })?;
        includes.extend(found);
    }
    for folder in includes {
        flags.push("-isystem".into());
        flags.push(folder.display().to_string());
    }
    Ok(flags)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io("write", path))
}
