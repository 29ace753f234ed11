//! Ports to a board.

use crate::commands::bundle::build_of;
use crate::output::note;
use anyhow::{Context, Result, anyhow, bail};
use lampyris_boards::Board;
use lampyris_boards::hardware::{Link, Uart};
use lampyris_bundle::{Bundle, names};
use lampyris_link::Transport;
use lampyris_sim::Device;
use lampyris_sim::board::{BoardDevice, SimPort};
use std::io::{self, Read, Write};
use std::time::Duration;

/// A simulated board in place of a port.
const SIMULATED: &str = "sim:";

/// Longer than the device waits for its buses at any clock, with room for the USB bridge.
const PATIENCE: Duration = Duration::from_millis(250);

/// How figures from this port are found.
pub(super) fn level(port: &str) -> &'static str {
    if port.starts_with(SIMULATED) {
        "RTL-simulated, the whole board with its memory chip"
    } else {
        "measured on the board"
    }
}

/// Opens the port and the link behind it, and refuses a board that does not belong to the bundle.
pub(super) fn open(port: &str, bundle: &Bundle) -> Result<Box<dyn Device>> {
    let build = build_of(&bundle.manifest, &bundle.directory)?;
    let mut board = Board::open(&bundle.directory.join(names::BOARD).to_string_lossy())?;
    if build.link_protocol != lampyris_isa::link::PROTOCOL_VERSION {
        bail!(
            "the bundle's board speaks version {} of the link's protocol, this program {}\n\nhint: build the bundle again",
            build.link_protocol,
            lampyris_isa::link::PROTOCOL_VERSION
        );
    }
    if let Some(baud) = port.strip_prefix(SIMULATED) {
        if !baud.is_empty() {
            set_baud(&mut board, baud)?;
        }
        note("building the simulated board with Verilator (once for each configuration)");
        let device = BoardDevice::open(SimPort::new(&board, 1)?, bundle.config)?;
        return Ok(Box::new(device));
    }
    let device = BoardDevice::open(Serial::open(port, &board)?, bundle.config)?;
    Ok(Box::new(device))
}

fn set_baud(board: &mut Board, baud: &str) -> Result<()> {
    let most = board.config.clock_khz * 1000 / 8;
    let baud = baud
        .parse()
        .ok()
        .filter(|baud| (9600..=most).contains(baud));
    let baud = baud.with_context(|| format!("a simulated serial line has 9600 to {most} baud"))?;
    if let Some(hardware) = &mut board.hardware {
        hardware.link = Link::Uart(Uart { baud });
    }
    Ok(())
}

/// A serial port of this machine.
struct Serial(Box<dyn serialport::SerialPort>);

impl Serial {
    fn open(port: &str, board: &Board) -> Result<Serial> {
        let hardware = board
            .hardware
            .as_ref()
            .context("the bundle's board has no link")?;
        let Link::Uart(uart) = hardware.link;
        let port = serialport::new(port, uart.baud)
            .timeout(PATIENCE)
            .open()
            .map_err(|error| {
                anyhow!("cannot open the serial port `{port}`: {error}\n\nhint: name the board's port, such as /dev/ttyUSB0, and see that you may use it (group dialout); `sim:` simulates the board")
            })?;
        Ok(Serial(port))
    }
}

impl Transport for Serial {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn receive(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(0),
            other => other,
        }
    }
}
