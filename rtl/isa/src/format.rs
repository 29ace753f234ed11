//! Number and storage formats.
//!
//! **Weight tile.** 16 rows by one block of 32 along the reduction. Optional header of 64 bytes:
//! for each row a little-endian word with the scale (f16, low half) and the minimum (f16, high
//! half). Then 16 rows of 32 codes, little-endian bit order (code j at bits `bits*j`), that is
//! 64 x bits bytes. Weight = scale x code + minimum; codes of 8 bits are signed, narrower ones
//! unsigned. Every tile is a multiple of 64 bytes for every width from 2 to 8 bits, so a stream
//! of tiles stays aligned on ports of up to 512 bits. Widths are 2, 3, 4, 5, 6 and 8; a
//! configuration has some of them, and always 4 and 8.
//!
//! **Sparse tile.** 16 rows of 32 *kept* weights, in the same layout with fields in place of codes:
//! a field is a signed code of `bits` bits and above it an index. All others are zero.
//! 2:4 (two of four are kept): index of 2 bits, a tile spans 64 columns, field j belongs to column
//! 4 x (j / 2) + index. 4:16 (four of sixteen): index of 4 bits, a tile spans 128 columns, field j
//! belongs to column 16 x (j / 4) + index. Code and index together have one of the widths above.
//! Weight = scale x code; the minimum is ignored. Fields of one group of columns may name the same
//! column; their products add.
//!
//! **Channels.** With C memory channels side by side (parameter `Channels`) C such tiles make one:
//! it has 16 C rows, row r is row r mod 16 of part r / 16, and chunk i (64 bytes) of part c is chunk
//! C i + c of the whole. What is said here of 16 rows and 64 bytes then holds for 16 C and 64 C:
//! row groups, chunks of the weight stream, headers (row r's word is still at byte 4 r), alignment.
//!
//! **Matrix.** Rows are padded to a multiple of 16 and columns to a multiple of what a tile spans. Tiles lie in
//! the order in which the matrix unit reads them: row group by row group, along the reduction
//! within a group.
//!
//! **Paired tile.** 256 bytes without header: byte j of the 32 bytes of row pair i has the code of
//! row 2 i, column j in its low half and that of row 2 i + 1 in its high half. Weight = code - 8.
//! A column's bytes hold nothing of other columns.
//!
//! **Key cache** of one head: a weight matrix with header, one row a position; codes of 8 bits and
//! minimum 0, or codes of 4 bits and minimum -8 x scale.
//! **Value cache** of one head: 8-bit codes without header or paired tiles, one row an element of
//! the head, one column a position; the scale of each position is an f32 in an array beside it.
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

/// Value of the field `header` of products: a scale and a minimum for each row.
pub const HEADER_SCALES: u8 = 0;

/// Value of the field `header` of products: no header.
pub const HEADER_NONE: u8 = 1;

/// Value of the field `header` of products: no header, paired rows of 4-bit codes.
pub const HEADER_PAIRED: u8 = 2;

/// Which weights of a tile are stored; the values are those of the instructions' field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sparsity {
    /// All.
    #[default]
    Dense = 0,
    /// Two of every four along the reduction.
    S2Of4 = 1,
    /// Four of every sixteen along the reduction.
    S4Of16 = 2,
}

impl Sparsity {
    /// All kinds, densest first.
    pub const ALL: [Sparsity; 3] = [Sparsity::Dense, Sparsity::S2Of4, Sparsity::S4Of16];

    /// The kind with this number in an instruction.
    pub const fn from_field(field: u8) -> Option<Sparsity> {
        match field {
            0 => Some(Sparsity::Dense),
            1 => Some(Sparsity::S2Of4),
            2 => Some(Sparsity::S4Of16),
            _ => None,
        }
    }

    /// Weights that each group of columns keeps.
    pub const fn kept(self) -> usize {
        match self {
            Sparsity::Dense => 1,
            Sparsity::S2Of4 => 2,
            Sparsity::S4Of16 => 4,
        }
    }

    /// Columns of a group.
    pub const fn group(self) -> usize {
        self.kept() * self.span()
    }

    /// Blocks along the reduction that a tile spans, which is also how many columns there are for
    /// each kept weight.
    pub const fn span(self) -> usize {
        1 << self as usize
    }

    /// Bits of the index above each code.
    pub const fn index_bits(self) -> usize {
        2 * self as usize
    }

    /// Column within a tile of field `j` with index `index`.
    pub const fn column(self, j: usize, index: usize) -> usize {
        j / self.kept() * self.group() + index
    }

    /// Code (signed if sparse) and index of a field of code width `bits`.
    pub const fn split(self, field: i32, bits: usize) -> (i32, usize) {
        match self {
            Sparsity::Dense => (field, 0),
            _ => {
                let code = (field << (32 - bits)) >> (32 - bits);
                let index = (field >> bits) as usize & ((1 << self.index_bits()) - 1);
                (code, index)
            }
        }
    }
}

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

/// Blocks that a `quant` of `n` values writes for a row with this value of its field `group`.
pub const fn quant_blocks(n: usize, group: u8) -> usize {
    match group {
        2 => blocks(n).next_multiple_of(2),
        3 => blocks(n).next_multiple_of(4),
        _ => blocks(n),
    }
}

/// Row groups of `n` rows.
pub const fn row_groups(n: usize) -> usize {
    n.div_ceil(TILE_ROWS)
}

/// Tiles along a reduction of `k` values.
pub const fn tiles(k: usize, sparsity: Sparsity) -> usize {
    blocks(k).div_ceil(sparsity.span())
}

/// Bytes of a matrix of `n` rows and `k` columns with tile headers and codes of `bits` bits.
pub const fn matrix_bytes(n: usize, k: usize, bits: usize, sparsity: Sparsity) -> usize {
    let field = bits + sparsity.index_bits();
    row_groups(n) * tiles(k, sparsity) * tile_bytes(field, true)
}

const _: () = assert!(tile_bytes(4, true) == 320 && tile_bytes(8, true) == 576);
const _: () = assert!(matrix_bytes(16, 128, 4, Sparsity::S2Of4) == 2 * 448);
const _: () = assert!(matrix_bytes(16, 129, 4, Sparsity::S4Of16) == 2 * 576);
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

/// Weight of row `row`, column `j` of the codes of a paired tile.
pub const fn unpack_paired(codes: &[u8], row: usize, j: usize) -> i8 {
    let byte = codes[row / 2 * BLOCK + j];
    (byte >> (row % 2 * 4) & 15) as i8 - 8
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

    #[test]
    fn paired_rows_share_bytes_and_columns_do_not() {
        let mut codes = vec![0x88; code_bytes(4)];
        codes[32 * 3 + 5] = 0xf0;
        let weight = |row, j| unpack_paired(&codes, row, j);
        assert_eq!((weight(6, 5), weight(7, 5)), (-8, 7));
        assert_eq!((weight(6, 4), weight(8, 5)), (0, 0));
    }

    #[test]
    fn sparse_fields_name_their_columns() {
        let (pairs, fours) = (Sparsity::S2Of4, Sparsity::S4Of16);
        assert_eq!((pairs.column(0, 3), pairs.column(31, 0)), (3, 60));
        assert_eq!((fours.column(3, 15), fours.column(31, 15)), (15, 127));
        assert_eq!(Sparsity::Dense.column(31, 0), 31);
        assert_eq!(pairs.split(0b10_1000, 4), (-8, 2));
        assert_eq!(pairs.split(0b11_01, 2), (1, 3));
        // Fields of 8 bits arrive sign-extended.
        assert_eq!(fours.split(0b1111_0111 - 256, 4), (7, 15));
        assert_eq!(Sparsity::Dense.split(-5, 8), (-5, 0));
        for sparsity in Sparsity::ALL {
            assert_eq!(Sparsity::from_field(sparsity as u8), Some(sparsity));
            assert_eq!(
                sparsity.span() * BLOCK,
                BLOCK / sparsity.kept() * sparsity.group()
            );
        }
        assert_eq!(Sparsity::from_field(3), None);
    }
}
