//! Block-sparse attention against the f32 reference with the same mask and against the program
//! without; model and RTL agree; the counters show that what is hidden costs nothing.

use lampyris_bundle::Bundle;
use lampyris_compiler::{KvFormat, Mask, Options, Schedule};
use lampyris_import::Model as Imported;
use lampyris_isa::HwConfig;
use lampyris_runtime::Reference;
use lampyris_runtime::reference::Hidden;
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Session, Want};
use lampyris_sim::{Counters, Limits, Memory, Model};
use lampyris_tests::small::{self, non_uniform_llama, opt, qwen2};
use lampyris_tests::tiny::{bits, checked_model, error, logits_at, text, tiny};
use lampyris_tests::{CompiledDir, compile_with};

const CONTEXT: usize = 420;

fn two_channels() -> HwConfig {
    HwConfig {
        channels: 2,
        ..HwConfig::WIDE
    }
}

fn masked(config: HwConfig, mask: Option<(u32, u32)>) -> Options {
    Options {
        mask: mask.map(|(first, window)| Mask { first, window }),
        ..Options::new(config, CONTEXT)
    }
}

fn compiled(model: &Imported, options: &Options) -> CompiledDir {
    compile_with(model, options, "{}".into())
}

/// Logits after the positions at which parts of a text end.
fn logits(bundle: &Bundle, text: &[u32], cuts: &[usize]) -> Vec<Vec<f32>> {
    logits_at(bundle, &mut checked_model(bundle), text, cuts)
}

fn hides<const FIRST: usize, const WINDOW: usize>(query: usize, key: usize) -> bool {
    let (query, key) = (query / 64, key / 64);
    key >= FIRST && key + WINDOW <= query
}

#[test]
fn the_accelerator_follows_the_reference_with_the_same_mask() {
    let model = tiny();
    let text = text(&model, CONTEXT);
    let reference = Reference::new(&model).unwrap();
    let cuts = [
        30, 64, 65, 127, 128, 129, 190, 200, 256, 257, 300, 330, 384, 385, 400, CONTEXT,
    ];
    let cases: [((u32, u32), HwConfig, Hidden); 4] = [
        ((1, 2), HwConfig::BASE, hides::<1, 2>),
        ((0, 1), HwConfig::WIDE, hides::<0, 1>),
        ((2, 1), HwConfig::SMALL, hides::<2, 1>),
        ((0, 3), HwConfig::BASE, hides::<0, 3>),
    ];
    let at_cuts = |hidden: Option<Hidden>| {
        let mut session = reference.session();
        if let Some(hidden) = hidden {
            session.hide(hidden);
        }
        let mut all = Vec::new();
        let keep = |i: usize, logits: &[f32]| {
            if cuts.contains(&(i + 1)) {
                all.push(logits.to_vec());
            }
        };
        session.evaluate(&text, keep).unwrap();
        all
    };
    let unmasked = at_cuts(None);
    for (mask, config, hidden) in cases {
        let expected = at_cuts(Some(hidden));
        let dir = compiled(&model, &masked(config, Some(mask)));
        let found = logits(&dir.bundle, &text, &cuts);
        for ((found, expected), cut) in found.iter().zip(&expected).zip(cuts) {
            let error = error(found, expected);
            assert!(error < 0.03, "{mask:?}, position {cut}: {error}");
        }
        // At the end the mask makes far more of a difference than rounding does.
        let apart = error(found.last().unwrap(), unmasked.last().unwrap());
        assert!(
            apart > 0.06,
            "{mask:?}: {apart} from the text without a mask"
        );
    }
}

#[test]
fn every_architecture_takes_a_mask() {
    for (name, model) in [
        ("non-uniform llama", non_uniform_llama()),
        ("qwen2", qwen2()),
        ("opt", opt()),
    ] {
        // The second block does not see the first.
        let text = text(&model, small::CONTEXT);
        let reference = Reference::new(&model).unwrap();
        let mut session = reference.session();
        session.hide(hides::<0, 1>);
        let expected = session.prefill(&text).unwrap();
        for (_, config) in HwConfig::NAMED {
            let options = Options {
                context: text.len(),
                ..masked(config, Some((0, 1)))
            };
            let dir = compiled(&model, &options);
            let found = logits(&dir.bundle, &text, &[text.len() - 1, text.len()]);
            let error = error(&found[1], &expected);
            assert!(error < 0.06, "{name}: {error}");
        }
    }
}

#[test]
fn a_mask_that_hides_nothing_changes_no_bit() {
    let model = tiny();
    let text = text(&model, CONTEXT);
    let cuts = [50, 51, 100, 130, 250, 251, 300, CONTEXT];
    for (config, kv) in [
        (HwConfig::BASE, KvFormat::Int8),
        (HwConfig::SMALL, KvFormat::Int8),
        (HwConfig::BASE, KvFormat::Int4),
        (two_channels(), KvFormat::Int8),
    ] {
        let run = |mask| {
            let options = Options {
                kv,
                ..masked(config, mask)
            };
            bits(&logits(&compiled(&model, &options).bundle, &text, &cuts))
        };
        let plain = run(None);
        // Together they always hold all blocks, and the border of the runs is anywhere.
        for mask in [(0, 7), (3, 4), (6, 1), (9, 9), (u32::MAX, u32::MAX)] {
            assert!(run(Some(mask)) == plain, "{mask:?}");
        }
    }
}

#[test]
fn calls_of_any_size_give_the_same_bits() {
    let model = tiny();
    let text = text(&model, 280);
    let dir = compiled(&model, &masked(HwConfig::BASE, Some((1, 2))));
    let single: Vec<usize> = (1..=text.len()).collect();
    let single = logits(&dir.bundle, &text, &single);
    let cuts = [5, 63, 64, 66, 129, 193, 194, 211, 257, 280];
    let found = logits(&dir.bundle, &text, &cuts);
    let expected = cuts.map(|cut| single[cut - 1].clone());
    assert!(bits(&found) == bits(&expected));
}

/// The memory after all of a text.
fn filled(bundle: &Bundle, text: &[u32]) -> Memory {
    let mut device = checked_model(bundle);
    let mut session = Session::new(bundle, &mut device, Limits::default()).unwrap();
    session.feed(text, Want::Nothing).unwrap();
    device.memory().clone()
}

#[test]
fn model_and_rtl_agree_under_a_mask() {
    let model = tiny();
    let config = HwConfig::SMALL;
    let text = text(&model, 200);
    let dir = compiled(&model, &masked(config, Some((1, 2))));
    let features = Features {
        assertions: true,
        ..Features::default()
    };
    let design = build(&default_rtl_root(), &config, features).unwrap();
    // From before the third block on: the second is hidden from the fourth.
    let from = 189;
    let image = filled(&dir.bundle, &text[..from]);
    let rtl = RtlDevice::new(&design, config, image.clone(), &RtlOptions::default()).unwrap();
    let mut both = Lockstep::new(Model::new(config, image).unwrap(), rtl).unwrap();
    let limits = Limits::default();
    let mut session = Session::resume(&dir.bundle, &mut both, limits, from).unwrap();
    session.feed(&text[from..196], Want::Token).unwrap();
    session.feed(&text[196..197], Want::Token).unwrap();
}

#[test]
fn hidden_blocks_are_neither_loaded_nor_multiplied() {
    let model = tiny();
    let config = HwConfig::BASE;
    let (from, tokens) = (384, 16);
    let text = text(&model, from + tokens);
    let design = build(&default_rtl_root(), &config, Features::default()).unwrap();
    let run = |mask| -> Counters {
        let dir = compiled(&model, &masked(config, mask));
        let image = filled(&dir.bundle, &text[..from]);
        let mut rtl = RtlDevice::new(&design, config, image, &RtlOptions::default()).unwrap();
        let limits = Limits::default();
        let mut session = Session::resume(&dir.bundle, &mut rtl, limits, from).unwrap();
        session
            .feed(&text[from..], Want::Nothing)
            .unwrap()
            .remove(0)
            .counters
    };
    let (all, some) = (run(None), run(Some((1, 2))));
    let less = |name: &str| all.get(name) - some.get(name);
    // Of seven blocks the first and the last two are visible.
    let layer = &model.spec().layers[0];
    let positions = (4 * 64 * tokens * layer.n_kv_heads * model.spec().layers.len()) as u64;
    let key_tiles = positions / 16 * (layer.head_dim_k / 32) as u64;
    let value_tiles = positions / 32 * (layer.head_dim_v / 16) as u64;
    let bytes = 576 * key_tiles + 512 * value_tiles;
    assert_eq!(less("stream_beats") * u64::from(config.axi_bits / 8), bytes);
    let steps = 16 / u64::from(config.mac_rows) * (layer.n_heads / layer.n_kv_heads) as u64;
    assert_eq!(less("mac_steps"), steps * (key_tiles + value_tiles));
    assert_eq!(
        less("vector_beats") * u64::from(config.axi_bits / 8),
        4 * positions
    );
    assert!(some.get("cycles") < all.get("cycles"));
}

#[test]
fn masks_that_cannot_be_are_refused() {
    let refused = |options: &Options, words: &str| {
        let error = lampyris_compiler::plan(&tiny(), options)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(words) && error.contains("\nhint: "),
            "{error}"
        );
    };
    let mask = |first, window| masked(HwConfig::BASE, Some((first, window)));
    refused(&mask(1, 0), "would not see themselves");
    let ring = Options {
        sinks: Some(4),
        ..mask(1, 2)
    };
    refused(&ring, "a ring cache has no blocks");
    let spilled = Options {
        schedule: Schedule::Spilled,
        ..mask(1, 2)
    };
    refused(&spilled, "spilled schedule");
}
