use super::*;
use crate::source::RowOrder;

fn rope(dim: usize, scaling: RopeScaling) -> RopeSpec {
    RopeSpec {
        base: 10_000.0,
        dim,
        scaling,
        freq_factors: None,
        stored: RopeStyle::HalfSplit,
    }
}

fn close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 1e-12 * expected.abs(),
        "{found} instead of {expected}"
    );
}

#[test]
fn frequencies_by_hand() {
    let freq = rope(4, RopeScaling::None).inv_freq();
    close(freq[0], 1.0);
    close(freq[1], 0.01);
    let freq = rope(4, RopeScaling::Linear { factor: 4.0 }).inv_freq();
    close(freq[1], 0.0025);
    let mut factors = rope(4, RopeScaling::None);
    factors.freq_factors = Some(vec![2.0, 5.0]);
    close(factors.inv_freq()[0], 0.5);
    close(factors.inv_freq()[1], 0.002);
}

#[test]
fn llama3_scaling_keeps_high_and_divides_low_frequencies() {
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192.0,
    };
    let at_turns = |turns: f64| {
        let freq = turns * std::f64::consts::TAU / 8192.0;
        scaling.apply(freq) / freq
    };
    close(at_turns(5.0), 1.0);
    close(at_turns(0.5), 0.125);
    // Half of the way between 1 and 4 turns.
    close(at_turns(2.5), 0.5 + 0.5 / 8.0);
}

#[test]
fn angles_at_zero_and_one() {
    let rope = rope(4, RopeScaling::None);
    assert_eq!(rope.cos_sin(0), [(1.0, 0.0), (1.0, 0.0)]);
    let (cos, sin) = rope.cos_sin(1)[0];
    assert_eq!((cos, sin), (1f64.cos() as f32, 1f64.sin() as f32));
}

/// The property that the row order exists for: rotating interleaved pairs after reordering is
/// reordering after rotating half-split pairs.
#[test]
fn row_order_commutes_with_rotation() {
    let (head_dim, dim) = (10, 8);
    let angles = rope(dim, RopeScaling::None).cos_sin(3);
    let order = RowOrder::HalfSplitToInterleaved {
        head_dim,
        rope_dim: dim,
    };
    let x: Vec<f32> = (0..2 * head_dim).map(|i| i as f32 - 7.0).collect();
    let rotate = |x: &[f32], pair: &dyn Fn(usize) -> (usize, usize)| {
        let mut y = x.to_vec();
        for head in [0, head_dim] {
            for (k, (cos, sin)) in angles.iter().enumerate() {
                let (a, b) = (head + pair(k).0, head + pair(k).1);
                y[a] = x[a] * cos - x[b] * sin;
                y[b] = x[a] * sin + x[b] * cos;
            }
        }
        y
    };
    let reorder = |x: &[f32]| {
        (0..x.len())
            .map(|i| x[order.source_row(i)])
            .collect::<Vec<_>>()
    };
    let first = rotate(&reorder(&x), &|k| (2 * k, 2 * k + 1));
    let second = reorder(&rotate(&x, &|k| (k, k + dim / 2)));
    assert_eq!(first, second);
}
