//! A cache of fixed size for texts without end ("Efficient Streaming Language Models with Attention
//! Sinks", arXiv 2309.17453, section 3.2): the first positions, the sinks, and the most recent ones
//! are remembered, those between are forgotten.
//!
//! The paper counts positions within the cache. Scores under RoPE depend on distances only, and the
//! distances between a query and the recent keys are true ones either way. So keys stay rotated at
//! their true positions, and so is the query that meets them. Only the sinks must look closer than
//! they are: they are met by a second query, rotated as if the text were as long as the cache.
//!
//! True positions grow without bound, tables do not: the angle of position `high x low + rest` is
//! the sum of two angles, one from a table of multiples, one from a table of the rest. Positions
//! within the cache are exact: there the multiple is zero.

use crate::error::{Error, Result};
use lampyris_bundle::Ring as RingEntry;
use lampyris_import::arch::ModelSpec;

/// Positions that the tables of angles reach, if the cache is not longer.
const POSITIONS: usize = 1 << 22;

/// Rows of the table of single positions, at least.
const LOW: usize = 2048;

/// A ring cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// First positions that are never forgotten.
    pub sinks: usize,
    /// Slots, those of the sinks included.
    pub context: usize,
    /// Rows of the table of single positions, a power of two.
    pub low: usize,
    /// Rows of the table of multiples of that.
    pub high: usize,
}

impl Ring {
    /// A ring of `context` slots for a model.
    ///
    /// # Errors
    /// Positions of the model that cannot shift; more sinks than slots.
    pub fn new(spec: &ModelSpec, context: usize, sinks: usize) -> Result<Ring> {
        if spec.rope().is_none() {
            return Err(Error::unsupported(
                "--ring",
                format!(
                    "`{}` has learned positions, which attention sinks cannot shift",
                    spec.name
                ),
                "compile it without --ring; its texts end where its table of positions ends",
            ));
        }
        if sinks >= context {
            return Err(Error::unsupported(
                "--sinks",
                format!("{sinks} sinks leave no room in a cache of {context} positions"),
                "give a longer --context or fewer sinks",
            ));
        }
        let low = context.next_power_of_two().max(LOW);
        Ok(Ring {
            sinks,
            context,
            low,
            high: (POSITIONS / low).max(1),
        })
    }

    /// Checks that a call of `tokens` tokens does not overwrite its own: a slot is passed at most
    /// once.
    ///
    /// # Errors
    /// The ring is shorter.
    pub(crate) fn check(&self, tokens: usize) -> Result<()> {
        let room = self.context - self.sinks;
        if room < tokens {
            return Err(Error::unsupported(
                "--context",
                format!("{room} positions behind the sinks, a call of prefill brings {tokens}"),
                "give a longer --context or fewer --sinks",
            ));
        }
        Ok(())
    }

    /// What the host must know.
    pub(crate) fn entry(&self) -> RingEntry {
        RingEntry {
            sinks: self.sinks as u32,
            positions: u32::try_from(self.low * self.high).unwrap_or(u32::MAX),
        }
    }
}
