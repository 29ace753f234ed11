//! The weight stream between LD and MM: runs of DRAM bytes, read when MM consumes them.

use super::machine::Fault;
use crate::memory::Memory;
use std::collections::VecDeque;

/// Most runs that wait in the stream. The hardware holds its loads back when the stream is full;
/// the model, which executes in program order, has to take them.
const RUNS_MAX: usize = 1 << 20;

/// Most bytes that wait in copies because a store changed them.
const KEPT_MAX: u64 = 1 << 28;

const UNUSED_HINT: &str = "consume with `mm` and `mv` what `ld.w` loads";

/// A run of bytes in the stream.
enum Run {
    /// Still in DRAM.
    Lazy { addr: u64, len: u64 },
    /// Copied because a store was about to change them; the first `usize` are consumed.
    Kept(Vec<u8>, usize),
}

impl Run {
    fn len(&self) -> u64 {
        match self {
            Run::Lazy { len, .. } => *len,
            Run::Kept(bytes, used) => (bytes.len() - used) as u64,
        }
    }
}

/// The queue of runs, in the order in which MM sees the bytes.
#[derive(Default)]
pub(crate) struct Stream {
    runs: VecDeque<Run>,
    len: u64,
    /// Bytes of copies, counted until the copy is used up.
    kept: u64,
}

impl Stream {
    /// Bytes that MM has not consumed.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends a run that is known to be mapped.
    pub(crate) fn push(&mut self, addr: u64, len: u64) -> Result<(), Fault> {
        let Some(total) = self.len.checked_add(len) else {
            let detail = format!("{} bytes wait in the weight stream", self.len);
            return Err(Fault::refused(detail, UNUSED_HINT));
        };
        self.len = total;
        if let Some(Run::Lazy { addr: a, len: l }) = self.runs.back_mut()
            && *a + *l == addr
        {
            *l += len;
            return Ok(());
        }
        if self.runs.len() == RUNS_MAX {
            let detail = format!("{RUNS_MAX} runs of bytes wait in the weight stream");
            return Err(Fault::refused(detail, UNUSED_HINT));
        }
        self.runs.push_back(Run::Lazy { addr, len });
        Ok(())
    }

    /// Copies runs that a store of `len` bytes at `addr` would change.
    pub(crate) fn keep_before_write(
        &mut self,
        memory: &Memory,
        addr: u64,
        len: u64,
    ) -> Result<(), Fault> {
        for run in &mut self.runs {
            if let Run::Lazy { addr: a, len: l } = *run
                && a < addr.saturating_add(len)
                && addr < a + l
            {
                self.kept += l;
                if self.kept > KEPT_MAX {
                    let detail = format!("{} bytes that wait in the weight stream", self.kept);
                    return Err(Fault::refused(detail, UNUSED_HINT));
                }
                let mut bytes = vec![0; l as usize];
                memory
                    .read(a, &mut bytes)
                    .expect("checked when the run was pushed");
                *run = Run::Kept(bytes, 0);
            }
        }
        Ok(())
    }

    /// Takes the next `len` bytes (at most [`Stream::len`]) and hands them to `use_bytes`,
    /// without a copy if they lie in one run.
    #[inline]
    pub(crate) fn take<T>(
        &mut self,
        memory: &Memory,
        len: usize,
        use_bytes: impl FnOnce(&[u8]) -> T,
    ) -> T {
        if let Some(Run::Lazy { addr, len: left }) = self.runs.front_mut()
            && *left >= len as u64
            && let Some(bytes) = memory.slice(*addr, len)
        {
            let result = use_bytes(bytes);
            *addr += len as u64;
            *left -= len as u64;
            self.len -= len as u64;
            if *left == 0 {
                self.runs.pop_front();
            }
            return result;
        }
        use_bytes(&self.gather(memory, len))
    }

    fn gather(&mut self, memory: &Memory, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        let mut done = 0;
        while done < len {
            let run = self
                .runs
                .front_mut()
                .expect("the caller checked the length");
            let part = (run.len().min((len - done) as u64)) as usize;
            let to = &mut out[done..done + part];
            match run {
                Run::Lazy { addr, len } => {
                    memory
                        .read(*addr, to)
                        .expect("checked when the run was pushed");
                    *addr += part as u64;
                    *len -= part as u64;
                }
                Run::Kept(bytes, used) => {
                    to.copy_from_slice(&bytes[*used..*used + part]);
                    *used += part;
                }
            }
            if run.len() == 0
                && let Some(Run::Kept(bytes, _)) = self.runs.pop_front()
            {
                self.kept -= bytes.len() as u64;
            }
            done += part;
        }
        self.len -= len as u64;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_gathers_runs_and_keeps_old_values() {
        let mut memory = Memory::new();
        let bytes: Vec<u8> = (0..=255).collect();
        memory.add_data("m", 0, bytes).unwrap();
        let mut stream = Stream::default();
        stream.push(0, 4).unwrap();
        stream.push(100, 4).unwrap();
        stream.keep_before_write(&memory, 101, 1).unwrap();
        memory.write(101, &[0]).unwrap();
        assert_eq!(
            stream.take(&memory, 6, <[u8]>::to_vec),
            [0, 1, 2, 3, 100, 101]
        );
        stream.push(200, 2).unwrap();
        assert_eq!(
            stream.take(&memory, 4, <[u8]>::to_vec),
            [102, 103, 200, 201]
        );
        assert_eq!((stream.len(), stream.kept), (0, 0));
    }
}
