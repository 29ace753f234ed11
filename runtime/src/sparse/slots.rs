//! Neurons in memory: the preallocated matrix of "LLM in a flash", section 3.3.
//!
//! A layer's slots are rows of one matrix that is allocated once. The first rows hold the pinned
//! neurons, which never leave; the others hold what was used lately, in no order, without holes:
//! a neuron that leaves is overwritten by one that comes, or by the last row (swap with last).
//! `pointer` says which neuron a row holds, `slot` where a neuron is. Nothing is allocated after
//! the start, and nothing moves but the bytes of neurons that come or fill a hole.

/// Not in memory.
const NONE: u32 = u32::MAX;
/// Distances of rows are multiples of this: a cache line.
pub const ROW_ALIGN: usize = 64;

/// The neurons of one layer that are in memory.
#[derive(Debug)]
pub struct Slots {
    /// Bytes of a row that are used, and distance of rows.
    bytes: usize,
    stride: usize,
    pinned: usize,
    /// Rows of the matrix.
    capacity: usize,
    /// Rows in use, the pinned ones included: `num_used` of the paper.
    used: usize,
    data: Vec<u8>,
    /// Row to position.
    pointer: Vec<u32>,
    /// Position to row, or `NONE`.
    slot: Vec<u32>,
}

impl Slots {
    /// Memory for `capacity` neurons of `bytes` bytes, of a layer of `neurons`; the first `pinned`
    /// positions stay in the first rows (their bytes are to be written with
    /// [`row_mut`](Self::row_mut)).
    ///
    /// # Panics
    /// If more are pinned than there is room or than there are.
    pub fn new(neurons: usize, bytes: usize, capacity: usize, pinned: usize) -> Self {
        assert!(pinned <= capacity.min(neurons), "pinned neurons need rows");
        let capacity = capacity.min(neurons);
        let stride = Self::stride(bytes);
        let mut slot = vec![NONE; neurons];
        let mut pointer = vec![NONE; capacity];
        for (i, (slot, pointer)) in slot.iter_mut().zip(&mut pointer).take(pinned).enumerate() {
            (*slot, *pointer) = (i as u32, i as u32);
        }
        Self {
            bytes,
            stride,
            pinned,
            capacity,
            used: pinned,
            data: touched(capacity * stride),
            pointer,
            slot,
        }
    }

    /// Distance of rows for neurons of `bytes` bytes.
    pub fn stride(bytes: usize) -> usize {
        bytes.next_multiple_of(ROW_ALIGN)
    }

    /// Rows.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Neurons in memory.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Neurons that never leave: positions `0..pinned`.
    pub fn pinned(&self) -> usize {
        self.pinned
    }

    /// Positions of the neurons that may leave, in the order of their rows.
    pub fn movable(&self) -> &[u32] {
        &self.pointer[self.pinned..self.used]
    }

    /// Whether the neuron at `position` is in memory.
    pub fn contains(&self, position: u32) -> bool {
        self.slot[position as usize] != NONE
    }

    /// The bytes of the neuron at `position`, if it is in memory.
    pub fn row(&self, position: u32) -> Option<&[u8]> {
        match self.slot[position as usize] {
            NONE => None,
            slot => Some(&self.data[slot as usize * self.stride..][..self.bytes]),
        }
    }

    /// The same, to be written.
    pub fn row_mut(&mut self, position: u32) -> Option<&mut [u8]> {
        match self.slot[position as usize] {
            NONE => None,
            slot => Some(&mut self.data[slot as usize * self.stride..][..self.bytes]),
        }
    }

    /// Appends a neuron; returns its row to be written, or `None` if the matrix is full or holds
    /// the neuron already.
    pub fn append(&mut self, position: u32) -> Option<&mut [u8]> {
        if self.used == self.capacity || self.contains(position) {
            return None;
        }
        let slot = self.used;
        self.used += 1;
        self.set(slot, position);
        self.row_mut(position)
    }

    /// Puts a neuron into the row of another, which leaves; returns the row to be written, or
    /// `None` if `old` may not leave or is not there, or `new` is there already.
    pub fn replace(&mut self, old: u32, new: u32) -> Option<&mut [u8]> {
        let slot = self.movable_slot(old)?;
        if self.contains(new) {
            return None;
        }
        self.slot[old as usize] = NONE;
        self.set(slot, new);
        self.row_mut(new)
    }

    /// Removes a neuron; the last row fills the hole. Returns whether it was there and might
    /// leave.
    pub fn remove(&mut self, position: u32) -> bool {
        let Some(slot) = self.movable_slot(position) else {
            return false;
        };
        self.slot[position as usize] = NONE;
        let last = self.used - 1;
        if slot != last {
            let from = last * self.stride;
            self.data
                .copy_within(from..from + self.bytes, slot * self.stride);
            self.set(slot, self.pointer[last]);
        }
        self.pointer[last] = NONE;
        self.used = last;
        true
    }

    fn set(&mut self, slot: usize, position: u32) {
        self.pointer[slot] = position;
        self.slot[position as usize] = slot as u32;
    }

    fn movable_slot(&self, position: u32) -> Option<usize> {
        match self.slot[position as usize] {
            NONE => None,
            slot => (slot as usize >= self.pinned).then_some(slot as usize),
        }
    }
}

/// Zeros whose pages are there: the system gives pages when they are first written, and a budget
/// that does not hold must fail at the start.
pub(super) fn touched(bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    data.fill(1);
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NEURONS: u32 = 12;

    #[derive(Clone, Debug)]
    enum Step {
        Append(u32),
        Replace(u32, u32),
        Remove(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..NEURONS).prop_map(Step::Append),
            (0..NEURONS, 0..NEURONS).prop_map(|(a, b)| Step::Replace(a, b)),
            (0..NEURONS).prop_map(Step::Remove),
        ]
    }

    /// Different bytes each time that a neuron comes.
    fn content(position: u32, time: usize) -> [u8; 5] {
        [
            position as u8,
            time as u8,
            7,
            (time >> 8) as u8,
            !position as u8,
        ]
    }

    proptest! {
        #[test]
        fn slots_behave_like_a_map(
            pinned in 0usize..4,
            room in 0usize..9,
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let capacity = pinned + room;
            let mut slots = Slots::new(NEURONS as usize, 5, capacity, pinned);
            let mut model = BTreeMap::new();
            for p in 0..pinned as u32 {
                slots.row_mut(p).unwrap().copy_from_slice(&content(p, 999));
                model.insert(p, content(p, 999));
            }
            for (time, step) in steps.into_iter().enumerate() {
                let may_leave = |p: u32, model: &BTreeMap<u32, [u8; 5]>| {
                    p >= pinned as u32 && model.contains_key(&p)
                };
                match step {
                    Step::Append(p) => {
                        let fits = model.len() < capacity && !model.contains_key(&p);
                        let row = slots.append(p);
                        prop_assert_eq!(row.is_some(), fits);
                        if let Some(row) = row {
                            row.copy_from_slice(&content(p, time));
                            model.insert(p, content(p, time));
                        }
                    }
                    Step::Replace(old, new) => {
                        let fits = may_leave(old, &model) && !model.contains_key(&new);
                        let row = slots.replace(old, new);
                        prop_assert_eq!(row.is_some(), fits);
                        if let Some(row) = row {
                            row.copy_from_slice(&content(new, time));
                            model.remove(&old);
                            model.insert(new, content(new, time));
                        }
                    }
                    Step::Remove(p) => {
                        let there = may_leave(p, &model);
                        prop_assert_eq!(slots.remove(p), there);
                        if there {
                            model.remove(&p);
                        }
                    }
                }
                prop_assert_eq!(slots.used(), model.len());
                for p in 0..NEURONS {
                    let expected = model.get(&p).map(|c| &c[..]);
                    prop_assert_eq!(slots.row(p), expected);
                }
                let mut movable = slots.movable().to_vec();
                movable.sort_unstable();
                let expected: Vec<u32> = model.keys().copied().filter(|&p| p >= pinned as u32).collect();
                prop_assert_eq!(movable, expected);
            }
        }
    }

    #[test]
    fn rows_are_never_reallocated() {
        let mut slots = Slots::new(100, 70, 10, 2);
        let start = slots.data.as_ptr();
        for round in 0..50u32 {
            for p in 2..100 {
                let old = slots.movable().first().copied();
                let row = match slots.used() == slots.capacity() {
                    false => slots.append(p),
                    true => old.and_then(|old| slots.replace(old, p)),
                };
                assert!(row.is_none_or(|row| row.len() == 70));
            }
            slots.remove(2 + round % 90);
        }
        assert_eq!(slots.data.as_ptr(), start);
    }
}
