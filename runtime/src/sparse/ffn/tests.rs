//! Small random layers on a simulated device.

mod faults;
mod layers;

use super::super::options::{Activity, SparseOptions};
use super::super::thresholds::Rule;
use super::*;
use crate::predictor::{Header, Predictor};
use crate::sparse::ReadCost;
use lampyris_flash::TensorType;
use layers::{Kind, Layers, TOKENS, close, exact};

/// The outputs of a run in which `together` tokens share a call, layer 0 and 1 in turn.
fn run(layers: &Layers, options: &SparseOptions, setup: &layers::Setup) -> Vec<f32> {
    let mut ffn = layers.open(options, setup).expect("it opens");
    layers.run(&mut ffn, setup.together).expect("it runs")
}

fn setup() -> layers::Setup {
    layers::Setup::default()
}

#[test]
fn exact_zeros_give_the_dense_result() {
    for kind in [Kind::Gated, Kind::GatedWithBias, Kind::Plain] {
        for ty in [TensorType::F32, TensorType::F16, TensorType::Q8_0] {
            let layers = Layers::new(kind, Activation::Relu, ty);
            let outputs = run(&layers, &SparseOptions::default(), &setup());
            // 8-bit activations are what separates quantized weights from f64.
            let tolerance = if ty == TensorType::Q8_0 { 3e-2 } else { 1e-5 };
            close(&outputs, &layers.dense(&|_, _| true), tolerance);
        }
    }
}

#[test]
fn nothing_but_the_weights_decides_the_bits() {
    let layers = Layers::new(Kind::GatedWithBias, Activation::Relu, TensorType::Q8_0);
    let expected = run(&layers, &SparseOptions::default(), &setup());
    let default = SparseOptions::default;
    let variants = [
        SparseOptions {
            window: 0,
            ..default()
        },
        SparseOptions {
            window: 1,
            ..default()
        },
        SparseOptions {
            window: 100,
            pinned: 0.5,
            ..default()
        },
        SparseOptions {
            chunks: false,
            ..default()
        },
        SparseOptions {
            bundle: false,
            ..default()
        },
        SparseOptions {
            depth: 3,
            largest_read: 1,
            ..default()
        },
        SparseOptions {
            cost: ReadCost::affine(1.0, 1e9),
            ..default()
        },
        SparseOptions {
            activity: Activity::All,
            ..default()
        },
        SparseOptions {
            activity: Activity::All,
            pinned: 1.0,
            ..default()
        },
    ];
    for options in &variants {
        for cache in [0.0, 0.2, 1.0] {
            for align in [1, 512, 4096] {
                let setup = layers::Setup {
                    cache,
                    align,
                    ..setup()
                };
                exact(&run(&layers, options, &setup), &expected);
            }
        }
    }
    for (threads, together) in [(1, 1), (3, 1), (2, 3), (1, TOKENS)] {
        let setup = layers::Setup {
            threads,
            together,
            cache: 0.3,
            ..setup()
        };
        exact(&run(&layers, &default(), &setup), &expected);
        // A whole prompt at once takes the other way.
        let swept = SparseOptions {
            together: 1,
            ..default()
        };
        exact(&run(&layers, &swept, &setup), &expected);
    }
}

#[test]
fn order_in_the_file_changes_rounding_only() {
    let plain = Layers::new(Kind::Gated, Activation::Relu, TensorType::F32);
    let ordered = plain.reordered();
    let a = run(&plain, &SparseOptions::default(), &setup());
    let b = run(&ordered, &SparseOptions::default(), &setup());
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{a} {b}");
    }
}

/// A predictor of random projections that names about half of the neurons.
fn predictor(layers: &Layers, threshold: f32) -> Predictor {
    let header = Header {
        schema_version: crate::predictor::SCHEMA_VERSION,
        model: String::new(),
        model_name: "test".into(),
        activity: "nonzero".into(),
        target_recall: 0.9,
        tokens: 0,
        seed: 0,
        layers: (0..2).map(|_| layers.report(threshold)).collect(),
    };
    let layers = (0..2u64).map(|i| layers.predictor(i, threshold)).collect();
    Predictor { header, layers }
}

#[test]
fn predicted_neurons_are_computed_and_no_others() {
    let layers = Layers::new(Kind::GatedWithBias, Activation::Relu, TensorType::Q8_0).reordered();
    let exact_bits = run(&layers, &SparseOptions::default(), &setup());
    let predicted = |threshold, predict_prompts| SparseOptions {
        activity: Activity::Predicted(Arc::new(predictor(&layers, threshold))),
        predict_prompts,
        ..SparseOptions::default()
    };
    // Whoever names all is exact.
    exact(
        &run(&layers, &predicted(f32::MIN, false), &setup()),
        &exact_bits,
    );
    let some = run(&layers, &predicted(0.0, false), &setup());
    let named = predictor(&layers, 0.0);
    let masks: Vec<Vec<bool>> = named.layers.iter().map(|l| layers.predict(l)).collect();
    let share = masks[0].iter().filter(|m| **m).count() as f64 / masks[0].len() as f64;
    assert!((0.2..0.8).contains(&share), "{share}");
    close(&some, &layers.dense(&|layer, i| masks[layer][i]), 3e-2);
    assert_ne!(some, exact_bits);
    // A prompt gives the same bits if it is predicted too, and is exact if not.
    let prompt = layers::Setup {
        together: TOKENS,
        ..setup()
    };
    let one = |options| SparseOptions {
        together: 1,
        ..options
    };
    exact(&run(&layers, &one(predicted(0.0, true)), &prompt), &some);
    exact(
        &run(&layers, &one(predicted(0.0, false)), &prompt),
        &exact_bits,
    );
}

#[test]
fn thresholds_leave_out_what_is_small() {
    let layers = Layers::new(Kind::Gated, Activation::Silu, TensorType::F32);
    for (rule, threshold) in [(Rule::Gate, 0.1f32), (Rule::Product, 0.05)] {
        let options = SparseOptions {
            activity: Activity::Above(rule, vec![threshold; 2]),
            ..SparseOptions::default()
        };
        let outputs = run(&layers, &options, &setup());
        let kept = layers.above(rule, threshold);
        let share = kept[0].iter().filter(|k| **k).count() as f64 / kept[0].len() as f64;
        assert!((0.2..0.9).contains(&share), "{share}");
        close(&outputs, &layers.dense(&|layer, i| kept[layer][i]), 1e-4);
        let swept = SparseOptions {
            together: 1,
            ..options
        };
        let prompt = layers::Setup {
            together: TOKENS,
            ..setup()
        };
        exact(&run(&layers, &swept, &prompt), &outputs);
    }
}

#[test]
fn a_warm_cache_reads_nothing_and_no_window_reads_all() {
    let layers = Layers::new(Kind::Gated, Activation::Relu, TensorType::Q8_0);
    let counters = |window, cache| {
        let options = SparseOptions {
            window,
            ..SparseOptions::default()
        };
        let mut ffn = layers
            .open(&options, &layers::Setup { cache, ..setup() })
            .unwrap();
        layers.run(&mut ffn, 1).unwrap();
        ffn.forget_counters();
        layers.run(&mut ffn, 1).unwrap();
        ffn.counters()
    };
    let warm = counters(4, 1.0);
    assert_eq!((warm.bytes_read, warm.hits), (0, warm.wanted));
    let cold = counters(0, 1.0);
    assert_eq!(cold.hits, 0);
    assert!(cold.bytes_read >= cold.bytes_wanted && cold.bytes_wanted > 0);
    let some = counters(4, 0.3);
    assert!(
        some.hits > 0 && some.bytes_wanted < cold.bytes_wanted,
        "{some:?}"
    );
}

#[test]
fn what_cannot_run_is_refused() {
    let silu = Layers::new(Kind::Gated, Activation::Silu, TensorType::F32);
    let error = silu
        .open(&SparseOptions::default(), &setup())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no ReLU in layer 0") && error.contains("hint: "),
        "{error}"
    );
    let relu = Layers::new(Kind::Gated, Activation::Relu, TensorType::F32);
    let little = layers::Setup {
        cache: -1.0,
        ..setup()
    };
    let error = relu
        .open(&SparseOptions::default(), &little)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("needs at least") && error.contains("hint: "),
        "{error}"
    );
}
