//! Which bytes to read for a set of neurons (bundling and reading larger chunks: "LLM in a flash",
//! section 3.2; cost from a measured table: "VLM in a flash", neuron chunking).
//!
//! A device needs a time `T[size]` for a read of a size, and on flash `T` grows far slower than
//! the size at first. Between two wanted neurons that lie close together, one read that also
//! fetches what lies between them can be cheaper than two. [`plan`] finds the division of the
//! wanted neurons into reads whose total time is least; it is exact, for any table.

use lampyris_io::probe::{Pattern, Profile};

/// Seconds that a read of a number of bytes keeps the device busy, at the depth of the queue in
/// use: the reciprocal of reads per second.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadCost {
    /// Sizes ascending, times not descending; at least one.
    points: Vec<(f64, f64)>,
}

/// Rates of a good phone's flash, for devices that nobody measured: 60 µs for each read over a
/// queue of 8, 1.5 GB/s.
const ASSUMED: (f64, f64) = (7.5e-6, 1.5e9);

impl Default for ReadCost {
    fn default() -> Self {
        Self::affine(ASSUMED.0, ASSUMED.1)
    }
}

impl ReadCost {
    /// A fixed time for each read and a rate for its bytes.
    pub fn affine(seconds_per_read: f64, bytes_per_second: f64) -> Self {
        let at = |bytes: f64| (bytes, seconds_per_read + bytes / bytes_per_second);
        Self {
            points: vec![at(0.0), at((1u64 << 40) as f64)],
        }
    }

    /// Measured `(bytes, seconds)`. Times that fall with the size are noise and are raised to
    /// those of smaller reads. `None` without a point that makes sense.
    pub fn measured(points: impl IntoIterator<Item = (usize, f64)>) -> Option<Self> {
        let sane = |&(bytes, seconds): &(usize, f64)| bytes > 0 && seconds > 0.0 && seconds < 1e6;
        let points = points.into_iter().filter(sane).map(|(b, s)| (b as f64, s));
        let mut points: Vec<(f64, f64)> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|later, first| later.0 == first.0);
        let mut least = 0.0f64;
        for (_, seconds) in &mut points {
            least = least.max(*seconds);
            *seconds = least;
        }
        (!points.is_empty()).then_some(Self { points })
    }

    /// What a probe of the storage found for random reads with `depth` in flight.
    pub fn probed(profile: &Profile, depth: usize) -> Self {
        let random = profile
            .points
            .iter()
            .filter(|p| p.pattern == Pattern::Random);
        let costs = random.map(|p| (p.chunk as usize, profile.cost(p.chunk, depth).as_secs_f64()));
        Self::measured(costs).unwrap_or_default()
    }

    /// Time of a read: linear between the points, constant below the first, at the last two
    /// points' rate beyond the last.
    pub fn seconds(&self, bytes: usize) -> f64 {
        let bytes = bytes as f64;
        let at = self.points.partition_point(|&(size, _)| size < bytes);
        match (at, self.points.len()) {
            (0, _) => self.points[0].1,
            (_, 1) => self.points[0].1 * bytes / self.points[0].0,
            (at, len) => {
                let (a, b) = (
                    self.points[at.min(len - 1) - 1],
                    self.points[at.min(len - 1)],
                );
                a.1 + (bytes - a.0) * (b.1 - a.1) / (b.0 - a.0)
            }
        }
    }
}

/// Where the wanted bytes of neurons lie in a file.
pub trait Places {
    /// First byte of the wanted part of the neuron at `position`; ascends with the position.
    fn start(&self, position: u32) -> u64;
    /// Bytes of the wanted part of each neuron.
    fn bytes(&self) -> usize;
}

/// A read for the wanted neurons `wanted[first..=last]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Index of the first wanted neuron.
    pub first: usize,
    /// Index of the last wanted neuron.
    pub last: usize,
    /// First byte in the file, a multiple of the alignment.
    pub offset: u64,
    /// Bytes, a multiple of the alignment.
    pub len: usize,
}

/// Plans reads; keeps its working memory.
#[derive(Clone, Debug)]
pub struct Planner {
    align: u64,
    largest: usize,
    /// Time of a read of `i` alignment units.
    cost: Vec<f64>,
    /// For each number of wanted neurons: least time, and where its last read begins.
    best: Vec<(f64, u32)>,
}

impl Planner {
    /// For reads of whole multiples of `align` bytes, of at most `largest` bytes, where `largest`
    /// holds at least one neuron at any place.
    pub fn new(cost: &ReadCost, align: usize, largest: usize) -> Self {
        let align = align.max(1);
        // Without alignment, a table of kilobytes is fine enough.
        let unit = align.max(256);
        let units = largest.div_ceil(unit);
        Self {
            align: align as u64,
            largest,
            cost: (0..=units).map(|i| cost.seconds(i * unit)).collect(),
            best: Vec::new(),
        }
    }

    fn time(&self, len: usize) -> f64 {
        let unit = (self.align as usize).max(256);
        self.cost[len.div_ceil(unit).min(self.cost.len() - 1)]
    }

    fn read(&self, places: &impl Places, wanted: &[u32], first: usize, last: usize) -> Read {
        let offset = places.start(wanted[first]) / self.align * self.align;
        let end = places.start(wanted[last]) + places.bytes() as u64;
        let end = end.next_multiple_of(self.align);
        Read {
            first,
            last,
            offset,
            len: (end - offset) as usize,
        }
    }

    /// Replaces `reads` by the cheapest reads for the `wanted` positions (ascending).
    pub fn plan(&mut self, places: &impl Places, wanted: &[u32], reads: &mut Vec<Read>) {
        self.best.clear();
        self.best.push((0.0, 0));
        for last in 0..wanted.len() {
            let mut best = (f64::INFINITY, last as u32);
            for first in (0..=last).rev() {
                let read = self.read(places, wanted, first, last);
                if read.len > self.largest && first < last {
                    break;
                }
                let time = self.time(read.len);
                let total = self.best[first].0 + time;
                if total < best.0 {
                    best = (total, first as u32);
                }
                // Even if all before were free, no earlier beginning can win.
                if time >= best.0 {
                    break;
                }
            }
            self.best.push(best);
        }
        reads.clear();
        let mut end = wanted.len();
        while end > 0 {
            let first = self.best[end].1 as usize;
            reads.push(self.read(places, wanted, first, end - 1));
            end = first;
        }
        reads.reverse();
    }

    /// Replaces `reads` by one read for each of the `wanted` positions.
    pub fn separate(&self, places: &impl Places, wanted: &[u32], reads: &mut Vec<Read>) {
        reads.clear();
        reads.extend((0..wanted.len()).map(|i| self.read(places, wanted, i, i)));
    }

    /// Time of some reads.
    pub fn seconds(&self, reads: &[Read]) -> f64 {
        reads.iter().map(|r| self.time(r.len)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Even(usize);

    impl Places for Even {
        fn start(&self, position: u32) -> u64 {
            16384 + u64::from(position) * self.0 as u64
        }
        fn bytes(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn costs_are_interpolated_and_continued() {
        let cost = ReadCost::measured([(16384, 3e-5), (4096, 2e-5), (65536, 2.5e-5)]).unwrap();
        assert_eq!(cost.seconds(1), 2e-5);
        assert!((cost.seconds(10240) - 2.5e-5).abs() < 1e-12);
        // The last point was raised: larger reads are not cheaper.
        assert_eq!(cost.seconds(65536), 3e-5);
        let line = ReadCost::affine(1e-5, 1e9);
        assert!((line.seconds(1_000_000) - 1.01e-3).abs() < 1e-9);
        let probed = ReadCost::probed(&Profile::assumed("disk", "file"), 8);
        assert!(probed.seconds(4096) < probed.seconds(1 << 20) / 10.0);
        let one = ReadCost::measured([(4096, 1e-5)]).unwrap();
        assert!((one.seconds(8192) - 2e-5).abs() < 1e-12);
        assert_eq!(ReadCost::measured([(0, 1.0), (4096, 0.0)]), None);
    }

    #[test]
    fn holes_are_read_where_that_is_cheaper() {
        let plan = |latency: f64, wanted: &[u32]| {
            let cost = ReadCost::affine(latency, 1e9);
            let mut planner = Planner::new(&cost, 4096, 1 << 17);
            let mut reads = Vec::new();
            planner.plan(&Even(4096), wanted, &mut reads);
            reads.iter().map(|r| (r.first, r.last)).collect::<Vec<_>>()
        };
        // 20 µs are worth five pages.
        assert_eq!(plan(2.1e-5, &[0, 5, 12]), [(0, 1), (2, 2)]);
        assert_eq!(plan(1e-6, &[0, 5, 12]), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(plan(1e-6, &[3, 4, 5]), [(0, 2)]);
        assert_eq!(
            plan(1.0, &[0, 31, 32]),
            [(0, 0), (1, 2)],
            "never above the largest read"
        );
        assert!(plan(1.0, &[]).is_empty());
    }

    #[test]
    fn neurons_of_one_page_share_a_read() {
        let mut planner = Planner::new(&ReadCost::affine(1e-9, 1e9), 4096, 1 << 16);
        let mut reads = Vec::new();
        planner.plan(&Even(1024), &[0, 3, 4], &mut reads);
        let found: Vec<_> = reads
            .iter()
            .map(|r| (r.first, r.last, r.offset, r.len))
            .collect();
        assert_eq!(found, [(0, 2, 16384, 8192)]);
    }

    /// The least time over all divisions.
    fn least(planner: &Planner, places: &Even, wanted: &[u32]) -> f64 {
        if wanted.is_empty() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for last in 0..wanted.len() {
            let read = planner.read(places, wanted, 0, last);
            if last == 0 || read.len <= planner.largest {
                let rest = least(planner, places, &wanted[last + 1..]);
                best = best.min(planner.time(read.len) + rest);
            }
        }
        best
    }

    proptest! {
        #[test]
        fn plans_are_the_cheapest_and_cover_what_is_wanted(
            wanted in prop::collection::btree_set(0u32..60, 0..9),
            bytes in 500usize..9000,
            times in prop::collection::vec(1e-6f64..1e-3, 4),
        ) {
            let sizes = [4096usize, 16384, 65536, 1 << 18];
            let cost = ReadCost::measured(sizes.into_iter().zip(times)).unwrap();
            let mut planner = Planner::new(&cost, 512, 1 << 17);
            let wanted: Vec<u32> = wanted.into_iter().collect();
            let places = Even(bytes);
            let mut reads = Vec::new();
            planner.plan(&places, &wanted, &mut reads);
            let mut next = 0;
            for read in &reads {
                prop_assert_eq!(read.first, next);
                next = read.last + 1;
                prop_assert!(read.offset.is_multiple_of(512) && read.len.is_multiple_of(512));
                prop_assert!(read.offset <= places.start(wanted[read.first]));
                let end = places.start(wanted[read.last]) + bytes as u64;
                prop_assert!(read.offset + read.len as u64 >= end);
                prop_assert!(read.first == read.last || read.len <= 1 << 17);
            }
            prop_assert_eq!(next, wanted.len());
            let best = least(&planner, &places, &wanted);
            prop_assert!((planner.seconds(&reads) - best).abs() <= 1e-12 + best * 1e-9);
            planner.separate(&places, &wanted, &mut reads);
            prop_assert_eq!(reads.len(), wanted.len());
        }
    }
}
