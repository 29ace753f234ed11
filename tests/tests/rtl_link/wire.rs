//! The host's end of a UART, clock by clock, and what a bad line does to bytes.

use lampyris_tests::bench::Random;
use std::collections::VecDeque;

/// Chances, in 10 000 bytes, of each fault of a line.
#[derive(Clone, Copy, Default)]
pub(crate) struct Noise {
    pub(crate) flip: u64,
    pub(crate) drop: u64,
    pub(crate) insert: u64,
    pub(crate) repeat: u64,
}

impl Noise {
    /// The same chance for every fault.
    pub(crate) fn all(chance: u64) -> Noise {
        Noise {
            flip: chance,
            drop: chance,
            insert: chance,
            repeat: chance,
        }
    }

    /// What comes out of the line for one byte.
    fn pass(self, byte: u8, random: &mut Random, out: &mut VecDeque<u8>) {
        let mut hit = |chance: u64| random.below(10_000) < chance;
        let (flip, drop) = (hit(self.flip), hit(self.drop));
        let (insert, repeat) = (hit(self.insert), hit(self.repeat));
        if insert {
            out.push_back(random.bits() as u8);
        }
        let mask = if flip { 1 << random.below(8) } else { 0 };
        for _ in 0..usize::from(!drop) + usize::from(repeat) {
            out.push_back(byte ^ mask);
        }
    }
}

/// The host's transmitter and receiver, with a line of its own in each direction.
pub(crate) struct Wire {
    clocks_per_bit: f64,
    random: Random,
    pub(crate) noise: Noise,
    /// Bytes of the device that are still to be lost.
    pub(crate) deaf: usize,
    to_device: VecDeque<u8>,
    /// Bytes that arrived at the host.
    pub(crate) from_device: VecDeque<u8>,
    /// Clocks for which the line to the device is held low.
    pub(crate) low: u32,
    /// Bytes on the line to the device, and from it.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    sending: Option<(u16, f64)>,
    receiving: Option<(u32, u16, f64)>,
    offered: bool,
}

impl Wire {
    pub(crate) fn new(clocks_per_bit: f64, seed: u64) -> Wire {
        Wire {
            clocks_per_bit,
            random: Random::new(seed),
            noise: Noise::default(),
            deaf: 0,
            to_device: VecDeque::new(),
            from_device: VecDeque::new(),
            low: 0,
            sent: 0,
            received: 0,
            sending: None,
            receiving: None,
            offered: false,
        }
    }

    /// Queues bytes for the device.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.noise.pass(byte, &mut self.random, &mut self.to_device);
        }
    }

    /// Whether the last queued byte has left.
    pub(crate) fn is_idle(&self) -> bool {
        self.to_device.is_empty() && self.sending.is_none() && self.low == 0
    }

    /// The level of the line to the device in the next clock.
    pub(crate) fn drive(&mut self) -> u64 {
        if self.low > 0 {
            self.low -= 1;
            return 0;
        }
        if self.sending.is_none()
            && let Some(byte) = self.to_device.pop_front()
        {
            // Stop bit, data, start bit.
            self.sent += 1;
            self.sending = Some((1 << 9 | u16::from(byte) << 1, 0.0));
        }
        let Some((bits, time)) = &mut self.sending else {
            return 1;
        };
        let level = u64::from(*bits >> (*time / self.clocks_per_bit) as u32 & 1);
        *time += 1.0;
        if *time >= 10.0 * self.clocks_per_bit {
            self.sending = None;
        }
        level
    }

    /// Looks at the line from the device in a clock.
    pub(crate) fn observe(&mut self, level: u64) {
        let Some((index, bits, left)) = &mut self.receiving else {
            if level == 0 {
                // To the middle of the first data bit.
                self.receiving = Some((0, 0, 1.5 * self.clocks_per_bit - 1.0));
            }
            return;
        };
        *left -= 1.0;
        if *left > 0.0 {
            return;
        }
        *left += self.clocks_per_bit;
        if *index < 8 {
            *bits |= (level as u16) << *index;
            *index += 1;
            return;
        }
        assert_eq!(level, 1, "a byte of the device has no stop bit");
        let byte = *bits as u8;
        self.receiving = None;
        self.arrive(byte);
    }

    /// The next byte for the device, without a UART; a pause now and then.
    pub(crate) fn offer(&mut self) -> Option<u8> {
        self.offered |= self.random.chance(90);
        self.to_device.front().copied().filter(|_| self.offered)
    }

    /// The device took what was offered.
    pub(crate) fn took(&mut self) {
        self.sent += 1;
        self.offered = false;
        self.to_device.pop_front();
    }

    /// Whether the host takes a byte in this clock, without a UART.
    pub(crate) fn takes(&mut self) -> bool {
        self.random.chance(60)
    }

    /// A byte of the device is at the host's end of the line.
    pub(crate) fn arrive(&mut self, byte: u8) {
        self.received += 1;
        if self.deaf > 0 {
            self.deaf -= 1;
        } else {
            self.noise
                .pass(byte, &mut self.random, &mut self.from_device);
        }
    }
}
