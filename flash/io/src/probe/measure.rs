//! The measurements themselves.

use super::profile::{Origin, Pattern, Point, Profile, SCHEMA_VERSION, recommend};
use super::store::device_id;
use super::target::Target;
use crate::buffer::{AlignedBuf, page_size};
use crate::engine::{Completion, EngineKind, ReadEngine, ReadRequest, open};
use crate::error::{Error, Result};
use crate::platform;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Size of the temporary file in bytes, if one is written.
    pub size: u64,
    /// Time for all measurements together. Writing the temporary file takes as long again at
    /// most, and slow storage somewhat longer, since reads that were begun are waited for.
    pub time: Duration,
}

impl Default for Settings {
    /// 512 MiB and 12 seconds.
    fn default() -> Settings {
        Settings {
            size: 512 << 20,
            time: Duration::from_secs(12),
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The temporary file is written; progress counts bytes.
    Write,
    /// Reads are measured; progress counts measurements.
    Read,
}

/// How far a measurement is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Units that are done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// Sizes of reads: 4 KiB to 4 MiB.
const CHUNK_BITS: std::ops::RangeInclusive<u32> = 12..=22;
const RANDOM_DEPTHS: [usize; 4] = [1, 4, 8, 32];
const SEQUENTIAL_DEPTHS: [usize; 4] = [1, 2, 4, 8];
const THREADS: [usize; 4] = [1, 2, 4, 8];
/// Chunks with which numbers of threads are compared.
const THREAD_CHUNKS: [u64; 2] = [32 << 10, 1 << 20];
/// Bytes in flight at most: what a memory budget would spare for buffers.
const IN_FLIGHT_MAX: u64 = 32 << 20;
/// Bytes of the buffers of a measurement at least.
const REGION_MIN: usize = 2 << 20;
/// Each point is measured this often, some seconds apart, and the best counts: what else runs on
/// the machine can only slow it down.
const PASSES: u32 = 2;
/// Share of the time for the last, long measurement.
const SUSTAINED: f64 = 0.1;

/// One point to measure.
#[derive(Clone, Copy)]
struct Plan {
    kind: EngineKind,
    pattern: Pattern,
    chunk: u64,
    depth: usize,
}

fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for chunk in CHUNK_BITS.map(|bits| 1u64 << bits) {
        let both = [
            (Pattern::Sequential, SEQUENTIAL_DEPTHS),
            (Pattern::Random, RANDOM_DEPTHS),
        ];
        for (pattern, depths) in both {
            let fitting = depths
                .into_iter()
                .filter(|&d| chunk * d as u64 <= IN_FLIGHT_MAX);
            plans.extend(fitting.map(|depth| Plan {
                kind: EngineKind::Auto,
                pattern,
                chunk,
                depth,
            }));
        }
    }
    for chunk in THREAD_CHUNKS {
        for threads in THREADS {
            plans.push(Plan {
                kind: EngineKind::Pread { threads },
                pattern: Pattern::Random,
                chunk,
                depth: threads,
            });
        }
    }
    plans
}

/// Measures the storage below `path`: by reading the file, or, if it is a folder, a temporary
/// file in it that nobody sees and that does not outlive this process.
///
/// `progress` hears of every step and may break off.
///
/// # Errors
/// If the path does not exist, the file is too small or has holes, the folder cannot be written
/// or has no room, storage fails, or `progress` breaks off ([`Error::Cancelled`]).
pub fn measure(
    path: &Path,
    settings: &Settings,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Profile> {
    let device = device_id(path)?;
    let target = Target::new(path, settings.size, settings.time, progress)?;
    let mut probe = Probe::new(&target)?;
    let plans: Vec<Plan> = plans()
        .into_iter()
        .filter(|plan| probe.direct || plan.kind == EngineKind::Auto)
        .collect();
    let total = plans.len() as u64 * u64::from(PASSES) + 1;
    let each = settings.time.mul_f64((1.0 - SUSTAINED) / total as f64);
    let mut points: Vec<Point> = Vec::with_capacity(plans.len());
    let mut report = |done| {
        let stage = Stage::Read;
        match progress(Progress { stage, done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    };
    for pass in 0..PASSES as usize {
        for (index, plan) in plans.iter().enumerate() {
            report((pass * plans.len() + index) as u64)?;
            let point = probe.run(*plan, each)?;
            match points.get_mut(index) {
                None => points.push(point),
                Some(old) if old.bytes_per_second < point.bytes_per_second => *old = point,
                Some(_) => {}
            }
        }
    }
    report(total - 1)?;
    let mut recommendation = recommend(&points, &probe.engine);
    let sustained = probe.run(
        Plan {
            kind: EngineKind::Auto,
            pattern: Pattern::Sequential,
            chunk: recommendation.chunk,
            depth: recommendation.depth as usize,
        },
        settings.time.mul_f64(SUSTAINED),
    )?;
    recommendation.bytes_per_second = sustained.bytes_per_second;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(Profile {
        schema_version: SCHEMA_VERSION,
        origin: Origin::Measured,
        device,
        path: path.display().to_string(),
        measured_at: since.map_or(0, |d| d.as_secs()),
        sample_bytes: target.size,
        engine: probe.engine,
        recommendation,
        notes: probe.notes,
        points,
    })
}

struct Probe<'a> {
    target: &'a Target,
    /// Name of the engine that `Auto` means here.
    engine: String,
    /// Whether reads go past the page cache.
    direct: bool,
    notes: Vec<String>,
    random: fastrand::Rng,
}

impl Probe<'_> {
    fn new(target: &Target) -> Result<Probe<'_>> {
        let engine = open(std::slice::from_ref(&target.path), EngineKind::Auto, 1)?;
        let direct = engine.name() != "buffered";
        let mut notes: Vec<String> = engine.notes().iter().map(ToString::to_string).collect();
        if platform::is_memory(&target.path) {
            notes = vec!["note: this file system is in memory; no storage was measured".into()];
        } else if !direct {
            notes = vec![
                "note: no direct I/O on this file system; the figures include the page cache"
                    .into(),
            ];
        }
        Ok(Probe {
            target,
            engine: engine.name().to_owned(),
            direct,
            notes,
            random: fastrand::Rng::with_seed(2),
        })
    }

    /// Reads for about `time`.
    fn run(&mut self, plan: Plan, time: Duration) -> Result<Point> {
        let paths = std::slice::from_ref(&self.target.path);
        let mut engine = open(paths, plan.kind, plan.depth)?;
        let alignment = page_size().max(engine.alignment());
        let chunk = plan.chunk as usize;
        // Out of a region of the size that rings have, so that it lies in huge pages like theirs.
        let count = plan.depth.max(REGION_MIN.div_ceil(chunk));
        let mut free = AlignedBuf::many(count, chunk, alignment)?;
        free.truncate(plan.depth);
        // Whole chunks inside the file; a sequence begins anywhere.
        let places = self.target.size / plan.chunk;
        let mut place = self.random.u64(0..places);
        let mut out = Vec::with_capacity(plan.depth);
        let begin = Instant::now();
        let mut bytes = 0;
        loop {
            let more = begin.elapsed() < time || bytes == 0;
            while more && let Some(buf) = free.pop() {
                let offset = place * plan.chunk;
                place = match plan.pattern {
                    Pattern::Sequential => (place + 1) % places,
                    Pattern::Random => self.random.u64(0..places),
                };
                engine.submit(ReadRequest {
                    file: 0,
                    offset,
                    len: chunk,
                    buf,
                    tag: 0,
                })?;
            }
            if engine.in_flight() == 0 {
                break;
            }
            bytes += collect(engine.as_mut(), &mut free, &mut out)?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let service = engine.stats().service;
        let ns = |p| service.percentile(p).as_nanos() as u64;
        Ok(Point {
            engine: engine.name().to_owned(),
            pattern: plan.pattern,
            chunk: plan.chunk,
            depth: plan.depth as u32,
            threads: match plan.kind {
                EngineKind::Pread { threads } => Some(threads as u32),
                _ => None,
            },
            bytes_per_second: (bytes as f64 / seconds) as u64,
            p50_ns: ns(0.5),
            p99_ns: ns(0.99),
        })
    }
}

fn collect(
    engine: &mut dyn ReadEngine,
    free: &mut Vec<AlignedBuf>,
    out: &mut Vec<Completion>,
) -> Result<u64> {
    engine.wait(1, out)?;
    let mut bytes = 0;
    for done in out.drain(..) {
        bytes += done.result? as u64;
        free.push(done.buf);
    }
    Ok(bytes)
}
