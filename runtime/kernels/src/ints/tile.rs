//! The loops over blocks and tokens.

use super::formats::{Block, Format, Sink};
use super::{GROUPS, Ints, Rows};
use crate::activations::{BLOCK, BlockMeta, Tokens};
use crate::backend::{TILE_ROWS, Tile};
use crate::simd::LANES;

/// Blocks that are unpacked before all tokens pass over them: 16 KiB of codes, half of a usual
/// first-level cache. A multiple of a super-block.
const CHUNK: usize = 32;
/// Columns between two looks at what to prefetch: one super-block.
const STEP: usize = 256;
const LINE: usize = 64;

/// Block `b` of token `t`.
#[inline(always)]
fn activations<'a>(x: &Tokens<'a>, t: usize, b: usize) -> (&'a [i8; BLOCK], &'a BlockMeta) {
    debug_assert!(t < x.count && b < x.blocks);
    let i = t * x.blocks + b;
    // SAFETY: `q` and `meta` hold `count * blocks` blocks.
    unsafe {
        let q = x.q.as_ptr().add(i * BLOCK).cast::<[i8; BLOCK]>();
        (&*q, x.meta.get_unchecked(i))
    }
}

/// What `block` adds for token `t`: see [`Backend::tile`](crate::backend::Backend::tile).
#[inline(always)]
fn step<S: Ints, F: Format>(
    s: S,
    sum: S::V,
    block: &Block<S>,
    x: &Tokens<'_>,
    t: usize,
    b: usize,
) -> S::V {
    let (q, meta) = activations(x, t, b);
    let mut dots = [block.codes[0]; 2];
    if F::HAS_HALVES {
        for (h, dot) in dots.iter_mut().enumerate() {
            let range = h * GROUPS / 2..(h + 1) * GROUPS / 2;
            *dot = match F::MAX {
                63 => s.dot::<4, 63>(&block.codes[range], &q[h * BLOCK / 2..]),
                _ => s.dot::<4, 127>(&block.codes[range], &q[h * BLOCK / 2..]),
            };
        }
    } else if F::SIGNED {
        dots[0] = s.dot_signed(&block.codes, q);
    } else {
        dots[0] = match F::MAX {
            15 => s.dot::<GROUPS, 15>(&block.codes, q),
            31 => s.dot::<GROUPS, 31>(&block.codes, q),
            _ => s.dot::<GROUPS, 127>(&block.codes, q),
        };
    }
    scaled::<S, F>(s, sum, block, dots, meta)
}

/// [`step`] for tokens `t` and `u`, with [packed](Ints::packed) codes.
#[inline(always)]
fn two_steps<S: Ints, F: Format>(
    s: S,
    sums: [S::V; 2],
    block: &Block<S>,
    x: &Tokens<'_>,
    [t, u]: [usize; 2],
    b: usize,
) -> [S::V; 2] {
    let ((qt, mt), (qu, mu)) = (activations(x, t, b), activations(x, u, b));
    let [[t0, u0], [t1, u1]] = if F::HAS_HALVES {
        let (first, second) = block.codes.split_at(GROUPS / 2);
        let half = BLOCK / 2;
        [
            s.dots::<4>(first, [qt, qu]),
            s.dots::<4>(second, [&qt[half..], &qu[half..]]),
        ]
    } else {
        [s.dots::<GROUPS>(&block.codes, [qt, qu]); 2]
    };
    [
        scaled::<S, F>(s, sums[0], block, [t0, t1], mt),
        scaled::<S, F>(s, sums[1], block, [u0, u1], mu),
    ]
}

/// `sum` and a block's dot product, of which it has two if it has halves, with its scales.
#[inline(always)]
fn scaled<S: Ints, F: Format>(
    s: S,
    sum: S::V,
    block: &Block<S>,
    dots: [S::I; 2],
    meta: &BlockMeta,
) -> S::V {
    // All of these are integers below 2^24, so nothing is rounded until the scale.
    let dot = if F::HAS_HALVES {
        let mut parts = block.halves;
        for (h, part) in parts.iter_mut().enumerate() {
            let offset = s.splat(F::OFFSET * meta.halves[h]);
            *part = s.mul(s.sub(s.to_float(dots[h]), offset), *part);
        }
        s.add(parts[0], parts[1])
    } else {
        let dot = s.to_float(dots[0]);
        let left_in = match F::SIGNED {
            true => S::SIGNED_OFFSET,
            false => F::OFFSET,
        };
        match left_in {
            0.0 => dot,
            offset => s.sub(dot, s.splat(offset * meta.sum)),
        }
    };
    let mut value = s.mul(block.scale, dot);
    if F::HAS_MIN {
        value = s.add(value, s.mul(block.min, s.splat(meta.sum)));
    }
    s.add(sum, s.mul(value, s.splat(meta.scale)))
}

/// Multiplies blocks as they come.
struct Direct<'a, S: Ints, F, const N: usize> {
    x: Tokens<'a>,
    sums: [S::V; N],
    format: std::marker::PhantomData<F>,
}

impl<S: Ints, F: Format, const N: usize> Sink<S> for Direct<'_, S, F, N> {
    #[inline(always)]
    fn block(&mut self, s: S, index: usize, block: Block<S>) {
        for t in 0..N {
            self.sums[t] = step::<S, F>(s, self.sums[t], &block, &self.x, t, index);
        }
    }
}

fn starts(tile: &Tile<'_>) -> Rows {
    tile.rows.map(<[u8]>::as_ptr)
}

/// Tiles up to this size are asked for line by line while the one before is multiplied; a larger
/// one would leave the cache again before its turn.
const LINEAR: usize = 32 << 10;
/// How far ahead of its use a long row's bytes are asked for.
const AHEAD: usize = 16 * LINE;

/// Asks for weights that will be used soon, `bytes` after byte `at` of each row being consumed
/// now. Sixteen rows at once are more than the processor's own prefetchers follow.
///
/// A function of its own: inside the loops the compiler would make a copy of them for each branch.
#[inline(never)]
fn prefetch<S: Ints>(s: S, tile: &Tile<'_>, rows: &Rows, at: usize, bytes: usize) {
    let row_bytes = tile.rows[0].len();
    let next = row_bytes * TILE_ROWS;
    if tile.contiguous && next <= LINEAR {
        let mut line = (at * TILE_ROWS).next_multiple_of(LINE);
        while line < (at + bytes) * TILE_ROWS {
            s.prefetch(rows[0].wrapping_add(next + line));
            line += LINE;
        }
        return;
    }
    let mut line = at.next_multiple_of(LINE);
    while line < at + bytes {
        let mut place = line + AHEAD.min(row_bytes);
        if place >= row_bytes {
            if !tile.contiguous {
                return;
            }
            place += next - row_bytes;
        }
        for row in rows {
            s.prefetch(row.wrapping_add(place));
        }
        line += LINE;
    }
}

/// A tile for `N` tokens: each weight is unpacked once, into registers.
#[inline(always)]
pub(crate) fn direct<S: Ints, F: Format, const N: usize>(
    s: S,
    tile: &Tile<'_>,
    x: Tokens<'_>,
    out: &mut [[f32; TILE_ROWS]],
) {
    assert!(x.count == N && out.len() >= N);
    let bytes = F::TY.block_bytes();
    let blocks = x.blocks * BLOCK / F::TY.block_len();
    assert!(tile.rows.iter().all(|row| row.len() == blocks * bytes));
    let rows = starts(tile);
    let mut sink = Direct::<S, F, N> {
        x,
        sums: [s.splat(0.0); N],
        format: std::marker::PhantomData,
    };
    let step = STEP / F::TY.block_len();
    for first in (0..blocks).step_by(step) {
        let count = step.min(blocks - first);
        prefetch(s, tile, &rows, first * bytes, count * bytes);
        for index in first..first + count {
            // SAFETY: each row has `blocks` blocks, as checked above.
            unsafe { F::unpack(s, &rows, index, &mut sink) };
        }
    }
    for (out, sum) in out.iter_mut().zip(sink.sums) {
        s.store(sum, out);
    }
}

/// Unpacked blocks of a tile.
struct Buffer {
    /// Number of the first block.
    first: usize,
    codes: [[[u32; LANES]; GROUPS]; CHUNK],
    scale: [[f32; LANES]; CHUNK],
    min: [[f32; LANES]; CHUNK],
    halves: [[[f32; LANES]; 2]; CHUNK],
}

/// Writes blocks to a buffer.
struct Store<'a, F> {
    buffer: &'a mut Buffer,
    format: std::marker::PhantomData<F>,
}

impl<S: Ints, F: Format> Sink<S> for Store<'_, F> {
    #[inline(always)]
    fn block(&mut self, s: S, index: usize, block: Block<S>) {
        let i = index - self.buffer.first;
        let codes = match S::PAIRS {
            true => s.packed(block.codes),
            false => block.codes,
        };
        for (codes, to) in codes.into_iter().zip(&mut self.buffer.codes[i]) {
            s.store_int(codes, to);
        }
        s.store(block.scale, &mut self.buffer.scale[i]);
        if F::HAS_MIN {
            s.store(block.min, &mut self.buffer.min[i]);
        }
        if F::HAS_HALVES {
            for (halves, to) in block.halves.into_iter().zip(&mut self.buffer.halves[i]) {
                s.store(halves, to);
            }
        }
    }
}

impl Buffer {
    #[inline(always)]
    fn block<S: Ints, F: Format>(&self, s: S, i: usize) -> Block<S> {
        let scale = s.load(&self.scale[i]);
        let mut codes = [s.int(0); GROUPS];
        for g in 0..GROUPS {
            codes[g] = s.load_int(&self.codes[i][g]);
        }
        Block {
            codes,
            scale,
            min: match F::HAS_MIN {
                true => s.load(&self.min[i]),
                false => scale,
            },
            halves: match F::HAS_HALVES {
                true => [s.load(&self.halves[i][0]), s.load(&self.halves[i][1])],
                false => [scale; 2],
            },
        }
    }
}

/// A tile for any number of tokens: a chunk of columns is unpacked to a buffer, then all tokens
/// pass over it, some at a time.
#[inline(always)]
pub(crate) fn buffered<S: Ints, F: Format>(
    s: S,
    tile: &Tile<'_>,
    x: Tokens<'_>,
    out: &mut [[f32; TILE_ROWS]],
) {
    let bytes = F::TY.block_bytes();
    let per_block = F::TY.block_len() / BLOCK;
    let blocks = x.blocks / per_block;
    assert!(tile.rows.iter().all(|row| row.len() == blocks * bytes));
    let rows = starts(tile);
    let out = &mut out[..x.count];
    out.fill([0.0; TILE_ROWS]);
    let mut buffer = Buffer {
        first: 0,
        codes: [[[0; LANES]; GROUPS]; CHUNK],
        scale: [[0.0; LANES]; CHUNK],
        min: [[0.0; LANES]; CHUNK],
        halves: [[[0.0; LANES]; 2]; CHUNK],
    };
    for first in (0..blocks).step_by(CHUNK / per_block) {
        let count = (blocks - first).min(CHUNK / per_block);
        buffer.first = first * per_block;
        let mut store = Store::<F> {
            buffer: &mut buffer,
            format: std::marker::PhantomData,
        };
        prefetch(s, tile, &rows, first * bytes, count * bytes);
        for index in first..first + count {
            // SAFETY: each row has `blocks` blocks, as checked above.
            unsafe { F::unpack(s, &rows, index, &mut store) };
        }
        let count = count * per_block;
        let mut t = 0;
        while t + 4 <= x.count {
            pass::<S, F, 4>(s, &buffer, count, &x, t, out);
            t += 4;
        }
        while t < x.count {
            pass::<S, F, 1>(s, &buffer, count, &x, t, out);
            t += 1;
        }
    }
}

/// Tokens `t..t + N` over the blocks of the buffer.
#[inline(always)]
fn pass<S: Ints, F: Format, const N: usize>(
    s: S,
    buffer: &Buffer,
    count: usize,
    x: &Tokens<'_>,
    t: usize,
    out: &mut [[f32; TILE_ROWS]],
) {
    let mut sums = [s.splat(0.0); N];
    for n in 0..N {
        sums[n] = s.load(&out[t + n]);
    }
    for i in 0..count {
        let block = buffer.block::<S, F>(s, i);
        let b = buffer.first + i;
        if S::PAIRS {
            for n in (0..N).step_by(2) {
                // An odd token is its own neighbour.
                let m = (n + 1).min(N - 1);
                let pair = two_steps::<S, F>(s, [sums[n], sums[m]], &block, x, [t + n, t + m], b);
                [sums[n], sums[m]] = pair;
            }
        } else {
            for n in 0..N {
                sums[n] = step::<S, F>(s, sums[n], &block, x, t + n, b);
            }
        }
    }
    for n in 0..N {
        s.store(sums[n], &mut out[t + n]);
    }
}
