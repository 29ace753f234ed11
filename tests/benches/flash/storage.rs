//! The storage below the models: its sequential rate, and files out of the page cache.

use anyhow::{Context, Result};
use lampyris_io::{AlignedBuf, EngineKind, ReadRequest};
use std::fs::File;
use std::path::Path;
use std::time::Instant;

/// Bytes of a read, and reads in flight, when the rate is measured.
const CHUNK: usize = 1 << 20;
const DEPTH: usize = 8;
/// Bytes that are read for it.
const SPAN: u64 = 2 << 30;

/// Takes the file's pages out of the page cache: who touched them first would be charged for them.
pub(crate) fn forget(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    file.sync_all().context("cannot write the file back")?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .with_context(|| format!("cannot drop `{}` from the page cache", path.display()))
}

/// Bytes per second of reading the file from its start, past the page cache.
pub(crate) fn sequential_rate(path: &Path) -> Result<f64> {
    let mut engine = lampyris_io::open(&[path.into()], EngineKind::Auto, DEPTH)?;
    let size = std::fs::metadata(path)?.len().min(SPAN) / CHUNK as u64 * CHUNK as u64;
    let mut free = AlignedBuf::many(DEPTH, CHUNK, lampyris_io::page_size())?;
    let (mut at, mut done) = (0u64, 0u64);
    let mut completions = Vec::new();
    let start = Instant::now();
    while done < size {
        while at < size {
            let Some(buf) = free.pop() else { break };
            engine.submit(ReadRequest {
                file: 0,
                offset: at,
                len: CHUNK,
                buf,
                tag: at,
            })?;
            at += CHUNK as u64;
        }
        engine.wait(1, &mut completions)?;
        for completion in completions.drain(..) {
            done += completion.result? as u64;
            free.push(completion.buf);
        }
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}
