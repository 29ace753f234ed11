//! Instruction sets and their detection.

use crate::{Error, Result};
use std::fmt;

/// An instruction set for which kernels exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Portable code; defines the results of all others.
    Scalar,
    /// x86-64 with AVX2 and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    Avx512Vnni,
    /// ARM64 with what each has.
    Neon,
    /// ARM64 with the dot product extension (`sdot`).
    NeonDotprod,
    /// ARM64 with `sdot` and 8-bit matrix products (`smmla`).
    NeonI8mm,
}

impl Isa {
    /// All, the fastest of each architecture last.
    pub const ALL: [Self; 6] = [
        Self::Scalar,
        Self::Avx2,
        Self::Avx512Vnni,
        Self::Neon,
        Self::NeonDotprod,
        Self::NeonI8mm,
    ];

    /// The name that `LAMPYRIS_ISA` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512Vnni => "avx512vnni",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
        }
    }

    /// Whether this build and this processor have it.
    pub fn is_available(self) -> bool {
        crate::backend::backend(self).is_some()
    }

    /// Those that run here, the fastest last.
    pub fn available() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// The fastest that runs here, or the one that the environment variable `LAMPYRIS_ISA` names.
    ///
    /// # Errors
    /// [`Error::IsaUnknown`], [`Error::IsaAbsent`] if the variable names one that cannot be used.
    pub fn detect() -> Result<Self> {
        match std::env::var("LAMPYRIS_ISA") {
            Ok(name) => Self::named(&name),
            Err(_) => Ok(*Self::available().last().expect("scalar always runs")),
        }
    }

    /// The instruction set of this name.
    ///
    /// # Errors
    /// [`Error::IsaUnknown`], [`Error::IsaAbsent`].
    pub fn named(name: &str) -> Result<Self> {
        let Some(isa) = Self::ALL.into_iter().find(|isa| isa.name() == name) else {
            return Err(Error::IsaUnknown {
                name: name.to_owned(),
                known: names(&Self::ALL),
            });
        };
        if isa.is_available() {
            Ok(isa)
        } else {
            Err(isa.absent())
        }
    }

    pub(crate) fn absent(self) -> Error {
        Error::IsaAbsent {
            isa: self.name(),
            available: names(&Self::available()),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn names(isas: &[Isa]) -> String {
    let names: Vec<_> = isas.iter().map(|isa| isa.name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for isa in Isa::available() {
            assert_eq!(Isa::named(isa.name()).expect("it is available"), isa);
        }
    }

    #[test]
    fn unknown_and_absent_are_refused_by_name() {
        let error = Isa::named("mmx").expect_err("there is no such kernel");
        assert!(error.to_string().contains("`mmx`"), "{error}");
        let foreign = if cfg!(target_arch = "x86_64") {
            "neon-i8mm"
        } else {
            "avx2"
        };
        let error = Isa::named(foreign).expect_err("another architecture");
        assert!(
            error.to_string().contains("available are scalar"),
            "{error}"
        );
    }
}
