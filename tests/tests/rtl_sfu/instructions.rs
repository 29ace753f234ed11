//! Random instructions against the model, limits of operands, resets.

use crate::cases::{deq, quant, vop};
use crate::model::{DeqCase, QuantCase, VopCase};
use crate::unit::{Block, Outcome, Unit};
use crate::values::{operand, ordinary};
use lampyris_isa::HwConfig;
use lampyris_isa::insn::{Deq, Quant, Vop};
use lampyris_tests::bench::Random;

const ILLEGAL: u64 = 1;
const ADDRESS: u64 = 3;
const OPERAND: u64 = 5;

fn config(sfu_lanes: u32) -> HwConfig {
    HwConfig {
        sfu_lanes,
        vmem_words: 4096,
        xbuf_blocks: 64,
        weight_bits: HwConfig::BASE.weight_bits,
        sparsity: 2,
        ..HwConfig::SMALL
    }
}

/// Fills vector memory; mostly numbers of ordinary size, so that results are not all special.
fn fill(random: &mut Random, vmem: &mut [u32]) {
    let special = random.chance(30);
    for word in vmem {
        *word = if special {
            operand(random)
        } else {
            ordinary(random)
        };
    }
}

/// Runs a descriptor and compares memories with what `apply` makes of them.
fn check(
    unit: &mut Unit,
    random: &mut Random,
    seq: u32,
    desc: &[u32],
    apply: impl Fn(&mut Vec<u32>, &mut Vec<Option<Block>>),
    what: &dyn std::fmt::Debug,
) {
    fill(random, &mut unit.vmem);
    let (mut vmem, mut xbuf) = (unit.vmem.clone(), unit.xbuf.clone());
    apply(&mut vmem, &mut xbuf);
    let stall = [0, 0, 10, 50][random.below(4) as usize];
    let outcome = unit.run(random, stall, seq, desc);
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}: {what:?}");
    if let Some(at) = (0..vmem.len()).find(|&i| vmem[i] != unit.vmem[i]) {
        let (got, want) = (unit.vmem[at], vmem[at]);
        panic!("word {at}: got {got:08x}, want {want:08x}: {what:?}");
    }
    for (at, (got, want)) in unit.xbuf.iter().zip(&xbuf).enumerate() {
        assert_eq!(got, want, "block {at}: {what:?}");
    }
}

fn random_instructions(lanes: u32, count: u32) {
    let mut random = Random::new(lanes.into());
    let config = config(lanes);
    let mut unit = Unit::new(&config, lanes);
    for seq in 0..count {
        match random.below(8) {
            0 => {
                let case = deq(&mut random);
                let desc = case.descriptor(&mut random, seq);
                check(
                    &mut unit,
                    &mut random,
                    seq,
                    &desc,
                    |v, _| case.apply(v),
                    &case,
                );
            }
            1..=2 => {
                let case = quant(&mut random, config.xbuf_blocks.into());
                let desc = case.descriptor(&mut random, seq);
                check(
                    &mut unit,
                    &mut random,
                    seq,
                    &desc,
                    |v, x| case.apply(v, x),
                    &case,
                );
            }
            _ => {
                let case = vop(&mut random);
                let desc = case.descriptor(&mut random, seq);
                check(
                    &mut unit,
                    &mut random,
                    seq,
                    &desc,
                    |v, _| case.apply(v),
                    &case,
                );
            }
        }
        if random.chance(2) {
            let desc = vop(&mut random).descriptor(&mut random, seq);
            unit.abandon(&mut random, &desc);
            unit.expect_quiet(&mut random);
        }
    }
}

#[test]
fn random_instructions_with_2_lanes_equal_the_model() {
    random_instructions(2, 3000);
}

#[test]
fn random_instructions_with_4_lanes_equal_the_model() {
    random_instructions(4, 3000);
}

#[test]
fn random_instructions_with_8_lanes_equal_the_model() {
    random_instructions(8, 3000);
}

/// Scales of blocks from the whole range of magnitudes, ties of codes, and rows of zeros.
#[test]
fn quantized_blocks_of_every_magnitude_equal_the_model() {
    let mut random = Random::new(9);
    let mut unit = Unit::new(&config(8), 9);
    for seq in 0..600 {
        let exponent = random.below(256) as u32;
        let spread = random.below(20) as u32;
        let tie = random.chance(30);
        let case = QuantCase {
            a: 0,
            ..quant(&mut random, 64)
        };
        let desc = case.descriptor(&mut random, seq);
        let mut want = unit.xbuf.clone();
        for word in &mut unit.vmem {
            let e = exponent.saturating_sub(random.below(u64::from(spread) + 1) as u32);
            let bits = random.bits() as u32 & 0x807f_ffff | e << 23;
            *word = if tie { bits & 0xffff_0000 } else { bits };
        }
        let mut vmem = unit.vmem.clone();
        case.apply(&mut vmem, &mut want);
        assert!(matches!(
            unit.run(&mut random, 5, seq, &desc),
            Outcome::Done(_)
        ));
        assert!(
            unit.xbuf == want && unit.vmem == vmem,
            "exponent {exponent}: {case:?}"
        );
    }
}

fn vop_limits() -> Vec<(VopCase, Result<(), u64>)> {
    let (words, far) = (4096, 1 << 39);
    let fields = Vop {
        mul: 1,
        add: 3,
        red: 3,
        write: 1,
        s2_row: 1,
        astride: 8,
        bstride: 16,
        dstride: 24,
        s2: words as u32 - 3,
        red_addr: words as u32 - 6,
        ..Vop::default()
    };
    let ok = VopCase {
        fields,
        a: words - 32,
        b: words - 48,
        d: words - 64,
        n: 16,
        rows: 3,
    };
    let with = |change: &dyn Fn(&mut VopCase)| {
        let mut case = ok.clone();
        change(&mut case);
        case
    };
    let bad = |change: &dyn Fn(&mut VopCase)| (with(change), Err(ADDRESS));
    vec![
        (with(&|c| c.d = 8 * 10), Ok(())),
        (with(&|c| c.fields.func = 5), Err(ILLEGAL)),
        (with(&|c| (c.fields.func, c.n) = (7, 0)), Err(ILLEGAL)),
        (with(&|c| (c.n, c.a) = (0, 1)), Ok(())),
        (with(&|c| (c.rows, c.a) = (0, far)), Ok(())),
        bad(&|c| c.a += 8),
        bad(&|c| c.a += 1),
        bad(&|c| c.fields.astride = 4),
        bad(&|c| c.fields.astride = 16),
        bad(&|c| c.b += 8),
        bad(&|c| c.b -= 4),
        bad(&|c| c.fields.bstride = 17),
        (
            with(&|c| (c.b, c.d, c.fields.mul) = (far + 1, 80, 2)),
            Ok(()),
        ),
        bad(&|c| c.d += 8),
        bad(&|c| c.d -= 2),
        bad(&|c| c.fields.dstride = 25),
        (with(&|c| (c.d, c.fields.write) = (far + 1, 0)), Ok(())),
        bad(&|c| c.n = 17),
        bad(&|c| c.n = far),
        bad(&|c| c.rows = 4),
        bad(&|c| c.rows = far),
        bad(&|c| c.fields.s2 += 1),
        (
            with(&|c| (c.fields.s2, c.fields.s2_row, c.d) = (4095, 0, 80)),
            Ok(()),
        ),
        bad(&|c| c.fields.red_addr += 1),
        (
            with(&|c| (c.fields.red_addr, c.fields.red, c.d) = (4093, 1, 80)),
            Ok(()),
        ),
        bad(&|c| (c.fields.red_addr, c.fields.red) = (4094, 2)),
        bad(&|c| (c.fields.mul, c.fields.s1_mem, c.fields.s1) = (2, 1, 4096)),
        bad(&|c| (c.fields.mul, c.fields.s1_mem, c.fields.s1) = (2, 1, 1 << 31)),
        (
            with(&|c| (c.fields.mul, c.fields.s1, c.d) = (2, 1 << 31, 80)),
            Ok(()),
        ),
    ]
}

fn quant_limits() -> Vec<(QuantCase, Result<(), u64>)> {
    let fields = Quant {
        scale_out: 1,
        xstride: 5,
        astride: 8,
        scale_addr: 4096 - 2,
        ..Quant::default()
    };
    let ok = QuantCase {
        fields,
        a: 4096 - 48 - 16,
        x: 64 - 7,
        n: 40,
        rows: 2,
    };
    let with = |change: &dyn Fn(&mut QuantCase)| {
        let mut case = ok.clone();
        change(&mut case);
        case
    };
    let bad = |change: &dyn Fn(&mut QuantCase)| (with(change), Err(ADDRESS));
    vec![
        (ok.clone(), Ok(())),
        (with(&|c| (c.n, c.x) = (0, 1 << 39)), Ok(())),
        bad(&|c| c.x += 1),
        bad(&|c| c.fields.xstride += 1),
        (with(&|c| c.fields.group = 2), Ok(())),
        bad(&|c| c.fields.group = 3),
        (with(&|c| (c.fields.group, c.x) = (3, 64 - 9)), Ok(())),
        bad(&|c| c.n = 65),
        bad(&|c| c.a += 24),
        bad(&|c| c.a += 4),
        bad(&|c| c.fields.astride = 12),
        bad(&|c| c.fields.scale_addr += 1),
        (
            with(&|c| (c.fields.scale_out, c.fields.scale_addr) = (0, 4096)),
            Ok(()),
        ),
    ]
}

fn deq_limits() -> Vec<(DeqCase, Result<(), u64>)> {
    let fields = Deq {
        scales: 4096 - 3,
        n: 96,
        bits: 8,
        ..Deq::default()
    };
    let ok = DeqCase {
        fields,
        a: 4096 - 24,
        d: 8,
    };
    let with = |change: &dyn Fn(&mut DeqCase)| {
        let mut case = ok.clone();
        change(&mut case);
        case
    };
    vec![
        (ok.clone(), Ok(())),
        (with(&|c| (c.a, c.fields.bits) = (4096 - 16, 4)), Ok(())),
        (
            with(&|c| (c.a, c.fields.bits) = (4096 - 8, 4)),
            Err(ADDRESS),
        ),
        (
            with(&|c| (c.fields.bits, c.fields.n) = (7, 1)),
            Err(ILLEGAL),
        ),
        (with(&|c| (c.a, c.fields.bits) = (4096 - 16, 5)), Ok(())),
        (
            with(&|c| (c.a, c.fields.bits) = (4096 - 16, 6)),
            Err(ADDRESS),
        ),
        (with(&|c| (c.fields.n, c.a) = (33, 1)), Err(OPERAND)),
        (with(&|c| (c.fields.n, c.a) = (0, 1)), Ok(())),
        (with(&|c| c.a += 8), Err(ADDRESS)),
        (with(&|c| c.a -= 4), Err(ADDRESS)),
        (with(&|c| c.fields.scales += 1), Err(ADDRESS)),
        (with(&|c| c.d = 4096 - 88), Err(ADDRESS)),
        (with(&|c| c.d = 4), Err(ADDRESS)),
    ]
}

/// Runs one instruction; if it must fail, it has no effect and the unit rests until its reset.
fn expect(unit: &mut Unit, random: &mut Random, desc: &[u32], want: Result<(), u64>, what: &str) {
    let (vmem, writes) = (unit.vmem.clone(), unit.writes);
    let outcome = unit.run(random, 0, 7, desc);
    match want {
        Ok(()) => assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}: {what}"),
        Err(code) => {
            assert_eq!(outcome, Outcome::Error(code), "{what}");
            unit.expect_quiet(random);
            assert!(
                unit.vmem == vmem && unit.writes == writes,
                "effect of {what}"
            );
            unit.soft_reset(random);
        }
    }
}

#[test]
fn limits_of_the_operands_are_exact() {
    let mut random = Random::new(21);
    for lanes in [2, 8] {
        let mut unit = Unit::new(&config(lanes), 21);
        fill(&mut random, &mut unit.vmem);
        for (case, want) in vop_limits() {
            let desc = case.descriptor(&mut random, 7);
            expect(&mut unit, &mut random, &desc, want, &format!("{case:?}"));
        }
        for (case, want) in quant_limits() {
            let desc = case.descriptor(&mut random, 7);
            expect(&mut unit, &mut random, &desc, want, &format!("{case:?}"));
        }
        for (case, want) in deq_limits() {
            let desc = case.descriptor(&mut random, 7);
            expect(&mut unit, &mut random, &desc, want, &format!("{case:?}"));
        }
    }
}

/// What a configuration lacks is illegal, even if there is nothing to do.
#[test]
fn absent_widths_and_groups_are_illegal() {
    let mut random = Random::new(23);
    let lacking = HwConfig {
        weight_bits: HwConfig::SMALL.weight_bits,
        sparsity: 1,
        ..config(4)
    };
    let mut unit = Unit::new(&lacking, 23);
    fill(&mut random, &mut unit.vmem);
    for (group, want) in [(1, Ok(())), (2, Ok(())), (3, Err(ILLEGAL))] {
        let case = QuantCase {
            fields: Quant {
                group,
                ..Quant::default()
            },
            a: 0,
            x: 0,
            n: 0,
            rows: 1,
        };
        let desc = case.descriptor(&mut random, 7);
        expect(&mut unit, &mut random, &desc, want, &format!("{case:?}"));
    }
    for bits in 0..16 {
        let fields = Deq {
            bits,
            ..Deq::default()
        };
        let case = DeqCase { fields, a: 0, d: 0 };
        let want = if matches!(bits, 4 | 8) {
            Ok(())
        } else {
            Err(ILLEGAL)
        };
        let desc = case.descriptor(&mut random, 7);
        expect(&mut unit, &mut random, &desc, want, &format!("{case:?}"));
    }
}

/// Arithmetic on a few words is common between larger instructions, so its latency is pinned.
#[test]
fn short_vectors_take_few_cycles() {
    let mut random = Random::new(22);
    let mut unit = Unit::new(&config(8), 22);
    fill(&mut random, &mut unit.vmem);
    let scalar = |mul, add, func, red| VopCase {
        fields: Vop {
            mul,
            add,
            func,
            red,
            write: 1,
            s1_mem: 1,
            red_addr: 64,
            ..Vop::default()
        },
        a: 0,
        b: 8,
        d: 16,
        n: 1,
        rows: 1,
    };
    let cases = [
        (scalar(0, 0, 0, 0), 9),
        (scalar(2, 0, 0, 0), 13),
        (scalar(0, 1, 0, 0), 15),
        (scalar(2, 3, 3, 0), 25),
        (scalar(2, 3, 1, 1), 33),
    ];
    for (case, most) in cases {
        let desc = case.descriptor(&mut random, 1);
        match unit.run(&mut random, 0, 1, &desc) {
            Outcome::Done(cycles) => assert!(cycles <= most, "{cycles} cycles: {case:?}"),
            outcome => panic!("{outcome:?}: {case:?}"),
        }
    }
}
