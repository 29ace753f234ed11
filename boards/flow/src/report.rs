//! What the tools report, in one form.

use crate::error::{Error, Result};
use lampyris_boards::Budget;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of [`Report`]'s layout.
pub const SCHEMA_VERSION: u32 = 1;

/// The report of one build, `report.json` in a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// How the figures were found: never on hardware.
    pub level: String,
    /// Board.
    pub board: String,
    /// Clock that the board runs at, MHz.
    pub target_mhz: f64,
    /// Highest clock of the routed design by static timing analysis, MHz.
    pub achieved_mhz: f64,
    /// Seed of the placement.
    pub seed: u32,
    /// Every seed that was tried with the clock it reached, MHz.
    pub seeds: Vec<(u32, f64)>,
    /// What the design takes of the part.
    pub utilisation: Vec<Resource>,
    /// Block memories of each buffer, by its place in the hierarchy.
    pub memories: BTreeMap<String, u64>,
    /// The slowest path.
    pub critical_path: Vec<Hop>,
}

/// One kind of resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// How many the design takes.
    pub used: u64,
    /// How many the part has.
    pub available: u64,
}

/// A stretch of a path inside one of our modules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// Instance, such as `u_soc.u_accel.u_mm`.
    pub instance: String,
    /// Last signal there.
    pub signal: String,
    /// Time spent in cells, ns.
    pub logic_ns: f64,
    /// Time spent on wires, ns.
    pub routing_ns: f64,
}

/// What the cells of a netlist take of a budget.
///
/// LUTs: a carry cell takes two; a 16x4 distributed RAM takes four, and the slice that writes it
/// is lost for logic, which is two more.
pub fn utilisation(cells: &BTreeMap<String, u64>, budget: &Budget) -> Vec<Resource> {
    let count = |name: &str| cells.get(name).copied().unwrap_or(0);
    let luts = count("LUT4") + 2 * count("CCU2C") + 6 * count("TRELLIS_DPR16X4");
    [
        ("LUT4", budget.lut, luts),
        ("flip-flop", budget.ff, count("TRELLIS_FF")),
        ("MULT18X18D", budget.dsp, count("MULT18X18D")),
        ("DP16KD", budget.bram, count("DP16KD") + count("PDPW16KD")),
    ]
    .map(|(name, available, used)| Resource {
        name: name.to_owned(),
        used,
        available: available.into(),
    })
    .to_vec()
}

/// A table of resources.
pub fn table(resources: &[Resource]) -> String {
    let mut text = format!(
        "{:<12} {:>8} {:>10} {:>7}\n",
        "resource", "used", "available", "share"
    );
    for Resource {
        name,
        used,
        available,
    } in resources
    {
        let share = 100.0 * *used as f64 / *available as f64;
        text.push_str(&format!(
            "{name:<12} {used:>8} {available:>10} {share:>6.1}%\n"
        ));
    }
    text
}

/// Counts block memories by the instance that they lie in. Names look like
/// `top/u_soc.u_vmem.gen_bank[0].u_ram.mem.0.0`.
pub(crate) fn memories(names: &[String]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for name in names {
        let path = name.rsplit('/').next().unwrap_or(name);
        *counts.entry(instance(path).0.to_owned()).or_insert(0) += 1;
    }
    counts
}

/// Splits a cell's flattened name into its instance and the signal that it was made for. Parts of
/// the hierarchy are instances (`u_...`) and generate blocks (`gen_...`).
fn instance(name: &str) -> (&str, &str) {
    let mut end = 0;
    let mut at = 0;
    for part in name.split('.') {
        if !part.starts_with("u_") && !part.starts_with("gen_") {
            break;
        }
        at += part.len() + 1;
        end = at;
    }
    let rest = name.get(end..).unwrap_or("");
    let cell = [
        "_TRELLIS_",
        "_LUT4",
        "_CCU2C",
        "_MULT18",
        "_L6MUX",
        "_PFUMX",
        "$",
    ];
    let cut = cell.iter().filter_map(|mark| rest.find(mark)).min();
    (
        name.get(..end.saturating_sub(1)).unwrap_or(""),
        &rest[..cut.unwrap_or(rest.len())],
    )
}

/// What nextpnr found for one seed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed {
    pub(crate) seed: u32,
    pub(crate) achieved_mhz: f64,
    pub(crate) critical_path: Vec<Hop>,
}

#[derive(Deserialize)]
struct Raw {
    critical_paths: Vec<RawPath>,
    fmax: BTreeMap<String, RawClock>,
}

#[derive(Deserialize)]
struct RawClock {
    achieved: f64,
}

#[derive(Deserialize)]
struct RawPath {
    from: String,
    to: String,
    path: Vec<RawHop>,
}

#[derive(Deserialize)]
struct RawHop {
    delay: f64,
    to: RawEnd,
    r#type: String,
}

#[derive(Deserialize)]
struct RawEnd {
    cell: String,
}

impl Placed {
    /// Reads nextpnr's report. The design has one clock of interest, the slowest.
    pub(crate) fn read(text: &str, seed: u32) -> Result<Placed> {
        let bad = |message: String| Error::Report {
            tool: "nextpnr",
            message,
        };
        let raw: Raw = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        let slowest = raw
            .fmax
            .iter()
            .min_by(|a, b| a.1.achieved.total_cmp(&b.1.achieved));
        let (clock, figures) = slowest.ok_or_else(|| bad("it names no clock".into()))?;
        // Paths between a clock and an unclocked pin are there too.
        let edge = format!("posedge {clock}");
        let path = raw
            .critical_paths
            .iter()
            .find(|p| p.from == edge && p.to == edge);
        Ok(Placed {
            seed,
            achieved_mhz: figures.achieved,
            critical_path: path.map(|p| hops(&p.path)).unwrap_or_default(),
        })
    }
}

/// Joins the steps of a path that stay in one instance.
fn hops(path: &[RawHop]) -> Vec<Hop> {
    let mut hops: Vec<Hop> = Vec::new();
    for step in path {
        let (instance, signal) = instance(&step.to.cell);
        let (logic, routing) = match step.r#type.as_str() {
            "routing" => (0.0, step.delay),
            _ => (step.delay, 0.0),
        };
        match hops.last_mut() {
            Some(last) if last.instance == instance => {
                last.signal = signal.to_owned();
                last.logic_ns += logic;
                last.routing_ns += routing;
            }
            _ => hops.push(Hop {
                instance: instance.to_owned(),
                signal: signal.to_owned(),
                logic_ns: logic,
                routing_ns: routing,
            }),
        }
    }
    hops
}

/// A path for people.
pub fn path_text(path: &[Hop]) -> String {
    let total: f64 = path.iter().map(|hop| hop.logic_ns + hop.routing_ns).sum();
    let mut text = format!("slowest path, {total:.1} ns:");
    for hop in path {
        let place = match hop.instance.as_str() {
            "" => "(top)",
            instance => instance,
        };
        text.push_str(&format!(
            "\n  {place}: {:.1} ns logic, {:.1} ns wires, to `{}`",
            hop.logic_ns, hop.routing_ns, hop.signal
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXTPNR: &str = r#"{
      "critical_paths": [
        {"from": "<async>", "to": "posedge $glbnet$clk", "path": []},
        {"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": [
          {"delay": 0.5, "type": "clk-to-q", "from": {"cell": "u_soc.u_a.x_q_TRELLIS_FF_Q", "port": "CLK"}, "to": {"cell": "u_soc.u_a.x_q_TRELLIS_FF_Q", "port": "Q"}},
          {"delay": 2.25, "type": "routing", "from": {"cell": "u_soc.u_a.x_q_TRELLIS_FF_Q", "port": "Q"}, "to": {"cell": "u_soc.u_b.sum_LUT4_Z_3", "port": "A"}},
          {"delay": 0.25, "type": "logic", "from": {"cell": "u_soc.u_b.sum_LUT4_Z_3", "port": "A"}, "to": {"cell": "u_soc.u_b.sum_LUT4_Z_3", "port": "F"}}
        ]}
      ],
      "fmax": {"$glbnet$clk": {"achieved": 48.5, "constraint": 50.0}, "$glbnet$slow": {"achieved": 200.0, "constraint": 25.0}},
      "utilization": {"DP16KD": {"available": 208, "used": 61}}}"#;

    #[test]
    fn the_slowest_clock_and_its_path_are_found() {
        let placed = Placed::read(NEXTPNR, 7).unwrap();
        assert_eq!((placed.seed, placed.achieved_mhz), (7, 48.5));
        let text = path_text(&placed.critical_path);
        expect_test::expect![[r#"
            slowest path, 3.0 ns:
              u_soc.u_a: 0.5 ns logic, 0.0 ns wires, to `x_q`
              u_soc.u_b: 0.2 ns logic, 2.2 ns wires, to `sum`"#]]
        .assert_eq(&text);
    }

    #[test]
    fn other_reports_are_refused() {
        for text in ["", "{}", r#"{"critical_paths": [], "fmax": {}}"#] {
            let error = Placed::read(text, 1).unwrap_err().to_string();
            assert!(error.starts_with("nextpnr wrote a report"), "{error}");
        }
    }

    #[test]
    fn cells_are_charged_to_resources() {
        let cells = [
            ("LUT4", 100),
            ("CCU2C", 10),
            ("TRELLIS_DPR16X4", 2),
            ("TRELLIS_FF", 7),
            ("MULT18X18D", 157),
            ("DP16KD", 3),
            ("PFUMX", 5),
        ];
        let cells = cells.map(|(name, n)| (name.to_owned(), n)).into();
        let budget = Budget {
            lut: 200,
            ff: 200,
            dsp: 156,
            bram: 8,
        };
        let used: Vec<_> = utilisation(&cells, &budget)
            .iter()
            .map(|r| r.used)
            .collect();
        assert_eq!(used, [132, 7, 157, 3]);
    }

    #[test]
    fn memories_are_counted_by_buffer() {
        let names = [
            "top/u_soc.u_vmem.gen_bank[0].u_ram.mem.0.0",
            "top/u_soc.u_vmem.gen_bank[0].u_ram.mem.0.1",
            "top/u_soc.u_xbuf.mem.0.0",
        ]
        .map(String::from);
        let counts = memories(&names);
        assert_eq!(counts["u_soc.u_vmem.gen_bank[0].u_ram"], 2);
        assert_eq!(counts["u_soc.u_xbuf"], 1);
    }
}
