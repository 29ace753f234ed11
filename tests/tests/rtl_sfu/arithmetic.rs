//! The pipelined operators, one result at a time, with bubbles.

use crate::values::{SPECIAL, operand, partner};
use lampyris_isa::num;
use lampyris_tests::bench::Random;
use std::collections::VecDeque;
use std::path::PathBuf;
use verilator_sys::{Build, Input, Model, Output, Setup};

const ROUNDS: usize = 200_000;

/// A module with a clock and no reset.
struct Operator {
    model: Model,
    clk: Input,
    result: Output,
    latency: usize,
    expected: VecDeque<Option<(u32, String)>>,
}

impl Operator {
    fn new(top: &str, params: &[(&str, i64)], latency: usize) -> Operator {
        let rtl = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../rtl");
        let mut build = Build::new(top)
            .source(rtl.join("gen/lampyris_isa_pkg.sv"))
            .source(rtl.join("prim/fp_pkg.sv"))
            .source(rtl.join(format!("prim/{top}.sv")))
            .opt(1);
        for (name, value) in params {
            build = build.param(*name, value);
        }
        let design = build
            .build()
            .unwrap_or_else(|error| panic!("{top}: {error}"));
        let model = design.instantiate(&Setup::default()).expect("a model");
        let mut operator = Operator {
            clk: model.input("clk_i", 1).expect("clk_i"),
            result: model.output("result_o", 32).expect("result_o"),
            model,
            latency,
            expected: (1..latency).map(|_| None).collect(),
        };
        operator.model.set(operator.clk, 0);
        operator.model.eval().expect("runs");
        operator
    }

    fn input(&self, name: &str, width: u32) -> Input {
        self.model.input(name, width).expect("an input")
    }

    /// Enables stage k if there is an operand k cycles behind the newest.
    fn enable(&mut self, en: Input, new: bool) {
        let older = self.expected.iter().rev().map(Option::is_some);
        let bits = std::iter::once(new).chain(older).enumerate();
        let word = bits.fold(0, |word, (k, on)| word | u64::from(on) << k);
        self.model.set(en, word);
    }

    /// One cycle; `want` belongs to the operands that are at the inputs now.
    fn cycle(&mut self, want: Option<(u32, String)>) {
        self.expected.push_back(want);
        for level in [1, 0] {
            self.model.set(self.clk, level);
            self.model.eval().expect("runs");
        }
        assert_eq!(self.expected.len(), self.latency);
        if let Some((want, of)) = self.expected.pop_front().flatten() {
            let got = self.model.get(self.result);
            assert_eq!(got, u64::from(want), "got {got:08x}, want {want:08x}: {of}");
        }
    }
}

fn check_binary(top: &str, latency: usize, define: impl Fn(f32, f32) -> f32) {
    let mut random = Random::new(1);
    let mut op = Operator::new(top, &[], latency);
    let (a, b, en) = (
        op.input("a_i", 32),
        op.input("b_i", 32),
        op.input("en_i", latency as u32),
    );
    let pairs = SPECIAL
        .iter()
        .flat_map(|x| SPECIAL.iter().map(move |y| (*x, *y)));
    let mut pairs: VecDeque<_> = pairs.collect();
    for _ in 0..ROUNDS {
        let (x, y) = pairs.pop_front().unwrap_or_else(|| {
            let x = operand(&mut random);
            (x, partner(&mut random, x))
        });
        op.model.set(a, x.into());
        op.model.set(b, y.into());
        let valid = !random.chance(10);
        op.enable(en, valid);
        let want = define(f32::from_bits(x), f32::from_bits(y)).to_bits();
        op.cycle(valid.then(|| (want, format!("{top} {x:08x} {y:08x}"))));
        if !valid {
            pairs.push_back((x, y));
        }
    }
}

#[test]
fn product_equals_the_definition() {
    check_binary("fp_mul", 3, num::mul);
}

#[test]
fn sum_equals_the_definition() {
    check_binary("fp_add", 5, num::add);
}

#[test]
fn functions_equal_the_definition() {
    let mut random = Random::new(2);
    let mut op = Operator::new("fp_func", &[], 6);
    let (func, value, en) = (
        op.input("func_i", 2),
        op.input("value_i", 32),
        op.input("en_i", 6),
    );
    for round in 0..3 * ROUNDS {
        let x = match round {
            0..96 => SPECIAL[round / 3],
            _ if random.chance(30) => random.bits() as u32 & 0x83ff_ffff | 0x4000_0000,
            _ => operand(&mut random),
        };
        let which = round % 3;
        let (name, define): (_, fn(f32) -> f32) = [
            ("exp2", num::exp2 as fn(f32) -> f32),
            ("recip", num::recip),
            ("rsqrt", num::rsqrt),
        ][which];
        op.model.set(func, which as u64);
        op.model.set(value, x.into());
        let valid = round < 96 || !random.chance(10);
        op.enable(en, valid);
        let want = define(f32::from_bits(x)).to_bits();
        op.cycle(valid.then(|| (want, format!("{name} {x:08x}"))));
    }
}

/// A signed number of up to `width` bits: any length, powers of two and their neighbours, ties.
fn fixed(random: &mut Random, width: u32) -> i128 {
    let any = (i128::from(random.bits()) << 64) | i128::from(random.bits());
    let length = 1 + random.below(width.into()) as u32;
    let value = any >> (128 - length);
    match random.below(4) {
        0 => value & (!0 << random.below(u64::from(length))),
        1 => {
            let one = 1i128 << (length - 1);
            let near = one.wrapping_add(random.below(3) as i128 - 1);
            let value = if random.chance(50) {
                near
            } else {
                near.wrapping_neg()
            };
            value << (128 - width) >> (128 - width)
        }
        _ => value,
    }
}

#[test]
fn rounding_equals_the_definition() {
    for (width, lsb) in [(128u32, -62), (96, -40), (97, -40), (94, -40)] {
        let mut random = Random::new(width.into());
        let params = [("Width", i64::from(width)), ("LsbLog2", lsb)];
        let mut op = Operator::new("fix_to_fp", &params, 3);
        let input = op.input("value_i", width);
        for round in 0..ROUNDS {
            let value = match round {
                0 => 0,
                1 => i128::MIN >> (128 - width),
                2 => i128::MAX >> (128 - width),
                _ => fixed(&mut random, width),
            };
            let mut words = [0u32; 4];
            (0..4).for_each(|i| words[i] = (value >> (32 * i)) as u32);
            if width % 32 != 0 {
                words[3] &= (1 << (width % 32)) - 1;
            }
            let used = width.div_ceil(32) as usize;
            if used == 3 {
                words[2] &= u32::MAX >> (96 - width);
            }
            op.model.set_words(input, &words[..used]);
            let want = num::fixed_to_f32(value, lsb as i32).to_bits();
            op.cycle(Some((want, format!("{value:#x} of {width} bits"))));
        }
    }
}
