//! Matrix products, attention and the small operations of a decoder, for this machine's vectors.
//!
//! Weights stay as they lie in the file: raw ggml blocks of any [`TensorType`]. Activations are
//! quantized to signed 8-bit blocks of 32 ([`Activations`]), so that a product is integer dot
//! products with one f32 step per block. [`Kernels`] holds the implementation for one [`Isa`],
//! [`Pool`] the threads.
//!
//! **Bits.** Every result is the same for any number of threads, any split into rows, any batch
//! size *and any instruction set*: integer sums are exact, and each f32 operation happens in one
//! defined order without fused multiply-add. The portable code is the definition; the test
//! harness compares every other implementation with it bit by bit.
//!
//! **To add an instruction set**: implement `simd::Simd` and `ints::Ints` for a vector type that
//! proves that the instructions exist, put `float_backend!` and `int_backend!` into an `impl
//! Backend`, and name it in `backend::backend`. All formats and operations follow from that; any
//! method of `Backend` can be written by hand instead where that is faster.
//!
//! ```
//! use lampyris_kernels::{Activations, Kernels, Matrix, Pool, TensorType};
//!
//! let kernels = Kernels::detect()?;
//! let pool = Pool::new(2)?;
//! let weights: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|w| w.to_le_bytes()).collect();
//! let w = Matrix { ty: TensorType::F32, rows: 2, cols: 2, data: &weights };
//! let mut x = Activations::with_capacity(1, 2);
//! x.quantize(&kernels, &[10.0, 1.0], 2);
//! let mut out = [0.0; 2];
//! kernels.matmul(&pool, w, &x, &mut out, 2, 0);
//! assert_eq!(out, [12.0, 34.0]);
//! # Ok::<(), lampyris_kernels::Error>(())
//! ```

mod activations;
#[cfg(target_arch = "aarch64")]
mod arm;
mod attention;
mod backend;
mod error;
#[allow(
    clippy::needless_range_loop,
    reason = "iterator adaptors take closures, see there"
)]
mod float;
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(
        dead_code,
        unused_imports,
        unused_macros,
        reason = "used by vector kernels"
    )
)]
#[allow(
    clippy::needless_range_loop,
    reason = "iterator adaptors take closures, see `float`"
)]
mod ints;
mod isa;
mod kernels;
mod ops;
mod pool;
mod scalar;
mod simd;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use activations::Activations;
pub use attention::{Attention, KvCache, KvType, Spans};
pub use error::{Error, Result};
pub use isa::Isa;
pub use kernels::{Kernels, Matrix, RowOf};
pub use lampyris_flash::TensorType;
pub use ops::RopeStyle;
pub use pool::Pool;
