//! Reads what is not resident, ahead of the sweep that needs it.
//!
//! Units are read in the order of their use into a fixed set of buffers. A buffer that has been
//! used is at once given the next unit in line: of the next layer, and past the end of the sweep
//! of the next token. As long as reading is faster than computing or buffers hold enough, nothing
//! waits; where the device is the limit, it never pauses.

use std::ops::Range;
use std::time::{Duration, Instant};

use lampyris_io::{AlignedBuf, Completion, ReadEngine, ReadRequest};

use lampyris_pack::Checksums;

mod read;

pub(crate) use read::{Fetch, Pool};

use super::EngineError;
use super::layout::{Layout, Unit};

/// Tags from here on are rows of tables; those below are units.
const ROW_TAGS: u64 = 1 << 32;

/// Bytes that one checksum of a packed file covers at most.
pub(crate) const CHECKED: u64 = 64 << 10;

/// `bytes` with `margin` on both sides, in multiples of `align`, within a file of `size` bytes.
fn around(bytes: Range<u64>, margin: u64, align: u64, size: u64) -> Range<u64> {
    let from = bytes.start.saturating_sub(margin) / align * align;
    let to = (bytes.end + margin).min(size.max(bytes.end));
    from..to.next_multiple_of(align)
}

/// Bytes that a sweep computes with.
#[derive(Debug)]
enum Slot {
    Idle,
    InFlight {
        /// Bytes before the unit that are read too.
        skip: usize,
    },
    Ready {
        buf: AlignedBuf,
        skip: usize,
        /// Pieces of the unit that are still to be used in this sweep.
        left: usize,
    },
    Failed(EngineError),
}

/// What is known of a unit besides its place: for messages.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Files by index.
    pub(crate) files: Vec<String>,
    /// A matrix of each unit.
    pub(crate) names: Vec<String>,
}

/// The reader of one engine.
pub(crate) struct Streamer {
    engine: Box<dyn ReadEngine>,
    units: Vec<Unit>,
    source: Source,
    /// Units before the output matrix; sweeps that need no logits stop there.
    body: usize,
    slots: Vec<Slot>,
    free: Vec<AlignedBuf>,
    rows: Vec<AlignedBuf>,
    done: Vec<Completion>,
    /// Checksum of every unit's bytes, from its first read on.
    sums: Vec<Option<u32>>,
    /// Those that a packed file brings along.
    checksums: Option<Checksums>,
    /// After the first, one of so many reads of a unit is checked.
    check_every: usize,
    sweeps: usize,
    cursor: Cursor,
    /// Time that callers spent waiting for bytes.
    pub(crate) waited: Duration,
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
}

/// The next unit to ask for.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    unit: usize,
    /// Whether it belongs to the sweep after the current one.
    ahead: bool,
    /// Whether the current and the next sweep use the output matrix.
    head: [bool; 2],
}

impl std::fmt::Debug for Streamer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streamer")
            .field("engine", &self.engine.name())
            .field("units", &self.units.len())
            .field("buffers", &self.free.len())
            .finish_non_exhaustive()
    }
}

/// Buffers of a streamer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buffers {
    pub(crate) units: usize,
    pub(crate) unit_bytes: usize,
    pub(crate) rows: usize,
    pub(crate) row_bytes: usize,
}

impl Buffers {
    pub(crate) fn bytes(&self) -> u64 {
        (self.units * self.unit_bytes + self.rows * self.row_bytes) as u64
    }
}

impl Streamer {
    /// A streamer with all its buffers; `engine` must take `buffers.units + buffers.rows`
    /// requests at a time. `head_from` is the index of the first unit of the output matrix.
    pub(crate) fn new(
        engine: Box<dyn ReadEngine>,
        layout: &Layout,
        head_from: usize,
        source: Source,
        buffers: Buffers,
        (checksums, check_every): (Option<Checksums>, usize),
    ) -> Result<Self, EngineError> {
        let align = engine.alignment();
        let make = |n: usize, bytes: usize| AlignedBuf::many(n, bytes, align);
        let n = layout.units.len();
        Ok(Self {
            units: layout.units.clone(),
            source,
            body: head_from,
            slots: (0..n).map(|_| Slot::Idle).collect(),
            free: make(buffers.units, buffers.unit_bytes)?,
            rows: make(buffers.rows, buffers.row_bytes)?,
            done: Vec::with_capacity(buffers.units + buffers.rows),
            sums: vec![None; n],
            checksums,
            check_every: check_every.max(1),
            sweeps: 0,
            cursor: Cursor {
                head: [true, true],
                ..Cursor::default()
            },
            waited: Duration::ZERO,
            bytes: 0,
            reads: 0,
            engine,
        })
    }

    /// Starts counting from zero; returns the bytes read before.
    pub(crate) fn forget_counters(&mut self) -> u64 {
        self.waited = Duration::ZERO;
        self.reads = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Announces a sweep, and whether it and (as a guess) the one after it use the output matrix.
    pub(crate) fn begin(&mut self, head: bool, next_head: bool) -> Result<(), EngineError> {
        self.sweeps += 1;
        if self.cursor.ahead {
            self.cursor.ahead = false;
        } else {
            // The last sweep was cut short, or there was none.
            self.cursor.unit = 0;
        }
        for (slot, unit) in self.slots.iter_mut().zip(&self.units) {
            match slot {
                Slot::Ready { left, .. } => *left = unit.pieces,
                // Read ahead in vain: this sweep tries again when it needs the unit.
                Slot::Failed(_) => *slot = Slot::Idle,
                Slot::Idle | Slot::InFlight { .. } => {}
            }
        }
        self.cursor.head = [head, next_head];
        self.pump()
    }

    /// Asks for as many units as there are buffers.
    fn pump(&mut self) -> Result<(), EngineError> {
        while !self.free.is_empty() {
            let end = match self.cursor.head[usize::from(self.cursor.ahead)] {
                true => self.units.len(),
                false => self.body,
            };
            if self.cursor.unit >= end {
                if self.cursor.ahead || self.units.is_empty() {
                    return Ok(());
                }
                self.cursor.ahead = true;
                self.cursor.unit = 0;
                continue;
            }
            if !matches!(self.slots[self.cursor.unit], Slot::Idle) {
                // Kept from before, or still needed by the current sweep.
                if self.cursor.ahead {
                    return Ok(());
                }
                self.cursor.unit += 1;
                continue;
            }
            self.request(self.cursor.unit)?;
            self.cursor.unit += 1;
        }
        Ok(())
    }

    fn request(&mut self, unit: usize) -> Result<(), EngineError> {
        let Some(buf) = self.free.pop() else {
            return Ok(());
        };
        let (file, span) = (self.units[unit].file, self.unit_span(unit));
        let skip = (self.units[unit].offset - span.start) as usize;
        self.slots[unit] = Slot::InFlight { skip };
        self.engine.submit(ReadRequest {
            file,
            offset: span.start,
            len: (span.end - span.start) as usize,
            buf,
            tag: unit as u64,
        })?;
        Ok(())
    }

    /// What is read for a unit: the first time with its surroundings, as far as they share
    /// checksums of the packed file with it.
    fn unit_span(&self, unit: usize) -> Range<u64> {
        let place = &self.units[unit];
        match (&self.checksums, self.sums[unit]) {
            (Some(_), None) => around(
                place.offset..place.offset + place.needed as u64,
                CHECKED,
                self.engine.alignment() as u64,
                self.engine.file_size(place.file),
            ),
            _ => place.offset..place.offset + place.len as u64,
        }
    }

    /// Takes in what has arrived; blocks until at least `min` requests have.
    fn collect(&mut self, min: usize) -> Result<(), EngineError> {
        let mut done = std::mem::take(&mut self.done);
        let outcome = self.engine.wait(min, &mut done);
        for completion in done.drain(..) {
            self.arrived(completion);
        }
        self.done = done;
        outcome?;
        Ok(())
    }

    fn arrived(&mut self, completion: Completion) {
        let unit = completion.tag as usize;
        let Some(place) = self.units.get(unit) else {
            // A row whose reader gave up after another row's error.
            self.rows.push(completion.buf);
            return;
        };
        self.reads += 1;
        let skip = match self.slots[unit] {
            Slot::InFlight { skip } => skip,
            _ => 0,
        };
        let outcome = match completion.result {
            Ok(n) if n >= skip + place.needed => {
                self.bytes += n as u64;
                self.check(unit, &completion.buf[..n], skip)
            }
            Ok(n) => Err(self.truncated(unit, n.saturating_sub(skip))),
            Err(e) => Err(e.into()),
        };
        self.slots[unit] = match outcome {
            Ok(()) => Slot::Ready {
                buf: completion.buf,
                skip,
                left: self.units[unit].pieces,
            },
            Err(e) => {
                self.free.push(completion.buf);
                Slot::Failed(e)
            }
        };
    }

    fn truncated(&self, unit: usize, got: usize) -> EngineError {
        let place = &self.units[unit];
        EngineError::Truncated {
            file: self.source.files[place.file].clone(),
            offset: place.offset,
            missing: place.needed - got,
            tensor: self.source.names[unit].clone(),
        }
    }

    /// Weights do not change: what is read must be what was read the first time, and that must
    /// have the checksums of the packed file.
    fn check(&mut self, unit: usize, bytes: &[u8], skip: usize) -> Result<(), EngineError> {
        if self.sums[unit].is_some() && !(unit + self.sweeps).is_multiple_of(self.check_every) {
            return Ok(());
        }
        let place = &self.units[unit];
        let sum = crc32fast::hash(&bytes[skip..skip + place.needed]);
        match self.sums[unit] {
            Some(first) if first != sum => Err(EngineError::Changed {
                file: self.source.files[place.file].clone(),
                offset: place.offset,
                tensor: self.source.names[unit].clone(),
            }),
            Some(_) => Ok(()),
            None => {
                if let Some(checksums) = &self.checksums {
                    checksums.check(place.offset - skip as u64, bytes)?;
                }
                self.sums[unit] = Some(sum);
                Ok(())
            }
        }
    }

    /// The bytes of a unit; waits for them.
    ///
    /// # Errors
    /// What storage said. Asking again reads again.
    pub(crate) fn bytes(&mut self, unit: usize) -> Result<&[u8], EngineError> {
        if !matches!(self.slots[unit], Slot::Ready { .. }) {
            self.collect(0)?;
        }
        let start = Instant::now();
        let mut waited = false;
        loop {
            match &self.slots[unit] {
                Slot::Ready { .. } => break,
                Slot::InFlight { .. } => {
                    waited = true;
                    self.collect(1)?;
                }
                Slot::Failed(_) => {
                    let failed = std::mem::replace(&mut self.slots[unit], Slot::Idle);
                    if let Slot::Failed(e) = failed {
                        return Err(e);
                    }
                }
                Slot::Idle => {
                    waited = true;
                    self.make_room()?;
                    self.request(unit)?;
                }
            }
        }
        if waited {
            self.waited += start.elapsed();
        }
        match &self.slots[unit] {
            Slot::Ready { buf, skip, .. } => Ok(&buf[*skip..]),
            _ => unreachable!("the loop ends with the unit ready"),
        }
    }

    /// Frees a buffer if none is: the unit that is needed last gives way. Happens only after a
    /// sweep that was cut short, since otherwise units arrive in the order of their use.
    fn make_room(&mut self) -> Result<(), EngineError> {
        while self.free.is_empty() {
            let spare = self.slots.iter().zip(&self.units).rposition(
                |(slot, unit)| matches!(slot, Slot::Ready { left, .. } if *left == unit.pieces),
            );
            match spare {
                Some(unit) => self.give_back(unit),
                None if self.engine.in_flight() > 0 => self.collect(1)?,
                None => {
                    return Err(EngineError::Unsupported {
                        what: "all read buffers are held by matrices in use".to_owned(),
                        hint: "give a larger budget or smaller requests".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Gives up the buffers of units if no unit will ever be read.
    pub(crate) fn shrink(&mut self) {
        if self.units.is_empty() {
            self.free = Vec::new();
        }
    }

    fn give_back(&mut self, unit: usize) {
        if let Slot::Ready { buf, .. } = std::mem::replace(&mut self.slots[unit], Slot::Idle) {
            self.free.push(buf);
        }
    }

    /// Says that one piece of a unit has been used.
    pub(crate) fn used(&mut self, unit: usize) -> Result<(), EngineError> {
        let Slot::Ready { left, .. } = &mut self.slots[unit] else {
            return Ok(());
        };
        *left -= 1;
        if *left == 0 {
            self.give_back(unit);
            self.pump()?;
        }
        Ok(())
    }
}
