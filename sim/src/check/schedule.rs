//! Follows queues, semaphores and the weight stream without time.
//!
//! Units, sequencer, bounded queues and counting semaphores form a network of processes that
//! never choose: whether it blocks for ever does not depend on timing. So one simulation, in
//! which everything moves as soon as it can, decides for all.

use super::Violation;
use lampyris_isa::{HwConfig, Unit};
use std::collections::VecDeque;

/// Largest value of a semaphore.
const SEMAPHORE_MAX: u32 = 255;

/// An instruction in a unit's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) seq: u32,
    pub(crate) pc: u32,
    pub(crate) wait: u8,
    pub(crate) post: u8,
    /// Bytes that it still puts into the weight stream (LD) or takes out of it (MM).
    pub(crate) stream: u64,
}

/// State of the network.
pub(crate) struct Schedule {
    queue_depth: usize,
    stream_max: u64,
    stream: u64,
    queues: [VecDeque<Job>; 4],
    started: [bool; 4],
    /// Semaphores by producer and consumer.
    semaphores: [[u32; 4]; 4],
    /// The same in program order: posted minus taken by instructions dispatched so far.
    ordered: [[u32; 4]; 4],
}

fn units(mask: u8) -> impl Iterator<Item = usize> {
    (0..4).filter(move |u| mask >> u & 1 == 1)
}

impl Schedule {
    pub(crate) fn new(config: &HwConfig) -> Schedule {
        Schedule {
            queue_depth: config.queue_depth as usize,
            stream_max: u64::from(config.stream_beats) * u64::from(config.load_beat_bytes()),
            stream: 0,
            queues: Default::default(),
            started: [false; 4],
            semaphores: [[0; 4]; 4],
            ordered: [[0; 4]; 4],
        }
    }

    /// Puts an instruction into the queue of `unit`, letting the units work if it is full.
    pub(crate) fn dispatch(&mut self, unit: Unit, job: Job) -> Result<(), Violation> {
        let u = unit as usize;
        self.count_in_order(u, &job)?;
        while self.queues[u].len() == self.queue_depth {
            self.work_or(|| format!("the queue of {} is full", name(u)))?;
        }
        self.queues[u].push_back(job);
        Ok(())
    }

    fn count_in_order(&mut self, u: usize, job: &Job) -> Result<(), Violation> {
        for (field, mask) in [("wait", job.wait), ("post", job.post)] {
            if mask >> u & 1 == 1 {
                return Err(Violation {
                    problem: format!("`{field}` of {} names {} itself", name(u), name(u)),
                    hint: "a unit executes in order and has no semaphore with itself; clear the bit",
                });
            }
        }
        for p in units(job.wait) {
            if self.ordered[p][u] == 0 {
                return Err(Violation {
                    problem: format!("waits for {}, which has not posted to {}", name(p), name(u)),
                    hint: "a post comes before its wait in program order",
                });
            }
            self.ordered[p][u] -= 1;
        }
        for c in units(job.post) {
            self.ordered[u][c] += 1;
            // The consumer may be behind by a full queue and the instruction in execution.
            if self.ordered[u][c] as usize + self.queue_depth + 1 > SEMAPHORE_MAX as usize {
                return Err(Violation {
                    problem: format!("semaphore ({}, {}) may exceed 255", name(u), name(c)),
                    hint: "let the consumer wait more often than once in 200 posts",
                });
            }
        }
        Ok(())
    }

    /// Waits until the queues of the units in `mask` are empty.
    pub(crate) fn fence(&mut self, mask: u8) -> Result<(), Violation> {
        while units(mask).any(|u| !self.queues[u].is_empty()) {
            self.work_or(|| "a fence waits".into())?;
        }
        Ok(())
    }

    /// Waits for all units and checks that nothing is left over.
    pub(crate) fn halt(&mut self) -> Result<(), Violation> {
        self.fence(15)?;
        for (p, row) in self.semaphores.iter().enumerate() {
            for (c, &count) in row.iter().enumerate() {
                if count != 0 {
                    return Err(Violation {
                        problem: format!(
                            "semaphore ({}, {}) is {count} at the end",
                            name(p),
                            name(c)
                        ),
                        hint: "every post needs a wait",
                    });
                }
            }
        }
        if self.stream != 0 {
            return Err(Violation {
                problem: format!("{} bytes are left in the weight stream", self.stream),
                hint: "every byte that `ld.w` loads is consumed by `mm` or `mv`",
            });
        }
        Ok(())
    }

    fn work_or(&mut self, why: impl FnOnce() -> String) -> Result<(), Violation> {
        let mut moved = false;
        for u in 0..4 {
            moved |= self.work(u);
        }
        if moved {
            return Ok(());
        }
        let problem = format!("deadlock: {}{}", why(), self.describe());
        Err(Violation {
            problem,
            hint: "see which unit waits for which; the weight stream holds StreamBeats beats",
        })
    }

    /// Lets one unit work on the head of its queue.
    fn work(&mut self, u: usize) -> bool {
        let Some(job) = self.queues[u].front().copied() else {
            return false;
        };
        let mut moved = false;
        if !self.started[u] {
            if units(job.wait).any(|p| self.semaphores[p][u] == 0) {
                return false;
            }
            units(job.wait).for_each(|p| self.semaphores[p][u] -= 1);
            self.started[u] = true;
            moved = true;
        }
        let is_load = u == Unit::Ld as usize;
        let possible = if is_load {
            self.stream_max - self.stream
        } else {
            self.stream
        };
        let bytes = job.stream.min(possible);
        if bytes > 0 {
            self.queues[u][0].stream -= bytes;
            self.stream = if is_load {
                self.stream + bytes
            } else {
                self.stream - bytes
            };
            moved = true;
        }
        if self.queues[u][0].stream == 0 {
            units(job.post).for_each(|c| self.semaphores[u][c] += 1);
            self.queues[u].pop_front();
            self.started[u] = false;
            moved = true;
        }
        moved
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (u, queue) in self.queues.iter().enumerate() {
            let Some(job) = queue.front() else { continue };
            text += &format!("; {} at instruction {} (pc {})", name(u), job.seq, job.pc);
            if self.started[u] {
                let verb = if u == Unit::Ld as usize {
                    "room for"
                } else {
                    ""
                };
                text += &format!(" waits for {verb} {} bytes of weights", job.stream);
            } else {
                let from: Vec<&str> = units(job.wait)
                    .filter(|&p| self.semaphores[p][u] == 0)
                    .map(name)
                    .collect();
                text += &format!(" waits for {}", from.join(" and "));
            }
        }
        text
    }
}

fn name(unit: usize) -> &'static str {
    ["LD", "ST", "MM", "SFU"][unit]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(wait: u8, post: u8, stream: u64) -> Job {
        Job {
            seq: 0,
            pc: 0,
            wait,
            post,
            stream,
        }
    }

    #[test]
    fn stream_larger_than_its_buffer_needs_a_consumer_in_time() {
        let mut s = Schedule::new(&HwConfig::SMALL);
        let big = 10 * 128 * 16;
        s.dispatch(Unit::Ld, job(0, 0, big)).unwrap();
        s.dispatch(Unit::Mm, job(0, 0, big)).unwrap();
        s.halt().unwrap();
        s.dispatch(Unit::Ld, job(0, 0, big)).unwrap();
        let text = s.fence(1).unwrap_err().problem;
        assert!(
            text.contains("LD at instruction 0 (pc 0) waits for room"),
            "{text}"
        );
    }

    #[test]
    fn semaphores_must_balance() {
        let mut s = Schedule::new(&HwConfig::BASE);
        s.dispatch(Unit::Sfu, job(0, 2, 0)).unwrap();
        assert!(s.halt().unwrap_err().problem.contains("(SFU, ST) is 1"));
        s.dispatch(Unit::St, job(8, 0, 0)).unwrap();
        s.halt().unwrap();
        assert!(s.dispatch(Unit::St, job(8, 0, 0)).is_err());
    }

    #[test]
    fn a_unit_has_no_semaphore_with_itself() {
        for unit in Unit::QUEUED {
            let own = unit.mask();
            for (wait, post, field) in [(own, 0, "wait"), (0, own, "post")] {
                let mut s = Schedule::new(&HwConfig::BASE);
                let text = s.dispatch(unit, job(wait, post, 0)).unwrap_err().problem;
                assert!(text.starts_with(&format!("`{field}` of ")), "{text}");
                assert!(text.ends_with(" itself"), "{text}");
                assert!(s.dispatch(unit, job(0, 15 & !own, 0)).is_ok());
            }
        }
    }

    #[test]
    fn too_many_posts_are_refused() {
        let mut s = Schedule::new(&HwConfig::BASE);
        let first_bad = (0..300).position(|_| s.dispatch(Unit::Ld, job(0, 4, 0)).is_err());
        assert_eq!(first_bad, Some(255 - 8 - 1));
    }
}
