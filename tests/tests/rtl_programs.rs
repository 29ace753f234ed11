//! Directed programs on the whole accelerator, functional model and RTL alike: control flow,
//! registers, loads and stores, errors, and resets in the middle of transfers.

use lampyris_isa::asm::parse_program;
use lampyris_isa::{HwConfig, csr};
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::{
    CTRL_RESET, CTRL_START, Counters, Device, Limits, Memory, Model, Outcome, SimError, Start,
};

const PROGRAM: u64 = 0x1000;
const MEMORY_BYTES: u64 = 0x10000;

const LIMITS: Limits = Limits {
    instructions: 100_000,
    cycles: 1_000_000,
};

/// 64 KiB of memory with a pattern behind the program.
fn memory() -> Memory {
    let data = (0..MEMORY_BYTES).map(|i| (i * 7 + (i >> 8) * 13) as u8);
    let mut memory = Memory::new();
    memory
        .add_data("all", 0, data.collect())
        .expect("a segment");
    memory
}

fn rtl(config: HwConfig, seed: u64) -> Box<dyn Device> {
    let features = Features {
        assertions: true,
        random_state: true,
        ..Features::default()
    };
    let design = build(&default_rtl_root(), &config, features);
    let design = design.unwrap_or_else(|error| panic!("{error}"));
    let options = RtlOptions {
        timing: AxiTiming::random(seed),
        seed: seed as u32,
        ..RtlOptions::default()
    };
    Box::new(RtlDevice::new(&design, config, memory(), &options).expect("a device"))
}

/// Model and RTL of a configuration, with their names.
fn devices(config: HwConfig, seed: u64) -> [(&'static str, Box<dyn Device>); 2] {
    let model = Model::new(config, memory()).expect("a model");
    [("model", Box::new(model)), ("rtl", rtl(config, seed))]
}

fn load(device: &mut dyn Device, text: &str) {
    let program = parse_program(text).unwrap_or_else(|(line, e)| panic!("line {line}: {e}"));
    for (i, insn) in program.iter().enumerate() {
        let at = PROGRAM + 32 * i as u64;
        device.write_memory(at, &insn.to_bytes()).expect("memory");
    }
}

fn run(device: &mut dyn Device, text: &str, args: [u32; 8]) -> Outcome {
    load(device, text);
    let start = Start {
        prog_base: PROGRAM,
        entry: 0,
        args,
    };
    device.start(&start).expect("a start");
    device
        .run(&LIMITS)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn bytes(device: &dyn Device, at: u64, count: usize) -> Vec<u8> {
    let mut out = vec![0; count];
    device.read_memory(at, &mut out).expect("memory");
    out
}

#[test]
fn control_flow_and_arithmetic_give_the_expected_registers() {
    let text = "alu rd=1 rs=1 func=2 rt=2           ; r1 = a0 * a1
         alu rd=3 rs=0 use_imm=1 imm=-1      ; r3 = 2^40 - 1
         alu rd=3 rs=3 func=5 use_imm=1 imm=8
         loop body=6 imm=3
         alu rd=4 rs=4 use_imm=1 imm=1       ; 3 times
         loop body=2 imm=0 rs=9              ; skipped
         alu rd=5 rs=5 use_imm=1 imm=100
         alu rd=5 rs=5 use_imm=1 imm=100
         loop body=1 imm=4                   ; ends with the outer body
         alu rd=6 rs=6 use_imm=1 imm=1       ; 12 times
         call offset=4
         jump cond=1 rs=9 offset=2
         halt code=1
         halt code=7
         loop body=2 imm=5
         alu rd=7 rs=7 use_imm=1 imm=3
         jump cond=2 rs=7 offset=1           ; to the end of the body
         ret";
    for (name, mut device) in devices(HwConfig::SMALL, 1) {
        let outcome = run(&mut *device, text, [123_456, 654_321, 0, 0, 0, 0, 0, 9]);
        assert_eq!(outcome, Outcome::Halted(7), "{name}");
        let product = (123_456u64 * 654_321) as u32;
        let expected = [product, 654_321, u32::MAX, 3, 0, 12, 15, 9];
        assert_eq!(device.results().unwrap(), expected, "{name}");
        let insns = 3 + 1 + 3 * 3 + 12 + 2 + 1 + 10 + 1 + 1;
        assert_eq!(device.counters().unwrap().get("insns"), insns, "{name}");
    }
}

#[test]
fn arithmetic_of_extreme_operands_agrees() {
    let values: [u64; 7] = [
        0,
        1,
        0xff_ffff_ffff,
        0x80_0000_0000,
        0x3_ffff_0001,
        0x12_3456_789a,
        41,
    ];
    let mut text = String::new();
    for func in 0..8 {
        for (a, b) in values.iter().flat_map(|a| values.map(|b| (a, b))) {
            // Both operands in registers; the low and the high half go into two sums.
            let signed = |v: u64| ((v << 24) as i64) >> 24;
            text += &format!("alu rd=10 rs=0 use_imm=1 imm={}\n", signed(*a));
            text += &format!("alu rd=11 rs=0 use_imm=1 imm={}\n", signed(b));
            text += &format!("alu rd=12 rs=10 rt=11 func={func}\n");
            text += "alu rd=1 rs=1 func=2 use_imm=1 imm=31\nalu rd=1 rs=1 rt=12\n";
            text += "alu rd=12 rs=12 func=5 use_imm=1 imm=32\n";
            text += "alu rd=2 rs=2 func=2 use_imm=1 imm=31\nalu rd=2 rs=2 rt=12\n";
        }
    }
    text += "halt";
    // The program is longer than the default memory.
    let mut memory = Memory::new();
    memory.add_zeroed("all", 0, 1 << 20).expect("a segment");
    let mut model = Model::new(HwConfig::SMALL, memory.clone()).expect("a model");
    assert_eq!(run(&mut model, &text, [0; 8]), Outcome::Halted(0));
    let design = build(&default_rtl_root(), &HwConfig::SMALL, Features::default()).expect("RTL");
    let options = RtlOptions::default();
    let mut rtl = RtlDevice::new(&design, HwConfig::SMALL, memory, &options).expect("a device");
    assert_eq!(run(&mut rtl, &text, [0; 8]), Outcome::Halted(0));
    let results = model.results().unwrap();
    assert!(results[0] != 0 && results[1] != 0);
    assert_eq!(rtl.results().unwrap(), results);
}

#[test]
fn loads_stores_and_word_reads_move_the_data() {
    let text = "ld.v addr=0x4004 count=9 rows=3 stride=20 dst=101 post=2
         st.v addr=0x5008 count=27 src=101 wait=1
         fence units=2
         rdv rd=1 rs=2 addr=100
         halt";
    for (config, seed) in [
        (HwConfig::SMALL, 1),
        (HwConfig::BASE, 2),
        (HwConfig::WIDE, 3),
    ] {
        for (name, mut device) in devices(config, seed) {
            let before = bytes(&*device, 0x5000, 256);
            let outcome = run(&mut *device, text, [0, 7, 0, 0, 0, 0, 0, 0]);
            assert_eq!(outcome, Outcome::Halted(0), "{name}");
            for word in 0..27 {
                let from = bytes(&*device, 0x4004 + 20 * (word / 9) + 4 * (word % 9), 4);
                assert_eq!(bytes(&*device, 0x5008 + 4 * word, 4), from, "{name} {word}");
            }
            let word = bytes(&*device, 0x4004 + 24, 4).try_into().unwrap();
            assert_eq!(device.results().unwrap()[0], u32::from_le_bytes(word));
            let after = bytes(&*device, 0x5000, 256);
            assert_eq!(after[..8], before[..8], "{name}");
            assert_eq!(after[8 + 108..], before[8 + 108..], "{name}");
        }
    }
}

#[test]
fn errors_stop_with_code_and_place_and_a_reset_mends_them() {
    let cases = [
        ("alu rd=1\nret\nhalt", 2, Some(1)),
        ("loop body=0 imm=1\nhalt", 2, Some(0)),
        ("call offset=0", 2, Some(0)),
        ("loop body=1 imm=9\njump offset=-1", 2, Some(0)),
        ("jump cond=3 offset=1\nhalt", 1, Some(0)),
        ("rdv rd=1 addr=16384\nhalt", 3, Some(0)),
        (
            "alu rd=1 use_imm=1 imm=5\njump offset=0x7fffff",
            4,
            Some(0x80_0000),
        ),
        ("ld.v addr=2 count=1 rows=1\nfence units=1\nhalt", 3, None),
        (
            "ld.w addr=0x20000 count=8 rows=1\nfence units=1\nhalt",
            4,
            None,
        ),
        ("st.v addr=0x20000 count=8\nfence units=2\nhalt", 4, None),
        (
            "mm bits=5 kblocks=1 groups=1 tokens=1\nfence units=4\nhalt",
            1,
            None,
        ),
        ("mv bits=4 kblocks=0 groups=1\nfence units=4\nhalt", 5, None),
        ("vop a=1 n=1 rows=1 write=1\nfence units=8\nhalt", 3, None),
    ];
    for (name, mut device) in devices(HwConfig::SMALL, 3) {
        for (text, error, place) in cases {
            let Outcome::Raised { code, pc, .. } = run(&mut *device, text, [0; 8]) else {
                panic!("{name}: no error for {text}");
            };
            assert_eq!(code, error, "{name}: {text}");
            assert!(
                place.is_none_or(|place| place == pc),
                "{name}: {text}: {pc}"
            );
            let status = device.read_register(csr::STATUS).unwrap();
            assert_eq!(status & 3, 0);
            // A start without a reset does nothing; `run` then resets and starts.
            device.write_register(csr::CTRL, CTRL_START).unwrap();
            assert_eq!(device.read_register(csr::STATUS).unwrap(), status, "{name}");
            let outcome = run(&mut *device, "alu rd=2 use_imm=1 imm=77\nhalt", [0; 8]);
            assert_eq!(outcome, Outcome::Halted(0), "{name}: after {text}");
            assert_eq!(device.results().unwrap()[1], 77);
        }
    }
}

#[test]
fn illegal_words_are_refused() {
    for (name, mut device) in devices(HwConfig::SMALL, 4) {
        for (at, bit) in [(0, 7), (8, 0), (31, 7)] {
            load(&mut *device, "halt");
            let address = PROGRAM + at;
            let byte = bytes(&*device, address, 1)[0] ^ 1 << bit;
            device.write_memory(address, &[byte]).unwrap();
            let start = Start {
                prog_base: PROGRAM,
                ..Start::default()
            };
            device.start(&start).unwrap();
            let outcome = device.run(&LIMITS).unwrap();
            assert!(
                matches!(outcome, Outcome::Raised { code: 1, pc: 0, .. }),
                "{name}: {outcome}"
            );
        }
    }
}

#[test]
fn reset_during_transfers_leaves_the_memory_port_usable() {
    let endless = "alu rd=1 use_imm=1 imm=1
         loop body=5 imm=100000
         ld.w addr=0x2000 count=16 rows=4 stride=1024
         ld.v addr=0x4000 count=100 rows=1 dst=8
         st.v addr=0x8000 count=64 src=8
         mv bits=4 kblocks=2 groups=1 y=512
         vop a=8 d=1024 n=100 rows=1 write=1 mul=3
         halt";
    let short =
        "ld.v addr=0x1000 count=8 rows=1 dst=8\nfence units=1\nrdv rd=1 addr=8\nhalt code=3";
    for seed in 0..4 {
        let mut device = rtl(HwConfig::BASE, 100 + seed);
        for round in 0..12 {
            load(&mut *device, endless);
            let start = Start {
                prog_base: PROGRAM,
                ..Start::default()
            };
            device.start(&start).unwrap();
            let cycles = 60 + 97 * round;
            let limits = Limits { cycles, ..LIMITS };
            assert!(matches!(device.run(&limits), Err(SimError::Limit { .. })));
            device.write_register(csr::CTRL, CTRL_RESET).unwrap();
            assert_eq!(device.read_register(csr::STATUS).unwrap(), 0);
            assert_eq!(run(&mut *device, short, [0; 8]), Outcome::Halted(3));
            let word = bytes(&*device, PROGRAM, 4).try_into().unwrap();
            assert_eq!(device.results().unwrap()[0], u32::from_le_bytes(word));
        }
    }
}

#[test]
fn counters_tell_what_happened() {
    let mut device = rtl(HwConfig::BASE, 5);
    let text = "ld.v addr=0x4000 count=64 rows=1 post=2\nst.v addr=0x5000 count=64 wait=1\nhalt";
    assert_eq!(run(&mut *device, text, [0; 8]), Outcome::Halted(0));
    let counters: Counters = device.counters().unwrap();
    let beats = 64 * 4 / u64::from(HwConfig::BASE.beat_bytes());
    assert_eq!(counters.get("insns"), 3);
    assert_eq!(counters.get("vector_beats"), beats);
    assert_eq!(counters.get("write_beats"), beats);
    // One line of instructions and, in advance, the next.
    assert_eq!(counters.get("fetch_beats"), 8);
    assert_eq!(counters.get("read_beats"), beats + 8);
    assert_eq!(counters.get("stream_beats"), 0);
    assert!(counters.get("cycles") > counters.get("stall_fence"));
    assert!(counters.get("wait_st") > 0 && counters.get("busy_ld") > 0);
    assert!(counters.get("port_beats") >= beats + 8);
    assert_eq!(counters.get("port1_beats"), 0);
    // They stand still while nothing runs, and a start clears them.
    assert_eq!(device.counters().unwrap(), counters);
    assert_eq!(run(&mut *device, "halt", [0; 8]), Outcome::Halted(0));
    assert_eq!(device.counters().unwrap().get("insns"), 1);
}

#[test]
fn a_store_on_the_second_port_is_seen_by_loads_on_the_first() {
    let text = "ld.v addr=0x4000 count=200 rows=1 post=2
         st.v wait=1 addr=0x6000 count=200 post=1
         ld.v wait=2 addr=0x6000 count=200 rows=1 dst=400 post=2
         st.v wait=1 addr=0x7000 count=200 src=400
         halt code=5";
    for (name, mut device) in (0..4).flat_map(|seed| devices(HwConfig::WIDE, seed)) {
        assert_eq!(run(&mut *device, text, [0; 8]), Outcome::Halted(5));
        let expected = bytes(&*device, 0x4000, 800);
        assert_eq!(bytes(&*device, 0x7000, 800), expected, "{name}");
        if name == "model" {
            continue;
        }
        let counters = device.counters().unwrap();
        // 800 bytes from or to a multiple of 64: 13 beats.
        assert_eq!(counters.get("read_beats"), 26);
        assert_eq!(counters.get("vector_beats"), 26);
        assert_eq!(counters.get("port_beats"), 26);
        assert_eq!(counters.get("write_beats"), 26);
        let fetched = counters.get("fetch_beats");
        assert!((4..=6).contains(&fetched), "{fetched}");
        let beat = u64::from(HwConfig::WIDE.beat_bytes());
        let read = counters.dram_read_bytes(&HwConfig::WIDE);
        assert_eq!(read, (26 + fetched) * beat);
        // Both channels of a port may move a beat in one cycle.
        let second = counters.get("port1_beats");
        assert!((26..=26 + fetched).contains(&second), "{second}");
        let share = (26 + second) as f64 / (2 * counters.get("cycles")) as f64;
        assert!((counters.port_share(&HwConfig::WIDE) - share).abs() < 1e-9);
    }
}

#[test]
fn instructions_fetched_in_advance_are_forgotten_at_a_start() {
    // The line behind the `halt` is still under way when the next program replaces it.
    let before = "halt code=1\n".to_string() + &"halt code=9\n".repeat(7);
    let count = "alu rd=1 rs=1 use_imm=1 imm=1\n";
    let after = count.repeat(6) + "halt code=2";
    for config in [HwConfig::SMALL, HwConfig::WIDE] {
        for seed in 0..30 {
            let mut device = rtl(config, seed);
            for _ in 0..4 {
                assert_eq!(run(&mut *device, &before, [0; 8]), Outcome::Halted(1));
                assert_eq!(run(&mut *device, &after, [0; 8]), Outcome::Halted(2));
                assert_eq!(device.results().unwrap()[0], 6, "seed {seed}");
            }
        }
    }
}
