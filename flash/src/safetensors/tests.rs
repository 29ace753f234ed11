use super::*;
use safetensors::tensor::TensorView as Source;
use serde_json::json;

fn write(dir: &Path, file: &str, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (*name, Source::new(*dtype, shape.to_vec(), data).unwrap())
    });
    std::fs::write(dir.join(file), safetensors::serialize(views, None).unwrap()).unwrap();
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    dir
}

#[test]
fn reads_a_single_file() {
    let dir = directory();
    let half = vec![0x80, 0x3f, 0x00, 0xc0];
    let tensors = [
        (
            "w",
            Dtype::F32,
            &[2, 3][..],
            f32s(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ),
        ("b", Dtype::BF16, &[2][..], half),
    ];
    write(dir.path(), SINGLE, &tensors);
    let model = SafetensorsDir::open(dir.path()).unwrap();
    assert_eq!(model.config()["model_type"], "llama");
    assert_eq!(model.names().collect::<Vec<_>>(), ["b", "w"]);
    let w = model.tensor("w").unwrap();
    assert_eq!((w.shape, w.rows(), w.row_len()), (&[3, 2][..], 2, 3));
    let mut row = [0.0; 3];
    w.dequantize_row(1, &mut row).unwrap();
    assert_eq!(row, [3.0, 4.0, 5.0]);
    assert_eq!(model.tensor("b").unwrap().dequantize(), [1.0, -2.0]);
}

#[test]
fn reads_shards_by_their_index() {
    let dir = directory();
    write(
        dir.path(),
        "a.safetensors",
        &[("x", Dtype::F32, &[1], f32s(&[1.0]))],
    );
    write(
        dir.path(),
        "b.safetensors",
        &[("y", Dtype::F32, &[1], f32s(&[2.0]))],
    );
    let put_index = |map: serde_json::Value| {
        let index = json!({ "metadata": {}, "weight_map": map });
        std::fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
    };
    put_index(json!({ "x": "a.safetensors", "y": "b.safetensors" }));
    let model = SafetensorsDir::open(dir.path()).unwrap();
    assert_eq!(model.tensor("y").unwrap().dequantize(), [2.0]);

    put_index(json!({ "x": "b.safetensors", "y": "b.safetensors" }));
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("`x` is listed for `b.safetensors`"), "{err}");
    put_index(json!({ "x": "b.safetensors", "y": "a.safetensors" }));
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("`x` is listed for `b.safetensors`"), "{err}");
    put_index(json!({ "x": "config.json" }));
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("not to a .safetensors file name"), "{err}");
    put_index(json!({ "x": "../a.safetensors" }));
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("not to a .safetensors file name"), "{err}");
    put_index(json!({ "x": "c.safetensors" }));
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("c.safetensors"), "{err}");
    put_index(json!([]));
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("weight_map"), "{err}");
}

#[test]
fn unusable_directories_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("config.json"), "{err}");
    std::fs::write(dir.path().join("config.json"), "{\n\"a\": nope}").unwrap();
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("config.json` is malformed at byte 8"), "{err}");
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("model.safetensors"), "{err}");
    write(dir.path(), SINGLE, &[("ids", Dtype::I64, &[1], vec![0; 8])]);
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("`ids` has element type I64"), "{err}");
}

fn with_header(dir: &Path, header: &str, data: usize) {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    std::fs::write(dir.join(SINGLE), file).unwrap();
}

#[test]
fn hostile_extents_are_errors() {
    let dir = directory();
    // Each extent has a consistent size; their sum wraps around to the size of the file.
    let n = 1u64 << 60;
    let entries = (0..16).map(|i| {
        let (from, to) = (i * n, (i + 1).min(16) as u128 * n as u128);
        format!(
            r#""t{i:02}":{{"dtype":"U8","shape":[{n}],"data_offsets":[{from},{}]}}"#,
            to as u64
        )
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    with_header(dir.path(), &header, 0);
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("past the end of the file"), "{err}");
    with_header(
        dir.path(),
        r#"{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#,
        0,
    );
    let err = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(err.contains("`w` has shape [0]"), "{err}");
}

#[test]
fn damaged_files_never_panic() {
    let dir = directory();
    write(
        dir.path(),
        SINGLE,
        &[
            ("w", Dtype::F32, &[2], f32s(&[0.0, 1.0])),
            ("v", Dtype::F16, &[1], vec![0; 2]),
        ],
    );
    let path = dir.path().join(SINGLE);
    let valid = std::fs::read(&path).unwrap();
    for len in 0..valid.len() {
        std::fs::write(&path, &valid[..len]).unwrap();
        assert!(SafetensorsDir::open(dir.path()).is_err(), "cut at {len}");
    }
    for at in 0..valid.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut damaged = valid.clone();
            damaged[at] ^= flip;
            std::fs::write(&path, &damaged).unwrap();
            if let Ok(model) = SafetensorsDir::open(dir.path()) {
                let views = model.names().filter_map(|name| model.find(name));
                views.for_each(|view| assert_eq!(view.dequantize().len(), view.elements()));
            }
        }
    }
}
