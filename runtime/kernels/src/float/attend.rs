//! Online softmax over runs of 128 slots, for up to four queries of one key-value head.

use super::exp::exp;
use super::reduce::maximum;
use crate::attention::{AttentionPart, HeadView, QUERIES};
use crate::simd::{LANES, Simd};
use std::ops::Range;

/// Slots between two updates of the running maximum.
const RUN: usize = 128;

/// Elements of a cache.
trait Element: Copy {
    fn load<S: Simd>(s: S, x: &[Self; LANES]) -> S::V;
}

impl Element for u16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[u16; LANES]) -> S::V {
        s.from_f16(x)
    }
}

impl Element for i8 {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[i8; LANES]) -> S::V {
        s.from_i8(x)
    }
}

/// One head's keys and values; scales are empty if the format has none.
struct Head<'a, E> {
    k: &'a [E],
    v: &'a [E],
    k_scale: &'a [f32],
    v_scale: &'a [f32],
    dim: usize,
}

/// Running state of one query.
#[derive(Clone, Copy)]
struct State<V> {
    max: f32,
    sum: V,
    weights: [f32; RUN],
}

/// Writes the result of query `i` to `out[i * d..]`, `d` being the head dimension rounded up to
/// sixteen.
#[inline(always)]
pub(crate) fn attend<S: Simd>(s: S, part: &AttentionPart<'_>, out: &mut [f32]) {
    let dim = part.head_dim;
    match part.head {
        HeadView::F16 { k, v } => {
            let head = Head {
                k,
                v,
                k_scale: &[],
                v_scale: &[],
                dim,
            };
            by_count(s, part, &head, out);
        }
        HeadView::Q8 {
            k,
            v,
            k_scale,
            v_scale,
        } => {
            let head = Head {
                k,
                v,
                k_scale,
                v_scale,
                dim,
            };
            by_count(s, part, &head, out);
        }
    }
}

#[inline(always)]
fn by_count<S: Simd, E: Element>(
    s: S,
    part: &AttentionPart<'_>,
    head: &Head<'_, E>,
    out: &mut [f32],
) {
    // Two and three are computed as four, the last one repeated: less code, and they are rare.
    match part.count {
        1 => attend_to::<S, E, 1>(s, part, head, out),
        _ => attend_to::<S, E, QUERIES>(s, part, head, out),
    }
}

#[inline(always)]
fn attend_to<S: Simd, E: Element, const N: usize>(
    s: S,
    part: &AttentionPart<'_>,
    head: &Head<'_, E>,
    out: &mut [f32],
) {
    let rows = head.dim.next_multiple_of(LANES);
    let out = &mut out[..N * rows];
    out.fill(0.0);
    let mut states = [State {
        max: f32::NEG_INFINITY,
        sum: s.splat(0.0),
        weights: [0.0; RUN],
    }; N];
    for span in 0..part.spans[0].len() {
        let seen: [Range<usize>; N] = std::array::from_fn(|n| part.spans[n][span].clone());
        let some = || seen.iter().filter(|r| !r.is_empty());
        let first = some().map(|r| r.start).min().unwrap_or(0);
        let last = some().map(|r| r.end).max().unwrap_or(0);
        let mut run = first / RUN * RUN;
        while run < last {
            let seen = seen.clone().map(|r| r.start.max(run)..r.end.min(run + RUN));
            scores(s, part, head, run, &seen, &mut states);
            for (n, state) in states.iter_mut().enumerate() {
                if !seen[n].is_empty() {
                    soften(s, state, run, &seen[n], &mut out[n * rows..][..rows]);
                }
            }
            add_values(s, head, run, &seen, &mut states, out);
            run += RUN;
        }
    }
    for (out, state) in out.chunks_exact_mut(rows).zip(&states) {
        let scale = 1.0 / s.sum(state.sum);
        out.iter_mut().for_each(|v| *v *= scale);
    }
}

/// Scores of the groups of sixteen slots that some query sees.
#[inline(always)]
fn scores<S: Simd, E: Element, const N: usize>(
    s: S,
    part: &AttentionPart<'_>,
    head: &Head<'_, E>,
    run: usize,
    seen: &[Range<usize>; N],
    states: &mut [State<S::V>; N],
) {
    let some = || seen.iter().filter(|r| !r.is_empty());
    let first = some().map(|r| r.start).min().unwrap_or(run) / LANES * LANES;
    let last = some().map(|r| r.end).max().unwrap_or(run);
    for slot in (first..last).step_by(LANES) {
        let keys = &head.k[slot * head.dim..][..LANES * head.dim];
        let (keys, _) = keys.as_chunks::<LANES>();
        let mut dots = [s.splat(0.0); N];
        for (d, key) in keys.iter().enumerate() {
            let key = E::load(s, key);
            for n in 0..N {
                dots[n] = s.add(dots[n], s.mul(key, s.splat(part.queries[n][d])));
            }
        }
        for n in 0..N {
            let mut dot = dots[n];
            if let Some(scale) = head.k_scale.get(slot..slot + LANES) {
                dot = s.mul(dot, s.load(scale.first_chunk().expect("sixteen")));
            }
            let to = states[n].weights[slot - run..].first_chunk_mut();
            s.store(s.mul(dot, s.splat(part.scale)), to.expect("sixteen"));
        }
    }
}

/// Scores to weights relative to the new maximum; sum and `out` follow it.
#[inline(always)]
fn soften<S: Simd>(
    s: S,
    state: &mut State<S::V>,
    run: usize,
    seen: &Range<usize>,
    out: &mut [f32],
) {
    let (start, end) = (seen.start - run, seen.end - run);
    let (first, last) = (start / LANES * LANES, end.next_multiple_of(LANES));
    state.weights[first..start].fill(f32::NEG_INFINITY);
    state.weights[end..last].fill(f32::NEG_INFINITY);
    let weights = &mut state.weights[first..last];
    let high = maximum(weights);
    let max = if high > state.max { high } else { state.max };
    let mut fade = [0.0; LANES];
    s.store(exp(s, s.splat(state.max - max)), &mut fade);
    state.sum = s.mul(state.sum, s.splat(fade[0]));
    for weights in weights.as_chunks_mut::<LANES>().0 {
        let e = exp(s, s.sub(s.load(weights), s.splat(max)));
        state.sum = s.add(state.sum, e);
        s.store(e, weights);
    }
    state.max = max;
    let fade = s.splat(fade[0]);
    for v in out.as_chunks_mut::<LANES>().0 {
        s.store(s.mul(s.load(v), fade), v);
    }
}

/// `out += weight * value` for all slots that each query sees, in order.
#[inline(always)]
fn add_values<S: Simd, E: Element, const N: usize>(
    s: S,
    head: &Head<'_, E>,
    run: usize,
    seen: &[Range<usize>; N],
    states: &mut [State<S::V>; N],
    out: &mut [f32],
) {
    for n in 0..N {
        if let Some(scales) = head.v_scale.get(seen[n].clone()) {
            for (slot, scale) in seen[n].clone().zip(scales) {
                states[n].weights[slot - run] *= scale;
            }
        }
    }
    let rows = head.dim.next_multiple_of(LANES);
    // What all see from the same start on is one pass for all (the queries of a batch differ in
    // their ends); what is left goes query by query.
    let start = seen[0].start;
    let end = match seen.iter().all(|r| r.start == start) {
        true => seen.iter().map(|r| r.end).min().unwrap_or(start),
        false => start,
    };
    if N > 1 && start < end {
        let mut rest = &mut *out;
        let outs: [&mut [f32]; N] = std::array::from_fn(|_| {
            let (first, others) = std::mem::take(&mut rest).split_at_mut(rows);
            rest = others;
            first
        });
        let weights: [&[f32; RUN]; N] = std::array::from_fn(|n| &states[n].weights);
        weighted(s, head, run, start..end, weights, outs);
    }
    for n in 0..N {
        let from = match N > 1 && start < end {
            true => end,
            false => seen[n].start,
        };
        let out = &mut out[n * rows..][..rows];
        weighted(s, head, run, from..seen[n].end, [&states[n].weights], [out]);
    }
}

/// `out[n] += weights[n][slot] * value[slot]` over `slots`.
#[inline(always)]
fn weighted<S: Simd, E: Element, const N: usize>(
    s: S,
    head: &Head<'_, E>,
    run: usize,
    slots: Range<usize>,
    weights: [&[f32; RUN]; N],
    mut outs: [&mut [f32]; N],
) {
    if slots.is_empty() {
        return;
    }
    let rows = head.dim.next_multiple_of(LANES);
    let mut d = 0;
    while d < rows {
        if d + 4 * LANES <= rows {
            columns::<S, E, N, 4>(s, head, run, slots.clone(), &weights, &mut outs, d);
            d += 4 * LANES;
        } else {
            columns::<S, E, N, 1>(s, head, run, slots.clone(), &weights, &mut outs, d);
            d += LANES;
        }
    }
}

/// [`weighted`] for `D` vectors of elements from element `d` on.
#[inline(always)]
fn columns<S: Simd, E: Element, const N: usize, const D: usize>(
    s: S,
    head: &Head<'_, E>,
    run: usize,
    slots: Range<usize>,
    weights: &[&[f32; RUN]; N],
    outs: &mut [&mut [f32]; N],
    d: usize,
) {
    let rows = head.dim.next_multiple_of(LANES);
    let place = |i: usize| d + i * LANES;
    let mut sums = [[s.splat(0.0); D]; N];
    for n in 0..N {
        for i in 0..D {
            sums[n][i] = s.load(outs[n][place(i)..].first_chunk().expect("sixteen"));
        }
    }
    let values = &head.v[slots.start * rows..slots.end * rows];
    for (slot, values) in slots.zip(values.chunks_exact(rows)) {
        for i in 0..D {
            let value = E::load(s, values[place(i)..].first_chunk().expect("sixteen"));
            for n in 0..N {
                let weight = s.splat(weights[n][slot - run]);
                sums[n][i] = s.add(sums[n][i], s.mul(weight, value));
            }
        }
    }
    for n in 0..N {
        for i in 0..D {
            let to = outs[n][place(i)..].first_chunk_mut().expect("sixteen");
            s.store(sums[n][i], to);
        }
    }
}
