//! Long streams: how near the controller comes to a word a cycle, refresh included.

use crate::master::Burst;
use crate::system::{SETTINGS, Setting, System};

/// Words that a stream moves: more than eight refresh intervals.
const WORDS: u64 = 40_000;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Read,
    Write,
}

/// Lets masters stream, each through its own half of the chip, and returns the moved words, in all
/// and of each master, and the cycles.
fn stream(setting: &Setting, kinds: &[Kind], beats: u64) -> (Vec<u64>, u64) {
    let mut system = System::new(setting, 11);
    let beat = u64::from(setting.axi_bits / 8);
    let half = setting.chip.bytes() / 2;
    let pause = u64::from(setting.clock_khz) * setting.chip.power_up_us as u64 / 1000 + 200;
    while system.bench.cycle < pause {
        system.cycle([0, 0]);
    }
    let mut next = [0, half];
    let begin = (system.bench.cycle, system.refreshes);
    let words_of = |system: &System, m: usize| {
        let done: u64 = system.masters[m].done.iter().sum();
        done * beat / u64::from(setting.chip.dq_bits / 8)
    };
    let total = |system: &System| words_of(system, 0) + words_of(system, 1);
    while total(&system) < WORDS {
        let System {
            masters,
            random,
            reference,
            ..
        } = &mut system;
        for ((master, kind), next) in masters.iter_mut().zip(kinds).zip(&mut next) {
            while master.pending().iter().sum::<usize>() < 6 {
                let burst = Burst::new(*next, beats);
                *next += beats * beat;
                match kind {
                    Kind::Read => master.read(burst),
                    Kind::Write => master.write(burst, random, 100, reference),
                }
            }
        }
        system.cycle([0, 0]);
        assert!(
            system.bench.cycle < begin.0 + 4 * WORDS,
            "the stream stands still"
        );
    }
    let cycles = system.bench.cycle - begin.0;
    let due = cycles / system.interval;
    let refreshes = system.refreshes - begin.1;
    assert!(
        refreshes + 8 >= due && refreshes > 0,
        "{refreshes} refreshes, {due} were due"
    );
    system.check_rules();
    let words = [0, 1].map(|m| words_of(&system, m));
    eprintln!(
        "{} kHz, {} bits, {beats} beats: {:.1} % ({words:?} words, {refreshes} refreshes)",
        setting.clock_khz,
        setting.axi_bits,
        100.0 * total(&system) as f64 / cycles as f64
    );
    (words.to_vec(), cycles)
}

fn beats_of(setting: &Setting) -> u64 {
    (4096 / u64::from(setting.axi_bits / 8)).min(64)
}

#[test]
fn long_reads_use_nine_tenths_of_the_pins() {
    for setting in &SETTINGS {
        let (words, cycles) = stream(setting, &[Kind::Read], beats_of(setting));
        assert!(
            10 * words[0] >= 9 * cycles,
            "{setting:?}: {words:?} in {cycles}"
        );
    }
}

#[test]
fn long_writes_use_nine_tenths_of_the_pins() {
    for setting in &SETTINGS {
        let (words, cycles) = stream(setting, &[Kind::Write], beats_of(setting));
        assert!(
            10 * words[0] >= 9 * cycles,
            "{setting:?}: {words:?} in {cycles}"
        );
    }
}

#[test]
fn a_reader_and_a_writer_share_the_pins() {
    for setting in &SETTINGS {
        let kinds = [Kind::Read, Kind::Write];
        let (words, cycles) = stream(setting, &kinds, beats_of(setting));
        let (all, least) = (words[0] + words[1], words[0].min(words[1]));
        assert!(4 * all >= 3 * cycles, "{setting:?}: {words:?} in {cycles}");
        assert!(10 * least >= 4 * all, "{setting:?}: one starves: {words:?}");
    }
}

#[test]
fn two_readers_share_the_pins() {
    for setting in &SETTINGS {
        let (words, cycles) = stream(setting, &[Kind::Read, Kind::Read], 16);
        let (all, least) = (words[0] + words[1], words[0].min(words[1]));
        assert!(10 * all >= 8 * cycles, "{setting:?}: {words:?} in {cycles}");
        assert!(10 * least >= 4 * all, "{setting:?}: one starves: {words:?}");
    }
}

#[test]
fn a_read_of_an_open_row_takes_the_promised_cycles() {
    for setting in &SETTINGS {
        let mut system = System::new(setting, 12);
        system.masters[0].read(Burst::new(0, 1));
        system.finish([0, 0]);
        // A refresh may close the row between two reads, so the shortest counts.
        let shortest = (0..3).map(|_| {
            let begin = system.bench.cycle;
            system.masters[0].read(Burst::new(0, 1));
            system.finish([0, 0]);
            // The beat is taken in the last of these cycles.
            system.bench.cycle - 1 - begin
        });
        let latency = if setting.clock_khz > 100_000 { 3 } else { 2 };
        let words = u64::from(setting.axi_bits / setting.chip.dq_bits);
        let (mux, own) = (2, 11 + latency + u64::from(setting.read_delay) + words);
        assert_eq!(shortest.min(), Some(mux + own), "{setting:?}");
    }
}
