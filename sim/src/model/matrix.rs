//! MM: exact products of weight tiles and activation blocks.

use super::machine::{ErrorCode, Fault, Machine, Rect, Regs, Space, check_aligned};
use lampyris_isa::format::{BLOCK, HEADER_BYTES, LINE_WORDS, TILE_ROWS, tile_bytes};
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

/// The codes of a tile as signed bytes, row by row, with scales and minima.
struct Tile {
    codes: [[i8; BLOCK]; TILE_ROWS],
    scale: [u16; TILE_ROWS],
    min: [u16; TILE_ROWS],
}

impl Tile {
    fn unpack(&mut self, bytes: &[u8], bits: u8, header: bool) {
        let mut codes = bytes;
        if header {
            let (head, rest) = bytes.split_at(HEADER_BYTES);
            codes = rest;
            for (row, word) in head.as_chunks::<4>().0.iter().enumerate() {
                self.scale[row] = u16::from_le_bytes([word[0], word[1]]);
                self.min[row] = u16::from_le_bytes([word[2], word[3]]);
            }
        }
        if bits == 8 {
            for (row, bytes) in self.codes.iter_mut().zip(codes.as_chunks::<BLOCK>().0) {
                *row = bytes.map(|b| b as i8);
            }
        } else {
            for (row, bytes) in self
                .codes
                .iter_mut()
                .zip(codes.as_chunks::<{ BLOCK / 2 }>().0)
            {
                for (pair, byte) in row.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                    *pair = [(byte & 15) as i8, (byte >> 4) as i8];
                }
            }
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

    fn check_product(&self, p: &Product) -> Result<(), Fault> {
        if !matches!(p.bits, 4 | 8) || p.header > 1 || p.sparsity != 0 {
            let detail = format!(
                "bits {}, header {}, sparsity {}: only 4 and 8, 0 and 1, 0 are implemented",
                p.bits, p.header, p.sparsity
            );
            return Err(Fault::new(ErrorCode::Illegal, detail));
        }
        if !(1..=u64::from(self.config.max_tokens)).contains(&p.tokens) || p.kblocks == 0 {
            let detail = format!(
                "{} tokens (1 to {}), {} blocks (at least 1)",
                p.tokens, self.config.max_tokens, p.kblocks
            );
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
        let len = p.groups * TILE_ROWS as u64;
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
        self.check_product(&p)?;
        if p.groups == 0 {
            return Ok(());
        }
        let tile_len = tile_bytes(p.bits.into(), p.header == 0);
        let need = p.groups * p.kblocks * tile_len as u64;
        if self.stream.len() < need {
            let have = self.stream.len();
            let detail = format!("needs {need} bytes of the weight stream, {have} were loaded");
            let hint = "load as many tiles with `ld.w` as `mm` and `mv` consume, and earlier";
            return Err(Fault::refused(detail, hint));
        }
        for t in 0..p.tokens {
            self.note(Space::Xbuf, false, p.x + t * p.xstride, p.kblocks);
        }
        let mut tile = Tile {
            codes: [[0; BLOCK]; TILE_ROWS],
            scale: [F16_ONE; TILE_ROWS],
            min: [0; TILE_ROWS],
        };
        let mut sums = vec![[0i128; TILE_ROWS]; p.tokens as usize];
        for group in 0..p.groups {
            sums.fill([0; TILE_ROWS]);
            for k in 0..p.kblocks {
                let unpack = |bytes: &[u8]| tile.unpack(bytes, p.bits, p.header == 0);
                self.stream.take(&self.memory, tile_len, unpack);
                for (t, acc) in sums.iter_mut().enumerate() {
                    let block = &self.xbuf[(p.x + t as u64 * p.xstride + k) as usize];
                    let dots = dots(&tile.codes, &block.codes);
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let term = block_term(
                            tile.scale[r],
                            tile.min[r],
                            dots[r],
                            block.sum.into(),
                            block.scale,
                        );
                        *acc = acc.wrapping_add(term);
                    }
                }
            }
            for (t, acc) in sums.iter().enumerate() {
                let out = acc.map(|sum| acc_to_f32(sum).to_bits());
                let at = p.y + t as u64 * p.ystride + group * TILE_ROWS as u64;
                self.put_words(at as usize, &out);
            }
        }
        self.work.macs += p.groups * p.kblocks * p.tokens * (TILE_ROWS * BLOCK) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_isa::format::{pack_code, unpack_code};

    #[test]
    fn unpack_agrees_with_the_format_definition() {
        for bits in [4usize, 8] {
            let mut bytes = vec![0u8; tile_bytes(bits, true)];
            for row in 0..TILE_ROWS {
                bytes[4 * row] = row as u8;
                bytes[4 * row + 3] = 100 + row as u8;
                let width = BLOCK * bits / 8;
                let at = HEADER_BYTES + row * width;
                for j in 0..BLOCK {
                    let code = (row * 37 + j * 11) as i32 % (1 << bits);
                    pack_code(&mut bytes[at..at + width], bits, j, code);
                }
            }
            let mut tile = Tile {
                codes: [[0; 32]; 16],
                scale: [0; 16],
                min: [0; 16],
            };
            tile.unpack(&bytes, bits as u8, true);
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
}
