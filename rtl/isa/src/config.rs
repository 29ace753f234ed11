//! Hardware configuration: the parameters of one instance of the accelerator.
//!
//! The instruction set does not depend on it; a program checks by [`HwConfig::hash`] that it runs
//! on the configuration for which buffers were allocated.

use crate::format::{
    BLOCK, CHUNK_BYTES, HEADER_BYTES, LINE_WORDS, Sparsity, TILE_ROWS, tile_bytes,
};
use std::fmt;

/// Parameters of the accelerator. Names in the SystemVerilog top level are the same in
/// UpperCamelCase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HwConfig {
    /// Data bits of a memory port: 128, 256 or 512.
    pub axi_bits: u32,
    /// Memory ports: 1, or 2 with loads on the first, instructions and stores on the second.
    pub axi_ports: u32,
    /// Memory channels side by side behind the first port: 1, 2, 4 or 8. More than one needs
    /// `axi_bits` of 512 and two ports.
    pub channels: u32,
    /// Rows that the matrix unit multiplies in parallel for each channel (each with 32 lanes): 1,
    /// 2, 4, 8 or 16.
    pub mac_rows: u32,
    /// f32 lanes of the special-function unit: 2, 4 or 8.
    pub sfu_lanes: u32,
    /// Most vectors in one `mm`: 1 to 32.
    pub max_tokens: u32,
    /// 32-bit words of vector memory, a power of two from 4096 to 262144.
    pub vmem_words: u32,
    /// Blocks of the activation buffer, a power of two from 64 to 16384.
    pub xbuf_blocks: u32,
    /// Beats of the weight stream buffer, a power of two from 32 to 4096.
    pub stream_beats: u32,
    /// Lines (of 4 instructions) of the instruction cache, a power of two from 16 to 1024.
    pub icache_lines: u32,
    /// Entries of each unit's instruction queue, a power of two from 2 to 16.
    pub queue_depth: u32,
    /// Widths of weight fields that tiles may have: bit b is set for fields of b bits. 2, 3, 4, 5,
    /// 6 and 8; 4 and 8 always, because the cache of keys and values needs 8.
    pub weight_bits: u32,
    /// Sparse tiles: 0 none, 1 those of 2:4, 2 also those of 4:16.
    pub sparsity: u32,
    /// Products that two rows of the matrix unit get out of one multiplier: 0 each row has its own;
    /// 1 two of dense codes of up to 4 bits, in a multiplier of 18 x 18 bits; 2 two of dense codes of
    /// any width, in one of 27 x 18 bits. What cannot share takes two cycles a step.
    pub mul_pack: u32,
    /// Clock for conversion of cycles to time, kHz. Not part of the hash.
    pub clock_khz: u32,
}

/// Every width of a weight field, as in [`HwConfig::weight_bits`].
pub const ALL_WEIGHT_BITS: u32 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8;

/// The mask of a list of widths, if it has 4 and 8 and nothing that is no width of a field.
pub fn weight_bits_mask(widths: &[u32]) -> Option<u32> {
    let bit = |mask, &width| (width <= 8).then(|| mask | 1u32 << width);
    let mask = widths.iter().try_fold(0, bit)?;
    legal_widths(mask).then_some(mask)
}

const fn legal_widths(mask: u32) -> bool {
    mask & !ALL_WEIGHT_BITS == 0 && mask >> 4 & 1 == 1 && mask >> 8 & 1 == 1
}

/// A parameter outside its range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// Name of the parameter.
    pub parameter: &'static str,
    /// Value found.
    pub value: u32,
    /// What is allowed.
    pub allowed: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is {}, allowed: {}",
            self.parameter, self.value, self.allowed
        )
    }
}

impl std::error::Error for ConfigError {}

impl HwConfig {
    /// The default: 64 INT8 lanes fed by one 256-bit port, as much as 4-bit weights need.
    pub const BASE: HwConfig = HwConfig {
        axi_bits: 256,
        axi_ports: 1,
        channels: 1,
        mac_rows: 2,
        sfu_lanes: 8,
        max_tokens: 16,
        vmem_words: 1 << 17,
        xbuf_blocks: 1 << 12,
        stream_beats: 1024,
        icache_lines: 256,
        queue_depth: 8,
        weight_bits: ALL_WEIGHT_BITS,
        sparsity: 2,
        mul_pack: 0,
        clock_khz: 200_000,
    };

    /// The smallest: fits an LFE5U-85F beside a memory controller and runs the `tiny` model.
    pub const SMALL: HwConfig = HwConfig {
        axi_bits: 128,
        axi_ports: 1,
        channels: 1,
        mac_rows: 1,
        sfu_lanes: 2,
        max_tokens: 2,
        vmem_words: 1 << 14,
        xbuf_blocks: 1 << 7,
        stream_beats: 128,
        icache_lines: 32,
        queue_depth: 4,
        weight_bits: 1 << 4 | 1 << 8,
        sparsity: 0,
        mul_pack: 0,
        clock_khz: 50_000,
    };

    /// A wide one: 128 lanes, a 512-bit port for their weights and a second for the rest.
    pub const WIDE: HwConfig = HwConfig {
        axi_bits: 512,
        axi_ports: 2,
        mac_rows: 4,
        stream_beats: 1024,
        ..HwConfig::BASE
    };

    /// The named configurations.
    pub const NAMED: [(&'static str, HwConfig); 3] = [
        ("base", Self::BASE),
        ("small", Self::SMALL),
        ("wide", Self::WIDE),
    ];

    /// Parameters that are elaborated into the RTL: name in the top level and value.
    pub fn parameters(&self) -> [(&'static str, u32); 14] {
        [
            ("AxiBits", self.axi_bits),
            ("AxiPorts", self.axi_ports),
            ("Channels", self.channels),
            ("MacRows", self.mac_rows),
            ("SfuLanes", self.sfu_lanes),
            ("MaxTokens", self.max_tokens),
            ("VmemWords", self.vmem_words),
            ("XbufBlocks", self.xbuf_blocks),
            ("StreamBeats", self.stream_beats),
            ("IcacheLines", self.icache_lines),
            ("QueueDepth", self.queue_depth),
            ("WeightBits", self.weight_bits),
            ("Sparsity", self.sparsity),
            ("MulPack", self.mul_pack),
        ]
    }

    /// FNV-1a over the elaborated parameters: the CONFIG_HASH register. A single channel is left
    /// out, so that programs from before there were several still run.
    pub fn hash(&self) -> u32 {
        let mut hash = 0x811c_9dc5u32;
        let parts = self.parameters().into_iter();
        for (_, value) in parts.filter(|&part| part != ("Channels", 1)) {
            for byte in value.to_le_bytes() {
                hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
            }
        }
        hash
    }

    /// Multiply-accumulate lanes of the matrix unit.
    pub const fn mac_lanes(&self) -> u32 {
        self.channels * self.mac_rows * BLOCK as u32
    }

    /// Rows of a tile, which are those of a row group: 16 for each channel.
    pub const fn tile_rows(&self) -> usize {
        self.channels as usize * TILE_ROWS
    }

    /// Bytes of a chunk, the unit of the weight stream: 64 for each channel.
    pub const fn chunk_bytes(&self) -> usize {
        self.channels as usize * CHUNK_BYTES
    }

    /// Bytes of a tile's header.
    pub const fn header_bytes(&self) -> usize {
        self.channels as usize * HEADER_BYTES
    }

    /// Bytes of a tile of fields of `bits` bits.
    pub const fn tile_bytes(&self, bits: usize, header: bool) -> usize {
        self.channels as usize * tile_bytes(bits, header)
    }

    /// Row groups of `n` rows.
    pub const fn row_groups(&self, n: usize) -> usize {
        n.div_ceil(self.tile_rows())
    }

    /// Byte of a tile's codes (those behind the header) at which byte `at` of the codes of row
    /// `row` lies; a row has four bytes for each bit of a field.
    pub const fn code_offset(&self, row: usize, bits: usize, at: usize) -> usize {
        let within = row % TILE_ROWS * 4 * bits + at;
        let chunk = within / CHUNK_BYTES * self.chunk_bytes();
        chunk + row / TILE_ROWS * CHUNK_BYTES + within % CHUNK_BYTES
    }

    /// Whether dense tiles may have codes of this width.
    pub fn has_weight_bits(&self, bits: usize) -> bool {
        bits < 32 && self.weight_bits >> bits & 1 == 1
    }

    /// The widths that dense codes may have, ascending.
    pub fn weight_widths(&self) -> impl Iterator<Item = usize> + use<> {
        let mask = self.weight_bits;
        (0..32).filter(move |bits| mask >> bits & 1 == 1)
    }

    /// Whether the matrix unit takes tiles of this sparsity with codes of `bits` bits.
    pub fn has_tiles(&self, sparsity: Sparsity, bits: usize) -> bool {
        bits >= 2
            && sparsity as u32 <= self.sparsity
            && self.has_weight_bits(bits + sparsity.index_bits())
    }

    /// Whether all rows of the matrix unit take a step of such tiles in the same cycle, even though
    /// two of them may share their multipliers.
    pub fn rows_together(&self, sparsity: Sparsity, bits: usize) -> bool {
        let most = match self.mul_pack {
            0 => return true,
            1 => 4,
            _ => 8,
        };
        sparsity == Sparsity::Dense && bits <= most
    }

    /// Bytes that loads bring at once: a beat of the first port on every channel.
    pub const fn load_beat_bytes(&self) -> u32 {
        self.channels * self.beat_bytes()
    }

    /// Whether keys and values may be cached in 4 bits: a step must hold both rows of a pair.
    pub const fn has_kv4(&self) -> bool {
        self.mac_rows >= 2
    }

    /// Bytes of a beat on a memory port.
    pub const fn beat_bytes(&self) -> u32 {
        self.axi_bits / 8
    }

    /// Checks every parameter.
    ///
    /// # Errors
    /// The first parameter that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let power = |v: u32, lo: u32, hi: u32| v.is_power_of_two() && (lo..=hi).contains(&v);
        let checks = [
            (
                "axi_bits",
                self.axi_bits,
                power(self.axi_bits, 128, 512),
                "128, 256 or 512",
            ),
            (
                "axi_ports",
                self.axi_ports,
                (1..=2).contains(&self.axi_ports),
                "1 or 2",
            ),
            (
                "channels",
                self.channels,
                power(self.channels, 1, 8)
                    && (self.channels == 1 || (self.axi_ports == 2 && self.axi_bits == 512)),
                "1, or 2, 4 or 8 with `axi_ports` 2 and `axi_bits` 512",
            ),
            (
                "mac_rows",
                self.mac_rows,
                power(self.mac_rows, 1, TILE_ROWS as u32),
                "1, 2, 4, 8 or 16",
            ),
            (
                "sfu_lanes",
                self.sfu_lanes,
                power(self.sfu_lanes, 2, LINE_WORDS as u32),
                "2, 4 or 8",
            ),
            (
                "max_tokens",
                self.max_tokens,
                (1..=32).contains(&self.max_tokens),
                "1 to 32",
            ),
            (
                "vmem_words",
                self.vmem_words,
                power(self.vmem_words, 4096, 1 << 18),
                "a power of two from 4096 to 262144",
            ),
            (
                "xbuf_blocks",
                self.xbuf_blocks,
                power(self.xbuf_blocks, 64, 1 << 14),
                "a power of two from 64 to 16384",
            ),
            (
                "stream_beats",
                self.stream_beats,
                power(self.stream_beats, 32, 4096),
                "a power of two from 32 to 4096",
            ),
            (
                "icache_lines",
                self.icache_lines,
                power(self.icache_lines, 16, 1024),
                "a power of two from 16 to 1024",
            ),
            (
                "queue_depth",
                self.queue_depth,
                power(self.queue_depth, 2, 16),
                "2, 4, 8 or 16",
            ),
            (
                "weight_bits",
                self.weight_bits,
                legal_widths(self.weight_bits),
                "a mask with bits 4 and 8, and any of 2, 3, 5 and 6",
            ),
            ("sparsity", self.sparsity, self.sparsity <= 2, "0, 1 or 2"),
            (
                "mul_pack",
                self.mul_pack,
                self.mul_pack == 0 || self.mul_pack <= 2 && self.mac_rows >= 2,
                "0, and from 2 `mac_rows` on also 1 and 2",
            ),
            (
                "clock_khz",
                self.clock_khz,
                (1..=2_000_000).contains(&self.clock_khz),
                "1 to 2000000",
            ),
        ];
        match checks.into_iter().find(|c| !c.2) {
            Some((parameter, value, _, allowed)) => Err(ConfigError {
                parameter,
                value,
                allowed,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_configurations_are_legal_and_distinct() {
        for (i, (name, config)) in HwConfig::NAMED.iter().enumerate() {
            assert_eq!(config.check(), Ok(()), "{name}");
            assert!(
                HwConfig::NAMED[..i]
                    .iter()
                    .all(|(_, other)| other.hash() != config.hash())
            );
        }
        let ports = HwConfig {
            axi_ports: 3,
            ..HwConfig::WIDE
        };
        assert_eq!(
            ports.check().unwrap_err().to_string(),
            "`axi_ports` is 3, allowed: 1 or 2"
        );
        let bad = HwConfig {
            mac_rows: 3,
            ..HwConfig::BASE
        };
        assert_eq!(
            bad.check().unwrap_err().to_string(),
            "`mac_rows` is 3, allowed: 1, 2, 4, 8 or 16"
        );
    }

    #[test]
    fn channels_need_wide_ports_and_make_tiles_wider() {
        let two = HwConfig {
            channels: 2,
            ..HwConfig::WIDE
        };
        assert_eq!(two.check(), Ok(()));
        assert_ne!(two.hash(), HwConfig::WIDE.hash());
        let sizes = (two.tile_rows(), two.chunk_bytes(), two.tile_bytes(4, true));
        assert_eq!(sizes, (32, 128, 640));
        // Row 17 is row 1 of the second channel; 8-bit rows are half a chunk.
        assert_eq!(two.code_offset(17, 8, 0), 64 + 32);
        assert_eq!(two.code_offset(3, 8, 5), 128 + 32 + 5);
        assert_eq!(HwConfig::BASE.code_offset(3, 5, 19), 3 * 20 + 19);
        let bad = [
            HwConfig { channels: 3, ..two },
            HwConfig {
                axi_ports: 1,
                ..two
            },
            HwConfig {
                axi_bits: 256,
                ..two
            },
        ];
        for (config, value) in bad.into_iter().zip([3, 2, 2]) {
            assert_eq!(
                config.check().unwrap_err().to_string(),
                format!(
                    "`channels` is {value}, allowed: 1, or 2, 4 or 8 with `axi_ports` 2 and \
                     `axi_bits` 512"
                )
            );
        }
    }

    #[test]
    fn widths_and_sparsities_are_checked_together() {
        let small = HwConfig::SMALL.weight_bits;
        assert_eq!(weight_bits_mask(&[8, 4]), Some(small));
        assert_eq!(weight_bits_mask(&[4, 7, 8]), None);
        assert_eq!(weight_bits_mask(&[4, 8, 36]), None);
        for weight_bits in [1 << 4, 1 << 8, 1 << 4 | 1 << 7 | 1 << 8] {
            let bad = HwConfig {
                weight_bits,
                ..HwConfig::BASE
            };
            assert_eq!(bad.check().unwrap_err().parameter, "weight_bits");
        }
        let taken = |config: HwConfig, sparsity| {
            let widths = (0..9).filter(|&bits| config.has_tiles(sparsity, bits));
            widths.collect::<Vec<_>>()
        };
        assert_eq!(taken(HwConfig::BASE, Sparsity::Dense), [2, 3, 4, 5, 6, 8]);
        assert_eq!(taken(HwConfig::BASE, Sparsity::S2Of4), [2, 3, 4, 6]);
        assert_eq!(taken(HwConfig::BASE, Sparsity::S4Of16), [2, 4]);
        assert_eq!(taken(HwConfig::SMALL, Sparsity::Dense), [4, 8]);
        let pairs = HwConfig {
            sparsity: 1,
            ..HwConfig::SMALL
        };
        assert_eq!(taken(pairs, Sparsity::S2Of4), [2, 6]);
        assert_eq!(taken(pairs, Sparsity::S4Of16), []);
    }
}
