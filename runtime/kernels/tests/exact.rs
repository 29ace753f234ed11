//! The portable code, which defines all results, against f64 arithmetic.

mod common;

use common::{Kind, Rng, activations, weights};
use lampyris_kernels::{
    Activations, Attention, Isa, Kernels, KvCache, KvType, Matrix, Pool, RopeStyle, TensorType,
};

fn scalar() -> Kernels {
    Kernels::new(Isa::Scalar).expect("portable code runs everywhere")
}

/// Products are off by at most what rounding the activations to 8 bits allows.
#[test]
fn products_are_within_the_rounding_of_the_activations() {
    let mut rng = Rng::new(1);
    let pool = Pool::new(1).expect("no thread is needed");
    let (rows, width, tokens) = (5, 512, 3);
    for ty in TensorType::all() {
        for kind in [Kind::Usual, Kind::Largest, Kind::Lowest, Kind::Tiny] {
            let data = weights(ty, rows * width, kind, &mut rng);
            let w = Matrix {
                ty,
                rows,
                cols: width,
                data: &data,
            };
            let values = activations(tokens * width, Kind::Usual, &mut rng);
            let mut x = Activations::with_capacity(tokens, width);
            x.quantize(&scalar(), &values, width);
            let mut out = vec![0.0; tokens * rows];
            scalar().matmul(&pool, w, &x, &mut out, rows, 0);
            for (t, values) in values.chunks(width).enumerate() {
                for r in 0..rows {
                    let mut row = vec![0.0; width];
                    scalar().dequantize(ty, w.row(r), &mut row);
                    let (mut exact, mut size, mut steps) = (0.0, 0.0, 0.0);
                    for (row, x) in row.chunks(32).zip(values.chunks(32)) {
                        let step = x.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
                        for (w, x) in row.iter().zip(x) {
                            exact += f64::from(*w) * f64::from(*x);
                            size += f64::from((w * x).abs());
                            steps += f64::from(w.abs() * step) * 0.5;
                        }
                    }
                    let float = ty.block_len() == 1;
                    let allowed = if float { 0.0 } else { steps * 1.001 } + size * 2e-6 + 1e-35;
                    let ours = f64::from(out[t * rows + r]);
                    let error = (ours - exact).abs();
                    assert!(
                        error <= allowed,
                        "{ty} {kind:?}: {ours}, wanted {exact} +- {allowed}"
                    );
                }
            }
        }
    }
}

#[test]
fn activations_that_are_not_finite_show() {
    let pool = Pool::new(1).expect("no thread is needed");
    let data = weights(TensorType::Q8_0, 64, Kind::Usual, &mut Rng::new(2));
    let w = Matrix {
        ty: TensorType::Q8_0,
        rows: 1,
        cols: 64,
        data: &data,
    };
    for kernels in Isa::available() {
        let kernels = Kernels::new(kernels).expect("it is available");
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 64];
            values[40] = bad;
            let mut x = Activations::default();
            x.quantize(&kernels, &values, 64);
            let mut out = [0.0];
            kernels.matmul(&pool, w, &x, &mut out, 1, 0);
            assert!(!out[0].is_finite(), "{bad} gave {}", out[0]);
        }
    }
}

fn close(ours: &[f32], exact: &[f64], relative: f64, what: &str) {
    let size = exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (i, (a, b)) in ours.iter().zip(exact).enumerate() {
        let error = (f64::from(*a) - b).abs();
        assert!(error <= size * relative, "{what} {i}: {a}, wanted {b}");
    }
}

#[test]
fn norms_and_softmax_are_exact_to_rounding() {
    let mut rng = Rng::new(4);
    for n in [1, 7, 16, 100, 576] {
        let (x, weight, bias) = (rng.floats(n), rng.floats(n), rng.floats(n));
        let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let mut out = vec![0.0; n];
        let mean_square = wide.iter().map(|v| v * v).sum::<f64>() / n as f64;
        let exact: Vec<_> = wide
            .iter()
            .zip(&weight)
            .map(|(v, w)| v / (mean_square + 1e-5).sqrt() * f64::from(*w))
            .collect();
        scalar().rms_norm(&x, &weight, 1e-5, &mut out);
        close(&out, &exact, 1e-6, "rms_norm");

        let mean = wide.iter().sum::<f64>() / n as f64;
        let variance = wide.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        let exact: Vec<_> = (0..n)
            .map(|i| {
                let normal = (wide[i] - mean) / (variance + 1e-5).sqrt();
                normal * f64::from(weight[i]) + f64::from(bias[i])
            })
            .collect();
        scalar().layer_norm(&x, &weight, &bias, 1e-5, &mut out);
        close(&out, &exact, 2e-6, "layer_norm");

        let sum: f64 = wide.iter().map(|v| (v * 20.0).exp()).sum();
        let exact: Vec<_> = wide.iter().map(|v| (v * 20.0).exp() / sum).collect();
        let mut out: Vec<_> = x.iter().map(|v| v * 20.0).collect();
        scalar().softmax(&mut out);
        close(&out, &exact, 4e-6, "softmax");

        let exact: Vec<_> = wide.iter().map(|v| v / (1.0 + (-v).exp())).collect();
        let mut out = x.clone();
        scalar().silu(&mut out);
        close(&out, &exact, 1e-6, "silu");
    }
    let mut masked = [0.0, f32::NEG_INFINITY, 0.0];
    scalar().softmax(&mut masked);
    assert_eq!(masked, [0.5, 0.0, 0.5]);
}

#[test]
fn rope_turns_the_right_pairs() {
    let (cos, sin) = ([0.0, 1.0], [1.0, 0.0]);
    let mut head = [1.0, 2.0, 3.0, 4.0, 5.0];
    scalar().rope(&mut head, 5, &cos, &sin, RopeStyle::Interleaved);
    assert_eq!(head, [-2.0, 1.0, 3.0, 4.0, 5.0]);
    let mut head = [1.0, 2.0, 3.0, 4.0, 5.0];
    scalar().rope(&mut head, 5, &cos, &sin, RopeStyle::Half);
    assert_eq!(head, [-3.0, 2.0, 1.0, 4.0, 5.0]);
}

#[test]
fn attention_is_a_softmax_over_the_cache() {
    let mut rng = Rng::new(6);
    let pool = Pool::new(1).expect("no thread is needed");
    let (heads, kv_heads, dim, positions) = (6, 2, 24, 290);
    // The larger bound is the rounding of the cache.
    for (ty, bound) in [(KvType::F16, 1e-3), (KvType::Q8, 2e-2)] {
        let mut cache = KvCache::new(ty, kv_heads, dim, positions);
        let keys = rng.floats(positions * kv_heads * dim);
        let values = rng.floats(positions * kv_heads * dim);
        let rows = keys
            .chunks(kv_heads * dim)
            .zip(values.chunks(kv_heads * dim));
        for (slot, (k, v)) in rows.enumerate() {
            cache.write(&scalar(), slot, k, v);
        }
        let q = rng.floats(heads * dim);
        let spans = [[0..5, 40..290, 0..0]];
        let seen: Vec<_> = spans[0].iter().cloned().flatten().collect();
        let job = Attention {
            cache: &cache,
            heads,
            scale: 0.3,
            q: &q,
            spans: &spans,
        };
        let mut out = vec![0.0; q.len()];
        scalar().attention(&pool, &job, &mut out);
        for head in 0..heads {
            let at = |x: &[f32], slot: usize, d: usize| {
                f64::from(x[(slot * kv_heads + head / 3) * dim + d])
            };
            let weights: Vec<f64> = seen
                .iter()
                .map(|&slot| {
                    let dots = (0..dim).map(|d| f64::from(q[head * dim + d]) * at(&keys, slot, d));
                    (dots.sum::<f64>() * 0.3).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            let exact: Vec<f64> = (0..dim)
                .map(|d| {
                    let parts = seen
                        .iter()
                        .zip(&weights)
                        .map(|(&s, w)| w * at(&values, s, d));
                    parts.sum::<f64>() / sum
                })
                .collect();
            close(&out[head * dim..][..dim], &exact, bound, "attention");
        }
    }
}
