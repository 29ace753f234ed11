//! Checks of rules that the hardware leaves to the compiler: no deadlock, no semaphore overflow,
//! no races between units.

mod race;
mod schedule;

pub(crate) use race::{Event, Races};
pub(crate) use schedule::{Job, Schedule};

/// A broken rule: what, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    pub(crate) problem: String,
    pub(crate) hint: &'static str,
}

/// How thoroughly the model checks a program while it runs it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Check {
    /// Nothing beyond what the hardware checks.
    #[default]
    Off,
    /// Semaphores, queues and the weight stream cannot block each other for ever or overflow,
    /// and are empty at the end.
    Schedule,
    /// Also: accesses of different units to the same place are ordered by semaphores or fences,
    /// and nothing is read that was never written.
    Races,
}
