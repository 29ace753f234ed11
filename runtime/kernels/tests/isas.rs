//! Every instruction set that runs here against the portable code, bit by bit.
//!
//! `cargo test -p lampyris-kernels --test isas -- --nocapture` names those that ran.
//! `LAMPYRIS_EXPECT_ISAS` (names separated by commas) makes it an error if others ran.

mod common;

use common::{KINDS, Kind, Rng, activations, weights};
use lampyris_kernels::{
    Activations, Attention, Isa, Kernels, KvCache, KvType, Matrix, Pool, RopeStyle, Spans,
    TensorType,
};

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

#[track_caller]
fn assert_same(a: &[f32], b: &[f32], what: &str) {
    let different = bits(a).iter().zip(bits(b)).position(|(a, b)| *a != b);
    if let Some(i) = different.or((a.len() != b.len()).then_some(usize::MAX)) {
        panic!(
            "{what}: element {i} is {:?}, wanted {:?}",
            a.get(i),
            b.get(i)
        );
    }
}

/// All that can run here, as (kernels, their name).
fn all() -> Vec<Kernels> {
    let isas = Isa::available();
    isas.into_iter()
        .map(|isa| Kernels::new(isa).expect("it is available"))
        .collect()
}

fn scalar() -> Kernels {
    Kernels::new(Isa::Scalar).expect("portable code runs everywhere")
}

#[test]
#[allow(clippy::print_stdout, reason = "says what ran")]
fn the_expected_instruction_sets_are_there() {
    let names: Vec<_> = all().iter().map(|k| k.isa().name()).collect();
    println!("instruction sets compared: {}", names.join(", "));
    if let Ok(expected) = std::env::var("LAMPYRIS_EXPECT_ISAS") {
        assert_eq!(
            names.join(","),
            expected,
            "instruction sets of this processor"
        );
    }
}

/// Widths that are whole blocks, odd ones only for floats.
fn widths(ty: TensorType) -> &'static [usize] {
    match ty.block_len() {
        1 => &[1, 16, 75, 160],
        32 => &[32, 96, 576, 1120],
        _ => &[256, 768, 1280],
    }
}

struct Case {
    ty: TensorType,
    kind: Kind,
    rows: usize,
    width: usize,
    tokens: usize,
    weights: Vec<u8>,
    x: Vec<f32>,
}

impl Case {
    fn matrix(&self) -> Matrix<'_> {
        Matrix {
            ty: self.ty,
            rows: self.rows,
            cols: self.width,
            data: &self.weights,
        }
    }

    fn name(&self, kernels: &Kernels) -> String {
        format!(
            "{} {} {:?} {}x{} for {} tokens",
            kernels.isa(),
            self.ty,
            self.kind,
            self.rows,
            self.width,
            self.tokens
        )
    }

    fn activations(&self, kernels: &Kernels) -> Activations {
        let mut x = Activations::default();
        x.quantize(kernels, &self.x, self.width);
        x
    }
}

/// Every type, kind and width with some numbers of rows and tokens.
fn cases() -> Vec<Case> {
    let mut rng = Rng::new(7);
    let mut cases = Vec::new();
    for ty in TensorType::all() {
        for kind in KINDS {
            for &width in widths(ty) {
                let rows = [1, 15, 16, 37][rng.below(4)];
                let tokens = [1, 2, 3, 4, 5, 7, 11][rng.below(7)];
                cases.push(Case {
                    ty,
                    kind,
                    rows,
                    width,
                    tokens,
                    weights: weights(ty, rows * width, kind, &mut rng),
                    x: activations(tokens * width, kind, &mut rng),
                });
            }
        }
    }
    cases
}

#[test]
fn matrix_products_agree() {
    let pool = Pool::new(1).expect("no thread is needed");
    for case in cases() {
        let mut wanted = vec![0.0; case.tokens * case.rows];
        scalar().matmul(
            &pool,
            case.matrix(),
            &case.activations(&scalar()),
            &mut wanted,
            case.rows,
            0,
        );
        assert!(
            wanted.iter().all(|v| v.is_finite()),
            "{}",
            case.name(&scalar())
        );
        for kernels in all() {
            let x = case.activations(&kernels);
            let mut out = vec![f32::NAN; wanted.len()];
            kernels.matmul(&pool, case.matrix(), &x, &mut out, case.rows, 0);
            assert_same(&out, &wanted, &case.name(&kernels));
        }
    }
}

#[test]
fn single_rows_agree_with_the_matrix() {
    let pool = Pool::new(2).expect("a thread starts");
    for case in cases() {
        for kernels in all() {
            let x = case.activations(&kernels);
            let token = case.tokens - 1;
            let mut all = vec![0.0; case.tokens * case.rows];
            kernels.matmul(&pool, case.matrix(), &x, &mut all, case.rows, 0);
            let wanted = &all[token * case.rows..];
            let single: Vec<_> = (0..case.rows)
                .map(|r| kernels.dot_row(case.ty, case.matrix().row(r), &x, token))
                .collect();
            assert_same(&single, wanted, &format!("dot_row {}", case.name(&kernels)));
            // In reverse, as rows of a sparse layer lie anywhere.
            let mut listed = vec![0.0; case.rows];
            let row = |i: usize| case.matrix().row(case.rows - 1 - i);
            kernels.dot_rows(&pool, case.ty, &row, &x, token, &mut listed);
            listed.reverse();
            assert_same(
                &listed,
                wanted,
                &format!("dot_rows {}", case.name(&kernels)),
            );
        }
    }
}

#[test]
fn sums_of_rows_agree() {
    let pool = Pool::new(2).expect("a thread starts");
    let mut rng = Rng::new(3);
    for case in cases() {
        let start = rng.floats(case.width);
        let coefficients: Vec<_> = (0..case.rows)
            .map(|i| if i % 3 == 1 { 0.0 } else { rng.float() })
            .collect();
        let mut wanted = start.clone();
        for (i, &a) in coefficients.iter().enumerate() {
            let row = case.matrix().row(i);
            let mut exact = vec![0.0; case.width];
            scalar().dequantize(case.ty, row, &mut exact);
            for (y, w) in wanted.iter_mut().zip(&exact) {
                *y += a * w;
            }
        }
        for kernels in all() {
            let mut y = start.clone();
            for (i, &a) in coefficients.iter().enumerate() {
                kernels.axpy_row(case.ty, case.matrix().row(i), a, &mut y);
            }
            assert_same(&y, &wanted, &format!("axpy_row {}", case.name(&kernels)));
            let mut y = start.clone();
            let row = |i: usize| case.matrix().row(i);
            kernels.axpy_rows(&pool, case.ty, &row, &coefficients, &mut y);
            assert_same(&y, &wanted, &format!("axpy_rows {}", case.name(&kernels)));
        }
    }
}

/// One output has the same bits for any number of threads, split into rows and batch.
#[test]
fn bits_do_not_depend_on_the_split() {
    let mut rng = Rng::new(11);
    let (rows, width, tokens) = (150, 512, 70);
    for ty in TensorType::all() {
        let data = weights(ty, rows * width, Kind::Usual, &mut rng);
        let w = Matrix {
            ty,
            rows,
            cols: width,
            data: &data,
        };
        let values = activations(tokens * width, Kind::Usual, &mut rng);
        for kernels in all() {
            let what = |how: &str| format!("{} {ty} {how}", kernels.isa());
            let mut x = Activations::default();
            x.quantize(&kernels, &values, width);
            let mut wanted = vec![0.0; tokens * rows];
            let one = Pool::new(1).expect("no thread is needed");
            kernels.matmul(&one, w, &x, &mut wanted, rows, 0);

            let three = Pool::new(3).expect("threads start");
            let mut out = vec![0.0; wanted.len()];
            kernels.matmul(&three, w, &x, &mut out, rows, 0);
            assert_same(&out, &wanted, &what("three threads"));

            // Rows 0..41 and 41.. by two calls into one output.
            let bytes = w.row_bytes();
            let (a, b) = data.split_at(41 * bytes);
            out.fill(0.0);
            let upper = Matrix {
                rows: 41,
                data: a,
                ..w
            };
            let lower = Matrix {
                rows: rows - 41,
                data: b,
                ..w
            };
            kernels.matmul(&three, upper, &x, &mut out, rows, 0);
            kernels.matmul(&three, lower, &x, &mut out, rows, 41);
            assert_same(&out, &wanted, &what("two row ranges"));

            for batch in [1, 2, 3, 6, 33] {
                for first in [0, 30] {
                    let range = first * width..(first + batch) * width;
                    x.quantize(&kernels, &values[range], width);
                    let mut out = vec![0.0; batch * rows];
                    kernels.matmul(&three, w, &x, &mut out, rows, 0);
                    let wanted = &wanted[first * rows..][..out.len()];
                    assert_same(&out, wanted, &what(&format!("batch {batch} at {first}")));
                }
            }
        }
    }
}

/// Runs `f` with all kernels and compares what it returns.
fn compare(what: &str, f: impl Fn(&Kernels) -> Vec<f32>) {
    let wanted = f(&scalar());
    for kernels in all() {
        assert_same(&f(&kernels), &wanted, &format!("{} {what}", kernels.isa()));
    }
}

#[test]
fn small_operations_agree() {
    let mut rng = Rng::new(5);
    for kind in KINDS {
        for n in [1, 15, 16, 17, 64, 100, 576] {
            let what = |op: &str| format!("{op} {kind:?} {n}");
            let (x, y) = (
                activations(n, kind, &mut rng),
                activations(n, kind, &mut rng),
            );
            let (weight, bias) = (rng.floats(n), rng.floats(n));
            compare(&what("rms_norm"), |k| {
                let mut out = vec![0.0; n];
                k.rms_norm(&x, &weight, 1e-5, &mut out);
                out
            });
            compare(&what("layer_norm"), |k| {
                let mut out = vec![0.0; n];
                k.layer_norm(&x, &weight, &bias, 1e-5, &mut out);
                out
            });
            let in_place = |op: fn(&Kernels, &mut [f32], &[f32])| {
                let (x, y) = (x.clone(), y.clone());
                move |k: &Kernels| {
                    let mut x = x.clone();
                    op(k, &mut x, &y);
                    x
                }
            };
            compare(&what("softmax"), in_place(|k, x, _| k.softmax(x)));
            compare(&what("silu"), in_place(|k, x, _| k.silu(x)));
            compare(&what("relu"), in_place(|k, x, _| k.relu(x)));
            compare(&what("silu_mul"), in_place(|k, x, y| k.silu_mul(x, y)));
            compare(&what("relu_mul"), in_place(|k, x, y| k.relu_mul(x, y)));
            compare(&what("add"), in_place(|k, x, y| k.add(x, y)));
        }
        for (dim, pairs) in [(8, 4), (64, 32), (80, 20), (100, 50)] {
            for style in [RopeStyle::Interleaved, RopeStyle::Half] {
                let x = activations(3 * dim, kind, &mut rng);
                let angles: Vec<f32> = rng.floats(pairs);
                let cos: Vec<_> = angles.iter().map(|a| a.cos()).collect();
                let sin: Vec<_> = angles.iter().map(|a| a.sin()).collect();
                compare(&format!("rope {style:?} {dim} {pairs}"), |k| {
                    let mut x = x.clone();
                    k.rope(&mut x, dim, &cos, &sin, style);
                    x
                });
            }
        }
    }
}

#[test]
fn embeddings_agree() {
    for case in cases() {
        compare(&format!("dequantize {}", case.name(&scalar())), |k| {
            let mut out = vec![0.0; case.width];
            k.dequantize(case.ty, case.matrix().row(0), &mut out);
            out
        });
    }
}

/// A cache with `positions` random positions.
fn filled(kernels: &Kernels, ty: KvType, heads: usize, dim: usize, positions: usize) -> KvCache {
    let mut rng = Rng::new(positions as u64);
    let mut cache = KvCache::new(ty, heads, dim, positions);
    for slot in 0..positions {
        let (k, v) = (rng.floats(heads * dim), rng.floats(heads * dim));
        cache.write(kernels, slot, &k, &v);
    }
    cache
}

#[test]
fn attention_agrees_and_does_not_depend_on_the_batch() {
    let mut rng = Rng::new(9);
    let pools = [1, 3].map(|n| Pool::new(n).expect("threads start"));
    for ty in [KvType::F16, KvType::Q8] {
        for (heads, kv_heads, dim) in [(9, 3, 64), (4, 4, 16), (2, 1, 80), (8, 1, 8)] {
            let (positions, tokens) = (300, 21);
            let q: Vec<_> = rng
                .floats(tokens * heads * dim)
                .iter()
                .map(|v| v * 5.0)
                .collect();
            let mut spans: Vec<Spans> = (0..tokens)
                .map(|t| [0..positions - tokens + t + 1, 0..0, 0..0])
                .collect();
            // A ring with four sinks.
            spans[20] = [0..4, 133..250, 4..100];
            spans[19] = [2..3, 0..0, 200..201];
            spans[2] = [0..1, 0..0, 0..0];
            let run = |kernels: &Kernels, pool: &Pool, range: std::ops::Range<usize>| {
                let cache = filled(kernels, ty, kv_heads, dim, positions);
                let job = Attention {
                    cache: &cache,
                    heads,
                    scale: 0.125,
                    q: &q[range.start * heads * dim..range.end * heads * dim],
                    spans: &spans[range],
                };
                let mut out = vec![0.0; job.q.len()];
                kernels.attention(pool, &job, &mut out);
                out
            };
            let wanted = run(&scalar(), &pools[0], 0..tokens);
            for kernels in all() {
                let what = format!("{} {ty:?} {heads}/{kv_heads}x{dim}", kernels.isa());
                for pool in &pools {
                    assert_same(&run(&kernels, pool, 0..tokens), &wanted, &what);
                    for (first, count) in [(0, 1), (2, 1), (5, 3), (19, 2), (20, 1)] {
                        let out = run(&kernels, pool, first..first + count);
                        let wanted = &wanted[first * heads * dim..][..out.len()];
                        assert_same(&out, wanted, &format!("{what} tokens {first}+{count}"));
                    }
                }
            }
        }
    }
}
