//! The feed-forward network.

use super::linear::{PARTS, shared_scale};
use super::{Emitter, all, reg, vop};
use crate::image::{Linear, Run};
use crate::program::Region;
use lampyris_import::arch::Activation;
use lampyris_isa::format::{BLOCK, quant_blocks};
use lampyris_isa::insn::{Quant, Vop};

impl Emitter<'_> {
    /// x += down(act(...)), for every token.
    pub(crate) fn ffn(&mut self, run: &Run) {
        let b = self.cx.buffers;
        let (d, width) = (self.cx.spec.d_model, run.spec.ffn_dim);
        self.norm(
            &run.layer.ffn_norm,
            b.x,
            reg::ZERO,
            b.norm[1],
            false,
            "ffn_norm",
        );
        let users: Vec<&Linear> = run.layer.gate.iter().chain([&run.layer.up]).collect();
        self.quantize(b.h, b.xb_h, d, &users, "ffn_norm");
        match &run.layer.gate {
            Some(gate) if self.in_parts() && gate.bias.is_none() && run.layer.up.bias.is_none() => {
                self.gated_in_parts(run, gate, width);
                let label = ["ffn_down", "ffn_residual"];
                return self.residual(&run.layer.down, b.xb_ffn, b.bias[5], label);
            }
            Some(gate) => self.gated(run, gate, width),
            None => {
                self.linear(&run.layer.up, b.xb_h, b.up, b.bias[4], "ffn_up");
                self.activation(run.spec.activation, b.up, b.sigmoid, width);
            }
        }
        self.quantize(b.up, b.xb_ffn, width, &[&run.layer.down], "ffn_down");
        let label = ["ffn_down", "ffn_residual"];
        self.residual(&run.layer.down, b.xb_ffn, b.bias[5], label);
    }

    /// up = act(gate) * up. The activation runs while the matrix unit works on `up`.
    fn gated(&mut self, run: &Run, gate: &Linear, width: usize) {
        let b = self.cx.buffers;
        self.linear(gate, b.xb_h, b.gate, b.bias[4], "ffn_gate");
        self.activation(run.spec.activation, b.gate, b.sigmoid, width);
        self.linear(&run.layer.up, b.xb_h, b.up, b.bias[4], "ffn_up");
        let product = Vop {
            mul: vop::MUL_B,
            b: b.gate.at,
            bstride: b.gate.stride,
            ..self.per_token(b.up, b.up, width)
        };
        self.unit(
            product,
            vec![all(b.up), all(b.gate)],
            vec![all(b.up)],
            "ffn_mul",
        );
    }

    /// As [`Emitter::gated`], with the product and its quantization in parts: each runs while the
    /// matrix unit works on the next part of `up`.
    fn gated_in_parts(&mut self, run: &Run, gate: &Linear, width: usize) {
        let b = self.cx.buffers;
        self.linear(gate, b.xb_h, b.gate, b.bias[4], "ffn_gate");
        self.activation(run.spec.activation, b.gate, b.sigmoid, width);
        let rows = self.cx.hw.tile_rows();
        let step = width.div_ceil(rows).div_ceil(PARTS) * rows;
        for first in (0..width).step_by(step) {
            let end = (first + step).min(width);
            self.part(&run.layer.up.matrix, first..end, b.xb_h, b.up, "ffn_up");
            let (at, n) = (first as u32, (end - first) as u32);
            let up = Region::vmem(b.up.at + at, n);
            let product = Vop {
                a: b.up.at + at,
                b: b.gate.at + at,
                d: b.up.at + at,
                n,
                rows: 1,
                mul: vop::MUL_B,
                write: 1,
                ..Vop::default()
            };
            self.unit(product, vec![up, all(b.gate)], vec![up], "ffn_mul");
            let quant = Quant {
                a: b.up.at + at,
                x: (b.xb_ffn.at as usize + first / BLOCK) as u16,
                n,
                rows: 1,
                group: shared_scale([&run.layer.down.matrix].into_iter()),
                ..Quant::default()
            };
            let blocks = quant_blocks(n as usize, quant.group) as u32;
            let writes = vec![Region::xbuf(quant.x.into(), blocks)];
            self.unit(quant, vec![up], writes, "ffn_down");
        }
    }

    /// In place; `scratch` holds the sigmoid.
    fn activation(
        &mut self,
        kind: Activation,
        v: crate::buffers::Vector,
        scratch: crate::buffers::Vector,
        n: usize,
    ) {
        match kind {
            Activation::Relu => {
                let relu = Vop {
                    func: vop::RELU,
                    ..self.per_token(v, v, n)
                };
                self.unit(relu, vec![all(v)], vec![all(v)], "ffn_act");
            }
            Activation::Silu => {
                // sigmoid(v) = 1 / (1 + 2^(-v log2 e))
                let exp = Vop {
                    mul: vop::MUL_S1,
                    s1: (-std::f32::consts::LOG2_E).to_bits(),
                    func: vop::EXP2,
                    ..self.per_token(v, scratch, n)
                };
                self.unit(exp, vec![all(v)], vec![all(scratch)], "ffn_act");
                let sigmoid = Vop {
                    add: vop::ADD_S1,
                    s1: 1f32.to_bits(),
                    func: vop::RECIP,
                    ..self.per_token(scratch, scratch, n)
                };
                self.unit(sigmoid, vec![all(scratch)], vec![all(scratch)], "ffn_act");
                let product = Vop {
                    mul: vop::MUL_B,
                    b: scratch.at,
                    bstride: scratch.stride,
                    ..self.per_token(v, v, n)
                };
                self.unit(product, vec![all(v), all(scratch)], vec![all(v)], "ffn_act");
            }
        }
    }
}
