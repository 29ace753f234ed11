//! Random legal instructions.

use crate::model::{DeqCase, QuantCase, VopCase};
use lampyris_isa::format::quant_blocks;
use lampyris_isa::insn::{Deq, Quant, Vop};
use lampyris_tests::bench::Random;

/// Words of vector memory that random instructions use: few, so that ranges overlap.
const SPAN: u64 = 2048;

fn flag(random: &mut Random, percent: u64) -> u8 {
    random.chance(percent).into()
}

/// Whether two runs share a word.
fn meet(p: u64, q: u64, n: u64) -> bool {
    p < q + n && q < p + n
}

fn vectors(random: &mut Random, rows: u64, n: u64) -> (u64, u64) {
    let stride = match random.below(4) {
        0 => 0,
        1 => 8 * random.below(n.div_ceil(8) + 1),
        _ => 8 * (n.div_ceil(8) + random.below(2)),
    };
    // The partner of the last of an odd number of swapped elements lies within.
    let extent = (rows - 1) * stride + n.next_multiple_of(8);
    (8 * random.below((SPAN - extent) / 8 + 1), stride)
}

/// A legal `vop`. Rows may depend on earlier rows; within a row the result replaces an operand
/// or lies apart from it.
pub(crate) fn vop(random: &mut Random) -> VopCase {
    loop {
        let case = any_vop(random);
        let f = &case.fields;
        let apart = |start: u64, stride: u32, row: u64| {
            let d = case.d + row * u64::from(f.dstride);
            let s = start + row * u64::from(stride);
            d == s || !meet(d, s, case.n.next_multiple_of(8))
        };
        let legal = f.write == 0
            || (0..case.rows).all(|row| {
                apart(case.a, f.astride, row) && (!case.uses_b() || apart(case.b, f.bstride, row))
            });
        if legal {
            return case;
        }
    }
}

fn any_vop(random: &mut Random) -> VopCase {
    let n = match random.below(4) {
        0 => 1 + random.below(8),
        1..=2 => 1 + random.below(70),
        _ => 1 + random.below(200),
    };
    let rows = if random.chance(50) {
        1
    } else {
        1 + random.below(6)
    };
    let (a, astride) = vectors(random, rows, n);
    let (b, bstride) = if random.chance(15) {
        (a, astride)
    } else {
        vectors(random, rows, n)
    };
    let (d, dstride) = match random.below(4) {
        0 => (a, astride),
        1 => (b, bstride),
        _ => vectors(random, rows, n),
    };
    let red_addr = match random.below(3) {
        0 => a + random.below(n),
        _ => random.below(SPAN - 2 * rows),
    };
    let red_addr = red_addr.min(SPAN - 2 * rows);
    let s1_mem = flag(random, 60);
    let mut scalar = || {
        // Often a word that an earlier row writes.
        let at = match random.below(4) {
            0 => red_addr + random.below(2 * rows),
            1 => d + random.below(n),
            _ => random.below(SPAN),
        };
        at.min(SPAN - rows) as u32
    };
    let (s1, s2) = (scalar(), scalar());
    let fields = Vop {
        mul: random.below(4) as u8,
        add: random.below(4) as u8,
        func: random.below(5) as u8,
        red: random.below(4) as u8,
        swap: flag(random, 30),
        write: flag(random, 70),
        s1_mem,
        s1_row: flag(random, 50),
        s2_row: flag(random, 50),
        astride: astride as u32,
        bstride: bstride as u32,
        dstride: dstride as u32,
        s1: match s1_mem {
            1 => s1,
            _ => crate::values::operand(random),
        },
        s2,
        red_addr: red_addr as u32,
        ..Vop::default()
    };
    VopCase {
        fields,
        a,
        b,
        d,
        n,
        rows,
    }
}

/// A legal `quant` whose scales lie outside its source.
pub(crate) fn quant(random: &mut Random, xbuf_blocks: u64) -> QuantCase {
    let most = if random.chance(50) { 64 } else { 200 };
    let n = 1 + random.below(most);
    let group = random.below(4) as u8;
    let blocks = quant_blocks(n as usize, group) as u64;
    let rows = 1 + random.below(5);
    let (a, astride) = vectors(random, rows, n);
    let xstride = match random.below(3) {
        0 => random.below(blocks + 1),
        _ => blocks + random.below(2),
    };
    let xstride = xstride.min((xbuf_blocks - blocks) / rows);
    let x = random.below(xbuf_blocks - blocks - (rows - 1) * xstride + 1);
    let fields = Quant {
        group,
        f16_range: flag(random, 50),
        scale_out: flag(random, 50),
        nibbles: flag(random, 50),
        xstride: xstride as u16,
        astride: astride as u32,
        scale_addr: (SPAN + random.below(100)) as u32,
        ..Quant::default()
    };
    QuantCase {
        fields,
        a,
        x,
        n,
        rows,
    }
}

/// A legal `deq` whose result lies apart from its sources.
pub(crate) fn deq(random: &mut Random) -> DeqCase {
    let n = 32 * random.below(7);
    let half = SPAN / 2;
    let fields = Deq {
        scales: random.below(half - 10) as u32,
        n: n as u32,
        bits: [2, 3, 4, 5, 6, 8][random.below(6) as usize],
        ..Deq::default()
    };
    DeqCase {
        fields,
        a: 8 * random.below((half - n / 4) / 8),
        d: half + 8 * random.below((half - n) / 8),
    }
}
