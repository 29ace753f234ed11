use super::*;

fn matrix(name: &str, rows: usize, row_bytes: usize, offset: u64, group: usize) -> MatrixDesc {
    MatrixDesc {
        name: name.to_owned(),
        ty: TensorType::Q8_0,
        rows,
        cols: 32,
        row_bytes,
        file: 0,
        offset,
        group,
    }
}

/// Layers of three matrices, out of order in the file, and a head.
fn model(layers: usize, rows: usize, row_bytes: usize) -> Vec<MatrixDesc> {
    let mut all = Vec::new();
    let mut at = 1000u64;
    let size = (rows * row_bytes) as u64;
    for layer in 0..layers {
        all.push(matrix("gate", rows, row_bytes, at + size, layer));
        all.push(matrix("up", rows, row_bytes, at + 2 * size, layer));
        all.push(matrix("down", rows, row_bytes, at, layer));
        at += 3 * size + 100;
    }
    all.push(matrix("head", rows * 5, row_bytes, at, layers));
    all
}

const GRAIN: Grain = Grain {
    align: 512,
    chunk: 16 * 1024,
};

/// Every row is either resident or in exactly one piece that lies inside its unit.
fn check(matrices: &[MatrixDesc], layout: &Layout) {
    let mut payload = 0;
    for (desc, rows) in matrices.iter().zip(&layout.rows) {
        let mut next = rows.resident;
        for piece in &rows.pieces {
            assert_eq!(piece.first_row, next, "{}", desc.name);
            next += piece.rows;
            let unit = &layout.units[piece.unit];
            let at = desc.offset + (piece.first_row * desc.row_bytes) as u64;
            assert_eq!(unit.offset + piece.start as u64, at);
            assert!(piece.start + piece.rows * desc.row_bytes <= unit.needed);
            payload += piece.rows * desc.row_bytes;
        }
        assert_eq!(next, desc.rows, "{}", desc.name);
        assert_eq!(rows.arena % ARENA_ALIGN, 0);
    }
    assert_eq!(payload as u64, layout.payload_bytes);
    let mut seen = 0;
    for piece in layout.rows.iter().flat_map(|r| &r.pieces) {
        assert!(piece.unit <= seen, "units are numbered by first use");
        seen = seen.max(piece.unit + 1);
    }
    for unit in &layout.units {
        assert_eq!(unit.offset % GRAIN.align as u64, 0);
        assert_eq!(unit.len % GRAIN.align, 0);
        assert!(unit.len <= GRAIN.buffer(), "{} bytes", unit.len);
    }
}

#[test]
fn every_row_has_one_place_at_any_size_of_memory() {
    for (rows, row_bytes) in [(20, 68), (300, 1156), (7, 5000)] {
        let matrices = model(6, rows, row_bytes);
        let total: u64 = matrices.iter().map(MatrixDesc::bytes).sum();
        let mut before = u64::MAX;
        for percent in [0, 3, 25, 50, 75, 93, 100] {
            let arena = total * percent / 100;
            let layout = Layout::fit(&matrices, GRAIN, arena);
            check(&matrices, &layout);
            assert!(layout.arena_bytes as u64 <= arena);
            assert!(layout.payload_bytes <= before, "{percent} %");
            before = layout.payload_bytes;
        }
        let all = Layout::fit(&matrices, GRAIN, total + 64 * matrices.len() as u64);
        assert!(all.units.is_empty());
    }
}

#[test]
fn memory_is_used_up_to_about_a_unit() {
    let matrices = model(6, 300, 1156);
    let total: u64 = matrices.iter().map(MatrixDesc::bytes).sum();
    for percent in [10, 50, 90] {
        let arena = total * percent / 100;
        let layout = Layout::fit(&matrices, GRAIN, arena);
        assert!(arena - layout.arena_bytes as u64 <= 2 * GRAIN.chunk as u64);
    }
}

#[test]
fn streaming_is_spread_evenly_over_the_sweep() {
    let matrices = model(40, 300, 1156);
    let total: u64 = matrices.iter().map(MatrixDesc::bytes).sum();
    let layout = Layout::fit(&matrices, GRAIN, total / 2);
    let fraction = layout.payload_bytes as f64 / total as f64;
    let (mut all, mut streamed) = (0.0, 0.0);
    for (desc, rows) in matrices.iter().zip(&layout.rows) {
        all += desc.bytes() as f64;
        streamed += ((desc.rows - rows.resident) * desc.row_bytes) as f64;
        assert!((streamed - fraction * all).abs() <= GRAIN.chunk as f64);
    }
}

#[test]
fn small_neighbours_share_a_unit() {
    let matrices = model(4, 20, 68);
    let layout = Layout::fit(&matrices, GRAIN, 0);
    // One unit for each layer and one for the head.
    assert_eq!(layout.units.len(), 5);
    assert_eq!(layout.units[0].pieces, 3);
    assert_eq!(layout.held_at_most(), 1);
    assert_eq!(layout.units_before(12), 4);
}
