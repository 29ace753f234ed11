//! The host link: its driver at the pins of the UART, with registers and memory behind the buses.

mod board;
mod faults;
mod raw;
mod slaves;
mod wire;

use board::{Board, CONFIG_HASH, MEMORY, SMALL, Shape};
use lampyris_link::Link;
use lampyris_tests::bench::Random;
use slaves::BASE;
use wire::Noise;

/// Random bytes.
fn bytes(random: &mut Random, length: usize) -> Vec<u8> {
    (0..length).map(|_| random.bits() as u8).collect()
}

/// A random range of memory, in whole words.
fn range(random: &mut Random, most: u64) -> (usize, usize) {
    let length = 4 * (1 + random.below(most / 4)) as usize;
    let start = 4 * random.below((MEMORY - length) as u64 / 4 + 1) as usize;
    (start, length)
}

/// Random writes and reads of memory and registers against a copy.
fn exercise(link: &mut Link<Board>, random: &mut Random, rounds: usize, most: u64) {
    let mut copy = link.transport().memory.bytes.clone();
    let mut written = link.transport().registers.written.clone();
    for round in 0..rounds {
        let (start, length) = range(random, most);
        let data = bytes(random, length);
        link.write_memory(BASE + start as u64, &data)
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        copy[start..][..length].copy_from_slice(&data);
        let (start, length) = range(random, most);
        let mut read = vec![0; length];
        link.read_memory(BASE + start as u64, &mut read)
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(read == copy[start..][..length], "round {round}: read");
        let (register, value) = (4 * random.below(512) as u32, random.bits() as u32);
        link.write_csr(register, value)
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        written.push((register, value));
        assert_eq!(link.read_csr(register).expect("it reads"), value);
    }
    assert!(link.transport().memory.bytes == copy, "memory");
    assert_eq!(link.transport().registers.written, written);
}

#[test]
fn memory_and_registers_through_a_narrow_port() {
    let mut link = Board::new(SMALL, 1).open();
    let info = link.last_info().expect("it was opened");
    assert_eq!((info.config_hash, info.axi_bits), (CONFIG_HASH, 128));
    assert_eq!(info.timeout_clocks, board::BUS_TIMEOUT);
    exercise(&mut link, &mut Random::new(1), 12, 1500);
    let counters = link.counters();
    assert_eq!((counters.repeated, counters.bad_frames), (0, 0));
    let device = link.device_counters().expect("it answers");
    assert_eq!(u64::from(device.frames), counters.sent + 1);
    assert_eq!(
        (device.bad_frames, device.repeats, device.lost_bytes),
        (0, 0, 0)
    );
}

#[test]
fn a_fast_link_replaces_the_uart() {
    let mut board = Board::fast(512, 5);
    board.patience = 12_000;
    let mut link = board.open();
    assert_eq!(link.last_info().map(|info| info.axi_bits), Some(512));
    exercise(&mut link, &mut Random::new(5), 40, 3000);
    assert_eq!(link.counters().repeated, 0);
    link.transport().wire.noise = Noise::all(8);
    link.set_tries(60);
    exercise(&mut link, &mut Random::new(6), 20, 1500);
    assert!(link.counters().repeated > 0);
}

#[test]
fn the_rates_of_both_sides_may_differ() {
    // 3 Mbaud at 50 MHz; the host is off by 3 %.
    for (skew, seed) in [(0.97, 3), (1.03, 4)] {
        let shape = Shape {
            axi_bits: 256,
            clocks_per_bit: 4267,
            skew,
        };
        let mut link = Board::new(shape, seed).open();
        exercise(&mut link, &mut Random::new(seed), 2, 600);
        assert_eq!(link.counters().repeated, 0);
    }
}

#[test]
fn a_noisy_line_changes_nothing() {
    for (seed, noise) in [
        (10, Noise::all(3)),
        (11, Noise::all(10)),
        (
            12,
            Noise {
                flip: 30,
                ..Noise::default()
            },
        ),
        (
            13,
            Noise {
                drop: 30,
                ..Noise::default()
            },
        ),
    ] {
        let mut board = Board::new(SMALL, seed);
        board.wire.noise = noise;
        // Frames and responses of 256 bytes are lost often, and ten times in a row now and then.
        let mut link = board.open();
        link.set_tries(60);
        exercise(&mut link, &mut Random::new(seed), 4, 1000);
        let counters = link.counters();
        link.transport().wire.noise = Noise::default();
        let device = link.device_counters().expect("it answers");
        eprintln!("noise {seed}: {counters:?}, {device:?}");
        assert!(counters.repeated > 0 && device.bad_frames > 0);
    }
}

#[test]
fn most_of_the_line_carries_payload() {
    let mut link = Board::new(SMALL, 20).open();
    let data = bytes(&mut Random::new(20), 8192);
    for (name, write) in [("writes", true), ("reads", false)] {
        let mut read = vec![0; data.len()];
        let board = link.transport();
        let (cycle, sent, received) = (board.bench.cycle, board.wire.sent, board.wire.received);
        if write {
            link.write_memory(BASE, &data).expect("it writes");
        } else {
            link.read_memory(BASE, &mut read).expect("it reads");
            assert!(read == data);
        }
        let board = link.transport();
        let line = if write {
            board.wire.sent - sent
        } else {
            board.wire.received - received
        };
        let clocks = (board.bench.cycle - cycle) as f64;
        let share = data.len() as f64 / line as f64;
        let ideal = data.len() as f64 * 10.0 * f64::from(SMALL.clocks_per_bit) / 256.0;
        eprintln!(
            "256-byte {name}: {:.1} % of the bytes on the line are payload; payload moves at {:.1} % \
             of the line's rate",
            100.0 * share,
            100.0 * ideal / clocks
        );
        assert!(share > 0.93 && ideal / clocks > 0.88);
    }
}
