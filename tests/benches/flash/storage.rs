//! The storage below the models: its sequential rate, and files out of the page cache.

use anyhow::{Context, Result};
use lampyris_io::{AlignedBuf, EngineKind, ReadRequest};
use serde::Serialize;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

/// Bytes of a read, and reads in flight, when the rate is measured: as the engine's.
const CHUNK: usize = 2 << 20;
const DEPTH: usize = 24;
/// Bytes that are read for it.
const SPAN: u64 = 1 << 30;

/// Bytes per second of reading in order, past the page cache.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Rates {
    /// Nobody looks at the bytes.
    pub(crate) read: f64,
    /// Every byte is looked at once, the least that a program does which computes with them. On
    /// machines whose disk is emulated this takes processor time and memory traffic from the disk.
    pub(crate) seen: f64,
}

impl Rates {
    /// Measures both on the file's first bytes.
    pub(crate) fn measure(path: &Path) -> Result<Self> {
        Ok(Self {
            read: sequential_rate(path, false)?,
            seen: sequential_rate(path, true)?,
        })
    }

    /// The mean of two measurements, one before and one after a run: storage wanders.
    pub(crate) fn mean(self, other: Self) -> Self {
        let mean = |a: f64, b: f64| 2.0 / (1.0 / a + 1.0 / b);
        Self {
            read: mean(self.read, other.read),
            seen: mean(self.seen, other.seen),
        }
    }
}

/// Takes the file's pages out of the page cache: who touched them first would be charged for them.
pub(crate) fn forget(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    file.sync_all().context("cannot write the file back")?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .with_context(|| format!("cannot drop `{}` from the page cache", path.display()))
}

fn sequential_rate(path: &Path, look: bool) -> Result<f64> {
    let mut engine = lampyris_io::open(&[path.into()], EngineKind::Auto, DEPTH)?;
    let size = std::fs::metadata(path)?.len().min(SPAN) / CHUNK as u64 * CHUNK as u64;
    let mut free = AlignedBuf::many(DEPTH, CHUNK, lampyris_io::page_size())?;
    let (mut at, mut done, mut sum) = (0u64, 0u64, 0u64);
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
            let bytes = completion.result?;
            done += bytes as u64;
            if look {
                sum = sum.wrapping_add(sum_of(&completion.buf[..bytes]));
            }
            free.push(completion.buf);
        }
    }
    std::hint::black_box(sum);
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

fn sum_of(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let word = |w: &[u8]| u64::from_le_bytes(w.try_into().unwrap_or_default());
    words.map(word).fold(0, u64::wrapping_add)
}
