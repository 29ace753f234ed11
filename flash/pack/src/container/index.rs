//! [`ModelIndex`] of a packed file.

use super::{
    Packed,
    header::{
        BundlesEntry, DAMAGED, FfnEntry, LinearEntry, Matrix, NormEntry, PartEntry, Section, Vector,
    },
    sections,
};
use crate::{
    Error, Result,
    index::{Bundles, Ffn, LayerIndex, Linear, ModelIndex, Norm, Origin, Part, Stored},
};

pub(super) fn index(packed: &Packed) -> Result<ModelIndex> {
    let header = &packed.header;
    let reader = Reader {
        packed,
        section: packed.find(sections::VECTORS),
        data: packed.section(sections::VECTORS)?,
    };
    Ok(ModelIndex {
        spec: header.spec.clone(),
        files: vec![packed.path().to_owned()],
        token_embd: stored("token_embd".into(), &header.token_embd),
        output: header.output.as_ref().map(|m| stored("output".into(), m)),
        position_embd: header
            .position_embd
            .as_ref()
            .map(|m| stored("position_embd".into(), m)),
        output_norm: reader.norm("output_norm", &header.output_norm)?,
        layers: (0..header.layers.len())
            .map(|i| reader.layer(i))
            .collect::<Result<_>>()?,
        origin: Origin::Packed(Box::new(packed.clone())),
    })
}

fn stored(name: String, matrix: &Matrix) -> Stored {
    Stored {
        name,
        ty: matrix.ty.0,
        rows: matrix.rows as usize,
        cols: matrix.cols as usize,
        file: 0,
        offset: matrix.offset,
    }
}

struct Reader<'a> {
    packed: &'a Packed,
    /// The section of the vectors and its bytes, which have their hash.
    section: &'a Section,
    data: Vec<u8>,
}

impl Reader<'_> {
    fn layer(&self, i: usize) -> Result<LayerIndex> {
        let layer = &self.packed.header.layers[i];
        let linear =
            |name: &str, entry: &LinearEntry| self.linear(format!("blk.{i}.{name}"), entry);
        let norm = |name: &str, entry: &NormEntry| self.norm(&format!("blk.{i}.{name}"), entry);
        Ok(LayerIndex {
            attn_norm: norm("attn_norm", &layer.attn_norm)?,
            q: linear("attn_q", &layer.q)?,
            k: linear("attn_k", &layer.k)?,
            v: linear("attn_v", &layer.v)?,
            o: linear("attn_output", &layer.o)?,
            ffn_norm: norm("ffn_norm", &layer.ffn_norm)?,
            ffn: match &layer.ffn {
                FfnEntry::Dense { gate, up, down } => Ffn::Dense {
                    gate: gate.as_ref().map(|g| linear("ffn_gate", g)).transpose()?,
                    up: linear("ffn_up", up)?,
                    down: linear("ffn_down", down)?,
                },
                FfnEntry::Bundled(entry) => Ffn::Bundled(self.bundles(i, entry)?),
            },
        })
    }

    fn bundles(&self, i: usize, entry: &BundlesEntry) -> Result<Bundles> {
        let width = self.packed.header.spec.d_model;
        let name = sections::ffn(i);
        let part = |p: &PartEntry| Part {
            ty: p.ty.0,
            offset: p.offset as usize,
            bytes: p.ty.0.row_bytes(width).expect("checked with the header"),
        };
        let bias = |v: &Option<Vector>| v.as_ref().map(|v| self.vector(&name, v)).transpose();
        Ok(Bundles {
            neurons: entry.neurons as usize,
            width,
            gate: entry.gate.as_ref().map(part),
            up: part(&entry.up),
            down: part(&entry.down),
            bundle_bytes: entry.bundle_bytes as usize,
            group_neurons: entry.group_neurons as usize,
            group_bytes: entry.group_bytes as usize,
            file: 0,
            offset: entry.offset,
            order: entry
                .order
                .as_ref()
                .map(|v| self.order(&name, v))
                .transpose()?,
            gate_bias: bias(&entry.gate_bias)?,
            up_bias: bias(&entry.up_bias)?,
            down_bias: bias(&entry.down_bias)?,
            down_error: entry.down_error,
            name,
        })
    }

    fn linear(&self, name: String, entry: &LinearEntry) -> Result<Linear> {
        let bias = entry.bias.as_ref();
        Ok(Linear {
            bias: bias.map(|b| self.vector(&name, b)).transpose()?,
            weight: stored(name, &entry.weight),
        })
    }

    fn norm(&self, name: &str, entry: &NormEntry) -> Result<Norm> {
        let bias = entry.bias.as_ref();
        Ok(Norm {
            weight: self.vector(name, &entry.weight)?,
            bias: bias.map(|b| self.vector(name, b)).transpose()?,
        })
    }

    /// The four-byte values of a vector, which was found to lie in the section.
    fn words(&self, vector: &Vector) -> &[[u8; 4]] {
        let start = (vector.offset - self.section.offset) as usize;
        self.data[start..][..vector.len as usize * 4]
            .as_chunks::<4>()
            .0
    }

    fn vector(&self, name: &str, vector: &Vector) -> Result<Vec<f32>> {
        let values = self.words(vector).iter().map(|b| f32::from_le_bytes(*b));
        let values: Vec<f32> = values.collect();
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(element) => Err(Error::NotFinite {
                path: self.packed.path().to_owned(),
                tensor: name.into(),
                element,
            }),
        }
    }

    /// Position to id: each id once.
    fn order(&self, name: &str, vector: &Vector) -> Result<Vec<u32>> {
        let order: Vec<u32> = self
            .words(vector)
            .iter()
            .map(|b| u32::from_le_bytes(*b))
            .collect();
        let mut seen = vec![false; order.len()];
        for &id in &order {
            match seen.get_mut(id as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    let problem = format!(
                        "the order of `{name}` names neuron {id} twice, or it does not exist"
                    );
                    return Err(Error::container(self.packed.path(), problem, DAMAGED));
                }
            }
        }
        Ok(order)
    }
}
