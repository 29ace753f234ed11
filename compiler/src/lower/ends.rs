//! The two ends of the model: embedding and output projection.

use super::linear::shared_scale;
use super::{Emitter, Tokens, all, all_blocks, alu, reg, vop};
use crate::program::{ALL_UNITS, Node, Region};
use lampyris_bundle::Schedule;
use lampyris_isa::format::{CHUNK_BYTES, TILE_ROWS};
use lampyris_isa::insn::{Deq, Fence, LdV, LdW, Mv, Quant, Rdv, StV, Vop};

impl Emitter<'_> {
    /// x = embedding of every token (plus its position, if positions are learned).
    pub(crate) fn embed(&mut self) {
        let b = self.cx.buffers;
        let label = "token_embd";
        self.load(
            &self.cx.image.constants.clone(),
            b.constants.at,
            "constants",
        );
        let ids = LdV {
            rcount: self.tokens.register(),
            addr: self.cx.data.tokens,
            count: u32::from(self.tokens.immediate()),
            rows: 1,
            dst: b.ids.at,
            ..LdV::default()
        };
        self.unit(ids, vec![], vec![all(b.ids)], label);
        self.sys(Fence { units: ALL_UNITS }, label);
        self.for_each_token(label, |e| {
            e.embed_token();
            e.add_position();
        });
        if self.tokens == Tokens::Counted {
            // Word offset of the last token: (count - 1) * stride.
            self.alu_imm(alu::ADD, reg::LAST, reg::COUNT, -1, label);
            self.alu_imm(alu::MUL, reg::LAST, reg::LAST, i64::from(b.x.stride), label);
        }
    }

    fn embed_token(&mut self) {
        let b = self.cx.buffers;
        let table = &self.cx.image.embedding;
        let label = "token_embd";
        // Embeddings are dense: a row of a tile has a word for each bit of a code.
        let hw = self.cx.hw;
        let tile = hw.tile_bytes(table.format.bits, true) as i64;
        let row_words = table.format.bits as u32;
        let index = if self.tokens == Tokens::One {
            reg::ZERO
        } else {
            reg::INDEX
        };
        self.sys(
            Rdv {
                rd: reg::TOKEN,
                rs: index,
                addr: b.ids.at,
            },
            label,
        );
        self.row_offsets(tile * table.blocks() as i64, row_words, label);
        self.token_offset(reg::X, b.x.stride, label);
        let blocks = table.blocks() as u16;
        let codes = LdV {
            rbase: reg::ROW,
            addr: table.addr + hw.header_bytes() as u64,
            count: row_words,
            rows: blocks,
            dst: b.codes.at,
            stride: tile as u32,
            ..LdV::default()
        };
        self.unit(codes, vec![], vec![all(b.codes)], label);
        let scales = LdV {
            rbase: reg::ROW_SCALE,
            addr: table.addr,
            count: 1,
            dst: b.code_scales.at,
            ..codes
        };
        self.unit(scales, vec![], vec![all(b.code_scales)], label);
        let deq = Deq {
            rd: reg::X,
            a: b.codes.at,
            scales: b.code_scales.at,
            d: b.x.at,
            n: (table.blocks() * 32) as u32,
            bits: table.format.bits as u8,
            ..Deq::default()
        };
        self.unit(
            deq,
            vec![all(b.codes), all(b.code_scales)],
            vec![all(b.x)],
            label,
        );
    }

    /// Byte offsets of a token's codes and scales from its id in R[TOKEN], in a table whose row
    /// groups take `group` bytes and whose rows have so many words in a tile.
    fn row_offsets(&mut self, group: i64, row_words: u32, label: &str) {
        let hw = self.cx.hw;
        let rows = hw.tile_rows() as i64;
        let row_bytes = i64::from(row_words) * 4;
        self.alu_imm(alu::SHR, reg::ROW, reg::TOKEN, rows.ilog2().into(), label);
        self.alu_imm(alu::MUL, reg::ROW_SCALE, reg::ROW, group, label);
        self.alu_imm(alu::AND, reg::TOKEN, reg::TOKEN, rows - 1, label);
        if hw.channels == 1 {
            self.alu_imm(alu::MUL, reg::ROW, reg::TOKEN, row_bytes, label);
        } else {
            // Row r is row r mod 16 of part r / 16; chunk i of a part is followed by those of the
            // other parts. A row lies in one chunk (see `Builder::table` of the image).
            let (chunk, all) = (CHUNK_BYTES as i64, hw.chunk_bytes() as i64);
            let part = TILE_ROWS as i64;
            self.alu_imm(alu::AND, reg::ROW, reg::TOKEN, part - 1, label);
            self.alu_imm(alu::MUL, reg::ROW, reg::ROW, row_bytes, label);
            self.alu_imm(alu::SHR, reg::TABLE, reg::ROW, chunk.ilog2().into(), label);
            self.alu_imm(alu::MUL, reg::TABLE, reg::TABLE, all, label);
            self.alu_imm(alu::AND, reg::ROW, reg::ROW, chunk - 1, label);
            self.alu_reg(alu::ADD, reg::ROW, reg::ROW, reg::TABLE, label);
            self.alu_imm(alu::SHR, reg::TABLE, reg::TOKEN, part.ilog2().into(), label);
            self.alu_imm(
                alu::SHL,
                reg::TABLE,
                reg::TABLE,
                chunk.ilog2().into(),
                label,
            );
            self.alu_reg(alu::ADD, reg::ROW, reg::ROW, reg::TABLE, label);
        }
        self.alu_reg(alu::ADD, reg::ROW, reg::ROW, reg::ROW_SCALE, label);
        self.alu_imm(alu::SHL, reg::TOKEN, reg::TOKEN, 2, label);
        self.alu_reg(alu::ADD, reg::ROW_SCALE, reg::ROW_SCALE, reg::TOKEN, label);
    }

    fn add_position(&mut self) {
        let Some((table, offset)) = self.cx.image.positions.clone() else {
            return;
        };
        let b = self.cx.buffers;
        let d = self.cx.spec.d_model as u32;
        let label = "position_embd";
        let row = i64::from(d) * 4;
        if self.tokens == Tokens::Counted {
            self.alu_reg(alu::ADD, reg::TABLE, reg::POS, reg::INDEX, label);
            self.alu_imm(alu::MUL, reg::TABLE, reg::TABLE, row, label);
        } else {
            self.alu_imm(alu::MUL, reg::TABLE, reg::POS, row, label);
        }
        let load = LdV {
            rbase: reg::TABLE,
            addr: table.addr + offset as u64 * row as u64,
            count: d,
            rows: 1,
            dst: b.h.at,
            ..LdV::default()
        };
        self.unit(load, vec![], vec![Region::vmem(b.h.at, d)], label);
        let add = Vop {
            ra: reg::X,
            rd: reg::X,
            a: b.x.at,
            b: b.h.at,
            d: b.x.at,
            n: d,
            rows: 1,
            add: vop::ADD_B,
            write: 1,
            ..Vop::default()
        };
        self.unit(add, vec![all(b.x), all(b.h)], vec![all(b.x)], label);
    }

    /// Logits and the most likely token of the last position, if wanted.
    pub(crate) fn head(&mut self) {
        let wanted = self.body(|e| {
            e.logits();
            let store = e.body(Self::store_logits);
            e.nodes.push(Node::If {
                reg: reg::STORE_LOGITS,
                body: store,
                label: "logits".into(),
            });
            e.token_id();
        });
        self.nodes.push(Node::If {
            reg: reg::WANT_HEAD,
            body: wanted,
            label: "output".into(),
        });
    }

    fn logits(&mut self) {
        let b = self.cx.buffers;
        let spec = self.cx.spec;
        let last = if self.tokens == Tokens::One {
            reg::ZERO
        } else {
            reg::LAST
        };
        let norm = self.cx.image.output_norm.clone();
        self.norm(&norm, b.x, last, b.norm[0], true, "output_norm");
        let head = self.cx.image.head.clone();
        let quant = Quant {
            group: shared_scale([&head].into_iter()),
            rows: 1,
            a: b.h.at,
            x: b.xb_h.at as u16,
            n: spec.d_model as u32,
            ..Quant::default()
        };
        self.unit(
            quant,
            vec![all(b.h)],
            vec![all_blocks(b.xb_h)],
            "output_norm",
        );
        if self.cx.schedule == Schedule::Fused {
            self.stream(&head, "output");
        }
        for part in 0..self.search_parts() {
            self.part_of_logits(part);
        }
        let argmax = Vop {
            a: b.part_max.at,
            n: self.search_parts(),
            rows: 1,
            red: vop::ARGMAX,
            red_addr: b.argmax.at,
            ..Vop::default()
        };
        self.unit(argmax, vec![all(b.part_max)], vec![all(b.argmax)], "argmax");
    }

    fn search_parts(&self) -> u32 {
        (self.cx.spec.vocab_size as u32).div_ceil(self.cx.buffers.search_rows)
    }

    /// Logits of some rows, and the largest of them twice: alone, for the comparison of the parts,
    /// and with its index.
    fn part_of_logits(&mut self, part: u32) {
        let b = self.cx.buffers;
        let head = &self.cx.image.head;
        let first = part * b.search_rows;
        let rows = b.search_rows.min(self.cx.spec.vocab_size as u32 - first);
        let groups = self.cx.hw.row_groups(rows as usize) as u16;
        if self.cx.schedule == Schedule::Spilled {
            // Each part is a step of its own, with its weights.
            let group = head.bytes() / head.groups() as u64;
            let weights = LdW {
                addr: head.addr + group * u64::from(first) / TILE_ROWS as u64,
                count: (group * u64::from(groups) / CHUNK_BYTES as u64) as u32,
                rows: 1,
                ..LdW::default()
            };
            self.unit(weights, vec![], vec![], "output");
        }
        let product = Mv {
            x: b.xb_h.at as u16,
            y: b.logits.at + first,
            kblocks: head.blocks() as u16,
            groups,
            bits: head.format.bits as u8,
            sparsity: head.format.sparsity as u8,
            ..Mv::default()
        };
        let logits = Region::vmem(
            b.logits.at + first,
            rows.next_multiple_of(self.cx.hw.tile_rows() as u32),
        );
        self.unit(product, vec![all_blocks(b.xb_h)], vec![logits], "output");
        for (red, to, words) in [
            (vop::MAX, b.part_max.at + part, 1),
            (vop::ARGMAX, b.part_argmax.at + 2 * part, 2),
        ] {
            let search = Vop {
                a: b.logits.at + first,
                n: rows,
                rows: 1,
                red,
                red_addr: to,
                ..Vop::default()
            };
            self.unit(
                search,
                vec![logits],
                vec![Region::vmem(to, words)],
                "argmax",
            );
        }
    }

    /// R[COUNT] = index of the largest logit: of the part with the largest, its index in the part.
    fn token_id(&mut self) {
        let b = self.cx.buffers;
        let label = "argmax";
        self.sys(Fence { units: ALL_UNITS }, label);
        let read = |rd, rs, addr| Rdv { rd, rs, addr };
        self.sys(read(reg::TOKEN, reg::ZERO, b.argmax.at + 1), label);
        self.alu_imm(alu::SHL, reg::ROW, reg::TOKEN, 1, label);
        self.sys(read(reg::COUNT, reg::ROW, b.part_argmax.at + 1), label);
        let rows = i64::from(b.search_rows);
        self.alu_imm(alu::MUL, reg::TOKEN, reg::TOKEN, rows, label);
        self.alu_reg(alu::ADD, reg::COUNT, reg::COUNT, reg::TOKEN, label);
    }

    fn store_logits(&mut self) {
        let b = self.cx.buffers;
        let vocab = self.cx.spec.vocab_size as u32;
        let bytes = u64::from(vocab) * 4;
        let store = StV {
            addr: self.cx.data.logits,
            count: vocab,
            src: b.logits.at,
            ..StV::default()
        };
        self.unit(
            store,
            vec![all(b.logits)],
            vec![Region::dram(self.cx.data.logits, bytes)],
            "logits",
        );
    }
}
