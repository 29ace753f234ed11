//! The feed-forward network.

use super::{Emitter, all, reg, vop};
use crate::image::{Linear, Run};
use lampyris_import::arch::Activation;
use lampyris_isa::insn::Vop;

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
            Some(gate) => self.gated(run, gate, width),
            None => {
                self.linear(&run.layer.up, b.xb_h, b.up, b.bias[4], "ffn_up");
                self.activation(run.spec.activation, b.up, b.sigmoid, width);
            }
        }
        self.quantize(b.up, b.xb_ffn, width, &[&run.layer.down], "ffn_down");
        self.linear(&run.layer.down, b.xb_ffn, b.h, b.bias[5], "ffn_down");
        self.accumulate(b.x, b.h, d, "ffn_residual");
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
