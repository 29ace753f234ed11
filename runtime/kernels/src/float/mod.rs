//! All f32 kernels, written once over [`Simd`](crate::simd::Simd).
//!
//! Everything here is `#[inline(always)]`, so that it becomes part of an entry point that is
//! compiled for the instructions of the vector type (the macro [`float_backend`]). No vector goes
//! through a closure or `array::map`: those are functions without the target feature, and the
//! compiler would call each instruction there as a function.

mod attend;
mod dot;
mod elementwise;
mod exp;
mod quantize;
mod reduce;

pub(crate) use attend::attend;
pub(crate) use dot::{axpy_row, dot_row, tile};
pub(crate) use elementwise::{add, relu, relu_mul, rope, silu, silu_mul, to_f16};
pub(crate) use quantize::{quantize, step, steps_per_unit};
pub(crate) use reduce::{layer_norm, rms_norm, softmax};

/// Calls `full` for each run of sixteen elements and `rest` for what remains.
macro_rules! sixteens {
    ($len:expr, |$at:ident| $full:expr, |$from:ident| $rest:expr) => {{
        let len = $len;
        let whole = len / crate::simd::LANES * crate::simd::LANES;
        let mut $at = 0;
        while $at < whole {
            $full;
            $at += crate::simd::LANES;
        }
        if whole < len {
            let $from = whole;
            $rest;
        }
    }};
}
pub(crate) use sixteens;

/// The f32 methods of [`Backend`](crate::backend::Backend) for a vector type.
///
/// `$simd` is an expression that makes the vector type; it runs inside functions with the target
/// features `$feature`, which the caller must have detected before it hands out the backend.
macro_rules! float_backend {
    ($simd:expr $(, $feature:literal)?) => {
        float_backend!(@one $simd, [$($feature)?], quantize(x: &[f32], q: &mut [i8], meta: &mut [crate::activations::BlockMeta]));
        float_backend!(@one $simd, [$($feature)?], attend(part: &crate::attention::AttentionPart<'_>, out: &mut [f32]));
        float_backend!(@one $simd, [$($feature)?], to_f16(x: &[f32], out: &mut [u16]));
        float_backend!(@one $simd, [$($feature)?], rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]));
        float_backend!(@one $simd, [$($feature)?], layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]));
        float_backend!(@one $simd, [$($feature)?], softmax(x: &mut [f32]));
        float_backend!(@one $simd, [$($feature)?], silu(x: &mut [f32]));
        float_backend!(@one $simd, [$($feature)?], silu_mul(gate: &mut [f32], up: &[f32]));
        float_backend!(@one $simd, [$($feature)?], relu(x: &mut [f32]));
        float_backend!(@one $simd, [$($feature)?], relu_mul(gate: &mut [f32], up: &[f32]));
        float_backend!(@one $simd, [$($feature)?], add(y: &mut [f32], x: &[f32]));
        float_backend!(@one $simd, [$($feature)?], rope(head: &mut [f32], cos: &[f32], sin: &[f32], style: crate::RopeStyle));
    };
    (@one $simd:expr, [$($feature:literal)?], $name:ident($($arg:ident: $ty:ty),*)) => {
        fn $name(&self, $($arg: $ty),*) {
            $(#[target_feature(enable = $feature)])?
            #[allow(unused_unsafe, reason = "portable entries have no features")]
            fn entry($($arg: $ty),*) {
                crate::float::$name($simd, $($arg),*);
            }
            // SAFETY: this backend is handed out only after its features were detected.
            #[allow(unused_unsafe, reason = "portable entries have no features")]
            unsafe { entry($($arg),*) }
        }
    };
}
pub(crate) use float_backend;
