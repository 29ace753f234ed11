//! SDR SDRAM chips: times of the data sheet, and the cycles that the controller
//! (`rtl/soc/sdr_ctrl.sv`) needs at a clock.
//!
//! ```toml
//! dq_bits = 16
//! row_bits = 13
//! col_bits = 9
//! bank_bits = 2
//! trcd_ns = 15
//! trp_ns = 15
//! tras_ns = 37
//! tras_max_us = 100
//! trc_ns = 60
//! trrd_ns = 14
//! trfc_ns = 60
//! twr_ns = 14
//! tmrd_clocks = 2
//! refresh_ms = 64
//! power_up_us = 100
//! cas2_max_khz = 100000
//! cas3_max_khz = 143000
//! ```

use serde::Deserialize;
use std::fmt;

/// Slowest and fastest clock in kHz that is accepted.
const CLOCK_KHZ: (u32, u32) = (1_000, 200_000);
/// Longest distance of two commands in cycles: the controller's timers have five bits.
const MOST_CYCLES: u32 = 31;
/// Longest write recovery in cycles: its timer also counts a burst of eight words.
const MOST_TWR: u32 = MOST_CYCLES - 8;
/// Fewest cycles between refreshes that the controller takes.
const LEAST_INTERVAL: u32 = 190;
/// Most cycles that the controller puts between the pins and the capture of a read word.
const MOST_READ_DELAY: u32 = 3;
/// The controller postpones up to eight refreshes. A window of all rows and these, and one for the
/// window's start, holds a refresh of every row whatever was postponed.
const SPARE_REFRESHES: u64 = 9;

/// An SDR SDRAM chip, or several in parallel that act as one.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SdrChip {
    /// Data pins: 16 or 32.
    pub dq_bits: u32,
    /// Bits of a row address.
    pub row_bits: u32,
    /// Bits of a column address.
    pub col_bits: u32,
    /// Bits of a bank address.
    pub bank_bits: u32,
    /// Activation to read or write, in ns.
    pub trcd_ns: f64,
    /// Precharge to activation, in ns.
    pub trp_ns: f64,
    /// Activation to precharge at least, in ns.
    pub tras_ns: f64,
    /// Activation to precharge at most, in us.
    pub tras_max_us: f64,
    /// Activation to activation of the same bank, in ns.
    pub trc_ns: f64,
    /// Activation to activation of another bank, in ns.
    pub trrd_ns: f64,
    /// Refresh to the next command, in ns.
    pub trfc_ns: f64,
    /// Last written word to precharge, in ns. A sheet that says "1 CLK + 7.5 ns" gives the value
    /// for a precharge by command beside it.
    pub twr_ns: f64,
    /// Mode register to the next command, in clocks.
    pub tmrd_clocks: u32,
    /// Time in which every row is refreshed once, in ms.
    pub refresh_ms: f64,
    /// Pause after power-up, in us.
    pub power_up_us: f64,
    /// Fastest clock for a CAS latency of 2, in kHz; 0 if the chip has none.
    pub cas2_max_khz: u32,
    /// Fastest clock for a CAS latency of 3, in kHz.
    pub cas3_max_khz: u32,
}

/// A value of a chip that the controller cannot have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{key}` is {value}, allowed: {allowed}\n\nhint: {hint}")]
pub struct SdrError {
    /// Key of the chip, or the argument.
    pub key: &'static str,
    /// Value, with the cycles that it became where they are at fault.
    pub value: String,
    /// Allowed values.
    pub allowed: String,
    /// What to do.
    pub hint: &'static str,
}

// The numbers of both chips were written down from memory of the parts' data sheets. Compare them
// with the sheet of the part and its speed grade before a board relies on them.
impl SdrChip {
    /// IS42S16160, speed grade 7: 32 MiB with 16 data pins.
    pub const IS42S16160_7: SdrChip = SdrChip {
        dq_bits: 16,
        row_bits: 13,
        col_bits: 9,
        bank_bits: 2,
        trcd_ns: 15.0,
        trp_ns: 15.0,
        tras_ns: 37.0,
        tras_max_us: 100.0,
        trc_ns: 60.0,
        trrd_ns: 14.0,
        trfc_ns: 60.0,
        twr_ns: 14.0,
        tmrd_clocks: 2,
        refresh_ms: 64.0,
        power_up_us: 100.0,
        cas2_max_khz: 100_000,
        cas3_max_khz: 143_000,
    };

    /// MT48LC16M16A2, speed grade 75: 32 MiB with 16 data pins.
    pub const MT48LC16M16A2_75: SdrChip = SdrChip {
        trcd_ns: 20.0,
        trp_ns: 20.0,
        tras_ns: 44.0,
        tras_max_us: 120.0,
        trc_ns: 66.0,
        trrd_ns: 15.0,
        trfc_ns: 66.0,
        twr_ns: 15.0,
        cas3_max_khz: 133_334,
        ..SdrChip::IS42S16160_7
    };

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.dq_bits / 8) << (self.row_bits + self.col_bits + self.bank_bits)
    }

    /// Parameters of the controller at a clock in kHz. `read_delay` is the board's: cycles more
    /// between the pins and the register that captures read words.
    ///
    /// # Errors
    /// A key whose value, or whose cycles at this clock, the controller cannot have.
    pub fn parameters(
        &self,
        clock_khz: u32,
        read_delay: u32,
    ) -> Result<Vec<(&'static str, u32)>, SdrError> {
        self.check_shape()?;
        let clock_hint = "choose a clock that chip and controller can have";
        within("clock_khz", clock_khz, CLOCK_KHZ, clock_hint)?;
        let delay_hint = "give the cycles that the board's lines and the capture take";
        within("read_delay", read_delay, (0, MOST_READ_DELAY), delay_hint)?;
        let cycles = |key, ns, most| at_least(key, ns, clock_khz, most);
        let tmrd = self.tmrd_clocks;
        within("tmrd_clocks", tmrd, (1, MOST_CYCLES), SHEET)?;
        Ok(vec![
            ("DqBits", self.dq_bits),
            ("RowBits", self.row_bits),
            ("ColBits", self.col_bits),
            ("BankBits", self.bank_bits),
            ("TRcd", cycles("trcd_ns", self.trcd_ns, MOST_CYCLES)?),
            ("TRp", cycles("trp_ns", self.trp_ns, MOST_CYCLES)?),
            ("TRas", cycles("tras_ns", self.tras_ns, MOST_CYCLES)?),
            ("TRc", cycles("trc_ns", self.trc_ns, MOST_CYCLES)?),
            ("TRrd", cycles("trrd_ns", self.trrd_ns, MOST_CYCLES)?),
            ("TRfc", cycles("trfc_ns", self.trfc_ns, MOST_CYCLES)?),
            ("TWr", cycles("twr_ns", self.twr_ns, MOST_TWR)?),
            ("TMrd", tmrd),
            ("CasLatency", self.cas_latency(clock_khz)?),
            ("RefreshInterval", self.refresh_interval(clock_khz)?),
            ("PowerUp", self.power_up(clock_khz)?),
            ("ReadDelay", read_delay),
        ])
    }

    /// Limits that the chip's model checks besides the controller's own times, in cycles.
    pub fn limits(&self, clock_khz: u32) -> [(&'static str, u32); 4] {
        let cycles = |us: f64| (us * f64::from(clock_khz) / 1000.0) as u32;
        [
            ("TRasMax", cycles(self.tras_max_us)),
            ("CasMin", if clock_khz <= self.cas2_max_khz { 2 } else { 3 }),
            ("RefreshWindow", cycles(self.refresh_ms * 1000.0)),
            ("RefreshCount", 1 << self.row_bits),
        ]
    }

    fn check_shape(&self) -> Result<(), SdrError> {
        if ![16, 32].contains(&self.dq_bits) {
            return Err(refused("dq_bits", self.dq_bits, "16 or 32".into(), SHEET));
        }
        within("row_bits", self.row_bits, (11, 13), SHEET)?;
        within("col_bits", self.col_bits, (8, 10), SHEET)?;
        within("bank_bits", self.bank_bits, (1, 2), SHEET)
    }

    fn cas_latency(&self, clock_khz: u32) -> Result<u32, SdrError> {
        if clock_khz <= self.cas2_max_khz {
            Ok(2)
        } else if clock_khz <= self.cas3_max_khz {
            Ok(3)
        } else {
            let fastest = self.cas2_max_khz.max(self.cas3_max_khz);
            let allowed = format!("{} to {fastest}", CLOCK_KHZ.0);
            let hint = "lower the clock, or take a faster speed grade";
            Err(refused("clock_khz", clock_khz, allowed, hint))
        }
    }

    /// Cycles between refreshes, rounded down, so that every row has its refresh within the time
    /// even after eight were postponed.
    fn refresh_interval(&self, clock_khz: u32) -> Result<u32, SdrError> {
        let window = picoseconds("refresh_ms", self.refresh_ms, 1e9, (1.0, 1000.0))?;
        let refreshes = (1 << self.row_bits) + SPARE_REFRESHES;
        let interval = window * u64::from(clock_khz) / 1_000_000_000 / refreshes;
        let value = format!("{} ({interval} cycles between refreshes)", self.refresh_ms);
        if interval < LEAST_INTERVAL.into() {
            let allowed = format!("at least {LEAST_INTERVAL} cycles between refreshes");
            let hint = "raise the clock; the controller needs time for two chunks of 64 words";
            return Err(refused("refresh_ms", value, allowed, hint));
        }
        // A row is closed at the latest when eight refreshes are due.
        let open = 9 * interval * 1_000_000_000 / u64::from(clock_khz);
        let open_max = picoseconds("tras_max_us", self.tras_max_us, 1e6, (1.0, 1000.0))?;
        if open > open_max {
            let value = format!("{} us", self.tras_max_us);
            let allowed = format!("at least {} us, nine refreshes", open.div_ceil(1_000_000));
            let hint = "lower `refresh_ms`, so that rows are closed more often";
            return Err(refused("tras_max_us", value, allowed, hint));
        }
        u32::try_from(interval).map_err(|_| refused("refresh_ms", value, "fewer".into(), SHEET))
    }

    fn power_up(&self, clock_khz: u32) -> Result<u32, SdrError> {
        let pause = picoseconds("power_up_us", self.power_up_us, 1e6, (1.0, 10_000.0))?;
        let cycles = (pause * u64::from(clock_khz)).div_ceil(1_000_000_000);
        // 10 ms at 200 MHz fit.
        Ok(cycles as u32)
    }
}

const SHEET: &str = "compare with the part's data sheet";

fn refused(
    key: &'static str,
    value: impl fmt::Display,
    allowed: String,
    hint: &'static str,
) -> SdrError {
    SdrError {
        key,
        value: value.to_string(),
        allowed,
        hint,
    }
}

fn within(
    key: &'static str,
    value: u32,
    (least, most): (u32, u32),
    hint: &'static str,
) -> Result<(), SdrError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(refused(key, value, format!("{least} to {most}"), hint))
}

/// A time in whole picoseconds; `unit` is the key's unit in ps.
fn picoseconds(
    key: &'static str,
    value: f64,
    unit: f64,
    (least, most): (f64, f64),
) -> Result<u64, SdrError> {
    if !(least..=most).contains(&value) {
        return Err(refused(key, value, format!("{least} to {most}"), SHEET));
    }
    Ok((value * unit).round() as u64)
}

/// Cycles of a shortest distance, rounded up.
fn at_least(key: &'static str, ns: f64, clock_khz: u32, most: u32) -> Result<u32, SdrError> {
    let ps = picoseconds(key, ns, 1e3, (1.0, 1000.0))?;
    let cycles = (ps * u64::from(clock_khz)).div_ceil(1_000_000_000);
    if cycles > most.into() {
        let value = format!("{ns} ({cycles} cycles)");
        let hint = "lower the clock, or compare with the part's data sheet";
        return Err(refused(key, value, format!("at most {most} cycles"), hint));
    }
    Ok(cycles as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(parameters: &[(&str, u32)], name: &str) -> u32 {
        let found = parameters.iter().find(|(key, _)| *key == name);
        found.expect("a parameter").1
    }

    #[test]
    fn cycles_round_up_and_the_refresh_down() {
        let at = |khz| SdrChip::IS42S16160_7.parameters(khz, 0).unwrap();
        let names = ["TRcd", "TRp", "TRas", "TRc", "TRrd", "TRfc", "TWr", "TMrd"];
        let cycles = |khz| names.map(|name| value(&at(khz), name));
        assert_eq!(cycles(50_000), [1, 1, 2, 3, 1, 3, 1, 2]);
        assert_eq!(cycles(100_000), [2, 2, 4, 6, 2, 6, 2, 2]);
        // 15 ns are 1.999995 cycles of 133.333 MHz, and 2.00001 of 133.334 MHz.
        assert_eq!(cycles(133_333), [2, 2, 5, 8, 2, 8, 2, 2]);
        assert_eq!(cycles(133_334)[..2], [3, 3]);
        assert_eq!(value(&at(133_333), "CasLatency"), 3);
        assert_eq!(value(&at(100_000), "CasLatency"), 2);
        assert_eq!(value(&at(100_000), "PowerUp"), 10_000);
        assert_eq!(value(&at(65_001), "PowerUp"), 6501);
    }

    #[test]
    fn every_row_is_refreshed_in_time() {
        for chip in [SdrChip::IS42S16160_7, SdrChip::MT48LC16M16A2_75] {
            for khz in [48_000, 50_000, 65_000, 100_000, 133_000] {
                let interval = value(&chip.parameters(khz, 0).unwrap(), "RefreshInterval");
                let window = 64 * u64::from(khz);
                let used = u64::from(interval) * (8192 + 9);
                assert!(used <= window && window - used < 8192 + 9, "{khz}");
                assert!(f64::from(interval) / f64::from(khz) * 1000.0 < 7.8125);
            }
        }
    }

    #[test]
    fn a_chip_is_read_from_its_text() {
        let doc = include_str!("sdr.rs");
        let text: String = doc
            .lines()
            .skip_while(|line| *line != "//! ```toml")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| format!("{}\n", line.trim_start_matches("//! ")))
            .collect();
        assert_eq!(toml::from_str(&text), Ok(SdrChip::IS42S16160_7));
        let unknown = toml::from_str::<SdrChip>(&format!("{text}tcl = 3\n")).unwrap_err();
        assert!(unknown.to_string().contains("unknown field `tcl`"));
    }

    #[test]
    fn errors_name_key_value_and_range() {
        let chip = SdrChip::IS42S16160_7;
        let error = |chip: SdrChip, khz, delay| {
            let text = chip.parameters(khz, delay).unwrap_err().to_string();
            assert!(text.lines().last().is_some_and(|l| l.starts_with("hint: ")));
            text.lines().next().unwrap_or_default().to_owned()
        };
        let cases = [
            (
                SdrChip { dq_bits: 8, ..chip },
                "`dq_bits` is 8, allowed: 16 or 32",
            ),
            (
                SdrChip {
                    row_bits: 14,
                    ..chip
                },
                "`row_bits` is 14, allowed: 11 to 13",
            ),
            (
                SdrChip {
                    col_bits: 11,
                    ..chip
                },
                "`col_bits` is 11, allowed: 8 to 10",
            ),
            (
                SdrChip {
                    bank_bits: 0,
                    ..chip
                },
                "`bank_bits` is 0, allowed: 1 to 2",
            ),
            (
                SdrChip {
                    tmrd_clocks: 0,
                    ..chip
                },
                "`tmrd_clocks` is 0, allowed: 1 to 31",
            ),
            (
                SdrChip {
                    trcd_ns: 0.0,
                    ..chip
                },
                "`trcd_ns` is 0, allowed: 1 to 1000",
            ),
            (
                SdrChip {
                    trp_ns: f64::NAN,
                    ..chip
                },
                "`trp_ns` is NaN, allowed: 1 to 1000",
            ),
            (
                SdrChip {
                    trfc_ns: 320.0,
                    ..chip
                },
                "`trfc_ns` is 320 (32 cycles), allowed: at most 31 cycles",
            ),
            (
                SdrChip {
                    twr_ns: 240.0,
                    ..chip
                },
                "`twr_ns` is 240 (24 cycles), allowed: at most 23 cycles",
            ),
            (
                SdrChip {
                    tras_max_us: 60.0,
                    ..chip
                },
                "`tras_max_us` is 60 us, allowed: at least 71 us, nine refreshes",
            ),
        ];
        for (chip, wanted) in cases {
            assert_eq!(error(chip, 100_000, 0), wanted);
        }
        assert_eq!(
            error(chip, 150_000, 0),
            "`clock_khz` is 150000, allowed: 1000 to 143000"
        );
        assert_eq!(
            error(chip, 999, 0),
            "`clock_khz` is 999, allowed: 1000 to 200000"
        );
        assert_eq!(error(chip, 50_000, 4), "`read_delay` is 4, allowed: 0 to 3");
        assert_eq!(
            error(chip, 20_000, 0),
            "`refresh_ms` is 64 (156 cycles between refreshes), allowed: at least 190 cycles \
             between refreshes"
        );
    }
}
