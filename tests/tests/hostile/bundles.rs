//! Compiled directories that were damaged after they were written.

use crate::assert_little_memory;
use lampyris_bundle::manifest::{
    Config, DebugTable, Manifest, Model as ModelEntry, SCHEMA_VERSION,
};
use lampyris_bundle::writer::Writer;
use lampyris_bundle::{Bundle, Region, RegionKind, names, sha256_hex};
use lampyris_isa::{HwConfig, ISA_VERSION, Insn};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Limits, Model, Rng};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A small correct directory: a program that does some arithmetic and halts.
struct Small {
    _folder: TempDir,
    path: PathBuf,
    manifest: Value,
}

fn manifest(program_bytes: u64) -> Manifest {
    let region = |kind, base, bytes| Region { kind, base, bytes };
    Manifest {
        build: None,
        project: None,
        schema_version: SCHEMA_VERSION,
        kv_bits: 8,
        schedule: Default::default(),
        isa_version: ISA_VERSION,
        config: HwConfig::SMALL.into(),
        config_hash: format!("{:08x}", HwConfig::SMALL.hash()),
        model: ModelEntry {
            name: "small".into(),
            architecture: "none".into(),
            layers: 1,
            vocab_size: 16,
            parameters: 64,
            kv_bytes_per_token: 64,
            weight_bytes_per_token: 64,
        },
        entries: [("decode".into(), 0), ("prefill".into(), 1)].into(),
        prefill_tokens: 2,
        context: 8,
        ring: None,
        attention_mask: None,
        regions: vec![
            region(RegionKind::Program, 0, program_bytes),
            region(RegionKind::Weights, 0x10_0000, 64),
            region(RegionKind::Tokens, 0x10_1000, 4096),
            region(RegionKind::Logits, 0x10_2000, 4096),
            region(RegionKind::Kv, 0x10_3000, 4096),
        ],
        files: Vec::new(),
    }
}

fn small() -> Small {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("small");
    let lines = [
        "alu rd=2 rs=1 use_imm=1 imm=1",
        "alu rd=1 rs=2 use_imm=1 imm=3",
        "halt",
    ];
    let program: Vec<u8> = lines
        .iter()
        .flat_map(|l| Insn::parse(l).expect("legal").to_bytes())
        .collect();
    let labels = ["a", "b", "b"].map(String::from);
    let debug = serde_json::to_string(&DebugTable::new(&labels, vec![])).expect("plain data");
    let mut writer = Writer::create(&path).expect("a target");
    writer.write(names::PROGRAM, &program).expect("written");
    writer.write(names::WEIGHTS, &[7; 64]).expect("written");
    writer
        .write(names::DEBUG, debug.as_bytes())
        .expect("written");
    writer.write(names::TOKENIZER, b"{}").expect("written");
    let manifest = writer
        .finish(manifest(program.len() as u64))
        .expect("in place");
    let manifest = serde_json::to_value(manifest).expect("plain data");
    Small {
        _folder: folder,
        path,
        manifest,
    }
}

impl Small {
    fn put_manifest(&self, manifest: &Value) {
        let text = serde_json::to_string_pretty(manifest).expect("plain data");
        fs::write(self.path.join(names::MANIFEST), text).expect("written");
    }

    /// Replaces a file and makes size and hash in the manifest fit, so that its contents are read.
    fn put_file(&self, name: &str, data: &[u8]) {
        fs::write(self.path.join(name), data).expect("written");
        let mut manifest = self.manifest.clone();
        for file in manifest["files"].as_array_mut().expect("a list") {
            if file["name"] == name {
                file["bytes"] = json!(data.len());
                file["sha256"] = json!(sha256_hex(data));
            }
        }
        if name == names::PROGRAM {
            manifest["regions"][0]["bytes"] = json!(data.len());
        }
        self.put_manifest(&manifest);
    }
}

/// Opens a directory and runs it as `lampyris sim` does; the error, if it is refused.
fn open_and_run(path: &Path) -> Result<(), String> {
    let bundle = Bundle::open(path).map_err(|e| e.to_string())?;
    bundle.map(names::TOKENIZER).map_err(|e| e.to_string())?;
    let mut device = memory(&bundle)
        .and_then(|m| Model::new(bundle.config, m))
        .map_err(|e| e.to_string())?;
    let limits = Limits {
        instructions: 1000,
        cycles: 0,
    };
    let run = |device: &mut Model| {
        let mut session = Session::new(&bundle, device, limits)?;
        session.feed(&[3, 4, 5], Want::Logits)?;
        session.logits()
    };
    run(&mut device).map(drop).map_err(|e| e.to_string())
}

/// As [`open_and_run`]; fails if it panics, or refuses without saying where and what to do.
fn judge(small: &Small, what: &dyn std::fmt::Display) -> Result<(), String> {
    let result = std::panic::catch_unwind(|| open_and_run(&small.path));
    let result = result.unwrap_or_else(|_| panic!("panicked: {what}"));
    if let Err(message) = &result {
        let place = [
            ".json",
            ".bin",
            "region",
            "segment",
            "start:",
            "instruction",
            "hardware",
        ];
        assert!(
            place.iter().any(|p| message.contains(p)),
            "{what}: names no place: {message}"
        );
        assert!(
            message.contains("\nhint: "),
            "{what}: gives no hint: {message}"
        );
    }
    result
}

#[test]
fn the_undamaged_directory_runs() {
    let small = small();
    assert_eq!(judge(&small, &"undamaged"), Ok(()));
    let bundle = Bundle::open(&small.path).expect("opens");
    assert_eq!(
        (bundle.label(0), bundle.label(2), bundle.label(3)),
        (Some("a"), Some("b"), None)
    );
}

#[test]
fn every_byte_of_the_manifest_may_be_wrong() {
    let small = small();
    let path = small.path.join(names::MANIFEST);
    let good = fs::read(&path).expect("reads");
    let mut refused = 0;
    for at in 0..good.len() {
        for change in [1u8, 2, 8, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= change;
            fs::write(&path, &bad).expect("written");
            refused += u32::from(judge(&small, &format!("byte {at} ^ {change:#x}")).is_err());
        }
    }
    // What remains are letters of names and digits that nothing depends on.
    assert!(
        refused as usize > good.len() * 4 * 3 / 4,
        "only {refused} refused"
    );
    for len in 0..good.len() - 1 {
        fs::write(&path, &good[..len]).expect("written");
        let message = judge(&small, &format!("cut to {len}")).expect_err("half a manifest");
        assert!(message.contains(names::MANIFEST), "{message}");
    }
    assert_little_memory();
}

/// Calls `change` for every number in a value, with a way to write there.
fn numbers(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(path),
        Value::Array(list) => {
            for (i, v) in list.iter().enumerate() {
                numbers(v, format!("{path}/{i}"), found);
            }
        }
        Value::Object(map) => {
            for (k, v) in map {
                numbers(v, format!("{path}/{k}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_number_of_the_manifest_may_be_absurd() {
    let small = small();
    let mut places = Vec::new();
    numbers(&small.manifest, String::new(), &mut places);
    assert!(places.len() > 30, "{places:?}");
    let wild = [
        json!(0),
        json!(1),
        json!(17),
        json!(4095),
        json!(u32::MAX),
        json!(1u64 << 34),
        json!((1u64 << 40) - 4096),
        json!(u64::MAX),
        json!(u64::MAX - 4095),
        json!(-1),
        json!(1.5),
        json!("8"),
        json!(null),
    ];
    for place in &places {
        for value in &wild {
            let mut manifest = small.manifest.clone();
            *manifest.pointer_mut(place).expect("found above") = value.clone();
            // A fitting hash, so that the configuration itself is judged.
            if let Ok(config) = serde_json::from_value::<Config>(manifest["config"].clone()) {
                manifest["config_hash"] = json!(format!("{:08x}", HwConfig::from(config).hash()));
            }
            small.put_manifest(&manifest);
            let _ = judge(&small, &format!("{place} = {value}"));
        }
    }
    assert_little_memory();
}

#[test]
fn several_numbers_at_once_may_be_absurd() {
    let small = small();
    let mut places = Vec::new();
    numbers(&small.manifest, String::new(), &mut places);
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let mut manifest = small.manifest.clone();
        for _ in 0..rng.range(1, 4) {
            let place = &places[rng.below(places.len() as u64) as usize];
            let value = rng.bits() >> rng.below(64);
            *manifest.pointer_mut(place).expect("found above") = json!(value);
        }
        small.put_manifest(&manifest);
        let _ = judge(&small, &format!("seed {seed}"));
    }
    assert_little_memory();
}

/// Name, change of the manifest, words of the error.
type Case = (&'static str, fn(&mut Value), &'static str);

#[test]
fn damage_is_named() {
    let small = small();
    let cases: [Case; 22] = [
        (
            "schema",
            |m| m["schema_version"] = json!(99),
            "manifest schema is 99",
        ),
        ("isa", |m| m["isa_version"] = json!(77), "ISA version is 77"),
        (
            "spilled without room",
            |m| m["schedule"] = json!("spilled"),
            "region Activations appears 0 times",
        ),
        (
            "hash",
            |m| m["config_hash"] = json!("00000000"),
            "configuration hash is 00000000",
        ),
        (
            "other config",
            |m| m["config"]["mac_rows"] = json!(2),
            "configuration hash is",
        ),
        (
            "illegal config",
            |m| m["config"]["axi_bits"] = json!(100),
            "axi_bits",
        ),
        (
            "unknown key",
            |m| m["extra"] = json!(1),
            "unknown field `extra`",
        ),
        (
            "missing key",
            |m| drop(m.as_object_mut().map(|o| o.remove("regions"))),
            "missing field `regions`",
        ),
        (
            "overlap",
            |m| m["regions"][1]["base"] = json!(32),
            "region Weights overlaps",
        ),
        (
            "overflow",
            |m| m["regions"][4]["base"] = json!(u64::MAX - 1),
            "region Kv overlaps or exceeds",
        ),
        (
            "beyond",
            |m| m["regions"][4]["bytes"] = json!(1u64 << 41),
            "region Kv overlaps or exceeds",
        ),
        (
            "twice",
            |m| m["regions"][4]["kind"] = json!("logits"),
            "region Logits appears 2 times",
        ),
        (
            "size",
            |m| m["regions"][1]["bytes"] = json!(4096),
            "region Weights and file `weights.bin` differ",
        ),
        (
            "entry",
            |m| m["entries"]["decode"] = json!(3),
            "entry `decode` is 3, the program has 3",
        ),
        ("no entry", |m| m["entries"] = json!({}), "no prefill"),
        (
            "vocabulary",
            |m| m["model"]["vocab_size"] = json!(u32::MAX),
            "vocab_size 4294967295 does not fit region Logits",
        ),
        (
            "chunk",
            |m| m["prefill_tokens"] = json!(1 << 20),
            "prefill_tokens 1048576 does not fit region Tokens",
        ),
        (
            "sinks",
            |m| m["ring"] = json!({"sinks": 7, "positions": 100}),
            "a ring of 8 positions with 7 sinks and angles for 100 does not hold 2 new ones",
        ),
        (
            "angles",
            |m| m["ring"] = json!({"sinks": 4, "positions": 7}),
            "angles for 7",
        ),
        (
            "path",
            |m| m["files"][0]["name"] = json!("../../etc/passwd"),
            "`../../etc/passwd` is not a file of",
        ),
        (
            "absolute path",
            |m| m["files"][0]["name"] = json!("/dev/zero"),
            "`/dev/zero` is not a file of",
        ),
        (
            "unlisted",
            |m| {
                m["files"]
                    .as_array_mut()
                    .into_iter()
                    .for_each(|f| f.retain(|f| f["name"] != "tokenizer.json"))
            },
            "`tokenizer.json` is not listed",
        ),
    ];
    for (name, change, words) in cases {
        let mut manifest = small.manifest.clone();
        change(&mut manifest);
        small.put_manifest(&manifest);
        let message = judge(&small, &name).expect_err(name);
        assert!(message.contains(words), "{name}: {message}");
        assert!(
            message.contains(names::MANIFEST)
                || message.contains("program.bin")
                || name == "no entry",
            "{name}: {message}"
        );
    }
}

#[test]
fn files_that_do_not_fit_the_manifest_are_refused() {
    for name in [
        names::PROGRAM,
        names::WEIGHTS,
        names::DEBUG,
        names::TOKENIZER,
    ] {
        let small = small();
        let path = small.path.join(name);
        let good = fs::read(&path).expect("reads");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).expect("written");
            let message = judge(&small, &format!("{name} byte {at}")).expect_err("a changed file");
            assert!(
                message.contains(name) && message.contains("SHA-256 is"),
                "{message}"
            );
        }
        for len in [0, 1, good.len() - 1, good.len() + 1] {
            let mut bad = good.clone();
            bad.resize(len, 0);
            fs::write(&path, &bad).expect("written");
            let message = judge(&small, &format!("{name} of {len} bytes")).expect_err("a cut file");
            assert!(message.contains(name), "{message}");
        }
        fs::remove_file(&path).expect("removed");
        let message = judge(&small, &format!("no {name}")).expect_err("a missing file");
        assert!(message.contains(name), "{message}");
        fs::create_dir(&path).expect("made");
        let message = judge(&small, &format!("directory {name}")).expect_err("a directory");
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn programs_with_a_fitting_hash_are_decoded_or_refused() {
    let small = small();
    let good = fs::read(small.path.join(names::PROGRAM)).expect("reads");
    let mut illegal = good.clone();
    illegal[32] = 0xff;
    small.put_file(names::PROGRAM, &illegal);
    let message = judge(&small, &"opcode").expect_err("an unknown opcode");
    assert!(
        message.contains("program.bin: instruction 1: "),
        "{message}"
    );
    let mut reserved = good.clone();
    reserved[31] = 0x80;
    small.put_file(names::PROGRAM, &reserved);
    let message = judge(&small, &"reserved").expect_err("a reserved bit");
    assert!(
        message.contains("program.bin: instruction 0: "),
        "{message}"
    );
    for len in [0, 1, 31, 33] {
        small.put_file(names::PROGRAM, &good[..len]);
        let message = judge(&small, &format!("{len} bytes")).expect_err("no whole instructions");
        assert!(message.contains("program.bin"), "{message}");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        small.put_file(names::PROGRAM, &bad);
        let _ = judge(&small, &format!("bit {bit}"));
    }
}

#[test]
fn debug_tables_that_lie_are_refused() {
    let small = small();
    let table = |runs: Value, contents: Value| json!({"runs": runs, "contents": contents});
    let runs = |runs: Value| table(runs, json!([])).to_string();
    let contents = |contents: Value| table(json!([[0, "a"]]), contents).to_string();
    let vector = |base: u64, bytes: u64| json!({"name": "v", "base": base, "bytes": bytes, "kind": "vector"});
    small.put_file(names::DEBUG, contents(json!([vector(64, 64)])).as_bytes());
    judge(&small, &"a good table").expect("a good table");
    for text in [
        String::new(),
        "{}".into(),
        "[]".into(),
        json!({"runs": [[0, "a"]]}).to_string(),
        runs(json!([[1, "a"]])),
        runs(json!([[0, "a"], [9, "b"]])),
        runs(json!([[0, "a"], [0, "b"]])),
        runs(json!([[0, "x".repeat(5000)]])),
        contents(json!([vector(64, 65), vector(128, 4)])),
        contents(json!([vector(u64::MAX, 1)])),
        contents(json!([vector(0, 1 << 41)])),
        contents(json!([{"name": "m", "base": 0, "bytes": 64, "kind":
            {"matrix": {"bits": 2, "sparsity": 2, "role": "product"}}}])),
        contents(json!([{"name": "c", "base": 0, "bytes": 64, "kind":
            {"cache": {"key_bytes": 0, "value_bytes": 0, "scale_bytes": 0}}}])),
    ] {
        small.put_file(names::DEBUG, text.as_bytes());
        let message = judge(&small, &text).expect_err("a bad table");
        assert!(message.contains(names::DEBUG), "{message}");
    }
}

#[test]
fn a_huge_manifest_is_not_read() {
    let small = small();
    let file = fs::File::options()
        .write(true)
        .open(small.path.join(names::MANIFEST))
        .expect("opens");
    file.set_len(1 << 40).expect("sparse");
    let message = judge(&small, &"sparse").expect_err("a terabyte");
    assert!(
        message.contains("manifest.json: 1099511627776 bytes"),
        "{message}"
    );
    assert_little_memory();
}
