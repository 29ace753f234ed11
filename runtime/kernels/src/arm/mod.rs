//! ARM64: NEON alone, with `sdot`, and with `smmla`.
//!
//! The three differ in integer products only; everything in f32 is the same code. `sdot` and
//! `smmla` are written as assembly, because Rust's functions for them are not stable.

mod float;
mod ints;
mod products;

pub(crate) use kernels::{Neon, NeonDotprod, NeonI8mm};
pub(crate) use products::{Matrices, Products, Quads, Widening};

use std::marker::PhantomData;

/// Sixteen lanes in four registers, and the proof that the instructions of `P` may run.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<P>(PhantomData<P>);

impl<P: Products> Lanes<P> {
    /// # Safety
    /// The processor has NEON and what `P` needs.
    #[inline(always)]
    unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

mod kernels {
    use super::{Lanes, Matrices, Quads, Widening};
    use crate::backend::Backend;
    use crate::float::float_backend;
    use crate::ints::int_backend;
    use crate::{Isa, TensorType};
    use std::arch::is_aarch64_feature_detected;

    /// Declares the kernels of one instruction set.
    macro_rules! kernels {
        ($(#[$doc:meta])* $name:ident, $products:ident, [$($needed:tt),*], $features:literal) => {
            $(#[$doc])*
            pub(crate) struct $name;

            impl $name {
                pub(crate) fn detected() -> bool {
                    $(is_aarch64_feature_detected!($needed))&&*
                }
            }

            impl Backend for $name {
                fn isa(&self) -> Isa {
                    Isa::$name
                }

                // SAFETY: (of `Lanes::new`) the macros call it only inside functions with these
                // features.
                float_backend!(unsafe { Lanes::<$products>::new() }, $features);
                int_backend!(unsafe { Lanes::<$products>::new() }, $features);
            }
        };
    }

    kernels!(
        /// What every ARM64 processor has.
        Neon, Widening, ["neon"], "neon"
    );
    kernels!(
        /// With dot products of four bytes.
        NeonDotprod, Quads, ["neon", "dotprod"], "neon,dotprod"
    );
    kernels!(
        /// With dot products and matrix products of bytes.
        NeonI8mm, Matrices, ["neon", "dotprod", "i8mm"], "neon,dotprod,i8mm"
    );
}
