//! What the suites that decode `tiny` share: text, a checked model, ways to compare logits.

use lampyris_bundle::Bundle;
use lampyris_import::Model as Imported;
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Check, Device, Limits, Model};

/// The embedded model.
///
/// # Panics
/// If it does not open.
pub fn tiny() -> Imported {
    lampyris_import::open("tiny").expect("the embedded model")
}

/// Tokens of a text for a model, the same every time.
pub fn text(model: &Imported, count: usize) -> Vec<u32> {
    let vocab = model.spec().vocab_size as u32;
    (0..count as u32)
        .map(|i| (i * i * 7 + 13) % vocab)
        .collect()
}

/// The functional model with a bundle in its memory, which looks for races.
///
/// # Panics
/// If the bundle does not fit.
pub fn checked_model(bundle: &Bundle) -> Model {
    let memory = memory(bundle).expect("fits");
    let mut model = Model::new(bundle.config, memory).expect("starts");
    model.set_check(Check::Races);
    model
}

/// Logits after the positions `ends`, at each of which a part of a text ends.
///
/// # Panics
/// If the text cannot be fed.
pub fn logits_at(
    bundle: &Bundle,
    device: &mut dyn Device,
    text: &[u32],
    ends: &[usize],
) -> Vec<Vec<f32>> {
    let mut session = Session::new(bundle, device, Limits::default()).expect("fits");
    let mut all = Vec::new();
    for &end in ends {
        let part = &text[session.position()..end];
        session.feed(part, Want::Logits).expect("runs");
        all.push(session.logits().expect("stored"));
    }
    all
}

/// The bits of rows of logits.
pub fn bits(all: &[Vec<f32>]) -> Vec<Vec<u32>> {
    let row = |row: &Vec<f32>| row.iter().map(|v| v.to_bits()).collect();
    all.iter().map(row).collect()
}

/// Root-mean-square difference as a share of the spread.
pub fn error(found: &[f32], expected: &[f32]) -> f64 {
    let mean = expected.iter().map(|&v| f64::from(v)).sum::<f64>() / expected.len() as f64;
    let power = |sum: f64| sum.sqrt();
    let spread = power(
        expected
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum(),
    );
    let pairs = found.iter().zip(expected);
    power(pairs.map(|(&a, &b)| f64::from(a - b).powi(2)).sum()) / spread
}
