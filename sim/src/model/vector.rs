//! SFU: element-wise chains with reductions, quantization, dequantization.

use super::machine::{ErrorCode, Fault, Machine, Rect, Regs, Space, check_aligned, check_work};
use crate::effects::ActBlock;
use lampyris_isa::format::{BLOCK, LINE_WORDS, quant_blocks, unpack_code};
use lampyris_isa::insn::{Deq, Quant, Vop};
use lampyris_isa::num;
use std::ops::Range;

/// Buffers that live from one instruction to the next.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) words: Vec<u32>,
}

/// Absolute operands of a `vop`.
struct Chain<'a> {
    insn: &'a Vop,
    a: u64,
    b: u64,
    d: u64,
    n: u64,
    rows: u64,
}

impl Chain<'_> {
    fn uses_b(&self) -> bool {
        self.insn.mul == 1 || self.insn.add == 1
    }

    fn uses_s1(&self) -> bool {
        self.insn.mul == 2 || self.insn.add == 2
    }

    fn uses_s2(&self) -> bool {
        self.insn.add == 3
    }
}

/// The largest value of a row by the order of `num::order_key`, and the lowest index that has it.
fn largest(row: &[u32]) -> (u32, u32) {
    let mut best = (0, 0, 0);
    for (i, &word) in row.iter().enumerate() {
        let value = num::canonical(f32::from_bits(word));
        let key = num::order_key(value);
        if i == 0 || key > best.0 {
            best = (key, value.to_bits(), i as u32);
        }
    }
    (best.1, best.2)
}

impl Machine {
    pub(crate) fn vop(&mut self, regs: &Regs<'_>, i: &Vop) -> Result<(), Fault> {
        let chain = Chain {
            insn: i,
            a: regs.add(i.ra, i.a.into()),
            b: regs.add(i.rb, i.b.into()),
            d: regs.add(i.rd, i.d.into()),
            n: regs.add(i.rn, i.n.into()),
            rows: regs.add(i.rrows, i.rows.into()),
        };
        if i.func > 4 {
            let detail = format!("func is {}, at most 4", i.func);
            return Err(Fault::new(ErrorCode::Illegal, detail));
        }
        if chain.n == 0 || chain.rows == 0 {
            return Ok(());
        }
        self.check_chain(&chain)?;
        check_work(chain.rows, chain.n)?;
        let mut out = std::mem::take(&mut self.scratch.words);
        for row in 0..chain.rows {
            self.chain_row(&chain, row, &mut out);
        }
        self.scratch.words = out;
        Ok(())
    }

    fn check_chain(&self, c: &Chain<'_>) -> Result<(), Fault> {
        let (i, n, rows) = (c.insn, c.n, c.rows);
        let mut vectors = vec![("a", "astride", c.a, i.astride)];
        if c.uses_b() {
            vectors.push(("b", "bstride", c.b, i.bstride));
        }
        if i.write == 1 {
            vectors.push(("d", "dstride", c.d, i.dstride));
        }
        for (name, stride_name, start, stride) in vectors {
            check_aligned(name, start, LINE_WORDS as u64)?;
            check_aligned(stride_name, stride.into(), LINE_WORDS as u64)?;
            self.check_vmem(
                name,
                Rect {
                    start,
                    len: n,
                    rows,
                    stride: stride.into(),
                },
            )?;
        }
        let scalar = |start: u32, by_row: u8| Rect {
            start: start.into(),
            len: 1,
            rows,
            stride: by_row.into(),
        };
        if c.uses_s1() && i.s1_mem == 1 {
            self.check_vmem("s1", scalar(i.s1, i.s1_row))?;
        }
        if c.uses_s2() {
            self.check_vmem("s2", scalar(i.s2, i.s2_row))?;
        }
        match i.red {
            0 => Ok(()),
            red => {
                let len = if red == 3 { 2 } else { 1 };
                let start = u64::from(i.red_addr);
                self.check_vmem(
                    "red_addr",
                    Rect {
                        start,
                        len,
                        rows,
                        stride: len,
                    },
                )
            }
        }
    }

    /// A scalar from vector memory.
    fn scalar(&mut self, at: u64) -> f32 {
        self.note(Space::Vmem, false, at, 1);
        f32::from_bits(self.vmem[at as usize])
    }

    fn chain_row(&mut self, c: &Chain<'_>, row: u64, out: &mut Vec<u32>) {
        let i = c.insn;
        let s1 = match (c.uses_s1(), i.s1_mem) {
            (true, 1) => self.scalar(u64::from(i.s1) + row * u64::from(i.s1_row)),
            _ => f32::from_bits(i.s1),
        };
        let s2 = if c.uses_s2() {
            self.scalar(u64::from(i.s2) + row * u64::from(i.s2_row))
        } else {
            0.0
        };
        let a = self.source(c.a + row * u64::from(i.astride), c.n, i.swap == 1);
        let b = if c.uses_b() {
            self.source(c.b + row * u64::from(i.bstride), c.n, false)
        } else {
            0..0
        };
        out.clear();
        for e in 0..c.n as usize {
            let at = a.start + if i.swap == 1 { e ^ 1 } else { e };
            let a = f32::from_bits(self.vmem[at]);
            let b = if b.is_empty() {
                0.0
            } else {
                f32::from_bits(self.vmem[b.start + e])
            };
            out.push(element(i, a, b, s1, s2).to_bits());
        }
        if i.write == 1 {
            self.put_words((c.d + row * u64::from(i.dstride)) as usize, out);
        }
        let red = i.red_addr as usize;
        let row = row as usize;
        match i.red {
            0 => {}
            1 => {
                let sum = out
                    .iter()
                    .fold(0i128, |sum, &w| sum + num::sum_term(f32::from_bits(w)));
                self.put_words(red + row, &[num::sum_to_f32(sum).to_bits()]);
            }
            2 => self.put_words(red + row, &[largest(out).0]),
            _ => {
                let (value, index) = largest(out);
                self.put_words(red + 2 * row, &[value, index]);
            }
        }
    }

    /// Notes the read of a row and returns its indices.
    fn source(&mut self, start: u64, n: u64, swap: bool) -> Range<usize> {
        // With an odd n the partner of the last element is one word further.
        let read = if swap { n.next_multiple_of(2) } else { n };
        self.note(Space::Vmem, false, start, read);
        start as usize..(start + n) as usize
    }

    pub(crate) fn quant(&mut self, regs: &Regs<'_>, i: &Quant) -> Result<(), Fault> {
        let a = regs.add(i.ra, i.a.into());
        let x = regs.add(i.rx, i.x.into());
        let n = regs.add(i.rn, i.n.into());
        let rows = regs.add(i.rrows, i.rows.into());
        let (astride, xstride) = (u64::from(i.astride), u64::from(i.xstride));
        if i.group >= 2 && u32::from(i.group) > self.config.sparsity + 1 {
            let detail = format!("group {}: the configuration lacks its sparsity", i.group);
            return Err(Fault::new(ErrorCode::Illegal, detail));
        }
        self.check_nibbles(i.nibbles)?;
        if n == 0 || rows == 0 {
            return Ok(());
        }
        check_aligned("a", a, LINE_WORDS as u64)?;
        check_aligned("astride", astride, LINE_WORDS as u64)?;
        self.check_vmem(
            "a",
            Rect {
                start: a,
                len: n,
                rows,
                stride: astride,
            },
        )?;
        let len = quant_blocks(n as usize, i.group) as u64;
        self.check_xbuf(
            "x",
            Rect {
                start: x,
                len,
                rows,
                stride: xstride,
            },
        )?;
        let scale_at = u64::from(i.scale_addr);
        if i.scale_out == 1 {
            self.check_vmem("scale_addr", Rect::run(scale_at, rows))?;
        }
        check_work(rows, n)?;
        for row in 0..rows {
            let from = a + row * astride;
            self.note(Space::Vmem, false, from, n);
            let source = from as usize..(from + n) as usize;
            let first = self.quantize_row(i, source, (x + row * xstride) as usize);
            if i.scale_out == 1 {
                self.put_words((scale_at + row) as usize, &[first.to_f32().to_bits()]);
            }
        }
        Ok(())
    }

    /// Quantizes one row and returns the scale of its first block.
    fn quantize_row(&mut self, i: &Quant, source: Range<usize>, x: usize) -> num::ActScale {
        let four = i.nibbles == 1;
        let range = match (i.f16_range == 1, four) {
            (false, _) => (0, num::ACT_EXP_MAX),
            (true, false) => num::ACT_EXP_F16,
            (true, true) => num::ACT_EXP_F16_NIBBLES,
        };
        let scale_of = |words: &[u32]| {
            let magnitudes = words
                .iter()
                .map(|&w| num::amax_magnitude(f32::from_bits(w)));
            let amax = magnitudes.fold(0.0, f32::max);
            if four {
                num::ActScale::for_nibbles(amax, range)
            } else {
                num::ActScale::for_amax(amax, range)
            }
        };
        // Elements that share a scale.
        let shared = match i.group {
            0 => BLOCK,
            1 => source.len(),
            2 => 2 * BLOCK,
            _ => 4 * BLOCK,
        };
        let scales: Vec<_> = self.vmem[source.clone()]
            .chunks(shared)
            .map(scale_of)
            .collect();
        for b in 0..quant_blocks(source.len(), i.group) {
            let from = (source.start + b * BLOCK).min(source.end);
            let words = &self.vmem[from..(from + BLOCK).min(source.end)];
            let scale = scales[b * BLOCK / shared];
            let inverse = scale.inverse();
            let mut codes = [0i8; BLOCK];
            for (code, &word) in codes.iter_mut().zip(words) {
                let x = f32::from_bits(word);
                *code = if four {
                    num::quantize_nibble(x, inverse)
                } else {
                    num::quantize(x, inverse)
                };
            }
            let sum = codes.iter().map(|&c| i16::from(c)).sum();
            self.put_block(x + b, ActBlock { codes, scale, sum });
        }
        scales[0]
    }

    pub(crate) fn deq(&mut self, regs: &Regs<'_>, i: &Deq) -> Result<(), Fault> {
        let a = regs.add(i.ra, i.a.into());
        let d = regs.add(i.rd, i.d.into());
        let (n, scales, bits) = (u64::from(i.n), u64::from(i.scales), usize::from(i.bits));
        if !self.config.has_weight_bits(bits) {
            let detail = format!("bits is {bits}, which the configuration lacks");
            return Err(Fault::new(ErrorCode::Illegal, detail));
        }
        if n % BLOCK as u64 != 0 {
            let detail = format!("n is {n}, not a multiple of {BLOCK}");
            return Err(Fault::new(ErrorCode::Operand, detail));
        }
        if n == 0 {
            return Ok(());
        }
        let words = n * bits as u64 / 32;
        check_aligned("a", a, LINE_WORDS as u64)?;
        check_aligned("d", d, LINE_WORDS as u64)?;
        self.check_vmem("a", Rect::run(a, words))?;
        self.check_vmem("scales", Rect::run(scales, n / BLOCK as u64))?;
        self.check_vmem("d", Rect::run(d, n))?;
        self.note(Space::Vmem, false, a, words);
        self.note(Space::Vmem, false, scales, n / BLOCK as u64);
        let packed = &self.vmem[a as usize..(a + words) as usize];
        let packed: Vec<u8> = packed.iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut out = Vec::with_capacity(n as usize);
        for (b, row) in packed.chunks_exact(BLOCK * bits / 8).enumerate() {
            let pair = self.vmem[scales as usize + b];
            let (scale, min) = (pair as u16, (pair >> 16) as u16);
            out.extend(
                (0..BLOCK)
                    .map(|j| num::dequantize(scale, min, unpack_code(row, bits, j)).to_bits()),
            );
        }
        self.put_words(d as usize, &out);
        Ok(())
    }
}

/// One element of the chain.
#[inline]
fn element(i: &Vop, a: f32, b: f32, s1: f32, s2: f32) -> f32 {
    let u = match i.mul {
        0 => num::canonical(a),
        1 => num::mul(a, b),
        2 => num::mul(a, s1),
        _ => num::mul(a, a),
    };
    let v = match i.add {
        0 => u,
        1 => num::add(u, b),
        2 => num::add(u, s1),
        _ => num::add(u, s2),
    };
    match i.func {
        0 => v,
        1 => num::exp2(v),
        2 => num::recip(v),
        3 => num::rsqrt(v),
        _ => num::relu(v),
    }
}
