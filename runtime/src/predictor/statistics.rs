//! How often each neuron was active: what hot-first ordering starts from.

use lampyris_pack::Statistics;
use std::io;
use std::path::Path;

/// Counts the neurons of a layer whose magnitude in `values`, `[tokens, neurons]`, is above
/// `threshold`.
pub(super) fn count(statistics: &mut Statistics, layer: usize, values: &[f32], threshold: f32) {
    let counts = &mut statistics.active[layer];
    for token in values.chunks_exact(counts.len().max(1)) {
        for (count, v) in counts.iter_mut().zip(token) {
            *count += u64::from(v.abs() > threshold);
        }
    }
}

/// Writes the file that `lampyris pack --order hot` reads, whole or not at all.
///
/// # Errors
/// What the file system says.
pub fn write_statistics(statistics: &Statistics, path: &Path) -> io::Result<()> {
    crate::atomic::write(path, statistics.to_json().as_bytes())
}
