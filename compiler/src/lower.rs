//! Graph to instructions: one program with two entry points, `decode` (one token) and `prefill`
//! (up to the planned number of tokens), each valid for every position.
//!
//! Host interface. Token ids lie in the tokens region; r1 = number of tokens, r2 = position of
//! the first, r3 = 1 if logits are wanted (otherwise the call ends after the last layer),
//! r4 = 1 if they are to be stored, r7 = slot of the first position if the cache is a ring. At halt
//! r1 is the most likely next token (if r3 was 1).

mod attention;
mod ends;
mod ffn;
mod linear;
mod mask;
mod norm;
mod ring;
mod rotate;

use crate::buffers::{Buffers, Vector};
use crate::error::{Error, Result};
use crate::image::{Floats, Image, Run};
use crate::kv::KvFormat;
use crate::program::{Node, Region, UnitOp};
use crate::ring::Ring;
use lampyris_bundle::{Mask, Schedule};
use lampyris_import::arch::{LayerSpec, ModelSpec};
use lampyris_isa::format::BLOCK;
use lampyris_isa::insn::{Alu, Halt, LdV, Vop};
use lampyris_isa::{HwConfig, Insn};

/// Registers of the generated programs.
pub(crate) mod reg {
    pub(crate) const ZERO: u8 = 0;
    /// Byte offset of a copy to or from DRAM; only the spilled schedule uses this and the next two.
    pub(crate) const SPILL_BYTE: u8 = 5;
    /// Words of a copy.
    pub(crate) const SPILL_COUNT: u8 = 6;
    /// Word offset of a copy.
    pub(crate) const SPILL_WORD: u8 = 31;
    /// Tokens in this call (argument).
    pub(crate) const COUNT: u8 = 1;
    /// Position of the first token (argument).
    pub(crate) const POS: u8 = 2;
    /// Whether logits are wanted (argument).
    pub(crate) const WANT_HEAD: u8 = 3;
    /// Whether logits are stored (argument).
    pub(crate) const STORE_LOGITS: u8 = 4;
    /// Slot of the first token in a ring cache (argument).
    pub(crate) const FIRST_SLOT: u8 = 7;
    /// Slot of the current token in a ring cache.
    pub(crate) const SLOT: u8 = 8;
    /// Byte offset of the current layer's constants within its run.
    pub(crate) const LAYER: u8 = 9;
    /// Byte offset of the current layer's cache within its run.
    pub(crate) const CACHE: u8 = 10;
    /// Index of the current token in this call.
    pub(crate) const INDEX: u8 = 11;
    /// Position of the current token.
    pub(crate) const TOKEN_POS: u8 = 12;
    /// Positions that the current token attends to.
    pub(crate) const LEN: u8 = 13;
    /// Row groups of the key cache in use.
    pub(crate) const KEY_GROUPS: u8 = 14;
    /// Blocks of the value cache in use.
    pub(crate) const VALUE_BLOCKS: u8 = 15;
    /// Byte offset of the current position's key tiles.
    pub(crate) const KEY_TILE: u8 = 16;
    /// Byte offset of the current position's value tiles.
    pub(crate) const VALUE_TILE: u8 = 17;
    /// Byte offset of the current position's value scale.
    pub(crate) const VALUE_SCALE: u8 = 18;
    /// Chunks of one head's key cache in use.
    pub(crate) const KEY_CHUNKS: u8 = 19;
    /// Chunks of one row group of the value cache in use.
    pub(crate) const VALUE_CHUNKS: u8 = 20;
    /// Byte offset of the current position in the rotary or position table.
    pub(crate) const TABLE: u8 = 21;
    /// Word offset of the current token's queries.
    pub(crate) const Q: u8 = 22;
    /// Word offset of the current token's keys.
    pub(crate) const K: u8 = 23;
    /// Word offset of the current token's values.
    pub(crate) const V: u8 = 24;
    /// Word offset of the current token's attention result.
    pub(crate) const ATTN: u8 = 25;
    /// Token id, then the row in its tile.
    pub(crate) const TOKEN: u8 = 26;
    /// Byte offset of the token's codes.
    pub(crate) const ROW: u8 = 27;
    /// Byte offset of the token's scales.
    pub(crate) const ROW_SCALE: u8 = 28;
    /// Word offset of the current token in the residual stream.
    pub(crate) const X: u8 = 29;
    /// Word offset of the last token in the residual stream.
    pub(crate) const LAST: u8 = 30;
    /// In a ring, from here on in the place of the embedding's registers: the last slot that is in
    /// use, where queries meet the sinks.
    pub(crate) const SEEN: u8 = TOKEN;
    /// Byte offset of the position's multiple in the table of multiples.
    pub(crate) const TABLE_HIGH: u8 = ROW;
    /// Byte offset in the rotary table of the place where queries meet the sinks.
    pub(crate) const TABLE_SINKS: u8 = ROW_SCALE;

    /// Registers of the two visible runs of a masked cache.
    #[derive(Clone, Copy)]
    pub(crate) struct Runs {
        /// Chunks of the first run.
        pub(crate) first: u8,
        /// Byte offset of the second, the window.
        pub(crate) from: u8,
        /// Chunks of the window.
        pub(crate) chunks: u8,
        /// Tiles of both.
        pub(crate) tiles: u8,
    }

    /// Keys of a head. With a mask, registers of the spilled schedule and of the embedding serve.
    pub(crate) const KEYS: Runs = Runs {
        first: SPILL_BYTE,
        from: SPILL_COUNT,
        chunks: KEY_CHUNKS,
        tiles: KEY_GROUPS,
    };
    /// A row group of values.
    pub(crate) const VALUES: Runs = Runs {
        first: FIRST_SLOT,
        from: SLOT,
        chunks: VALUE_CHUNKS,
        tiles: VALUE_BLOCKS,
    };
    /// Value scales of the first run: words.
    pub(crate) const FIRST_SCALES: u8 = TOKEN;
    /// Byte offset of the window's value scales.
    pub(crate) const WINDOW_SCALES: u8 = ROW;
    /// Positions in the window.
    pub(crate) const WINDOW_LEN: u8 = SPILL_WORD;
}

/// Functions of the register arithmetic instruction.
pub(crate) mod alu {
    pub(crate) const ADD: u8 = 0;
    pub(crate) const SUB: u8 = 1;
    pub(crate) const MUL: u8 = 2;
    pub(crate) const AND: u8 = 3;
    pub(crate) const SHL: u8 = 4;
    pub(crate) const SHR: u8 = 5;
    pub(crate) const MIN: u8 = 6;
    pub(crate) const MAX: u8 = 7;
}

/// Selectors of `vop`.
pub(crate) mod vop {
    pub(crate) const MUL_B: u8 = 1;
    pub(crate) const MUL_S1: u8 = 2;
    pub(crate) const SQUARE: u8 = 3;
    pub(crate) const ADD_B: u8 = 1;
    pub(crate) const ADD_S1: u8 = 2;
    pub(crate) const ADD_S2: u8 = 3;
    pub(crate) const EXP2: u8 = 1;
    pub(crate) const RECIP: u8 = 2;
    pub(crate) const RSQRT: u8 = 3;
    pub(crate) const RELU: u8 = 4;
    pub(crate) const SUM: u8 = 1;
    pub(crate) const MAX: u8 = 2;
    pub(crate) const ARGMAX: u8 = 3;
}

/// Where the KV cache and the host's buffers lie.
#[derive(Clone, Debug)]
pub struct DataMap {
    /// Token ids.
    pub tokens: u64,
    /// Logits.
    pub logits: u64,
    /// Cache of each run's first layer.
    pub cache: Vec<CacheMap>,
}

/// The KV cache of a run of layers.
#[derive(Clone, Copy, Debug)]
pub struct CacheMap {
    /// First byte of the first layer.
    pub base: u64,
    /// Bytes of one head's keys.
    pub key_bytes: u64,
    /// Bytes of one head's values.
    pub value_bytes: u64,
    /// Bytes of one head's value scales.
    pub scale_bytes: u64,
    /// Bytes between row groups of value elements.
    pub value_stride: u64,
    /// Bytes of a layer.
    pub layer_bytes: u64,
    /// Bits of a code.
    pub bits: usize,
}

impl CacheMap {
    /// Plans the cache of layers like `spec` for `context` positions with codes of `bits` bits.
    pub fn new(
        base: u64,
        spec: &LayerSpec,
        hw: &HwConfig,
        context: usize,
        bits: usize,
    ) -> CacheMap {
        let groups = hw.row_groups(context);
        let blocks = context.div_ceil(BLOCK);
        let value_stride = (blocks * hw.tile_bytes(bits, false)) as u64;
        let key_tiles = groups * spec.head_dim_k.div_ceil(BLOCK);
        let key_bytes = (key_tiles * hw.tile_bytes(bits, true)) as u64;
        let value_bytes = value_stride * hw.row_groups(spec.head_dim_v) as u64;
        let scale_bytes = (context as u64 * 4).next_multiple_of(hw.chunk_bytes() as u64);
        let layer_bytes = (key_bytes + value_bytes + scale_bytes) * spec.n_kv_heads as u64;
        CacheMap {
            base,
            key_bytes,
            value_bytes,
            scale_bytes,
            value_stride,
            layer_bytes,
            bits,
        }
    }

    fn head(&self, head: usize) -> u64 {
        self.base + head as u64 * (self.key_bytes + self.value_bytes + self.scale_bytes)
    }

    pub(crate) fn keys(&self, head: usize) -> u64 {
        self.head(head)
    }

    pub(crate) fn values(&self, head: usize) -> u64 {
        self.head(head) + self.key_bytes
    }

    pub(crate) fn scales(&self, head: usize) -> u64 {
        self.head(head) + self.key_bytes + self.value_bytes
    }
}

/// How many tokens an entry point handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// One: `decode`.
    One,
    /// R[COUNT]: `prefill`.
    Counted,
}

impl Tokens {
    fn register(self) -> u8 {
        match self {
            Tokens::One => reg::ZERO,
            Tokens::Counted => reg::COUNT,
        }
    }

    fn immediate(self) -> u8 {
        u8::from(self == Tokens::One)
    }
}

/// Everything that lowering reads.
pub struct Lowering<'a> {
    /// The model.
    pub spec: &'a ModelSpec,
    /// The hardware.
    pub hw: &'a HwConfig,
    /// On-chip memory.
    pub buffers: &'a Buffers,
    /// Constants.
    pub image: &'a Image,
    /// Cache and host buffers.
    pub data: &'a DataMap,
    /// How operators follow each other.
    pub schedule: Schedule,
    /// The cache as a ring, if it is one.
    pub ring: Option<&'a Ring>,
    /// Which blocks of the cache tokens see; all if `None`.
    pub mask: Option<Mask>,
    /// How keys and values are cached.
    pub kv: KvFormat,
}

/// Emits one entry point.
pub(crate) struct Emitter<'a> {
    pub(crate) cx: &'a Lowering<'a>,
    pub(crate) tokens: Tokens,
    pub(crate) nodes: Vec<Node>,
    /// Prefix of labels, such as `blk.0-29`.
    pub(crate) scope: String,
    /// Register with the byte offset of the current layer's constants; register 0 outside of
    /// loops over layers.
    pub(crate) layer: u8,
    /// The same for the current layer's cache.
    pub(crate) cache: u8,
    /// Position registers are set, for keys of this many blocks.
    positions: Option<usize>,
}

impl Lowering<'_> {
    /// Checks what the instruction set cannot do.
    ///
    /// # Errors
    /// Names the layer and the limit.
    pub fn check(&self) -> Result<()> {
        if self.schedule == Schedule::Spilled && self.hw.channels > 1 {
            return Err(Error::unsupported(
                "the layer-by-layer schedule",
                format!("a configuration with {} memory channels", self.hw.channels),
                "it is for comparison on one channel; compile without it",
            ));
        }
        for (i, layer) in self.spec.layers.iter().enumerate() {
            for (what, dim) in [("key", layer.head_dim_k), ("value", layer.head_dim_v)] {
                if dim % BLOCK != 0 {
                    return Err(Error::unsupported(
                        format!("blk.{i}"),
                        format!("{what} heads of {dim} elements"),
                        "heads must be multiples of 32 elements",
                    ));
                }
            }
            let rows = self.hw.tile_rows();
            if !layer.head_dim_v.is_multiple_of(rows) {
                return Err(Error::unsupported(
                    format!("blk.{i}"),
                    format!("value heads of {} elements", layer.head_dim_v),
                    "with several memory channels they must be multiples of 16 for each channel; \
                     take a configuration with fewer `channels`",
                ));
            }
            if layer.n_heads > 255 || layer.n_kv_heads > 255 {
                return Err(Error::unsupported(
                    format!("blk.{i}"),
                    format!("{} heads", layer.n_heads),
                    "at most 255 heads fit an instruction",
                ));
            }
            if self.spec.rope().is_some() && layer.head_dim_k != self.spec.layers[0].head_dim_k {
                return Err(Error::unsupported(
                    format!("blk.{i}"),
                    "key heads of another size than in the first layer",
                    "models with RoPE need one head size; report this model",
                ));
            }
        }
        Ok(())
    }

    /// The nodes of one entry point, unscheduled.
    pub fn entry(&self, tokens: Tokens) -> Vec<Node> {
        let mut e = Emitter {
            cx: self,
            tokens,
            nodes: Vec::new(),
            scope: String::new(),
            layer: reg::ZERO,
            cache: reg::ZERO,
            positions: None,
        };
        e.embed();
        for (i, run) in self.image.runs.iter().enumerate() {
            e.run(run, &self.data.cache[i]);
        }
        e.scope.clear();
        e.head();
        e.sys(Halt { code: 0 }, "halt");
        e.nodes
    }
}

impl Emitter<'_> {
    fn label(&self, part: &str) -> String {
        if self.scope.is_empty() {
            part.to_owned()
        } else {
            format!("{}.{part}", self.scope)
        }
    }

    pub(crate) fn sys(&mut self, insn: impl Into<Insn>, label: &str) {
        let label = self.label(label);
        self.nodes.push(Node::Sys(insn.into(), label));
    }

    pub(crate) fn unit(
        &mut self,
        insn: impl Into<Insn>,
        reads: Vec<Region>,
        writes: Vec<Region>,
        label: &str,
    ) {
        let label = self.label(label);
        self.nodes.push(Node::Unit(UnitOp {
            insn: insn.into(),
            reads,
            writes,
            label,
        }));
    }

    /// rd = rs func imm.
    pub(crate) fn alu_imm(&mut self, func: u8, rd: u8, rs: u8, imm: i64, label: &str) {
        self.sys(
            Alu {
                rd,
                rs,
                rt: 0,
                func,
                use_imm: 1,
                imm,
            },
            label,
        );
    }

    /// rd = rs func rt.
    pub(crate) fn alu_reg(&mut self, func: u8, rd: u8, rs: u8, rt: u8, label: &str) {
        self.sys(
            Alu {
                rd,
                rs,
                rt,
                func,
                use_imm: 0,
                imm: 0,
            },
            label,
        );
    }

    /// Emits nodes into a body.
    pub(crate) fn body(&mut self, emit: impl FnOnce(&mut Self)) -> Vec<Node> {
        let outer = std::mem::take(&mut self.nodes);
        emit(self);
        std::mem::replace(&mut self.nodes, outer)
    }

    /// Emits `each` once per token; with one token there is no loop.
    pub(crate) fn for_each_token(&mut self, label: &str, each: impl FnOnce(&mut Self)) {
        if self.tokens == Tokens::One {
            return each(self);
        }
        self.alu_imm(alu::ADD, reg::INDEX, reg::ZERO, 0, label);
        let body = self.body(|e| {
            each(e);
            e.alu_imm(alu::ADD, reg::INDEX, reg::INDEX, 1, label);
        });
        let label = self.label(label);
        self.nodes.push(Node::Loop {
            reg: reg::COUNT,
            count: 0,
            body,
            overlapped: false,
            label,
        });
    }

    /// R[rd] = index of the current token times `words`; nothing to do for one token, where all
    /// offsets stay zero.
    pub(crate) fn token_offset(&mut self, rd: u8, words: u32, label: &str) {
        if self.tokens == Tokens::Counted {
            self.alu_imm(alu::MUL, rd, reg::INDEX, i64::from(words), label);
        }
    }

    /// Loads f32 constants of the current layer (or of none) to vector memory.
    pub(crate) fn load(&mut self, from: &Floats, to: u32, label: &str) {
        let insn = LdV {
            rbase: self.layer,
            addr: from.addr,
            count: from.len as u32,
            rows: 1,
            dst: to,
            ..LdV::default()
        };
        self.unit(insn, vec![], vec![Region::vmem(to, from.len as u32)], label);
    }

    /// A `vop` on whole vectors, a row a token.
    pub(crate) fn per_token(&self, a: Vector, d: Vector, n: usize) -> Vop {
        Vop {
            rrows: self.tokens.register(),
            rows: u16::from(self.tokens.immediate()),
            a: a.at,
            astride: a.stride,
            d: d.at,
            dstride: d.stride,
            n: n as u32,
            write: 1,
            ..Vop::default()
        }
    }

    fn run(&mut self, run: &Run, cache: &CacheMap) {
        let last = run.first + run.count - 1;
        self.scope = if run.count == 1 {
            format!("blk.{last}")
        } else {
            format!("blk.{}-{last}", run.first)
        };
        self.cache_registers(run);
        if run.count == 1 {
            self.attention(run, cache);
            return self.ffn(run);
        }
        self.layer = reg::LAYER;
        self.cache = reg::CACHE;
        self.alu_imm(alu::ADD, reg::LAYER, reg::ZERO, 0, "layer");
        self.alu_imm(alu::ADD, reg::CACHE, reg::ZERO, 0, "layer");
        let body = self.body(|e| {
            e.attention(run, cache);
            e.ffn(run);
            e.alu_imm(alu::ADD, reg::LAYER, reg::LAYER, run.stride as i64, "layer");
            e.alu_imm(
                alu::ADD,
                reg::CACHE,
                reg::CACHE,
                cache.layer_bytes as i64,
                "layer",
            );
        });
        let label = self.label("layer");
        self.nodes.push(Node::Loop {
            reg: reg::ZERO,
            count: run.count as u32,
            body,
            overlapped: false,
            label,
        });
        self.layer = reg::ZERO;
        self.cache = reg::ZERO;
    }
}

/// All words of a vector.
pub(crate) fn all(v: Vector) -> Region {
    Region::vmem(v.at, v.words)
}

/// All blocks of an activation.
pub(crate) fn all_blocks(b: crate::buffers::Blocks) -> Region {
    Region::xbuf(b.at, b.blocks)
}
