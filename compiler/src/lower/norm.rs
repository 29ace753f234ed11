//! RMSNorm and LayerNorm in f32.

use super::{Emitter, all, vop};
use crate::buffers::Vector;
use crate::image::Norm;
use lampyris_import::arch::NormKind;
use lampyris_isa::insn::Vop;

impl Emitter<'_> {
    /// h = norm(x) for every token (or for the one that `x` points to with `one_row`), using
    /// the weights in `buffer`.
    pub(crate) fn norm(
        &mut self,
        norm: &Norm,
        x: Vector,
        rx: u8,
        buffer: Vector,
        one_row: bool,
        label: &str,
    ) {
        let b = self.cx.buffers;
        let d = self.cx.spec.d_model;
        self.load(&norm.weight, buffer.at, label);
        if let Some(bias) = &norm.bias {
            self.load(bias, buffer.at + buffer.stride, label);
        }
        let rows = |e: &Self, from: Vector, to: Vector, register: u8| {
            let mut v = Vop {
                ra: register,
                ..e.per_token(from, to, d)
            };
            if one_row {
                (v.rrows, v.rows) = (0, 1);
            }
            v
        };
        let mut source = (x, rx);
        if self.cx.spec.norm.kind == NormKind::Layer {
            self.center(x, d, rows(self, x, b.h, rx), label);
            source = (b.h, 0);
        }
        self.inverse_rms(source.0, rows(self, source.0, source.0, source.1), d, label);
        let scale = b.scalar[1];
        let by_row = Vop {
            mul: vop::MUL_S1,
            s1_mem: 1,
            s1_row: 1,
            s1: scale.at,
            ..rows(self, source.0, b.h, source.1)
        };
        self.unit(
            by_row,
            vec![all(source.0), all(scale)],
            vec![all(b.h)],
            label,
        );
        let by_weight = Vop {
            mul: vop::MUL_B,
            b: buffer.at,
            ..rows(self, b.h, b.h, 0)
        };
        self.unit(
            by_weight,
            vec![all(b.h), all(buffer)],
            vec![all(b.h)],
            label,
        );
        if norm.bias.is_some() {
            let add = Vop {
                add: vop::ADD_B,
                b: buffer.at + buffer.stride,
                ..rows(self, b.h, b.h, 0)
            };
            self.unit(add, vec![all(b.h), all(buffer)], vec![all(b.h)], label);
        }
    }

    /// h = x - mean(x).
    fn center(&mut self, x: Vector, d: usize, rows: Vop, label: &str) {
        let b = self.cx.buffers;
        let (sum, mean) = (b.scalar[0], b.scalar[1]);
        let total = Vop {
            write: 0,
            red: vop::SUM,
            red_addr: sum.at,
            ..rows
        };
        self.unit(total, vec![all(x)], vec![all(sum)], label);
        let negated = self.scalars(sum, mean, rows, -1.0 / d as f32);
        self.unit(negated, vec![all(sum)], vec![all(mean)], label);
        let shift = Vop {
            add: vop::ADD_S2,
            s2: mean.at,
            s2_row: 1,
            ..rows
        };
        self.unit(shift, vec![all(x), all(mean)], vec![all(b.h)], label);
    }

    /// scalar[1] = 1 / sqrt(mean(x^2) + eps).
    fn inverse_rms(&mut self, x: Vector, rows: Vop, d: usize, label: &str) {
        let b = self.cx.buffers;
        let (sum, scale) = (b.scalar[0], b.scalar[1]);
        let squares = Vop {
            write: 0,
            mul: vop::SQUARE,
            red: vop::SUM,
            red_addr: sum.at,
            ..rows
        };
        self.unit(squares, vec![all(x)], vec![all(sum)], label);
        let mut inverse = self.scalars(sum, scale, rows, 1.0 / d as f32);
        (inverse.add, inverse.s2, inverse.func) = (vop::ADD_S2, b.constants.at, vop::RSQRT);
        self.unit(
            inverse,
            vec![all(sum), all(b.constants)],
            vec![all(scale)],
            label,
        );
    }

    /// One operation on the scalars of all rows: `to = from * factor`.
    fn scalars(&self, from: Vector, to: Vector, rows: Vop, factor: f32) -> Vop {
        Vop {
            rn: rows.rrows,
            n: u32::from(rows.rows),
            rows: 1,
            a: from.at,
            d: to.at,
            mul: vop::MUL_S1,
            s1: factor.to_bits(),
            write: 1,
            ..Vop::default()
        }
    }
}
