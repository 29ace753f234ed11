//! Reads of pieces that are copied or converted at once: what is loaded, and single rows.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use lampyris_io::{AlignedBuf, ReadRequest};

use super::{ROW_TAGS, Streamer, around};
use crate::engine::EngineError;

/// A piece of a file that is to be copied into memory.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    pub(crate) file: usize,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    /// What it is, for messages.
    pub(crate) name: Arc<str>,
    /// Bytes around it that are read too, so that every checksum over a part of it is checked.
    pub(crate) margin: u64,
}

/// Whose buffers a read uses.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pool {
    /// Those for single rows.
    Rows,
    /// Those for units, while none is in use.
    Units,
}

impl Streamer {
    /// Reads pieces of a file that need not be aligned, and shows each as it arrives:
    /// `visit(index, bytes)`. Uses the buffers of rows, or those of units while none of them is in
    /// use.
    pub(crate) fn read(
        &mut self,
        pool: Pool,
        fetches: &[Fetch],
        visit: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), EngineError> {
        let start = Instant::now();
        let (mut next, mut open) = (0, 0usize);
        let mut failed = None;
        while open > 0 || (failed.is_none() && next < fetches.len()) {
            while failed.is_none() && next < fetches.len() {
                let Some(buf) = self.pool(pool).pop() else {
                    break;
                };
                self.submit_piece(&fetches[next], next, buf)?;
                next += 1;
                open += 1;
            }
            let mut done = std::mem::take(&mut self.done);
            let outcome = self.engine.wait(1, &mut done);
            for completion in done.drain(..) {
                if completion.tag < ROW_TAGS {
                    self.arrived(completion);
                    continue;
                }
                open -= 1;
                let index = (completion.tag - ROW_TAGS) as usize;
                self.reads += 1;
                match self.piece(&fetches[index], completion.result, &completion.buf) {
                    Ok(range) => visit(index, &completion.buf[range]),
                    Err(e) => {
                        failed.get_or_insert(e);
                    }
                }
                self.pool(pool).push(completion.buf);
            }
            self.done = done;
            outcome?;
        }
        self.waited += start.elapsed();
        failed.map_or(Ok(()), Err)
    }

    fn pool(&mut self, pool: Pool) -> &mut Vec<AlignedBuf> {
        match pool {
            Pool::Rows => &mut self.rows,
            Pool::Units => &mut self.free,
        }
    }

    fn span(&self, fetch: &Fetch) -> Range<u64> {
        let size = self.engine.file_size(fetch.file);
        let bytes = fetch.offset..fetch.offset + fetch.len as u64;
        around(bytes, fetch.margin, self.engine.alignment() as u64, size)
    }

    fn submit_piece(
        &mut self,
        fetch: &Fetch,
        index: usize,
        buf: AlignedBuf,
    ) -> Result<(), EngineError> {
        let span = self.span(fetch);
        self.engine.submit(ReadRequest {
            file: fetch.file,
            offset: span.start,
            len: (span.end - span.start) as usize,
            buf,
            tag: ROW_TAGS + index as u64,
        })?;
        Ok(())
    }

    /// Where in its buffer a piece lies, after checking it.
    fn piece(
        &mut self,
        fetch: &Fetch,
        result: lampyris_io::Result<usize>,
        buf: &[u8],
    ) -> Result<Range<usize>, EngineError> {
        let span = self.span(fetch);
        let skip = (fetch.offset - span.start) as usize;
        let end = skip + fetch.len;
        let got = result?;
        self.bytes += got as u64;
        if got >= end {
            if let Some(checksums) = self.checksums.as_ref().filter(|_| fetch.margin > 0) {
                checksums.check(span.start, &buf[..got])?;
            }
            return Ok(skip..end);
        }
        Err(EngineError::Truncated {
            file: self.source.files[fetch.file].clone(),
            offset: fetch.offset,
            missing: end - got,
            tensor: fetch.name.to_string(),
        })
    }
}
