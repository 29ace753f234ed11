//! A model as the executor walks over it: layers, sizes, numbers of matrices.

use lampyris_import::arch::{Activation, LayerSpec, ModelSpec, NormKind, Positions, RopeSpec};
use lampyris_kernels::RopeStyle;
use lampyris_pack::{Ffn, Linear, ModelIndex, Norm};

/// A matrix of [`super::weights::Weights`] with its bias.
#[derive(Debug)]
pub(crate) struct Lin {
    pub(crate) matrix: usize,
    pub(crate) rows: usize,
    pub(crate) bias: Option<Vec<f32>>,
}

/// The feed-forward network of a layer.
#[derive(Debug)]
pub(crate) enum FfnNet {
    /// Three or two matrices.
    Dense {
        gate: Option<Lin>,
        up: Lin,
        down: Lin,
    },
    /// Computed by a [`super::SparseFfn`].
    Sparse,
}

#[derive(Debug)]
pub(crate) struct LayerNet {
    pub(crate) spec: LayerSpec,
    pub(crate) attn_norm: Norm,
    pub(crate) q: Lin,
    pub(crate) k: Lin,
    pub(crate) v: Lin,
    pub(crate) o: Lin,
    pub(crate) ffn_norm: Norm,
    pub(crate) ffn: FfnNet,
    /// Multiplies the scores.
    pub(crate) scale: f32,
}

/// Rotary embedding with its frequencies worked out.
#[derive(Debug)]
pub(crate) struct Rope {
    inv_freq: Vec<f64>,
    pub(crate) style: RopeStyle,
}

impl Rope {
    fn new(spec: &RopeSpec) -> Self {
        Self {
            inv_freq: spec.inv_freq(),
            style: match spec.stored {
                lampyris_import::arch::RopeStyle::Interleaved => RopeStyle::Interleaved,
                lampyris_import::arch::RopeStyle::HalfSplit => RopeStyle::Half,
            },
        }
    }

    pub(crate) fn pairs(&self) -> usize {
        self.inv_freq.len()
    }

    /// Cosines and sines at `position`, as [`RopeSpec::cos_sin`] has them.
    pub(crate) fn angles(&self, position: usize, cos: &mut [f32], sin: &mut [f32]) {
        for ((freq, c), s) in self.inv_freq.iter().zip(cos).zip(sin) {
            let angle = position as f64 * freq;
            *c = angle.cos() as f32;
            *s = angle.sin() as f32;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Net {
    /// Width of the residual stream.
    pub(crate) width: usize,
    pub(crate) layers: Vec<LayerNet>,
    pub(crate) output_norm: Norm,
    pub(crate) head: usize,
    pub(crate) norm_kind: NormKind,
    pub(crate) eps: f32,
    /// Stands for the bias of a layer norm that has none.
    pub(crate) no_bias: Vec<f32>,
    pub(crate) rope: Option<Rope>,
    /// Rows of learned positions that can be used, from position 0.
    pub(crate) learned: Option<Vec<f32>>,
}

impl Net {
    /// Takes the layers and vectors of `index`; `learned` is the table of positions, if any.
    pub(crate) fn new(index: &mut ModelIndex, learned: Option<Vec<f32>>) -> Self {
        let spec: &ModelSpec = &index.spec;
        let mut next = 0;
        let mut take = |linear: Linear| {
            next += 1;
            Lin {
                matrix: next - 1,
                rows: linear.weight.rows,
                bias: linear.bias,
            }
        };
        let mut layers = Vec::with_capacity(index.layers.len());
        // The same order as `LayerIndex::matrices`, by which the planner numbers them.
        for (layer, spec) in std::mem::take(&mut index.layers)
            .into_iter()
            .zip(&spec.layers)
        {
            layers.push(LayerNet {
                scale: (1.0 / (spec.head_dim_k as f64).sqrt()) as f32,
                spec: spec.clone(),
                attn_norm: layer.attn_norm,
                q: take(layer.q),
                k: take(layer.k),
                v: take(layer.v),
                o: take(layer.o),
                ffn_norm: layer.ffn_norm,
                ffn: match layer.ffn {
                    Ffn::Dense { gate, up, down } => FfnNet::Dense {
                        gate: gate.map(&mut take),
                        up: take(up),
                        down: take(down),
                    },
                    Ffn::Bundled(_) => FfnNet::Sparse,
                },
            });
        }
        Self {
            width: spec.d_model,
            no_bias: vec![0.0; spec.d_model],
            layers,
            output_norm: index.output_norm.clone(),
            head: next,
            norm_kind: spec.norm.kind,
            eps: spec.norm.eps,
            rope: match &spec.positions {
                Positions::Rope(rope) => Some(Rope::new(rope)),
                Positions::Learned { .. } => None,
            },
            learned,
        }
    }
}

/// Whether the layer's activation is ReLU.
pub(crate) fn is_relu(spec: &LayerSpec) -> bool {
    spec.activation == Activation::Relu
}
