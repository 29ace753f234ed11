//! A few tokens: only what they need is read.

use super::scratch::Scratch;
use super::{Layer, WindowedFfn, part_of};
use crate::sparse::fetch::{Filled, Request};
use crate::sparse::geometry::Resident;
use crate::sparse::options::SparseError;
use lampyris_kernels::{Kernels, Pool};
use std::ops::Range;
use std::time::Instant;

/// The neurons of a wave are in the assembly, not in the buffers of the fetcher.
const ASSEMBLED: u32 = u32::MAX;

impl WindowedFfn {
    pub(super) fn decode(
        &mut self,
        layer: usize,
        tokens: usize,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<(), SparseError> {
        self.select(layer, tokens, x);
        let start = Instant::now();
        self.plan(layer, tokens);
        self.counters.memory += start.elapsed();
        let unit = match self.options.bundle {
            true => 1,
            false => self.layers[layer]
                .geometry
                .parts_in(self.layers[layer].resident)
                .len(),
        };
        let reads = self.scratch.reads.len();
        // All at once if buffers suffice; else half of them are filled while the others are used.
        let buffers = self.fetcher.depth() / unit;
        let wave = if reads <= buffers {
            reads
        } else {
            (buffers / 2).max(1)
        };
        let mut done = std::mem::take(&mut self.scratch.done);
        done.clear();
        done.resize(tokens, 0);
        let mut next = 0;
        loop {
            let end = (next + wave).min(reads);
            while self.fetcher.submitted() < reads * unit && self.fetcher.has_room() {
                self.fetcher
                    .submit(self.scratch.requests[self.fetcher.submitted()])?;
            }
            self.fetcher
                .wait(end * unit, &self.layers[layer].geometry.name)?;
            let missing = self.stage(layer, next..end, unit);
            let bound = match end == reads {
                true => u32::MAX,
                false => self.scratch.misses[missing.end - 1],
            };
            self.add_up_to(layer, tokens, bound, &mut done, y);
            self.admit(layer, missing);
            self.fetcher.release(end * unit);
            next = end;
            if next == reads {
                self.scratch.done = done;
                return Ok(());
            }
        }
    }

    /// What the tokens want together, what of it is missing, and the reads and requests for that.
    fn plan(&mut self, layer: usize, tokens: usize) {
        let layer = &mut self.layers[layer];
        let s = &mut self.scratch;
        s.union.clear();
        match tokens {
            1 => s.union.extend_from_slice(&s.lists[0]),
            _ => {
                s.lists[..tokens]
                    .iter()
                    .for_each(|list| s.union.extend_from_slice(list));
                s.union.sort_unstable();
                s.union.dedup();
            }
        }
        layer.usage.want(&s.union);
        s.misses.clear();
        s.misses
            .extend(s.union.iter().filter(|&&p| !layer.slots.contains(p)));
        let span = layer.geometry.span(layer.resident);
        self.counters.steps += tokens as u64;
        self.counters.wanted += s.union.len() as u64;
        self.counters.hits += (s.union.len() - s.misses.len()) as u64;
        self.counters.bytes_wanted += (s.misses.len() * span.bytes) as u64;
        if self.options.chunks && self.options.bundle {
            self.planner.plan(&span, &s.misses, &mut s.reads);
        } else {
            self.planner.separate(&span, &s.misses, &mut s.reads);
        }
        requests(layer, self.options.bundle, self.fetcher.alignment(), s);
    }

    /// Notes where the missing neurons of some reads lie; returns their range among the missing.
    /// Neurons whose parts were read apart are put together.
    fn stage(&mut self, layer: usize, reads: Range<usize>, unit: usize) -> Range<usize> {
        let s = &mut self.scratch;
        if reads.is_empty() {
            return 0..0;
        }
        let missing = s.reads[reads.start].first..s.reads[reads.end - 1].last + 1;
        let layer = &self.layers[layer];
        let span = layer.geometry.span(layer.resident);
        if self.options.bundle {
            for r in reads {
                let read = s.reads[r];
                for &p in &s.misses[read.first..=read.last] {
                    let offset = crate::sparse::chunks::Places::start(&span, p) - read.offset;
                    s.staged[p as usize] = (r as u32, offset as u32);
                }
            }
            return missing;
        }
        let start = Instant::now();
        let parts = layer.geometry.parts_in(layer.resident);
        for (row, r) in reads.clone().enumerate() {
            let p = s.misses[r];
            for (i, part) in parts.iter().enumerate() {
                let request = s.requests[r * unit + i];
                let at = layer.geometry.place(p) + (span.from + part.offset) as u64;
                let from = (at - request.offset) as usize;
                let bytes = &self.fetcher.filled.bytes_of(r * unit + i)[from..][..part.bytes];
                s.assembly[row * span.bytes + part.offset..][..part.bytes].copy_from_slice(bytes);
            }
            s.staged[p as usize] = (ASSEMBLED, (row * span.bytes) as u32);
        }
        self.counters.memory += start.elapsed();
        missing
    }

    /// Adds the neurons up to position `bound` (inclusive) that were not added yet.
    fn add_up_to(
        &mut self,
        layer: usize,
        tokens: usize,
        bound: u32,
        done: &mut [usize],
        y: &mut [f32],
    ) {
        let layer = &self.layers[layer];
        let Scratch {
            x,
            values,
            lists,
            staged,
            assembly,
            live,
            coefficients,
            products,
            ..
        } = &mut self.scratch;
        let bytes = layer.geometry.span(layer.resident).bytes;
        let filled = &self.fetcher.filled;
        let row = |position: u32| {
            let missing = || locate(filled, assembly, staged[position as usize], bytes);
            layer.slots.row(position).unwrap_or_else(missing)
        };
        let mut neurons = Neurons {
            kernels: &self.kernels,
            pool: &self.pool,
            layer,
            row: &row,
            live,
            coefficients,
            products,
        };
        for token in 0..tokens {
            let list = &lists[token][done[token]..];
            let list = &list[..list.partition_point(|&p| p <= bound)];
            done[token] += list.len();
            let known = &values[token * layer.neurons()..][..layer.neurons()];
            neurons.compute(list, known, x, token);
            let y = &mut y[token * layer.geometry.width..][..layer.geometry.width];
            neurons.add(y);
        }
    }

    /// Offers the neurons that were read to the cache.
    fn admit(&mut self, layer: usize, missing: Range<usize>) {
        let start = Instant::now();
        let Layer {
            slots,
            usage,
            geometry,
            resident,
            ..
        } = &mut self.layers[layer];
        let s = &self.scratch;
        let bytes = geometry.span(*resident).bytes;
        usage.admit(slots, &s.misses[missing], |p, row| {
            let place = s.staged[p as usize];
            row.copy_from_slice(locate(&self.fetcher.filled, &s.assembly, place, bytes));
        });
        self.counters.memory += start.elapsed();
    }
}

/// The row of a neuron that was read.
fn locate<'a>(
    filled: &'a Filled,
    assembly: &'a [u8],
    (request, offset): (u32, u32),
    bytes: usize,
) -> &'a [u8] {
    let data = match request {
        ASSEMBLED => assembly,
        request => filled.bytes_of(request as usize),
    };
    &data[offset as usize..][..bytes]
}

/// The requests of all reads: one each, or one for each part of each neuron.
fn requests(layer: &Layer, bundle: bool, align: usize, s: &mut Scratch) {
    use crate::sparse::chunks::Places;
    s.requests.clear();
    let file = layer.geometry.file;
    let span = layer.geometry.span(layer.resident);
    for read in &s.reads {
        if bundle {
            let end = span.start(s.misses[read.last]) + span.bytes as u64;
            s.requests.push(Request {
                file,
                offset: read.offset,
                len: read.len,
                needed: (end - read.offset) as usize,
            });
            continue;
        }
        for part in layer.geometry.parts_in(layer.resident) {
            let start = span.start(s.misses[read.first]) + part.offset as u64;
            let offset = start / align as u64 * align as u64;
            let needed = (start - offset) as usize + part.bytes;
            s.requests.push(Request {
                file,
                offset,
                len: needed.next_multiple_of(align),
                needed,
            });
        }
    }
}

/// Some neurons of one token.
struct Neurons<'a, R> {
    kernels: &'a Kernels,
    pool: &'a Pool,
    layer: &'a Layer,
    /// A neuron's row of the cache, wherever it lies.
    row: &'a R,
    live: &'a mut Vec<u32>,
    coefficients: &'a mut Vec<f32>,
    products: &'a mut Vec<f32>,
}

impl<'a, R: Fn(u32) -> &'a [u8] + Sync> Neurons<'a, R> {
    /// Finds the neurons of `list` that are not zero, and their coefficients.
    fn compute(
        &mut self,
        list: &[u32],
        known: &[f32],
        x: &lampyris_kernels::Activations,
        token: usize,
    ) {
        let layer = self.layer;
        self.live.clear();
        self.live.extend_from_slice(list);
        match layer.key {
            Some(key) => {
                self.products.resize(list.len(), 0.0);
                let row = |i: usize| part_of((self.row)(list[i]), key);
                self.kernels
                    .dot_rows(self.pool, key.ty, &row, x, token, self.products);
                add_bias(self.products, &layer.key_bias, list);
                layer.activate(self.kernels, self.products);
                // A neuron that was predicted in vain ends here.
                let both = list.iter().zip(&*self.products).filter(|(_, h)| **h != 0.0);
                self.live.clear();
                self.coefficients.clear();
                for (&p, &h) in both {
                    self.live.push(p);
                    self.coefficients.push(h);
                }
            }
            None => {
                self.coefficients.clear();
                self.coefficients
                    .extend(list.iter().map(|&p| known[p as usize]));
            }
        }
        if let (Some(second), true) = (layer.second, layer.resident != Resident::KeyAndSecond) {
            self.products.resize(self.live.len(), 0.0);
            let live = &*self.live;
            let row = |i: usize| part_of((self.row)(live[i]), second);
            self.kernels
                .dot_rows(self.pool, second.ty, &row, x, token, self.products);
            add_bias(self.products, &layer.second_bias, live);
            let both = self.coefficients.iter_mut().zip(&*self.products);
            both.for_each(|(c, u)| *c *= u);
        }
    }

    /// Adds their columns of the down projection.
    fn add(&self, y: &mut [f32]) {
        let down = self.layer.down;
        let row = |i: usize| part_of((self.row)(self.live[i]), down);
        self.kernels
            .axpy_rows(self.pool, down.ty, &row, self.coefficients, y);
    }
}

fn add_bias(values: &mut [f32], bias: &[f32], positions: &[u32]) {
    if !bias.is_empty() {
        values
            .iter_mut()
            .zip(positions)
            .for_each(|(v, &p)| *v += bias[p as usize]);
    }
}
