//! Which words of vector memory an instruction reads and writes, as operands of a copy.

use crate::program::{Region, Space, UnitOp};
use lampyris_isa::Insn;
use lampyris_isa::format::TILE_ROWS;

/// `rows + R[rows_reg]` runs of `n + R[n_reg] * n_scale` words, `stride` words apart, the first at
/// `at + R[at_reg]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Words {
    pub(super) at: u32,
    pub(super) at_reg: u8,
    pub(super) rows: u32,
    pub(super) rows_reg: u8,
    pub(super) stride: u32,
    pub(super) n: u32,
    pub(super) n_reg: u8,
    pub(super) n_scale: u32,
    /// Words that this touches for any register, without those of `at_reg`.
    pub(super) extent: Region,
}

impl Words {
    /// One run of words.
    fn run(at: u32, n: u32) -> Words {
        Words {
            at,
            at_reg: 0,
            rows: 1,
            rows_reg: 0,
            stride: n,
            n,
            n_reg: 0,
            n_scale: 1,
            extent: Region::vmem(at, n),
        }
    }

    /// Takes the extent from the operation's declared regions if registers decide, and joins runs
    /// without gaps.
    fn within(mut self, declared: &[Region]) -> Words {
        let fixed = self.rows_reg == 0 && self.n_reg == 0;
        if fixed && (self.stride == self.n || self.rows == 1) {
            let words = self.rows * self.n;
            return Words {
                rows: 1,
                n: words,
                stride: words,
                extent: Region::vmem(self.at, words),
                ..self
            };
        }
        let here =
            |r: &&Region| r.space == Space::Vmem && (r.start..r.end).contains(&self.at.into());
        self.extent = match declared.iter().find(here) {
            Some(&region) if !fixed => region,
            _ => Region::vmem(self.at, (self.rows.max(1) - 1) * self.stride + self.n),
        };
        self
    }

    /// Whether all words of `other` are among these.
    pub(super) fn cover(&self, other: &Words) -> bool {
        self.at_reg == other.at_reg
            && self.extent.start <= other.extent.start
            && other.extent.end <= self.extent.end
    }
}

/// The register, or 0 if the register is known to be zero.
fn reg(selector: u8, zero: &[u8]) -> u8 {
    if zero.contains(&selector) {
        0
    } else {
        selector
    }
}

/// What an instruction reads from vector memory. Registers in `zero` are zero.
pub(super) fn reads(op: &UnitOp, zero: &[u8]) -> Vec<Words> {
    let mut out = Vec::new();
    match &op.insn {
        Insn::Vop(i) => {
            let rows = Words {
                rows: i.rows.into(),
                rows_reg: reg(i.rrows, zero),
                n_reg: reg(i.rn, zero),
                ..Words::run(0, i.n)
            };
            let a = Words {
                at: i.a,
                at_reg: reg(i.ra, zero),
                stride: i.astride,
                ..rows
            };
            out.push(a);
            if i.mul == 1 || i.add == 1 {
                let mut b = Words {
                    at: i.b,
                    at_reg: reg(i.rb, zero),
                    stride: i.bstride,
                    ..rows
                };
                if i.bstride == 0 {
                    (b.rows, b.rows_reg, b.stride) = (1, 0, i.n);
                }
                out.push(b);
            }
            let scalars = |at: u32, each: bool| Words {
                n_reg: if each { rows.rows_reg } else { 0 },
                ..Words::run(at, if each { rows.rows } else { 1 })
            };
            if (i.mul == 2 || i.add == 2) && i.s1_mem == 1 {
                out.push(scalars(i.s1, i.s1_row == 1));
            }
            if i.add == 3 {
                out.push(scalars(i.s2, i.s2_row == 1));
            }
        }
        Insn::Quant(i) => out.push(Words {
            at_reg: reg(i.ra, zero),
            rows: i.rows.into(),
            rows_reg: reg(i.rrows, zero),
            stride: i.astride,
            n_reg: reg(i.rn, zero),
            ..Words::run(i.a, i.n)
        }),
        Insn::Deq(i) => {
            let blocks = i.n / 32;
            out.push(Words {
                at_reg: reg(i.ra, zero),
                ..Words::run(i.a, blocks * u32::from(i.bits))
            });
            out.push(Words::run(i.scales, blocks));
        }
        Insn::StV(i) => out.push(Words {
            at_reg: reg(i.rsrc, zero),
            n_reg: reg(i.rcount, zero),
            ..Words::run(i.src, i.count)
        }),
        _ => {}
    }
    out.into_iter().map(|w| w.within(&op.reads)).collect()
}

/// What an instruction writes to vector memory. Registers in `zero` are zero.
pub(super) fn writes(op: &UnitOp, zero: &[u8]) -> Vec<Words> {
    let mut out = Vec::new();
    match &op.insn {
        Insn::Vop(i) => {
            let (rows, rows_reg) = (u32::from(i.rows), reg(i.rrows, zero));
            if i.write == 1 {
                out.push(Words {
                    at_reg: reg(i.rd, zero),
                    rows,
                    rows_reg,
                    stride: i.dstride,
                    n_reg: reg(i.rn, zero),
                    ..Words::run(i.d, i.n)
                });
            }
            if i.red != 0 {
                let each = if i.red == 3 { 2 } else { 1 };
                out.push(Words {
                    n_reg: rows_reg,
                    n_scale: each,
                    ..Words::run(i.red_addr, each * rows)
                });
            }
        }
        Insn::Quant(i) if i.scale_out == 1 => out.push(Words {
            n_reg: reg(i.rrows, zero),
            ..Words::run(i.scale_addr, i.rows.into())
        }),
        Insn::Deq(i) => out.push(Words {
            at_reg: reg(i.rd, zero),
            ..Words::run(i.d, i.n)
        }),
        Insn::LdV(i) => out.push(Words {
            at_reg: reg(i.rdst, zero),
            n_reg: reg(i.rcount, zero),
            ..Words::run(i.dst, i.count * u32::from(i.rows))
        }),
        Insn::Mm(i) => out.push(Words {
            at_reg: reg(i.ry, zero),
            rows: i.tokens.into(),
            rows_reg: reg(i.rtokens, zero),
            stride: i.ystride,
            n_reg: reg(i.rgroups, zero),
            n_scale: TILE_ROWS as u32,
            ..Words::run(i.y, u32::from(i.groups) * TILE_ROWS as u32)
        }),
        Insn::Mv(i) => out.push(Words {
            at_reg: reg(i.ry, zero),
            n_reg: reg(i.rgroups, zero),
            n_scale: TILE_ROWS as u32,
            ..Words::run(i.y, u32::from(i.groups) * TILE_ROWS as u32)
        }),
        _ => {}
    }
    out.into_iter().map(|w| w.within(&op.writes)).collect()
}
