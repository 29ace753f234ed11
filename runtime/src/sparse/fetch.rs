//! Reads into a fixed set of buffers, and takes them back in the order of the requests.

use super::options::SparseError;
use lampyris_io::{AlignedBuf, Completion, ReadEngine, ReadRequest};
use std::time::{Duration, Instant};

/// A read of one layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) file: usize,
    pub(super) offset: u64,
    /// Bytes to read, and how many of them the file must have.
    pub(super) len: usize,
    pub(super) needed: usize,
}

/// Buffers and the engine that fills them.
pub(super) struct Fetcher {
    engine: Box<dyn ReadEngine>,
    free: Vec<AlignedBuf>,
    pub(super) filled: Filled,
    /// Bytes that each request in flight needs, likewise.
    needed: Vec<usize>,
    /// Requests submitted, completed up to, and given back up to, since the layer began.
    submitted: usize,
    released: usize,
    completions: Vec<Completion>,
    pub(super) bytes: u64,
    pub(super) reads: u64,
    pub(super) waited: Duration,
}

/// Filled buffers by the number of their request, modulo the number of buffers.
#[derive(Debug)]
pub(super) struct Filled(Vec<Option<AlignedBuf>>);

impl Filled {
    /// The bytes of a request that was waited for and not released.
    pub(super) fn bytes_of(&self, request: usize) -> &[u8] {
        let buf = self.0[request % self.0.len()].as_ref();
        buf.expect("the request was waited for")
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("engine", &self.engine.name())
            .field("buffers", &self.filled.0.len())
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// With up to `depth` buffers of `size` bytes.
    pub(super) fn new(
        engine: Box<dyn ReadEngine>,
        depth: usize,
        size: usize,
    ) -> Result<Self, SparseError> {
        let depth = depth.clamp(1, engine.capacity().max(1));
        let align = engine.alignment();
        let free = AlignedBuf::many(depth, size, align)?;
        Ok(Self {
            filled: Filled((0..depth).map(|_| None).collect()),
            needed: vec![0; depth],
            completions: Vec::with_capacity(depth),
            engine,
            free,
            submitted: 0,
            released: 0,
            bytes: 0,
            reads: 0,
            waited: Duration::ZERO,
        })
    }

    pub(super) fn alignment(&self) -> usize {
        self.engine.alignment()
    }

    /// Buffers in all.
    pub(super) fn depth(&self) -> usize {
        self.filled.0.len()
    }

    /// Begins to count requests from 0. What a failed layer left behind is taken back.
    pub(super) fn begin(&mut self) -> Result<(), SparseError> {
        self.drain()?;
        (self.submitted, self.released) = (0, 0);
        Ok(())
    }

    /// Requests submitted since the layer began.
    pub(super) fn submitted(&self) -> usize {
        self.submitted
    }

    /// Whether there is a buffer for another request.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Starts the next request. There must be room.
    pub(super) fn submit(&mut self, request: Request) -> Result<(), SparseError> {
        let Some(buf) = self.free.pop() else {
            unreachable!("callers ask for room first");
        };
        let slot = self.submitted % self.filled.0.len();
        self.needed[slot] = request.needed;
        self.engine.submit(ReadRequest {
            file: request.file,
            offset: request.offset,
            len: request.len,
            buf,
            tag: self.submitted as u64,
        })?;
        self.submitted += 1;
        self.reads += 1;
        Ok(())
    }

    /// Waits for requests up to `end` (exclusive). `name` is for messages.
    pub(super) fn wait(&mut self, end: usize, name: &str) -> Result<(), SparseError> {
        let depth = self.filled.0.len();
        while (self.released..end.min(self.submitted)).any(|r| self.filled.0[r % depth].is_none()) {
            let start = Instant::now();
            let result = self.engine.wait(1, &mut self.completions);
            self.waited += start.elapsed();
            result?;
            let mut failed = None;
            for completion in self.completions.drain(..) {
                let slot = completion.tag as usize % depth;
                let error = match completion.result {
                    Ok(n) => {
                        self.bytes += n as u64;
                        let missing = self.needed[slot].saturating_sub(n);
                        (missing > 0).then(|| SparseError::Truncated {
                            name: name.into(),
                            missing,
                        })
                    }
                    Err(source) => Some(SparseError::Read {
                        name: name.into(),
                        source,
                    }),
                };
                failed = failed.or(error);
                self.filled.0[slot] = Some(completion.buf);
            }
            if let Some(error) = failed {
                self.drain()?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Frees the buffers of requests up to `end` (exclusive).
    pub(super) fn release(&mut self, end: usize) {
        let depth = self.filled.0.len();
        while self.released < end {
            self.free
                .extend(self.filled.0[self.released % depth].take());
            self.released += 1;
        }
    }

    /// Takes back every buffer, whatever came of its request.
    fn drain(&mut self) -> Result<(), SparseError> {
        while self.engine.in_flight() > 0 {
            self.engine.wait(1, &mut self.completions)?;
        }
        self.free.extend(self.completions.drain(..).map(|c| c.buf));
        self.free
            .extend(self.filled.0.iter_mut().filter_map(Option::take));
        Ok(())
    }
}
