//! Random programs on the functional model and on the Verilated RTL, compared at each retired
//! instruction, with random latency and back-pressure on every channel of the memory port.
//!
//! `LAMPYRIS_FUZZ_PROGRAMS` sets the number of programs for the smallest configuration (the
//! others run a quarter), `LAMPYRIS_FUZZ_SEED` the first seed.

use lampyris_isa::HwConfig;
use lampyris_sim::fuzz::{Case, shrink};
use lampyris_sim::rtl::{self, Features};
use lampyris_sim::{Outcome, SimError};
use verilator_sys::Design;

/// The RTL with its assertions and random initial state.
fn design(config: &HwConfig) -> Design {
    let features = Features { assertions: true, random_state: true, ..Features::default() };
    rtl::build(&rtl::default_rtl_root(), config, features).unwrap_or_else(|e| panic!("{e}"))
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// Runs programs until one fails, then reports the smallest part of it that fails.
fn run_programs(config: &HwConfig, count: u64) {
    let design = design(config);
    let first = number("LAMPYRIS_FUZZ_SEED", 0);
    for seed in first..first + count {
        let case = Case::new(seed, config);
        let error = match case.check(&design) {
            Ok(outcome) => {
                assert_eq!(outcome, Outcome::Halted(1), "seed {seed}");
                continue;
            }
            Err(error) => error,
        };
        let small = shrink(&case, |c| c.check(&design).is_err());
        let error_small = small.check(&design).expect_err("shrinking keeps the failure");
        panic!("seed {seed}: {error}\n\nshrunk to:\n{}\n{error_small}", small.listing());
    }
}

#[test]
fn random_programs_agree_small() {
    run_programs(&HwConfig::SMALL, number("LAMPYRIS_FUZZ_PROGRAMS", 200));
}

#[test]
fn random_programs_agree_base() {
    run_programs(&HwConfig::BASE, number("LAMPYRIS_FUZZ_PROGRAMS", 200).div_ceil(4));
}

#[test]
fn random_programs_agree_wide() {
    run_programs(&HwConfig::WIDE, number("LAMPYRIS_FUZZ_PROGRAMS", 200).div_ceil(4));
}

#[test]
fn a_wrong_model_is_caught_and_named() {
    let config = HwConfig::SMALL;
    let design = design(&config);
    let mut caught = 0;
    for seed in 0..8 {
        let case = Case::new(seed, &config);
        for seq in 5..25 {
            let result = case.check_with(&design, |model| model.corrupt_at(Some(seq)));
            match result {
                // Some instructions write nothing that could be falsified.
                Ok(_) => {}
                Err(SimError::Mismatch(found)) => {
                    assert_eq!(found.seq, seq, "seed {seed}: {found}");
                    caught += 1;
                }
                Err(e) => panic!("seed {seed}: {e}"),
            }
        }
    }
    assert!(caught > 80, "{caught} of 160");
}
