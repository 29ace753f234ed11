//! The index names the bytes that the importer reads.

use crate::make;
use lampyris_flash::gguf::Builder;
use lampyris_import::graph::Op;
use lampyris_pack::{Ffn, ModelIndex, Stored};
use std::{fs, path::Path};

/// The bytes that `stored` names.
fn bytes_of(index: &ModelIndex, stored: &Stored) -> Vec<u8> {
    let file = fs::read(&index.files[stored.file]).unwrap();
    file[stored.offset as usize..][..stored.bytes() as usize].to_vec()
}

/// Compares every matrix and vector of the index with what the importer reads; their number.
fn check(path: &Path) -> (ModelIndex, usize) {
    let index = ModelIndex::open(path).unwrap();
    let model = lampyris_import::open(path).unwrap();
    assert_eq!(&index.spec, model.spec());
    let tensors = |name: &str| {
        let node = model.graph().node(model.graph().find(name).unwrap());
        node.op
            .tensors()
            .map(|t| model.tensor_view(t).unwrap())
            .collect::<Vec<_>>()
    };
    let mut matrices = 0;
    for stored in index.matrices() {
        let view = &tensors(&stored.name)[0];
        assert_eq!(
            (stored.ty, stored.rows, stored.cols),
            (view.ty, view.rows(), view.row_len())
        );
        assert!(bytes_of(&index, stored) == view.data, "{}", stored.name);
        matrices += 1;
    }
    for (i, layer) in index.layers.iter().enumerate() {
        let node = |name: &str| tensors(&format!("blk.{i}.{name}"));
        for (name, norm) in [
            ("attn_norm", &layer.attn_norm),
            ("ffn_norm", &layer.ffn_norm),
        ] {
            let views = node(name);
            assert_eq!(norm.weight, views[0].dequantize());
            assert_eq!(norm.bias, views.get(1).map(|v| v.dequantize()));
        }
        let Ffn::Dense { gate, up, down } = &layer.ffn else {
            panic!("model files are dense")
        };
        let fixed = [
            ("attn_q", &layer.q),
            ("attn_k", &layer.k),
            ("attn_v", &layer.v),
        ];
        let fixed = fixed
            .into_iter()
            .chain([("attn_output", &layer.o), ("ffn_up", up)]);
        let all = fixed.chain([("ffn_down", down)]);
        for (name, linear) in all.chain(gate.iter().map(|g| ("ffn_gate", g))) {
            assert_eq!(
                linear.bias,
                node(name).get(1).map(|v| v.dequantize()),
                "{name}"
            );
        }
    }
    assert_eq!(
        index.output_norm.weight,
        tensors("output_norm")[0].dequantize()
    );
    (index, matrices)
}

#[test]
fn hugging_face_directories() {
    let llama = make::directory(&make::llama_config("llama"), &make::llama_tensors(false));
    let (index, matrices) = check(llama.path());
    assert_eq!(matrices, 2 + 7 * make::LAYERS);
    assert!(index.layers[0].q.bias.is_none() && index.output.is_some());

    let qwen = make::directory(&make::llama_config("qwen2"), &make::llama_tensors(true));
    let (index, _) = check(qwen.path());
    assert_eq!(
        index.layers[1].k.bias.as_ref().unwrap().len(),
        make::KV_HEADS * make::HEAD_DIM
    );

    let opt = make::directory(&make::opt_config(), &make::opt_tensors());
    let (index, matrices) = check(opt.path());
    assert_eq!(matrices, 2 + 6 * make::LAYERS);
    assert_eq!(index.position_embd.unwrap().rows, make::CONTEXT + 2);
    assert!(index.output.is_none() && index.layers[0].ffn_norm.bias.is_some());
}

#[test]
fn gguf_single_and_split() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = make::llama_tensors(false);
    let single = folder.path().join("m.gguf");
    fs::write(&single, make::gguf("llama", &tensors).build().unwrap()).unwrap();
    let (whole, _) = check(&single);

    let (second, first): (make::Tensors, make::Tensors) = tensors
        .into_iter()
        .partition(|(name, _)| name.contains("layers.1."));
    let split = |builder: Builder, no: u16| {
        let builder = builder
            .metadata("split.count", 2u16)
            .metadata("split.no", no);
        let path = folder.path().join(format!("m-{:05}-of-00002.gguf", no + 1));
        fs::write(&path, builder.build().unwrap()).unwrap();
        path
    };
    let path = split(make::gguf("llama", &first), 0);
    split(make::gguf("llama", &second), 1);
    let (parts, _) = check(&path);
    assert_eq!(parts.files.len(), 2);
    assert_eq!(parts.layers[1].q.weight.file, 1);
    for (a, b) in whole.matrices().zip(parts.matrices()) {
        assert_eq!(bytes_of(&whole, a), bytes_of(&parts, b), "{}", a.name);
    }
}

#[test]
fn embedded_model() {
    let (index, _) = check(Path::new("tiny"));
    let tools = index.text_tools().unwrap();
    let model = lampyris_import::open("tiny").unwrap();
    let ops = model
        .graph()
        .nodes()
        .filter(|(_, n)| matches!(n.op, Op::Linear { .. }));
    assert_eq!(
        index.matrices().count(),
        ops.count() + 1 + usize::from(index.output.is_some())
    );
    let ids = tools.tokenizer.encode("The bell", true).unwrap();
    assert!(!ids.is_empty());
    let (file, copy) = (index.files[0].clone(), index.clone());
    drop(index);
    assert!(file.exists(), "a clone still uses it");
    drop(copy);
    assert!(!file.exists(), "the copy outlives the index");
}

#[test]
fn a_vector_that_is_not_finite_is_refused() {
    let mut tensors = make::llama_tensors(false);
    tensors
        .get_mut("model.layers.1.input_layernorm.weight")
        .unwrap()
        .2[3] = f32::NAN;
    let dir = make::directory(&make::llama_config("llama"), &tensors);
    let message = ModelIndex::open(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("`model.layers.1.input_layernorm.weight` has a NaN or infinite value at element 3\nhint: "),
        "{message}"
    );
}
