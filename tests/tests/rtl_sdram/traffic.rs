//! Random reads and writes of two masters, wrong requests among them.

use crate::master::Burst;
use crate::system::{CLOSE, SETTINGS, SLOW, Setting, System};
use lampyris_tests::bench::Random;

const PAGE: u64 = 4096;

/// Pages that a master works on: the first and the last of the chip, and some between. The masters'
/// pages differ, since nothing orders their accesses.
fn pages(random: &mut Random, bytes: u64, master: u64) -> Vec<u64> {
    let last = bytes / PAGE - 2;
    let between = (0..8).map(|_| 2 * random.below(last / 2));
    let mut pages: Vec<_> = [0, last].into_iter().chain(between).collect();
    pages.iter_mut().for_each(|page| *page += master);
    pages
}

fn legal(random: &mut Random, pages: &[u64], beat: u64) -> Burst {
    let page = pages[random.below(pages.len() as u64) as usize] * PAGE;
    let most = (PAGE / beat).min(64);
    let limit = if random.chance(50) { 4 } else { most };
    let beats = 1 + random.below(limit);
    let start = random.below(PAGE / beat - beats + 1);
    Burst {
        id: random.below(2),
        ..Burst::new(page + start * beat, beats)
    }
}

/// A request that must be refused.
fn illegal(random: &mut Random, bytes: u64, beat: u64) -> Burst {
    let burst = Burst {
        wrong: true,
        id: random.below(2),
        ..Burst::new(beat * random.below(bytes / beat - 64), 1 + random.below(20))
    };
    let far = bytes << random.below(39 - u64::from(bytes.ilog2()));
    match random.below(6) {
        0 => Burst {
            kind: [0, 2, 3][random.below(3) as usize],
            ..burst
        },
        1 => Burst {
            narrower: 1 + random.below(3),
            ..burst
        },
        2 => Burst {
            address: burst.address + far,
            ..burst
        },
        3 => Burst {
            address: bytes - beat * random.below(burst.beats),
            ..burst
        },
        4 => Burst {
            address: (1 << 40) - beat * burst.beats,
            ..burst
        },
        _ => Burst {
            address: burst.address + 1 + random.below(beat - 1),
            ..burst
        },
    }
}

fn ask(system: &mut System, pages: &[Vec<u64>; 2], bytes: u64) {
    let System {
        masters,
        random,
        reference,
        ..
    } = system;
    for (master, pages) in masters.iter_mut().zip(pages) {
        let write = random.chance(50);
        if master.pending()[usize::from(write)] > 6 || random.chance(60) {
            continue;
        }
        let beat = master.beat_bytes();
        let burst = if random.chance(8) {
            illegal(random, bytes, beat)
        } else {
            legal(random, pages, beat)
        };
        if !burst.wrong && !master.is_free(&burst, write) {
            continue;
        }
        if write {
            let strobes = [100, 100, 50, 5][random.below(4) as usize];
            master.write(burst, random, strobes, reference);
        } else {
            master.read(burst);
        }
    }
}

fn random_traffic(setting: &Setting, seed: u64) {
    let mut system = System::new(setting, seed);
    let bytes = setting.chip.bytes();
    let pages = [0, 1].map(|master| pages(&mut system.random, bytes, master));
    let start = u64::from(setting.clock_khz) * setting.chip.power_up_us as u64 / 1000;
    while system.bench.cycle < start + 50_000 {
        // Stalls of both masters change, each at its own times.
        let at = system.bench.cycle / 1000;
        let stall = [
            [0, 40, 95][(at % 3) as usize],
            [0, 70][(at / 2 % 2) as usize],
        ];
        ask(&mut system, &pages, bytes);
        system.cycle(stall);
    }
    system.finish([10, 10]);
    // All that was written is still there.
    for (master, pages) in pages.iter().enumerate() {
        let beat = system.masters[master].beat_bytes();
        let beats = PAGE / beat;
        for page in pages {
            system.masters[master].read(Burst::new(page * PAGE, beats));
        }
    }
    system.finish([0, 0]);
    for master in &system.masters {
        let bytes = master.done.map(|beats| beats * master.beat_bytes());
        assert!(
            bytes.iter().all(|bytes| *bytes > 10_000),
            "too little: {bytes:?}"
        );
    }
    assert!(
        system.refreshes > 40_000 / system.interval,
        "{} refreshes",
        system.refreshes
    );
    system.check_rules();
}

#[test]
fn random_traffic_at_25_mhz() {
    random_traffic(&CLOSE, 7);
}

#[test]
fn random_traffic_at_50_mhz() {
    random_traffic(&SETTINGS[0], 1);
}

#[test]
fn random_traffic_at_100_mhz() {
    random_traffic(&SETTINGS[1], 2);
}

#[test]
fn random_traffic_at_133_mhz() {
    random_traffic(&SETTINGS[2], 3);
}

#[test]
fn random_traffic_on_a_slow_chip() {
    random_traffic(&SLOW, 6);
}

#[test]
fn wrong_requests_touch_nothing_and_end() {
    let setting = &SETTINGS[0];
    let mut system = System::new(setting, 4);
    let bytes = setting.chip.bytes();
    let whole = Burst::new(0, 64);
    let System {
        masters,
        random,
        reference,
        ..
    } = &mut system;
    masters[0].write(whole.clone(), random, 100, reference);
    // Where an address past the chip would end if its upper bits were forgotten.
    masters[0].write(
        Burst {
            wrong: true,
            ..Burst::new(bytes, 64)
        },
        random,
        100,
        reference,
    );
    masters[0].write(
        Burst {
            wrong: true,
            ..Burst::new(1 << 39, 1)
        },
        random,
        100,
        reference,
    );
    masters[0].write(
        Burst {
            wrong: true,
            ..Burst::new(bytes - 16, 2)
        },
        random,
        100,
        reference,
    );
    for kind in [0, 2, 3] {
        masters[0].write(
            Burst {
                wrong: true,
                kind,
                ..whole.clone()
            },
            random,
            100,
            reference,
        );
        masters[1].read(Burst {
            wrong: true,
            kind,
            ..whole.clone()
        });
    }
    masters[1].read(Burst {
        wrong: true,
        ..Burst::new(bytes - 16 * 255, 256)
    });
    masters[1].read(Burst::new(bytes - 16 * 256, 256));
    system.finish([0, 0]);
    system.masters[1].read(whole);
    system.finish([0, 0]);
    assert_eq!(system.masters[1].done, [256 + 64, 0]);
    system.check_rules();
}

#[test]
fn a_writer_without_data_stops_nobody() {
    let setting = &SETTINGS[0];
    let mut system = System::new(setting, 5);
    system.masters[0].data_allowed = false;
    let System {
        masters,
        random,
        reference,
        ..
    } = &mut system;
    masters[0].write(Burst::new(0, 64), random, 100, reference);
    for index in 0..20 {
        masters[1].read(Burst::new(0x1_0000 + 1024 * index, 64));
    }
    while system.masters[1].pending() != [0, 0] {
        system.cycle([0, 0]);
        assert!(
            system.bench.cycle < 40_000,
            "reads wait for another master's write"
        );
    }
    assert_eq!(system.masters[0].pending(), [0, 1]);
    system.masters[0].data_allowed = true;
    system.finish([0, 0]);
    system.check_rules();
}
