//! The link as its users see it.

use crate::Transport;
use crate::error::{Error, Operation, Result};
use crate::exchange::exchange;
use crate::frame::{Receiver, Request};
use lampyris_isa::link::{
    ADDRESS_BITS, CSR_ADDRESS_BITS, Command, INFO_MAGIC, INFO_WORDS, MAX_WORDS, PROTOCOL_VERSION,
    STATUS_WORDS, WINDOW,
};
use std::ops::Range;

/// How often a request is sent before the link gives up.
const TRIES: u32 = 10;

/// Bytes of the largest transfer. Chunks end at multiples of it, so none crosses 4 KiB.
const CHUNK: usize = 4 * MAX_WORDS;

/// What a device says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// Hash of its configuration, to compare with that of a program.
    pub config_hash: u32,
    /// Clock of link and accelerator, kHz.
    pub clock_khz: u32,
    /// Data bits of the memory port.
    pub axi_bits: u32,
    /// Clock cycles after which a bus that does not answer is given up.
    pub timeout_clocks: u32,
    /// Requests for which the device has room.
    pub window: u32,
}

/// What this side has counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Frames sent, repeats among them.
    pub sent: u64,
    /// Repeats.
    pub repeated: u64,
    /// Requests with a response.
    pub answered: u64,
    /// Frames that arrived damaged: wrong CRC, coding or length.
    pub bad_frames: u64,
}

/// What the device has counted since its reset, modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceCounters {
    /// Frames that were accepted.
    pub frames: u32,
    /// Frames that were dropped: wrong CRC, coding or length, or no end in time.
    pub bad_frames: u32,
    /// Requests that came twice in a row.
    pub repeats: u32,
    /// Bytes that its UART lost.
    pub lost_bytes: u32,
}

/// A device at the other end of a transport.
pub struct Link<T: Transport> {
    pub(crate) transport: T,
    pub(crate) receiver: Receiver,
    pub(crate) counters: Counters,
    pub(crate) tries: u32,
    /// A request has failed, so that the device may remember any sequence number.
    pub(crate) unsure: bool,
    sequence: u8,
    info: Option<Info>,
}

impl<T: Transport> Link<T> {
    /// Asks the device who it is.
    ///
    /// # Errors
    /// No answer, another version of the protocol, or something else at the port.
    pub fn open(transport: T) -> Result<Link<T>> {
        let mut link = Link {
            transport,
            receiver: Receiver::default(),
            counters: Counters::default(),
            tries: TRIES,
            unsure: true,
            sequence: 0,
            info: None,
        };
        link.info()?;
        Ok(link)
    }

    /// What the device says of itself.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub fn info(&mut self) -> Result<Info> {
        let words = self.words(Command::Info)?;
        let protocol = words.first().copied().unwrap_or_default();
        if protocol >> 16 != INFO_MAGIC {
            return Err(Error::NotALink { word: protocol });
        }
        if protocol & 0xffff != PROTOCOL_VERSION {
            let found = protocol & 0xffff;
            return Err(Error::Version { found });
        }
        let [_, config_hash, clock_khz, axi_bits, timeout_clocks, window] =
            fixed::<{ INFO_WORDS.len() }>(Command::Info, &words)?;
        let info = Info {
            config_hash,
            clock_khz,
            axi_bits,
            timeout_clocks,
            window,
        };
        self.info = Some(info);
        self.unsure = false;
        Ok(info)
    }

    /// What the device said when the link was opened, or later.
    pub fn last_info(&self) -> Option<Info> {
        self.info
    }

    /// What the device has counted.
    ///
    /// # Errors
    /// No answer, or one that makes no sense.
    pub fn device_counters(&mut self) -> Result<DeviceCounters> {
        let words = self.words(Command::LinkStatus)?;
        let [frames, bad_frames, repeats, lost_bytes] =
            fixed::<{ STATUS_WORDS.len() }>(Command::LinkStatus, &words)?;
        Ok(DeviceCounters {
            frames,
            bad_frames,
            repeats,
            lost_bytes,
        })
    }

    /// What this side has counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The transport, for instance to change its time-out.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// How often a request is sent before the link gives up, at least once; 10 at first.
    pub fn set_tries(&mut self, tries: u32) {
        self.tries = tries.max(1);
    }

    /// Reads the register at a byte address.
    ///
    /// # Errors
    /// An address that no register has, no answer, or a status of the device.
    pub fn read_csr(&mut self, address: u32) -> Result<u32> {
        let request = csr_request(Command::ReadCsr, address, Vec::new())?;
        let mut value = 0;
        exchange(
            self,
            1,
            |_| request.clone(),
            |_, payload| {
                value = payload.first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
            },
        )?;
        Ok(value)
    }

    /// Writes the register at a byte address, exactly once; after an error, at most once.
    ///
    /// # Errors
    /// As [`Link::read_csr`].
    pub fn write_csr(&mut self, address: u32, value: u32) -> Result<()> {
        let payload = value.to_le_bytes().to_vec();
        let request = csr_request(Command::WriteCsr, address, payload)?;
        self.once(request)
    }

    /// Reads memory at a byte address; address and length are multiples of 4.
    ///
    /// # Errors
    /// An address or length that the link does not have, no answer, or a status of the device. `out` is
    /// undefined then.
    pub fn read_memory(&mut self, address: u64, out: &mut [u8]) -> Result<()> {
        let chunks = Chunks::new(Command::ReadMem, address, out.len())?;
        let make = |index| chunks.request(index, Vec::new());
        exchange(self, chunks.count(), make, |index, payload| {
            out[chunks.range(index)].copy_from_slice(payload);
        })
    }

    /// Writes memory at a byte address; address and length are multiples of 4.
    ///
    /// # Errors
    /// As [`Link::read_memory`]. Memory holds some of `bytes` then.
    pub fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        let chunks = Chunks::new(Command::WriteMem, address, bytes.len())?;
        let make = |index| chunks.request(index, bytes[chunks.range(index)].to_vec());
        exchange(self, chunks.count(), make, |_, _| {})
    }

    /// Resets the accelerator and abandons what the buses owe. Registers and a running program are
    /// lost; memory keeps its contents if its controller is not part of the reset.
    ///
    /// # Errors
    /// No answer, or a status of the device.
    pub fn reset_core(&mut self) -> Result<()> {
        self.once(plain(Command::ResetCore))
    }

    /// Sends a request with a side effect. The device must not take it for a repeat of one that it
    /// got long ago, so a request without side effect comes first when it may remember any.
    fn once(&mut self, request: Request) -> Result<()> {
        if self.unsure {
            self.info()?;
        }
        exchange(self, 1, |_| request.clone(), |_, _| {})
    }

    /// Requests that may be under way: one until the device has said more.
    pub(crate) fn window(&self) -> usize {
        let device = self.info.map_or(1, |info| info.window.max(1));
        (device as usize).min(WINDOW)
    }

    pub(crate) fn next_sequence(&mut self) -> u8 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Reads what the link itself knows.
    fn words(&mut self, command: Command) -> Result<Vec<u32>> {
        let mut words = Vec::new();
        exchange(
            self,
            1,
            |_| plain(command),
            |_, payload| {
                let chunks = payload.as_chunks().0;
                words = chunks.iter().map(|b| u32::from_le_bytes(*b)).collect();
            },
        )?;
        Ok(words)
    }
}

/// A request without address and payload.
fn plain(command: Command) -> Request {
    Request {
        command,
        words: 0,
        address: 0,
        payload: Vec::new(),
    }
}

fn csr_request(command: Command, address: u32, payload: Vec<u8>) -> Result<Request> {
    if !address.is_multiple_of(4) || address >> CSR_ADDRESS_BITS != 0 {
        return Err(Error::Argument {
            operation: Operation {
                command,
                address: address.into(),
                bytes: 4,
            },
            problem: "no register has this address",
            hint: "addresses of registers are multiples of 4 below 0x1000",
        });
    }
    Ok(Request {
        command,
        words: 1,
        address: address.into(),
        payload,
    })
}

/// A transfer, divided at multiples of [`CHUNK`].
struct Chunks {
    command: Command,
    address: u64,
    bytes: usize,
    /// Bytes before the first multiple.
    first: usize,
}

impl Chunks {
    fn new(command: Command, address: u64, bytes: usize) -> Result<Chunks> {
        let problem = |problem, hint| {
            let operation = Operation {
                command,
                address,
                bytes,
            };
            Err(Error::Argument {
                operation,
                problem,
                hint,
            })
        };
        if !address.is_multiple_of(4) || !bytes.is_multiple_of(4) {
            return problem(
                "address or length is not a multiple of 4",
                "the link moves whole 32-bit words; widen the range",
            );
        }
        let end = address.checked_add(bytes as u64);
        if end.is_none_or(|end| end > 1 << ADDRESS_BITS) {
            return problem(
                "the range leaves the address space",
                "memory addresses have 40 bits",
            );
        }
        Ok(Chunks {
            command,
            address,
            bytes,
            first: CHUNK - address as usize % CHUNK,
        })
    }

    fn count(&self) -> usize {
        let rest = self.bytes.saturating_sub(self.first);
        usize::from(self.bytes > 0) + rest.div_ceil(CHUNK)
    }

    /// Where a chunk lies in the caller's buffer.
    fn range(&self, index: usize) -> Range<usize> {
        let end = self.first + index * CHUNK;
        end.saturating_sub(CHUNK)..end.min(self.bytes)
    }

    fn request(&self, index: usize, payload: Vec<u8>) -> Request {
        let range = self.range(index);
        Request {
            command: self.command,
            words: (range.len() / 4) as u8,
            address: self.address + range.start as u64,
            payload,
        }
    }
}

/// An answer of the length that this version of the protocol has.
fn fixed<const N: usize>(command: Command, words: &[u32]) -> Result<[u32; N]> {
    <[u32; N]>::try_from(words).map_err(|_| Error::Answer {
        operation: Operation {
            command,
            address: 0,
            bytes: 4 * N,
        },
        status: 0,
        bytes: 4 * words.len(),
    })
}
