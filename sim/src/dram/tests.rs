//! The model against cases whose answer can be written down, and random traffic against the rules.

use super::*;
use crate::rng::Rng;

/// A request: write, address, bytes.
type Request = (bool, u64, u64);

/// What a run took.
struct Run {
    cycles: u64,
    stats: Stats,
}

/// Runs requests with at most `outstanding` under way, the clocks being equal, and checks the
/// rules.
fn run(config: &DramConfig, outstanding: usize, requests: impl Iterator<Item = Request>) -> Run {
    let mut dram = Dram::new(config, config.timing.clock_khz).unwrap();
    dram.keep_log();
    let mut requests = requests.peekable();
    let mut under_way: Vec<Handle> = Vec::new();
    while requests.peek().is_some() || !under_way.is_empty() {
        under_way.retain(|&handle| {
            let complete = dram.complete(handle);
            if complete {
                dram.release(handle);
            }
            !complete
        });
        while under_way.len() < outstanding
            && let Some((write, addr, bytes)) = requests.next()
        {
            under_way.push(dram.push(write, addr, bytes));
        }
        dram.tick();
        assert!(dram.now() < 5_000_000, "{under_way:?} never completes");
    }
    if let Err(violation) = check(&config.timing, config.policy.postponed, dram.log()) {
        panic!("{}: {violation}", config.timing.name);
    }
    Run {
        cycles: dram.now(),
        stats: dram.stats(),
    }
}

fn config(timing: Timing, order: Order, policy: Policy) -> DramConfig {
    DramConfig {
        mapping: Mapping::ordered(&timing, 1, order).unwrap(),
        policy,
        ..DramConfig::new(timing).unwrap()
    }
}

/// Without refresh, for the cases that are about something else.
fn unrefreshed(timing: Timing) -> Timing {
    Timing {
        refi: u32::MAX,
        ..timing
    }
}

fn stream(bytes: u64) -> impl Iterator<Item = Request> {
    (0..bytes / 4096).map(|i| (false, 4096 * i, 4096))
}

fn share(config: &DramConfig, bytes: u64, cycles: u64) -> f64 {
    let a_cycle = u64::from(config.timing.data_rate * config.timing.bus_bytes * config.channels);
    bytes as f64 / (a_cycle * cycles) as f64
}

/// A stream loses the refreshes, the time to close and reopen rows around each batch of them, and
/// nothing else: activations are hidden.
#[test]
fn streaming_loses_refresh_only() {
    for timing in Timing::ALL {
        for postponed in [1, 8] {
            let policy = Policy {
                postponed,
                ..Policy::default()
            };
            let config = config(timing, Order::GroupInterleaved, policy);
            let t = &timing;
            let a_cycle = u64::from(t.data_rate * t.bus_bytes);
            let bytes = (40 * u64::from(t.refi) * a_cycle).next_multiple_of(4096);
            let run = run(&config, 16, stream(bytes));
            let lost = run.cycles - bytes / a_cycle;
            let refreshes = run.stats.refreshes;
            let intervals = run.cycles / u64::from(t.refi);
            assert!(intervals - refreshes < u64::from(postponed));
            // The last refresh may come after the last data.
            let least = (refreshes - 1) * u64::from(t.rfc);
            // A stream uses one row of each group; they are reopened at tRRD_S.
            let reopen = t.rcd + t.groups * t.rrd_s;
            let around = u64::from(t.rtp + t.rp + reopen + 2 * t.burst_cycles());
            let batches = refreshes.div_ceil(u64::from(postponed));
            let most = refreshes * u64::from(t.rfc) + (batches + 1) * around + 40;
            assert!(
                (least..=most).contains(&lost),
                "{} postponing {postponed}: {lost} cycles lost, expected {least} to {most}",
                t.name
            );
            if postponed == 1 {
                let share = share(&config, bytes, run.cycles);
                let low = t.refresh_limit() - around as f64 / f64::from(t.refi) - 0.002;
                assert!((low..t.refresh_limit() + 0.002).contains(&share), "{share}");
            }
        }
    }
}

/// What refresh costs is its share of the time, whatever its length.
#[test]
fn refresh_loss_follows_its_length() {
    for rfc in [104, 208, 416] {
        let timing = Timing {
            rfc,
            ..Timing::DDR3_800
        };
        let bytes = 4096 * 400;
        let take = |timing| {
            let config = config(timing, Order::GroupInterleaved, Policy::default());
            run(&config, 16, stream(bytes))
        };
        let (with, without) = (take(timing), take(unrefreshed(timing)));
        assert_eq!(without.stats.refreshes, 0);
        let refreshes = with.stats.refreshes;
        assert!(refreshes.abs_diff(with.cycles / u64::from(timing.refi)) <= 8);
        let lost = with.cycles - without.cycles;
        // The last refresh may come after the last data.
        let least = (refreshes - 1) * u64::from(rfc);
        assert!(
            (least..least + u64::from(rfc) + 10 * refreshes).contains(&lost),
            "{lost} cycles for {refreshes} refreshes of {rfc}"
        );
    }
}

/// A new row of one bank for every burst: a burst per row cycle.
#[test]
fn row_misses_in_one_bank_take_a_row_cycle() {
    for timing in Timing::ALL.map(unrefreshed) {
        let config = config(timing, Order::BankRowColumn, Policy::default());
        let count = 500;
        let row = u64::from(timing.row_bytes);
        let run = run(&config, 8, (0..count).map(|i| (false, row * i, 1)));
        let t = &timing;
        let cycle = t.rc.max(t.rcd + t.rtp + t.rp);
        let expected = (count - 1) * u64::from(cycle) + u64::from(t.rcd + t.cl + t.burst_cycles());
        let pipeline = u64::from(config.policy.pipeline);
        assert!(
            run.cycles.abs_diff(expected + pipeline) <= 4,
            "{}: {} cycles, expected {expected}",
            t.name,
            run.cycles
        );
        assert_eq!(run.stats.activates, count);
    }
}

/// Reads and writes of an open row in turn: each pair costs both turnarounds.
#[test]
fn turnarounds_cost_what_the_formulas_say() {
    for timing in Timing::ALL.map(unrefreshed) {
        let config = config(timing, Order::BankRowColumn, Policy::default());
        let mut dram = Dram::new(&config, timing.clock_khz).unwrap();
        dram.keep_log();
        let pairs = 300;
        for i in 0..2 * pairs {
            // Each follows as soon as the one before is on its way, so that they are not sorted.
            dram.push(i % 2 == 1, 0, 1);
            while dram.stats().reads + dram.stats().writes <= i {
                dram.tick();
            }
        }
        assert_eq!(check(&timing, 8, dram.log()), Ok(()));
        let t = &timing;
        let read_to_write = t.cl + t.burst_cycles() + t.turnaround - t.cwl;
        let write_to_read = t.cwl + t.burst_cycles() + t.wtr_l;
        let expected = pairs * u64::from(read_to_write + write_to_read);
        assert!(
            dram.now().abs_diff(expected) <= u64::from(t.rcd + write_to_read + 2),
            "{}: {} cycles, expected {expected}",
            t.name,
            dram.now()
        );
    }
}

/// One burst from every row, all banks in turn: at most four rows are opened in each window.
#[test]
fn activations_are_limited_by_the_four_activate_window() {
    for timing in [Timing::DDR3_800, Timing::DDR4_2400].map(unrefreshed) {
        let t = &timing;
        assert!(t.faw > 4 * t.rrd_s, "the window is what limits");
        let slices = match t.groups {
            1 => vec![(Field::Bank, 3), (Field::Column, 7), (Field::Row, 15)],
            _ => vec![
                (Field::Group, 2),
                (Field::Bank, 2),
                (Field::Column, 7),
                (Field::Row, 16),
            ],
        };
        let config = DramConfig {
            mapping: Mapping::new(t, 1, &slices).unwrap(),
            policy: Policy {
                window: 32,
                ..Policy::default()
            },
            ..DramConfig::new(timing).unwrap()
        };
        // The same column of a new row, bank after bank.
        let burst = u64::from(t.burst_bytes());
        let banks = u64::from(t.groups * t.banks);
        let row = u64::from(t.row_bytes) * banks;
        let count = 800;
        let address = |i: u64| i / banks * row + i % banks * burst;
        let run = run(&config, 32, (0..count).map(|i| (false, address(i), 1)));
        assert_eq!(run.stats.activates, count);
        let expected = count / 4 * u64::from(t.faw);
        let slack = u64::from(t.rc + t.cl + 20);
        assert!(
            run.cycles.abs_diff(expected) <= slack,
            "{}: {} cycles, expected {expected}",
            t.name,
            run.cycles
        );
    }
}

/// Neighbouring bursts within a bank group go at `tCCD_L`, across groups at `tCCD_S`.
#[test]
fn bank_groups_must_be_interleaved() {
    let timing = unrefreshed(Timing::DDR4_2400);
    let bytes = 4096 * 100;
    let cycles = [Order::GroupInterleaved, Order::RowBankColumn].map(|order| {
        let config = config(timing, order, Policy::default());
        run(&config, 1, stream(bytes)).cycles
    });
    let inside = f64::from(timing.ccd_l) / f64::from(timing.ccd_s);
    let bursts = bytes / u64::from(timing.burst_bytes());
    assert!(cycles[1] > bursts * u64::from(timing.ccd_l));
    assert!(cycles[1] as f64 / (cycles[0] as f64) < inside);
}

/// Channels add up.
#[test]
fn channels_share_a_stream() {
    let bytes = 4096 * 2048;
    for channels in [2, 8] {
        let config = DramConfig::with_channels(Timing::HBM2, channels).unwrap();
        let run = run(&config, 32, stream(bytes));
        let share = share(&config, bytes, run.cycles);
        let limit = config.timing.refresh_limit();
        assert!(
            (limit - 0.03..limit + 0.01).contains(&share),
            "{channels}: {share:.3}"
        );
    }
}

/// The accelerator's clock need not divide the memory's.
#[test]
fn clocks_are_related_by_any_ratio() {
    let config = DramConfig::new(Timing::DDR3_800).unwrap();
    for clock_khz in [33_333, 100_000, 333_000, 400_000, 900_000] {
        let mut dram = Dram::new(&config, clock_khz).unwrap();
        for _ in 0..clock_khz {
            dram.tick();
        }
        assert_eq!(dram.now(), 400_000, "{clock_khz} kHz");
        // A millisecond is 128 refresh intervals; the idle memory owes none.
        assert_eq!(dram.stats().refreshes, 400_000 / 3120);
    }
}

/// Random requests of random sizes keep every rule and complete, in every order, on one and on
/// several channels.
#[test]
fn random_traffic_keeps_the_rules() {
    for (number, timing) in Timing::ALL.into_iter().enumerate() {
        for seed in 0..8 {
            let mut rng = Rng::new(seed + 100 * number as u64);
            let channels = rng.pick(&[1, 1, 2, 4]);
            let order = rng.pick(&[
                Order::GroupInterleaved,
                Order::RowBankColumn,
                Order::BankRowColumn,
            ]);
            let mut config = DramConfig::with_channels(timing, channels).unwrap();
            config.mapping = Mapping::ordered(&timing, channels, order).unwrap();
            config.policy.window = rng.pick(&[1, 4, 16, 64]);
            config.policy.postponed = rng.pick(&[1, 4, 8]);
            config.policy.write_batch = rng.pick(&[1, 8, 32]);
            config.policy.write_wait = rng.pick(&[0, 100, 1000]);
            config.policy.starved = rng.pick(&[0, 50, 2000]);
            let writes = rng.pick(&[0, 100, 500, 1000]);
            let spread = rng.pick(&[1 << 12, 1 << 16, config.bytes()]);
            let outstanding = rng.pick(&[1, 8, 32]);
            let requests: Vec<Request> = (0..400)
                .map(|_| {
                    let bytes = rng.range(1, 4096);
                    let addr = rng.below(spread) & !4095;
                    let at = addr + rng.below(4096 - bytes + 1);
                    (rng.chance(writes), at, bytes)
                })
                .collect();
            let burst = u64::from(timing.burst_bytes());
            let bursts = |write| -> u64 {
                let of = requests.iter().filter(|r| r.0 == write);
                of.map(|&(_, at, bytes)| (at + bytes - 1) / burst - at / burst + 1)
                    .sum()
            };
            let run = run(&config, outstanding, requests.iter().copied());
            let moved = (run.stats.reads, run.stats.writes);
            assert_eq!(moved, (bursts(false), bursts(true)), "seed {seed}");
        }
    }
}

/// Chunks lie in the channels in turn, and a channel's own reads at its own addresses meet them
/// where the others' do.
#[test]
fn channels_side_by_side_take_chunks_in_turn() {
    let config = DramConfig::side_by_side(Timing::HBM2, 4).unwrap();
    let alone = DramConfig::new(Timing::HBM2).unwrap();
    for chunk in 0..4096u64 {
        for addr in [64 * chunk, 64 * chunk + 32] {
            let place = config.mapping.place(addr);
            assert_eq!(u64::from(place.channel), chunk % 4);
            let within = chunk / 4 * 64 + addr % 64;
            assert_eq!(interleaved(within, 4, place.channel), addr);
            let own = alone.mapping.place(within);
            assert_eq!(
                (place.bank, place.row, place.column),
                (own.bank, own.row, own.column)
            );
        }
    }
    let error = DramConfig::side_by_side(Timing::HBM2, 3).unwrap_err();
    assert!(error.to_string().contains("power of two"), "{error}");
}

/// A channel that refreshes holds up no other.
#[test]
fn channels_have_requests_of_their_own() {
    let config = DramConfig::side_by_side(Timing::HBM2, 2).unwrap();
    let mut dram = Dram::new(&config, 250_000).unwrap();
    // The first channel has far more to do than the window shows.
    let busy: Vec<Handle> = (0..64).map(|i| dram.push_read(0, 4096 * i, 4096)).collect();
    let other = dram.push_read(1, 0, 4096);
    while !dram.complete(other) {
        dram.tick();
    }
    let done = busy.iter().filter(|&&h| dram.complete(h)).count();
    assert!(
        done < 4,
        "{done} of the first channel's requests came before"
    );
}

/// Every request is answered in the end although hits of an open row keep arriving.
#[test]
fn hits_do_not_starve_a_miss() {
    let timing = unrefreshed(Timing::DDR3_800);
    let policy = Policy {
        window: 1024,
        ..Policy::default()
    };
    let config = config(timing, Order::BankRowColumn, policy);
    let mut dram = Dram::new(&config, timing.clock_khz).unwrap();
    let mut hits: Vec<Handle> = (0..6).map(|_| dram.push(false, 0, 512)).collect();
    let miss = dram.push(false, u64::from(timing.row_bytes), 16);
    while !dram.complete(miss) {
        assert!(dram.now() < 4000, "the miss starves");
        for handle in &mut hits {
            if dram.complete(*handle) {
                dram.release(*handle);
                *handle = dram.push(false, 0, 512);
            }
        }
        dram.tick();
    }
    assert!(dram.now() > 2000, "the hits do go first");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let good = DramConfig::new(Timing::DDR3_800).unwrap();
    assert!(good.check().is_ok());
    let mut bad = good.clone();
    bad.policy.postponed = 9;
    let parameter = |c: &DramConfig| match c.check() {
        Err(Error::Parameter { parameter, .. }) => parameter,
        other => panic!("{other:?}"),
    };
    assert_eq!(parameter(&bad), "postponed");
    bad = good.clone();
    bad.timing.rfc = bad.timing.refi;
    assert_eq!(parameter(&bad), "refi");
    assert!(Dram::new(&good, 0).is_err());
}

mod rules {
    //! The checker refuses what comes one cycle early.

    use super::*;

    fn command(at: u64, kind: Kind, bank: u32, row: u32) -> Command {
        Command {
            at,
            channel: 0,
            kind,
            bank,
            row,
            column: 0,
        }
    }

    /// Accepts the last command at `at`, refuses it a cycle earlier by this rule.
    fn exact(timing: &Timing, before: &[(u64, Kind, u32)], last: (Kind, u32), at: u64, rule: &str) {
        let commands = |at| {
            let all = before.iter().copied().chain([(at, last.0, last.1)]);
            all.map(|(at, kind, bank)| command(at, kind, bank, 0))
                .collect::<Vec<_>>()
        };
        assert_eq!(check(timing, 8, &commands(at)), Ok(()), "{rule}");
        let violation = check(timing, 8, &commands(at - 1)).expect_err(rule);
        assert_eq!((violation.rule, violation.earliest), (rule, at));
    }

    #[test]
    fn each_rule_is_exact() {
        use Kind::{Activate as A, Precharge as P, Read as R, Refresh as F, Write as W};
        let t = &Timing::DDR4_2400;
        exact(t, &[(0, A, 0)], (R, 0), 17, "tRCD");
        exact(t, &[(0, A, 0)], (P, 0), 39, "tRAS");
        exact(t, &[(0, A, 0), (100, P, 0)], (A, 0), 117, "tRP");
        exact(t, &[(0, A, 0), (100, P, 0)], (F, 0), 117, "tRP");
        exact(t, &[(0, A, 0), (39, P, 0)], (A, 0), 56, "tRC");
        exact(t, &[(0, A, 0)], (A, 4), 4, "tRRD_S");
        exact(t, &[(0, A, 0)], (A, 1), 6, "tRRD_L");
        let four = [(0, A, 0), (4, A, 4), (8, A, 8), (12, A, 12)];
        exact(t, &four, (A, 1), 26, "tFAW");
        let two = [(0, A, 0), (4, A, 4)];
        let and = |c| [two[0], two[1], c];
        exact(t, &and((30, R, 0)), (R, 4), 34, "tCCD_S");
        exact(t, &and((30, R, 0)), (R, 0), 36, "tCCD_L");
        exact(t, &and((30, W, 0)), (R, 4), 30 + 12 + 4 + 3, "tWTR_S");
        exact(t, &and((30, W, 0)), (R, 0), 30 + 12 + 4 + 9, "tWTR_L");
        exact(
            t,
            &and((30, R, 0)),
            (W, 4),
            30 + 17 + 4 + 2 - 12,
            "data bus",
        );
        exact(t, &and((60, R, 0)), (P, 0), 69, "tRTP");
        exact(t, &and((60, W, 0)), (P, 0), 60 + 12 + 4 + 18, "tWR");
        exact(t, &[(0, F, 0)], (A, 0), 420, "tRFC");
        exact(t, &[(0, F, 0)], (F, 0), 420, "tRFC");
        exact(t, &[(7, A, 0)], (A, 4), 11, "tRRD_S");
    }

    #[test]
    fn states_are_checked() {
        let t = &Timing::DDR3_800;
        let rule = |commands: &[Command]| check(t, 8, commands).expect_err("refused").rule;
        let open = command(0, Kind::Activate, 0, 3);
        assert_eq!(
            rule(&[command(0, Kind::Read, 0, 0)]),
            "access to a row that is not open"
        );
        assert_eq!(
            rule(&[open, command(50, Kind::Read, 0, 4)]),
            "access to a row that is not open"
        );
        assert_eq!(
            rule(&[open, command(50, Kind::Activate, 0, 4)]),
            "activate of an open bank"
        );
        assert_eq!(
            rule(&[open, command(50, Kind::Refresh, 0, 0)]),
            "refresh with an open row"
        );
        assert_eq!(rule(&[open, open]), "one command a cycle");
        let late = command(10 * u64::from(t.refi), Kind::Activate, 0, 0);
        assert_eq!(rule(&[late]), "refresh interval");
        let beyond = Command {
            column: 128,
            ..command(50, Kind::Read, 0, 3)
        };
        assert_eq!(rule(&[open, beyond]), "column beyond the row");
    }
}
