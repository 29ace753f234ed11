//! Engines over a long time: threads, files and memory of the process do not grow, whatever the
//! requests meet. One test, since it looks at the whole process.
//!
//! `LAMPYRIS_SOAK_SECONDS` makes it run longer than the default of two seconds.

#![cfg(target_os = "linux")]

use lampyris_io::sim::{Event, Faults, SimDevice, SimOptions};
use lampyris_io::{AlignedBuf, EngineKind, ReadEngine, ReadRequest, open, page_size};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const CHUNK: usize = 64 << 10;
const CHUNKS: u64 = 64;
const DEPTH: usize = 16;
/// The allocator keeps some freed memory.
const SLACK: u64 = 2 << 20;

fn count(folder: &str) -> usize {
    fs::read_dir(folder).expect("lists").count()
}

/// Threads of ours: the kernel's own for io_uring go when it likes.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("lists");
    let is_ours = |path: PathBuf| {
        let name = fs::read_to_string(path.join("comm"));
        name.is_ok_and(|name| !name.starts_with("iou-"))
    };
    tasks
        .filter(|t| t.as_ref().is_ok_and(|t| is_ours(t.path())))
        .count()
}

/// What must not grow. Threads that were waited for need a moment to disappear.
fn held() -> (usize, usize) {
    let mut least = threads();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(2));
        least = least.min(threads());
    }
    (count("/proc/self/fd"), least)
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("reads");
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1));
    kib.and_then(|n| n.parse::<u64>().ok()).expect("a number") * 1024
}

fn expected(chunk: u64) -> u8 {
    (chunk * 37 + 11) as u8
}

/// Reads every chunk twice, then leaves with reads in flight. Gives the number of failures.
fn use_and_drop(mut engine: Box<dyn ReadEngine>) -> u64 {
    let alignment = page_size().max(engine.alignment());
    let mut free = AlignedBuf::many(DEPTH, CHUNK, alignment).expect("memory");
    let mut done = Vec::new();
    let mut failures = 0;
    for number in 0..2 * CHUNKS + DEPTH as u64 {
        let buf = match free.pop() {
            Some(buf) => buf,
            None => {
                engine.wait(1, &mut done).expect("works");
                for c in done.drain(..) {
                    match c.result {
                        Ok(n) => {
                            assert_eq!(n, CHUNK);
                            assert!(c.buf.iter().all(|&b| b == expected(c.tag)));
                        }
                        Err(error) => {
                            assert!(error.to_string().contains("\nhint: "), "{error}");
                            failures += 1;
                        }
                    }
                    free.push(c.buf);
                }
                free.pop().expect("one came back")
            }
        };
        let chunk = number % CHUNKS;
        let request = ReadRequest {
            file: 0,
            offset: chunk * CHUNK as u64,
            len: CHUNK,
            buf,
            tag: chunk,
        };
        engine.submit(request).expect("room");
    }
    assert!(engine.in_flight() > 0);
    failures
}

/// One engine of each kind, and a device with every fault that does not change bytes.
fn round(paths: &[PathBuf], seed: u64) -> u64 {
    for kind in [
        EngineKind::Auto,
        EngineKind::Pread { threads: 0 },
        EngineKind::Buffered,
        EngineKind::Mmap,
    ] {
        let engine = open(paths, kind, DEPTH).expect("opens");
        assert_eq!(use_and_drop(engine), 0, "{kind}");
    }
    let options = SimOptions {
        seed,
        faults: Faults {
            short: 0.2,
            interrupted: 0.1,
            busy: 0.02,
            error: 0.05,
            flip: 0.0,
        },
        events: vec![(50, Event::Slow { factor: 100 })],
        ..SimOptions::default()
    };
    use_and_drop(Box::new(
        SimDevice::open(paths, DEPTH, options).expect("opens"),
    ))
}

#[test]
fn nothing_grows() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let paths = [folder.path().join("file")];
    let content: Vec<u8> = (0..CHUNKS).flat_map(|c| vec![expected(c); CHUNK]).collect();
    fs::write(&paths[0], &content).expect("writes");
    drop(content);
    let seconds = std::env::var("LAMPYRIS_SOAK_SECONDS").ok();
    let seconds = seconds.map_or(2, |s| s.parse().expect("a number of seconds"));
    // What is allocated once.
    let mut failures: u64 = (0..4).map(|seed| round(&paths, seed)).sum();
    let before = (held(), resident());
    let begin = Instant::now();
    let mut seed = 4;
    while begin.elapsed() < Duration::from_secs(seconds) || seed < 6 {
        failures += round(&paths, seed);
        seed += 1;
    }
    let after = (held(), resident());
    assert!(failures > 0, "errors were among the faults");
    assert_eq!(after.0, before.0, "files and threads");
    let (before, after) = (before.1, after.1);
    assert!(after <= before + SLACK, "{before} bytes became {after}");
}
