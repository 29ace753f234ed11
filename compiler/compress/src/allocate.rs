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
    if budget == Budget::Unlimited {
        return Ok(Allocation {
            formats: plan.largest(),
            loss: 0.0,
            gap: 0.0,
        });
    }
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
    let (given, least, option) = match budget {
        Budget::Unlimited => return Ok(()),
        Budget::File(bytes) => {
            let least = plan.file_bytes(&smallest)?;
            if bytes >= least {
                return Ok(());
            }
            let given = format!("{bytes} bytes");
            (
                given,
                format!("{least} bytes"),
                format!("--target-size {least}"),
            )
        }
        Budget::BitsPerWeight(bits) => {
            // Rounded up, so that what the message names is feasible.
            let least = (plan.bits_per_weight(&smallest) * 1000.0).ceil() / 1000.0;
            if bits * plan.weights() as f64 / 8.0 >= plan.tensor_bytes(&smallest) as f64 {
                return Ok(());
            }
            let given = format!("{bits} bits a weight");
            (given, format!("{least}"), format!("--target-bpw {least}"))
        }
    };
    let narrower = match plan.options().can_narrow() {
        true => ", or allow narrower formats (--widths, --sparsity auto)",
        false => "",
    };
    Err(CompressError::Budget {
        model: plan.name(),
        budget: given,
        least,
        hint: format!("give at least {option}{narrower}"),
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
            if useful
                .last()
                .is_none_or(|&last| options[i].1 < options[last].1)
            {
                useful.push(i);
            }
        }
        Self { options, useful }
    }

    fn least(&self) -> u64 {
        self.options[self.useful[0]].0
    }
}

/// A good choice within `room` bytes above the least of each item: as long as something fits, the
/// step that saves most loss for each byte.
fn greedy(items: &[Item], mut room: i128) -> Vec<usize> {
    let mut at = vec![0; items.len()];
    loop {
        let steps = items
            .iter()
            .zip(&at)
            .enumerate()
            .flat_map(|(k, (item, &at))| {
                let (bytes, loss) = item.options[item.useful[at]];
                (at + 1..item.useful.len()).map(move |to| {
                    let (more, less) = item.options[item.useful[to]];
                    (k, to, more - bytes, loss - less)
                })
            });
        let fitting = steps.filter(|(_, _, bytes, _)| i128::from(*bytes) <= room);
        let rate = |step: &(usize, usize, u64, f64)| step.3 / step.2 as f64;
        let Some((k, to, bytes, _)) = fitting.max_by(|a, b| rate(a).total_cmp(&rate(b))) else {
            return items
                .iter()
                .zip(&at)
                .map(|(item, &at)| item.useful[at])
                .collect();
        };
        at[k] = to;
        room -= i128::from(bytes);
    }
}

/// An option for each item with at most `room` bytes in all, and the gap that is left to the
/// least possible loss.
fn choose(items: &[Item], room: i128) -> Result<(Vec<usize>, f64)> {
    let bytes = |chosen: &[usize]| -> i128 {
        let costs = items.iter().zip(chosen);
        costs.map(|(item, &i)| i128::from(item.options[i].0)).sum()
    };
    let largest: Vec<usize> = items
        .iter()
        .map(|item| item.useful[item.useful.len() - 1])
        .collect();
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
    // Whatever the search finds in time is at least as good as this.
    let start = greedy(items, room);
    let marks = items.iter().zip(&variables).zip(&start);
    let marks = marks.flat_map(|((item, variables), chosen)| {
        let useful = item.useful.iter().zip(variables);
        useful.map(move |(i, &variable)| (variable, f64::from(u8::from(i == chosen))))
    });
    options.warm_start = Some(marks.collect());
    let solution = match problem.solve_with(options) {
        Ok(SolveOutcome::Solution(solution)) => solution,
        Ok(SolveOutcome::Interrupted(_)) => {
            return Err(failed("no solution was found in time".into()));
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let chosen = items.iter().zip(&variables).map(|(item, variables)| {
        let best = variables.iter().zip(&item.useful).max_by(|a, b| {
            solution
                .var_value(*a.0)
                .total_cmp(&solution.var_value(*b.0))
        });
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
        fn the_greedy_choice_fits(options in items(), share in 0.0f64..1.2) {
            let items: Vec<Item> = options.into_iter().map(Item::new).collect();
            let least: u64 = items.iter().map(Item::least).sum();
            let room = (share * 1e7) as i128;
            let chosen = greedy(&items, room);
            let bytes: u64 = items.iter().zip(&chosen).map(|(item, &i)| item.options[i].0).sum();
            prop_assert!(i128::from(bytes) <= i128::from(least) + room);
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

    /// As many matrices, sizes and formats as a model of 30 layers has: solved to the gap within
    /// the limit of branches.
    #[test]
    fn whole_models_are_solved() {
        let mut random = fastrand::Rng::with_seed(4);
        let rows = [576u64, 192, 192, 576, 1536, 1536, 1536];
        let mut items: Vec<Item> = (0..210)
            .map(|i| {
                let blocks = rows[i % 7] * 18;
                let scale = (8.0 * random.f64()).exp();
                let options = [12u64, 16, 20].map(|bytes| {
                    let noise = 1.0 + 0.2 * random.f64();
                    let loss = scale * noise * 4f64.powf(-(bytes as f64) / 4.0);
                    (blocks * bytes, if bytes == 20 { 0.0 } else { loss })
                });
                Item::new(options.to_vec())
            })
            .collect();
        let table = [12u64, 16, 20, 24, 28, 34].map(|bytes| {
            let loss = if bytes == 34 {
                0.0
            } else {
                3e3 * 4f64.powf(-(bytes as f64) / 4.0)
            };
            (49152 * 18 * bytes, loss)
        });
        items.push(Item::new(table.to_vec()));
        let least: u64 = items.iter().map(Item::least).sum();
        for share in [0.05, 0.2, 0.5, 0.9] {
            let room = i128::from(least) + (36e6 * share) as i128;
            let (chosen, gap) = choose(&items, room).unwrap();
            let bytes: u64 = items
                .iter()
                .zip(&chosen)
                .map(|(item, &i)| item.options[i].0)
                .sum();
            assert!(i128::from(bytes) <= room);
            assert!(gap <= 0.01, "{share}: {gap}");
        }
    }
}
