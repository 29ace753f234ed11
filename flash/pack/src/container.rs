//! The packed file, `.lampack`: weights in the order and grouping in which an engine reads them.
//!
//! ```text
//! 0         preamble: magic, version, place and SHA-256 of the header, length of the file
//! 16 KiB    sections, each at a multiple of 16 KiB:
//!             text         tokenizer and chat template, JSON
//!             vectors      norms, biases, neuron orders: f32 and u32, little-endian
//!             embeddings   token table (unless it is the output projection too), positions
//!             blk.N.attention, blk.N.ffn for each layer
//!             output       output projection
//! then      CRC-32 of every unit of every section, u32 each
//! last      header, JSON: sections with SHA-256, places of all matrices and vectors
//! ```
//!
//! Everything between these parts is zero. A *unit* is what one checksum covers: 64 KiB, or one
//! neuron in bundled FFNs, so that an engine checks what it streams and a flipped bit names its
//! section. Invariant: a file that [`Packed::open`] accepts can be read without further checks of
//! bounds; whether its data are intact, [`Checksums`] and [`Packed::verify`] say.

mod check;
mod checksums;
pub(crate) mod header;
mod index;
mod packed;
mod preamble;
mod verify;

pub use checksums::Checksums;
pub use header::Layout;
pub use packed::{Packed, is_packed};
pub use verify::Verified;

pub(crate) use checksums::UnitCrc;
pub(crate) use preamble::{PREAMBLE_BYTES, Preamble};

/// Version of the container, in the preamble and in the header.
pub const VERSION: u32 = 1;
/// Alignment of sections: the largest page size of the machines in view.
pub const SECTION_ALIGN: u64 = 16 << 10;
/// Alignment of matrices and vectors within a section: a cache line.
pub(crate) const MATRIX_ALIGN: u64 = 64;
/// Bytes that one checksum covers in sections without bundles.
pub(crate) const UNIT_BYTES: u64 = 64 << 10;
/// A header larger than this is not ours.
pub(crate) const HEADER_BYTES_MAX: u64 = 256 << 20;

/// Names of sections.
pub(crate) mod sections {
    pub(crate) const TEXT: &str = "text";
    pub(crate) const VECTORS: &str = "vectors";
    pub(crate) const EMBEDDINGS: &str = "embeddings";
    pub(crate) const OUTPUT: &str = "output";

    pub(crate) fn attention(layer: usize) -> String {
        format!("blk.{layer}.attention")
    }

    pub(crate) fn ffn(layer: usize) -> String {
        format!("blk.{layer}.ffn")
    }
}

/// The packed file `bytes` with another header and a preamble that fits it: for tests that want
/// to get past the hash. Not for anything else: it makes damaged files look whole.
///
/// # Panics
/// If `bytes` do not begin with a preamble.
#[doc(hidden)]
pub fn reseal(bytes: &[u8], header: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let offset = u64::from_le_bytes(bytes[16..24].try_into().expect("8 bytes"));
    let mut out = bytes[..bytes.len().min(offset as usize)].to_vec();
    out.extend(header);
    out.resize(out.len().next_multiple_of(SECTION_ALIGN as usize), 0);
    let preamble = Preamble {
        header_offset: offset,
        header_bytes: header.len() as u64,
        file_bytes: out.len() as u64,
        header_sha256: Sha256::digest(header).into(),
    };
    out[..PREAMBLE_BYTES].copy_from_slice(&preamble.encode());
    out
}
