use super::*;
use crate::ModelFile;

fn small() -> Builder {
    let floats: Vec<f32> = (0..8).map(|i| i as f32).collect();
    Builder::new()
        .metadata("general.architecture", "none")
        .metadata("x.u8", 200u8)
        .metadata("x.i64", -5i64)
        .metadata("x.f64", 0.5f64)
        .metadata("x.bool", true)
        .metadata("x.names", vec!["a".to_owned(), "ü".to_owned()])
        .metadata("x.numbers", vec![1i32, -2])
        .metadata(
            "x.nested",
            Value::Array(Array::Array(vec![
                Array::U16(vec![1, 2]),
                Array::String(vec!["b".into()]),
            ])),
        )
        .tensor_f32("first", &[4, 2], &floats)
        .tensor("second", &[32, 1], TensorType::Q8_0, vec![0; 34])
}

#[test]
fn what_is_written_is_read() {
    let model = Gguf::parse(small().build().unwrap()).unwrap();
    let metadata = model.metadata();
    assert_eq!(metadata.len(), 8);
    assert_eq!(metadata.require::<u32>("x.u8").unwrap(), 200);
    assert_eq!(metadata.require::<i32>("x.i64").unwrap(), -5);
    assert_eq!(metadata.get("x.f64"), Some(&Value::F64(0.5)));
    assert!(metadata.require::<bool>("x.bool").unwrap());
    assert_eq!(
        metadata.require::<&[String]>("x.names").unwrap(),
        ["a", "ü"]
    );
    assert_eq!(metadata.require::<Vec<i32>>("x.numbers").unwrap(), [1, -2]);
    let Value::Array(Array::Array(nested)) = metadata.get("x.nested").unwrap() else {
        panic!()
    };
    assert_eq!(nested[0], Array::U16(vec![1, 2]));
    let first = model.tensor("first").unwrap();
    assert_eq!(
        (first.shape, first.rows(), first.row_len()),
        (&[4, 2][..], 2, 4)
    );
    let mut row = [0.0; 4];
    first.dequantize_row(1, &mut row).unwrap();
    assert_eq!(row, [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(model.tensors()[1].range.start % DEFAULT_ALIGNMENT, 0);
    assert_eq!(model.tensor_data("second").unwrap().len(), 34);
}

#[test]
fn getters_name_the_key() {
    let model = Gguf::parse(small().build().unwrap()).unwrap();
    let message = |err: Error| err.to_string();
    let metadata = model.metadata();
    let err = message(metadata.require::<u32>("x.absent").unwrap_err());
    assert!(
        err.contains("`x.absent` is missing") && err.contains("hint: "),
        "{err}"
    );
    let err = message(metadata.require::<u32>("x.i64").unwrap_err());
    assert!(
        err.contains("`x.i64` is I64(-5); expected a non-negative integer"),
        "{err}"
    );
    let err = message(metadata.optional::<f32>("x.names").unwrap_err());
    assert!(
        err.contains("`x.names` is an array of String of length 2"),
        "{err}"
    );
    let err = message(metadata.require::<Vec<u32>>("x.numbers").unwrap_err());
    assert!(err.contains("`x.numbers`"), "{err}");
    assert_eq!(metadata.optional::<u32>("x.absent").unwrap(), None);
    let err = message(model.tensor("third").unwrap_err());
    assert!(err.contains("`third` is missing"), "{err}");
}

#[test]
fn bad_scales_are_named() {
    let mut data = vec![0; 34 * 4];
    data[34 * 3 + 1] = 0x7c;
    let file = Builder::new()
        .tensor("w", &[64, 2], TensorType::Q8_0, data)
        .build()
        .unwrap();
    let err = Gguf::parse(file)
        .unwrap()
        .check_finite("w")
        .unwrap_err()
        .to_string();
    assert!(
        err.contains("`w`") && err.contains("Q8_0 block 3 (row 1, block 1"),
        "{err}"
    );
}

/// Formats of this project keep their numbers, which no ggml type has.
#[test]
fn own_formats_survive_a_file() {
    use TensorType::{Q2_1, Q3_1, Q4_2OF4, Q4_4OF16, Q6_1};
    let own = [Q2_1, Q3_1, Q6_1, Q4_2OF4, Q4_4OF16];
    let builder = own.into_iter().fold(Builder::new(), |builder, ty| {
        let data = vec![0; ty.row_bytes(256).unwrap()];
        builder.tensor(ty.name(), &[256], ty, data)
    });
    let model = Gguf::parse(builder.build().unwrap()).unwrap();
    for (i, ty) in own.into_iter().enumerate() {
        assert_eq!(ty.ggml_id(), 0x4c50_0000 + i as u32);
        let view = model.tensor(ty.name()).unwrap();
        assert_eq!((view.ty, view.elements()), (ty, 256));
    }
}

#[test]
fn alignment_is_honoured() {
    let file = small()
        .metadata("general.alignment", 4096u32)
        .build()
        .unwrap();
    let model = Gguf::parse(file).unwrap();
    assert!(model.tensors().iter().all(|t| t.range.start % 4096 == 0));
    for bad in [0u32, 1, 24] {
        assert!(small().metadata("general.alignment", bad).build().is_err());
    }
}

#[test]
fn builder_refuses_data_of_the_wrong_size() {
    let err = Builder::new()
        .tensor("w", &[32], TensorType::Q8_0, vec![0; 33])
        .build()
        .unwrap_err();
    assert!(err.to_string().contains("tensor `w` has 33 bytes"), "{err}");
}

/// Writes a model split into `parts` files, one tensor each, and returns the first path.
fn split(dir: &Path, parts: usize, total: usize) -> PathBuf {
    for no in 0..parts {
        let file = Builder::new()
            .metadata("split.no", no as u16)
            .metadata("split.count", parts as u16)
            .metadata("split.tensors.count", total as i32)
            .tensor_f32(format!("t{no}"), &[1], &[no as f32])
            .build()
            .unwrap();
        std::fs::write(
            dir.join(format!("m-{:05}-of-{parts:05}.gguf", no + 1)),
            file,
        )
        .unwrap();
    }
    dir.join(format!("m-00001-of-{parts:05}.gguf"))
}

#[test]
fn split_models_open_from_their_first_file() {
    let dir = tempfile::tempdir().unwrap();
    let first = split(dir.path(), 3, 3);
    let model = ModelFile::open(&first).unwrap();
    assert_eq!(model.names().collect::<Vec<_>>(), ["t0", "t1", "t2"]);
    assert_eq!(model.tensor("t2").unwrap().dequantize(), [2.0]);

    let err = Gguf::open(dir.path().join("m-00002-of-00003.gguf"))
        .unwrap_err()
        .to_string();
    assert!(err.contains("`split.no` is 1; expected 0"), "{err}");
    let err = Gguf::parse(std::fs::read(&first).unwrap())
        .unwrap_err()
        .to_string();
    assert!(err.contains("split into 3 files"), "{err}");
    let renamed = dir.path().join("renamed.gguf");
    std::fs::copy(&first, &renamed).unwrap();
    let err = Gguf::open(renamed).unwrap_err().to_string();
    assert!(
        err.contains("does not end in `-00001-of-00003.gguf`"),
        "{err}"
    );
    std::fs::remove_file(dir.path().join("m-00003-of-00003.gguf")).unwrap();
    let err = Gguf::open(&first).unwrap_err().to_string();
    assert!(err.contains("m-00003-of-00003.gguf"), "{err}");
}

#[test]
fn split_models_must_be_complete() {
    let dir = tempfile::tempdir().unwrap();
    let err = Gguf::open(split(dir.path(), 2, 3)).unwrap_err().to_string();
    assert!(
        err.contains("`split.tensors.count` is 3, but the files hold 2"),
        "{err}"
    );
}

#[test]
fn directories_and_absent_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Gguf::open(dir.path()), Err(Error::Io { .. })));
    let err = Gguf::open(dir.path().join("none.gguf"))
        .unwrap_err()
        .to_string();
    assert!(err.contains("none.gguf") && err.contains("hint: "), "{err}");
    let empty = dir.path().join("empty.gguf");
    std::fs::write(&empty, []).unwrap();
    let err = Gguf::open(empty).unwrap_err().to_string();
    assert!(err.contains("ends too early"), "{err}");
}
