//! Replays damaged and hostile GGUF files: each gives its error, none panics or allocates much.
//!
//! The corpus lies in `tests/fuzz/corpus/gguf`, where the fuzz target starts from it too. The
//! files listed here are made by [`cases`]; `UPDATE_EXPECT=1 cargo test -p lampyris-flash` writes
//! them. Further files there, found by fuzzing, are replayed as well.

use lampyris_flash::{
    Gguf, TensorType,
    gguf::{Array, Builder, Value},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    path::PathBuf,
};

/// Counts the bytes that the current thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // Fails only while a thread ends, when nothing is measured.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are those of `System::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Parses a copy of `data` and uses all of it; the error message, if it is refused.
///
/// Panics if more memory was held at once than a small multiple of the file's size.
fn exercise(name: &str, data: &[u8]) -> Result<(), String> {
    let before = HELD.get();
    PEAK.set(before);
    let result = Gguf::parse(data.to_vec()).map_err(|err| err.to_string());
    let used = PEAK.get() - before;
    // The file itself twice (copy and shared copy), lists at most 8 times, and fixed costs.
    let limit = 10 * data.len() as isize + 16_384;
    assert!(
        used <= limit,
        "{name}: {used} bytes held for a file of {}",
        data.len()
    );
    let model = result?;
    for info in model.tensors() {
        let view = model.tensor(&info.name).unwrap();
        assert_eq!(view.dequantize().len(), view.elements());
        view.check_finite().map_err(|err| err.to_string())?;
    }
    Ok(())
}

fn valid() -> Vec<u8> {
    let nested = Array::Array(vec![Array::U8(vec![1]), Array::Array(vec![])]);
    Builder::new()
        .metadata("general.alignment", 32u32)
        .metadata("a.flag", true)
        .metadata("a.nested", Value::Array(nested))
        .metadata("a.text", "words")
        .metadata("a.texts", vec!["x".to_owned(), "yz".to_owned()])
        .metadata("a.wide", 7i64)
        .tensor("q", &[32, 2], TensorType::Q4_1, vec![0; 40])
        .tensor_f32("w", &[3], &[1.0, 2.0, 3.0])
        .build()
        .unwrap()
}

/// A header with these counts and then `body`.
fn raw(tensors: u64, entries: u64, body: &[&[u8]]) -> Vec<u8> {
    let counts = [tensors.to_le_bytes(), entries.to_le_bytes()].concat();
    [b"GGUF\x03\0\0\0", &counts[..], &body.concat()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn entry(key: &str, ty: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &ty.to_le_bytes(), value].concat()
}

fn tensor(name: &str, dims: &[u64], ty: u32, offset: u64) -> Vec<u8> {
    let dims_bytes: Vec<u8> = dims.iter().flat_map(|d| d.to_le_bytes()).collect();
    let count = (dims.len() as u32).to_le_bytes();
    let tail = [&ty.to_le_bytes()[..], &offset.to_le_bytes()].concat();
    [&text(name)[..], &count, &dims_bytes, &tail].concat()
}

/// One tensor with 256 bytes of data behind the header.
fn one(dims: &[u64], ty: u32, offset: u64) -> Vec<u8> {
    let mut file = raw(1, 0, &[&tensor("w", dims, ty, offset)]);
    file.resize(file.len().next_multiple_of(32) + 256, 0);
    file
}

/// Name, content, and a part of the expected error (empty: valid).
fn cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let pad = [0u8; 64];
    let huge = u64::MAX.to_le_bytes();
    // `levels` arrays of one array each around an empty one.
    let nested = |levels: usize| {
        let level = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat();
        let value = [&level.repeat(levels)[..], &[0; 12]].concat();
        raw(0, 1, &[&entry("k", 9, &value)])
    };
    let edit = |at: usize, bytes: &[u8]| {
        let mut file = valid();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let two = |first: &[u8], second: &[u8]| {
        let mut file = raw(2, 0, &[first, second]);
        file.resize(file.len().next_multiple_of(32) + 256, 0);
        file
    };
    let f32_tensor = |name: &str, offset: u64| tensor(name, &[4], 0, offset);
    let nan = [0x00, 0x7e, 0, 0].repeat(10);
    let nan = Builder::new()
        .tensor("q", &[32, 2], TensorType::Q4_1, nan)
        .build()
        .unwrap();
    // Both fields of the first group name column 0.
    let sparse = Builder::new()
        .tensor("s", &[64], TensorType::Q4_2OF4, vec![0; 26])
        .build()
        .unwrap();
    vec![
        ("valid", valid(), ""),
        (
            "empty",
            vec![],
            "byte 0: the file ends too early (in the magic number)",
        ),
        ("magic", edit(0, b"GGML"), "not \"GGUF\""),
        ("version_2", edit(4, &[2]), "GGUF version 2; only version 3"),
        ("big_endian", edit(4, &[0, 0, 0, 3]), "big-endian"),
        (
            "tensor_count",
            edit(8, &huge),
            "count 18446744073709551615 exceeds",
        ),
        ("entry_count", edit(16, &huge), "(in the metadata count)"),
        (
            "key_length",
            raw(0, 1, &[&huge, &pad]),
            "(in metadata key 0 of 1)",
        ),
        (
            "key_empty",
            raw(0, 1, &[&text(""), &pad]),
            "a name has 0 bytes",
        ),
        (
            "key_twice",
            raw(0, 2, &[&entry("k", 0, &[1]).repeat(2)]),
            "`k` occurs twice",
        ),
        (
            "key_not_utf8",
            raw(0, 1, &[&2u64.to_le_bytes(), b"\xff\xfe", &pad]),
            "not UTF-8",
        ),
        (
            "value_type",
            raw(0, 1, &[&entry("k", 13, &pad)]),
            "unknown value type 13 (in metadata key `k`)",
        ),
        (
            "text_length",
            raw(0, 1, &[&entry("k", 8, &huge)]),
            "count 18446744073709551615 exceeds",
        ),
        ("bool", raw(0, 1, &[&entry("k", 7, &[2])]), "boolean is 2"),
        (
            "array_length",
            raw(
                0,
                1,
                &[&entry("k", 9, &[&6u32.to_le_bytes()[..], &huge].concat())],
            ),
            "count 18446744073709551615 exceeds what the file can hold (0)",
        ),
        (
            "array_type",
            raw(0, 1, &[&entry("k", 9, &[99; 32])]),
            "unknown array element type",
        ),
        ("array_depth_8", nested(7), ""),
        ("array_depth_9", nested(8), "arrays nest deeper than 8"),
        (
            "alignment",
            raw(0, 1, &[&entry("general.alignment", 4, &[3, 0, 0, 0])]),
            "`general.alignment` is 3",
        ),
        ("dims_none", one(&[], 0, 0), "has 0 dimensions"),
        ("dims_many", one(&[1; 5], 0, 0), "has 5 dimensions"),
        ("dims_zero", one(&[4, 0], 0, 0), "none may be zero"),
        // 2^64 elements, but fewer bytes.
        (
            "dims_overflow_elements",
            one(&[1 << 32, 1 << 32], 2, 0),
            "whose product overflows",
        ),
        (
            "dims_overflow",
            one(&[1 << 32, 1 << 32], 0, 0),
            "whose product overflows",
        ),
        (
            "dims_wrap_bytes",
            one(&[1 << 62], 0, 0),
            "whose product overflows",
        ),
        (
            "row_partial_block",
            one(&[33], 2, 0),
            "rows of 33 elements, not a multiple of Q4_0's 32",
        ),
        (
            "tensor_type",
            one(&[32], 10, 0),
            "element type 10, which is not supported",
        ),
        (
            "offset_unaligned",
            one(&[4], 0, 4),
            "offset 4, not a multiple of 32",
        ),
        (
            "offset_past_end",
            one(&[4], 0, 256),
            "past the end of the file",
        ),
        (
            "offset_overflow",
            one(&[4], 0, !31),
            "past the end of the file",
        ),
        ("tensor_too_long", one(&[65], 0, 0), "needs 260 bytes"),
        (
            "tensor_overlap",
            two(&f32_tensor("a", 0), &f32_tensor("b", 0)),
            "` overlaps tensor `",
        ),
        (
            "tensor_twice",
            two(&f32_tensor("a", 0), &f32_tensor("a", 32)),
            "`a` occurs twice",
        ),
        (
            "nan_scale",
            nan,
            "NaN, infinite or overflowing value in Q4_1 block 0",
        ),
        (
            "sparse_columns",
            sparse,
            "columns that do not ascend within their group in Q4_2OF4 block 0",
        ),
        (
            "sparse_partial_block",
            one(&[96], 0x4c50_0003, 0),
            "rows of 96 elements, not a multiple of Q4_2OF4's 64",
        ),
    ]
}

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/gguf")
}

#[test]
fn corpus_is_current() {
    for (name, data, _) in cases() {
        let path = corpus().join(format!("{name}.gguf"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &data).unwrap();
        }
        let hint = "run `UPDATE_EXPECT=1 cargo test -p lampyris-flash --test corpus`";
        assert!(
            std::fs::read(&path).ok().as_ref() == Some(&data),
            "{name} is stale; {hint}"
        );
    }
}

#[test]
fn each_case_gives_its_error() {
    for (name, data, expected) in cases() {
        match exercise(name, &data) {
            Ok(()) => assert_eq!(expected, "", "{name} was accepted"),
            Err(message) => {
                assert!(
                    !expected.is_empty() && message.contains(expected),
                    "{name}: {message}"
                );
                assert!(message.contains("\nhint: "), "{name}: {message}");
            }
        }
    }
}

#[test]
fn replay() {
    let mut files = 0;
    for file in std::fs::read_dir(corpus()).unwrap() {
        let path = file.unwrap().path();
        // Whether it is accepted does not matter here, only that it does no harm.
        let _ = exercise(&path.display().to_string(), &std::fs::read(&path).unwrap());
        files += 1;
    }
    assert!(files >= cases().len());
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let valid = valid();
    for len in 0..valid.len() {
        let err = exercise("truncated", &valid[..len]).unwrap_err();
        assert!(err.contains("\nhint: "), "cut at {len}: {err}");
    }
}

#[test]
fn flipped_bytes_do_no_harm() {
    let valid = valid();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut refused = 0;
    for round in 0..20_000 {
        let mut data = valid.clone();
        for _ in 0..=random(3) {
            let at = random(data.len());
            data[at] = match random(4) {
                0 => 0,
                1 => 0xff,
                2 => data[at] ^ (1 << random(8)),
                _ => random(256) as u8,
            };
        }
        refused += usize::from(exercise(&format!("round {round}"), &data).is_err());
    }
    // Most of the file is header, so most flips must be noticed.
    assert!(refused > 8_000, "only {refused} refused");
}
