//! Every case runs on every engine that works here: what they have in common, they have exactly.

use lampyris_io::sim::{SimDevice, SimOptions};
use lampyris_io::{AlignedBuf, Completion, EngineKind, ReadEngine, ReadRequest, open, page_size};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The engines, as the caller names them. `Auto` is io_uring where that is to be had.
const KINDS: [EngineKind; 5] = [
    EngineKind::Auto,
    EngineKind::Pread { threads: 0 },
    EngineKind::Pread { threads: 1 },
    EngineKind::Buffered,
    EngineKind::Mmap,
];

/// A generator of 64-bit numbers (SplitMix64): tests print no seeds because each is fixed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..len).map(|_| random.next() as u8).collect()
}

/// Two files whose sizes are no multiples of anything.
struct Files {
    _folder: TempDir,
    paths: Vec<PathBuf>,
    contents: Vec<Vec<u8>>,
}

fn files() -> Files {
    // The build folder lies on a disk, where the system's folder for temporary files may not.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let contents = vec![bytes(1, 1_234_567), bytes(2, 300_001)];
    let paths: Vec<PathBuf> = ["a", "b"].iter().map(|n| folder.path().join(n)).collect();
    for (path, content) in paths.iter().zip(&contents) {
        fs::write(path, content).expect("the file is written");
    }
    Files {
        _folder: folder,
        paths,
        contents,
    }
}

fn engine(kind: EngineKind, paths: &[PathBuf], depth: usize) -> Box<dyn ReadEngine> {
    open(paths, kind, depth).unwrap_or_else(|e| panic!("{kind}: {e}"))
}

/// Runs a case on each engine, and on simulated devices without and with passing faults.
fn each(depth: usize, case: impl Fn(&mut dyn ReadEngine, &Files)) {
    for kind in KINDS {
        let files = files();
        eprintln!("engine {kind}");
        case(engine(kind, &files.paths, depth).as_mut(), &files);
    }
    for chance in [0.0, 0.2] {
        let files = files();
        eprintln!("simulated device, passing faults {chance}");
        let mut options = SimOptions::default();
        options.faults.short = chance;
        options.faults.interrupted = chance;
        options.faults.busy = chance;
        let device = SimDevice::open(&files.paths, depth, options);
        case(&mut device.expect("the files open"), &files);
    }
}

fn request(engine: &dyn ReadEngine, file: usize, offset: u64, len: usize, tag: u64) -> ReadRequest {
    let buf = AlignedBuf::new(len, engine.alignment().max(page_size())).expect("memory");
    ReadRequest {
        file,
        offset,
        len,
        buf,
        tag,
    }
}

fn finish(engine: &mut dyn ReadEngine) -> Vec<Completion> {
    let mut out = Vec::new();
    engine.wait(usize::MAX, &mut out).expect("the engine works");
    assert_eq!(engine.in_flight(), 0);
    out
}

#[test]
fn random_reads_give_the_files_bytes() {
    each(16, |engine, files| {
        let mut random = Random(3);
        let step = engine.alignment() as u64;
        let mut wanted = Vec::new();
        let mut out = Vec::new();
        let mut bytes = 0;
        for tag in 0..400 {
            let file = random.below(2) as usize;
            let size = files.contents[file].len() as u64;
            // Also beyond the end.
            let offset = random.below(size + 5000) / step * step;
            let len = (1 + random.below(100_000)).next_multiple_of(step) as usize;
            wanted.push((file, offset, len));
            if engine.in_flight() == engine.capacity() {
                engine
                    .wait(1 + random.below(16) as usize, &mut out)
                    .expect("works");
            }
            let request = request(engine, file, offset, len, tag);
            engine.submit(request).expect("accepted");
        }
        out.extend(finish(engine));
        let tags: BTreeSet<u64> = out.iter().map(|c| c.tag).collect();
        assert_eq!((tags.len(), out.len()), (400, 400), "each completes once");
        for done in out {
            let (file, offset, len) = wanted[done.tag as usize];
            let all = &files.contents[file];
            let start = (offset as usize).min(all.len());
            let end = (offset as usize + len).min(all.len());
            let n = done.result.expect("reads");
            assert_eq!(n, end - start, "read {} at {offset} of {len}", done.tag);
            assert!(
                done.buf[..n] == all[start..end],
                "read {} differs",
                done.tag
            );
            bytes += n as u64;
        }
        let stats = engine.stats();
        assert_eq!((stats.reads, stats.bytes, stats.errors), (400, bytes, 0));
        assert_eq!(stats.service.count(), 400);
    });
}

#[test]
fn file_sizes_are_those_at_opening() {
    each(1, |engine, files| {
        for (index, content) in files.contents.iter().enumerate() {
            assert_eq!(engine.file_size(index), content.len() as u64);
        }
    });
}

#[test]
fn depth_is_respected() {
    each(3, |engine, _| {
        assert_eq!(engine.capacity(), 3);
        for tag in 0..3 {
            let request = request(engine, 0, 0, 4096, tag);
            engine.submit(request).expect("room");
        }
        assert_eq!(engine.in_flight(), 3);
        let surplus = request(engine, 0, 0, 4096, 9);
        let error = engine.submit(surplus).expect_err("full").to_string();
        assert!(
            error.contains("read request 9: 3 requests are in flight already"),
            "{error}"
        );
        assert_eq!(finish(engine).len(), 3);
        let again = request(engine, 0, 0, 4096, 10);
        engine.submit(again).expect("room again");
        assert_eq!(finish(engine).len(), 1);
    });
}

#[test]
fn waiting_for_nothing_returns() {
    each(2, |engine, _| {
        let mut out = Vec::new();
        engine.wait(0, &mut out).expect("works");
        engine.wait(5, &mut out).expect("works");
        assert!(out.is_empty());
    });
}

#[test]
fn impossible_requests_are_refused() {
    each(4, |engine, files| {
        let refused = |engine: &mut dyn ReadEngine, request, part: &str| {
            let error = engine.submit(request).expect_err(part).to_string();
            assert!(
                error.contains(part) && error.contains("\nhint: "),
                "{error}"
            );
        };
        let mut wrong = request(engine, 2, 0, 4096, 1);
        refused(engine, wrong, "file 2 of 2");
        wrong = request(engine, 0, 0, 4096, 1);
        wrong.len = 0;
        refused(engine, wrong, "0 bytes into a buffer of 4096");
        wrong = request(engine, 0, 0, 4096, 1);
        wrong.len = 8192;
        refused(engine, wrong, "8192 bytes into a buffer of 4096");
        wrong = request(engine, 0, !4095, 4096, 1);
        refused(engine, wrong, "is beyond any file");
        let step = engine.alignment();
        if step > 1 {
            let name = files.paths[0].display().to_string();
            wrong = request(engine, 0, 1, 4096, 1);
            refused(engine, wrong, &format!("offset 1 of a read of `{name}`"));
            wrong = request(engine, 0, 0, 4096, 1);
            wrong.len = 4095;
            refused(engine, wrong, "length 4095");
        }
        assert_eq!(engine.in_flight(), 0);
    });
}

#[test]
fn dropping_with_reads_in_flight_is_sound() {
    each(32, |engine, _| {
        for tag in 0..32 {
            let request = request(engine, (tag % 2) as usize, 0, 256 << 10, tag);
            engine.submit(request).expect("room");
        }
        // `each` drops the engine. Freed buffers that are still written to would be found by the
        // next engines' comparisons, and by the address sanitizer.
    });
}

/// A completion's error, which must come exactly once; with it there were `so_far`.
fn only_error(engine: &mut dyn ReadEngine, so_far: u64) -> String {
    let mut done = finish(engine);
    assert_eq!(done.len(), 1);
    let error = done.remove(0).result.expect_err("the file changed");
    assert!(finish(engine).is_empty());
    assert_eq!(engine.stats().errors, so_far);
    error.to_string()
}

#[test]
fn truncated_files_are_reported() {
    each(4, |engine, files| {
        let cut = OpenOptions::new()
            .write(true)
            .open(&files.paths[0])
            .expect("opens");
        cut.set_len(700_000).expect("truncates");
        let offset = 1 << 20;
        let late = request(engine, 0, offset, 64 << 10, 1);
        engine.submit(late).expect("room");
        let error = only_error(engine, 1);
        let name = files.paths[0].display();
        let wanted = format!(
            "`{name}` was truncated while it was in use: it had 1234567 bytes when opened and \
             ends at 700000 now\nhint: "
        );
        assert!(error.contains(&wanted), "{error}");
        // Across the new end, which no direct read can start at.
        let across = request(engine, 0, 655_360, 64 << 10, 1);
        engine.submit(across).expect("room");
        let error = only_error(engine, 2);
        assert!(error.contains(&wanted), "{error}");
        // The other file is well.
        let other = request(engine, 1, 0, 4096, 2);
        engine.submit(other).expect("room");
        assert!(finish(engine)[0].result.is_ok());
    });
}

fn rewrite(path: &Path, content: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("opens");
    file.write_all(content).expect("writes");
    // Clocks of file systems tick in milliseconds.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    file.set_modified(later).expect("sets the time");
}

#[test]
fn changed_files_are_reported() {
    each(4, |engine, files| {
        rewrite(&files.paths[0], b"other bytes");
        let first = request(engine, 0, 0, 4096, 1);
        engine.submit(first).expect("room");
        let error = only_error(engine, 1);
        assert!(
            error.contains("was changed while it was in use: its time"),
            "{error}"
        );
    });
    each(4, |engine, files| {
        let mut file = OpenOptions::new()
            .append(true)
            .open(&files.paths[0])
            .expect("opens");
        file.write_all(b"more").expect("writes");
        let first = request(engine, 0, 0, 4096, 1);
        engine.submit(first).expect("room");
        let error = only_error(engine, 1);
        assert!(
            error.contains("had 1234567 bytes when opened and has 1234571 now"),
            "{error}"
        );
    });
}

#[test]
fn a_replaced_file_is_still_the_old_one() {
    each(4, |engine, files| {
        let new = files.paths[0].with_extension("new");
        fs::write(&new, bytes(9, 1_234_567)).expect("writes");
        fs::rename(&new, &files.paths[0]).expect("replaces");
        let first = request(engine, 0, 0, 8192, 1);
        engine.submit(first).expect("room");
        let done = finish(engine).remove(0);
        assert_eq!(done.result.expect("reads"), 8192);
        assert!(done.buf[..] == files.contents[0][..8192]);
    });
}

#[test]
fn what_cannot_be_opened_is_named() {
    let files = files();
    let folder = files.paths[0].parent().expect("a folder").to_path_buf();
    for kind in KINDS {
        let missing = [folder.join("missing")];
        let error = open(&missing, kind, 1)
            .err()
            .expect("no such file")
            .to_string();
        assert!(
            error.contains("missing`: ") && error.ends_with("hint: check the path"),
            "{error}"
        );
        let error = open(std::slice::from_ref(&folder), kind, 1)
            .err()
            .expect("a folder")
            .to_string();
        assert!(error.contains("is not a regular file"), "{error}");
    }
}

#[test]
fn empty_files_end_at_once() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path().join("empty");
    fs::write(&path, b"").expect("writes");
    for kind in KINDS {
        let mut engine = engine(kind, std::slice::from_ref(&path), 1);
        let first = request(engine.as_ref(), 0, 0, 4096, 1);
        engine.submit(first).expect("room");
        assert_eq!(
            finish(engine.as_mut())[0].result.as_ref().ok(),
            Some(&0),
            "{kind}"
        );
    }
}

#[test]
fn io_uring_reads_or_says_why_not() {
    let files = files();
    match open(&files.paths, EngineKind::Uring, 4) {
        Ok(engine) => assert_eq!((engine.name(), engine.notes().len()), ("io_uring", 0)),
        Err(error) => {
            let text = error.to_string();
            let named = text.contains("io_uring is refused") || text.contains("direct I/O");
            assert!(named && text.contains("\nhint: "), "{text}");
            let auto = engine(EngineKind::Auto, &files.paths, 4);
            assert_ne!(auto.name(), "io_uring");
        }
    }
}

/// Where a file is known that can be read and has no direct I/O.
#[cfg(target_os = "linux")]
#[test]
fn files_without_direct_io_are_read_through_the_cache_with_a_note() {
    let path = PathBuf::from("/sys/kernel/btf/vmlinux");
    let Ok(content) = fs::read(&path) else {
        eprintln!("SKIPPED: this kernel publishes no type information");
        return;
    };
    let paths = [path];
    for kind in [EngineKind::Uring, EngineKind::Pread { threads: 0 }] {
        let error = open(&paths, kind, 2)
            .err()
            .expect("no direct I/O")
            .to_string();
        assert!(
            error.contains("refused") || error.contains("cannot be read with direct I/O"),
            "{error}"
        );
    }
    let mut engine = engine(EngineKind::Auto, &paths, 2);
    assert_eq!((engine.name(), engine.alignment()), ("buffered", 1));
    let note = engine.notes()[0].to_string();
    assert!(
        note.starts_with("note: no direct I/O for `/sys/kernel/btf/vmlinux` ("),
        "{note}"
    );
    let first = request(engine.as_ref(), 0, 4096, 8192, 1);
    engine.submit(first).expect("room");
    let done = finish(engine.as_mut()).remove(0);
    assert_eq!(done.result.expect("reads"), 8192);
    assert!(done.buf[..] == content[4096..12288]);
}
