//! Removes pieces of a failing program as long as it still fails.

use super::Case;
use super::items::Item;
use crate::rtl::AxiTiming;

/// The smallest program found for which `fails` holds; it holds for `case`.
pub fn shrink(case: &Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut best = case.clone();
    let plain = Case {
        timing: AxiTiming::default(),
        ..best.clone()
    };
    if fails(&plain) {
        best = plain;
    }
    loop {
        let before = size(&best.items);
        // Large runs first, then single pieces.
        let mut chunk = best.items.len().div_ceil(2).max(1);
        loop {
            remove_runs(&mut best, chunk, &mut fails);
            if chunk == 1 {
                break;
            }
            chunk = chunk.div_ceil(2);
        }
        simplify(&mut best, &mut fails);
        if size(&best.items) == before {
            return best;
        }
    }
}

/// Pieces, counted with those inside of others.
fn size(items: &[Item]) -> usize {
    let inner = |item: &Item| match item {
        Item::Loop { body, .. } | Item::Call { body, .. } | Item::Skip { body, .. } => size(body),
        Item::Product { loads, products } => loads.len() + products.len(),
        _ => 0,
    };
    items.iter().map(|item| 1 + inner(item)).sum()
}

fn remove_runs(best: &mut Case, chunk: usize, fails: &mut impl FnMut(&Case) -> bool) {
    let mut at = 0;
    while at < best.items.len() {
        let mut attempt = best.clone();
        attempt.items.drain(at..(at + chunk).min(best.items.len()));
        if fails(&attempt) {
            *best = attempt;
        } else {
            at += chunk;
        }
    }
}

/// Tries to replace pieces by simpler ones: a loop by its body, a body by a part of it.
fn simplify(best: &mut Case, fails: &mut impl FnMut(&Case) -> bool) {
    let mut at = 0;
    while at < best.items.len() {
        let found = simpler(&best.items[at])
            .into_iter()
            .find_map(|replacement| {
                let mut attempt = best.clone();
                attempt.items.splice(at..=at, replacement);
                fails(&attempt).then_some(attempt)
            });
        match found {
            Some(attempt) => *best = attempt,
            None => at += 1,
        }
    }
}

/// Puts a changed body back into its piece.
type Rebuild = Box<dyn Fn(Vec<Item>) -> Item>;

/// Simpler forms of a piece, simplest first. Every one is smaller by `size`.
fn simpler(item: &Item) -> Vec<Vec<Item>> {
    let (body, rebuild): (&Vec<Item>, Rebuild) = match item {
        Item::Loop { count, style, body } => {
            let (count, style) = (*count, *style);
            (
                body,
                Box::new(move |body| Item::Loop { count, style, body }),
            )
        }
        Item::Call { twice, body } => {
            let twice = *twice;
            (body, Box::new(move |body| Item::Call { twice, body }))
        }
        Item::Skip { cond, taken, body } => {
            let (cond, taken) = (*cond, *taken);
            (body, Box::new(move |body| Item::Skip { cond, taken, body }))
        }
        _ => return Vec::new(),
    };
    // Outside of a loop nothing is left to shift addresses by.
    let unshifted = body.iter().cloned().map(without_shift).collect();
    let mut forms = vec![unshifted];
    for at in 0..body.len() {
        let mut rest = body.clone();
        rest.remove(at);
        forms.push(vec![rebuild(rest)]);
        for inner in simpler(&body[at]) {
            let mut changed = body.clone();
            changed.splice(at..=at, inner);
            forms.push(vec![rebuild(changed)]);
        }
    }
    forms
}

fn without_shift(item: Item) -> Item {
    let plain = |mut op: super::Op| {
        op.shifted = false;
        op
    };
    match item {
        Item::Op(op) => Item::Op(plain(op)),
        Item::Product { loads, products } => Item::Product {
            loads,
            products: products.into_iter().map(plain).collect(),
        },
        other => other,
    }
}
