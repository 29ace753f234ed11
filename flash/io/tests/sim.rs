//! The simulated device: what it does by chance, by order, and in which time.

use lampyris_io::sim::{Event, Faults, SimDevice, SimOptions};
use lampyris_io::{AlignedBuf, Completion, ReadEngine, ReadRequest};
use std::sync::LazyLock;
use std::time::Duration;

const CHUNK: usize = 4096;
const CHUNKS: u64 = 64;

fn content() -> &'static [u8] {
    static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..CHUNKS as usize * CHUNK)
            .map(|i| (i * 7 + i / 251) as u8)
            .collect()
    });
    &CONTENT
}

fn device(depth: usize, change: impl FnOnce(&mut SimOptions)) -> SimDevice {
    let mut options = SimOptions::default();
    change(&mut options);
    SimDevice::new(vec![content().to_vec()], depth, options).expect("a device")
}

fn submit(device: &mut dyn ReadEngine, chunk: u64) {
    let request = ReadRequest {
        file: 0,
        offset: chunk * CHUNK as u64,
        len: CHUNK,
        buf: AlignedBuf::new(CHUNK, device.alignment()).expect("memory"),
        tag: chunk,
    };
    device.submit(request).expect("room");
}

/// Reads every chunk; completions in the order in which they came.
fn sweep(device: &mut dyn ReadEngine) -> Vec<Completion> {
    let mut out = Vec::new();
    for chunk in 0..CHUNKS {
        if device.in_flight() == device.capacity() {
            device.wait(1, &mut out).expect("works");
        }
        submit(device, chunk);
    }
    device.wait(usize::MAX, &mut out).expect("works");
    assert_eq!(out.len() as u64, CHUNKS);
    out
}

fn is_right(done: &Completion) -> bool {
    let start = done.tag as usize * CHUNK;
    done.buf[..] == content()[start..start + CHUNK]
}

fn failures(done: &[Completion]) -> Vec<(u64, String)> {
    let error = |c: &Completion| Some((c.tag, c.result.as_ref().err()?.to_string()));
    let mut failures: Vec<_> = done.iter().filter_map(error).collect();
    failures.sort();
    failures
}

#[test]
fn passing_faults_change_nothing_but_time() {
    let mut quiet = device(8, |_| {});
    assert!(sweep(&mut quiet).iter().all(is_right));
    for seed in 0..20 {
        let mut noisy = device(8, |o| {
            o.seed = seed;
            o.faults.short = 0.3;
            o.faults.interrupted = 0.3;
            o.faults.busy = 0.1;
        });
        let done = sweep(&mut noisy);
        assert!(
            failures(&done).is_empty() && done.iter().all(is_right),
            "seed {seed}"
        );
        assert!(noisy.stats().retries > 20, "seed {seed}");
        assert!(
            noisy.handle().clock() > quiet.handle().clock(),
            "seed {seed}"
        );
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = |seed| {
        let mut device = device(8, |o| {
            o.seed = seed;
            o.faults.short = 0.3;
        });
        let order: Vec<u64> = sweep(&mut device).iter().map(|c| c.tag).collect();
        (order, device.handle().clock())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
    let (order, _) = run(5);
    assert!(!order.is_sorted(), "requests overtake each other");
}

#[test]
fn bad_places_are_named_and_fail_once() {
    let mut device = device(8, |o| {
        let (from, to) = (5 * CHUNK as u64 + 100, 6 * CHUNK as u64 + 1);
        o.events.push((0, Event::Fail { file: 0, from, to }));
    });
    let done = sweep(&mut device);
    let failures = failures(&done);
    assert_eq!(failures.iter().map(|f| f.0).collect::<Vec<_>>(), [5, 6]);
    let text = &failures[0].1;
    assert!(
        text.starts_with("cannot read 4096 bytes at byte 20480 of `sim-0`: "),
        "{text}"
    );
    assert!(
        text.contains("\nhint: the storage device reported a failure"),
        "{text}"
    );
    assert!(done.iter().filter(|c| c.result.is_ok()).all(is_right));
    assert_eq!(device.stats().errors, 2);
}

#[test]
fn random_errors_are_counted() {
    let mut device = device(4, |o| o.faults.error = 0.2);
    let done = sweep(&mut device);
    let failed = failures(&done).len() as u64;
    assert!((1..CHUNKS).contains(&failed));
    assert_eq!(
        (device.stats().errors, device.stats().reads),
        (failed, CHUNKS)
    );
}

#[test]
fn storage_that_never_delivers_is_an_error_not_a_hang() {
    for (fault, says) in [
        ("interrupted", "interrupted"),
        ("busy", ""),
        ("short", "short reads"),
    ] {
        let mut device = device(2, |o| match fault {
            "interrupted" => o.faults.interrupted = 1.0,
            "busy" => o.faults.busy = 1.0,
            _ => {
                // A part of the only block, for ever.
                o.alignment = CHUNK;
                o.faults.short = 1.0;
            }
        });
        submit(&mut device, 3);
        let mut done = Vec::new();
        device.wait(1, &mut done).expect("works");
        let (_, text) = failures(&done).remove(0);
        assert!(text.contains("made no progress in 1000 attempts"), "{text}");
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn truncation_in_mid_run_is_reported_for_every_later_read() {
    let mut device = device(1, |o| {
        let len = 20 * CHUNK as u64 + 7;
        o.events.push((10, Event::Truncate { file: 0, len }));
    });
    let done = sweep(&mut device);
    let failures = failures(&done);
    assert_eq!(failures.len() as u64, CHUNKS - 10);
    for (_, text) in &failures {
        let wanted = "it had 262144 bytes when opened and ends at 81927 now";
        assert!(text.contains(wanted), "{text}");
    }
    assert!(done[..10].iter().all(is_right));
}

#[test]
fn a_touched_file_is_reported() {
    let mut device = device(1, |o| o.events.push((32, Event::Touch { file: 0 })));
    let failures = failures(&sweep(&mut device));
    assert_eq!(failures.len(), 32);
    assert!(
        failures[0].1.contains("was changed while it was in use"),
        "{}",
        failures[0].1
    );
}

#[test]
fn flipped_bits_come_without_an_error() {
    let mut device = device(4, |_| {});
    let offset = 9 * CHUNK as u64 + 17;
    device.handle().apply(Event::Flip {
        file: 0,
        offset,
        bit: 3,
    });
    for _ in 0..2 {
        for done in sweep(&mut device) {
            assert_eq!(done.result.as_ref().ok(), Some(&CHUNK));
            let start = done.tag as usize * CHUNK;
            let differs: Vec<usize> = (0..CHUNK)
                .filter(|&i| done.buf[i] != content()[start + i])
                .collect();
            if done.tag == 9 {
                assert_eq!(differs, [17]);
                assert_eq!(done.buf[17] ^ content()[start + 17], 8);
            } else {
                assert!(differs.is_empty());
            }
        }
    }
    device.handle().set_faults(Faults {
        flip: 1.0,
        ..Faults::default()
    });
    assert!(
        sweep(&mut device)
            .iter()
            .filter(|c| c.tag != 9)
            .all(|c| !is_right(c))
    );
}

#[test]
fn time_follows_latency_depth_and_rate() {
    let clock = |depth, change: &dyn Fn(&mut SimOptions)| {
        let mut device = device(depth, |o| {
            o.timing.latency = (Duration::from_micros(100), Duration::from_micros(100));
            o.timing.bytes_per_second = 0;
            change(o);
        });
        sweep(&mut device);
        assert!(device.stats().wait <= device.handle().clock());
        device.handle().clock()
    };
    let ms = Duration::from_micros;
    assert_eq!(clock(1, &|_| {}), ms(6400), "one after the other");
    assert_eq!(clock(8, &|_| {}), ms(800), "eight channels");
    assert_eq!(clock(8, &|o| o.timing.channels = 2), ms(3200));
    let slow = Event::Slow { factor: 3 };
    assert_eq!(clock(1, &|o| o.events.push((0, slow))), ms(19200 - 200));
    let rate = clock(8, &|o| o.timing.bytes_per_second = 4_096_000);
    assert_eq!(
        rate,
        ms(64_100),
        "a millisecond each on the wire, and the first's latency"
    );
}

#[test]
fn real_time_passes_when_asked_for() {
    let mut device = device(8, |o| o.timing.real = true);
    let begin = std::time::Instant::now();
    assert!(sweep(&mut device).iter().all(is_right));
    assert!(begin.elapsed() >= device.handle().clock() - device.stats().wait);
    assert!(device.handle().clock() > Duration::from_micros(500));
}

#[test]
fn impossible_devices_are_refused() {
    let with = |alignment| SimOptions {
        alignment,
        ..SimOptions::default()
    };
    for (depth, alignment) in [(0, 512), (5000, 512), (1, 3)] {
        let error = SimDevice::new(Vec::new(), depth, with(alignment))
            .err()
            .expect("refused");
        assert!(error.to_string().contains("which is not in"), "{error}");
    }
}
