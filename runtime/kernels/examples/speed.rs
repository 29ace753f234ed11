//! Speed of the kernels: each format, instruction set and batch size.
//!
//! `cargo run --release -p lampyris-kernels --example speed [-- FILTER...]`
//!
//! Every number is the best of several repetitions. "x scalar" is the ratio to portable code, "of
//! copy" the ratio of weight bytes read to the bytes that a plain read of memory reaches with the
//! same threads. Filters are names of formats, shapes and instruction sets; `hot` keeps the weights
//! in a cache; `model` measures all matrices of SmolLM2-135M instead.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use lampyris_kernels::{Activations, Isa, Kernels, Matrix, Pool, TensorType};
use std::hint::black_box;
use std::time::Instant;

/// Shapes of SmolLM2-135M, its head, and of a 7B model; of the large ones some rows.
const SHAPES: [(&str, usize, usize); 5] = [
    ("smol-up", 1536, 576),
    ("smol-down", 576, 1536),
    ("smol-head", 4096, 576),
    ("7b-up", 1024, 4096),
    ("7b-down", 256, 14336),
];
const BATCHES: [usize; 4] = [1, 2, 4, 64];

/// Seconds that this thread has been on a processor, on Linux; counted in ticks of some milliseconds.
fn on_processor() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split(' ').next()?.parse().ok()?;
    Some(nanoseconds * 1e-9)
}

fn seconds_of(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// Bytes per second of reading memory that no cache holds: the best part of many, as other
/// programs disturb long runs.
fn read_rate(pool: &Pool) -> f64 {
    const PIECES: usize = 16;
    let memory = vec![1u64; 64 << 20];
    let part = 1 << 20;
    let piece = part / PIECES;
    let mut best = f64::INFINITY;
    for memory in memory.chunks_exact(part) {
        let seconds = seconds_of(|| {
            pool.run(PIECES, &|i| {
                let mut sums = [0u64; 16];
                for chunk in memory[i * piece..][..piece].as_chunks::<16>().0 {
                    for (sum, word) in sums.iter_mut().zip(chunk) {
                        *sum ^= word;
                    }
                }
                black_box(sums);
            });
        });
        best = best.min(seconds);
    }
    (part * 8) as f64 / best
}

struct Case {
    ty: TensorType,
    rows: usize,
    cols: usize,
    /// Copies of the matrix, so that a decode step finds none in a cache.
    copies: usize,
    data: Vec<u8>,
}

impl Case {
    fn new(ty: TensorType, rows: usize, cols: usize, total: usize) -> Option<Self> {
        let bytes = ty.row_bytes(cols)? * rows;
        let copies = total.div_ceil(bytes);
        let mut state = 1u64;
        let data = (0..bytes * copies)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Low bytes: scales stay finite in every format.
                (state >> 33) as u8 & 0x3b
            })
            .collect();
        Some(Self {
            ty,
            rows,
            cols,
            copies,
            data,
        })
    }

    /// Seconds of one product with `batch` tokens.
    fn seconds(&self, kernels: &Kernels, pool: &Pool, batch: usize) -> f64 {
        let values: Vec<f32> = (0..batch * self.cols)
            .map(|i| (i % 17) as f32 - 8.0)
            .collect();
        let mut x = Activations::with_capacity(batch, self.cols);
        x.quantize(kernels, &values, self.cols);
        let mut out = vec![0.0; batch * self.rows];
        let bytes = self.data.len() / self.copies;
        // Decoding reads each copy; the best one counts. Portable code need not be precise.
        let products = match (kernels.isa(), batch) {
            (Isa::Scalar, _) => 2,
            (_, 1) => (3 * self.copies).max(50),
            _ => 5,
        };
        let copies = self.data.chunks_exact(bytes).cycle();
        let mut best = f64::INFINITY;
        for data in copies.take(products) {
            let w = Matrix {
                ty: self.ty,
                rows: self.rows,
                cols: self.cols,
                data,
            };
            let product = || kernels.matmul(pool, w, &x, &mut out, self.rows, 0);
            best = best.min(seconds_of(product));
            black_box(&mut out);
        }
        best
    }
}

/// All matrices of SmolLM2-135M in file order, 94 MB, for `batch` tokens; the head for one. Seconds
/// of the best by the clock, and the mean that this thread was on its processor: what other
/// programs disturb least.
fn model_seconds(kernels: &Kernels, pool: &Pool, batch: usize) -> Option<[f64; 2]> {
    let layer = [
        (576, 576),
        (192, 576),
        (192, 576),
        (576, 576),
        (1536, 576),
        (1536, 576),
        (576, 1536),
    ];
    let shapes = layer.iter().cycle().take(30 * layer.len());
    let mut matrices = Vec::new();
    for &(rows, cols) in shapes {
        matrices.push(Case::new(TensorType::Q4_1, rows, cols, 1)?);
    }
    let head = Case::new(TensorType::Q8_0, 49152, 576, 1)?;
    let input = |cols: usize, batch: usize| {
        let mut x = Activations::with_capacity(batch, cols);
        let values: Vec<f32> = (0..batch * cols).map(|i| (i % 17) as f32 - 8.0).collect();
        x.quantize(kernels, &values, cols);
        x
    };
    let (narrow, wide, one) = (input(576, batch), input(1536, batch), input(576, 1));
    let mut out = vec![0.0; 49152.max(batch * 1536)];
    const TOKENS: usize = 30;
    let mut best = f64::INFINITY;
    let before = on_processor();
    for _ in 0..TOKENS {
        let mut product = |case: &Case, x: &Activations| {
            let (rows, cols) = (case.rows, case.cols);
            let w = Matrix {
                ty: case.ty,
                rows,
                cols,
                data: &case.data,
            };
            kernels.matmul(pool, w, x, &mut out, rows, 0);
        };
        let seconds = seconds_of(|| {
            for case in &matrices {
                product(case, if case.cols == 576 { &narrow } else { &wide });
            }
            product(&head, &one);
        });
        best = best.min(seconds);
    }
    let busy = before.zip(on_processor());
    Some([best, busy.map_or(best, |(a, b)| (b - a) / TOKENS as f64)])
}

/// Tokens per second if matrices were all there is to a model.
fn model() -> Result<(), Box<dyn std::error::Error>> {
    for isa in Isa::available() {
        let kernels = Kernels::new(isa)?;
        for threads in [1, 2] {
            let pool = Pool::new(threads)?;
            for batch in [1, 4, 128] {
                if isa == Isa::Scalar && batch > 1 {
                    continue;
                }
                let seconds = model_seconds(&kernels, &pool, batch).ok_or("shapes are blocks")?;
                let [clock, busy] = seconds.map(|s| s * 1e3);
                println!(
                    "{isa} {threads} threads {batch:3} tokens: {clock:7.2} ms ({:5.0} tokens/s); \
                     first thread busy {busy:7.2} ms",
                    batch as f64 / clock * 1e3,
                );
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filters: Vec<String> = std::env::args().skip(1).collect();
    if filters.iter().any(|f| f == "model") {
        return model();
    }
    let chosen = |kind: &[&str], name: &str| {
        let mut of_kind = filters
            .iter()
            .filter(|f| kind.contains(&f.as_str()))
            .peekable();
        of_kind.peek().is_none() || of_kind.any(|f| f == name)
    };
    let types: Vec<_> = TensorType::all().map(TensorType::name).collect();
    let isas: Vec<_> = Isa::ALL.iter().map(|isa| isa.name()).collect();
    let shapes = SHAPES.map(|s| s.0);
    // With `hot` the weights stay in a cache.
    let total = match filters.iter().any(|f| f == "hot") {
        true => 1,
        false => 96 << 20,
    };
    let cores = std::thread::available_parallelism()?.get();
    for threads in if cores > 1 { vec![1, cores] } else { vec![1] } {
        let pool = Pool::new(threads)?;
        let rate = read_rate(&pool);
        println!(
            "{threads} threads; memory is read at {:.1} GB/s",
            rate / 1e9
        );
        println!("shape      type  isa          tokens    Gmul/s     GB/s  of copy  x scalar");
        for (shape, rows, cols) in SHAPES.iter().filter(|s| chosen(&shapes, s.0)) {
            for ty in TensorType::all().filter(|ty| chosen(&types, ty.name())) {
                let Some(case) = Case::new(ty, *rows, *cols, total) else {
                    continue;
                };
                for batch in BATCHES {
                    let scalar = case.seconds(&Kernels::new(Isa::Scalar)?, &pool, batch);
                    for isa in Isa::available() {
                        if !chosen(&isas, isa.name()) {
                            continue;
                        }
                        let seconds = case.seconds(&Kernels::new(isa)?, &pool, batch);
                        let bytes = (case.data.len() / case.copies) as f64;
                        println!(
                            "{shape:10} {:5} {:12} {batch:6} {:9.1} {:8.1} {:7.0}% {:8.1}x",
                            ty.name(),
                            isa.name(),
                            (rows * cols * batch) as f64 / seconds / 1e9,
                            bytes / seconds / 1e9,
                            bytes / seconds / rate * 100.0,
                            scalar / seconds
                        );
                    }
                }
            }
        }
    }
    Ok(())
}
