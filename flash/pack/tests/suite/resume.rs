//! Runs that were ended: the next one continues, to the same bytes, or starts again where it must.

use crate::blocks;
use lampyris_flash::TensorType;
use lampyris_pack::{Layout, Options, Plan};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

struct Case {
    folder: tempfile::TempDir,
    source: PathBuf,
    /// What an undisturbed run writes.
    expected: Vec<u8>,
}

fn options() -> Options {
    Options {
        layout: Some(Layout::Bundled),
        ..Options::default()
    }
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = blocks::write(folder.path(), TensorType::Q4_0);
        let output = folder.path().join("whole.lampack");
        Plan::new(&source, &options())
            .unwrap()
            .write(&output, &mut |_, _| {})
            .unwrap();
        Self {
            expected: fs::read(output).unwrap(),
            source,
            folder,
        }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("m.lampack")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("m.lampack{suffix}"))
    }

    /// Ends a run by a panic when `bytes` are written.
    fn interrupt(&self, bytes: u64) {
        let _ = fs::remove_file(self.output());
        let plan = Plan::new(&self.source, &options()).unwrap();
        let run = catch_unwind(AssertUnwindSafe(|| {
            plan.write(&self.output(), &mut |done, _| {
                assert!(done < bytes, "the end of this run")
            })
        }));
        assert!(run.is_err());
        assert!(!self.output().exists());
    }

    /// Packs to the end; the number of sections that were there already.
    fn finish(&self, options: &Options) -> usize {
        let plan = Plan::new(&self.source, options).unwrap();
        let report = plan.write(&self.output(), &mut |_, _| {}).unwrap();
        assert!(!self.beside(".part").exists() && !self.beside(".part.journal").exists());
        report.resumed
    }

    fn written(&self) -> Vec<u8> {
        fs::read(self.output()).unwrap()
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_run_continues_where_the_last_one_ended() {
    let case = Case::new();
    let total = case.expected.len() as u64;
    let mut resumed = Vec::new();
    for share in [1, 4, 8] {
        case.interrupt(total * share / 10);
        // Again, further on: finished sections stay.
        case.interrupt(total * (share + 1) / 10);
        resumed.push(case.finish(&options()));
        assert!(case.written() == case.expected);
    }
    assert!(resumed.is_sorted() && resumed[2] > 4, "{resumed:?}");
}

#[test]
fn damage_to_the_part_file_is_found() {
    let case = Case::new();
    let interrupt = || case.interrupt(case.expected.len() as u64 * 9 / 10);
    interrupt();
    // In the second section.
    edit(&case.beside(".part"), |part| {
        let at = part.iter().skip(16_384).position(|&b| b == b'}').unwrap() + 16_384;
        part[at] ^= 1;
    });
    assert_eq!(case.finish(&options()), 0);
    assert!(case.written() == case.expected);

    interrupt();
    edit(&case.beside(".part"), |part| part.truncate(part.len() / 2));
    assert!(case.finish(&options()) > 0);
    assert!(case.written() == case.expected);

    interrupt();
    // A last line without its end.
    edit(&case.beside(".part.journal"), |journal| {
        journal.truncate(journal.len() - 5)
    });
    assert!(case.finish(&options()) > 0);
    assert!(case.written() == case.expected);

    interrupt();
    fs::write(case.beside(".part.journal"), b"\xff\0garbage\n{}\n").unwrap();
    assert_eq!(case.finish(&options()), 0);
    assert!(case.written() == case.expected);

    interrupt();
    fs::remove_file(case.beside(".part")).unwrap();
    assert_eq!(case.finish(&options()), 0);
    assert!(case.written() == case.expected);

    // What an ended run leaves must not shine through holes of the next.
    fs::write(case.beside(".part"), vec![0xaa; case.expected.len() * 2]).unwrap();
    assert_eq!(case.finish(&options()), 0);
    assert!(case.written() == case.expected);
}

#[test]
fn another_source_or_other_options_start_again() {
    let case = Case::new();
    let interrupt = || case.interrupt(case.expected.len() as u64 * 9 / 10);
    interrupt();
    let other = Options {
        group_bytes: Some(8192),
        ..options()
    };
    assert_eq!(case.finish(&other), 0);
    assert!(case.written() != case.expected);

    interrupt();
    // The same bytes with another time could be another file.
    let time = fs::metadata(&case.source).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(&case.source).unwrap();
    file.set_modified(time + std::time::Duration::from_secs(1))
        .unwrap();
    assert_eq!(case.finish(&options()), 0);
    assert!(case.written() == case.expected);
}

#[test]
fn a_source_that_changes_while_it_is_packed_is_an_error() {
    let case = Case::new();
    let plan = Plan::new(&case.source, &options()).unwrap();
    let mut changed = false;
    let result = plan.write(&case.output(), &mut |_, _| {
        if !changed {
            edit(&case.source, |bytes| *bytes.last_mut().unwrap() ^= 1);
            changed = true;
        }
    });
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("Q4_0.gguf` changed while it was being packed\nhint: "),
        "{message}"
    );
    assert!(!case.output().exists() && !case.beside(".part").exists());

    // And one that is cut off, which only reading finds out.
    let plan = Plan::new(&case.source, &options()).unwrap();
    edit(&case.source, |bytes| bytes.truncate(bytes.len() / 2));
    let message = plan
        .write(&case.output(), &mut |_, _| {})
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("ended at byte") && message.contains("\nhint: "),
        "{message}"
    );
    assert!(!case.output().exists());
}

#[test]
fn only_one_run_at_a_time() {
    let case = Case::new();
    let plan = Plan::new(&case.source, &options()).unwrap();
    let mut second = None;
    plan.write(&case.output(), &mut |_, _| {
        if second.is_none() {
            let plan = Plan::new(&case.source, &options()).unwrap();
            second = Some(
                plan.write(&case.output(), &mut |_, _| {})
                    .unwrap_err()
                    .to_string(),
            );
        }
    })
    .unwrap();
    let message = second.unwrap();
    assert!(
        message.contains("is being written by another process\nhint: "),
        "{message}"
    );
    assert!(case.written() == case.expected);
}

#[test]
fn a_folder_that_does_not_exist() {
    let case = Case::new();
    let plan = Plan::new(&case.source, &options()).unwrap();
    let output = case.folder.path().join("none/m.lampack");
    let message = plan.write(&output, &mut |_, _| {}).unwrap_err().to_string();
    assert!(
        message.contains("cannot write `") && message.contains("none/m.lampack.part`"),
        "{message}"
    );
    assert!(
        message.contains("after 0 of ") && message.contains("\nhint: "),
        "{message}"
    );
}
