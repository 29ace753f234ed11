//! Two masters, the controller and its chip in one bench.

use crate::master::Master;
use lampyris_boards::sdr::SdrChip;
use lampyris_tests::bench::{Bench, Random};
use verilator_sys::Output;

const FILES: [&str; 17] = [
    "soc/sdr_pkg.sv",
    "prim/prim_fifo.sv",
    "prim/prim_ram_1r1w.sv",
    "mem/ram_fifo.sv",
    "soc/sdr_bank.sv",
    "soc/sdr_front.sv",
    "soc/sdr_rdata.sv",
    "soc/sdr_wdata.sv",
    "soc/sdr_maint.sv",
    "soc/sdr_sched.sv",
    "soc/sdr_dq.sv",
    "soc/sdr_ctrl.sv",
    "soc/axi_mux2_addr.sv",
    "soc/axi_mux2.sv",
    "../sim/chips/sdr_rules.sv",
    "../sim/chips/sdr_sdram.sv",
    "../sim/chips/sdr_system.sv",
];

/// Refreshes of the window that the chip checks. The real one has 8192; the bound is the same.
const WINDOW_REFRESHES: u32 = 16;

/// A clock with a width of the port and a chip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) clock_khz: u32,
    pub(crate) axi_bits: u32,
    pub(crate) read_delay: u32,
    pub(crate) chip: SdrChip,
}

/// Chips of fewer rows, because the simulation keeps all of them.
const fn short(chip: SdrChip, dq_bits: u32, col_bits: u32) -> SdrChip {
    SdrChip {
        dq_bits,
        row_bits: 11,
        col_bits,
        // As many refreshes a millisecond as with all rows.
        refresh_ms: 16.0,
        ..chip
    }
}

/// Both widths of the data pins, both CAS latencies, beats of 4, 8 and 32 words.
pub(crate) const SETTINGS: [Setting; 3] = [
    Setting {
        clock_khz: 50_000,
        axi_bits: 128,
        read_delay: 0,
        chip: short(SdrChip::IS42S16160_7, 16, 9),
    },
    Setting {
        clock_khz: 100_000,
        axi_bits: 128,
        read_delay: 0,
        chip: short(SdrChip::MT48LC16M16A2_75, 32, 8),
    },
    Setting {
        clock_khz: 133_000,
        axi_bits: 512,
        read_delay: 1,
        chip: short(SdrChip::MT48LC16M16A2_75, 16, 9),
    },
];

/// The slowest clock at which every row is refreshed in time: refreshes lie as close as they can.
pub(crate) const CLOSE: Setting = Setting {
    clock_khz: 25_000,
    ..SETTINGS[0]
};

/// No real chip: times so long that each of them delays a command, which short ones hide behind a
/// burst.
pub(crate) const SLOW: Setting = Setting {
    clock_khz: 100_000,
    axi_bits: 256,
    read_delay: 2,
    chip: SdrChip {
        trcd_ns: 50.0,
        trp_ns: 70.0,
        tras_ns: 200.0,
        trc_ns: 310.0,
        trrd_ns: 160.0,
        trfc_ns: 200.0,
        twr_ns: 60.0,
        tmrd_clocks: 4,
        ..short(SdrChip::IS42S16160_7, 32, 8)
    },
};

/// What the memory must hold; nothing is known of bytes that were never written.
pub(crate) struct Reference(Vec<Option<u8>>);

impl Reference {
    /// A byte is written.
    pub(crate) fn set(&mut self, address: u64, value: u8) {
        self.0[address as usize] = Some(value);
    }

    /// Compares words that were read.
    pub(crate) fn check(&self, address: u64, words: &[u32]) {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        for (at, byte) in (address..).zip(bytes) {
            let wanted = self.0[at as usize];
            assert!(
                wanted.is_none_or(|w| w == byte),
                "{at:#x} is {byte:#x}, not {wanted:x?}"
            );
        }
    }
}

/// The bench.
pub(crate) struct System {
    pub(crate) bench: Bench,
    pub(crate) masters: [Master; 2],
    pub(crate) reference: Reference,
    pub(crate) random: Random,
    /// Cycles between refreshes.
    pub(crate) interval: u64,
    /// Refreshes that were seen since the start.
    pub(crate) refreshes: u64,
    violations: Output,
    refresh: Output,
}

impl System {
    /// Builds and resets a system; the chip still pauses after power-up.
    pub(crate) fn new(setting: &Setting, seed: u64) -> System {
        let Setting {
            clock_khz, chip, ..
        } = setting;
        let mut params = chip
            .parameters(*clock_khz, setting.read_delay)
            .expect("a legal chip");
        let get = |name| {
            params
                .iter()
                .find(|(key, _)| *key == name)
                .expect("it exists")
                .1
        };
        let interval = get("RefreshInterval");
        let row_open = (chip.tras_max_us * f64::from(*clock_khz) / 1000.0) as u32;
        params.extend([
            ("AxiBits", setting.axi_bits),
            ("TRasMax", row_open),
            // The bound by which the interval was chosen.
            ("RefreshWindow", (WINDOW_REFRESHES + 9) * interval),
            ("RefreshCount", WINDOW_REFRESHES),
        ]);
        let mut random = Random::new(seed);
        let bench = Bench::new("sdr_system", &FILES, &params, random.bits() as u32);
        System {
            masters: ["s0_", "s1_"].map(|name| Master::new(&bench, name, setting.axi_bits)),
            reference: Reference(vec![None; chip.bytes() as usize]),
            random,
            interval: interval.into(),
            refreshes: 0,
            violations: bench.output("violations_o", 19),
            refresh: bench.output("refresh_o", 1),
            bench,
        }
    }

    /// One cycle with a chance of stalls in percent for each master.
    pub(crate) fn cycle(&mut self, stall: [u64; 2]) {
        for (master, stall) in self.masters.iter_mut().zip(stall) {
            master.drive(&mut self.bench, &mut self.random, stall);
        }
        self.bench.settle();
        for master in &mut self.masters {
            master.observe(&self.bench, &self.reference);
        }
        self.refreshes += self.bench.model.get(self.refresh);
        self.bench.step();
    }

    /// Runs until both masters are done.
    pub(crate) fn finish(&mut self, stall: [u64; 2]) {
        let limit = self.bench.cycle + 200_000;
        while self.masters.iter().any(|master| master.pending() != [0, 0]) {
            self.cycle(stall);
            assert!(self.bench.cycle < limit, "the transactions do not end");
        }
    }

    /// Fails if the chip saw a broken rule.
    pub(crate) fn check_rules(&self) {
        let broken = self.bench.model.get(self.violations);
        let rules: Vec<_> = (0..19).filter(|rule| broken >> rule & 1 == 1).collect();
        assert!(
            rules.is_empty(),
            "rules {rules:?} of sdr_rules.sv were broken"
        );
    }
}
