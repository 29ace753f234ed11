//! Teacher-forced scores of the functional model, and comparison of scores.

use lampyris_bundle::Bundle;
use lampyris_runtime::{WindowScore, argmax, nll};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Limits, Model, SimError};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Scores windows of text on functional models of the accelerator, as many at a time as there are
/// processors. Every position is a decode call, because only those give logits of each position.
/// `progress` is called after each position.
///
/// # Errors
/// Those of a session, of the first window that fails.
pub fn on_model(
    bundle: &Bundle,
    windows: &[&[u32]],
    progress: &(dyn Fn() + Sync),
) -> Result<Vec<WindowScore>, SimError> {
    let next = AtomicUsize::new(0);
    let scores: Mutex<Vec<Option<Result<WindowScore, SimError>>>> =
        Mutex::new(windows.iter().map(|_| None).collect());
    let work = || {
        while let Some((i, window)) = next_window(windows, &next) {
            let score = one_window(bundle, window, progress);
            scores.lock().expect("no worker panicked")[i] = Some(score);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(windows.len()) {
            scope.spawn(work);
        }
    });
    let scores = scores.into_inner().expect("no worker panicked");
    scores
        .into_iter()
        .map(|score| score.expect("every window was taken"))
        .collect()
}

fn next_window<'w>(windows: &[&'w [u32]], next: &AtomicUsize) -> Option<(usize, &'w [u32])> {
    let i = next.fetch_add(1, Ordering::Relaxed);
    windows.get(i).map(|window| (i, *window))
}

fn one_window(
    bundle: &Bundle,
    window: &[u32],
    progress: &(dyn Fn() + Sync),
) -> Result<WindowScore, SimError> {
    let mut device = Model::new(bundle.config, memory(bundle)?)?;
    let mut session = Session::new(bundle, &mut device, Limits::default())?;
    let mut score = WindowScore {
        nll: Vec::new(),
        top1: Vec::new(),
    };
    for (i, &token) in window.iter().enumerate() {
        session.feed(&[token], Want::Logits)?;
        let logits = session.logits()?;
        score.top1.push(argmax(&logits).unwrap_or_default() as u32);
        if let Some(&next) = window.get(i + 1) {
            score.nll.push(nll(&logits, next as usize));
        }
        progress();
    }
    Ok(score)
}

/// Counts positions at which two engines find the same token most likely: (same, all).
///
/// # Panics
/// If the scores belong to different texts.
pub fn agreement(a: &[WindowScore], b: &[WindowScore]) -> (usize, usize) {
    assert_eq!(a.len(), b.len(), "the engines scored different texts");
    let mut count = (0, 0);
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.top1.len(), b.top1.len(), "different windows");
        count.0 += a.top1.iter().zip(&b.top1).filter(|(a, b)| a == b).count();
        count.1 += a.top1.len();
    }
    count
}

/// The greedy continuation of a prompt: `step` processes tokens and gives the most likely next
/// one. An end token is the continuation's last.
///
/// # Errors
/// Those of `step`.
pub fn greedy<E>(
    prompt: &[u32],
    most: usize,
    is_end: impl Fn(u32) -> bool,
    mut step: impl FnMut(&[u32]) -> Result<u32, E>,
) -> Result<Vec<u32>, E> {
    let mut made = vec![step(prompt)?];
    while let Some(&last) = made.last()
        && made.len() < most
        && !is_end(last)
    {
        made.push(step(&[last])?);
    }
    Ok(made)
}

/// Index of the first token at which `b` differs from `a`; `None` if they are equal.
pub fn first_difference(a: &[u32], b: &[u32]) -> Option<usize> {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (same < a.len() || same < b.len()).then_some(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_difference_also_finds_a_missing_tail() {
        assert_eq!(first_difference(&[1, 2], &[1, 2]), None);
        assert_eq!(first_difference(&[1, 2], &[1, 3]), Some(1));
        assert_eq!(first_difference(&[1, 2], &[1]), Some(1));
        assert_eq!(first_difference(&[], &[1]), Some(0));
    }

    #[test]
    fn greedy_stops_after_the_end_token_or_the_limit() {
        let mut position = 0;
        let mut count = |tokens: &[u32]| -> Result<u32, ()> {
            position += tokens.len() as u32;
            Ok(position)
        };
        assert_eq!(
            greedy(&[9, 9], 10, |t| t == 4, &mut count),
            Ok(vec![2, 3, 4])
        );
        assert_eq!(greedy(&[9], 2, |_| false, &mut count), Ok(vec![5, 6]));
    }

    #[test]
    fn agreement_counts_positions_of_all_windows() {
        let score = |top1: &[u32]| WindowScore {
            nll: Vec::new(),
            top1: top1.to_vec(),
        };
        let a = [score(&[1, 2, 3]), score(&[4])];
        let b = [score(&[1, 0, 3]), score(&[0])];
        assert_eq!(agreement(&a, &b), (2, 4));
    }
}
