//! Bundles, programs and weights that were damaged or made up: each is refused with an error that
//! says what and where, or runs to an end; none panics, takes much memory or leaves files behind.

mod bundles;
mod compiles;
mod programs;

/// Most memory that this process may have touched, KiB. Counts in hostile files ask for far more.
const PEAK_KIB: u64 = 1 << 20;

/// Fails if this process has ever held more than [`PEAK_KIB`]; systems without `/proc` are not
/// checked.
fn assert_little_memory() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return;
    };
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let peak = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    let peak = peak.expect("the kernel reports the peak");
    assert!(peak < PEAK_KIB, "{peak} KiB at most were held");
}
