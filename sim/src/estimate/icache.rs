//! When an instruction is there: the direct-mapped cache with its prefetch of the next line.

/// Instructions of a line.
const LINE: u32 = 4;

pub(super) struct Icache {
    tags: Vec<Option<(u32, f64)>>,
    beats: f64,
}

impl Icache {
    pub(super) fn new(lines: u32, axi_bits: u32) -> Icache {
        Icache {
            tags: vec![None; lines as usize],
            beats: 1024.0 / f64::from(axi_bits),
        }
    }

    /// Time at which the instruction at `pc` can be decoded if it is asked for at `now`; `fill`
    /// says when a line asked for at a time has arrived.
    pub(super) fn fetch(
        &mut self,
        pc: u32,
        now: f64,
        mut fill: impl FnMut(f64, f64) -> f64,
    ) -> f64 {
        let line = pc / LINE;
        let beats = self.beats;
        let mut look = |tags: &mut Vec<Option<(u32, f64)>>, line: u32, at: f64| {
            let index = line as usize % tags.len();
            match tags[index] {
                Some((tag, ready)) if tag == line => ready,
                _ => {
                    let ready = fill(at, beats);
                    tags[index] = Some((line, ready));
                    ready
                }
            }
        };
        let ready = look(&mut self.tags, line, now);
        // A hit takes a cycle; after a miss the row is read again.
        let there = if ready <= now { now + 1.0 } else { ready + 2.0 };
        look(&mut self.tags, line + 1, there);
        there
    }
}
