//! Which format each matrix gets: the least expected loss within the budget.
//!
//! An integer program: one 0/1 variable for each format of each matrix, exactly one of them set,
//! and the sum of bytes at most the budget. Bytes are counted exactly, scales, minima, index bits
//! and padding included; what the solver's floating point decides is checked in integers.

use crate::plan::{Budget, Plan};
use crate::survey::Survey;
use crate::{CompressError, Result};
use lampyris_flash::TensorType;
use microlp::{
    ComparisonOp, LinearExpr, OptimizationDirection, Problem, SolveOptions, SolveOutcome, Variable,
};

/// How far from the proven optimum the search may stop.
const GAP: f64 = 1e-4;
/// Branches that the search looks at, at most: a limit that gives the same result everywhere.
const NODES: u64 = 20_000;
/// How often the room is narrowed if the solver's rounding exceeds it.
const TRIES: usize = 8;

/// A format for each matrix.
#[derive(Clone, Debug)]
pub struct Allocation {
    /// In the order of [`Plan::matrices`].
    pub formats: Vec<TensorType>,
    /// The sum of expected losses.
    pub loss: f64,
    /// How far the loss may be above the least possible, as a share of it.
    pub gap: f64,
}

/// Chooses formats with the least sum of losses within `budget`.
///
/// # Errors
/// [`CompressError::Budget`] if not even the narrowest formats fit, naming the least budget that
/// does; [`CompressError::Solver`] if the solver fails.
pub fn allocate(plan: &Plan<'_>, survey: &Survey, budget: Budget) -> Result<Allocation> {
    check(plan, budget)?;
    let items: Vec<Item> = plan
        .matrices()
        .iter()
        .zip(&survey.losses)
        .map(|(matrix, losses)| {
            let formats = matrix.formats.iter().zip(losses);
            let options = formats.map(|(&ty, &loss)| (plan.cost(matrix, ty, budget), loss));
            Item::new(options.collect())
        })
        .collect();
    let (chosen, gap) = choose(&items, plan.room(budget)?)?;
    let formats = plan.matrices().iter().zip(&chosen);
    Ok(Allocation {
        formats: formats.map(|(m, &i)| m.formats[i]).collect(),
        loss: survey.losses.iter().zip(&chosen).map(|(l, &i)| l[i]).sum(),
        gap,
    })
}

/// Refuses a budget that is below the smallest size.
///
/// # Errors
/// [`CompressError::Budget`].
pub fn check(plan: &Plan<'_>, budget: Budget) -> Result<()> {
    let smallest = plan.smallest();
    let (given, least) = match budget {
        Budget::Unlimited => return Ok(()),
        Budget::File(bytes) => {
            let least = plan.file_bytes(&smallest)?;
            if bytes >= least {
                return Ok(());
            }
            (format!("{bytes} bytes"), format!("--target-size {least}"))
        }
        Budget::BitsPerWeight(bits) => {
            // Rounded up, so that what the message names is feasible.
            let least = (plan.bits_per_weight(&smallest) * 1000.0).ceil() / 1000.0;
            if bits * plan.weights() as f64 / 8.0 >= plan.tensor_bytes(&smallest) as f64 {
                return Ok(());
            }
            (format!("{bits} bits a weight"), format!("--target-bpw {least}"))
        }
    };
    Err(CompressError::Budget {
        model: plan.model().file().name(),
        budget: given,
        hint: format!("give at least {least}, or allow narrower formats (--widths, --sparsity auto)"),
        least,
    })
}

/// The options of one matrix.
struct Item {
    /// Bytes and loss of each format.
    options: Vec<(u64, f64)>,
    /// Formats that no other beats in both, by ascending bytes.
    useful: Vec<usize>,
}

impl Item {
    fn new(options: Vec<(u64, f64)>) -> Self {
        let mut order: Vec<usize> = (0..options.len()).collect();
        order.sort_by(|&a, &b| {
            let (a, b) = (options[a], options[b]);
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let mut useful: Vec<usize> = Vec::new();
        for i in order {
            if useful.last().is_none_or(|&last| options[i].1 < options[last].1) {
                useful.push(i);
            }
        }
        Self { options, useful }
    }

    fn least(&self) -> u64 {
        self.options[self.useful[0]].0
    }
}

/// An option for each item with at most `room` bytes in all, and the gap that is left to the
/// least possible loss.
fn choose(items: &[Item], room: i128) -> Result<(Vec<usize>, f64)> {
    let bytes = |chosen: &[usize]| -> i128 {
        let costs = items.iter().zip(chosen);
        costs.map(|(item, &i)| i128::from(item.options[i].0)).sum()
    };
    let largest: Vec<usize> = items.iter().map(|item| item.useful[item.useful.len() - 1]).collect();
    if bytes(&largest) <= room {
        return Ok((largest, 0.0));
    }
    let smallest: Vec<usize> = items.iter().map(|item| item.useful[0]).collect();
    let least = bytes(&smallest);
    let mut narrowed = room;
    for _ in 0..TRIES {
        if narrowed <= least {
            break;
        }
        let (chosen, gap) = solve(items, narrowed - least)?;
        let excess = bytes(&chosen) - room;
        if excess <= 0 {
            return Ok((chosen, gap));
        }
        narrowed -= excess;
    }
    // So little room above the least that nothing else was found.
    Ok((smallest, 0.0))
}

/// The integer program, in bytes above the least of each item.
fn solve(items: &[Item], room: i128) -> Result<(Vec<usize>, f64)> {
    let failed = |problem: String| CompressError::Solver {
        problem,
        hint: "change the budget a little, or give fewer --widths",
    };
    // Coefficients of moderate size: shares of the room, and of the largest loss.
    let unit = room as f64;
    let most = items
        .iter()
        .flat_map(|item| item.useful.iter().map(|&i| item.options[i].1))
        .fold(f64::MIN_POSITIVE, f64::max);
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let mut size = LinearExpr::empty();
    let mut variables: Vec<Vec<Variable>> = Vec::with_capacity(items.len());
    for item in items {
        let one: Vec<Variable> = item
            .useful
            .iter()
            .map(|&i| problem.add_binary_var(item.options[i].1 / most * 1e3))
            .collect();
        for (&i, &variable) in item.useful.iter().zip(&one) {
            let above = item.options[i].0 - item.least();
            if above > 0 {
                size.add(variable, above as f64 / unit * 1e3);
            }
        }
        problem.add_constraint(one.iter().map(|&v| (v, 1.0)), ComparisonOp::Eq, 1.0);
        variables.push(one);
    }
    problem.add_constraint(size, ComparisonOp::Le, 1e3);
    let mut options = SolveOptions::default();
    options.mip_gap = GAP;
    options.node_limit = Some(NODES);
    let solution = match problem.solve_with(options) {
        Ok(SolveOutcome::Solution(solution)) => solution,
        Ok(SolveOutcome::Interrupted(_)) => return Err(failed("no solution was found in time".into())),
        Err(error) => return Err(failed(error.to_string())),
    };
    let chosen = items.iter().zip(&variables).map(|(item, variables)| {
        let best = variables
            .iter()
            .zip(&item.useful)
            .max_by(|a, b| solution.var_value(*a.0).total_cmp(&solution.var_value(*b.0)));
        best.map_or(item.useful[0], |(_, &i)| i)
    });
    Ok((chosen.collect(), solution.gap().unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items() -> impl Strategy<Value = Vec<Vec<(u64, f64)>>> {
        let option = (1u64..5_000_000, 0.0f64..100.0);
        prop::collection::vec(prop::collection::vec(option, 1..6), 1..25)
    }

    /// The least loss by dynamic programming over sizes, which are small here.
    fn exact(items: &[Item], room: usize) -> f64 {
        let mut best = vec![0.0; room + 1];
        for item in items {
            let mut next = vec![f64::INFINITY; room + 1];
            for (size, loss) in &item.options {
                for at in *size as usize..=room {
                    next[at] = f64::min(next[at], best[at - *size as usize] + loss);
                }
            }
            best = next;
        }
        best[room]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn the_room_is_never_exceeded(options in items(), share in 0.0f64..1.2) {
            let items: Vec<Item> = options.into_iter().map(Item::new).collect();
            let least: u64 = items.iter().map(Item::least).sum();
            let most: u64 = items.iter().map(|item| item.options.iter().map(|o| o.0).max().unwrap()).sum();
            let room = i128::from(least) + ((most - least) as f64 * share) as i128;
            let (chosen, _) = choose(&items, room).unwrap();
            let bytes: u64 = items.iter().zip(&chosen).map(|(item, &i)| item.options[i].0).sum();
            prop_assert!(i128::from(bytes) <= room, "{bytes} of {room}");
        }

        #[test]
        fn the_loss_is_the_least_possible(
            options in prop::collection::vec(prop::collection::vec((1u64..30, 0.1f64..10.0), 1..5), 1..10),
            share in 0.0f64..1.0,
        ) {
            let items: Vec<Item> = options.into_iter().map(Item::new).collect();
            let least: u64 = items.iter().map(Item::least).sum();
            let room = least as usize + (share * 100.0) as usize;
            let (chosen, gap) = choose(&items, room as i128).unwrap();
            let loss: f64 = items.iter().zip(&chosen).map(|(item, &i)| item.options[i].1).sum();
            let best = exact(&items, room);
            prop_assert!(loss <= best * (1.0 + 2.0 * GAP) + 1e-9, "{loss} above {best}");
            prop_assert!(gap <= GAP);
        }
    }
}
