//! The host link carries the host's wishes to an accelerator over a stream of bytes that may lose,
//! add and change bytes, such as a UART. It reaches the host registers and the memory.
//!
//! ## Frames
//!
//! A frame on the wire is a zero byte, the *body* with its zero bytes removed by COBS (Consistent
//! Overhead Byte Stuffing), and a zero byte. A zero byte never occurs inside a coded body, so
//! a receiver is in step again at the next one, whatever came before. Empty frames are ignored; two
//! frames may share the zero byte between them. Numbers are little-endian.
//!
//! | body of a request | bytes | |
//! |---|---|---|
//! | sequence | 1 | chosen by the host, one more (modulo 256) for each new request |
//! | command | 1 | see below |
//! | words | 1 | 32-bit words to be read or written, 0 where a command has none |
//! | address | 5 | byte address in memory or of a register, 0 where a command has none |
//! | payload | 4 × words | of commands that write |
//! | CRC | 4 | CRC-32 over all bytes before it |
//!
//! | body of a response | bytes | |
//! |---|---|---|
//! | sequence | 1 | that of the request |
//! | command | 1 | that of the request, bit 7 set |
//! | words | 1 | 32-bit words of payload |
//! | status | 1 | see below |
//! | payload | 4 × words | of commands that read, when the status is OK |
//! | CRC | 4 | CRC-32 over all bytes before it |
//!
//! The CRC is that of Ethernet and zlib: reflected, all ones at first, inverted at the end.
//!
//! COBS: the coded body is a chain of groups. A group is a code byte n, from 1 to 255, and n - 1
//! bytes that are not zero. After each group but the last stands a zero byte in the body, unless
//! n is 255. A sender may close a body whose last group has n = 255 with an empty group.
//!
//! ## Rules
//!
//! - The device does nothing before a frame is complete and its CRC is right. A frame with a wrong
//!   CRC, a wrong coding, or a length that no request has is dropped and counted; there is no answer.
//! - Every other frame gets one response, in the order of the requests.
//! - A host that gets no response sends the request again with the same sequence number. The device
//!   remembers sequence, command and status of the last request. When a request with a side effect
//!   (WRITE_CSR, RESET_CORE) has the sequence and the command of the last one, the device does not
//!   execute it again and repeats the status. All other commands are executed again.
//! - So a host sends a request with a side effect alone: all earlier ones have their responses. Of the
//!   other requests up to [`WINDOW`] may wait for responses; the device has room for as many.
//! - A host begins with INFO, so that the device's memory of an earlier host does not matter. The first
//!   word of its payload has the same meaning in every version of the protocol.
//! - A frame that stops arriving is dropped when no byte comes for `IdleClocks` clocks.
//! - A bus that does not answer within `TimeoutClocks` gives the status TIMEOUT. Commands for that bus
//!   give BUSY until it has answered. RESET_CORE abandons what it owes; that is only safe when
//!   `host_reset_o` also resets what is behind the port.

/// Version of the protocol. The host refuses a device of another version.
pub const PROTOCOL_VERSION: u32 = 1;

/// Upper half of the first word of INFO, the letters LK; the lower half is the version.
pub const INFO_MAGIC: u32 = 0x4c4b;

/// Ends and starts a frame.
pub const DELIMITER: u8 = 0;

/// Bytes of a request before the payload.
pub const REQUEST_HEADER: usize = 8;

/// Bytes of a response before the payload.
pub const RESPONSE_HEADER: usize = 4;

/// Bytes of the CRC.
pub const CRC_BYTES: usize = 4;

/// Most 32-bit words of payload.
pub const MAX_WORDS: usize = 64;

/// Bytes of the longest body, a request that writes memory.
pub const MAX_BODY: usize = REQUEST_HEADER + 4 * MAX_WORDS + CRC_BYTES;

/// Bytes of the longest frame with both delimiters: one code byte for every 254 bytes begun, and
/// one for a last, empty group.
pub const MAX_FRAME: usize = 2 + MAX_BODY + MAX_BODY.div_ceil(254) + 1;

/// Requests without a side effect that may wait for their responses at a time, a power of two.
pub const WINDOW: usize = 4;

/// Bit of the command byte that marks a response.
pub const RESPONSE_BIT: u8 = 0x80;

/// Memory transfers do not cross a multiple of this many bytes (a rule of AXI).
pub const PAGE: u64 = 4096;

/// Memory addresses have so many bits.
pub const ADDRESS_BITS: u32 = 40;

/// Register addresses have so many bits.
pub const CSR_ADDRESS_BITS: u32 = 12;

/// Polynomial of the CRC, reflected.
pub const CRC_POLYNOMIAL: u32 = 0xedb8_8320;

/// State of the CRC before the first byte.
pub const CRC_INITIAL: u32 = 0xffff_ffff;

/// State of the CRC, not inverted, after a body that ends with its own CRC.
pub const CRC_RESIDUE: u32 = 0xdebb_20e3;

/// Clock cycles for which RESET_CORE holds the reset.
pub const RESET_CLOCKS: u32 = 16;

/// One command or status, for documents and generated code.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// Name.
    pub name: &'static str,
    /// Value of the byte.
    pub value: u8,
    /// Meaning.
    pub doc: &'static str,
}

macro_rules! codes {
    ($(#[$doc:meta])* $type:ident, $table:ident: $($name:ident $label:literal = $value:literal $text:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum $type { $( #[doc = $text] $name = $value ),* }

        impl $type {
            /// Every value.
            pub const ALL: &[$type] = &[$($type::$name),*];

            /// The value of a byte, if it has one.
            pub fn from_byte(byte: u8) -> Option<$type> {
                $type::ALL.iter().copied().find(|value| *value as u8 == byte)
            }

            /// The name in documents.
            pub fn name(self) -> &'static str {
                match self { $( $type::$name => $label ),* }
            }
        }

        #[doc = concat!("Table of [`", stringify!($type), "`].")]
        pub const $table: &[Code] = &[$( Code { name: $label, value: $value, doc: $text } ),*];
    };
}

codes! {
    /// What a request asks for.
    Command, COMMANDS:
    Info "INFO" = 0x01 "Reads the words of the INFO table.";
    LinkStatus "LINK_STATUS" = 0x02 "Reads the counters of the link.";
    ResetCore "RESET_CORE" = 0x03 "Resets the accelerator. Side effect: not executed twice.";
    ReadCsr "READ_CSR" = 0x10 "Reads one register; words is 1, address a multiple of 4 below 4096.";
    WriteCsr "WRITE_CSR" = 0x11 "Writes one register. Side effect: not executed twice.";
    ReadMem "READ_MEM" = 0x20 "Reads 1 to 64 words of memory; address a multiple of 4, no 4 KiB boundary inside.";
    WriteMem "WRITE_MEM" = 0x21 "Writes 1 to 64 words of memory, with the same limits.";
}

codes! {
    /// How a request ended.
    Status, STATUSES:
    Ok "OK" = 0 "Done.";
    BadCommand "BAD_COMMAND" = 1 "The device does not know the command.";
    BadLength "BAD_LENGTH" = 2 "Words and payload do not suit each other or the command.";
    BadAddress "BAD_ADDRESS" = 3 "The address is not a multiple of 4, too large, or the transfer crosses 4 KiB.";
    BusError "BUS_ERROR" = 4 "The bus answered with an error. A write may have been done in part.";
    Timeout "TIMEOUT" = 5 "The bus did not answer in time. A write may still be done.";
    Busy "BUSY" = 6 "The bus still owes the answer of a request that ended with TIMEOUT.";
}

impl Command {
    /// Whether executing it twice differs from executing it once.
    pub fn has_side_effect(self) -> bool {
        matches!(self, Command::WriteCsr | Command::ResetCore)
    }

    /// Whether its request carries a payload.
    pub fn writes(self) -> bool {
        matches!(self, Command::WriteCsr | Command::WriteMem)
    }
}

/// Words of INFO's payload: name and meaning.
pub const INFO_WORDS: [(&str, &str); 6] = [
    (
        "PROTOCOL",
        "Bits 15:0 version of the protocol, bits 31:16 0x4c4b.",
    ),
    (
        "CONFIG_HASH",
        "Hash of the accelerator's configuration, as in its register.",
    ),
    ("CLOCK_KHZ", "Clock of link and accelerator, kHz."),
    ("AXI_BITS", "Data bits of the memory port."),
    (
        "TIMEOUT_CLOCKS",
        "Clock cycles after which a bus that does not answer gives TIMEOUT.",
    ),
    ("WINDOW", "Requests for which the device has room."),
];

/// Words of LINK_STATUS' payload: name and meaning. They count modulo 2^32 from the reset.
pub const STATUS_WORDS: [(&str, &str); 4] = [
    ("FRAMES", "Frames that were accepted, with this one."),
    (
        "BAD_FRAMES",
        "Frames that were dropped: CRC, coding, length, or no end in time.",
    ),
    (
        "REPEATS",
        "Requests with the sequence and command of the one before them.",
    ),
    (
        "LOST_BYTES",
        "Bytes that the UART dropped: no stop bit, or no room.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte, as the generated package does it.
    fn crc_byte(crc: u32, byte: u8) -> u32 {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { CRC_POLYNOMIAL } else { 0 }
        })
    }

    #[test]
    fn the_crc_is_the_usual_one_and_leaves_the_residue() {
        let text = b"123456789";
        let crc = !text.iter().fold(CRC_INITIAL, |crc, b| crc_byte(crc, *b));
        assert_eq!(crc, 0xcbf4_3926);
        let whole = text.iter().copied().chain(crc.to_le_bytes());
        assert_eq!(whole.fold(CRC_INITIAL, crc_byte), CRC_RESIDUE);
    }

    #[test]
    fn bytes_name_commands_and_statuses() {
        for byte in 0..=u8::MAX {
            let command = COMMANDS.iter().find(|code| code.value == byte);
            assert_eq!(
                Command::from_byte(byte).map(Command::name),
                command.map(|code| code.name)
            );
            let status = STATUSES.iter().find(|code| code.value == byte);
            assert_eq!(
                Status::from_byte(byte).map(Status::name),
                status.map(|code| code.name)
            );
        }
        assert!(COMMANDS.iter().all(|code| code.value & RESPONSE_BIT == 0));
    }
}
