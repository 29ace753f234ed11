//! Random programs on the functional model and on the Verilated RTL, compared at each retired
//! instruction, with random latency and back-pressure on every channel of the memory port.
//!
//! `LAMPYRIS_FUZZ_PROGRAMS` sets the number of programs for the smallest configuration (the
//! others run a quarter), `LAMPYRIS_FUZZ_SEED` the first seed.

use lampyris_isa::HwConfig;
use lampyris_sim::fuzz::{Case, shrink};
use lampyris_sim::rtl::{self, AxiTiming, Features, RtlDevice, RtlOptions};
use lampyris_sim::{Device, Limits, Memory, Outcome, SimError, Start};
use verilator_sys::Design;

/// The RTL with its assertions and random initial state.
fn design(config: &HwConfig) -> Design {
    let features = Features {
        assertions: true,
        random_state: true,
        ..Features::default()
    };
    rtl::build(&rtl::default_rtl_root(), config, features).unwrap_or_else(|e| panic!("{e}"))
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// Runs programs until one fails, then reports the smallest part of it that fails.
fn run_programs(config: &HwConfig, count: u64) {
    let design = design(config);
    let first = number("LAMPYRIS_FUZZ_SEED", 0);
    for seed in first..first + count {
        let case = Case::new(seed, config);
        let error = match case.check(&design) {
            Ok(outcome) => {
                assert_eq!(outcome, Outcome::Halted(1), "seed {seed}");
                continue;
            }
            Err(error) => error,
        };
        let small = shrink(&case, |c| c.check(&design).is_err());
        let error_small = small
            .check(&design)
            .expect_err("shrinking keeps the failure");
        panic!(
            "seed {seed}: {error}\n\nshrunk to:\n{}\n{error_small}",
            small.listing()
        );
    }
}

#[test]
fn random_programs_agree_small() {
    run_programs(&HwConfig::SMALL, number("LAMPYRIS_FUZZ_PROGRAMS", 200));
}

#[test]
fn random_programs_agree_base() {
    run_programs(
        &HwConfig::BASE,
        number("LAMPYRIS_FUZZ_PROGRAMS", 200).div_ceil(4),
    );
}

#[test]
fn random_programs_agree_wide() {
    run_programs(
        &HwConfig::WIDE,
        number("LAMPYRIS_FUZZ_PROGRAMS", 200).div_ceil(4),
    );
}

#[test]
fn random_programs_agree_on_unusual_shapes() {
    // Each parameter at its least, and each at its greatest or at a value in between.
    let least = HwConfig {
        axi_bits: 128,
        axi_ports: 2,
        mac_rows: 16,
        sfu_lanes: 4,
        max_tokens: 1,
        vmem_words: 1 << 12,
        xbuf_blocks: 1 << 6,
        stream_beats: 32,
        icache_lines: 16,
        queue_depth: 2,
        weight_bits: HwConfig::BASE.weight_bits,
        sparsity: 1,
        mul_pack: 1,
        ..HwConfig::SMALL
    };
    let packed_wide = HwConfig {
        mul_pack: 2,
        ..HwConfig::BASE
    };
    let greatest = HwConfig {
        axi_bits: 512,
        axi_ports: 1,
        mac_rows: 1,
        sfu_lanes: 8,
        max_tokens: 32,
        vmem_words: 1 << 18,
        xbuf_blocks: 1 << 14,
        stream_beats: 4096,
        icache_lines: 1024,
        queue_depth: 16,
        ..HwConfig::BASE
    };
    for config in [least, greatest, packed_wide] {
        run_programs(&config, number("LAMPYRIS_FUZZ_PROGRAMS", 200).div_ceil(4));
    }
}

/// More rows in a channel than a line has words.
const TWO_CHANNELS: HwConfig = HwConfig {
    channels: 2,
    mac_rows: 8,
    sfu_lanes: 4,
    ..HwConfig::WIDE
};

#[test]
fn random_programs_agree_on_channels_side_by_side() {
    let four = HwConfig {
        channels: 4,
        mac_rows: 2,
        max_tokens: 2,
        stream_beats: 32,
        sparsity: 0,
        weight_bits: HwConfig::SMALL.weight_bits,
        ..HwConfig::WIDE
    };
    let eight = HwConfig {
        channels: 8,
        mac_rows: 1,
        max_tokens: 5,
        vmem_words: 1 << 15,
        sparsity: 1,
        ..HwConfig::WIDE
    };
    for config in [TWO_CHANNELS, four, eight] {
        run_programs(&config, number("LAMPYRIS_FUZZ_PROGRAMS", 200).div_ceil(8));
    }
}

#[test]
fn a_wrong_model_is_caught_and_named() {
    let config = HwConfig::SMALL;
    let design = design(&config);
    let mut caught = 0;
    for seed in 0..8 {
        let case = Case::new(seed, &config);
        for seq in 5..25 {
            let result = case.check_with(&design, |model| model.corrupt_at(Some(seq)));
            match result {
                // Some instructions write nothing that could be falsified.
                Ok(_) => {}
                Err(SimError::Mismatch(found)) => {
                    assert_eq!(found.seq, seq, "seed {seed}: {found}");
                    caught += 1;
                }
                Err(e) => panic!("seed {seed}: {e}"),
            }
        }
    }
    assert!(caught > 80, "{caught} of 160");
}

/// An RTL device of the smallest configuration with a program at 0 and a page of data behind it.
fn device(text: &str, timing: AxiTiming) -> RtlDevice {
    device_of(HwConfig::SMALL, text, timing)
}

fn device_of(config: HwConfig, text: &str, timing: AxiTiming) -> RtlDevice {
    let program = lampyris_isa::asm::parse_program(text).unwrap_or_else(|e| panic!("{e:?}"));
    let mut memory = Memory::new();
    let code = program.iter().flat_map(|i| i.to_bytes()).collect();
    memory.add_data("program", 0, code).expect("a segment");
    memory
        .add_zeroed("data", 0x10000, 1 << 16)
        .expect("a segment");
    let options = RtlOptions {
        timing,
        timing1: Some(AxiTiming::default()),
        ..RtlOptions::default()
    };
    let mut device = RtlDevice::new(&design(&config), config, memory, &options).expect("a device");
    device.start(&Start::default()).expect("a start");
    device
}

#[test]
fn a_program_that_waits_for_ever_is_reported_with_its_reason() {
    let text = "vop wait=1 a=0 n=8 rows=1 write=1 d=8\nhalt";
    let error = device(text, AxiTiming::default()).run(&Limits::default());
    let error = error.expect_err("nothing posts").to_string();
    assert!(error.contains("MISC waits for a semaphore"), "{error}");
    assert!(
        error.contains("the sequencer waits at a fence or halt"),
        "{error}"
    );
}

#[test]
fn error_responses_of_the_memory_stop_the_program() {
    let text =
        "ld.v addr=0x10000 count=600 rows=1 post=2\nst.v wait=1 addr=0x14000 count=600\nhalt";
    // Burst 0 reads the instructions and burst 1, in advance, the line behind them, whose failure
    // concerns nobody; two bursts each bring and take the data.
    for (fail_read, fail_write, code) in [
        (None, None, 0),
        (Some(0), None, 4),
        (Some(1), None, 0),
        (Some(2), None, 4),
        (Some(3), None, 4),
        (None, Some(0), 4),
        (None, Some(2), 4),
    ] {
        let timing = AxiTiming {
            fail_read,
            fail_write,
            ..AxiTiming::default()
        };
        let outcome = device(text, timing)
            .run(&Limits::default())
            .expect("it ends");
        let found = match outcome {
            Outcome::Halted(_) => 0,
            Outcome::Raised { code, .. } => code,
        };
        assert_eq!(found, code, "{timing:?}");
    }
}

#[test]
fn an_error_of_one_channel_stops_the_program() {
    let text = "ld.v addr=0x10000 count=600 rows=1\nhalt";
    for (fail_read, code) in [(None, 0), (Some(0), 4)] {
        let timing = AxiTiming {
            fail_read,
            ..AxiTiming::default()
        };
        // The timing is port 0's and its last channel fails; the second port has the program.
        let mut device = device_of(TWO_CHANNELS, text, timing);
        let found = match device.run(&Limits::default()).expect("it ends") {
            Outcome::Halted(_) => 0,
            Outcome::Raised { code, .. } => code,
        };
        assert_eq!(found, code, "{fail_read:?}");
    }
}

#[test]
fn memory_timing_is_what_it_says() {
    let text = "ld.v addr=0x10000 count=4000 rows=1\nhalt";
    let cycles = |timing| {
        let mut device = device(text, timing);
        assert_eq!(
            device.run(&Limits::default()).expect("it ends"),
            Outcome::Halted(0)
        );
        device.counters().expect("counters").get("cycles")
    };
    let plain = AxiTiming {
        latency: 10,
        ..AxiTiming::default()
    };
    let fast = cycles(plain);
    // One word a cycle; 1000 beats of four words.
    assert!((4000..4200).contains(&fast), "{fast}");
    let slow = cycles(AxiTiming {
        beats_permille: 100,
        ..plain
    });
    assert!((10_000..10_400).contains(&slow), "{slow}");
    let late = cycles(AxiTiming {
        latency: 210,
        ..plain
    });
    // It counts for the instructions and for the first data; later bursts are under way early.
    assert!((390..700).contains(&(late - fast)), "{late} {fast}");
    let stalled = cycles(AxiTiming {
        stall_permille: [0, 900, 0, 0, 0],
        ..plain
    });
    assert!(stalled > 2 * fast, "{stalled}");
}
