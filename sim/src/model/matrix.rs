//! MM: exact products of weight tiles and activation blocks.

use super::machine::{ErrorCode, Fault, Machine, Rect, Regs, Space, check_aligned};
use crate::effects::ActBlock;
use lampyris_isa::format::{
    BLOCK, CHUNK_BYTES, HEADER_BYTES, HEADER_PAIRED, HEADER_SCALES, LINE_WORDS, Sparsity,
    TILE_ROWS, tile_bytes, unpack_code, unpack_paired,
};
use lampyris_isa::insn::{Mm, Mv};
use lampyris_isa::num::{acc_to_f32, block_term};

/// The scale 1 as binary16, for tiles without a header.
const F16_ONE: u16 = 0x3c00;

/// Absolute operands of `mm` and `mv`.
#[derive(Clone, Copy)]
struct Product {
    x: u64,
    xstride: u64,
    y: u64,
    ystride: u64,
    kblocks: u64,
    groups: u64,
    tokens: u64,
    bits: u8,
    header: u8,
    sparsity: u8,
}

/// What the tiles of a product look like.
#[derive(Clone, Copy)]
struct Format {
    bits: usize,
    header: bool,
    paired: bool,
    sparsity: Sparsity,
}

impl Format {
    /// Bits of a field: code and index.
    fn field_bits(&self) -> usize {
        self.bits + self.sparsity.index_bits()
    }

    /// Bytes of a channel's part of a tile.
    fn part_bytes(&self) -> usize {
        tile_bytes(self.field_bits(), self.header)
    }
}

/// The codes of a tile as signed bytes, row by row, with scales, minima and indices.
struct Tile {
    codes: [[i8; BLOCK]; TILE_ROWS],
    /// Column of each field; meaningful if the tile is sparse.
    columns: [[u8; BLOCK]; TILE_ROWS],
    scale: [u16; TILE_ROWS],
    min: [u16; TILE_ROWS],
}

impl Tile {
    const EMPTY: Tile = Tile {
        codes: [[0; BLOCK]; TILE_ROWS],
        columns: [[0; BLOCK]; TILE_ROWS],
        scale: [F16_ONE; TILE_ROWS],
        min: [0; TILE_ROWS],
    };

    fn unpack(&mut self, bytes: &[u8], format: Format) {
        let mut codes = bytes;
        if format.header {
            let (head, rest) = bytes.split_at(HEADER_BYTES);
            codes = rest;
            for (row, word) in head.as_chunks::<4>().0.iter().enumerate() {
                self.scale[row] = u16::from_le_bytes([word[0], word[1]]);
                self.min[row] = u16::from_le_bytes([word[2], word[3]]);
            }
        }
        if format.sparsity != Sparsity::Dense {
            self.min = [0; TILE_ROWS];
            return self.unpack_sparse(codes, format);
        }
        if format.paired {
            for (r, row) in self.codes.iter_mut().enumerate() {
                *row = std::array::from_fn(|j| unpack_paired(codes, r, j));
            }
            return;
        }
        match format.bits {
            8 => {
                for (row, bytes) in self.codes.iter_mut().zip(codes.as_chunks::<BLOCK>().0) {
                    *row = bytes.map(|b| b as i8);
                }
            }
            bits => {
                for (row, bytes) in self.codes.iter_mut().zip(codes.chunks_exact(4 * bits)) {
                    unpack_row(row, bytes, bits);
                }
            }
        }
    }

    fn unpack_sparse(&mut self, codes: &[u8], format: Format) {
        let field_bits = format.field_bits();
        for (row, bytes) in codes.chunks_exact(4 * field_bits).enumerate() {
            for j in 0..BLOCK {
                let field = unpack_code(bytes, field_bits, j);
                let (code, index) = format.sparsity.split(field, format.bits);
                self.codes[row][j] = code as i8;
                self.columns[row][j] = format.sparsity.column(j, index) as u8;
            }
        }
    }

    /// The activations that a row's fields select from the blocks that the tile spans.
    fn select(&self, row: usize, blocks: &[[i8; BLOCK]]) -> [i8; BLOCK] {
        let codes = blocks.as_flattened();
        self.columns[row].map(|column| codes[usize::from(column)])
    }
}

/// A tile as the channels hold it, a part each.
struct Parts {
    tiles: Vec<Tile>,
    /// Bytes of one part.
    bytes: Vec<u8>,
}

impl Parts {
    fn new(channels: usize, part_bytes: usize) -> Parts {
        Parts {
            tiles: (0..channels).map(|_| Tile::EMPTY).collect(),
            bytes: vec![0; part_bytes],
        }
    }

    /// Takes a tile apart, whose chunks belong to the channels in turn.
    fn unpack(&mut self, bytes: &[u8], format: Format) {
        let channels = self.tiles.len();
        if let [tile] = &mut self.tiles[..] {
            return tile.unpack(bytes, format);
        }
        for (c, tile) in self.tiles.iter_mut().enumerate() {
            let chunks = bytes.as_chunks::<CHUNK_BYTES>().0.iter();
            let own = chunks.skip(c).step_by(channels);
            for (to, chunk) in self.bytes.as_chunks_mut().0.iter_mut().zip(own) {
                *to = *chunk;
            }
            tile.unpack(&self.bytes, format);
        }
    }
}

/// Unsigned codes of less than 8 bits, eight from `bits` bytes at a time.
#[inline]
fn unpack_row(row: &mut [i8; BLOCK], bytes: &[u8], bits: usize) {
    let mask = (1u64 << bits) - 1;
    for (codes, bytes) in row
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(bytes.chunks(bits))
    {
        let mut word = [0; 8];
        word[..bits].copy_from_slice(bytes);
        let word = u64::from_le_bytes(word);
        for (j, code) in codes.iter_mut().enumerate() {
            *code = (word >> (bits * j) & mask) as i8;
        }
    }
}

/// Dot product of two blocks of codes.
#[inline]
fn dot(a: &[i8; BLOCK], b: &[i8; BLOCK]) -> i32 {
    let mut sum = 0;
    for i in 0..BLOCK {
        // Products of codes fit 16 bits (-128 * -127), so that the compiler may use the packed
        // multiply-add instructions.
        sum += i32::from(i16::from(a[i]) * i16::from(b[i]));
    }
    sum
}

/// Dot products of all rows of a tile with one block. A function of its own, because inlined into
/// the loop over tiles the products come out one at a time, which takes twice as long.
#[inline(never)]
fn dots(rows: &[[i8; BLOCK]; TILE_ROWS], block: &[i8; BLOCK]) -> [i32; TILE_ROWS] {
    std::array::from_fn(|row| dot(&rows[row], block))
}

/// Adds the terms of a tile's rows for the blocks of one vector that it spans.
fn accumulate(acc: &mut [i128; TILE_ROWS], tile: &Tile, sparsity: Sparsity, blocks: &[ActBlock]) {
    let first = &blocks[0];
    let dots = if sparsity == Sparsity::Dense {
        dots(&tile.codes, &first.codes)
    } else {
        let mut codes = [[0; BLOCK]; 4];
        for (codes, block) in codes.iter_mut().zip(blocks) {
            *codes = block.codes;
        }
        std::array::from_fn(|row| dot(&tile.codes[row], &tile.select(row, &codes)))
    };
    for (r, acc) in acc.iter_mut().enumerate() {
        let sum = first.sum.into();
        let term = block_term(tile.scale[r], tile.min[r], dots[r], sum, first.scale);
        *acc = acc.wrapping_add(term);
    }
}

impl Machine {
    pub(crate) fn mm(&mut self, regs: &Regs<'_>, i: &Mm) -> Result<(), Fault> {
        self.product(Product {
            x: regs.add(i.rx, i.x.into()),
            xstride: i.xstride.into(),
            y: regs.add(i.ry, i.y.into()),
            ystride: i.ystride.into(),
            kblocks: regs.add(i.rk, i.kblocks.into()),
            groups: regs.add(i.rgroups, i.groups.into()),
            tokens: regs.add(i.rtokens, i.tokens.into()),
            bits: i.bits,
            header: i.header,
            sparsity: i.sparsity,
        })
    }

    pub(crate) fn mv(&mut self, regs: &Regs<'_>, i: &Mv) -> Result<(), Fault> {
        self.product(Product {
            x: regs.add(i.rx, i.x.into()),
            xstride: 0,
            y: regs.add(i.ry, i.y.into()),
            ystride: 0,
            kblocks: regs.add(i.rk, i.kblocks.into()),
            groups: regs.add(i.rgroups, i.groups.into()),
            tokens: 1,
            bits: i.bits,
            header: i.header,
            sparsity: i.sparsity,
        })
    }

    /// The form of the tiles, if the configuration has it.
    fn format(&self, p: &Product) -> Result<Format, Fault> {
        let bits = usize::from(p.bits);
        let paired = p.header == HEADER_PAIRED;
        let known = !paired || (self.config.has_kv4() && (bits, p.sparsity) == (4, 0));
        match Sparsity::from_field(p.sparsity) {
            Some(sparsity)
                if p.header <= HEADER_PAIRED && known && self.config.has_tiles(sparsity, bits) =>
            {
                Ok(Format {
                    bits,
                    header: p.header == HEADER_SCALES,
                    paired,
                    sparsity,
                })
            }
            _ => {
                let detail = format!(
                    "bits {}, header {}, sparsity {}: the configuration has no such tiles",
                    p.bits, p.header, p.sparsity
                );
                Err(Fault::new(ErrorCode::Illegal, detail))
            }
        }
    }

    fn check_product(&self, p: &Product, format: Format) -> Result<(), Fault> {
        let span = format.sparsity.span() as u64;
        if !(1..=u64::from(self.config.max_tokens)).contains(&p.tokens) || p.kblocks == 0 {
            let detail = format!(
                "{} tokens (1 to {}), {} blocks (at least 1)",
                p.tokens, self.config.max_tokens, p.kblocks
            );
            return Err(Fault::new(ErrorCode::Operand, detail));
        }
        let places = [("x", p.x), ("xstride", p.xstride), ("kblocks", p.kblocks)];
        if let Some((name, value)) = places.into_iter().find(|(_, value)| value % span != 0) {
            let detail = format!("{name} is {value}, but a tile spans {span} blocks");
            return Err(Fault::new(ErrorCode::Operand, detail));
        }
        if p.groups == 0 {
            return Ok(());
        }
        check_aligned("y", p.y, LINE_WORDS as u64)?;
        check_aligned("ystride", p.ystride, LINE_WORDS as u64)?;
        let rows = p.tokens;
        self.check_xbuf(
            "x",
            Rect {
                start: p.x,
                len: p.kblocks,
                rows,
                stride: p.xstride,
            },
        )?;
        let len = p.groups * self.config.tile_rows() as u64;
        self.check_vmem(
            "y",
            Rect {
                start: p.y,
                len,
                rows,
                stride: p.ystride,
            },
        )
    }

    fn product(&mut self, p: Product) -> Result<(), Fault> {
        let format = self.format(&p)?;
        self.check_product(&p, format)?;
        if p.groups == 0 {
            return Ok(());
        }
        let channels = self.config.channels as usize;
        let tile_len = channels * format.part_bytes();
        let span = format.sparsity.span();
        let tiles = p.groups * p.kblocks / span as u64;
        let need = tiles * tile_len as u64;
        if self.stream.len() < need {
            let have = self.stream.len();
            let detail = format!("needs {need} bytes of the weight stream, {have} were loaded");
            let hint = "load as many tiles with `ld.w` as `mm` and `mv` consume, and earlier";
            return Err(Fault::refused(detail, hint));
        }
        for t in 0..p.tokens {
            self.note(Space::Xbuf, false, p.x + t * p.xstride, p.kblocks);
        }
        let mut parts = Parts::new(channels, format.part_bytes());
        let mut sums = vec![[0i128; TILE_ROWS]; channels * p.tokens as usize];
        for group in 0..p.groups {
            sums.fill([0; TILE_ROWS]);
            for k in (0..p.kblocks).step_by(span) {
                let unpack = |bytes: &[u8]| parts.unpack(bytes, format);
                self.stream.take(&self.memory, tile_len, unpack);
                for (t, sums) in sums.chunks_exact_mut(channels).enumerate() {
                    let at = (p.x + t as u64 * p.xstride + k) as usize;
                    let blocks = &self.xbuf[at..at + span];
                    for (acc, tile) in sums.iter_mut().zip(&parts.tiles) {
                        accumulate(acc, tile, format.sparsity, blocks);
                    }
                }
            }
            for (t, sums) in sums.chunks_exact(channels).enumerate() {
                let at = p.y + t as u64 * p.ystride + group * self.config.tile_rows() as u64;
                for (c, acc) in sums.iter().enumerate() {
                    let out = acc.map(|sum| acc_to_f32(sum).to_bits());
                    self.put_words(at as usize + c * TILE_ROWS, &out);
                }
            }
        }
        self.work.macs += tiles * p.tokens * (channels * TILE_ROWS * BLOCK) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_isa::format::{pack_code, unpack_code};

    /// A tile of fields that run through their values, with headers.
    fn tile(field_bits: usize) -> Vec<u8> {
        let mut bytes = vec![0u8; tile_bytes(field_bits, true)];
        for row in 0..TILE_ROWS {
            bytes[4 * row] = row as u8;
            bytes[4 * row + 3] = 100 + row as u8;
            let width = BLOCK * field_bits / 8;
            let at = HEADER_BYTES + row * width;
            for j in 0..BLOCK {
                let code = (row * 37 + j * 11) as i32 % (1 << field_bits);
                pack_code(&mut bytes[at..at + width], field_bits, j, code);
            }
        }
        bytes
    }

    #[test]
    fn unpack_agrees_with_the_format_definition() {
        for bits in [2usize, 3, 4, 5, 6, 8] {
            let bytes = tile(bits);
            let mut tile = Tile::EMPTY;
            let format = Format {
                bits,
                header: true,
                paired: false,
                sparsity: Sparsity::Dense,
            };
            tile.unpack(&bytes, format);
            for row in 0..TILE_ROWS {
                let width = BLOCK * bits / 8;
                let packed = &bytes[HEADER_BYTES + row * width..][..width];
                assert_eq!(
                    (tile.scale[row], tile.min[row]),
                    (row as u16, (100 + row as u16) << 8)
                );
                for j in 0..BLOCK {
                    assert_eq!(i32::from(tile.codes[row][j]), unpack_code(packed, bits, j));
                }
            }
        }
        assert_eq!(dot(&[-128; 32], &[-127; 32]), 128 * 127 * 32);
    }

    #[test]
    fn sparse_rows_select_what_their_fields_name() {
        let sparsity = Sparsity::S4Of16;
        let format = Format {
            bits: 4,
            header: true,
            paired: false,
            sparsity,
        };
        let mut bytes = tile(8);
        // Row 2, field 5: code -3, activation 16 + 9.
        bytes[HEADER_BYTES + 2 * BLOCK + 5] = 0x9d;
        let mut tile = Tile::EMPTY;
        tile.unpack(&bytes, format);
        assert_eq!((tile.codes[2][5], tile.columns[2][5]), (-3, 25));
        assert_eq!((tile.scale[2], tile.min[2]), (2, 0));
        let blocks: [[i8; BLOCK]; 4] =
            std::array::from_fn(|b| std::array::from_fn(|j| (32 * b + j) as i8));
        assert_eq!(tile.select(2, &blocks)[5], 25);
    }
}
