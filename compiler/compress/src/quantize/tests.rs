use super::*;
use lampyris_flash::block::{dequantize_row, first_disordered};

const COLUMNS: usize = 256;
const ROWS_HERE: usize = 70;

/// Inputs whose elements depend on each other, as those of real layers do, and weights.
fn correlated() -> (Vec<f32>, Hessian) {
    let mut random = fastrand::Rng::with_seed(3);
    let mut normal = move || (0..4).map(|_| random.f32() - 0.5).sum::<f32>();
    let sources = 24;
    let mixing: Vec<f32> = (0..COLUMNS * sources).map(|_| normal()).collect();
    let mut hessian = Hessian::new(COLUMNS);
    for _ in 0..1000 {
        let source: Vec<f32> = (0..sources).map(|_| normal()).collect();
        let x: Vec<f32> = mixing
            .chunks(sources)
            .map(|m| m.iter().zip(&source).map(|(a, b)| a * b).sum::<f32>() + 0.2 * normal())
            .collect();
        hessian.add(&x);
    }
    let weights = (0..ROWS_HERE * COLUMNS).map(|_| normal()).collect();
    (weights, hessian)
}

fn method(rounding: Rounding, pruning: Pruning) -> Method {
    Method { rounding, pruning }
}

const PLAIN: Method = Method {
    rounding: Rounding::Nearest,
    pruning: Pruning::Wanda,
};
const COMPENSATED: Method = Method {
    rounding: Rounding::Gptq,
    pruning: Pruning::SparseGpt,
};

#[test]
fn compensated_rounding_beats_plain_rounding() {
    let (w, h) = correlated();
    for ty in [
        TensorType::Q2_1,
        TensorType::Q3_1,
        TensorType::Q4_1,
        TensorType::Q5_1,
        TensorType::Q6_1,
        TensorType::Q8_0,
    ] {
        let plain = quantize(&w, ty, PLAIN, &h).unwrap();
        let gptq = quantize(&w, ty, COMPENSATED, &h).unwrap();
        assert!(
            gptq.loss < 0.6 * plain.loss,
            "{ty}: {} and {}",
            gptq.loss,
            plain.loss
        );
        assert_eq!(gptq.bytes.len(), plain.bytes.len());
    }
}

#[test]
fn compensated_pruning_beats_plain_pruning() {
    let (w, h) = correlated();
    for ty in [TensorType::Q4_2OF4, TensorType::Q4_4OF16] {
        let wanda = quantize(&w, ty, PLAIN, &h).unwrap();
        let obs = quantize(&w, ty, COMPENSATED, &h).unwrap();
        assert!(
            obs.loss < 0.6 * wanda.loss,
            "{ty}: {} and {}",
            obs.loss,
            wanda.loss
        );
        assert_eq!(first_disordered(ty, &obs.bytes).unwrap(), None);
        assert_eq!(first_disordered(ty, &wanda.bytes).unwrap(), None);
    }
}

/// Wanda keeps a small weight with large inputs and drops a larger one with small inputs.
#[test]
fn wanda_weighs_with_the_inputs() {
    let mut h = Hessian::new(64);
    let mut x = [1.0; 64];
    x[0] = 10.0;
    h.add(&x);
    let mut w = vec![0.5; 64];
    (w[0], w[1], w[2], w[3]) = (0.2, 0.9, 0.8, 0.7);
    let pruned = quantize(&w, TensorType::Q4_2OF4, PLAIN, &h).unwrap();
    let kept: Vec<bool> = pruned.values[..4].iter().map(|&v| v != 0.0).collect();
    assert_eq!(kept, [true, true, false, false]);
}

#[test]
fn bytes_hold_the_values_and_the_loss_is_theirs() {
    let (w, h) = correlated();
    let factor = h.factor("x").unwrap();
    for ty in [TensorType::Q3_1, TensorType::Q8_0, TensorType::Q4_2OF4] {
        for method in [PLAIN, COMPENSATED] {
            let q = with_factor(&w, ty, method, &factor);
            let mut read = vec![0.0; w.len()];
            dequantize_row(ty, &q.bytes, &mut read).unwrap();
            assert_eq!(q.values, read, "{ty}");
            let error: Vec<f32> = w.iter().zip(&read).map(|(a, b)| a - b).collect();
            let error = ArrayView2::from_shape((ROWS_HERE, COLUMNS), &error).unwrap();
            let loss = factor.loss(error);
            assert!((q.loss / loss - 1.0).abs() < 1e-6);
            assert!((super::loss(&w, ty, method, &factor) / loss - 1.0).abs() < 1e-6);
        }
    }
}

/// More bits never cost more, so the integer program has something to choose from.
#[test]
fn loss_falls_with_the_width() {
    let (w, h) = correlated();
    let types = [
        TensorType::Q2_1,
        TensorType::Q3_1,
        TensorType::Q4_1,
        TensorType::Q5_1,
        TensorType::Q6_1,
        TensorType::Q8_0,
    ];
    for rounding in [Rounding::Nearest, Rounding::Gptq] {
        let method = method(rounding, Pruning::Wanda);
        let losses = types.map(|ty| quantize(&w, ty, method, &h).unwrap().loss);
        assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");
    }
}
