//! Damaged and hostile packed files: an error that names the place, or a section that is named.

use crate::blocks;
use lampyris_flash::TensorType;
use lampyris_pack::{
    Checksums, Ffn, Layout, ModelIndex, Options, Packed, Plan, Stored, container::reseal,
};
use serde_json::{Value, json};
use std::{
    fs,
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
        let source = blocks::write(folder.path(), TensorType::F16);
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

    /// The file with an edited header and hashes that fit it.
    fn with_header(&self, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let (offset, bytes) = header_place(&self.bytes);
        let mut header: Value = serde_json::from_slice(&self.bytes[offset..][..bytes]).unwrap();
        edit(&mut header);
        self.write(&reseal(&self.bytes, &serde_json::to_vec(&header).unwrap()))
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

#[test]
fn headers_that_contradict_themselves() {
    type Edit = fn(&mut Value);
    let dense: [(&str, Edit); 17] = [
        ("header schema 2; expected 1", |h| {
            h["schema_version"] = json!(2)
        }),
        ("unknown field `extra`", |h| h["extra"] = json!(1)),
        ("unknown field `more`", |h| {
            h["layers"][0]["q"]["more"] = json!(1)
        }),
        ("missing field `layers`", |h| {
            h.as_object_mut().unwrap().remove("layers");
        }),
        ("unknown element type `Q9`", |h| {
            h["token_embd"]["type"] = json!("Q9")
        }),
        ("section `vectors` is missing", |h| {
            h["sections"][1]["name"] = json!("other")
        }),
        ("section `text` occurs twice", |h| {
            h["sections"][1]["name"] = json!("text")
        }),
        ("section `vectors` (", |h| {
            h["sections"][1]["offset"] = json!(16_384)
        }),
        ("is misplaced", |h| {
            h["sections"][3]["offset"] = json!(u64::MAX - 16_383)
        }),
        ("is misplaced", |h| {
            h["sections"][3]["bytes"] = json!(u64::MAX)
        }),
        ("impossible grid", |h| {
            h["sections"][4]["grid"]["unit"] = json!(0)
        }),
        ("impossible grid", |h| {
            h["sections"][2]["grid"]["unit"] = json!(1)
        }),
        ("the checksums (", |h| h["checksums"]["bytes"] = json!(8)),
        (
            "`blk.1.attn_q` at 0 does not lie in section `blk.1.attention`",
            |h| h["layers"][1]["q"]["weight"]["offset"] = json!(0),
        ),
        (
            "`token_embd` has 9 rows of 256 elements; expected 64 of 256",
            |h| h["token_embd"]["rows"] = json!(9),
        ),
        (
            "`blk.0.attn_norm.weight` has 257 elements; expected 256",
            |h| h["layers"][0]["attn_norm"]["weight"]["len"] = json!(257),
        ),
        ("`output` contradicts", |h| {
            h["output"] = h["token_embd"].clone()
        }),
    ];
    let sample = Sample::new(Layout::Dense);
    for (expected, edit) in dense {
        refused(&sample.with_header(edit), expected);
    }
    refused(
        &sample.with_header(|h| {
            h["layers"][0]["k"]["weight"]["offset"] =
                h["layers"][0]["v"]["weight"]["offset"].clone();
        }),
        "overlaps `blk.0.attn_",
    );
    refused(
        &sample.with_header(|h| h["spec"]["d_model"] = json!(1u64 << 40)),
        "embedding length",
    );
    refused(
        &sample.with_header(|h| h["layout"] = json!("bundled")),
        "contradicts the layout",
    );
    refused(
        &sample.with_header(|h| {
            h["layers"].as_array_mut().unwrap().pop();
        }),
        "expected 8 and 2",
    );
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(
        &sample.write(&reseal(&sample.bytes, nested.as_bytes())),
        "the header cannot be used",
    );

    let bundled: [(&str, Edit); 7] = [
        ("do not fill their section", |h| {
            ffn(h)["group_neurons"] = json!(u64::MAX)
        }),
        ("do not fill their section", |h| {
            ffn(h)["group_neurons"] = json!(0)
        }),
        ("do not fill their section", |h| {
            ffn(h)["offset"] = json!(16_384)
        }),
        ("are 511; expected 512", |h| ffn(h)["neurons"] = json!(511)),
        ("overlap or reach past their end", |h| {
            ffn(h)["up"]["offset"] = json!(0)
        }),
        ("overlap or reach past their end", |h| {
            ffn(h)["down"]["offset"] = json!(u64::MAX)
        }),
        ("contradict `gated`", |h| ffn(h)["gate"] = json!(null)),
    ];
    let sample = Sample::new(Layout::Bundled);
    for (expected, edit) in bundled {
        refused(&sample.with_header(edit), expected);
    }
    let order = sample.with_header(|h| {
        // Any vector of the right length; its values are no permutation.
        let vectors = h["sections"][1]["offset"].clone();
        h["spec"]["d_model"] = json!(256);
        ffn(h)["order"] = json!({"offset": vectors, "len": 512});
    });
    refused(&order, "overlaps");
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
    for cut in (0..200).chain((200..len).step_by(4093)) {
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
    for round in 0..1500 {
        let mut header = header.to_vec();
        for _ in 0..=random.below(2) {
            // Mostly digits: numbers stay numbers, so that the checks behind the grammar work.
            let digits: Vec<usize> = (0..len).filter(|&i| header[i].is_ascii_digit()).collect();
            let at = digits[random.below(digits.len())];
            header[at] = match random.below(8) {
                0 => random.next() as u8,
                _ => b'0' + random.below(10) as u8,
            };
        }
        let path = sample.write(&reseal(&sample.bytes, &header));
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
