//! The scheduler of one channel: first ready, first come, first served, with open pages.
//!
//! One command a cycle. A bank's accesses to its open row come first; otherwise the oldest. Reads
//! go before writes until enough writes wait or one has waited long enough; then a batch of writes
//! goes, because each change of direction costs bus time. Every next-allowed time is kept, so the
//! scheduler sleeps from one command to the next.

use super::queue::{Access, Queue};
use super::{Command, Kind, Place, Policy, Stats, Timing};

/// A finished access: when its data are complete on the bus.
pub(super) struct Finished {
    pub(super) request: u32,
    pub(super) part: u32,
    pub(super) at: u64,
}

#[derive(Default)]
struct Bank {
    open: Option<u32>,
    /// Earliest activate, column command and precharge by the bank's own rules.
    activate: u64,
    column: u64,
    precharge: u64,
    reads: Queue,
    writes: Queue,
}

/// Earliest commands by the rules between banks of a group.
#[derive(Clone, Copy, Default)]
struct Group {
    activate: u64,
    read: u64,
    write: u64,
}

pub(super) struct Channel {
    timing: Timing,
    policy: Policy,
    index: u32,
    banks: Vec<Bank>,
    groups: Vec<Group>,
    /// Between all banks.
    all: Group,
    /// Times of the last four activates, the oldest first; 0 and on: cycle after.
    activates: [Option<u64>; 4],
    reads: usize,
    writes: usize,
    /// Since when writes have been waiting for their turn.
    writes_since: u64,
    /// Writes left of the batch under way.
    batch: usize,
    next_refresh: u64,
    owed: u32,
    refreshing: bool,
    /// Nothing to do before this cycle.
    wake: u64,
    stats: Stats,
}

/// The best command found so far: ready ones by age, others by time.
struct Best {
    now: u64,
    /// Sequence number and command of the oldest that is ready.
    ready: Option<(u64, Command)>,
    /// When the next one is ready.
    next: u64,
}

impl Best {
    fn offer(&mut self, seq: u64, earliest: u64, command: impl FnOnce() -> Command) {
        if earliest > self.now {
            self.next = self.next.min(earliest);
        } else if self.ready.as_ref().is_none_or(|&(s, _)| seq < s) {
            self.ready = Some((seq, command()));
        }
    }
}

impl Channel {
    /// The channel number `index` of so many, which refresh one after the other.
    pub(super) fn new(timing: Timing, policy: Policy, index: u32, channels: u32) -> Channel {
        let banks = timing.groups * timing.banks;
        Channel {
            timing,
            policy,
            index,
            banks: (0..banks).map(|_| Bank::default()).collect(),
            groups: vec![Group::default(); timing.groups as usize],
            all: Group::default(),
            activates: [None; 4],
            reads: 0,
            writes: 0,
            writes_since: 0,
            batch: 0,
            next_refresh: u64::from(timing.refi) * u64::from(index + 1) / u64::from(channels),
            owed: 0,
            refreshing: false,
            wake: 0,
            stats: Stats::default(),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats
    }

    /// Adds an access that arrived at `access.since`.
    pub(super) fn push(&mut self, place: Place, write: bool, access: Access) {
        let bank = &mut self.banks[place.bank as usize];
        if write {
            bank.writes.push(place.row, access);
            if self.writes == 0 {
                self.writes_since = access.since;
            }
            self.writes += 1;
        } else {
            bank.reads.push(place.row, access);
            self.reads += 1;
        }
        self.wake = 0;
    }

    /// Issues all commands from cycle `from` up to, not including, cycle `to`.
    pub(super) fn advance(
        &mut self,
        from: u64,
        to: u64,
        finished: &mut Vec<Finished>,
        mut log: Option<&mut Vec<Command>>,
    ) {
        let mut now = from.max(self.wake);
        while now < to {
            while self.next_refresh <= now {
                self.owed += 1;
                self.next_refresh += u64::from(self.timing.refi);
            }
            match self.choose(now) {
                Ok(command) => {
                    finished.extend(self.issue(&command));
                    if let Some(log) = &mut log {
                        log.push(command);
                    }
                    now += 1;
                }
                Err(next) => now = next.min(self.next_refresh).max(now + 1),
            }
        }
        self.wake = now;
    }

    /// The command for this cycle, or the next cycle in which there may be one.
    fn choose(&mut self, now: u64) -> Result<Command, u64> {
        let idle = self.reads + self.writes == 0;
        // Owed refreshes wait for a pause, but no longer than the standard allows; then all are
        // made up for at once, so that the rows are closed and reopened once.
        self.refreshing =
            self.owed > 0 && (self.refreshing || idle || self.owed >= self.policy.postponed.max(1));
        if self.refreshing {
            return self.refresh(now);
        }
        if idle {
            return Err(u64::MAX);
        }
        let write = self.turn(now);
        let mut columns = self.best(now);
        let mut rows = self.best(now);
        for index in 0..self.banks.len() {
            self.offer_bank(index, write, &mut columns, &mut rows);
        }
        if let Some((_, command)) = columns.ready.or(rows.ready) {
            return Ok(command);
        }
        let mut next = columns.next.min(rows.next);
        if !write && self.writes > 0 {
            next = next.min(self.writes_since + u64::from(self.policy.write_wait));
        }
        Err(next)
    }

    fn best(&self, now: u64) -> Best {
        Best {
            now,
            ready: None,
            next: u64::MAX,
        }
    }

    fn command(&self, at: u64, kind: Kind, bank: usize, row: u32, column: u32) -> Command {
        Command {
            at,
            channel: self.index,
            kind,
            bank: bank as u32,
            row,
            column,
        }
    }

    /// Closes all rows, then refreshes.
    fn refresh(&self, now: u64) -> Result<Command, u64> {
        let open = self.banks.iter().filter(|b| b.open.is_some());
        let (kind, earliest) = match open.map(|b| b.precharge).max() {
            Some(earliest) => (Kind::PrechargeAll, earliest),
            None => {
                let ready = self.banks.iter().map(|b| b.activate).max();
                (Kind::Refresh, ready.unwrap_or(0))
            }
        };
        if earliest > now {
            return Err(earliest);
        }
        Ok(self.command(now, kind, 0, 0, 0))
    }

    /// Whether it is the writes' turn.
    fn turn(&mut self, now: u64) -> bool {
        if self.writes == 0 {
            self.batch = 0;
            return false;
        }
        if self.batch == 0 {
            let waited = now.saturating_sub(self.writes_since);
            let due = self.writes >= self.policy.write_batch as usize
                || waited >= u64::from(self.policy.write_wait);
            if due || self.reads == 0 {
                self.batch = self.writes;
            }
        }
        self.batch > 0
    }

    /// Offers what one bank could do next.
    fn offer_bank(&self, index: usize, write: bool, columns: &mut Best, rows: &mut Best) {
        let bank = &self.banks[index];
        let queue = if write { &bank.writes } else { &bank.reads };
        let Some((row, oldest)) = queue.oldest() else {
            return;
        };
        let now = columns.now;
        let group = self.groups[index / self.timing.banks as usize];
        let Some(open) = bank.open else {
            let earliest = self.activate_earliest(bank, &group);
            return rows.offer(oldest.seq, earliest, || {
                self.command(now, Kind::Activate, index, row, 0)
            });
        };
        let starved = row != open && now - oldest.since > u64::from(self.policy.starved);
        match queue.hit(open).filter(|_| !starved) {
            Some(hit) => {
                let (all, own) = if write {
                    (self.all.write, group.write)
                } else {
                    (self.all.read, group.read)
                };
                let kind = if write { Kind::Write } else { Kind::Read };
                columns.offer(hit.seq, bank.column.max(all).max(own), || {
                    self.command(now, kind, index, open, hit.column)
                });
            }
            None => rows.offer(oldest.seq, bank.precharge, || {
                self.command(now, Kind::Precharge, index, open, 0)
            }),
        }
    }

    fn activate_earliest(&self, bank: &Bank, group: &Group) -> u64 {
        let window = self.activates[0].map_or(0, |at| at + u64::from(self.timing.faw));
        bank.activate
            .max(self.all.activate)
            .max(group.activate)
            .max(window)
    }

    /// Makes a command happen; the access that it finishes, if any.
    fn issue(&mut self, command: &Command) -> Option<Finished> {
        let at = command.at;
        match command.kind {
            Kind::Activate => self.activate(command),
            Kind::Precharge => self.close(command.bank as usize, at),
            Kind::PrechargeAll => {
                for bank in 0..self.banks.len() {
                    self.close(bank, at);
                }
            }
            Kind::Refresh => {
                for bank in &mut self.banks {
                    bank.activate = at + u64::from(self.timing.rfc);
                }
                self.owed -= 1;
                self.stats.refreshes += 1;
            }
            Kind::Read | Kind::Write => return self.transfer(command),
        }
        None
    }

    fn activate(&mut self, command: &Command) {
        let (t, at) = (&self.timing, command.at);
        let bank = &mut self.banks[command.bank as usize];
        bank.open = Some(command.row);
        bank.activate = at + u64::from(t.rc);
        bank.column = at + u64::from(t.rcd);
        bank.precharge = at + u64::from(t.ras);
        self.all.activate = at + u64::from(t.rrd_s);
        self.groups[(command.bank / t.banks) as usize].activate = at + u64::from(t.rrd_l);
        self.activates.rotate_left(1);
        self.activates[3] = Some(at);
        self.stats.activates += 1;
    }

    fn close(&mut self, bank: usize, at: u64) {
        let bank = &mut self.banks[bank];
        if bank.open.take().is_some() {
            bank.activate = bank.activate.max(at + u64::from(self.timing.rp));
        }
    }

    fn transfer(&mut self, command: &Command) -> Option<Finished> {
        let (t, at) = (self.timing, command.at);
        let bank = &mut self.banks[command.bank as usize];
        let group = &mut self.groups[(command.bank / t.banks) as usize];
        let (short, long) = (at + u64::from(t.ccd_s), at + u64::from(t.ccd_l));
        let (access, end) = if command.kind == Kind::Write {
            let end = at + u64::from(t.write_end());
            self.all.write = short;
            group.write = long;
            self.all.read = self.all.read.max(end + u64::from(t.wtr_s));
            group.read = group.read.max(end + u64::from(t.wtr_l));
            bank.precharge = bank.precharge.max(end + u64::from(t.wr));
            (bank.writes.take(command.row), end)
        } else {
            self.all.read = short;
            group.read = long;
            let write = at + u64::from(t.read_to_write());
            self.all.write = self.all.write.max(write);
            bank.precharge = bank.precharge.max(at + u64::from(t.rtp));
            (
                bank.reads.take(command.row),
                at + u64::from(t.cl + t.burst_cycles()),
            )
        };
        if command.kind == Kind::Write {
            self.writes -= 1;
            self.batch = self.batch.saturating_sub(1);
            self.writes_since = at;
            self.stats.writes += 1;
        } else {
            self.reads -= 1;
            self.stats.reads += 1;
        }
        access.map(|a| Finished {
            request: a.request,
            part: a.part,
            at: end,
        })
    }
}
