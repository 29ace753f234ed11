//! The ports that every unit has: descriptors in, retirement and errors out.

use lampyris_tests::bench::{Bench, DESC_BITS};
use std::collections::VecDeque;
use verilator_sys::{Input, Output};

/// An event of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// The instruction with this sequence number retired.
    Done(u32),
    /// An error with this code.
    Error(u8),
}

/// Queue in front of a unit.
pub(crate) struct UnitPort {
    clr: Input,
    valid: Input,
    desc: Input,
    ready: Output,
    done: Output,
    done_seq: Output,
    busy: Output,
    err_valid: Output,
    err_code: Output,
    /// Descriptors that wait.
    pub(crate) queue: VecDeque<Vec<u32>>,
}

impl UnitPort {
    /// Connects to the ports of the unit.
    pub(crate) fn new(bench: &mut Bench) -> UnitPort {
        let port = UnitPort {
            clr: bench.input("clr_i", 1),
            valid: bench.input("desc_valid_i", 1),
            desc: bench.input("desc_i", DESC_BITS),
            ready: bench.output("desc_ready_o", 1),
            done: bench.output("done_o", 1),
            done_seq: bench.output("done_seq_o", 32),
            busy: bench.output("busy_o", 1),
            err_valid: bench.output("err_valid_o", 1),
            err_code: bench.output("err_code_o", 8),
            queue: VecDeque::new(),
        };
        bench.model.set(port.clr, 0);
        port
    }

    /// Sets the inputs of a cycle.
    pub(crate) fn drive(&self, bench: &mut Bench, clr: bool) {
        bench.model.set(self.clr, clr.into());
        bench.model.set(self.valid, (!self.queue.is_empty()).into());
        if let Some(words) = self.queue.front() {
            bench.set_words(self.desc, words);
        }
    }

    /// Looks at the outputs of a settled cycle.
    pub(crate) fn observe(&mut self, bench: &Bench) -> Option<Event> {
        let get = |port| bench.model.get(port);
        if get(self.ready) == 1 {
            self.queue.pop_front();
        }
        if get(self.err_valid) == 1 {
            return Some(Event::Error(get(self.err_code) as u8));
        }
        (get(self.done) == 1).then(|| Event::Done(get(self.done_seq) as u32))
    }

    /// Whether the unit has work.
    pub(crate) fn is_busy(&self, bench: &Bench) -> bool {
        bench.model.get(self.busy) == 1
    }
}
