//! Replays commands and checks every rule of the memory, without the scheduler's bookkeeping.

use super::{Command, Kind, Timing};
use thiserror::Error;

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{command:?} breaks {rule}: allowed from cycle {earliest}")]
pub struct Violation {
    /// The command.
    pub command: Command,
    /// Name of the rule, as in the standards.
    pub rule: &'static str,
    /// First cycle in which the rule allows it; the command's own if it is never allowed there.
    pub earliest: u64,
}

/// When a bank last saw each command.
#[derive(Clone, Copy, Default)]
struct BankTimes {
    open: Option<u32>,
    activate: Option<u64>,
    precharge: Option<u64>,
    read: Option<u64>,
    write: Option<u64>,
}

/// The replayed state of a channel.
struct Replay<'a> {
    t: &'a Timing,
    banks: Vec<BankTimes>,
    activates: Vec<u64>,
    refreshes: u64,
    last_refresh: Option<u64>,
    last: Option<u64>,
    /// Last data on the bus: end, and whether they were read.
    data: Option<(u64, bool)>,
}

/// Checks the commands of one or more channels, in the order of issue within each. `postponed`
/// is the number of refreshes that may be owed.
///
/// # Errors
/// The first command that breaks a rule.
pub fn check(timing: &Timing, postponed: u32, commands: &[Command]) -> Result<(), Violation> {
    let channels = commands.iter().map(|c| c.channel + 1).max().unwrap_or(0);
    for channel in 0..channels {
        let mut replay = Replay {
            t: timing,
            banks: vec![BankTimes::default(); (timing.groups * timing.banks) as usize],
            activates: Vec::new(),
            refreshes: 0,
            last_refresh: None,
            last: None,
            data: None,
        };
        for command in commands.iter().filter(|c| c.channel == channel) {
            replay.step(command, postponed)?;
        }
    }
    Ok(())
}

impl Replay<'_> {
    fn step(&mut self, c: &Command, postponed: u32) -> Result<(), Violation> {
        let owed = (c.at / u64::from(self.t.refi)).saturating_sub(self.refreshes);
        // One more interval: the refreshes that fall due while a batch closes its rows.
        if owed > u64::from(postponed) + 1 {
            return Err(violation(c, "refresh interval", c.at));
        }
        need(c, "one command a cycle", self.last, 1)?;
        need(c, "tRFC", self.last_refresh, self.t.rfc)?;
        match c.kind {
            Kind::Activate => self.activate(c)?,
            Kind::Read | Kind::Write => self.transfer(c)?,
            Kind::Precharge => self.precharge(c, c.bank as usize)?,
            Kind::PrechargeAll => {
                for bank in 0..self.banks.len() {
                    if self.banks[bank].open.is_some() {
                        self.precharge(c, bank)?;
                    }
                }
            }
            Kind::Refresh => self.refresh(c)?,
        }
        self.last = Some(c.at);
        Ok(())
    }

    fn activate(&mut self, c: &Command) -> Result<(), Violation> {
        let (t, own) = (self.t, self.banks[c.bank as usize]);
        if own.open.is_some() {
            return Err(violation(c, "activate of an open bank", c.at));
        }
        need(c, "tRC", own.activate, t.rc)?;
        need(c, "tRP", own.precharge, t.rp)?;
        for (index, bank) in self.banks.iter().enumerate() {
            if index == c.bank as usize {
                continue;
            }
            let near = index as u32 / t.banks == c.bank / t.banks;
            let (rule, gap) = if near {
                ("tRRD_L", t.rrd_l)
            } else {
                ("tRRD_S", t.rrd_s)
            };
            need(c, rule, bank.activate, gap)?;
        }
        if t.faw > 0 && self.activates.len() >= 4 {
            let fourth = self.activates[self.activates.len() - 4];
            need(c, "tFAW", Some(fourth), t.faw)?;
        }
        self.activates.push(c.at);
        let bank = &mut self.banks[c.bank as usize];
        bank.open = Some(c.row);
        bank.activate = Some(c.at);
        Ok(())
    }

    fn transfer(&mut self, c: &Command) -> Result<(), Violation> {
        let t = self.t;
        let own = self.banks[c.bank as usize];
        if own.open != Some(c.row) {
            return Err(violation(c, "access to a row that is not open", c.at));
        }
        if c.column >= t.row_bytes / (t.burst_length * t.bus_bytes) {
            return Err(violation(c, "column beyond the row", c.at));
        }
        need(c, "tRCD", own.activate, t.rcd)?;
        let read = c.kind == Kind::Read;
        let burst = t.burst_length / t.data_rate;
        for (index, bank) in self.banks.iter().enumerate() {
            let near = index as u32 / t.banks == c.bank / t.banks;
            let same = if read { bank.read } else { bank.write };
            let (rule, gap) = if near {
                ("tCCD_L", t.ccd_l)
            } else {
                ("tCCD_S", t.ccd_s)
            };
            need(c, rule, same, gap)?;
            let (rule, gap) = if near {
                ("tWTR_L", t.wtr_l)
            } else {
                ("tWTR_S", t.wtr_s)
            };
            if read {
                need(c, rule, bank.write, t.cwl + burst + gap)?;
            }
        }
        self.data(c, read, burst)?;
        let bank = &mut self.banks[c.bank as usize];
        *(if read {
            &mut bank.read
        } else {
            &mut bank.write
        }) = Some(c.at);
        Ok(())
    }

    /// Bursts do not overlap on the data bus, and it rests between read and written data.
    fn data(&mut self, c: &Command, read: bool, burst: u32) -> Result<(), Violation> {
        let start = c.at + u64::from(if read { self.t.cl } else { self.t.cwl });
        if let Some((end, was_read)) = self.data {
            let rest = if was_read && !read {
                self.t.turnaround
            } else {
                0
            };
            let free = end + u64::from(rest);
            if start < free {
                return Err(violation(c, "data bus", c.at + (free - start)));
            }
        }
        self.data = Some((start + u64::from(burst), read));
        Ok(())
    }

    fn precharge(&mut self, c: &Command, bank: usize) -> Result<(), Violation> {
        let t = self.t;
        let own = &mut self.banks[bank];
        need(c, "tRAS", own.activate, t.ras)?;
        need(c, "tRTP", own.read, t.rtp)?;
        let burst = t.burst_length / t.data_rate;
        need(c, "tWR", own.write, t.cwl + burst + t.wr)?;
        own.open = None;
        own.precharge = Some(c.at);
        Ok(())
    }

    fn refresh(&mut self, c: &Command) -> Result<(), Violation> {
        for bank in &self.banks {
            if bank.open.is_some() {
                return Err(violation(c, "refresh with an open row", c.at));
            }
            need(c, "tRP", bank.precharge, self.t.rp)?;
            need(c, "tRC", bank.activate, self.t.rc)?;
        }
        self.refreshes += 1;
        self.last_refresh = Some(c.at);
        Ok(())
    }
}

fn need(
    command: &Command,
    rule: &'static str,
    since: Option<u64>,
    gap: u32,
) -> Result<(), Violation> {
    match since.map(|at| at + u64::from(gap)) {
        Some(earliest) if command.at < earliest => Err(violation(command, rule, earliest)),
        _ => Ok(()),
    }
}

fn violation(command: &Command, rule: &'static str, earliest: u64) -> Violation {
    Violation {
        command: *command,
        rule,
        earliest,
    }
}
