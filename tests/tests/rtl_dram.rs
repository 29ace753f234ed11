//! The RTL with the DRAM model behind its memory port: the data are right, the memory's rules are
//! kept, and a long transfer reaches what the memory can give.

use lampyris_isa::HwConfig;
use lampyris_sim::dram::{DramConfig, Timing, check};
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::{Device, Limits, Memory, Outcome, Rng, SimError, Start};

const SOURCE: u64 = 0x1_0000;
const TARGET: u64 = 0x8_0000;
const WORDS: u64 = 6000;

/// Copies words through vector memory, in two parts that overlap in time.
const PROGRAM: &str = "\
ld.v addr=0x10000 count=3001 rows=1 dst=0 post=2
ld.v addr=0x12ee4 count=2999 rows=1 dst=3008 post=2
st.v wait=1 src=0 addr=0x80000 count=3001
st.v wait=1 src=3008 addr=0x82ee4 count=2999
halt";

fn memory(seed: u64) -> Memory {
    let program = lampyris_isa::asm::parse_program(PROGRAM).unwrap_or_else(|e| panic!("{e:?}"));
    let code = program.iter().flat_map(|i| i.to_bytes()).collect();
    let mut rng = Rng::new(seed);
    let data = (0..4 * WORDS).map(|_| rng.bits() as u8).collect();
    let mut memory = Memory::new();
    memory.add_data("program", 0, code).expect("a segment");
    memory.add_data("source", SOURCE, data).expect("a segment");
    memory
        .add_zeroed("target", TARGET, 4 * WORDS)
        .expect("a segment");
    memory
}

/// A device that keeps the commands of its DRAM.
fn device(dram: DramConfig, timing: AxiTiming, memory: Memory, clock_khz: u32) -> RtlDevice {
    let config = HwConfig {
        clock_khz,
        ..HwConfig::SMALL
    };
    let features = Features {
        assertions: true,
        ..Features::default()
    };
    let design = build(&default_rtl_root(), &config, features).unwrap_or_else(|e| panic!("{e}"));
    let options = RtlOptions {
        timing,
        dram: Some(dram),
        ..RtlOptions::default()
    };
    let mut device = RtlDevice::new(&design, config, memory, &options).expect("a device");
    device.dram_mut().expect("a DRAM").keep_log();
    device
}

fn words(device: &RtlDevice, addr: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4 * WORDS as usize];
    device
        .read_memory(addr, &mut bytes)
        .expect("within the memory");
    bytes
}

#[test]
fn copies_are_right_with_every_memory() {
    for (number, timing) in Timing::ALL.into_iter().enumerate() {
        for (seed, clock_khz, channels) in [(0, 50_000, 1), (1, 133_000, 1), (2, 1_000_000, 2)] {
            let dram = DramConfig::with_channels(timing, channels).expect("a memory");
            // Back-pressure on top of the memory's own, but for one plain run.
            let stalls = match seed {
                0 => AxiTiming::default(),
                _ => AxiTiming::random(seed + 10 * number as u64),
            };
            let postponed = dram.policy.postponed;
            let mut device = device(dram, stalls, memory(seed), clock_khz);
            device.start(&Start::default()).expect("a start");
            let outcome = device.run(&Limits::default()).expect("a run");
            assert_eq!(outcome, Outcome::Halted(0), "{} {seed}", timing.name);
            assert!(
                words(&device, SOURCE) == words(&device, TARGET),
                "{} {seed}",
                timing.name
            );
            let model = device.dram().expect("a DRAM");
            if let Err(violation) = check(&timing, postponed, model.log()) {
                panic!("{} {seed}: {violation}", timing.name);
            }
            let stats = model.stats();
            let bursts = 4 * WORDS / u64::from(timing.burst_bytes());
            assert!(stats.reads >= bursts && stats.writes >= bursts, "{stats:?}");
        }
    }
}

/// The slower the memory, the longer it takes; never less than its pins need.
#[test]
fn the_memory_limits_the_copy() {
    let mut cycles = Vec::new();
    for timing in [Timing::SDR_133, Timing::DDR3_800, Timing::DDR4_2400] {
        let dram = DramConfig::new(timing).expect("a memory");
        let mut device = device(dram.clone(), AxiTiming::default(), memory(0), 100_000);
        let begin = device.cycle();
        device.start(&Start::default()).expect("a start");
        device.run(&Limits::default()).expect("a run");
        let taken = device.cycle() - begin;
        let share = dram.share(8.0 * WORDS as f64, taken as f64 / 100e6);
        assert!(
            share < timing.refresh_limit() + 0.01,
            "{}: {share}",
            timing.name
        );
        cycles.push(taken);
    }
    assert!(cycles.is_sorted_by(|a, b| a > b), "{cycles:?}");
}

#[test]
fn a_memory_map_beyond_the_memory_is_refused() {
    let mut memory = memory(0);
    memory.add_zeroed("far", 40 << 20, 4096).expect("a segment");
    let config = HwConfig::SMALL;
    let design = build(&default_rtl_root(), &config, Features::default()).expect("a design");
    let options = RtlOptions {
        dram: Some(DramConfig::new(Timing::SDR_133).expect("a memory")),
        ..RtlOptions::default()
    };
    let error = RtlDevice::new(&design, config, memory, &options)
        .map(|_| ())
        .expect_err("32 MiB are too few");
    assert!(matches!(error, SimError::Dram(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("sdr-133") && text.contains("0x2801000") && text.contains("hint:"),
        "{text}"
    );
}
