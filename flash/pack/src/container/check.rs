//! Checks of a header: afterwards every part lies in its section, and nothing overlaps.

use super::{
    Layout, MATRIX_ALIGN, Preamble, SECTION_ALIGN, UNIT_BYTES, VERSION,
    header::{
        BundlesEntry, DAMAGED, FfnEntry, Grid, Header, LinearEntry, Matrix, NormEntry, PartEntry,
        Section, Vector,
    },
    sections,
};
use crate::{Error, Result};
use lampyris_import::arch::{LayerSpec, NormKind};
use std::{collections::BTreeMap, path::Path};

/// Most bytes of tokenizer and chat template: several times those of the largest vocabularies.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// Checks `header` against the length of the file and against itself.
///
/// # Errors
/// [`Error::Container`] naming the contradiction; what the importer says of the description.
pub(super) fn check(path: &Path, header: &Header, preamble: &Preamble) -> Result<()> {
    let mut checker = Checker {
        path,
        header,
        sections: BTreeMap::new(),
        taken: Vec::new(),
    };
    if header.schema_version != VERSION {
        let found = header.schema_version;
        return checker.fail(format!("header schema {found}; expected {VERSION}"));
    }
    header.spec.validate(&path.display().to_string())?;
    checker.layout(preamble)?;
    checker.weights()?;
    checker.overlaps()
}

struct Checker<'a> {
    path: &'a Path,
    header: &'a Header,
    sections: BTreeMap<&'a str, &'a Section>,
    /// First byte, end and name of everything that was placed.
    taken: Vec<(u64, u64, String)>,
}

impl<'a> Checker<'a> {
    fn fail<T>(&self, problem: String) -> Result<T> {
        Err(Error::container(self.path, problem, DAMAGED))
    }

    /// Sections and tables: aligned, in order, apart, inside the file.
    fn layout(&mut self, preamble: &Preamble) -> Result<()> {
        let mut end = SECTION_ALIGN;
        let mut units = 0u64;
        for section in &self.header.sections {
            let Section {
                name,
                offset,
                bytes,
                grid,
                ..
            } = section;
            let fits = offset
                .checked_add(*bytes)
                .filter(|_| offset.is_multiple_of(SECTION_ALIGN));
            let Some(next) = fits.filter(|&next| *offset >= end && next <= preamble.header_offset)
            else {
                return self.fail(format!(
                    "section `{name}` ({bytes} bytes at {offset}) is misplaced"
                ));
            };
            let plain = *grid == Grid::plain(UNIT_BYTES);
            if !grid.is_sound() || !(plain || name.ends_with(".ffn")) {
                return self.fail(format!(
                    "section `{name}` has an impossible grid of checksums"
                ));
            }
            end = next;
            units = units.saturating_add(grid.units(*bytes));
            if self.sections.insert(name, section).is_some() {
                return self.fail(format!("section `{name}` occurs twice"));
            }
        }
        let table = &self.header.checksums;
        let table_end = table.offset.checked_add(table.bytes);
        if table.offset < end
            || !table.offset.is_multiple_of(SECTION_ALIGN)
            || table_end.is_none_or(|end| end > preamble.header_offset)
            || Some(table.bytes) != units.checked_mul(4)
        {
            return self.fail(format!(
                "the checksums ({} bytes at {}, for {units} units) are misplaced",
                table.bytes, table.offset
            ));
        }
        let layers = self.header.spec.layers.len();
        let fixed = [
            sections::TEXT,
            sections::VECTORS,
            sections::EMBEDDINGS,
            sections::OUTPUT,
        ];
        let expected = (0..layers).flat_map(|i| [sections::attention(i), sections::ffn(i)]);
        for name in fixed.map(String::from).into_iter().chain(expected) {
            if !self.sections.contains_key(name.as_str()) {
                return self.fail(format!("section `{name}` is missing"));
            }
        }
        if self.sections.len() != fixed.len() + 2 * layers || self.header.layers.len() != layers {
            return self.fail(format!(
                "{} sections and {} layers; expected {} and {layers}",
                self.sections.len(),
                self.header.layers.len(),
                fixed.len() + 2 * layers
            ));
        }
        Ok(())
    }

    /// Notes that `name` takes `bytes` at `offset`, which must lie in `section`.
    fn take(
        &mut self,
        section: &str,
        name: &str,
        offset: u64,
        bytes: Option<u64>,
        align: u64,
    ) -> Result<()> {
        let within = self.sections[section];
        let end = bytes.and_then(|bytes| offset.checked_add(bytes));
        let section_end = within.offset + within.bytes;
        match end {
            Some(end)
                if offset >= within.offset
                    && end <= section_end
                    && offset.is_multiple_of(align) =>
            {
                self.taken.push((offset, end, name.to_owned()));
                Ok(())
            }
            _ => self.fail(format!(
                "`{name}` at {offset} does not lie in section `{section}`"
            )),
        }
    }

    fn vector(
        &mut self,
        name: &str,
        vector: Option<&Vector>,
        expected: Option<usize>,
    ) -> Result<()> {
        match (vector, expected) {
            (None, None) => Ok(()),
            (Some(vector), Some(len)) if vector.len == len as u64 => {
                let bytes = vector.len.checked_mul(4);
                self.take(sections::VECTORS, name, vector.offset, bytes, MATRIX_ALIGN)
            }
            (found, expected) => {
                let found = found.map_or(0, |v| v.len);
                self.fail(format!(
                    "`{name}` has {found} elements; expected {}",
                    expected.unwrap_or(0)
                ))
            }
        }
    }

    fn matrix(
        &mut self,
        section: &str,
        name: &str,
        matrix: &Matrix,
        rows: usize,
        cols: usize,
    ) -> Result<()> {
        if (matrix.rows, matrix.cols) != (rows as u64, cols as u64) {
            let (r, c) = (matrix.rows, matrix.cols);
            return self.fail(format!(
                "`{name}` has {r} rows of {c} elements; expected {rows} of {cols}"
            ));
        }
        let row = matrix.ty.0.row_bytes(cols).map(|row| row as u64);
        let bytes = row.and_then(|row| row.checked_mul(matrix.rows));
        self.take(section, name, matrix.offset, bytes, MATRIX_ALIGN)
    }

    fn norm(&mut self, name: &str, norm: &NormEntry) -> Result<()> {
        let d = self.header.spec.d_model;
        let bias = (self.header.spec.norm.kind == NormKind::Layer).then_some(d);
        self.vector(&format!("{name}.weight"), Some(&norm.weight), Some(d))?;
        self.vector(&format!("{name}.bias"), norm.bias.as_ref(), bias)
    }

    fn linear(
        &mut self,
        section: &str,
        name: String,
        linear: &LinearEntry,
        has_bias: bool,
        rows: usize,
        cols: usize,
    ) -> Result<()> {
        self.matrix(section, &name, &linear.weight, rows, cols)?;
        let bias = has_bias.then_some(rows);
        self.vector(&format!("{name}.bias"), linear.bias.as_ref(), bias)
    }

    fn weights(&mut self) -> Result<()> {
        let header = self.header;
        let spec = &header.spec;
        let (d, vocab) = (spec.d_model, spec.vocab_size);
        // The token table of a tied model is read at the end of a token.
        let table = match spec.tied_embeddings {
            true => sections::OUTPUT,
            false => sections::EMBEDDINGS,
        };
        self.matrix(table, "token_embd", &header.token_embd, vocab, d)?;
        match (&header.output, spec.tied_embeddings) {
            (Some(output), false) => self.matrix(sections::OUTPUT, "output", output, vocab, d)?,
            (None, true) => {}
            _ => return self.fail("`output` contradicts `tied_embeddings`".into()),
        }
        match (&header.position_embd, &spec.positions) {
            (Some(positions), lampyris_import::arch::Positions::Learned { offset }) => {
                let rows = spec.context_length + offset;
                self.matrix(sections::EMBEDDINGS, "position_embd", positions, rows, d)?;
            }
            (None, lampyris_import::arch::Positions::Rope(_)) => {}
            _ => return self.fail("`position_embd` contradicts the kind of positions".into()),
        }
        self.norm("output_norm", &header.output_norm)?;
        for (i, (layer, spec)) in header.layers.iter().zip(&spec.layers).enumerate() {
            self.attention(i, layer, spec)?;
            match (&layer.ffn, header.layout) {
                (FfnEntry::Bundled(bundles), Layout::Bundled) => self.bundles(i, bundles, spec)?,
                (FfnEntry::Dense { gate, up, down }, Layout::Dense) => {
                    self.dense(i, gate.as_ref(), up, down, spec)?;
                }
                _ => return self.fail(format!("the FFN of layer {i} contradicts the layout")),
            }
        }
        Ok(())
    }

    fn attention(
        &mut self,
        i: usize,
        layer: &super::header::Layer,
        spec: &LayerSpec,
    ) -> Result<()> {
        let d = self.header.spec.d_model;
        let section = sections::attention(i);
        self.norm(&format!("blk.{i}.attn_norm"), &layer.attn_norm)?;
        self.norm(&format!("blk.{i}.ffn_norm"), &layer.ffn_norm)?;
        for (name, linear, rows) in [
            ("attn_q", &layer.q, spec.q_width()),
            ("attn_k", &layer.k, spec.k_width()),
            ("attn_v", &layer.v, spec.v_width()),
        ] {
            self.linear(
                &section,
                format!("blk.{i}.{name}"),
                linear,
                spec.biases.qkv,
                rows,
                d,
            )?;
        }
        let name = format!("blk.{i}.attn_output");
        let bias = spec.biases.attn_output;
        self.linear(&section, name, &layer.o, bias, d, spec.attn_width())
    }

    fn dense(
        &mut self,
        i: usize,
        gate: Option<&LinearEntry>,
        up: &LinearEntry,
        down: &LinearEntry,
        spec: &LayerSpec,
    ) -> Result<()> {
        let (d, ffn, bias) = (self.header.spec.d_model, spec.ffn_dim, spec.biases.ffn);
        let section = sections::ffn(i);
        if self.sections[section.as_str()].grid != Grid::plain(UNIT_BYTES) {
            return self.fail(format!(
                "section `{section}` has an impossible grid of checksums"
            ));
        }
        if gate.is_some() != spec.gated {
            return self.fail(format!("the gate of layer {i} contradicts `gated`"));
        }
        if let Some(gate) = gate {
            self.linear(&section, format!("blk.{i}.ffn_gate"), gate, bias, ffn, d)?;
        }
        self.linear(&section, format!("blk.{i}.ffn_up"), up, bias, ffn, d)?;
        self.linear(&section, format!("blk.{i}.ffn_down"), down, bias, d, ffn)
    }

    fn bundles(&mut self, i: usize, b: &'a BundlesEntry, spec: &LayerSpec) -> Result<()> {
        let d = self.header.spec.d_model;
        let name = sections::ffn(i);
        let wrong = |problem: &str| self.fail(format!("the bundles of `{name}` {problem}"));
        let section = self.sections[name.as_str()];
        if b.neurons != spec.ffn_dim as u64 {
            return wrong(&format!("are {}; expected {}", b.neurons, spec.ffn_dim));
        }
        if b.gate.is_some() != spec.gated {
            return wrong("contradict `gated`");
        }
        if !parts_fit(&[b.gate, Some(b.up), Some(b.down)], d, b.bundle_bytes) {
            return wrong("have parts that overlap or reach past their end");
        }
        let grid = Grid {
            unit: b.bundle_bytes,
            per_group: b.group_neurons,
            group: b.group_bytes,
        };
        // Sound, so the products below are those of a section that lies in the file.
        let last = grid
            .is_sound()
            .then(|| (b.neurons - 1) / b.group_neurons)
            .and_then(|g| g.checked_mul(b.group_bytes));
        let last = last.and_then(|at| {
            at.checked_add(((b.neurons - 1) % b.group_neurons + 1) * b.bundle_bytes)
        });
        if section.grid != grid || b.offset != section.offset || last != Some(section.bytes) {
            return wrong("do not fill their section");
        }
        if !(b.down_error.is_finite() && b.down_error >= 0.0) {
            return wrong("have an impossible error");
        }
        let bias = |len: usize| spec.biases.ffn.then_some(len);
        let gate_bias = bias(spec.ffn_dim).filter(|_| spec.gated);
        let order = b.order.is_some().then_some(spec.ffn_dim);
        self.vector(&format!("{name}.order"), b.order.as_ref(), order)?;
        self.vector(
            &format!("{name}.gate_bias"),
            b.gate_bias.as_ref(),
            gate_bias,
        )?;
        self.vector(
            &format!("{name}.up_bias"),
            b.up_bias.as_ref(),
            bias(spec.ffn_dim),
        )?;
        self.vector(&format!("{name}.down_bias"), b.down_bias.as_ref(), bias(d))
    }

    /// Nothing overlaps, and what is read whole is not larger than what it holds.
    fn overlaps(mut self) -> Result<()> {
        self.taken.sort();
        let vectors = self.sections[sections::VECTORS];
        let end = vectors.offset + vectors.bytes;
        let held = self
            .taken
            .iter()
            .filter(|(start, ..)| (vectors.offset..end).contains(start));
        let held = held.fold(0u64, |sum, (start, end, _)| {
            sum + (end - start) + MATRIX_ALIGN
        });
        let text = self.sections[sections::TEXT].bytes;
        if vectors.bytes > held || text > TEXT_BYTES_MAX {
            return self.fail(format!(
                "{text} bytes of text and {} of vectors are too many",
                vectors.bytes
            ));
        }
        for pair in self.taken.windows(2) {
            if pair[0].1 > pair[1].0 {
                return self.fail(format!("`{}` overlaps `{}`", pair[1].2, pair[0].2));
            }
        }
        Ok(())
    }
}

/// Whether the parts of a bundle, one after the other, fit into it.
fn parts_fit(parts: &[Option<PartEntry>; 3], width: usize, bundle_bytes: u64) -> bool {
    let mut end = 0;
    parts.iter().flatten().all(|part| {
        let bytes = part.ty.0.row_bytes(width).map(|bytes| bytes as u64);
        let next = bytes.and_then(|bytes| part.offset.checked_add(bytes));
        let fits = part.offset >= end && next.is_some_and(|next| next <= bundle_bytes);
        end = next.unwrap_or(u64::MAX);
        fits
    })
}
