//! Which neurons stay in memory: windowing ("LLM in a flash", section 3.1, "The sliding window
//! technique") and, beyond it, frequency.
//!
//! A neuron that was wanted in the last `window` tokens is worth more than any that was not.
//! Among equals, the one that is wanted more often stays. Nothing leaves before its row is
//! needed: memory that the window does not fill holds what was used longest ago or most often.

use super::slots::Slots;

/// What is known of the use of a layer's neurons, by position.
#[derive(Clone, Debug)]
pub struct Usage {
    window: u32,
    /// The current token, from 1.
    now: u32,
    /// The token that wanted each neuron last; 0: never.
    last: Vec<u32>,
    /// Share of tokens that want each neuron, in 1/65536, fading over the past.
    frequency: Vec<u16>,
    /// Candidates to leave, least valuable last.
    leaving: Vec<(u64, u32)>,
}

/// Tokens over which frequencies fade, as a power of two.
const FADE: u32 = 5;

impl Usage {
    /// `frequency` is each position's share of tokens, where it is known beforehand; a `window`
    /// of 0 forgets everything at once.
    pub fn new(neurons: usize, window: usize, frequency: Option<&[f32]>) -> Self {
        let known = |i: usize| frequency.and_then(|f| f.get(i)).copied().unwrap_or(0.0);
        let known = |i| (known(i).clamp(0.0, 1.0) * f32::from(u16::MAX)) as u16;
        Self {
            window: u32::try_from(window)
                .unwrap_or(u32::MAX / 2)
                .min(u32::MAX / 2),
            now: 0,
            last: vec![0; neurons],
            frequency: (0..neurons).map(known).collect(),
            leaving: Vec::with_capacity(neurons),
        }
    }

    /// Bytes that it takes for a number of neurons.
    pub fn bytes(neurons: usize) -> usize {
        neurons * (4 + 2 + 16)
    }

    /// Notes that a token wants the neurons at these positions.
    pub fn want(&mut self, positions: &[u32]) {
        if self.now == u32::MAX {
            self.restart();
        }
        self.now += 1;
        for f in &mut self.frequency {
            *f -= *f >> FADE;
        }
        for &p in positions {
            self.last[p as usize] = self.now;
            let f = &mut self.frequency[p as usize];
            *f = f.saturating_add(u16::MAX >> FADE);
        }
    }

    /// Tokens are numbered anew long before their numbers end; only recency is lost.
    fn restart(&mut self) {
        self.now = 1;
        self.last.fill(0);
    }

    /// Larger is worth more.
    fn value(&self, position: u32) -> u64 {
        let last = self.last[position as usize];
        let inside = last != 0 && self.now - last < self.window;
        let frequency = u64::from(self.frequency[position as usize]);
        u64::from(inside) << 63 | frequency << 32 | u64::from(last)
    }

    /// Chooses room for `new` neurons (wanted by the current token, not in memory): calls
    /// `place(position, row)` for each that gets a row, most valuable first where there is not
    /// room for all. What the current token wants never leaves.
    pub fn admit(&mut self, slots: &mut Slots, new: &[u32], mut place: impl FnMut(u32, &mut [u8])) {
        if self.window == 0 {
            return;
        }
        let free = slots.capacity() - slots.used();
        let (first, rest) = new.split_at(free.min(new.len()));
        for &p in first {
            if let Some(row) = slots.append(p) {
                place(p, row);
            }
        }
        if rest.is_empty() {
            return;
        }
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.clear();
        let old = slots
            .movable()
            .iter()
            .filter(|&&p| self.last[p as usize] != self.now);
        leaving.extend(old.map(|&p| (self.value(p), p)));
        // Only as many as come can leave: the least valuable, in order.
        if rest.len() < leaving.len() {
            leaving.select_nth_unstable(rest.len());
            leaving.truncate(rest.len());
        }
        leaving.sort_unstable();
        let mut leaving_next = leaving.iter();
        let mut next = leaving_next.next();
        for &p in rest {
            let Some(&(value, old)) = next else { break };
            if self.value(p) <= value {
                continue;
            }
            if let Some(row) = slots.replace(old, p) {
                place(p, row);
            }
            next = leaving_next.next();
        }
        self.leaving = leaving;
    }
}

/// Divides `rows` rows over layers in proportion to their `demand`, none getting more than it has
/// neurons. The sum is `rows`, or all neurons.
pub fn divide(rows: usize, demand: &[f64], neurons: &[usize]) -> Vec<usize> {
    let mut shares = vec![0usize; neurons.len()];
    let mut left = rows.min(neurons.iter().sum());
    while left > 0 {
        let open = |i: &usize| shares[*i] < neurons[*i];
        let open: Vec<usize> = (0..neurons.len()).filter(open).collect();
        let weight = |i: usize| demand.get(i).copied().unwrap_or(1.0).max(1e-9);
        let total: f64 = open.iter().map(|&i| weight(i)).sum();
        let round = left;
        for &i in &open {
            let part = (round as f64 * weight(i) / total).floor() as usize;
            let part = part.min(neurons[i] - shares[i]).min(left);
            shares[i] += part;
            left -= part;
        }
        if left == round {
            // Less than one row each.
            for &i in open.iter().take(left) {
                shares[i] += 1;
                left -= 1;
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admit(usage: &mut Usage, slots: &mut Slots, wanted: &[u32]) -> Vec<u32> {
        usage.want(wanted);
        let new: Vec<u32> = wanted
            .iter()
            .copied()
            .filter(|&p| !slots.contains(p))
            .collect();
        let mut placed = Vec::new();
        usage.admit(slots, &new, |p, _| placed.push(p));
        placed
    }

    #[test]
    fn what_the_window_holds_stays() {
        let mut slots = Slots::new(10, 4, 4, 0);
        let mut usage = Usage::new(10, 3, None);
        assert_eq!(admit(&mut usage, &mut slots, &[0, 1]), [0, 1]);
        assert_eq!(admit(&mut usage, &mut slots, &[1, 2]), [2]);
        assert_eq!(admit(&mut usage, &mut slots, &[3]), [3]);
        // 0 was wanted three tokens ago: it has left the window, the others have not.
        assert_eq!(admit(&mut usage, &mut slots, &[4]), [4]);
        assert!(!slots.contains(0) && slots.contains(1) && slots.contains(2));
    }

    #[test]
    fn frequent_neurons_outlive_rare_ones_of_the_same_age() {
        let mut slots = Slots::new(10, 4, 3, 0);
        let mut usage = Usage::new(10, 1, None);
        for _ in 0..5 {
            admit(&mut usage, &mut slots, &[7]);
        }
        admit(&mut usage, &mut slots, &[1, 7]);
        admit(&mut usage, &mut slots, &[2]);
        admit(&mut usage, &mut slots, &[3]);
        assert!(slots.contains(7) && !slots.contains(1));
    }

    #[test]
    fn no_window_keeps_nothing_and_pins_stay() {
        let mut slots = Slots::new(10, 4, 5, 2);
        let mut usage = Usage::new(10, 0, None);
        assert!(admit(&mut usage, &mut slots, &[0, 5, 6]).is_empty());
        assert!(slots.contains(0) && slots.contains(1) && !slots.contains(5));
    }

    #[test]
    fn known_frequencies_decide_from_the_start() {
        let mut slots = Slots::new(4, 4, 2, 0);
        let mut usage = Usage::new(4, 1, Some(&[0.1, 0.9, 0.0, 0.0]));
        admit(&mut usage, &mut slots, &[0, 1]);
        admit(&mut usage, &mut slots, &[2]);
        assert!(slots.contains(1) && slots.contains(2));
    }

    proptest! {
        #[test]
        fn nothing_that_is_wanted_leaves_and_rows_hold_their_neurons(
            tokens in prop::collection::vec(prop::collection::btree_set(0u32..30, 0..12), 1..40),
            capacity in 0usize..20,
            window in 0usize..5,
        ) {
            let mut slots = Slots::new(30, 4, capacity, 0);
            let mut usage = Usage::new(30, window, None);
            for wanted in tokens {
                let wanted: Vec<u32> = wanted.into_iter().collect();
                let before: Vec<u32> =
                    wanted.iter().copied().filter(|&p| slots.contains(p)).collect();
                usage.want(&wanted);
                let new: Vec<u32> =
                    wanted.iter().copied().filter(|&p| !slots.contains(p)).collect();
                usage.admit(&mut slots, &new, |p, row| row.copy_from_slice(&p.to_le_bytes()));
                prop_assert!(before.iter().all(|&p| slots.contains(p)));
                for &p in slots.movable() {
                    prop_assert_eq!(slots.row(p).unwrap(), &p.to_le_bytes());
                }
                if window > 0 && wanted.len() <= capacity {
                    prop_assert!(wanted.iter().all(|&p| slots.contains(p)) || window > 1);
                }
            }
        }

        #[test]
        fn division_uses_all_rows_and_keeps_limits(
            rows in 0usize..300,
            layers in prop::collection::vec((0.0f64..10.0, 0usize..50), 1..8),
        ) {
            let (demand, neurons): (Vec<f64>, Vec<usize>) = layers.into_iter().unzip();
            let shares = divide(rows, &demand, &neurons);
            prop_assert_eq!(shares.iter().sum::<usize>(), rows.min(neurons.iter().sum()));
            prop_assert!(shares.iter().zip(&neurons).all(|(s, n)| s <= n));
        }
    }
}
