//! Each rule of the chip fires when it is broken by one cycle, and only then.

use crate::chip::{A10, Chip, Command, REFRESHES, mode};
use Command::{Activate, Mode, Precharge, Read, Refresh, Stop, Write};

/// CAS latency 2, bursts of 8.
const MODE: u64 = 0x23;

fn started() -> Chip {
    Chip::started(MODE)
}

/// Runs a sequence with a distance of `least` edges, which is legal, and with one less.
fn at_least(rule: u64, least: u32, sequence: impl Fn(&mut Chip, u32)) {
    for (distance, broken) in [(least, vec![]), (least - 1, vec![rule])] {
        let mut chip = started();
        sequence(&mut chip, distance - 1);
        chip.nop(1);
        let first = broken.first().copied();
        assert_eq!(chip.broken(), (broken, first), "distance {distance}");
    }
}

/// Runs a sequence that breaks one rule.
fn breaks(rule: u64, mut chip: Chip, sequence: impl Fn(&mut Chip)) {
    assert_eq!(chip.broken(), (vec![], None), "before");
    sequence(&mut chip);
    assert_eq!(chip.broken(), (vec![rule], Some(rule)));
}

/// Runs a sequence that breaks nothing.
fn keeps(mut chip: Chip, sequence: impl Fn(&mut Chip)) {
    sequence(&mut chip);
    assert_eq!(chip.broken(), (vec![], None));
}

#[test]
fn pause_after_power_on() {
    let all = |chip: &mut Chip, pause| {
        chip.nop(pause);
        chip.command(Precharge, 0, A10);
    };
    keeps(Chip::new(), |chip| all(chip, 20));
    breaks(0, Chip::new(), |chip| all(chip, 19));
}

#[test]
fn start_sequence() {
    let start = |precharge: bool, refreshes: u32, mode: bool| {
        let mut chip = Chip::new();
        chip.nop(20);
        if precharge {
            chip.command(Precharge, 0, A10);
            chip.nop(3);
        }
        for _ in 0..refreshes {
            chip.command(Refresh, 0, 0);
            chip.nop(8);
        }
        if mode {
            chip.command(Mode, 0, MODE);
            chip.nop(1);
        }
        chip.command(Activate, 0, 0);
        chip.broken().0
    };
    assert_eq!(start(true, 2, true), [0u64; 0]);
    assert_eq!(start(false, 2, true), [1]);
    assert_eq!(start(true, 1, true), [1]);
    assert_eq!(start(true, 2, false), [1]);
}

#[test]
fn activation_to_access() {
    for access in [Read, Write] {
        at_least(2, 3, |chip, nops| {
            chip.command(Activate, 2, 9);
            chip.nop(nops);
            chip.drive((access == Write).then_some(1));
            chip.command(access, 2, 0);
        });
    }
}

#[test]
fn precharge_to_activation_and_refresh() {
    for next in [Activate, Refresh, Mode] {
        at_least(3, 4, |chip, nops| {
            chip.command(Activate, 0, 0);
            chip.nop(20);
            chip.command(Precharge, 0, if next == Activate { 0 } else { A10 });
            chip.nop(nops);
            chip.command(next, 0, if next == Mode { MODE } else { 1 });
        });
    }
}

#[test]
fn activation_to_precharge() {
    for all in [0, A10] {
        at_least(4, 7, |chip, nops| {
            chip.command(Activate, 1, 0);
            chip.nop(nops);
            chip.command(Precharge, 1, all);
        });
    }
    keeps(started(), |chip| {
        chip.command(Activate, 1, 0);
        chip.command(Precharge, 2, 0);
        chip.nop(1);
    });
}

#[test]
fn activations_of_one_bank() {
    at_least(5, 13, |chip, nops| {
        chip.command(Activate, 0, 0);
        chip.nop(6);
        chip.command(Precharge, 0, 0);
        chip.nop(nops - 7);
        chip.command(Activate, 0, 1);
    });
}

#[test]
fn activations_of_two_banks() {
    at_least(6, 2, |chip, nops| {
        chip.command(Activate, 0, 0);
        chip.nop(nops);
        chip.command(Activate, 3, 0);
    });
}

#[test]
fn refresh_to_any_command() {
    for next in [Activate, Refresh] {
        at_least(7, 9, |chip, nops| {
            chip.command(Refresh, 0, 0);
            chip.nop(nops);
            chip.command(next, 0, 0);
        });
    }
}

#[test]
fn last_written_word_to_precharge() {
    at_least(8, 3, |chip, nops| {
        chip.open(0, 0);
        chip.write(0, 0, &[0; 8]);
        chip.nop(nops);
        chip.command(Precharge, 0, 0);
    });
}

#[test]
fn mode_to_any_command() {
    at_least(9, 2, |chip, nops| {
        chip.command(Mode, 0, MODE);
        chip.nop(nops);
        chip.command(Activate, 0, 0);
    });
}

#[test]
fn refreshes_in_every_window() {
    let spread = |chip: &mut Chip, gap| {
        for _ in 0..3 * REFRESHES {
            chip.nop(gap);
            chip.command(Refresh, 0, 0);
        }
    };
    // The first starts when the mode is set, 20 edges ago.
    keeps(started(), |chip| spread(chip, 75));
    breaks(10, started(), |chip| spread(chip, 105));
    // Enough in all, none at the end.
    keeps(started(), |chip| {
        spread(chip, 50);
        chip.nop(400 - 3 * 51);
    });
    breaks(10, started(), |chip| {
        spread(chip, 50);
        chip.nop(400 - 3 * 51 + 2);
    });
}

#[test]
fn access_to_a_closed_row() {
    breaks(11, started(), |chip| {
        chip.open(0, 0);
        chip.command(Read, 1, 0);
        chip.nop(1);
    });
}

#[test]
fn activation_of_an_open_bank() {
    breaks(12, started(), |chip| {
        chip.open(0, 0);
        chip.nop(20);
        chip.command(Activate, 0, 1);
        chip.nop(1);
    });
}

#[test]
fn refresh_and_mode_with_open_rows() {
    for (command, address) in [(Refresh, 0), (Mode, MODE)] {
        breaks(13, started(), |chip| {
            chip.open(3, 0);
            chip.nop(20);
            chip.command(command, 0, address);
            chip.nop(1);
        });
    }
}

#[test]
fn both_sides_drive() {
    // A burst of 8 with latency 2 is at edges 2 to 9; 10 is the pause between the drivers.
    let write_at = |chip: &mut Chip, edge: u32| {
        chip.open(0, 0);
        chip.command(Read, 0, 0);
        chip.nop(edge - 1);
        chip.write(0, 8, &[0; 8]);
    };
    keeps(started(), |chip| write_at(chip, 11));
    breaks(14, started(), |chip| write_at(chip, 10));
    breaks(14, started(), |chip| write_at(chip, 8));
}

#[test]
fn illegal_modes() {
    let slow = mode(3, false, 2) | 1 << 9;
    for legal in [MODE, slow, mode(2, true, 1), mode(3, false, 7)] {
        keeps(Chip::started(legal), |chip| chip.nop(1));
    }
    let reserved = [
        mode(2, false, 4),
        mode(2, true, 7),
        mode(1, false, 3),
        mode(4, false, 3),
    ];
    for illegal in [
        reserved[0],
        reserved[1],
        reserved[2],
        reserved[3],
        MODE | 1 << 7,
        MODE | A10,
    ] {
        let rules = Chip::started(illegal).broken();
        assert_eq!(rules, (vec![15], Some(15)), "{illegal:#x}");
    }
}

#[test]
fn row_open_for_too_long() {
    keeps(started(), |chip| {
        chip.command(Activate, 0, 0);
        chip.nop(199);
        chip.command(Precharge, 0, 0);
        chip.nop(1);
    });
    breaks(16, started(), |chip| {
        chip.command(Activate, 0, 0);
        chip.nop(201);
        chip.command(Precharge, 0, 0);
        chip.nop(1);
    });
}

#[test]
fn write_words_that_nobody_drives() {
    let half = |chip: &mut Chip, masked| {
        chip.open(0, 0);
        chip.write(0, 0, &[0; 4]);
        chip.mask(masked);
        chip.nop(8);
    };
    keeps(started(), |chip| half(chip, 3));
    breaks(17, started(), |chip| half(chip, 1));
    // A burst that is stopped needs no more words.
    keeps(started(), |chip| {
        chip.open(0, 0);
        chip.write(0, 0, &[0; 4]);
        chip.command(Stop, 0, 0);
        chip.nop(8);
    });
}

#[test]
fn what_the_model_lacks() {
    breaks(18, started(), |chip| {
        chip.open(0, 0);
        chip.command(Read, 0, A10);
        chip.nop(1);
    });
    breaks(18, started(), |chip| {
        chip.pause();
        chip.nop(1);
    });
}
