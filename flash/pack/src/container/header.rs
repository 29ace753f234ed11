//! The header's schema. Offsets are from the start of the file.

use lampyris_flash::TensorType;
use lampyris_import::arch::ModelSpec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The hint for files that were damaged.
pub(crate) const DAMAGED: &str =
    "the file is damaged; `lampyris pack --verify` lists the sections; pack the model again";

/// How FFNs lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// The source's tensors, byte for byte, in the order of their use.
    Dense,
    /// Row-column bundles ("LLM in a flash", section 3.2).
    Bundled,
}

impl Layout {
    /// The name that files and commands use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Bundled => "bundled",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) schema_version: u32,
    pub(crate) layout: Layout,
    pub(crate) source: Source,
    pub(crate) spec: ModelSpec,
    pub(crate) sections: Vec<Section>,
    pub(crate) checksums: Blob,
    pub(crate) token_embd: Matrix,
    pub(crate) output: Option<Matrix>,
    pub(crate) position_embd: Option<Matrix>,
    pub(crate) output_norm: NormEntry,
    pub(crate) layers: Vec<Layer>,
}

/// What the file was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// Names of the weight files.
    pub(crate) files: Vec<String>,
    /// Their total size.
    pub(crate) bytes: u64,
    /// SHA-256 of their headers, one after the other.
    pub(crate) headers_sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) grid: Grid,
}

/// Which bytes of a section each checksum covers: units of `unit` bytes, `per_group` of them at
/// the start of every `group` bytes. Bytes between the last unit and the next group are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grid {
    pub(crate) unit: u64,
    pub(crate) per_group: u64,
    pub(crate) group: u64,
}

impl Grid {
    /// Units one after the other.
    pub(crate) const fn plain(unit: u64) -> Self {
        Self {
            unit,
            per_group: 1,
            group: unit,
        }
    }

    /// Whether units of a group fit into it, and nothing is zero.
    pub(crate) fn is_sound(&self) -> bool {
        self.unit > 0
            && self.per_group > 0
            && self
                .unit
                .checked_mul(self.per_group)
                .is_some_and(|bytes| bytes <= self.group)
    }

    /// Units that begin in a section of `bytes`.
    pub(crate) fn units(&self, bytes: u64) -> u64 {
        let rest = (bytes % self.group).div_ceil(self.unit).min(self.per_group);
        (bytes / self.group)
            .saturating_mul(self.per_group)
            .saturating_add(rest)
    }

    /// First byte and length of unit `i` in a section of `bytes`.
    pub(crate) fn unit_range(&self, i: u64, bytes: u64) -> std::ops::Range<u64> {
        let start = i / self.per_group * self.group + i % self.per_group * self.unit;
        start..bytes.min(start + self.unit)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blob {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    #[serde(rename = "type")]
    pub(crate) ty: Type,
    pub(crate) rows: u64,
    pub(crate) cols: u64,
    pub(crate) offset: u64,
}

/// An element format by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Type(pub(crate) TensorType);

impl TryFrom<String> for Type {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        TensorType::all()
            .find(|ty| ty.name() == name)
            .map(Self)
            .ok_or_else(|| format!("unknown element type `{name}`"))
    }
}

impl From<Type> for String {
    fn from(ty: Type) -> Self {
        ty.0.name().into()
    }
}

/// `len` values of four bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NormEntry {
    pub(crate) weight: Vector,
    pub(crate) bias: Option<Vector>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinearEntry {
    pub(crate) weight: Matrix,
    pub(crate) bias: Option<Vector>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) attn_norm: NormEntry,
    pub(crate) q: LinearEntry,
    pub(crate) k: LinearEntry,
    pub(crate) v: LinearEntry,
    pub(crate) o: LinearEntry,
    pub(crate) ffn_norm: NormEntry,
    pub(crate) ffn: FfnEntry,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum FfnEntry {
    Dense {
        gate: Option<LinearEntry>,
        up: LinearEntry,
        down: LinearEntry,
    },
    Bundled(BundlesEntry),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BundlesEntry {
    pub(crate) neurons: u64,
    pub(crate) gate: Option<PartEntry>,
    pub(crate) up: PartEntry,
    pub(crate) down: PartEntry,
    pub(crate) bundle_bytes: u64,
    pub(crate) group_neurons: u64,
    pub(crate) group_bytes: u64,
    pub(crate) offset: u64,
    /// Position to id, u32 each.
    pub(crate) order: Option<Vector>,
    pub(crate) gate_bias: Option<Vector>,
    pub(crate) up_bias: Option<Vector>,
    pub(crate) down_bias: Option<Vector>,
    /// RMS error of the down matrix relative to the source's RMS.
    pub(crate) down_error: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartEntry {
    #[serde(rename = "type")]
    pub(crate) ty: Type,
    pub(crate) offset: u64,
}

/// Hex of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hex SHA-256 of bytes.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
