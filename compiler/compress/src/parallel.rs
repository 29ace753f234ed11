//! Work on ranges of rows, on all processors.

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `work` for consecutive ranges of at most `each` of `count` items; results in order.
pub(crate) fn ranges<T: Send>(
    count: usize,
    each: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let chunks = count.div_ceil(each);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                return done;
            }
            let range = chunk * each..((chunk + 1) * each).min(count);
            done.push((chunk, work(range)));
        }
    };
    let mut results = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.min(chunks)).map(|_| scope.spawn(run)).collect();
        let mut results = run();
        for helper in helpers {
            match helper.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(chunk, _)| *chunk);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_come_in_order() {
        let found = super::ranges(10, 3, |range| range.collect::<Vec<_>>());
        assert_eq!(found.concat(), (0..10).collect::<Vec<_>>());
        assert!(super::ranges(0, 3, |range| range.len()).is_empty());
    }
}
