//! What instructions must do, written down from the instruction set: plain loops over
//! `lampyris_isa::num`.

use crate::unit::Block;
use lampyris_isa::format::BLOCK;
use lampyris_isa::insn::{Deq, Quant, Vop};
use lampyris_isa::{Insn, num};
use lampyris_tests::bench::{Random, descriptor, split};

fn value(word: u32) -> f32 {
    f32::from_bits(word)
}

/// A `vop` whose operands `a`, `b`, `d`, `n` and `rows` are absolute.
#[derive(Clone, Debug)]
pub(crate) struct VopCase {
    pub(crate) fields: Vop,
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) d: u64,
    pub(crate) n: u64,
    pub(crate) rows: u64,
}

impl VopCase {
    pub(crate) fn uses_b(&self) -> bool {
        self.fields.mul == 1 || self.fields.add == 1
    }

    pub(crate) fn loads_s1(&self) -> bool {
        (self.fields.mul == 2 || self.fields.add == 2) && self.fields.s1_mem == 1
    }

    pub(crate) fn loads_s2(&self) -> bool {
        self.fields.add == 3
    }

    pub(crate) fn descriptor(&self, random: &mut Random, seq: u32) -> Vec<u32> {
        let (ra, a) = split(random, self.a, 1 << 18);
        let (rb, b) = split(random, self.b, 1 << 18);
        let (rd, d) = split(random, self.d, 1 << 18);
        let (rn, n) = split(random, self.n, 1 << 18);
        let (rrows, rows) = split(random, self.rows, 1 << 8);
        let insn = Vop {
            a: a as u32,
            b: b as u32,
            d: d as u32,
            n: n as u32,
            rows: rows as u16,
            ..self.fields
        };
        descriptor(seq, [ra, rb, rd, rn, rrows], &Insn::Vop(insn))
    }

    fn element(&self, a: f32, b: f32, s1: f32, s2: f32) -> f32 {
        let u = match self.fields.mul {
            0 => num::canonical(a),
            1 => num::mul(a, b),
            2 => num::mul(a, s1),
            _ => num::mul(a, a),
        };
        let v = match self.fields.add {
            0 => u,
            1 => num::add(u, b),
            2 => num::add(u, s1),
            _ => num::add(u, s2),
        };
        match self.fields.func {
            0 => v,
            1 => num::exp2(v),
            2 => num::recip(v),
            3 => num::rsqrt(v),
            _ => num::relu(v),
        }
    }

    pub(crate) fn apply(&self, vmem: &mut [u32]) {
        for row in 0..self.rows as usize {
            let results = self.row(vmem, row);
            if self.fields.write == 1 {
                let at = self.d as usize + row * self.fields.dstride as usize;
                for (i, w) in results.iter().enumerate() {
                    vmem[at + i] = w.to_bits();
                }
            }
            self.reduce(vmem, row, &results);
        }
    }

    fn row(&self, vmem: &[u32], row: usize) -> Vec<f32> {
        let f = &self.fields;
        let s1 = match self.loads_s1() {
            true => value(vmem[f.s1 as usize + row * f.s1_row as usize]),
            false => value(f.s1),
        };
        let s2 = match self.loads_s2() {
            true => value(vmem[f.s2 as usize + row * f.s2_row as usize]),
            false => 0.0,
        };
        let element = |i: usize| {
            let partner = if f.swap == 1 { i ^ 1 } else { i };
            let a = value(vmem[self.a as usize + row * f.astride as usize + partner]);
            let b = match self.uses_b() {
                true => value(vmem[self.b as usize + row * f.bstride as usize + i]),
                false => 0.0,
            };
            self.element(a, b, s1, s2)
        };
        (0..self.n as usize).map(element).collect()
    }

    fn reduce(&self, vmem: &mut [u32], row: usize, results: &[f32]) {
        let red = self.fields.red_addr as usize;
        let mut best = 0;
        for i in 1..results.len() {
            if num::order_key(results[i]) > num::order_key(results[best]) {
                best = i;
            }
        }
        let largest = num::canonical(results[best]).to_bits();
        match self.fields.red {
            0 => {}
            1 => {
                let sum = results.iter().map(|w| num::sum_term(*w)).sum();
                vmem[red + row] = num::sum_to_f32(sum).to_bits();
            }
            2 => vmem[red + row] = largest,
            _ => {
                vmem[red + 2 * row] = largest;
                vmem[red + 2 * row + 1] = best as u32;
            }
        }
    }
}

/// A `quant` with absolute operands.
#[derive(Clone, Debug)]
pub(crate) struct QuantCase {
    pub(crate) fields: Quant,
    pub(crate) a: u64,
    pub(crate) x: u64,
    pub(crate) n: u64,
    pub(crate) rows: u64,
}

impl QuantCase {
    pub(crate) fn descriptor(&self, random: &mut Random, seq: u32) -> Vec<u32> {
        let (ra, a) = split(random, self.a, 1 << 18);
        let (rx, x) = split(random, self.x, 1 << 14);
        let (rn, n) = split(random, self.n, 1 << 18);
        let (rrows, rows) = split(random, self.rows, 1 << 8);
        let insn = Quant {
            a: a as u32,
            x: x as u16,
            n: n as u32,
            rows: rows as u16,
            ..self.fields
        };
        // No register is added through the third selector.
        let unused = random.bits() & lampyris_isa::insn::REG_MASK;
        descriptor(seq, [ra, rx, unused, rn, rrows], &Insn::Quant(insn))
    }

    fn scale(&self, words: &[u32]) -> num::ActScale {
        let range = match (self.fields.f16_range, self.fields.nibbles) {
            (0, _) => (0, 47),
            (_, 0) => (17, 46),
            _ => (17, 43),
        };
        let amax = words
            .iter()
            .fold(0f32, |m, w| m.max(num::amax_magnitude(value(*w))));
        if self.fields.nibbles == 1 {
            num::ActScale::for_nibbles(amax, range)
        } else {
            num::ActScale::for_amax(amax, range)
        }
    }

    pub(crate) fn apply(&self, vmem: &mut [u32], xbuf: &mut [Option<Block>]) {
        for row in 0..self.rows as usize {
            let at = self.a as usize + row * self.fields.astride as usize;
            let words = vmem[at..at + self.n as usize].to_vec();
            let together = match self.fields.group {
                0 => 1,
                1 => words.len().div_ceil(BLOCK),
                2 => 2,
                _ => 4,
            };
            // The last group is written whole, except that a row ends with its last block.
            let count = words.len().div_ceil(BLOCK * together) * together;
            for b in 0..count {
                let share = words.chunks(together * BLOCK).nth(b / together);
                let share = share.expect("a group has elements");
                let part = share.chunks(BLOCK).nth(b % together).unwrap_or(&[]);
                let scale = self.scale(share);
                let inverse = scale.inverse();
                let mut codes = [0; BLOCK];
                for (code, word) in codes.iter_mut().zip(part) {
                    *code = num::quantize(value(*word), inverse);
                    if self.fields.nibbles == 1 {
                        *code = (*code).clamp(-8, 7);
                    }
                }
                let to = self.x as usize + row * self.fields.xstride as usize + b;
                xbuf[to] = Some(Block {
                    codes,
                    significand: scale.significand,
                    exponent: scale.exponent,
                    sum: codes.iter().map(|&c| i32::from(c)).sum(),
                });
                if b == 0 && self.fields.scale_out == 1 {
                    vmem[self.fields.scale_addr as usize + row] = scale.to_f32().to_bits();
                }
            }
        }
    }
}

/// A `deq` with absolute operands.
#[derive(Clone, Debug)]
pub(crate) struct DeqCase {
    pub(crate) fields: Deq,
    pub(crate) a: u64,
    pub(crate) d: u64,
}

impl DeqCase {
    pub(crate) fn descriptor(&self, random: &mut Random, seq: u32) -> Vec<u32> {
        let (ra, a) = split(random, self.a, 1 << 18);
        let (rd, d) = split(random, self.d, 1 << 18);
        let insn = Deq {
            a: a as u32,
            d: d as u32,
            ..self.fields
        };
        let mut unused = || random.bits() & lampyris_isa::insn::REG_MASK;
        let rval = [ra, unused(), rd, unused(), unused()];
        descriptor(seq, rval, &Insn::Deq(insn))
    }

    pub(crate) fn apply(&self, vmem: &mut [u32]) {
        let bits = usize::from(self.fields.bits);
        let source = vmem.to_vec();
        for i in 0..self.fields.n as usize {
            let at = self.a as usize + i * bits / 32;
            let pair = u64::from(source[at]) | u64::from(source[at + 1]) << 32;
            let raw = (pair >> (i * bits % 32)) as u32 & ((1 << bits) - 1);
            let code = if bits == 8 {
                i32::from(raw as u8 as i8)
            } else {
                raw as i32
            };
            let pair = source[self.fields.scales as usize + i / BLOCK];
            let result = num::dequantize(pair as u16, (pair >> 16) as u16, code);
            vmem[self.d as usize + i] = result.to_bits();
        }
    }
}
