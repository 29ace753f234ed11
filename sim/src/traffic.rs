//! What the bytes on the memory ports are: a monitor of every beat, by address.
//!
//! The compiled directory says what lies where ([`lampyris_bundle::Content`]); the monitor counts
//! the beats of the ports, whole, so that its sum equals the ports' own counters. Rows of a tied
//! embedding are told from the output projection by order: until a call has read another matrix,
//! what it reads there are the rows of its tokens.

use lampyris_bundle::{Bundle, Content, ContentKind, RegionKind, Role};
use lampyris_isa::HwConfig;
use lampyris_isa::format::Sparsity;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a byte on a memory port is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Codes of weights.
    Codes {
        /// Bits of a code.
        bits: u8,
        /// Which weights are kept.
        sparsity: Sparsity,
    },
    /// Scales and minima of weights.
    Scales,
    /// Columns of the kept weights of sparse tiles.
    Indices,
    /// Norm weights, biases, constants of the program.
    Vectors,
    /// Rotary factors, learned positions.
    Tables,
    /// Codes of keys and values.
    KvCodes,
    /// Scales of keys and values.
    KvScales,
    /// Instructions.
    Program,
    /// Rows of the token embedding.
    Embedding,
    /// Token ids.
    Tokens,
    /// Logits.
    Logits,
    /// Activations that did not stay on the chip.
    Activations,
    /// Nothing that the compiled directory knows of.
    Unclassified,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Class::Codes { bits, sparsity } => {
                return match sparsity {
                    Sparsity::Dense => write!(f, "weights, {bits} bits"),
                    Sparsity::S2Of4 => write!(f, "weights, {bits} bits, 2:4"),
                    Sparsity::S4Of16 => write!(f, "weights, {bits} bits, 4:16"),
                };
            }
            Class::Scales => "weight scales and minima",
            Class::Indices => "weight indices",
            Class::Vectors => "norms, biases, constants",
            Class::Tables => "position tables",
            Class::KvCodes => "KV codes",
            Class::KvScales => "KV scales",
            Class::Program => "program",
            Class::Embedding => "embedding rows",
            Class::Tokens => "token ids",
            Class::Logits => "logits",
            Class::Activations => "activations",
            Class::Unclassified => "unclassified",
        };
        f.write_str(name)
    }
}

impl Class {
    /// Whether a decode step cannot do without: weights and KV cache.
    pub fn is_useful(self) -> bool {
        matches!(
            self,
            Class::Codes { .. } | Class::Scales | Class::Indices | Class::KvCodes | Class::KvScales
        )
    }
}

/// Bytes of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bytes {
    /// Read, in whole beats.
    pub read: u64,
    /// Written.
    pub written: u64,
    /// Lanes of write beats that carried nothing.
    pub masked: u64,
}

impl Bytes {
    /// All that the port moved.
    pub fn total(&self) -> u64 {
        self.read + self.written + self.masked
    }

    fn add(&mut self, other: Bytes) {
        self.read += other.read;
        self.written += other.written;
        self.masked += other.masked;
    }
}

/// Bytes on the memory ports by class.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Traffic(pub BTreeMap<Class, Bytes>);

impl Traffic {
    /// Bytes of a class.
    pub fn of(&self, class: Class) -> Bytes {
        self.0.get(&class).copied().unwrap_or_default()
    }

    /// Bytes of all classes.
    pub fn total(&self) -> Bytes {
        let mut sum = Bytes::default();
        self.0.values().for_each(|&bytes| sum.add(bytes));
        sum
    }

    /// Bytes of weights and KV cache.
    pub fn useful(&self) -> u64 {
        let useful = self.0.iter().filter(|(class, _)| class.is_useful());
        useful.map(|(_, bytes)| bytes.total()).sum()
    }

    /// Adds the bytes of another call.
    pub fn add(&mut self, other: &Traffic) {
        for (&class, &bytes) in &other.0 {
            self.0.entry(class).or_default().add(bytes);
        }
    }
}

/// How the bytes of a span divide.
#[derive(Clone, Copy, Debug)]
enum Parts {
    /// All of one class.
    One(Class),
    /// Weight tiles of this many bytes: a header, then fields of so many bits.
    Tiles {
        tile: u64,
        header: u64,
        bits: u8,
        sparsity: Sparsity,
        role: Role,
    },
    /// Heads of a cache.
    Heads {
        keys: u64,
        values: u64,
        all: u64,
        tile: u64,
        header: u64,
    },
}

#[derive(Clone, Copy, Debug)]
struct Span {
    base: u64,
    end: u64,
    parts: Parts,
}

/// What lies where, for monitors.
#[derive(Clone, Debug)]
pub struct TrafficMap {
    /// In address order, disjoint.
    spans: Vec<Span>,
}

impl TrafficMap {
    /// The memory map of a compiled directory.
    pub fn new(bundle: &Bundle) -> TrafficMap {
        let mut spans: Vec<Span> = {
            let of = |content| of_content(content, &bundle.config);
            bundle.contents.iter().map(of).collect()
        };
        for region in &bundle.manifest.regions {
            let class = match region.kind {
                RegionKind::Program => Class::Program,
                RegionKind::Tokens => Class::Tokens,
                RegionKind::Logits => Class::Logits,
                RegionKind::Activations => Class::Activations,
                RegionKind::Weights | RegionKind::Kv => continue,
            };
            // Segments occupy whole pages, and lines of instructions reach beyond the last one.
            let end = (region.base + region.bytes).next_multiple_of(crate::PAGE);
            spans.push(Span {
                base: region.base,
                end,
                parts: Parts::One(class),
            });
        }
        spans.sort_by_key(|span| span.base);
        TrafficMap { spans }
    }

    fn find(&self, addr: u64) -> Option<usize> {
        let after = self.spans.partition_point(|span| span.base <= addr);
        let at = after.checked_sub(1)?;
        (addr < self.spans[at].end).then_some(at)
    }
}

fn of_content(content: &Content, hw: &HwConfig) -> Span {
    let header = hw.header_bytes() as u64;
    let parts = match content.kind {
        ContentKind::Vector => Parts::One(Class::Vectors),
        ContentKind::Table => Parts::One(Class::Tables),
        ContentKind::Matrix {
            bits,
            sparsity,
            role,
        } => Parts::Tiles {
            tile: hw.tile_bytes(bits.into(), true) as u64,
            header,
            bits,
            sparsity: Sparsity::from_field(sparsity).unwrap_or(Sparsity::Dense),
            role,
        },
        ContentKind::Cache {
            key_bytes,
            value_bytes,
            scale_bytes,
            bits,
        } => Parts::Heads {
            keys: key_bytes,
            values: value_bytes,
            all: key_bytes + value_bytes + scale_bytes,
            tile: hw.tile_bytes(bits.into(), true) as u64,
            header,
        },
    };
    let end = content.base + content.bytes;
    Span {
        base: content.base,
        // What follows begins at the next chunk.
        end: end.next_multiple_of(hw.chunk_bytes() as u64),
        parts,
    }
}

/// Counts the beats of a call.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    map: Arc<TrafficMap>,
    /// The span of the last beat.
    last: usize,
    /// A matrix of products has been read since the start.
    streamed: bool,
    /// Fields of sparse tiles still count as codes of the whole field's width.
    counted: BTreeMap<Class, Bytes>,
}

impl Monitor {
    pub(crate) fn new(map: Arc<TrafficMap>) -> Monitor {
        Monitor {
            map,
            last: 0,
            streamed: false,
            counted: BTreeMap::new(),
        }
    }

    /// Forgets the call before.
    pub(crate) fn start(&mut self) {
        self.streamed = false;
        self.counted.clear();
    }

    pub(crate) fn read(&mut self, addr: u64, bytes: u64) {
        let class = self.class(addr, true);
        self.counted.entry(class).or_default().read += bytes;
    }

    pub(crate) fn write(&mut self, addr: u64, written: u64, masked: u64) {
        let class = self.class(addr, false);
        let count = self.counted.entry(class).or_default();
        count.written += written;
        count.masked += masked;
    }

    fn class(&mut self, addr: u64, read: bool) -> Class {
        let here = |span: &Span| (span.base..span.end).contains(&addr);
        if !self.map.spans.get(self.last).is_some_and(here) {
            match self.map.find(addr) {
                Some(found) => self.last = found,
                None => return Class::Unclassified,
            }
        }
        let span = self.map.spans[self.last];
        let offset = addr - span.base;
        match span.parts {
            Parts::One(class) => class,
            Parts::Heads {
                keys,
                values,
                all,
                tile,
                header,
            } => of_head(offset % all, (keys, values), (tile, header)),
            Parts::Tiles {
                tile,
                header,
                bits,
                sparsity,
                role,
            } => {
                if role == Role::Embedding || role == Role::Tied && !self.streamed {
                    return Class::Embedding;
                }
                self.streamed |= read;
                match offset % tile < header {
                    true => Class::Scales,
                    false => Class::Codes { bits, sparsity },
                }
            }
        }
    }

    /// What has been counted since the start.
    pub(crate) fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for (&class, &bytes) in &self.counted {
            for (class, bytes) in split(class, bytes) {
                traffic.0.entry(class).or_default().add(bytes);
            }
        }
        traffic
    }
}

fn of_head(offset: u64, (keys, values): (u64, u64), (tile, header): (u64, u64)) -> Class {
    let of_keys = offset < keys && offset % tile >= header;
    match of_keys || (keys..keys + values).contains(&offset) {
        true => Class::KvCodes,
        false => Class::KvScales,
    }
}

/// Fields of sparse tiles to codes and indices.
fn split(class: Class, bytes: Bytes) -> Vec<(Class, Bytes)> {
    let Class::Codes { bits, sparsity } = class else {
        return vec![(class, bytes)];
    };
    let index = sparsity.index_bits() as u64;
    let part = |bytes: u64| bytes * index / u64::from(bits);
    let indices = Bytes {
        read: part(bytes.read),
        written: part(bytes.written),
        masked: part(bytes.masked),
    };
    let codes = Bytes {
        read: bytes.read - indices.read,
        written: bytes.written - indices.written,
        masked: bytes.masked - indices.masked,
    };
    let bits = bits - index as u8;
    let codes = (Class::Codes { bits, sparsity }, codes);
    match index {
        0 => vec![codes],
        _ => vec![codes, (Class::Indices, indices)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_isa::format::{HEADER_BYTES, tile_bytes};

    fn map(spans: &[(u64, u64, Parts)]) -> Arc<TrafficMap> {
        let spans = spans
            .iter()
            .map(|&(base, end, parts)| Span { base, end, parts });
        Arc::new(TrafficMap {
            spans: spans.collect(),
        })
    }

    #[test]
    fn tiles_divide_into_scales_codes_and_indices() {
        let tiles = |sparsity, role| Parts::Tiles {
            tile: tile_bytes(6, true) as u64,
            header: HEADER_BYTES as u64,
            bits: 6,
            sparsity,
            role,
        };
        let map = map(&[
            (0, 448, tiles(Sparsity::Dense, Role::Tied)),
            (448, 896, tiles(Sparsity::S2Of4, Role::Product)),
        ]);
        let mut monitor = Monitor::new(map);
        monitor.start();
        monitor.read(64, 64);
        for beat in 7..14 {
            monitor.read(64 * beat, 64);
        }
        monitor.read(64, 64);
        monitor.read(896, 16);
        let t = monitor.traffic();
        assert_eq!(t.of(Class::Embedding).read, 64);
        assert_eq!(t.of(Class::Scales).read, 64);
        let codes = |bits, sparsity| t.of(Class::Codes { bits, sparsity }).read;
        assert_eq!(codes(4, Sparsity::S2Of4), 256);
        assert_eq!(t.of(Class::Indices).read, 128);
        assert_eq!(codes(6, Sparsity::Dense), 64);
        assert_eq!(t.of(Class::Unclassified).read, 16);
        assert_eq!(t.total().total(), 64 + 448 + 64 + 16);
    }

    #[test]
    fn heads_divide_into_codes_and_scales() {
        let heads = Parts::Heads {
            keys: 576,
            values: 512,
            all: 576 + 512 + 64,
            tile: 576,
            header: 64,
        };
        let mut monitor = Monitor::new(map(&[(0, 2 * 1152, heads)]));
        for (addr, class) in [
            (0, Class::KvScales),
            (64, Class::KvCodes),
            (576, Class::KvCodes),
            (1088, Class::KvScales),
            (1152, Class::KvScales),
            (1152 + 64, Class::KvCodes),
        ] {
            assert_eq!(monitor.class(addr, true), class, "{addr}");
        }
        monitor.write(64, 1, 15);
        assert_eq!(monitor.traffic().of(Class::KvCodes).total(), 16);
    }
}
