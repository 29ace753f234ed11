//! The measurement of storage: what it writes down, what it refuses, and that it leaves nothing
//! behind. Nothing here depends on how fast the machine is.

use lampyris_io::probe::{Origin, Pattern, Profile, Progress, Settings, Stage, measure};
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const SIZE: u64 = 64 << 20;

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn short() -> Settings {
    Settings {
        size: SIZE,
        time: Duration::from_millis(200),
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("lists").next().is_none()
}

fn fails(path: &Path, settings: &Settings) -> String {
    let result = measure(path, settings, &mut |_| ControlFlow::Continue(()));
    let error = result.expect_err("refused").to_string();
    assert!(error.contains("\nhint: "), "{error}");
    error
}

#[test]
fn a_folder_is_measured_and_stays_empty() {
    let folder = folder();
    let mut stages = Vec::new();
    let mut seen = |now: Progress| {
        assert!(now.done < now.total);
        // The file has no name even while it is written.
        assert!(is_empty(folder.path()));
        if stages.last() != Some(&now.stage) {
            stages.push(now.stage);
        }
        ControlFlow::Continue(())
    };
    let profile = measure(folder.path(), &short(), &mut seen).expect("measured");
    assert_eq!(stages, [Stage::Write, Stage::Read]);
    assert!(is_empty(folder.path()));
    assert_eq!(profile.origin, Origin::Measured);
    assert!(profile.sample_bytes >= SIZE);
    for pattern in [Pattern::Sequential, Pattern::Random] {
        for chunk in (12..=22).map(|bits| 1 << bits) {
            let point = |p: &&lampyris_io::probe::Point| p.pattern == pattern && p.chunk == chunk;
            let points: Vec<_> = profile.points.iter().filter(point).collect();
            assert!(points.len() >= 3, "{pattern:?} {chunk}");
            for p in points {
                assert!(p.bytes_per_second > 0 && p.p50_ns > 0 && p.p99_ns >= p.p50_ns);
            }
            assert!(profile.bytes_per_second(pattern, chunk, 8) > 0.0);
        }
    }
    assert!(profile.sequential() > 0.0 && profile.cost(32 << 10, 8) > Duration::ZERO);

    let cache = folder.path().join("cache");
    profile.save(&cache).expect("saved");
    assert_eq!(
        Profile::for_path(&cache, folder.path()).expect("found"),
        profile
    );
}

#[test]
fn a_file_is_measured_and_unchanged() {
    let folder = folder();
    let path = folder.path().join("model");
    let content: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    fs::write(&path, &content).expect("writes");
    let profile = measure(&path, &short(), &mut |_| ControlFlow::Continue(()));
    assert_eq!(profile.expect("measured").sample_bytes, SIZE);
    assert!(fs::read(&path).expect("reads") == content);
}

#[test]
fn breaking_off_leaves_nothing() {
    let folder = folder();
    for stage in [Stage::Write, Stage::Read] {
        let mut stop = |now: Progress| match now.stage == stage {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let error = measure(folder.path(), &short(), &mut stop).expect_err("broken off");
        assert!(error.to_string().contains("cancelled"), "{error}");
        assert!(is_empty(folder.path()));
    }
}

#[test]
fn what_does_not_suit_is_refused() {
    let folder = folder();
    let missing = fails(&folder.path().join("missing"), &short());
    assert!(
        missing.contains("missing`: ") && missing.contains("check the path"),
        "{missing}"
    );

    let small = folder.path().join("small");
    fs::write(&small, "few bytes").expect("writes");
    let error = fails(&small, &short());
    assert!(
        error.contains("it has 9 bytes, and at least 67108864 are needed"),
        "{error}"
    );

    let holes = folder.path().join("holes");
    File::create(&holes)
        .and_then(|f| f.set_len(SIZE))
        .expect("makes holes");
    assert!(fails(&holes, &short()).contains("of its 67108864 bytes are stored"));

    let mut settings = short();
    settings.size = 1 << 62;
    assert!(fails(folder.path(), &settings).contains("bytes are free, and"));
    settings.size = 1;
    assert!(fails(folder.path(), &settings).contains("size of the temporary file is 1"));
}
