use super::*;
use crate::predictor::Scorer;
use lampyris_kernels::{Kernels, Pool};
use proptest::prelude::*;

const INPUTS: usize = 40;
const NEURONS: usize = 5;

fn predictor() -> Predictor {
    let numbers = |n: usize| {
        (0..n)
            .map(|i| (i % 17) as f32 / 8.0 - 1.0)
            .collect::<Vec<_>>()
    };
    let layer = |threshold| {
        let (project, expand) = (numbers(32 * INPUTS), numbers(NEURONS * 32));
        let mut layer = LayerPredictor::quantize(&project, &expand, &numbers(NEURONS), INPUTS);
        layer.threshold = threshold;
        layer
    };
    let layers = vec![layer(0.5), layer(-1.5)];
    let report = |l: &LayerPredictor| LayerReport {
        inputs: l.inputs,
        rank: l.rank,
        neurons: l.neurons,
        threshold: l.threshold,
        quality: Quality {
            decisions: 100,
            active: 10,
            predicted: 20,
            found: 9,
        },
    };
    let header = Header {
        schema_version: SCHEMA_VERSION,
        model: "00ff".into(),
        model_name: "a model".into(),
        activity: "nonzero".into(),
        target_recall: 0.99,
        tokens: 20,
        seed: 7,
        layers: layers.iter().map(report).collect(),
    };
    Predictor { header, layers }
}

/// The file with a change to its JSON header, of any length.
fn changed(from: &str, to: &str) -> Vec<u8> {
    let bytes = predictor().to_bytes();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
    let other = header.replace(from, to);
    assert_ne!(other, header, "{from} is not in {header}");
    let length = (other.len() as u64).to_le_bytes();
    [&length[..], other.as_bytes(), &bytes[8 + header.len()..]].concat()
}

fn refused(bytes: &[u8]) -> String {
    let error = Predictor::from_bytes(bytes, "p.safetensors")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`p.safetensors`") && error.contains("hint: "),
        "{error}"
    );
    error
}

#[test]
fn a_file_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.safetensors");
    predictor().write(&path).unwrap();
    assert_eq!(Predictor::read(&path).unwrap(), predictor());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else is left behind");
    let error = Predictor::read(&folder.path().join("none"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("none") && error.contains("hint: "),
        "{error}"
    );
}

#[test]
fn contradictions_are_named() {
    let version = format!(r#"\"schema_version\":{SCHEMA_VERSION}"#);
    let cases = [
        (
            version.as_str(),
            r#"\"schema_version\":9"#,
            "schema version 9",
        ),
        (r#"\"rank\":32"#, r#"\"rank\":33"#, "rank 33"),
        (r#"\"rank\":32"#, r#"\"rank\":0"#, "0 rank"),
        (r#"\"rank\":32"#, r#"\"rank\":64"#, "not U8 [64, "),
        (
            r#"\"neurons\":5"#,
            r#"\"neurons\":99999999999"#,
            "99999999999 neurons",
        ),
        (r#"\"inputs\":40"#, r#"\"inputs\":400"#, "layers.0.project"),
        (r#"\"found\":9"#, r#"\"found\":90"#, "contradicts itself"),
        (r#"\"seed\":7"#, r#"\"sead\":7"#, "unknown field"),
        (r#"\"seed\":7,"#, "", "missing field"),
        (
            "lampyris.predictor",
            "lampyris.predicter",
            "lack `lampyris.predictor`",
        ),
        ("layers.1.bias", "layers.2.bias", "layers.1.bias"),
    ];
    for (from, to, message) in cases {
        let error = refused(&changed(from, to));
        assert!(error.contains(message), "{to}: {error}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let mut wrong = predictor();
    wrong.layers[1].bias[2] = f32::NAN;
    assert!(refused(&wrong.to_bytes()).contains("layers.1.bias"));
    let mut wrong = predictor();
    wrong.layers[0].expand[1] = 0x7c;
    assert!(refused(&wrong.to_bytes()).contains("layers.0.expand"));
}

#[test]
fn other_models_are_refused() {
    let p = predictor();
    let sizes = [(INPUTS, NEURONS); 2];
    let check = |id: &str, sizes: &[(usize, usize)]| {
        p.check_model(id, sizes.iter().copied(), "p")
            .map_err(|e| e.to_string())
    };
    check("00ff", &sizes).unwrap();
    assert!(
        check("00fe", &sizes)
            .unwrap_err()
            .contains("`a model`, whose weights differ")
    );
    assert!(
        check("00ff", &sizes[..1])
            .unwrap_err()
            .contains("2 layers, the model 1")
    );
    assert!(
        check("00ff", &[(INPUTS, NEURONS), (1, 1)])
            .unwrap_err()
            .contains("layer 1")
    );
}

#[test]
fn every_cut_is_refused() {
    let bytes = predictor().to_bytes();
    for cut in (0..bytes.len()).step_by(7) {
        refused(&bytes[..cut]);
    }
    refused(&[bytes.clone(), vec![0]].concat());
}

#[test]
fn neurons_are_reordered_with_their_bias() {
    let mut layer = predictor().layers.remove(0);
    let before = layer.clone();
    layer.reorder(&[4, 3, 2, 1, 0]);
    let row = layer.expand.len() / NEURONS;
    assert_eq!(layer.expand[..row], before.expand[4 * row..]);
    assert_eq!(layer.bias[0], before.bias[4]);
}

proptest! {
    /// Any damage gives an error or a predictor whose parts fit each other.
    #[test]
    fn damage_never_panics(at in 0usize..6000, byte: u8) {
        let mut bytes = predictor().to_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let (kernels, pool) = (Kernels::detect().unwrap(), Pool::new(1).unwrap());
        if let Ok(p) = Predictor::from_bytes(&bytes, "p") {
            for layer in &p.layers {
                let mut scores = vec![0.0; layer.neurons];
                let x = vec![1.0; layer.inputs];
                Scorer::default().score(&kernels, &pool, layer, &x, &mut scores);
            }
        }
    }
}
