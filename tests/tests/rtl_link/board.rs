//! A board in simulation: `link_top` with a UART or `link_core` with its streams of bytes, and what
//! the buses lead to. It is a transport for the driver: waiting for bytes is what makes time pass.

use crate::slaves::{Memory, Mute, Registers};
use crate::wire::Wire;
use lampyris_link::{Link, Transport};
use lampyris_tests::bench::Bench;
use std::io;
use verilator_sys::{Input, Output};

const FILES: &[&str] = &[
    "gen/lampyris_link_pkg.sv",
    "prim/prim_ram_1r1w.sv",
    "prim/prim_fifo.sv",
    "soc/link_uart_rx.sv",
    "soc/link_uart_tx.sv",
    "soc/link_deframe.sv",
    "soc/link_slots.sv",
    "soc/link_exec.sv",
    "soc/link_info.sv",
    "soc/link_csr.sv",
    "soc/link_mem_rd.sv",
    "soc/link_mem_wr.sv",
    "soc/link_reply.sv",
    "soc/link_frame.sv",
    "soc/link_core.sv",
    "soc/link_top.sv",
];

/// Parameters of the device.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) axi_bits: u32,
    /// In units of 1/256 clock.
    pub(crate) clocks_per_bit: u32,
    /// The host's bit time as a multiple of the device's.
    pub(crate) skew: f64,
}

/// Small and fast to simulate.
pub(crate) const SMALL: Shape = Shape {
    axi_bits: 128,
    clocks_per_bit: 1088,
    skew: 1.0,
};

/// The host's end of the link.
enum Port {
    /// Pins of `link_top`.
    Uart { rx: Input, tx: Output },
    /// Streams of `link_core`: valid, ready and byte.
    Bytes {
        rx: (Input, Output, Input),
        tx: (Output, Input, Output),
    },
}

impl Port {
    fn uart(bench: &Bench) -> Port {
        Port::Uart {
            rx: bench.input("uart_rx_i", 1),
            tx: bench.output("uart_tx_o", 1),
        }
    }

    fn bytes(bench: &mut Bench) -> Port {
        let lost = bench.input("rx_lost_i", 1);
        bench.model.set(lost, 0);
        Port::Bytes {
            rx: (
                bench.input("rx_valid_i", 1),
                bench.output("rx_ready_o", 1),
                bench.input("rx_data_i", 8),
            ),
            tx: (
                bench.output("tx_valid_o", 1),
                bench.input("tx_ready_i", 1),
                bench.output("tx_data_o", 8),
            ),
        }
    }

    /// Sets the inputs of a clock.
    fn drive(&self, bench: &mut Bench, wire: &mut Wire) {
        match *self {
            Port::Uart { rx, .. } => {
                let level = wire.drive();
                bench.model.set(rx, level);
            }
            Port::Bytes { rx, tx } => {
                let next = wire.offer();
                bench.model.set(rx.0, next.is_some().into());
                bench.model.set(rx.2, next.unwrap_or_default().into());
                if next.is_some() && bench.model.get(rx.1) == 1 {
                    wire.took();
                }
                let takes = wire.takes();
                bench.model.set(tx.1, takes.into());
                if takes && bench.model.get(tx.0) == 1 {
                    wire.arrive(bench.model.get(tx.2) as u8);
                }
            }
        }
    }

    /// Looks at the outputs after it.
    fn observe(&self, bench: &Bench, wire: &mut Wire) {
        if let Port::Uart { tx, .. } = *self {
            wire.observe(bench.model.get(tx));
        }
    }
}

/// Clock cycles after which a bus that does not answer is given up.
pub(crate) const BUS_TIMEOUT: u32 = 2000;

/// log2 of the clock cycles after which an open frame is dropped.
pub(crate) const IDLE_LOG2: u32 = 12;

/// What INFO shows.
pub(crate) const CONFIG_HASH: u32 = 0x8badf00d;

/// Bytes of memory.
pub(crate) const MEMORY: usize = 32 * 1024;

/// A board and the host's port to it.
pub(crate) struct Board {
    pub(crate) bench: Bench,
    pub(crate) wire: Wire,
    pub(crate) registers: Registers,
    pub(crate) memory: Memory,
    /// Clocks of silence after which `receive` gives up.
    pub(crate) patience: u64,
    /// Clocks with a reset of the accelerator.
    pub(crate) reset_clocks: u64,
    port: Port,
    reset: Output,
}

impl Board {
    /// A board with a UART.
    pub(crate) fn new(shape: Shape, seed: u64) -> Board {
        let rate = ("ClocksPerBit", shape.clocks_per_bit);
        Board::build("link_top", &[rate], shape, seed)
    }

    /// A board whose link takes a byte in every clock.
    pub(crate) fn fast(axi_bits: u32, seed: u64) -> Board {
        let shape = Shape { axi_bits, ..SMALL };
        Board::build("link_core", &[], shape, seed)
    }

    fn build(top: &str, more: &[(&str, u32)], shape: Shape, seed: u64) -> Board {
        let mut parameters = vec![
            ("AxiBits", shape.axi_bits),
            ("TimeoutClocks", BUS_TIMEOUT),
            ("IdleLog2", IDLE_LOG2),
            ("ConfigHash", CONFIG_HASH),
        ];
        parameters.extend(more);
        let files = FILES
            .iter()
            .position(|file| file.ends_with(&format!("{top}.sv")));
        let files = &FILES[..=files.expect("a file of this name")];
        let mut bench = Bench::new(top, files, &parameters, seed as u32 + 1);
        let port = match top {
            "link_top" => Port::uart(&bench),
            _ => Port::bytes(&mut bench),
        };
        let clocks_per_bit = f64::from(shape.clocks_per_bit) / 256.0 * shape.skew;
        let ids = ["rid", "bid"].map(|name| bench.input(&format!("m_axi_gmem_{name}"), 1));
        let mut board = Board {
            wire: Wire::new(clocks_per_bit, seed ^ 1),
            registers: Registers::new(&bench, seed ^ 2),
            memory: Memory::new(&bench, shape.axi_bits, MEMORY, seed ^ 3),
            patience: (1500.0 * clocks_per_bit * 10.0) as u64,
            reset_clocks: 0,
            port,
            reset: bench.output("host_reset_o", 1),
            bench,
        };
        for id in ids {
            board.bench.model.set(id, 0);
        }
        board.run(100);
        board
    }

    /// A driver for this board.
    pub(crate) fn open(self) -> Link<Board> {
        Link::open(self).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One clock.
    pub(crate) fn step(&mut self) {
        self.port.drive(&mut self.bench, &mut self.wire);
        if self.bench.model.get(self.reset) == 1 {
            self.reset_clocks += 1;
            self.registers.reset();
            self.memory.reset();
        }
        self.registers.cycle(&mut self.bench);
        self.memory.cycle(&mut self.bench);
        self.bench.step();
        self.port.observe(&self.bench, &mut self.wire);
    }

    /// Some clocks.
    pub(crate) fn run(&mut self, clocks: u64) {
        (0..clocks).for_each(|_| self.step());
    }

    /// Until everything that was queued has been sent, and some clocks more.
    pub(crate) fn drain(&mut self, more: u64) {
        while !self.wire.is_idle() {
            self.step();
        }
        self.run(more);
    }

    /// Makes the buses answer again.
    pub(crate) fn unmute(&mut self) {
        self.memory.mute = Mute::Nothing;
        self.registers.mute = false;
    }
}

impl Transport for Board {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.send(bytes);
        Ok(())
    }

    fn receive(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = self.bench.cycle + self.patience;
        while self.wire.from_device.is_empty() && self.bench.cycle < end {
            self.step();
        }
        let count = self.wire.from_device.len().min(out.len());
        for (to, byte) in out.iter_mut().zip(self.wire.from_device.drain(..count)) {
            *to = byte;
        }
        Ok(count)
    }
}
