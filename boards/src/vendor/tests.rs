//! Files of boards for their vendor's tools.

use super::*;

const KV260: &str = include_str!("../../kv260.toml");
const U280: &str = include_str!("../../alveo-u280.toml");

fn error(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    let read = Board::parse("x.toml", &text, |_| Ok(String::new()));
    let message = read.expect_err("refused").to_string();
    assert!(message.contains("\n\nhint: "), "{message}");
    message
}

#[test]
fn the_processors_part_of_the_memory_is_not_the_accelerators() {
    let board = Board::open("kv260").unwrap();
    let vendor = board.vendor.unwrap();
    assert_eq!(vendor.memory.bytes(), 2 << 30);
    assert_eq!(vendor.memory.base, 1 << 35);
    // 16 bytes at 200 MHz, less than the memory's peak.
    let rate = vendor.memory_bytes_per_second(&board.config);
    assert_eq!(rate, 3_200_000_000);
}

#[test]
fn unknown_and_missing_keys_have_their_place() {
    let unknown = error(KV260, "uram = 64", "uran = 64");
    assert!(unknown.contains("unknown field `uran`") && unknown.contains("line "));
    let missing = error(KV260, "base = 0x8_0000_0000", "");
    assert!(missing.contains("missing field `base`"), "{missing}");
    let family = error(KV260, "\"zynq_ultrascale_plus\"", "\"spartan\"");
    assert!(family.contains("unknown variant `spartan`"), "{family}");
    let link = error(KV260, "[host.zynq]", "[link.uart]\nbaud = 1\n[host.zynq]");
    assert!(link.contains("unknown field `link`"), "{link}");
    let both = error(KV260, "[host.zynq]", "[host.none]\n[host.zynq]");
    assert!(both.contains("line "), "{both}");
}

#[test]
fn values_out_of_range_are_named() {
    let cases = [
        (
            U280,
            "clock_khz = 200000",
            "clock_khz = 200000\nchannels = 8",
            "x.toml: `accel.channels` is 8, allowed: 1 on a vendor's board",
        ),
        (
            KV260,
            "xck26-sfvc784-2LV-c",
            "xcu280",
            "x.toml: `part.xilinx.device` is xcu280, allowed: a name that begins with xck or xczu",
        ),
        (
            KV260,
            "reserved_mebibytes = 2048",
            "reserved_mebibytes = 4096",
            "x.toml: `memory.external.reserved_mebibytes` is 4096, allowed: less than `mebibytes`",
        ),
        (
            KV260,
            "base = 0x8_0000_0000",
            "base = 0x8_0000_0010",
            "x.toml: `memory.external.base` is 0x800000010, allowed: a multiple of 4096",
        ),
        (
            KV260,
            "clock_khz = 200000",
            "clock_khz = 900000",
            "x.toml: `accel.clock_khz` is 900000, allowed: 50000 to 400000",
        ),
        (
            KV260,
            "clock_khz = 200000",
            "clock_khz = 20000",
            "x.toml: `accel.clock_khz` is 20000, allowed: 50000 to 400000",
        ),
        (
            KV260,
            "channels = 1",
            "channels = 0",
            "x.toml: `memory.external.channels` is 0, allowed: at least 1",
        ),
        (
            KV260,
            "part0:1.4",
            "part0:1.4 $x",
            "x.toml: `host.zynq.board_part` is `xilinx.com:kv260_som:part0:1.4 $x`",
        ),
        (
            U280,
            "last = \"2023.2\"",
            "last = \"2019.2\"",
            "x.toml: `tools.last` is 2019.2, allowed: not before `first`",
        ),
        (
            U280,
            "last = \"2023.2\"",
            "last = \"new\"",
            "x.toml: `tools.last` is new, allowed: a version such as 2023.2",
        ),
        (
            U280,
            "last = \"2023.2\"",
            "",
            "x.toml: `tools.last_because` is ",
        ),
        (
            U280,
            "HBM[0:31]",
            "HBM; rm",
            "x.toml: `host.xrt.memory` is `HBM; rm`, allowed: a name such as HBM[0:31]",
        ),
    ];
    for (text, from, to, wanted) in cases {
        let message = error(text, from, to);
        assert!(message.starts_with(wanted), "{message}");
    }
}

#[test]
fn only_the_u280_is_pinned() {
    let tools = |name: &str| Board::open(name).unwrap().vendor.unwrap().tools;
    assert_eq!(tools("alveo-u280").range(), "2022.1 to 2023.2");
    for name in ["kv260", "alveo-u55c", "vhk158"] {
        assert!(tools(name).range().ends_with(" or later"), "{name}");
    }
}
