//! Packed files give the same bits as their sources, and damage in them has a name.

use lampyris_io::sim::{Event, SimDevice, SimOptions};
use lampyris_pack::{Layout, ModelIndex, pack};

use super::*;

/// The embedded model (which has a tokenizer, as packed files must), with whole matrices.
fn packed() -> TestModel {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.lampack");
    let options = pack::Options {
        layout: Some(Layout::Dense),
        ..pack::Options::default()
    };
    let plan = pack::Plan::new("tiny", &options).unwrap();
    plan.write(&path, &mut |_, _| ()).unwrap();
    TestModel {
        _folder: folder,
        path,
    }
}

#[test]
fn a_packed_model_has_the_bits_of_its_source() {
    let tokens: Vec<u32> = (0..40).map(|i| i * 5 % 200).collect();
    let mut plain = Engine::open("tiny", options()).unwrap();
    let expected = logits(&mut plain, &tokens);
    let packed = packed();
    for percent in [0, 50, 100] {
        let mut engine = streaming(&packed, percent, |_| ());
        assert!(logits(&mut engine, &tokens) == expected, "{percent} %");
    }
}

#[test]
fn a_flipped_bit_names_its_section() {
    let model = packed();
    let index = ModelIndex::open(&model.path).unwrap();
    let places = index.matrices().map(|m| m.offset + m.bytes() / 2);
    for offset in places.collect::<Vec<_>>() {
        for resident in [None, Some(0)] {
            let mut sim = SimOptions::default();
            let flip = Event::Flip {
                file: 0,
                offset,
                bit: 6,
            };
            sim.events.push((0, flip));
            let device = SimDevice::open(&index.files, READ_DEPTH, sim).unwrap();
            let options = Options {
                resident,
                ..options()
            };
            let error = Engine::with_storage(index.clone(), options, Box::new(device))
                .and_then(|mut engine| engine.logits(&[1, 2], &mut |_, _| ()))
                .unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("section `") && text.contains("hint: "),
                "{text}"
            );
        }
    }
}
