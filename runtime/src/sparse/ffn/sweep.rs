//! Many tokens: the layer is read once, in order, and every token takes from it what it needs.

use super::{Layer, WindowedFfn, part_of};
use crate::sparse::chunks::Places;
use crate::sparse::fetch::{Fetcher, Request};
use crate::sparse::geometry::{self, Geometry, Resident, Span};
use crate::sparse::options::SparseError;
use lampyris_kernels::Matrix;
use lampyris_pack::Part;
use std::ops::Range;
use std::time::Instant;

impl WindowedFfn {
    pub(super) fn sweep(
        &mut self,
        layer: usize,
        tokens: usize,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<(), SparseError> {
        self.scratch.predicted.clear();
        if self.options.predict_prompts {
            self.predict_prompt(layer, x);
        }
        let this = &self.layers[layer];
        let pinned = this.slots.pinned() as u32;
        let most = self.scratch.sweep_values.len() / self.scratch.batch.max(1);
        for first in (0..pinned).step_by(most.max(1)) {
            let range = first..(first + most as u32).min(pinned);
            self.chunk(layer, tokens, &range, None, y);
        }
        let this = &self.layers[layer];
        let span = this.geometry.span(this.resident);
        let (align, largest) = (self.fetcher.alignment(), self.largest_read);
        let ranges = geometry::sweep(span, pinned as usize, align, largest);
        let name = this.geometry.name.clone();
        for (i, range) in ranges.iter().enumerate() {
            submit(&mut self.fetcher, &self.layers[layer], &ranges)?;
            self.fetcher.wait(i + 1, &name)?;
            self.chunk(layer, tokens, range, Some(i), y);
            self.fetcher.release(i + 1);
        }
        Ok(())
    }

    /// Adds the neurons at some positions in a row, from a read or, without one, from the cache.
    fn chunk(
        &mut self,
        layer: usize,
        tokens: usize,
        range: &Range<u32>,
        read: Option<usize>,
        y: &mut [f32],
    ) {
        let (kernels, pool) = (&self.kernels, &*self.pool);
        let layer = &self.layers[layer];
        let span = layer.geometry.span(layer.resident);
        let filled = &self.fetcher.filled;
        let offset = offset(span, range.start, self.fetcher.alignment());
        let row = |position: u32| match read {
            Some(read) => {
                let from = (span.start(position) - offset) as usize;
                &filled.bytes_of(read)[from..][..span.bytes]
            }
            None => layer
                .slots
                .row(position)
                .expect("pinned neurons are in memory"),
        };
        let s = &mut self.scratch;
        let count = range.len();
        let positions = range.start as usize..range.end as usize;
        let mut product = |known: &[u8], part: Part, inside: Option<Part>, out: &mut [f32]| {
            let data = match inside {
                None => &known[positions.start * part.bytes..][..count * part.bytes],
                Some(inside) => {
                    let start = Instant::now();
                    let rows = s.sweep_rows.chunks_exact_mut(part.bytes);
                    for (to, p) in rows.zip(range.clone()) {
                        to.copy_from_slice(part_of(row(p), inside));
                    }
                    self.counters.memory += start.elapsed();
                    &s.sweep_rows[..count * part.bytes]
                }
            };
            let weights = Matrix {
                ty: part.ty,
                rows: count,
                cols: layer.geometry.width,
                data,
            };
            kernels.matmul(pool, weights, &s.x, out, count, 0);
        };
        let values = &mut s.sweep_values[..tokens * count];
        product(
            layer.known_keys_or_none(),
            layer.geometry.key,
            layer.key,
            values,
        );
        add_bias(kernels, values, &layer.key_bias, &positions);
        layer.activate(kernels, values);
        if let Some(second) = layer.geometry.second {
            let seconds = &mut s.sweep_seconds[..tokens * count];
            let inside = match layer.resident {
                Resident::KeyAndSecond => None,
                _ => layer.second,
            };
            product(layer.known_seconds(), second, inside, seconds);
            add_bias(kernels, seconds, &layer.second_bias, &positions);
            leave_out_keys(layer, values);
            values.iter_mut().zip(&*seconds).for_each(|(h, u)| *h *= u);
        }
        leave_out_products(layer, values);
        let neurons = layer.neurons();
        for (mask, row) in s
            .predicted
            .chunks_exact(neurons)
            .zip(values.chunks_exact_mut(count))
        {
            for (v, &predicted) in row.iter_mut().zip(&mask[positions.clone()]) {
                self.counters.quality.count(*v != 0.0, predicted);
                if !predicted {
                    *v = 0.0;
                }
            }
        }
        let (values, width) = (&*values, layer.geometry.width);
        let down = |i: usize| part_of(row(range.start + i as u32), layer.down);
        if tokens == 1 {
            kernels.axpy_rows(pool, layer.down.ty, &down, values, y);
            return;
        }
        pool.for_each_mut(y, width, |token, y| {
            for (i, &a) in values[token * count..][..count].iter().enumerate() {
                if a != 0.0 {
                    kernels.axpy_row(layer.down.ty, down(i), a, y);
                }
            }
        });
    }
}

impl Layer {
    /// Resident key rows, or nothing where they are read with the rest.
    fn known_keys_or_none(&self) -> &[u8] {
        match self.resident {
            Resident::Nothing => &[],
            _ => self.known_keys(),
        }
    }
}

/// What the gate rule leaves out, before up is known.
fn leave_out_keys(layer: &Layer, values: &mut [f32]) {
    if layer.resident == Resident::Key
        && let Some((_, threshold)) = layer.threshold
    {
        zero_up_to(values, threshold);
    }
}

/// What the product rule leaves out. (A network without gate has no other product.)
fn leave_out_products(layer: &Layer, values: &mut [f32]) {
    let last = layer.resident == Resident::KeyAndSecond || layer.geometry.second.is_none();
    if let (true, Some((_, threshold))) = (last, layer.threshold) {
        zero_up_to(values, threshold);
    }
}

fn zero_up_to(values: &mut [f32], threshold: f32) {
    values
        .iter_mut()
        .filter(|v| v.abs() <= threshold)
        .for_each(|v| *v = 0.0);
}

fn add_bias(
    kernels: &lampyris_kernels::Kernels,
    values: &mut [f32],
    bias: &[f32],
    positions: &Range<usize>,
) {
    if !bias.is_empty() {
        kernels.add(values, &bias[positions.clone()]);
    }
}

fn offset(span: Span<'_>, first: u32, align: usize) -> u64 {
    span.start(first) / align as u64 * align as u64
}

/// Fills all free buffers with the reads that come next.
fn submit(fetcher: &mut Fetcher, layer: &Layer, ranges: &[Range<u32>]) -> Result<(), SparseError> {
    while fetcher.submitted() < ranges.len() && fetcher.has_room() {
        let range = &ranges[fetcher.submitted()];
        let align = fetcher.alignment();
        fetcher.submit(request(&layer.geometry, layer.resident, range, align))?;
    }
    Ok(())
}

/// The read for neurons in a row.
pub(super) fn request(
    geometry: &Geometry,
    resident: Resident,
    range: &Range<u32>,
    align: usize,
) -> Request {
    let span = geometry.span(resident);
    let offset = offset(span, range.start, align);
    let end = span.start(range.end - 1) + span.bytes as u64;
    Request {
        file: geometry.file,
        offset,
        len: (end - offset).next_multiple_of(align as u64) as usize,
        needed: (end - offset) as usize,
    }
}
