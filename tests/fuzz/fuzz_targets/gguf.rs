//! Any bytes as a GGUF file: parsed, every tensor read, and imported as a model.
#![no_main]

use lampyris_flash::{Gguf, ModelFile};
use lampyris_import::Model;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(file) = Gguf::parse(data.to_vec()) else { return };
    let file = ModelFile::Gguf(file);
    for view in file.tensors() {
        assert_eq!(view.dequantize().len(), view.elements());
    }
    if let Ok(model) = Model::from_file(file) {
        let _ = model.check_finite();
        model.summary().expect("the graph's tensors were resolved");
    }
});
