//! Damaged and hostile packed files: an error that names the place, or a section that is named.

use crate::blocks;
use lampyris_flash::TensorType;
use lampyris_pack::{
    Checksums, Ffn, Layout, ModelIndex, Options, Packed, Plan, Statistics, Stored,
    container::reseal,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// A packed model, in a folder of its own.
struct Sample {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Sample {
    fn new(layout: Layout) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = blocks::write(folder.path(), TensorType::Q8_0);
        let output = folder.path().join("m.lampack");
        let options = Options {
            layout: Some(layout),
            ..Options::default()
        };
        Plan::new(source, &options)
            .unwrap()
            .write(&output, &mut |_, _| {})
            .unwrap();
        Self {
            bytes: fs::read(output).unwrap(),
            folder,
        }
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("damaged.lampack");
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The file with another header and hashes that fit it. Only what differs is written.
    fn reseal(&self, header: &[u8]) -> PathBuf {
        let path = self.folder.path().join("resealed.lampack");
        if !path.exists() {
            fs::write(&path, &self.bytes).unwrap();
        }
        let file = fs::File::options().write(true).open(&path).unwrap();
        let bytes = reseal(&self.bytes, header);
        let (offset, _) = header_place(&bytes);
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(&bytes[..72], 0).unwrap();
        file.write_all_at(&bytes[offset..], offset as u64).unwrap();
        path
    }

    /// The file with an edited header and hashes that fit it.
    fn with_header(&self, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let (offset, bytes) = header_place(&self.bytes);
        let mut header: Value = serde_json::from_slice(&self.bytes[offset..][..bytes]).unwrap();
        edit(&mut header);
        self.reseal(&serde_json::to_vec(&header).unwrap())
    }
}

fn long(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

fn header_place(bytes: &[u8]) -> (usize, usize) {
    (long(bytes, 16), long(bytes, 24))
}

/// Opens the file and loads everything that is small.
fn open(path: &Path) -> Result<(ModelIndex, Checksums), String> {
    let load = || {
        let index = ModelIndex::open(path)?;
        let packed = index.packed().expect("it begins as a packed file");
        let checksums = packed.checksums()?;
        packed.text_tools()?;
        Ok((index, checksums))
    };
    load().map_err(|e: lampyris_pack::Error| e.to_string())
}

fn refused(path: &Path, expected: &str) {
    let message = match open(path) {
        Ok(_) => panic!("accepted; expected: {expected}"),
        Err(message) => message,
    };
    assert!(
        message.contains(expected),
        "expected {expected:?}, got: {message}"
    );
    assert!(message.contains("\nhint: "), "{message}");
}

type Edit = fn(&mut Value);

/// Name in the corpus, layout, change of a valid header, part of the error (empty: valid).
#[rustfmt::skip]
fn cases() -> Vec<(&'static str, Layout, Edit, &'static str)> {
    use Layout::{Bundled, Dense};
    vec![
        ("valid_dense", Dense, |_| {}, ""),
        ("valid_bundled", Bundled, |_| {}, ""),
        ("schema", Dense, |h| h["schema_version"] = json!(2), "header schema 2; expected 1"),
        ("field_unknown", Dense, |h| h["extra"] = json!(1), "unknown field `extra`"),
        ("field_unknown_deep", Dense, |h| h["layers"][0]["q"]["more"] = json!(1), "unknown field `more`"),
        ("field_missing", Dense, |h| { h.as_object_mut().unwrap().remove("layers"); }, "missing field `layers`"),
        ("type_unknown", Dense, |h| h["token_embd"]["type"] = json!("Q9"), "unknown element type `Q9`"),
        ("section_missing", Dense, |h| h["sections"][1]["name"] = json!("other"), "section `vectors` is missing"),
        ("section_twice", Dense, |h| h["sections"][1]["name"] = json!("text"), "section `text` occurs twice"),
        ("section_overlaps", Dense, |h| h["sections"][1]["offset"] = json!(16_384), "section `vectors` ("),
        ("section_offset", Dense, |h| h["sections"][3]["offset"] = json!(u64::MAX - 16_383), "is misplaced"),
        ("section_bytes", Dense, |h| h["sections"][3]["bytes"] = json!(u64::MAX), "is misplaced"),
        ("section_hole", Dense, |h| h["sections"][1]["bytes"] = json!(12_345), "are too many"),
        ("grid_zero", Dense, |h| h["sections"][4]["grid"]["unit"] = json!(0), "impossible grid"),
        ("grid_small", Dense, |h| h["sections"][2]["grid"]["unit"] = json!(1), "impossible grid"),
        ("checksums", Dense, |h| h["checksums"]["bytes"] = json!(8), "the checksums ("),
        ("matrix_offset", Dense, |h| h["layers"][1]["q"]["weight"]["offset"] = json!(0), "`blk.1.attn_q` at 0 does not lie in section `blk.1.attention`"),
        ("matrix_rows", Dense, |h| h["token_embd"]["rows"] = json!(9), "`token_embd` has 9 rows of 256 elements; expected 64 of 256"),
        ("matrix_overlaps", Dense, |h| h["layers"][0]["k"]["weight"]["offset"] = h["layers"][0]["v"]["weight"]["offset"].clone(), "overlaps `blk.0.attn_"),
        ("vector_len", Dense, |h| h["layers"][0]["attn_norm"]["weight"]["len"] = json!(257), "`blk.0.attn_norm.weight` has 257 elements; expected 256"),
        ("output_twice", Dense, |h| h["output"] = h["token_embd"].clone(), "`output` contradicts"),
        ("width", Dense, |h| h["spec"]["d_model"] = json!(1u64 << 40), "embedding length"),
        ("layout", Dense, |h| h["layout"] = json!("bundled"), "contradicts the layout"),
        ("layer_missing", Dense, |h| { h["layers"].as_array_mut().unwrap().pop(); }, "expected 8 and 2"),
        ("group_huge", Bundled, |h| ffn(h)["group_neurons"] = json!(u64::MAX), "do not fill their section"),
        ("group_zero", Bundled, |h| ffn(h)["group_neurons"] = json!(0), "do not fill their section"),
        ("bundles_offset", Bundled, |h| ffn(h)["offset"] = json!(16_384), "do not fill their section"),
        ("neurons", Bundled, |h| ffn(h)["neurons"] = json!(511), "are 511; expected 512"),
        ("part_overlaps", Bundled, |h| ffn(h)["up"]["offset"] = json!(0), "overlap or reach past their end"),
        ("part_outside", Bundled, |h| ffn(h)["down"]["offset"] = json!(u64::MAX), "overlap or reach past their end"),
        ("gate_missing", Bundled, |h| ffn(h)["gate"] = json!(null), "contradict `gated`"),
        ("error_negative", Bundled, |h| ffn(h)["down_error"] = json!(-1.0), "have an impossible error"),
        ("order_overlaps", Bundled, |h| ffn(h)["order"] = json!({"offset": h["sections"][1]["offset"], "len": 512}), "overlaps"),
    ]
}

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/packed")
}

#[test]
fn headers_that_contradict_themselves() {
    let samples = [Layout::Dense, Layout::Bundled].map(Sample::new);
    for (name, layout, edit, expected) in cases() {
        let sample = &samples[usize::from(layout == Layout::Bundled)];
        let path = sample.with_header(edit);
        match expected {
            "" => drop(open(&path).unwrap()),
            expected => refused(&path, expected),
        }
        let (offset, len) = header_place(&fs::read(&path).unwrap());
        let header = fs::read(&path).unwrap()[offset..][..len].to_vec();
        let kept = corpus().join(format!("{name}.json"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::create_dir_all(corpus()).unwrap();
            fs::write(&kept, &header).unwrap();
        }
        let hint = "run `UPDATE_EXPECT=1 cargo test -p lampyris-pack`";
        assert!(
            fs::read(&kept).ok() == Some(header),
            "{name} is stale; {hint}"
        );
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let path = samples[0].reseal(deep.as_bytes());
    refused(&path, "the header cannot be used");
}

#[test]
fn replay() {
    let samples = [Layout::Dense, Layout::Bundled].map(Sample::new);
    let mut files = 0;
    for file in fs::read_dir(corpus()).unwrap() {
        let header = fs::read(file.unwrap().path()).unwrap();
        for sample in &samples {
            // Whether it is accepted does not matter here, only that it does no harm.
            let _ = open(&sample.reseal(&header));
        }
        files += 1;
    }
    assert!(files >= cases().len());
}

#[test]
fn an_order_that_is_no_permutation() {
    let folder = tempfile::tempdir().unwrap();
    let source = blocks::write(folder.path(), TensorType::Q8_0);
    let output = folder.path().join("m.lampack");
    let options = Options {
        layout: Some(Layout::Bundled),
        statistics: Some(Statistics::new(
            9,
            vec![vec![1; blocks::FFN]; blocks::LAYERS],
        )),
        ..Options::default()
    };
    Plan::new(source, &options)
        .unwrap()
        .write(&output, &mut |_, _| {})
        .unwrap();
    let mut bytes = fs::read(&output).unwrap();
    let (offset, len) = header_place(&bytes);
    let mut header: Value = serde_json::from_slice(&bytes[offset..][..len]).unwrap();
    let order = ffn(&mut header)["order"]["offset"].as_u64().unwrap() as usize;
    let section = header["sections"][1].clone();
    let place = |key: &str| section[key].as_u64().unwrap() as usize;
    for (at, id) in [(order + 4, 0u32), (order + 4, 512), (order, u32::MAX)] {
        bytes[at..at + 4].copy_from_slice(&id.to_le_bytes());
        let vectors = &bytes[place("offset")..][..place("bytes")];
        let hash: String = Sha256::digest(vectors)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        header["sections"][1]["sha256"] = json!(hash);
        fs::write(
            &output,
            reseal(&bytes, &serde_json::to_vec(&header).unwrap()),
        )
        .unwrap();
        refused(&output, "the order of `blk.0.ffn` names neuron ");
    }
}

fn ffn(header: &mut Value) -> &mut Value {
    &mut header["layers"][0]["ffn"]["bundled"]
}

#[test]
fn golden_messages() {
    let sample = Sample::new(Layout::Dense);
    let message = |bytes: &[u8]| {
        let path = sample.write(bytes);
        let text = Packed::open(&path).unwrap_err().to_string();
        text.replace(&path.display().to_string(), "FILE")
    };
    let edited = |at: usize, byte: u8| {
        let mut bytes = sample.bytes.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(
        message(b"LAMPACK\0"),
        "`FILE`: 8 bytes are too few for a packed file\nhint: the file is damaged; `lampyris pack --verify` lists the sections; pack the model again"
    );
    assert_eq!(
        message(&edited(0, b'X')),
        "`FILE`: this is not a packed file\nhint: pass a file that `lampyris pack` wrote"
    );
    assert_eq!(
        message(&edited(8, 9)),
        "`FILE`: container version 9.0; expected 1.0\nhint: pack the model again with this version of lampyris"
    );
    let (offset, _) = header_place(&sample.bytes);
    assert_eq!(
        message(&edited(offset + 5, b'#')),
        "`FILE`: the header does not have the SHA-256 that the preamble gives\nhint: the file is damaged; `lampyris pack --verify` lists the sections; pack the model again"
    );
    let len = sample.bytes.len();
    assert_eq!(
        message(&sample.bytes[..len - 1]),
        format!(
            "`FILE`: the file has {} bytes; it was {len} long when it was written\nhint: the file is damaged; `lampyris pack --verify` lists the sections; pack the model again",
            len - 1
        )
    );
}

#[test]
fn files_cut_off_anywhere_are_refused() {
    let sample = Sample::new(Layout::Bundled);
    let len = sample.bytes.len();
    for cut in (0..200).chain((200..len).step_by(16_381)) {
        let path = sample.write(&sample.bytes[..cut]);
        let message = Packed::open(&path).unwrap_err().to_string();
        assert!(message.contains("\nhint: "), "cut at {cut}: {message}");
    }
}

/// Section of the byte at `at`, if it is in one.
fn section_at(bytes: &[u8], at: usize) -> Option<String> {
    let (offset, len) = header_place(bytes);
    let header: Value = serde_json::from_slice(&bytes[offset..][..len]).unwrap();
    let sections = header["sections"].as_array().unwrap();
    let found = sections.iter().find(|s| {
        let offset = s["offset"].as_u64().unwrap() as usize;
        (offset..offset + s["bytes"].as_u64().unwrap() as usize).contains(&at)
    });
    found.map(|s| s["name"].as_str().unwrap().to_owned())
}

#[test]
fn every_flipped_bit_is_found_and_named() {
    for layout in [Layout::Dense, Layout::Bundled] {
        let sample = Sample::new(layout);
        let mut random = blocks::Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..60 {
            let mut bytes = sample.bytes.clone();
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            let path = sample.write(&bytes);
            let Ok(packed) = Packed::open(&path) else {
                continue;
            };
            let Ok(found) = packed.verify(&mut |_| {}) else {
                continue;
            };
            let damaged: Vec<_> = found
                .sections
                .iter()
                .filter(|s| !s.2)
                .map(|s| s.0.clone())
                .collect();
            let expected = section_at(&sample.bytes, at).unwrap_or("padding".into());
            assert_eq!(damaged, std::slice::from_ref(&expected), "byte {at}");
            // A unit, unless the byte only fills a group.
            let units: Vec<_> = found.bad_units.iter().map(|u| u.0.clone()).collect();
            let filling = units.is_empty() && expected.ends_with(".ffn") && sample.bytes[at] == 0;
            assert!(
                units == std::slice::from_ref(&expected) || expected == "padding" || filling,
                "{units:?}"
            );
        }
    }
}

#[test]
fn streaming_checks_whole_units_and_names_the_section() {
    let sample = Sample::new(Layout::Bundled);
    let path = sample.write(&sample.bytes);
    let (index, checksums) = open(&path).unwrap();
    let Ffn::Bundled(bundles) = index.layers[1].ffn.clone() else {
        panic!()
    };
    // One neuron at a time, and any piece of the file.
    for position in [0, 1, bundles.group_neurons, bundles.neurons - 1] {
        let at = bundles.place(position) as usize;
        let data = &sample.bytes[at..at + bundles.bundle_bytes];
        assert_eq!(
            checksums.check(at as u64, data).unwrap(),
            bundles.bundle_bytes as u64
        );
        let mut bad = data.to_vec();
        bad[7] ^= 4;
        let message = checksums.check(at as u64, &bad).unwrap_err().to_string();
        let expected = format!(
            "section `blk.1.ffn` is damaged: {} bytes at {at} do not",
            bundles.bundle_bytes
        );
        assert!(message.contains(&expected), "{message}");
    }
    let whole = checksums.check(0, &sample.bytes).unwrap();
    assert!(whole > sample.bytes.len() as u64 * 9 / 10);
    let mut random = blocks::Random(5);
    let mut covered = 0;
    for _ in 0..200 {
        let start = random.below(sample.bytes.len());
        let end = start + random.below(sample.bytes.len() - start + 1);
        let n = checksums
            .check(start as u64, &sample.bytes[start..end])
            .unwrap();
        assert!(n <= (end - start) as u64);
        covered += n;
    }
    assert!(covered > sample.bytes.len() as u64 * 20);
    let Stored { offset, .. } = index.token_embd;
    let mut bytes = sample.bytes.clone();
    bytes[offset as usize] ^= 1;
    let message = checksums.check(0, &bytes).unwrap_err().to_string();
    assert!(message.contains("section `output` is damaged"), "{message}");
}

#[test]
fn flipped_header_bytes_do_no_harm() {
    let sample = Sample::new(Layout::Bundled);
    let (offset, len) = header_place(&sample.bytes);
    let header = &sample.bytes[offset..][..len];
    let mut random = blocks::Random(0x1357_9bdf_2468_ace0);
    let mut refused = 0;
    // Mostly digits: numbers stay numbers, so that the checks behind the grammar work.
    let digits: Vec<usize> = (0..len).filter(|&i| header[i].is_ascii_digit()).collect();
    for round in 0..1500 {
        let mut header = header.to_vec();
        for _ in 0..=random.below(2) {
            let at = digits[random.below(digits.len())];
            header[at] = match random.below(8) {
                0 => random.next() as u8,
                _ => b'0' + random.below(10) as u8,
            };
        }
        let path = sample.reseal(&header);
        match open(&path) {
            Err(message) => {
                refused += 1;
                assert!(message.contains("\nhint: "), "round {round}: {message}");
            }
            // Harmless: a hash, a name, an error; everything stays within the file.
            Ok((index, _)) => {
                for stored in index.matrices() {
                    assert!(stored.offset + stored.bytes() <= sample.bytes.len() as u64);
                }
            }
        }
    }
    assert!(refused > 500, "only {refused} refused");
}
