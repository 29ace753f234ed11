use super::*;

/// A zeroed block with some bytes set.
fn block(ty: TensorType, bytes: &[(usize, u8)]) -> Vec<u8> {
    let mut block = vec![0; ty.block_bytes()];
    for &(at, byte) in bytes {
        block[at] = byte;
    }
    block
}

fn put_f16(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
}

fn dequantize(ty: TensorType, data: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; data.len() / ty.block_bytes() * ty.block_len()];
    dequantize_row(ty, data, &mut out).unwrap();
    out
}

#[test]
fn simple_formats_by_hand() {
    let mut b = block(TensorType::Q4_0, &[(2, 0xf1)]);
    put_f16(&mut b, 0, 2.0);
    let y = dequantize(TensorType::Q4_0, &b);
    assert_eq!((y[0], y[16], y[1]), (-14.0, 14.0, -16.0));

    let mut b = block(TensorType::Q4_1, &[(4, 0x73)]);
    put_f16(&mut b, 0, 0.5);
    put_f16(&mut b, 2, -1.0);
    let y = dequantize(TensorType::Q4_1, &b);
    assert_eq!((y[0], y[16], y[1]), (0.5, 2.5, -1.0));

    let mut b = block(
        TensorType::Q5_0,
        &[(2, 0x01), (5, 0x80), (6, 0x02), (21, 0xa0)],
    );
    put_f16(&mut b, 0, 1.0);
    let y = dequantize(TensorType::Q5_0, &b);
    assert_eq!((y[0], y[15], y[31]), (2.0, -16.0, 10.0));

    let mut b = block(TensorType::Q5_1, &[(4, 0x01), (8, 0x02)]);
    put_f16(&mut b, 0, 0.5);
    put_f16(&mut b, 2, 3.0);
    let y = dequantize(TensorType::Q5_1, &b);
    assert_eq!((y[0], y[16]), (12.0, 3.0));

    let mut b = block(TensorType::Q8_0, &[(2, 0x80), (33, 0x7f)]);
    put_f16(&mut b, 0, 0.25);
    let y = dequantize(TensorType::Q8_0, &b);
    assert_eq!((y[0], y[31]), (-32.0, 31.75));
}

#[test]
fn k_formats_by_hand() {
    // Sub-block 0: scale 3, minimum 5. Sub-block 4: scale 1 | 2 << 4, minimum 2 | 1 << 4.
    let scales = [(4, 0b1000_0011), (8, 0b0100_0101), (12, 0x21)];
    let mut b = block(
        TensorType::Q4_K,
        &[&scales[..], &[(16, 0x07), (80, 0x09)]].concat(),
    );
    put_f16(&mut b, 0, 1.0);
    put_f16(&mut b, 2, 2.0);
    let y = dequantize(TensorType::Q4_K, &b);
    assert_eq!((y[0], y[128]), (3.0 * 7.0 - 10.0, 33.0 * 9.0 - 36.0));

    // Bit 0 of qh[0] belongs to sub-block 0, bit 4 to sub-block 4.
    let codes = [(16, 0b1_0001), (48, 0x07), (112, 0x09)];
    let mut b = block(TensorType::Q5_K, &[&scales[..], &codes].concat());
    put_f16(&mut b, 0, 1.0);
    put_f16(&mut b, 2, 2.0);
    let y = dequantize(TensorType::Q5_K, &b);
    assert_eq!((y[0], y[128]), (3.0 * 23.0 - 10.0, 33.0 * 25.0 - 36.0));

    let codes = [
        (0, 0x05),
        (32, 0xa0),
        (128, 0b0100_0011),
        (192, 0xfe),
        (198, 4),
    ];
    let mut b = block(TensorType::Q6_K, &codes);
    put_f16(&mut b, 208, 0.5);
    let y = dequantize(TensorType::Q6_K, &b);
    assert_eq!((y[0], y[96]), (-21.0, -12.0));
}

#[test]
fn packed_formats_by_hand() {
    // Codes 1, 2, 3 and the last one.
    for (ty, bytes, last) in [
        (
            TensorType::Q2_1,
            &[(4, 0b11_10_01), (11, 0b11 << 6)][..],
            3.0,
        ),
        (
            TensorType::Q3_1,
            &[(4, 0b11_010_001), (15, 0b111 << 5)],
            7.0,
        ),
        (
            TensorType::Q6_1,
            &[(4, 0b10_000001), (5, 0b0011_0000), (27, 0xfc)],
            63.0,
        ),
    ] {
        let mut b = block(ty, bytes);
        put_f16(&mut b, 0, 0.5);
        put_f16(&mut b, 2, -1.0);
        let y = dequantize(ty, &b);
        assert_eq!((y[0], y[1], y[2], y[3]), (-0.5, 0.0, 0.5, -1.0), "{ty}");
        assert_eq!(y[31], last * 0.5 - 1.0, "{ty}");
    }
}

#[test]
fn sparse_formats_by_hand() {
    // Fields of six bits: code 3 at index 1, code -8 at index 3; then field 31: code -1, index 2.
    let fields = 3 | 1 << 4 | (8 | 3 << 4) << 6u32;
    let mut b = block(
        TensorType::Q4_2OF4,
        &[
            (2, fields as u8),
            (3, (fields >> 8) as u8),
            (25, 0b1011_1100),
        ],
    );
    put_f16(&mut b, 0, 0.5);
    let y = dequantize(TensorType::Q4_2OF4, &b);
    assert_eq!(y[..4], [0.0, 1.5, 0.0, -4.0]);
    assert_eq!(y[60..], [0.0, 0.0, -0.5, 0.0]);
    assert_eq!(y.iter().filter(|y| **y != 0.0).count(), 3);

    let mut b = block(TensorType::Q4_4OF16, &[(2, 0x72), (5, 0xff), (33, 0xc8)]);
    put_f16(&mut b, 0, 2.0);
    let y = dequantize(TensorType::Q4_4OF16, &b);
    assert_eq!((y[7], y[15], y[124]), (4.0, -2.0, -16.0));
    assert_eq!(y.iter().filter(|y| **y != 0.0).count(), 3);
}

/// Codes, scale and minimum survive writing and reading in each format that stores them.
#[test]
fn code_blocks_are_written_as_they_are_read() {
    let formats = [
        (TensorType::Q2_1, 2),
        (TensorType::Q3_1, 3),
        (TensorType::Q4_1, 4),
        (TensorType::Q5_1, 5),
        (TensorType::Q6_1, 6),
        (TensorType::Q8_0, 8),
    ];
    for (ty, bits) in formats {
        let signed = bits == 8;
        let code = |j: usize| (j * 11 % (1 << bits)) as i16 - if signed { 128 } else { 0 };
        let written = CodeBlock {
            codes: std::array::from_fn(code),
            scale: 0x1234,
            min: if signed { 0 } else { 0xa345 },
        };
        let mut bytes = vec![0xff; ty.block_bytes()];
        written.write(ty, &mut bytes).unwrap();
        assert_eq!(
            code_blocks(ty, &bytes).unwrap().next(),
            Some(written),
            "{ty}"
        );
    }
    let any = CodeBlock {
        codes: [0; QK],
        scale: 0,
        min: 0,
    };
    let err = any.write(TensorType::Q4_0, &mut [0; 18]).unwrap_err();
    assert!(
        err.to_string().contains("does not store one scale"),
        "{err}"
    );
    let err = any.write(TensorType::Q4_1, &mut [0; 18]).unwrap_err();
    assert!(err.to_string().contains("20 bytes, not 18"), "{err}");
}

#[test]
fn sparse_blocks_are_written_as_they_are_read() {
    for ty in [TensorType::Q4_2OF4, TensorType::Q4_4OF16] {
        let sparsity = ty.sparsity().unwrap();
        assert_eq!(QK / sparsity.kept() * sparsity.group(), ty.block_len());
        assert_eq!(
            2 + QK * SparseBlock::field_bits(sparsity) / 8,
            ty.block_bytes()
        );
        let code = |j: usize| (j % 16) as i8 - 8;
        let spread = sparsity.group() / sparsity.kept();
        let index = |j: usize| j % sparsity.kept() * spread + j % spread;
        let written = SparseBlock::new(sparsity, 0x3c00, code, index);
        let mut bytes = Vec::new();
        written.write(&mut bytes);
        let read = sparse_blocks(ty, &bytes).unwrap().next().unwrap();
        assert_eq!(read, written);
        let y = dequantize(ty, &bytes);
        for j in 0..QK {
            assert_eq!(read.code(j), code(j));
            assert_eq!(y[read.column(j)], f32::from(code(j)), "{ty} field {j}");
            let group = j / sparsity.kept() * sparsity.group();
            assert_eq!(read.column(j), group + index(j));
        }
        assert_eq!(first_disordered(ty, &bytes).unwrap(), None);
        let twice = SparseBlock::new(sparsity, 0x3c00, code, |_| 1);
        twice.write(&mut bytes);
        assert_eq!(first_disordered(ty, &bytes).unwrap(), Some(1), "{ty}");
    }
    assert_eq!(
        first_disordered(TensorType::Q4_1, &[0xff; 20]).unwrap(),
        None
    );
    let err = sparse_blocks(TensorType::Q4_1, &[0; 20]).unwrap_err();
    assert!(err.to_string().contains("the format is dense"), "{err}");
}

/// Plain rounding to the packed formats is off by at most half a step.
#[test]
fn packed_formats_round_to_the_nearest() {
    let x: Vec<f32> = (0..QK).map(|j| (j as f32 * 0.7).sin()).collect();
    for (ty, bits) in [
        (TensorType::Q2_1, 2),
        (TensorType::Q3_1, 3),
        (TensorType::Q6_1, 6),
    ] {
        let mut bytes = vec![0; ty.block_bytes()];
        quantize_row(ty, &x, &mut bytes).unwrap();
        let step = 2.0 / ((1 << bits) - 1) as f32;
        for (x, y) in x.iter().zip(dequantize(ty, &bytes)) {
            assert!((x - y).abs() < step * 0.51, "{ty}: {x} became {y}");
        }
    }
}

#[test]
fn floats_by_hand() {
    assert_eq!(dequantize(TensorType::F32, &1.5f32.to_le_bytes()), [1.5]);
    assert_eq!(
        dequantize(TensorType::F16, &[0x01, 0x00, 0x00, 0xbc]),
        [2f32.powi(-24), -1.0]
    );
    assert_eq!(
        dequantize(TensorType::BF16, &[0x80, 0x3f, 0x01, 0x00]),
        [1.0, 2f32.powi(-133)]
    );
}

macro_rules! golden {
    ($($ty:ident $name:literal)*) => {
        [$((
            TensorType::$ty,
            &include_bytes!(concat!("../../../tests/golden/blocks/", $name, ".bin"))[..],
            &include_bytes!(concat!("../../../tests/golden/blocks/", $name, ".f32"))[..],
        )),*]
    };
}

#[test]
fn equals_reference_dequantizer_bit_for_bit() {
    let golden = golden! {
        Q4_0 "q4_0" Q4_1 "q4_1" Q5_0 "q5_0" Q5_1 "q5_1" Q8_0 "q8_0"
        Q4_K "q4_k" Q5_K "q5_k" Q6_K "q6_k" BF16 "bf16"
    };
    for (ty, blocks, expected) in golden {
        let expected = dequantize(TensorType::F32, expected);
        let found = dequantize(ty, blocks);
        assert_eq!(found.len(), expected.len(), "{ty}");
        for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(
                f.to_bits(),
                e.to_bits(),
                "{ty} element {i}: {f} instead of {e}"
            );
        }
    }
}

#[test]
fn codes_lose_nothing() {
    let golden = golden! { Q4_0 "q4_0" Q4_1 "q4_1" Q5_0 "q5_0" Q5_1 "q5_1" Q8_0 "q8_0" };
    for (ty, blocks, _) in golden {
        let value = |bits| half::f16::from_bits(bits).to_f32();
        let rebuilt: Vec<f32> = code_blocks(ty, blocks)
            .unwrap()
            // A fused multiply-add rounds the exact value once.
            .flat_map(|b| {
                b.codes
                    .map(|q| value(b.scale).mul_add(q.into(), value(b.min)))
            })
            .collect();
        // Compared by value: the offset formats can differ in the sign of zero.
        assert_eq!(rebuilt, dequantize(ty, blocks), "{ty}");
    }
}

#[test]
fn quantized_blocks_equal_those_of_the_reference() {
    macro_rules! golden {
        ($($ty:ident $name:literal)*) => {
            [$((TensorType::$ty, &include_bytes!(
                concat!("../../../tests/golden/blocks/", $name, ".quantized"))[..])),*]
        };
    }
    let values = include_bytes!("../../../tests/golden/blocks/quantize.f32");
    let values = dequantize(TensorType::F32, values);
    let golden = golden! {
        Q4_0 "q4_0" Q4_1 "q4_1" Q5_0 "q5_0" Q5_1 "q5_1" Q8_0 "q8_0" BF16 "bf16"
    };
    for (ty, expected) in golden {
        let mut found = vec![0; expected.len()];
        quantize_row(ty, &values, &mut found).unwrap();
        let size = ty.block_bytes();
        for (i, (f, e)) in found.chunks(size).zip(expected.chunks(size)).enumerate() {
            assert_eq!(f, e, "{ty} block {i}");
        }
    }
    let mut halves = vec![0; 2 * values.len()];
    quantize_row(TensorType::F16, &values, &mut halves).unwrap();
    assert!(
        dequantize(TensorType::F16, &halves)
            .iter()
            .zip(&values)
            .all(|(a, b)| (a - b).abs() <= b.abs() / 2048.0 + 3e-8)
    );
    let err = quantize_row(TensorType::Q6_K, &[0.0; 256], &mut [0; 210]).unwrap_err();
    assert!(
        err.to_string()
            .contains("read, not quantized to\nhint: choose F32"),
        "{err}"
    );
    let err = quantize_row(TensorType::Q8_0, &[0.0; 31], &mut [0; 34]).unwrap_err();
    assert!(
        err.to_string().contains("31 elements do not fill 34 bytes"),
        "{err}"
    );
}

#[test]
fn offsets_become_minima() {
    let mut b = block(TensorType::Q4_0, &[(2, 0xf1)]);
    put_f16(&mut b, 0, 0.5);
    let codes = code_blocks(TensorType::Q4_0, &b).unwrap().next().unwrap();
    assert_eq!((codes.codes[0], codes.codes[16]), (1, 15));
    assert_eq!(codes.min, half::f16::from_f32(-4.0).to_bits());
    assert!(code_blocks(TensorType::Q6_K, &[0; 210]).is_err());
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    assert_eq!(TensorType::Q4_1.row_bytes(576), Some(360));
    assert_eq!(TensorType::Q4_1.row_bytes(577), None);
    assert_eq!(TensorType::F32.row_bytes(usize::MAX), None);
    let err = dequantize_row(TensorType::Q8_0, &[0; 35], &mut [0.0; 32]).unwrap_err();
    assert!(err.to_string().contains("35 bytes"), "{err}");
    let err = dequantize_row(TensorType::Q8_0, &[0; 34], &mut [0.0; 31]).unwrap_err();
    assert!(err.to_string().contains("hold 32 elements"), "{err}");
}

#[test]
fn non_finite_fields_are_found() {
    let find = |ty: TensorType, at: usize, value: f32| {
        let mut data = vec![0; ty.block_bytes() * 3];
        let size = ty.block_bytes();
        put_f16(&mut data, 2 * size + at, value);
        first_non_finite(ty, &data).unwrap()
    };
    for ty in TensorType::all().filter(|ty| ty.block_len() > 1) {
        let at = if ty == TensorType::Q6_K { 208 } else { 0 };
        assert_eq!(find(ty, at, f32::NAN), Some(2), "{ty}");
        assert_eq!(find(ty, at, f32::NEG_INFINITY), Some(2), "{ty}");
        assert_eq!(find(ty, at, 4000.0), None, "{ty}");
    }
    for ty in [
        TensorType::Q2_1,
        TensorType::Q3_1,
        TensorType::Q6_1,
        TensorType::Q4_1,
        TensorType::Q5_1,
        TensorType::Q4_K,
        TensorType::Q5_K,
    ] {
        assert_eq!(find(ty, 2, f32::INFINITY), Some(2), "{ty}");
    }
    // The implied minimum overflows binary16.
    assert_eq!(find(TensorType::Q4_0, 0, -8192.0), Some(2));
    assert_eq!(find(TensorType::Q5_0, 0, 4096.0), Some(2));
    assert_eq!(find(TensorType::F16, 0, f32::NAN), Some(2));
    let floats = [1.0f32, f32::MAX, f32::NAN].map(f32::to_le_bytes).concat();
    assert_eq!(first_non_finite(TensorType::F32, &floats).unwrap(), Some(2));
    assert_eq!(
        first_non_finite(TensorType::BF16, &[0x7f, 0x7f, 0x80, 0xff]).unwrap(),
        Some(1)
    );
}
