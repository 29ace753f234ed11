//! The index of a model file: the importer finds and checks the tensors, this notes their places.

use super::{Ffn, LayerIndex, Linear, ModelIndex, Norm, Origin, Stored};
use crate::{Error, Result, read::Files};
use lampyris_flash::block;
use lampyris_import::{Model, graph::Op, source::TensorRef};
use std::{io::Write, path::Path, sync::Arc};

/// Indexes a copy of the embedded model.
pub(super) fn open_tiny() -> Result<ModelIndex> {
    let mut file = tempfile::Builder::new()
        .prefix("lampyris-tiny-")
        .suffix(".gguf")
        .tempfile()
        .map_err(Error::Temporary)?;
    file.write_all(lampyris_import::tiny_gguf())
        .map_err(Error::Temporary)?;
    let path = file.into_temp_path();
    let at = path.to_path_buf();
    open(&at, Origin::Tiny(Arc::new(path)))
}

/// Indexes the model at `path`.
pub(super) fn open(path: &Path, origin: Origin) -> Result<ModelIndex> {
    let model = Model::open(path)?;
    let files = model.file().paths();
    let reader = Reader {
        model: &model,
        files: Files::open(&files)?,
    };
    reader.files.expect_scattered();
    let layers = (0..model.spec().layers.len()).map(|i| reader.layer(i));
    let index = ModelIndex {
        token_embd: reader.table("token_embd")?,
        output: match model.spec().tied_embeddings {
            true => None,
            false => Some(reader.table("output")?),
        },
        position_embd: match model.spec().rope() {
            Some(_) => None,
            None => Some(reader.table("position_embd")?),
        },
        output_norm: reader.norm("output_norm")?,
        layers: layers.collect::<Result<_>>()?,
        spec: model.spec().clone(),
        files,
        origin,
    };
    // Mapped pages would stay.
    drop(model);
    index.forget_headers();
    Ok(index)
}

struct Reader<'a> {
    model: &'a Model,
    files: Files,
}

impl Reader<'_> {
    fn layer(&self, i: usize) -> Result<LayerIndex> {
        let linear = |name: &str| self.linear(&format!("blk.{i}.{name}"));
        let norm = |name: &str| self.norm(&format!("blk.{i}.{name}"));
        Ok(LayerIndex {
            attn_norm: norm("attn_norm")?,
            q: linear("attn_q")?,
            k: linear("attn_k")?,
            v: linear("attn_v")?,
            o: linear("attn_output")?,
            ffn_norm: norm("ffn_norm")?,
            ffn: Ffn::Dense {
                gate: match self.model.spec().layers[i].gated {
                    true => Some(linear("ffn_gate")?),
                    false => None,
                },
                up: linear("ffn_up")?,
                down: linear("ffn_down")?,
            },
        })
    }

    /// The operation of the graph's node `name`, which exists in every graph with its layer.
    fn op(&self, name: &str) -> &Op {
        let graph = self.model.graph();
        let id = graph.find(name).expect("the graph has this operation");
        &graph.node(id).op
    }

    fn table(&self, name: &str) -> Result<Stored> {
        let tensor = self.op(name).tensors().next();
        self.stored(name, tensor.expect("tables have a tensor"))
    }

    fn norm(&self, name: &str) -> Result<Norm> {
        let mut tensors = self.op(name).tensors();
        let weight = tensors.next().expect("norms have a weight");
        Ok(Norm {
            weight: self.vector(weight)?,
            bias: tensors.next().map(|t| self.vector(t)).transpose()?,
        })
    }

    fn linear(&self, name: &str) -> Result<Linear> {
        let mut tensors = self.op(name).tensors();
        let weight = tensors.next().expect("linear layers have a weight");
        Ok(Linear {
            weight: self.stored(name, weight)?,
            bias: tensors.next().map(|t| self.vector(t)).transpose()?,
        })
    }

    /// File and first byte of a tensor of the graph.
    fn place(&self, tensor: &TensorRef) -> (usize, u64) {
        let place = self.model.file().place(&tensor.name);
        let (file, range) = place.expect("the graph's tensors were resolved");
        (file, range.start as u64)
    }

    fn stored(&self, name: &str, tensor: &TensorRef) -> Result<Stored> {
        let view = self.model.tensor_view(tensor)?;
        let (file, offset) = self.place(tensor);
        Ok(Stored {
            name: name.into(),
            ty: view.ty,
            rows: view.rows(),
            cols: view.row_len(),
            file,
            offset,
        })
    }

    /// A small vector as f32, in stored order. Read by offset: touching the mapping would count
    /// pages of weights around it as ours.
    fn vector(&self, tensor: &TensorRef) -> Result<Vec<f32>> {
        let view = self.model.tensor_view(tensor)?;
        let (file, offset) = self.place(tensor);
        let mut data = vec![0; view.data.len()];
        self.files.read(file, offset, &mut data, &tensor.name)?;
        self.files.drop_pages(file, offset, data.len() as u64);
        let mut values = vec![0.0; view.elements()];
        block::dequantize_row(view.ty, &data, &mut values)
            .expect("the size was checked when the file was opened");
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(element) => Err(Error::NotFinite {
                path: self.files.path(file).to_owned(),
                tensor: tensor.name.clone(),
                element,
            }),
        }
    }
}
