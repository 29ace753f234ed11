//! Lost responses, buses with errors, and buses that hang.

use crate::board::{Board, SMALL};
use crate::slaves::{BASE, Mute};
use lampyris_isa::link::{RESET_CLOCKS, Status};
use lampyris_link::{Error, Link};

/// The device's status in an error.
fn status<T: std::fmt::Debug>(result: Result<T, Error>) -> Status {
    match result {
        Err(error @ Error::Device { status, .. }) => {
            assert!(error.to_string().contains("hint: "));
            assert!(error.to_string().contains(status.name()));
            status
        }
        other => panic!("{other:?}"),
    }
}

/// Memory and registers work.
fn works(link: &mut Link<Board>) {
    let data: Vec<u8> = (0..64).collect();
    link.write_memory(BASE + 192, &data).expect("it writes");
    let mut read = [0; 64];
    link.read_memory(BASE + 192, &mut read).expect("it reads");
    assert_eq!(read[..], data);
    link.write_csr(0x40, 77).expect("it writes");
    assert_eq!(link.read_csr(0x40).expect("it reads"), 77);
}

#[test]
fn a_register_is_written_once_when_responses_are_lost() {
    let mut link = Board::new(SMALL, 30).open();
    for round in 0..4u32 {
        // A response to WRITE_CSR has 11 bytes.
        link.transport().wire.deaf = 11 * round as usize;
        link.write_csr(0x0c, round).expect("it writes");
    }
    let expected: Vec<_> = (0..4).map(|round| (0x0c, round)).collect();
    assert_eq!(link.transport().registers.written, expected);
    let device = link.device_counters().expect("it answers");
    assert_eq!(device.repeats, 1 + 2 + 3);

    // The same value again is another write, however many requests lie between.
    for _ in 0..255 {
        link.read_csr(0x0c).expect("it reads");
    }
    link.write_csr(0x0c, 3).expect("it writes");
    assert_eq!(link.transport().registers.written.len(), 5);
}

#[test]
fn a_silent_device_is_an_error_and_no_write_is_taken_for_an_old_one() {
    let mut link = Board::new(SMALL, 31).open();
    link.set_tries(2);
    link.transport().patience = 3000;
    link.transport().wire.deaf = usize::MAX;
    let error = link.write_csr(0x10, 1).expect_err("nothing arrives");
    let text = error.to_string();
    assert!(text.starts_with("writing the register at 0x010: no answer after 2 tries"));
    assert!(text.contains("\nhint: "));
    // So many requests that never arrive that the next one has the sequence number of the first.
    link.transport().drain(2000);
    link.transport().wire.noise.drop = 10_000;
    link.transport().patience = 1;
    link.set_tries(1);
    for _ in 0..255 {
        link.read_csr(0x10).expect_err("nothing arrives");
    }
    link.transport().wire.noise.drop = 0;
    link.transport().patience = 30_000;
    link.transport().wire.deaf = 0;
    link.set_tries(4);
    link.write_csr(0x10, 2).expect("it writes");
    assert_eq!(link.transport().registers.written, [(0x10, 1), (0x10, 2)]);
}

#[test]
fn errors_of_the_buses_have_names() {
    let mut link = Board::new(SMALL, 32).open();
    let mut out = [0; 8];
    assert_eq!(
        status(link.read_memory(BASE - 64, &mut out)),
        Status::BusError
    );
    assert_eq!(status(link.write_memory(0x40, &[1; 512])), Status::BusError);
    assert_eq!(status(link.read_csr(0x900)), Status::BusError);
    assert_eq!(status(link.write_csr(0xffc, 1)), Status::BusError);
    works(&mut link);
    let error = link
        .read_memory(BASE + 2, &mut out)
        .expect_err("not a word");
    assert!(matches!(error, Error::Argument { .. }));
    link.read_csr(0x1000).expect_err("no such register");
    link.read_memory((1 << 40) - 4, &mut out)
        .expect_err("no such memory");
    assert_eq!(link.counters().repeated, 0);
}

#[test]
fn a_memory_that_hangs_is_an_error_and_works_again_later() {
    for (seed, mute) in [(40, Mute::Answers), (41, Mute::Data), (42, Mute::All)] {
        let mut link = Board::new(SMALL, seed).open();
        let before = link.transport().memory.bytes.clone();
        let mut out = [0; 100];
        link.transport().memory.mute = mute;
        assert_eq!(
            status(link.write_memory(BASE + 20, &[9; 200])),
            Status::Timeout
        );
        assert_eq!(status(link.write_memory(BASE, &[1; 4])), Status::Busy);
        // The read channel of `Data` is alive as far as addresses go.
        assert_eq!(status(link.read_memory(BASE, &mut out)), Status::Timeout);
        assert_eq!(status(link.read_memory(BASE, &mut out)), Status::Busy);
        link.write_csr(0x20, 5).expect("the other bus works");
        // It wakes up: what it owes is thrown away, and what was not sent is not written.
        link.transport().unmute();
        link.transport().run(1000);
        for (i, (new, old)) in link
            .transport()
            .memory
            .bytes
            .iter()
            .zip(&before)
            .enumerate()
        {
            let asked = (20..220).contains(&i) && *new == 9;
            assert!(asked || new == old, "byte {i}");
        }
        works(&mut link);
    }
}

#[test]
fn a_reset_frees_buses_that_hang() {
    let mut link = Board::new(SMALL, 43).open();
    link.transport().memory.mute = Mute::Data;
    link.transport().registers.mute = true;
    let mut out = [0; 64];
    assert_eq!(status(link.read_memory(BASE, &mut out)), Status::Timeout);
    assert_eq!(status(link.write_memory(BASE, &out)), Status::Timeout);
    assert_eq!(status(link.read_csr(0)), Status::Timeout);
    assert_eq!(status(link.write_csr(0, 1)), Status::Busy);
    // They come back and have forgotten what they owe.
    link.transport().registers.reset();
    link.transport().memory.reset();
    link.transport().unmute();
    assert_eq!(status(link.read_memory(BASE, &mut out)), Status::Busy);
    assert_eq!(status(link.write_memory(BASE, &out)), Status::Busy);
    assert_eq!(status(link.read_csr(0)), Status::Busy);
    // The answer is lost, so that it is asked for twice.
    link.transport().wire.deaf = 11;
    link.reset_core().expect("it resets");
    assert_eq!(link.transport().reset_clocks, u64::from(RESET_CLOCKS));
    works(&mut link);
    assert_eq!(link.transport().registers.written, [(0x40, 77)]);
}

#[test]
fn a_register_that_hangs_is_an_error_and_works_again_later() {
    let mut link = Board::new(SMALL, 44).open();
    link.transport().registers.mute = true;
    assert_eq!(status(link.write_csr(0x30, 1)), Status::Timeout);
    assert_eq!(status(link.read_csr(0x30)), Status::Busy);
    link.transport().unmute();
    link.transport().run(1000);
    works(&mut link);
    let expected = [(0x30, 1), (0x40, 77)];
    assert_eq!(link.transport().registers.written, expected);
}
