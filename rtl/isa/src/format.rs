//! Number and storage formats.
//!
//! **Weight tile.** 16 rows by one block of 32 along the reduction. Optional header of 64 bytes:
//! for each row a little-endian word with the scale (f16, low half) and the minimum (f16, high
//! half). Then 16 rows of 32 codes, little-endian bit order (code j at bits `bits*j`), that is
//! 64 x bits bytes. Weight = scale x code + minimum; codes of 8 bits are signed, narrower ones
//! unsigned. Every tile is a multiple of 64 bytes for every width from 2 to 8 bits, so a stream
//! of tiles stays aligned on ports of up to 512 bits.
//!
//! **Matrix.** Rows are padded to a multiple of 16 and columns to a multiple of 32. Tiles lie in
//! the order in which the matrix unit reads them: row group by row group, along the reduction
//! within a group.
//!
//! **Key cache** of one head: a weight matrix of 8-bit codes with header, one row a position.
//! **Value cache** of one head: 8-bit codes without header, one row an element of the head, one
//! column a position; the scale of each position is an f32 in an array beside it.
//!
//! **Activation block.** 32 signed 8-bit codes, a scale and the sum of the codes; see
//! [`crate::num::ActScale`].

/// Values that share a scale, along the reduction.
pub const BLOCK: usize = 32;

/// Rows of a tile.
pub const TILE_ROWS: usize = 16;

/// Unit of address and length on the weight stream, bytes.
pub const CHUNK_BYTES: usize = 64;

/// Vector memory addresses of vectors are multiples of this many words.
pub const LINE_WORDS: usize = 8;

/// Bytes of a tile's header.
pub const HEADER_BYTES: usize = 64;

/// Bytes of a tile's codes.
pub const fn code_bytes(bits: usize) -> usize {
    TILE_ROWS * BLOCK * bits / 8
}

/// Bytes of a tile.
pub const fn tile_bytes(bits: usize, header: bool) -> usize {
    code_bytes(bits) + if header { HEADER_BYTES } else { 0 }
}

/// Blocks along a reduction of `k` values.
pub const fn blocks(k: usize) -> usize {
    k.div_ceil(BLOCK)
}

/// Row groups of `n` rows.
pub const fn row_groups(n: usize) -> usize {
    n.div_ceil(TILE_ROWS)
}

/// Bytes of a matrix of `n` rows and `k` columns with tile headers.
pub const fn matrix_bytes(n: usize, k: usize, bits: usize) -> usize {
    row_groups(n) * blocks(k) * tile_bytes(bits, true)
}

const _: () = assert!(tile_bytes(4, true) == 320 && tile_bytes(8, true) == 576);
const _: () = assert!(tile_bytes(3, true).is_multiple_of(CHUNK_BYTES));

/// Code `j` of a row of packed codes; sign-extended if `bits` is 8.
pub fn unpack_code(row: &[u8], bits: usize, j: usize) -> i32 {
    let at = bits * j;
    let low = row[at / 8] as u32;
    let high = row.get(at / 8 + 1).map_or(0, |&b| b as u32);
    let code = ((low | high << 8) >> (at % 8)) & ((1 << bits) - 1);
    if bits == 8 {
        code as u8 as i8 as i32
    } else {
        code as i32
    }
}

/// Writes code `j` into a row of packed codes that starts out as zeros.
pub fn pack_code(row: &mut [u8], bits: usize, j: usize, code: i32) {
    let at = bits * j;
    let value = ((code as u32) & ((1 << bits) - 1)) << (at % 8);
    row[at / 8] |= value as u8;
    if at % 8 + bits > 8 {
        row[at / 8 + 1] |= (value >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_every_width() {
        for bits in 2..=8 {
            let mut row = vec![0; BLOCK * bits / 8];
            let code = |j: usize| {
                if bits == 8 {
                    j as i32 * 8 - 128
                } else {
                    (j * 7 % (1 << bits)) as i32
                }
            };
            (0..BLOCK).for_each(|j| pack_code(&mut row, bits, j, code(j)));
            (0..BLOCK).for_each(|j| assert_eq!(unpack_code(&row, bits, j), code(j)));
        }
    }
}
