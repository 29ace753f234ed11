//! Instructions with random operands, most of them wrong: the RTL raises the error that the model
//! raises, and accepts what the model accepts.

use lampyris_isa::insn::INSNS;
use lampyris_isa::{HwConfig, Insn, Unit};
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::{Device, Limits, Memory, Model, Outcome, Rng, SimError, Start};
use std::collections::BTreeMap;
use verilator_sys::Design;

/// Has some of the widths and one of the sparsities, and lacks others.
const CONFIG: HwConfig = HwConfig {
    weight_bits: 1 << 3 | 1 << 4 | 1 << 6 | 1 << 8,
    sparsity: 1,
    ..HwConfig::SMALL
};
const PROGRAM: u64 = 0x10_0000;
const LIMITS: Limits = Limits {
    instructions: 1000,
    cycles: 4_000_000,
};

/// Correct instructions to start from, one or more for each opcode of a unit.
const CORRECT: [&str; 19] = [
    "ld.w addr=0x400 count=3 rows=2 stride=128",
    "ld.v addr=0x404 count=9 rows=3 stride=40 dst=77",
    "st.v addr=0x2004 count=21 src=100",
    "st.k addr=0x3000 blocks=2 src=5",
    "st.t addr=0x3000 blocks=2 src=5 stride=512",
    "st.k addr=0x3000 blocks=2 src=5 nibbles=1",
    "st.t addr=0x3000 blocks=2 src=5 stride=256 nibbles=1",
    "mm x=3 xstride=4 y=64 ystride=32 kblocks=4 groups=2 tokens=2 bits=4",
    "mm x=4 xstride=2 y=64 ystride=32 kblocks=4 groups=2 tokens=2 bits=4 sparsity=1",
    "mv x=3 y=64 kblocks=4 groups=2 bits=8 header=1",
    "mv x=3 y=64 kblocks=4 groups=2 bits=4 header=2",
    "mv x=2 y=64 kblocks=4 groups=2 bits=6 sparsity=1",
    "vop a=8 b=256 d=512 n=40 rows=3 astride=48 bstride=48 dstride=48 mul=1 add=3 write=1 red=3 s2=900 red_addr=1000",
    "vop a=8 d=512 n=40 rows=3 astride=48 dstride=48 mul=2 add=2 s1_mem=1 s1_row=1 s1=99 write=1 red=1 red_addr=1000",
    "quant a=8 x=2 xstride=3 n=70 rows=3 astride=80 scale_out=1 scale_addr=900",
    "quant a=8 x=2 xstride=3 n=70 rows=3 astride=80 group=2",
    "quant a=8 x=2 xstride=3 n=70 rows=3 astride=80 f16_range=1 nibbles=1",
    "deq a=8 scales=300 d=512 n=64 bits=4",
    "deq a=8 scales=300 d=512 n=64 bits=6",
];

/// A value for a field: its old value nearly, an edge, or any bits.
fn wild_value(rng: &mut Rng, old: u64, width: u32) -> u64 {
    let mask = u64::MAX >> (64 - width);
    let value = match rng.below(8) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_add(8),
        2 => 0,
        3 => mask,
        4 => mask.saturating_sub(rng.below(40)),
        5 => rng.below(64) * 8,
        6 => 1 << rng.below(u64::from(width)),
        _ => rng.bits(),
    };
    value & mask
}

fn wild(rng: &mut Rng) -> Insn {
    let text = rng.pick(&CORRECT);
    let mut insn = Insn::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    for _ in 0..rng.range(0, 3) {
        let fields = insn.spec().fields;
        let field = fields[rng.below(fields.len() as u64) as usize];
        // A semaphore that nobody posts is not an error but an endless wait.
        if field.name == "wait" || field.name == "post" {
            continue;
        }
        let old = insn.field(field.name).expect("a field of the table");
        let value = wild_value(rng, old, field.width);
        insn = insn
            .with_field(field.name, value)
            .expect("a field of the table");
    }
    insn
}

fn memory(insn: &Insn) -> Memory {
    let mut memory = Memory::new();
    let data: Vec<u8> = (0..0x8000u32).map(|i| (i * 13 + (i >> 7)) as u8).collect();
    memory.add_data("data", 0, data).expect("a segment");
    let program = ["fence units=15", "halt code=2"].map(|t| Insn::parse(t).expect("legal"));
    let program = std::iter::once(insn).chain(&program);
    let code = program.flat_map(|i| i.to_bytes()).collect();
    memory
        .add_data("program", PROGRAM, code)
        .expect("a segment");
    memory
}

/// Operands as the units see them: a register's value is added to the field.
fn operand(insn: &Insn, args: &[u32; 8], selector: &str, field: &str) -> u64 {
    let reg = insn.field(selector).unwrap_or(0) as usize;
    let value = if (1..=8).contains(&reg) {
        u64::from(args[reg - 1])
    } else {
        0
    };
    value + insn.field(field).unwrap_or(0)
}

/// Whether an accepted instruction ends, and soon: rows may be many, and loads of weights that
/// nobody consumes must fit into the stream.
fn ends_soon(insn: &Insn, args: &[u32; 8]) -> bool {
    let rows = operand(insn, args, "rrows", "rows");
    match insn {
        Insn::LdW(_) => {
            let bytes = operand(insn, args, "rcount", "count").saturating_mul(64 * rows);
            bytes <= u64::from(CONFIG.stream_beats * CONFIG.beat_bytes())
        }
        Insn::Vop(_) | Insn::Quant(_) => {
            operand(insn, args, "rn", "n").saturating_mul(rows) < 200_000 && rows < 20_000
        }
        _ => true,
    }
}

/// The error code, 0 for none.
fn code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Halted(_) => 0,
        Outcome::Raised { code, .. } => *code,
    }
}

/// Runs the wild instruction of a seed on both; returns it with the error code that they agree
/// on, or nothing if it would not end.
fn compare(design: &Design, seed: u64) -> Option<(Insn, u8)> {
    let mut rng = Rng::new(seed);
    let insn = wild(&mut rng);
    let args: [u32; 8] = std::array::from_fn(|_| wild_value(&mut rng, 8, 16) as u32);
    if !ends_soon(&insn, &args) {
        return None;
    }
    let start = Start {
        prog_base: PROGRAM,
        entry: 0,
        args,
    };
    let memory = memory(&insn);
    let mut model = Model::new(CONFIG, memory.clone()).expect("a model");
    let ours = match model.run_to_halt(&start, &LIMITS) {
        Ok(outcome) => outcome,
        // A correct product without weights.
        Err(SimError::Program { .. }) => return None,
        Err(e) => panic!("seed {seed}: {e}"),
    };
    let timing = AxiTiming::random(seed);
    let options = RtlOptions {
        timing,
        seed: seed as u32,
        ..RtlOptions::default()
    };
    let mut rtl = RtlDevice::new(design, CONFIG, memory, &options).expect("a device");
    rtl.start(&start).expect("a start");
    let theirs = rtl
        .run(&LIMITS)
        .unwrap_or_else(|e| panic!("seed {seed}: `{insn}` {args:?}: {e}; the model: {ours}"));
    assert_eq!(
        code(&ours),
        code(&theirs),
        "seed {seed}: `{insn}` {args:?}\n model: {ours}\n rtl:   {theirs}"
    );
    Some((insn, code(&ours)))
}

#[test]
fn wild_operands_raise_the_same_error() {
    let features = Features {
        assertions: true,
        random_state: true,
        ..Features::default()
    };
    let design = build(&default_rtl_root(), &CONFIG, features).unwrap_or_else(|e| panic!("{e}"));
    let mut seen: BTreeMap<(u8, Unit), u32> = BTreeMap::new();
    for (insn, code) in (0..4000).filter_map(|seed| compare(&design, seed)) {
        *seen.entry((code, insn.unit())).or_default() += 1;
    }
    // Units accepted and refused instructions, for every reason that they have. An `mm` without
    // weights is only accepted when it has nothing to do.
    use Unit::{Ld, Mm, Sfu, St};
    for (code, units) in [
        (0, &[Ld, St, Mm, Sfu][..]),
        (1, &[St, Mm, Sfu]),
        (3, &[Ld, St, Mm, Sfu]),
        (4, &[Ld, St]),
        (5, &[Mm, Sfu]),
    ] {
        for &unit in units {
            let count = seen.get(&(code, unit)).copied().unwrap_or(0);
            assert!(count > 5, "{code} {unit:?}: {seen:?}");
        }
    }
    for insn in INSNS.iter().filter(|insn| insn.unit != Unit::Sys) {
        let shows = |text: &str| text.split(' ').next() == Some(insn.mnemonic);
        assert!(
            CORRECT.iter().any(|text| shows(text)),
            "`{}` needs an example here",
            insn.mnemonic
        );
    }
}
