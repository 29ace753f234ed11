//! `lampyris compress`: bits and sparsity for each matrix within an exact budget of bytes.

mod forecast;
mod plot;
mod report;

use crate::calibration::{Calibration, Windows};
use crate::interrupt::{self, Interrupt};
use crate::output::{WrongUsage, bar, note, print};
use crate::size;
use anyhow::{Result, bail};
use lampyris_compress::{
    Budget, Method, Options, Plan, Pruning, Rounding, Sparse, Survey, allocate, check, restore,
    survey, write,
};
use lampyris_flash::TensorType;
use lampyris_import::saved::TextTools;
use lampyris_runtime::{Reference, perplexity};
use report::{Outcome, Report};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, or `tiny`
    model: String,
    /// GGUF file to write
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Size of the output file, never exceeded by a byte: 60MiB, or bytes
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "target_bpw")]
    target_size: Option<u64>,
    /// Bits of all tensors for each weight, scales, minima and indices included
    #[arg(long, value_name = "BITS")]
    target_bpw: Option<f64>,
    #[command(flatten)]
    calibration: Calibration,
    /// Bits of dense codes that may be used
    #[arg(long, value_delimiter = ',', default_value = "2,3,4,5,6,8")]
    widths: Vec<u32>,
    /// `2:4` or `4:16` in every layer that it fits, `auto` where the budget prefers it, or `none`
    #[arg(long, value_name = "PATTERN", default_value = "none", value_parser = parse_sparsity)]
    sparsity: Sparse,
    /// What is pruned: the least loss, compensated (`sparsegpt`), or the least magnitude times
    /// input norm (`wanda`)
    #[arg(long, default_value = "sparsegpt")]
    prune: PruneName,
    /// With compensation of errors (`gptq`), or each weight for itself (`nearest`)
    #[arg(long, default_value = "gptq")]
    rounding: RoundingName,
    /// Tokens on which the effect of each matrix on the predictions is measured; with 0, the
    /// change of its own outputs decides
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    sensitivity_tokens: usize,
    /// Also judge these bits a weight; writes no file for them
    #[arg(long, value_name = "BITS,...", value_delimiter = ',')]
    sweep: Vec<f64>,
    /// Draw size against perplexity to this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PruneName {
    Wanda,
    Sparsegpt,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RoundingName {
    Nearest,
    Gptq,
}

fn parse_sparsity(text: &str) -> Result<Sparse, String> {
    match text {
        "none" => return Ok(Sparse::Never),
        "auto" => return Ok(Sparse::Allowed),
        "2:4" => return Ok(Sparse::Everywhere(TensorType::Q4_2OF4)),
        "4:16" => return Ok(Sparse::Everywhere(TensorType::Q4_4OF16)),
        _ => {}
    }
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| *n > 0.0);
    let parts = text.split_once(':');
    let share = parts.and_then(|(kept, group)| Some(number(kept)? / number(group)?));
    Err(match share {
        Some(share) if share < 1.0 => {
            // Halfway, in factors, between a half and a quarter.
            let nearest = if share * share < 0.125 { "4:16" } else { "2:4" };
            format!("the supported patterns are 2:4 and 4:16; the nearest is {nearest}")
        }
        _ => "expected 2:4, 4:16, auto or none".into(),
    })
}

impl Args {
    fn options(&self) -> Options {
        Options {
            widths: self.widths.clone(),
            sparse: self.sparsity,
            method: Method {
                rounding: match self.rounding {
                    RoundingName::Nearest => Rounding::Nearest,
                    RoundingName::Gptq => Rounding::Gptq,
                },
                pruning: match self.prune {
                    PruneName::Wanda => Pruning::Wanda,
                    PruneName::Sparsegpt => Pruning::SparseGpt,
                },
            },
        }
    }

    /// The budget of the file that is written, if one is.
    fn budget(&self) -> Option<Budget> {
        match (self.target_size, self.target_bpw, self.sparsity) {
            (Some(bytes), _, _) => Some(Budget::File(bytes)),
            (_, Some(bits), _) => Some(Budget::BitsPerWeight(bits)),
            (_, _, Sparse::Everywhere(_)) => Some(Budget::Unlimited),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), WrongUsage> {
        let targets = self.sweep.iter().chain(&self.target_bpw);
        for &bits in targets {
            if !(bits > 0.0 && bits <= 32.0) {
                let message = format!("{bits} bits a weight\n\nhint: give more than 0, at most 32");
                return Err(WrongUsage(message));
            }
        }
        let wrong = |message: &str| Err(WrongUsage(message.into()));
        match (self.budget(), &self.output) {
            (None, _) if self.sweep.is_empty() => wrong(
                "nothing says how small the model shall become\n\nhint: give --target-size, \
                 --target-bpw, --sparsity 2:4, or --sweep to compare",
            ),
            (Some(_), None) => wrong("give the file to write with -o"),
            (None, Some(_)) => {
                wrong("--sweep writes no model\n\nhint: give --target-bpw too, or leave -o out")
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    args.check()?;
    let model = lampyris_import::open(&args.model)?;
    let plan = Plan::new(&model, args.options())?;
    let budgets = args.sweep.iter().map(|&bits| Budget::BitsPerWeight(bits));
    let budgets: Vec<Budget> = args.budget().into_iter().chain(budgets).collect();
    for &budget in &budgets {
        check(&plan, budget)?;
    }
    let tools = TextTools::from_model_file(model.file())?;
    let windows = args
        .calibration
        .windows(&tools, model.spec().context_length)?;
    if windows.judging.is_empty() {
        bail!("there is no text to judge with\n\nhint: leave --eval-tokens at its default");
    }
    let probe = &windows.calibration[0];
    let probe = &probe[..probe.len().min(args.sensitivity_tokens)];
    let mut reference = Reference::new(&model)?;
    note(&forecast::text(
        &plan,
        &reference,
        &windows,
        probe.len(),
        &budgets,
    )?);
    let before = judge(&reference, &windows, "judging the source")?;
    let survey = surveyed(&plan, &budgets, &mut reference, &windows, probe)?;
    let interrupt = Interrupt::install()?;
    let mut outcomes = Vec::new();
    for (i, &budget) in budgets.iter().enumerate() {
        if i > 0 {
            // The one before has left its weights in the executor.
            restore(&plan, &mut reference)?;
        }
        let path = args.output.as_deref().filter(|_| i == 0);
        let work = || {
            compress(
                &plan,
                &survey,
                budget,
                &mut reference,
                &windows,
                path,
                &interrupt,
            )
        };
        match (interrupt.during(work), interrupt.signal()) {
            (Ok(outcome), _) => outcomes.push(outcome),
            (Err(error), Some(signal)) => {
                note(&error.to_string());
                return Ok(interrupt::code(signal));
            }
            (Err(error), None) => return Err(error),
        }
    }
    show(args, &plan, &windows, before, outcomes)
}

/// Draws and prints the result.
fn show(
    args: &Args,
    plan: &Plan<'_>,
    windows: &Windows,
    before: f64,
    outcomes: Vec<Outcome>,
) -> Result<ExitCode> {
    let report = Report {
        plan,
        tokens: windows.judging.iter().map(|w| w.len() as u64 - 1).sum(),
        before,
        outcomes,
    };
    if let Some(path) = &args.plot {
        plot::write(path, &report)?;
        note(&format!("wrote {}", path.display()));
    }
    print(&if args.json {
        report.json()?
    } else {
        report.text()?
    });
    Ok(ExitCode::SUCCESS)
}

/// What each format would cost, unless no budget asks.
fn surveyed(
    plan: &Plan<'_>,
    budgets: &[Budget],
    reference: &mut Reference<'_>,
    windows: &Windows,
    probe: &[u32],
) -> Result<Survey> {
    if !forecast::needs_survey(budgets) {
        return Ok(Survey::none());
    }
    let progress = bar(plan.weights(), "measuring formats", false);
    let probe = (!probe.is_empty()).then_some(probe);
    let calibration = &windows.calibration;
    let found = survey(plan, reference, calibration, probe, &mut |n| {
        progress.set_position(n);
    })?;
    progress.finish_and_clear();
    Ok(found)
}

/// Perplexity on the text that was held out.
fn judge(reference: &Reference<'_>, windows: &Windows, what: &'static str) -> Result<f64> {
    let progress = bar(windows.judging_tokens() as u64, what, false);
    let mut scores = Vec::new();
    for window in &windows.judging {
        scores.extend(reference.score(&[window])?);
        progress.inc(window.len() as u64);
    }
    progress.finish_and_clear();
    Ok(perplexity(&scores))
}

/// Allocates, quantizes, writes and judges.
fn compress(
    plan: &Plan<'_>,
    survey: &Survey,
    budget: Budget,
    reference: &mut Reference<'_>,
    windows: &Windows,
    path: Option<&Path>,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let allocation = allocate(plan, survey, budget)?;
    let progress = bar(plan.weights(), "quantizing", false);
    let written = write(
        plan,
        survey,
        &allocation.formats,
        reference,
        &windows.calibration,
        path,
        &mut |n| {
            progress.set_position(n);
            !interrupt.raised()
        },
    )?;
    progress.finish_and_clear();
    if let Some(path) = path {
        note(&format!("wrote {}", path.display()));
    }
    Ok(Outcome {
        budget,
        allocation,
        written,
        perplexity: judge(reference, windows, "judging the result")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_and_others_get_their_nearest() {
        assert_eq!(
            parse_sparsity("4:16"),
            Ok(Sparse::Everywhere(TensorType::Q4_4OF16))
        );
        assert_eq!(parse_sparsity("auto"), Ok(Sparse::Allowed));
        let nearest = |text| parse_sparsity(text).unwrap_err();
        assert!(nearest("1:4").ends_with("the nearest is 4:16"));
        assert!(nearest("1:2").ends_with("the nearest is 2:4"));
        assert!(nearest("3:4").ends_with("the nearest is 2:4"));
        assert!(nearest("half").starts_with("expected 2:4"));
        assert!(nearest("4:2").starts_with("expected 2:4"));
    }
}
