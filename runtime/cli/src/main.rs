//! The `lampyris` command: the only crate that sees compiler, simulator and runtime together.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 success, 1 failure (the message
//! says what and where, and ends with a hint), 2 wrong usage.

mod calibration;
mod commands;
mod interrupt;
mod output;
mod size;
mod text;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Puts language models on FPGAs: compile, simulate, run.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a model's graph and sizes, and forecast its speed on a configuration
    Inspect(commands::inspect::Args),
    /// Sweep configurations: speed of a model, from the cycle estimator, against resources
    Explore(Box<commands::explore::Args>),
    /// Compile a model to a directory: program, packed weights, memory map, manifest
    Compile(commands::compile::Args),
    /// Check, show and rebuild what `compile --bitstream` wrote
    Bundle(commands::bundle::Args),
    /// Load a bundle's bitstream onto its board
    Flash(commands::flash::Args),
    /// Talk to a board: run a bundle's model on it, or find out where it goes wrong
    Board(Box<commands::board::Args>),
    /// Run a compiled directory on the functional model, the Verilated RTL, or both in lockstep
    Sim(commands::sim::Args),
    /// Continue a prompt with a model, also with one that is larger than memory
    Run(Box<commands::run::Args>),
    /// Talk with a model
    Chat(Box<commands::run::chat::Args>),
    /// Measure tokens per second
    Bench(Box<commands::bench::Args>),
    /// Serve a model over HTTP, for clients of OpenAI's interface
    Serve(Box<commands::serve::Args>),
    /// Write a model as one file in the order and grouping in which it is read from storage
    Pack(commands::pack::Args),
    /// Narrow and prune a model's weights to an exact size, each matrix as far as it bears
    Compress(Box<commands::compress::Args>),
    /// Train predictors of active neurons, for the sparse mode of ReLU models
    TrainPredictor(commands::train_predictor::Args),
    /// Find thresholds that make a model sparse, and what they cost in perplexity
    Calibrate(commands::calibrate::Args),
    /// Build a model from a public one and the difference that this project ships (SmolLM2 with ReLU)
    Relufy(commands::relufy::Args),
    /// Measure a disk for the layout and the scheduling of models that are larger than memory
    Probe(commands::probe::Args),
    /// Say which tools are missing and how to get them
    Doctor(commands::doctor::Args),
    /// Print a completion script
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Explore(args) => commands::explore::run(&args),
        Command::Compile(args) => commands::compile::run(&args),
        Command::Bundle(args) => commands::bundle::run(&args),
        Command::Flash(args) => commands::flash::run(&args),
        Command::Board(args) => commands::board::run(&args),
        Command::Sim(args) => commands::sim::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Chat(args) => commands::run::chat::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Pack(args) => commands::pack::run(&args),
        Command::Compress(args) => commands::compress::run(&args),
        Command::TrainPredictor(args) => commands::train_predictor::run(&args),
        Command::Calibrate(args) => commands::calibrate::run(&args),
        Command::Relufy(args) => commands::relufy::run(&args),
        Command::Probe(args) => commands::probe::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "lampyris",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        output::print_error(&error);
        output::exit_code(&error)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_definition_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
