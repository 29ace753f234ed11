//! What comes out of a packed file is what went in, or differs by what the report says.

use crate::{blocks, make};
use lampyris_flash::{TensorType, block};
use lampyris_pack::{
    Bundles, Ffn, Layout, ModelIndex, Options, Packed, Part, Plan, Report, Statistics, Stored,
};
use std::{fs, path::Path};

/// Packs the model at `source` and checks that the file is intact.
fn pack(source: &Path, output: &Path, options: &Options) -> (ModelIndex, Report) {
    let plan = Plan::new(source, options).unwrap();
    let forecast = plan.forecast();
    let mut last = 0;
    let report = plan
        .write(output, &mut |done, total| {
            assert!(
                done <= total && done >= last,
                "{last} then {done} of {total}"
            );
            last = done;
        })
        .unwrap();
    assert_eq!(last, forecast.bytes);
    let len = fs::metadata(output).unwrap().len();
    assert_eq!(report.bytes, len);
    assert!(len >= forecast.bytes && len - forecast.bytes < 1 << 20);
    let packed = Packed::open(output).unwrap();
    let found = packed.verify(&mut |_| {}).unwrap();
    assert!(found.is_intact(), "{found:?}");
    let bytes: u64 = found.sections.iter().map(|s| s.1).sum();
    assert!(bytes < len && bytes > len / 2);
    (ModelIndex::open(output).unwrap(), report)
}

struct File {
    index: ModelIndex,
    data: Vec<Vec<u8>>,
}

impl File {
    fn new(index: ModelIndex) -> Self {
        let data = index.files.iter().map(|path| fs::read(path).unwrap());
        Self {
            data: data.collect(),
            index,
        }
    }

    fn bytes(&self, stored: &Stored) -> &[u8] {
        &self.data[stored.file][stored.offset as usize..][..stored.bytes() as usize]
    }

    fn part(&self, bundles: &Bundles, position: usize, part: Part) -> &[u8] {
        let at = bundles.place(position) as usize + part.offset;
        &self.data[bundles.file][at..][..part.bytes]
    }
}

fn floats(ty: TensorType, data: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; data.len() / ty.block_bytes() * ty.block_len()];
    block::dequantize_row(ty, data, &mut out).unwrap();
    out
}

/// Everything but FFNs: equal bytes and equal vectors.
fn same_beside_ffns(a: &File, b: &File) {
    assert_eq!(a.index.spec, b.index.spec);
    assert_eq!(a.index.output_norm, b.index.output_norm);
    let pair = |x: &Stored, y: &Stored| {
        assert_eq!(
            (&x.name, x.ty, x.rows, x.cols),
            (&y.name, y.ty, y.rows, y.cols)
        );
        assert!(a.bytes(x) == b.bytes(y), "{}", x.name);
    };
    pair(&a.index.token_embd, &b.index.token_embd);
    for (x, y) in [
        (&a.index.output, &b.index.output),
        (&a.index.position_embd, &b.index.position_embd),
    ] {
        assert_eq!(x.is_some(), y.is_some());
        x.iter().zip(y).for_each(|(x, y)| pair(x, y));
    }
    for (x, y) in a.index.layers.iter().zip(&b.index.layers) {
        assert_eq!((&x.attn_norm, &x.ffn_norm), (&y.attn_norm, &y.ffn_norm));
        for (x, y) in [(&x.q, &y.q), (&x.k, &y.k), (&x.v, &y.v), (&x.o, &y.o)] {
            pair(&x.weight, &y.weight);
            assert_eq!(x.bias, y.bias);
        }
    }
    let tools = b.index.text_tools().unwrap();
    let text = "The bell rang";
    let expected = a
        .index
        .text_tools()
        .unwrap()
        .tokenizer
        .encode(text, true)
        .unwrap();
    assert_eq!(tools.tokenizer.encode(text, true).unwrap(), expected);
}

/// Compares bundles with the matrices that they are made of; the sums of squares of the down
/// matrix's error and values.
fn check_bundles(source: &File, packed: &File, layer: usize) -> (f64, f64) {
    let Ffn::Dense { gate, up, down } = &source.index.layers[layer].ffn else {
        panic!()
    };
    let Ffn::Bundled(bundles) = &packed.index.layers[layer].ffn else {
        panic!()
    };
    assert_eq!(
        (bundles.neurons, bundles.width),
        (up.weight.rows, up.weight.cols)
    );
    assert_eq!(bundles.up_bias, up.bias);
    assert_eq!(bundles.down_bias, down.bias);
    assert_eq!(
        bundles.gate_bias,
        gate.as_ref().and_then(|g| g.bias.clone())
    );
    assert_eq!(bundles.gate.is_some(), gate.is_some());
    let columns = floats(down.weight.ty, source.bytes(&down.weight));
    let (mut error, mut value) = (0.0, 0.0);
    for position in 0..bundles.neurons {
        let id = bundles.id(position);
        let row = |stored: &Stored| {
            source.bytes(stored)[id * stored.row_bytes()..][..stored.row_bytes()].to_vec()
        };
        if let (Some(gate), Some(part)) = (gate, bundles.gate) {
            assert!(packed.part(bundles, position, part) == row(&gate.weight));
        }
        assert!(packed.part(bundles, position, bundles.up) == row(&up.weight));
        let found = floats(
            bundles.down.ty,
            packed.part(bundles, position, bundles.down),
        );
        for (r, y) in found.iter().enumerate() {
            let x = f64::from(columns[r * down.weight.cols + id]);
            error += (f64::from(*y) - x).powi(2);
            value += x * x;
        }
    }
    (error, value)
}

#[test]
fn dense_files_hold_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for ty in [TensorType::F16, TensorType::Q4_0, TensorType::Q4_K] {
        let source = blocks::write(folder.path(), ty);
        let output = folder.path().join("m.lampack");
        let (index, report) = pack(&source, &output, &Options::default());
        let (a, b) = (
            File::new(ModelIndex::open(&source).unwrap()),
            File::new(index),
        );
        same_beside_ffns(&a, &b);
        for (x, y) in a.index.matrices().zip(b.index.matrices()) {
            assert!(x.name == y.name && a.bytes(x) == b.bytes(y), "{}", x.name);
        }
        assert!(report.requantized.is_empty());
        assert_eq!(a.index.weight_bytes(), b.index.weight_bytes());
    }
}

#[test]
fn bundles_of_plain_floats_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        layout: Some(Layout::Bundled),
        ..Options::default()
    };
    for ty in [TensorType::F32, TensorType::F16, TensorType::BF16] {
        let source = blocks::write(folder.path(), ty);
        let (index, report) = pack(&source, &folder.path().join("m.lampack"), &options);
        let (a, b) = (
            File::new(ModelIndex::open(&source).unwrap()),
            File::new(index),
        );
        same_beside_ffns(&a, &b);
        for layer in 0..blocks::LAYERS {
            assert_eq!(check_bundles(&a, &b, layer).0, 0.0);
        }
        assert!(report.requantized.is_empty());
    }
}

#[test]
fn re_quantized_columns_differ_by_what_the_report_says() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (TensorType::Q4_0, None, TensorType::Q8_0, 0.01),
        (
            TensorType::Q8_0,
            Some(TensorType::Q8_0),
            TensorType::Q8_0,
            0.01,
        ),
        (
            TensorType::Q4_K,
            Some(TensorType::Q5_1),
            TensorType::Q5_1,
            0.06,
        ),
        (
            TensorType::Q6_K,
            Some(TensorType::Q4_0),
            TensorType::Q4_0,
            0.2,
        ),
        (
            TensorType::Q5_0,
            Some(TensorType::F16),
            TensorType::F16,
            0.001,
        ),
        (
            TensorType::F16,
            Some(TensorType::Q8_0),
            TensorType::Q8_0,
            0.01,
        ),
    ];
    for (from, asked, to, most) in cases {
        let source = blocks::write(folder.path(), from);
        let options = Options {
            layout: Some(Layout::Bundled),
            down_type: asked,
            ..Options::default()
        };
        let (index, report) = pack(&source, &folder.path().join("m.lampack"), &options);
        let (a, b) = (
            File::new(ModelIndex::open(&source).unwrap()),
            File::new(index),
        );
        same_beside_ffns(&a, &b);
        assert_eq!(report.requantized.len(), blocks::LAYERS, "{from} to {to}");
        for (layer, said) in report.requantized.iter().enumerate() {
            let (error, value) = check_bundles(&a, &b, layer);
            let relative = (error / value).sqrt();
            assert_eq!((said.from, said.to), (from, to));
            assert_eq!(said.tensor, format!("blk.{layer}.ffn_down"));
            assert!(
                (relative / f64::from(said.relative_rms) - 1.0).abs() < 1e-4,
                "{relative} {said:?}"
            );
            assert!(
                relative > 0.0 && relative < most,
                "{from} to {to}: {relative}"
            );
        }
    }
}

#[test]
fn values_in_f32_are_exact_whatever_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let source = blocks::write(folder.path(), TensorType::Q6_K);
    let options = Options {
        layout: Some(Layout::Bundled),
        down_type: Some(TensorType::F32),
        ..Options::default()
    };
    let (index, report) = pack(&source, &folder.path().join("m.lampack"), &options);
    let (a, b) = (
        File::new(ModelIndex::open(&source).unwrap()),
        File::new(index),
    );
    assert_eq!(check_bundles(&a, &b, 1).0, 0.0);
    assert!(report.requantized.is_empty());
}

#[test]
fn opt_has_no_gate_and_biases_everywhere() {
    let source = make::directory(&make::opt_config(), &make::opt_tensors());
    blocks::add_tokenizer(source.path());
    let output = source.path().join("m.lampack");
    // ReLU: bundled without being asked.
    let (index, report) = pack(source.path(), &output, &Options::default());
    assert_eq!(index.packed().unwrap().layout(), Layout::Bundled);
    let (a, b) = (
        File::new(ModelIndex::open(source.path()).unwrap()),
        File::new(index),
    );
    same_beside_ffns(&a, &b);
    for layer in 0..make::LAYERS {
        assert_eq!(check_bundles(&a, &b, layer).0, 0.0);
    }
    let Ffn::Bundled(bundles) = &b.index.layers[0].ffn else {
        panic!()
    };
    assert!(bundles.up_bias.is_some() && bundles.down_bias.is_some() && bundles.gate.is_none());
    assert!(report.requantized.is_empty());
}

#[test]
fn busy_neurons_come_first_in_groups_of_the_size_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let source = blocks::write(folder.path(), TensorType::Q8_0);
    let mut random = blocks::Random(99);
    let active: Vec<Vec<u64>> = (0..blocks::LAYERS)
        .map(|_| (0..blocks::FFN).map(|_| random.next() % 50).collect())
        .collect();
    let statistics = Statistics::new(1000, active.clone());
    let file = folder.path().join("statistics.json");
    fs::write(&file, statistics.to_json()).unwrap();
    let options = Options {
        layout: Some(Layout::Bundled),
        statistics: Some(Statistics::open(&file).unwrap()),
        group_bytes: Some(10_000),
        ..Options::default()
    };
    let (index, _) = pack(&source, &folder.path().join("m.lampack"), &options);
    let (a, b) = (
        File::new(ModelIndex::open(&source).unwrap()),
        File::new(index),
    );
    for (layer, active) in active.iter().enumerate() {
        check_bundles(&a, &b, layer);
        let Ffn::Bundled(bundles) = &b.index.layers[layer].ffn else {
            panic!()
        };
        let counts: Vec<u64> = (0..blocks::FFN).map(|p| active[bundles.id(p)]).collect();
        assert!(counts.is_sorted_by(|a, b| a >= b));
        let positions = bundles.positions();
        assert!((0..blocks::FFN).all(|p| positions[bundles.id(p)] as usize == p));
        assert!(bundles.group_neurons > 1 && bundles.group_bytes <= 12_288);
        assert!(bundles.group_bytes.is_multiple_of(4096) && bundles.offset.is_multiple_of(16_384));
    }

    let message = |statistics: Statistics| {
        let options = Options {
            statistics: Some(statistics),
            ..Options::default()
        };
        Plan::new(&source, &options).unwrap_err().to_string()
    };
    let found = message(Statistics::new(1, vec![vec![0; blocks::FFN]]));
    assert!(
        found.contains("has 1 layers; the model has 2\nhint: "),
        "{found}"
    );
    let found = message(Statistics::new(1, vec![vec![0; 3]; 2]));
    assert!(
        found.contains("has 3 neurons in layer 0; the model has 512\nhint: "),
        "{found}"
    );
    fs::write(&file, "{\"schema_version\":9,\"tokens\":1,\"active\":[]}").unwrap();
    let found = Statistics::open(&file).unwrap_err().to_string();
    assert!(
        found.contains("schema version 9; expected 1\nhint: "),
        "{found}"
    );
}

#[test]
fn the_embedded_model_packs_to_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = [folder.path().join("a"), folder.path().join("b")].map(|output| {
        pack(Path::new("tiny"), &output, &Options::default());
        fs::read(output).unwrap()
    });
    assert!(bytes[0] == bytes[1]);
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = |down_type| Options {
        layout: Some(Layout::Bundled),
        down_type: Some(down_type),
        ..Options::default()
    };
    let refused = |source: &Path, options: &Options, expected: &str| {
        let message = Plan::new(source, options).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("\nhint: "), "{message}");
    };
    let source = blocks::write(folder.path(), TensorType::Q4_0);
    refused(
        &source,
        &options(TensorType::Q6_K),
        "Q6_K is a format that is read, not quantized to",
    );
    let narrow = make::directory(&make::opt_config(), &make::opt_tensors());
    blocks::add_tokenizer(narrow.path());
    let expected = "columns of `blk.0.ffn_down` have 16 elements, not a multiple of Q8_0's 32";
    refused(narrow.path(), &options(TensorType::Q8_0), expected);

    let output = folder.path().join("m.lampack");
    pack(&source, &output, &Options::default());
    refused(&output, &Options::default(), "it is packed already");
    let plan = Plan::new(&source, &Options::default()).unwrap();
    let message = plan.write(&source, &mut |_, _| {}).unwrap_err().to_string();
    assert!(
        message.contains("exists and is not a packed file\nhint: "),
        "{message}"
    );
    // A packed file is replaced.
    plan.write(&output, &mut |_, _| {}).unwrap();
    assert!(!folder.path().join("m.lampack.part").exists());
    assert!(!folder.path().join("m.lampack.part.journal").exists());
}
