//! Writes the constant image: weights into tiles, lossless for formats with one scale and one
//! minimum per block of 32, re-quantized to 8 bits for the others.

use crate::error::{Error, Result};
use crate::format::stored;
use crate::image::{FloatSource, Floats, Image, Item, Matrix, WEIGHTS_BASE};
use crate::kv::Rotation;
use half::f16;
use lampyris_bundle::writer::FileWriter;
use lampyris_flash::TensorView;
use lampyris_flash::block::SparseBlock;
use lampyris_import::Model;
use lampyris_isa::format::{
    BLOCK, CHUNK_BYTES, HEADER_BYTES, Sparsity, TILE_ROWS, pack_code, tile_bytes,
};

/// What re-quantization did to a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantized {
    /// Tensor.
    pub tensor: String,
    /// Stored type.
    pub from: &'static str,
    /// Root-mean-square error relative to the root mean square of the weights.
    pub relative_error: f64,
}

/// Writes all items in order and reports what was re-quantized. `progress` is called with the
/// bytes written so far.
///
/// # Errors
/// A tensor holds a value that is not finite, or the file cannot be written.
pub fn write(
    model: &Model,
    image: &Image,
    out: &mut FileWriter,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Requantized>> {
    let mut report = Vec::new();
    for item in &image.items {
        let addr = match item {
            Item::Matrix(m) => m.addr,
            Item::Floats(f) => f.addr,
            Item::Rotation(r) => r.addr,
        };
        debug_assert_eq!(WEIGHTS_BASE + out.position(), addr);
        match item {
            Item::Matrix(matrix) => {
                report.extend(write_matrix(model, matrix, out)?);
                model.file().release(&matrix.tensor.name);
            }
            Item::Floats(floats) => write_floats(model, floats, out)?,
            Item::Rotation(rotation) => write_rotation(rotation, out)?,
        }
        pad(out, image.chunk_bytes())?;
        progress(out.position());
    }
    Ok(report)
}

fn pad(out: &mut FileWriter, chunk: usize) -> Result<()> {
    let rest = (out.position() as usize).next_multiple_of(chunk) - out.position() as usize;
    Ok(out.write(&vec![0; rest])?)
}

fn write_floats(model: &Model, floats: &Floats, out: &mut FileWriter) -> Result<()> {
    match &floats.source {
        FloatSource::Tensor(tensor) => {
            let view = model.tensor_view(tensor)?;
            view.check_finite()?;
            let values = model.tensor_f32(tensor)?;
            write_values(&values, out)
        }
        FloatSource::Values(values) => write_values(values, out),
        FloatSource::RopeTable {
            head_dim,
            positions,
            step,
        } => {
            let Some(rope) = model.spec().rope() else {
                return Ok(());
            };
            for position in 0..*positions {
                let pairs = rope.cos_sin(position * step);
                // Elements beyond the rotated ones are multiplied by one and get nothing added.
                let at = |j: usize| pairs.get(j / 2).copied().unwrap_or((1.0, 0.0));
                let cosines = (0..*head_dim).map(|j| at(j).0);
                let sines = (0..*head_dim).map(|j| if j % 2 == 0 { -at(j).1 } else { at(j).1 });
                write_values(&cosines.chain(sines).collect::<Vec<_>>(), out)?;
            }
            Ok(())
        }
    }
}

/// Code 0 stands for minus the magnitude, which is the minimum, and code 1 for plus.
fn write_rotation(rotation: &Rotation, out: &mut FileWriter) -> Result<()> {
    let magnitude = rotation.magnitude();
    let (scale, min) = (f16::from_f64(2.0 * magnitude), f16::from_f64(-magnitude));
    let tile_len = tile_bytes(rotation.bits, true);
    for first in (0..rotation.dim).step_by(TILE_ROWS) {
        for column in (0..rotation.dim).step_by(BLOCK) {
            let mut tile = vec![0; tile_len];
            for r in 0..TILE_ROWS {
                let code = |j| i16::from(Rotation::is_positive(first + r, column + j));
                let cell = Cell {
                    codes: std::array::from_fn(code),
                    scale: scale.to_bits(),
                    min: min.to_bits(),
                };
                put(&mut tile, rotation.bits, r, &cell);
            }
            out.write(&tile)?;
        }
    }
    Ok(())
}

fn write_values(values: &[f32], out: &mut FileWriter) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Ok(out.write(&bytes)?)
}

/// One row of a tile before packing: codes (fields if sparse), scale and minimum.
struct Cell {
    codes: [i16; BLOCK],
    scale: u16,
    min: u16,
}

/// Accumulates the error of re-quantization.
#[derive(Default)]
struct ErrorPower {
    error: f64,
    power: f64,
}

fn write_matrix(
    model: &Model,
    matrix: &Matrix,
    out: &mut FileWriter,
) -> Result<Option<Requantized>> {
    let view = model.tensor_view(&matrix.tensor)?;
    let mut parts = vec![vec![0u8; matrix.tiles() * matrix.format.tile_bytes()]; matrix.channels];
    let mut error = ErrorPower::default();
    for group in 0..matrix.groups() {
        for (c, part) in parts.iter_mut().enumerate() {
            part.fill(0);
            let first = (group * matrix.channels + c) * TILE_ROWS;
            for r in 0..TILE_ROWS.min(matrix.rows.saturating_sub(first)) {
                let source = matrix.tensor.rows.source_row(first + r);
                write_row(&view, matrix, source, r, part, &mut error)?;
            }
        }
        match &parts[..] {
            [part] => out.write(part)?,
            _ => out.write(&interleave(&parts))?,
        }
    }
    let requantized = stored(view.ty).is_none().then(|| Requantized {
        tensor: matrix.tensor.name.clone(),
        from: view.ty.name(),
        relative_error: (error.error / error.power.max(f64::MIN_POSITIVE)).sqrt(),
    });
    Ok(requantized)
}

/// The parts of all channels, a chunk of each in turn.
fn interleave(parts: &[Vec<u8>]) -> Vec<u8> {
    let chunks = parts[0].len() / CHUNK_BYTES;
    let chunk = |i: usize| {
        parts
            .iter()
            .map(move |part| &part[i * CHUNK_BYTES..][..CHUNK_BYTES])
    };
    (0..chunks).flat_map(chunk).flatten().copied().collect()
}

fn write_row(
    view: &TensorView<'_>,
    matrix: &Matrix,
    source: usize,
    r: usize,
    group: &mut [u8],
    error: &mut ErrorPower,
) -> Result<()> {
    let tile = matrix.format.tile_bytes();
    let bits = matrix.format.field_bits();
    let not_finite = || Error::NotFinite {
        tensor: view.name.to_owned(),
        ty: view.ty,
        row: source,
    };
    if stored(view.ty).is_none() {
        let mut values = vec![0.0; matrix.cols.next_multiple_of(BLOCK)];
        view.dequantize_row(source, &mut values[..matrix.cols])?;
        for (k, block) in values.chunks_exact(BLOCK).enumerate() {
            let cell = requantize(block, error).ok_or_else(not_finite)?;
            put(&mut group[k * tile..][..tile], bits, r, &cell);
        }
        return Ok(());
    }
    if matrix.format.sparsity != Sparsity::Dense {
        for (k, block) in view.row_sparse(source)?.enumerate() {
            if !f16::from_bits(block.scale).is_finite() {
                return Err(not_finite());
            }
            put(
                &mut group[k * tile..][..tile],
                bits,
                r,
                &fields(&block, matrix.format.bits),
            );
        }
        return Ok(());
    }
    for (k, block) in view.row_codes(source)?.enumerate() {
        if !f16::from_bits(block.scale).is_finite() || !f16::from_bits(block.min).is_finite() {
            return Err(not_finite());
        }
        let cell = Cell {
            codes: block.codes,
            scale: block.scale,
            min: block.min,
        };
        put(&mut group[k * tile..][..tile], bits, r, &cell);
    }
    Ok(())
}

/// The fields of a sparse block, with codes of `code_bits` bits.
fn fields(block: &SparseBlock, code_bits: usize) -> Cell {
    let codes = std::array::from_fn(|j| {
        let index = block.column(j) % block.sparsity.group();
        let code = i16::from(block.code(j)) & ((1 << code_bits) - 1);
        code | (index << code_bits) as i16
    });
    Cell {
        codes,
        scale: block.scale,
        min: 0,
    }
}

fn put(tile: &mut [u8], bits: usize, r: usize, cell: &Cell) {
    tile[4 * r..][..2].copy_from_slice(&cell.scale.to_le_bytes());
    tile[4 * r + 2..][..2].copy_from_slice(&cell.min.to_le_bytes());
    let row = &mut tile[HEADER_BYTES + r * BLOCK * bits / 8..][..BLOCK * bits / 8];
    match bits {
        8 => row
            .iter_mut()
            .zip(cell.codes)
            .for_each(|(byte, code)| *byte = code as u8),
        4 => {
            for (byte, pair) in row.iter_mut().zip(cell.codes.chunks_exact(2)) {
                *byte = (pair[0] as u8 & 15) | (pair[1] as u8) << 4;
            }
        }
        _ => (0..BLOCK).for_each(|j| pack_code(row, bits, j, i32::from(cell.codes[j]))),
    }
}

/// 8-bit codes with the scale max|w| / 127 in f16; `None` if a weight is not finite or the scale
/// leaves f16.
fn requantize(block: &[f32], error: &mut ErrorPower) -> Option<Cell> {
    let amax = block.iter().fold(0f32, |m, v| m.max(v.abs()));
    if !block.iter().all(|v| v.is_finite()) {
        return None;
    }
    let scale = f16::from_f32(amax / 127.0);
    if !scale.is_finite() {
        return None;
    }
    let step = scale.to_f32();
    let mut codes = [0i16; BLOCK];
    for (code, &w) in codes.iter_mut().zip(block) {
        if step > 0.0 {
            *code = (w / step).round_ties_even().clamp(-128.0, 127.0) as i16;
        }
        error.error += f64::from(w - step * f32::from(*code)).powi(2);
        error.power += f64::from(w).powi(2);
    }
    Some(Cell {
        codes,
        scale: scale.to_bits(),
        min: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_flash::TensorType;
    use lampyris_isa::format::unpack_code;

    #[test]
    fn put_agrees_with_the_format_for_every_width() {
        for bits in [2, 3, 4, 5, 6, 8] {
            let codes = std::array::from_fn(|j| (j as i16 * 5) & ((1 << bits) - 1));
            let mut tile = vec![0; lampyris_isa::format::tile_bytes(bits, true)];
            put(
                &mut tile,
                bits,
                3,
                &Cell {
                    codes,
                    scale: 0x1234,
                    min: 0x5678,
                },
            );
            let row = &tile[HEADER_BYTES + 3 * 4 * bits..][..4 * bits];
            for (j, &code) in codes.iter().enumerate() {
                let want = if bits == 8 {
                    i32::from(code as u8 as i8)
                } else {
                    i32::from(code)
                };
                assert_eq!(unpack_code(row, bits, j), want);
            }
            assert_eq!(tile[12..16], [0x34, 0x12, 0x78, 0x56]);
        }
    }

    #[test]
    fn sparse_fields_keep_codes_and_places_in_wider_fields() {
        for (ty, sparsity, code_bits) in [
            (TensorType::Q4_2OF4, Sparsity::S2Of4, 4),
            (TensorType::Q4_2OF4, Sparsity::S2Of4, 6),
            (TensorType::Q4_4OF16, Sparsity::S4Of16, 4),
        ] {
            let pattern = ty.sparsity().unwrap();
            let code = |j: usize| (j % 16) as i8 - 8;
            let index = |j: usize| (3 * j + 1) % pattern.group();
            let block = SparseBlock::new(pattern, 0x3c00, code, index);
            let cell = fields(&block, code_bits);
            let field_bits = code_bits + sparsity.index_bits();
            let mut tile = vec![0; lampyris_isa::format::tile_bytes(field_bits, true)];
            put(&mut tile, field_bits, 5, &cell);
            let row = &tile[HEADER_BYTES + 5 * 4 * field_bits..][..4 * field_bits];
            for j in 0..BLOCK {
                let field = unpack_code(row, field_bits, j);
                let (found, at) = sparsity.split(field, code_bits);
                assert_eq!((found, at), (code(j).into(), index(j)), "{ty}, field {j}");
                assert_eq!(sparsity.column(j, at), block.column(j));
            }
        }
    }

    #[test]
    fn requantize_keeps_the_extremes_and_refuses_nan() {
        let mut block = [0.0; BLOCK];
        (block[0], block[1]) = (12.7, -6.35);
        let cell = requantize(&block, &mut ErrorPower::default()).unwrap();
        assert_eq!((cell.codes[0], cell.codes[1]), (127, -64));
        block[5] = f32::NAN;
        assert!(requantize(&block, &mut ErrorPower::default()).is_none());
    }
}
