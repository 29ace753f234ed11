//! What a packed file will hold, before any weight is read.

use super::{
    Options,
    layout::{Matrices, Vectors, after, group, section},
};
use crate::{
    Error, Result,
    container::{
        Layout, SECTION_ALIGN, VERSION,
        header::{
            Blob, BundlesEntry, FfnEntry, Grid, Header, Layer, PartEntry, Section, Source, Type,
            hex, sha256_hex,
        },
        sections,
    },
    index::{Ffn, LayerIndex, Linear, ModelIndex, Stored},
    read::{BUFFER, Files},
};
use lampyris_flash::{TensorType, block};
use lampyris_import::arch::Activation;
use sha2::{Digest, Sha256};
use std::{os::unix::fs::MetadataExt, path::Path};

/// Bytes of a group of neurons when the user does not say.
const GROUP_BYTES: usize = 64 << 10;

/// Size and modification time (seconds, nanoseconds) of a file.
type Stamp = (u64, i64, i64);

/// Where everything will lie, and where it comes from.
#[derive(Debug)]
pub struct Plan {
    pub(super) model: ModelIndex,
    /// The header, but for hashes and errors.
    pub(super) header: Header,
    /// What fills each section.
    pub(super) contents: Vec<Content>,
    /// Size and modification time of the source's files, as they were.
    pub(super) stamps: Vec<Stamp>,
    /// Changes with anything that changes the output, and with the source's files.
    pub(super) identity: String,
}

/// What fills a section.
#[derive(Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// Matrices and their places in the output.
    Copies(Vec<(Stored, u64)>),
    /// The FFN of a layer.
    Bundles {
        layer: usize,
        order: Option<Vec<u32>>,
    },
}

/// What packing will cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// How FFNs will lie.
    pub layout: Layout,
    /// Bytes of the packed file, but for its header's last page.
    pub bytes: u64,
    /// Bytes of the source.
    pub source_bytes: u64,
    /// Bytes of the source that are not holes.
    pub source_allocated: u64,
    /// Source and target format of the down matrix, if it will be re-quantized.
    pub requantize: Option<(TensorType, TensorType)>,
    /// Neurons per group and bytes of a group, if FFNs are bundled.
    pub groups: Option<(usize, usize)>,
}

impl Plan {
    /// Plans the packed file of the model at `path`: everything that [`ModelIndex::open`] takes
    /// but packed files.
    ///
    /// # Errors
    /// As [`ModelIndex::open`]; [`Error::Options`] and [`Error::Statistics`] if the options do not
    /// fit the model.
    pub fn new(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let path = path.as_ref();
        let model = ModelIndex::open(path)?;
        let name = path.display().to_string();
        if model.packed().is_some() {
            return Err(Error::Options {
                model: name,
                problem: "it is packed already".into(),
                hint: "pack the file that it was made from".into(),
            });
        }
        if let Some(statistics) = &options.statistics {
            statistics.check(&model)?;
        }
        let text = model.text_tools()?.to_json()?.into_bytes();
        let layout = options.layout.unwrap_or_else(|| natural_layout(&model));
        let (source, stamps) = source(&model)?;
        let builder = Builder {
            model: &model,
            options,
            layout,
            name,
            sections: Vec::new(),
            contents: Vec::new(),
            end: SECTION_ALIGN,
        };
        let (header, contents) = builder.build(text, source)?;
        Ok(Self {
            // The copy of the embedded model has another time each time.
            identity: identity(
                &header,
                &contents,
                if model.is_embedded() { &[] } else { &stamps },
            ),
            model,
            header,
            contents,
            stamps,
        })
    }

    /// What packing will cost.
    pub fn forecast(&self) -> Forecast {
        let down = self.model.layers.iter().zip(&self.header.layers);
        let down = down.filter_map(|(source, target)| match (&source.ffn, &target.ffn) {
            (Ffn::Dense { down, .. }, FfnEntry::Bundled(entry)) => {
                Some((down.weight.ty, entry.down.ty.0))
            }
            _ => None,
        });
        let groups = self
            .header
            .layers
            .first()
            .and_then(|layer| match &layer.ffn {
                FfnEntry::Bundled(b) => Some((b.group_neurons as usize, b.group_bytes as usize)),
                FfnEntry::Dense { .. } => None,
            });
        let allocated = self
            .model
            .files
            .iter()
            .filter_map(|path| path.metadata().ok());
        Forecast {
            layout: self.header.layout,
            bytes: after(self.header.checksums.offset, self.header.checksums.bytes),
            source_bytes: self.header.source.bytes,
            source_allocated: allocated.map(|m| m.len().min(m.blocks() * 512)).sum(),
            requantize: down.into_iter().find(|&(from, to)| !is_exact(from, to)),
            groups,
        }
    }

    /// Compares the source's files with what they were.
    pub(super) fn check_source(&self) -> Result<()> {
        for (path, stamp) in self.model.files.iter().zip(&self.stamps) {
            let metadata = path.metadata().map_err(|e| Error::read(path, e))?;
            if stamp_of(&metadata) != *stamp {
                return Err(Error::SourceChanged(path.clone()));
            }
        }
        Ok(())
    }
}

/// Whether columns of a matrix of `from` keep their values in `to`. Blocks run along rows, so that
/// columns need others even where the format stays.
fn is_exact(from: TensorType, to: TensorType) -> bool {
    to == TensorType::F32 || (from == to && from.block_len() == 1)
}

/// Bundled where neurons are idle most of the time, so that reading them one by one pays.
fn natural_layout(model: &ModelIndex) -> Layout {
    match model
        .spec
        .layers
        .iter()
        .all(|l| l.activation == Activation::Relu)
    {
        true => Layout::Bundled,
        false => Layout::Dense,
    }
}

fn stamp_of(metadata: &std::fs::Metadata) -> Stamp {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// Names, size and hash of the source's headers: what lies before the first weight.
fn source(model: &ModelIndex) -> Result<(Source, Vec<Stamp>)> {
    let files = Files::open(&model.files)?;
    let mut hash = Sha256::new();
    let mut stamps = Vec::new();
    let mut buf = vec![0; BUFFER];
    for (i, path) in model.files.iter().enumerate() {
        stamps.push(stamp_of(&files.metadata(i)?));
        let here = model.matrices().filter(|m| m.file == i).map(|m| m.offset);
        let header_bytes = here.min().unwrap_or(0);
        let name = path.display().to_string();
        files.stream(i, 0, header_bytes, &name, &mut buf, &mut |_, data| {
            hash.update(data);
            Ok::<(), Error>(())
        })?;
    }
    let name = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    };
    // The copy of the embedded model has another name each time.
    let names = match model.is_embedded() {
        true => vec![lampyris_import::TINY.to_owned()],
        false => model.files.iter().map(name).collect(),
    };
    let source = Source {
        files: names,
        bytes: stamps.iter().map(|(len, ..)| len).sum(),
        headers_sha256: hex(&hash.finalize()),
    };
    Ok((source, stamps))
}

fn identity(header: &Header, contents: &[Content], stamps: &[Stamp]) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(header).expect("the header has a text form"));
    for content in contents {
        if let Content::Bytes(bytes) = content {
            hash.update(sha256_hex(bytes));
        }
    }
    hash.update(format!("{stamps:?}"));
    hex(&hash.finalize())
}

struct Builder<'a> {
    model: &'a ModelIndex,
    options: &'a Options,
    layout: Layout,
    name: String,
    sections: Vec<Section>,
    contents: Vec<Content>,
    /// Where the next section begins.
    end: u64,
}

impl Builder<'_> {
    fn push(&mut self, section: Section, content: Content) {
        self.end = after(section.offset, section.bytes);
        self.sections.push(section);
        self.contents.push(content);
    }

    fn push_matrices(&mut self, name: &str, matrices: Matrices) {
        let section = section(name, self.end, matrices.bytes());
        self.push(section, Content::Copies(matrices.copies));
    }

    fn build(mut self, text: Vec<u8>, source: Source) -> Result<(Header, Vec<Content>)> {
        let (model, options) = (self.model, self.options);
        self.push(
            section(sections::TEXT, self.end, text.len() as u64),
            Content::Bytes(text),
        );
        let order = |layer: usize| match (self.layout, &options.statistics) {
            (Layout::Bundled, Some(statistics)) => Some(statistics.order(layer)),
            _ => None,
        };
        let orders: Vec<_> = (0..model.layers.len()).map(order).collect();
        // The size of this section comes from a first pass; its places do not change its size.
        let mut vectors = Vectors::default();
        self.layers(&mut vectors, &orders, 0)?;
        let bytes = vectors.data.len() as u64;
        let mut vectors = Vectors {
            base: self.end,
            data: Vec::new(),
        };
        let vectors_at = self.contents.len();
        self.push(
            section(sections::VECTORS, self.end, bytes),
            Content::Bytes(Vec::new()),
        );

        let mut embeddings = Matrices::new(self.end);
        let mut token_embd = None;
        if model.output.is_some() {
            token_embd = Some(embeddings.matrix(&model.token_embd));
        }
        let position_embd = model.position_embd.as_ref().map(|m| embeddings.matrix(m));
        self.push_matrices(sections::EMBEDDINGS, embeddings);

        let (layers, output_norm, parts) = self.layers(&mut vectors, &orders, self.end)?;
        for (section, content) in parts {
            self.push(section, content);
        }
        self.contents[vectors_at] = Content::Bytes(vectors.data);

        let mut last = Matrices::new(self.end);
        let output = model.output.as_ref().map(|m| last.matrix(m));
        let token_embd = token_embd.unwrap_or_else(|| last.matrix(&model.token_embd));
        self.push_matrices(sections::OUTPUT, last);

        let units: u64 = self.sections.iter().map(|s| s.grid.units(s.bytes)).sum();
        let header = Header {
            schema_version: VERSION,
            layout: self.layout,
            source,
            spec: model.spec.clone(),
            sections: self.sections,
            checksums: Blob {
                offset: self.end,
                bytes: 4 * units,
                sha256: String::new(),
            },
            token_embd,
            output,
            position_embd,
            output_norm,
            layers,
        };
        Ok((header, self.contents))
    }

    /// The entries of all layers, their sections from `start`, and the last norm.
    #[allow(clippy::type_complexity, reason = "used here only")]
    fn layers(
        &self,
        vectors: &mut Vectors,
        orders: &[Option<Vec<u32>>],
        start: u64,
    ) -> Result<(
        Vec<Layer>,
        crate::container::header::NormEntry,
        Vec<(Section, Content)>,
    )> {
        let mut layers = Vec::new();
        let mut parts = Vec::new();
        let mut end = start;
        for (i, layer) in self.model.layers.iter().enumerate() {
            let mut matrices = Matrices::new(end);
            let attn_norm = vectors.norm(&layer.attn_norm);
            let [q, k, v, o] =
                [&layer.q, &layer.k, &layer.v, &layer.o].map(|l| matrices.linear(l, vectors));
            let attention = section(&sections::attention(i), end, matrices.bytes());
            end = after(end, attention.bytes);
            parts.push((attention, Content::Copies(matrices.copies)));
            let ffn_norm = vectors.norm(&layer.ffn_norm);
            let (ffn, part) = self.ffn(i, layer, vectors, &orders[i], end)?;
            end = after(end, part.0.bytes);
            parts.push(part);
            layers.push(Layer {
                attn_norm,
                q,
                k,
                v,
                o,
                ffn_norm,
                ffn,
            });
        }
        let output_norm = vectors.norm(&self.model.output_norm);
        Ok((layers, output_norm, parts))
    }

    fn ffn(
        &self,
        i: usize,
        layer: &LayerIndex,
        vectors: &mut Vectors,
        order: &Option<Vec<u32>>,
        at: u64,
    ) -> Result<(FfnEntry, (Section, Content))> {
        let Ffn::Dense { gate, up, down } = &layer.ffn else {
            unreachable!("packed files were refused");
        };
        let name = sections::ffn(i);
        if self.layout == Layout::Bundled {
            let entry = self.bundles(gate.as_ref(), up, down, vectors, order.as_deref(), at)?;
            let grid = Grid {
                unit: entry.bundle_bytes,
                per_group: entry.group_neurons,
                group: entry.group_bytes,
            };
            let last = entry.neurons - 1;
            let section = Section {
                grid,
                ..section(&name, at, grid.unit_range(last, u64::MAX).end)
            };
            let content = Content::Bundles {
                layer: i,
                order: order.clone(),
            };
            return Ok((FfnEntry::Bundled(entry), (section, content)));
        }
        let mut matrices = Matrices::new(at);
        let entry = FfnEntry::Dense {
            gate: gate.as_ref().map(|g| matrices.linear(g, vectors)),
            up: matrices.linear(up, vectors),
            down: matrices.linear(down, vectors),
        };
        let section = section(&name, at, matrices.bytes());
        Ok((entry, (section, Content::Copies(matrices.copies))))
    }

    fn bundles(
        &self,
        gate: Option<&Linear>,
        up: &Linear,
        down: &Linear,
        vectors: &mut Vectors,
        order: Option<&[u32]>,
        offset: u64,
    ) -> Result<BundlesEntry> {
        let width = self.model.spec.d_model;
        let down_type = self.down_type(&down.weight)?;
        let mut end = 0;
        let mut part = |ty: TensorType| {
            let offset = end;
            end += ty.row_bytes(width).expect("rows are whole blocks") as u64;
            PartEntry {
                ty: Type(ty),
                offset,
            }
        };
        let gate_part = gate.map(|g| part(g.weight.ty));
        let (up_part, down_part) = (part(up.weight.ty), part(down_type));
        let neurons = up.weight.rows;
        let target = self.options.group_bytes.unwrap_or(GROUP_BYTES);
        let (group_neurons, group_bytes) = group(end as usize, target, neurons);
        Ok(BundlesEntry {
            neurons: neurons as u64,
            gate: gate_part,
            up: up_part,
            down: down_part,
            bundle_bytes: end,
            group_neurons: group_neurons as u64,
            group_bytes: group_bytes as u64,
            offset,
            order: order.map(|ids| vectors.ids(ids)),
            gate_bias: vectors.bias(gate.and_then(|g| g.bias.as_ref())),
            up_bias: vectors.bias(up.bias.as_ref()),
            down_bias: vectors.bias(down.bias.as_ref()),
            down_error: 0.0,
        })
    }

    /// The format of the down matrix's columns.
    fn down_type(&self, down: &Stored) -> Result<TensorType> {
        let fail = |problem: String, hint: &str| {
            Err(Error::Options {
                model: self.name.clone(),
                problem,
                hint: hint.into(),
            })
        };
        let plain = down.ty.block_len() == 1;
        let ty = match self.options.down_type {
            Some(ty) => ty,
            None if plain => down.ty,
            None => TensorType::Q8_0,
        };
        if !block::can_quantize(ty) {
            let problem = format!("{ty} is a format that is read, not quantized to");
            return fail(problem, block::CAN_QUANTIZE);
        }
        // Columns of the down matrix are as long as its rows are many.
        if ty.row_bytes(down.rows).is_none() {
            let problem = format!(
                "columns of `{}` have {} elements, not a multiple of {ty}'s {}",
                down.name,
                down.rows,
                ty.block_len()
            );
            return fail(problem, "use --down-type F16, or --layout dense");
        }
        Ok(ty)
    }
}
