//! Model checking: Yosys turns a design with assertions into an and-inverter graph, ABC proves the
//! assertions or finds an execution that breaks one. Both come with the same package.

use crate::error::{Error, Result};
use crate::tool::{self, YOSYS};
use crate::yosys::{Design, SCRIPT, plain, reading};
use std::fs;
use std::path::Path;
use std::process::Command;
use verilator_sys::toolchain::Cache;

/// How an execution is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Property-directed reachability: an inductive invariant, which ABC checks, or a
    /// counterexample. `merge` first unites registers that always hold the same.
    Unbounded {
        /// Whether equal registers are united first.
        merge: bool,
    },
    /// No counterexample within so many clocks.
    Bounded(u32),
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No execution breaks an assertion.
    Proven,
    /// None does within the bound, in clocks.
    Holds(u32),
    /// One does.
    Refuted {
        /// Clock of the break, counted from the one in which the proof starts.
        clock: u32,
    },
    /// The time was over first.
    Undecided,
}

/// The register that harnesses clear before the first clock: everything else starts with any value.
const STARTED: &str = "*/w:started_q";

/// Checks every assertion of a design for at most about `seconds`; files go to `folder`.
///
/// # Errors
/// Yosys or ABC is missing, fails, or says something unknown; the top module has no register
/// `started_q`.
pub fn check(
    cache: &Cache,
    design: &Design<'_>,
    method: Method,
    seconds: u32,
    folder: &Path,
) -> Result<Verdict> {
    tool::require(cache, YOSYS)?;
    let graph = folder.join("design.aig");
    let mut command = Command::new(cache.python());
    command.current_dir(design.root).args(["-c", SCRIPT]);
    command.args(reading(design)?);
    command.arg(format!("select -assert-count 1 {STARTED}"));
    command.arg(format!("setattr -set init 1'0 {STARTED}"));
    command.arg(format!("prep -flatten -top {}", design.top));
    command.args([
        "select -assert-min 1 t:$assert t:$check",
        "memory_map -formal",
    ]);
    command.args([
        "async2sync",
        "chformal -lower",
        "formalff -clk2ff -setundef",
    ]);
    command.args([
        "opt -full",
        "techmap",
        "opt -fast",
        "setundef -anyseq",
        "aigmap",
        "opt_clean",
    ]);
    let written = plain(&graph)?;
    command.arg(format!(
        "write_aiger -I -B -zinit -no-startoffset {written}"
    ));
    tool::run(
        "Yosys",
        &mut command,
        &folder.join("yosys.log"),
        &mut |_| {},
    )?;
    let log = folder.join("abc.log");
    let mut abc = Command::new(cache.python());
    abc.current_dir(folder).args(["-c", FIND_ABC]).arg("-c");
    abc.arg(format!(
        "read_aiger design.aig; fold; strash; {}",
        commands(method, seconds)
    ));
    tool::run("ABC", &mut abc, &log, &mut |_| {})?;
    let said = fs::read_to_string(&log).map_err(Error::io("read", &log))?;
    verdict(&said, method).ok_or_else(|| Error::Report {
        tool: "ABC",
        message: said.lines().last().unwrap_or_default().to_owned(),
    })
}

/// Becomes the ABC that lies beside Yosys' library.
const FIND_ABC: &str = "import os, pyosys, sys; p = os.path.join(os.path.dirname(pyosys.__file__), \
                        'yosys-abc'); os.execv(p, [p] + sys.argv[1:])";

fn commands(method: Method, seconds: u32) -> String {
    match method {
        Method::Unbounded { merge } => {
            let merge = if merge { "scorr; " } else { "" };
            format!("{merge}pdr -T {seconds}")
        }
        Method::Bounded(clocks) => format!("bmc3 -F {clocks} -T {seconds}"),
    }
}

/// What ABC's words mean; nothing, if they are new.
fn verdict(said: &str, method: Method) -> Option<Verdict> {
    if let Some((_, rest)) = said.split_once("was asserted in frame ") {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let clock = digits.parse().ok()?;
        return Some(Verdict::Refuted { clock });
    }
    match method {
        // ABC checks its own invariant; without its word there is no proof.
        Method::Unbounded { .. } if said.contains("Property proved.") => said
            .contains("Verification of invariant with")
            .then_some(Verdict::Proven),
        Method::Unbounded { .. } if said.contains("UNDECIDED") => Some(Verdict::Undecided),
        Method::Bounded(clocks) => {
            let wanted = format!("No output asserted in {clocks} frames.");
            if said.contains(&wanted) {
                Some(Verdict::Holds(clocks))
            } else {
                said.contains("No output asserted in")
                    .then_some(Verdict::Undecided)
            }
        }
        Method::Unbounded { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: Method = Method::Unbounded { merge: false };

    #[test]
    fn words_become_verdicts() {
        let refuted = "Output 1 of miter \"x\" was asserted in frame 5. Time = 0.01 sec";
        for method in [PROOF, Method::Bounded(9)] {
            assert_eq!(
                verdict(refuted, method),
                Some(Verdict::Refuted { clock: 5 })
            );
        }
        let proven = "Verification of invariant with 44 clauses was successful.  Time = 0.00 sec\n\
                      Property proved.  Time = 0.20 sec";
        assert_eq!(verdict(proven, PROOF), Some(Verdict::Proven));
        assert_eq!(verdict("Property proved.", PROOF), None);
        assert_eq!(
            verdict("Property UNDECIDED.", PROOF),
            Some(Verdict::Undecided)
        );
        assert_eq!(verdict("Error: no such file", PROOF), None);
        let bounded = "No output asserted in 20 frames. Resource limit reached";
        assert_eq!(
            verdict(bounded, Method::Bounded(20)),
            Some(Verdict::Holds(20))
        );
        assert_eq!(
            verdict(bounded, Method::Bounded(30)),
            Some(Verdict::Undecided)
        );
    }
}
