//! The `lampyris` command: the only crate that sees compiler, simulator and runtime together.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 success, 1 failure (the message
//! says what and where, and ends with a hint), 2 wrong usage.

mod calibration;
mod commands;
mod output;
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
    /// Compile a model to a directory: program, packed weights, memory map, manifest
    Compile(commands::compile::Args),
    /// Run a compiled directory on the functional model, the Verilated RTL, or both in lockstep
    Sim(commands::sim::Args),
    /// Run a model on this machine with the f32 reference executor
    Run(commands::run::Args),
    /// Write a model as one file in the order and grouping in which it is read from storage
    Pack(commands::pack::Args),
    /// Train predictors of active neurons, for the sparse mode of ReLU models
    TrainPredictor(commands::train_predictor::Args),
    /// Find thresholds that make a model sparse, and what they cost in perplexity
    Calibrate(commands::calibrate::Args),
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
        Command::Compile(args) => commands::compile::run(&args),
        Command::Sim(args) => commands::sim::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Pack(args) => commands::pack::run(&args),
        Command::TrainPredictor(args) => commands::train_predictor::run(&args),
        Command::Calibrate(args) => commands::calibrate::run(&args),
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
