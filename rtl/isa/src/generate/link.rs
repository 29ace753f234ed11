//! SystemVerilog package and manual of the host link.

use super::{BANNER, upper_camel};
use crate::link::*;
use std::fmt::Write;

/// The package: limits, codes, and one step of the CRC.
pub(super) fn package() -> String {
    let mut out = format!(
        "// {BANNER}\n// Purpose: frames, commands, status codes and CRC of the host link (docs/link.md).\n\
         // Latency, throughput, back-pressure: none (constants and a function).\n\n\
         // No module uses every constant.\n/* verilator lint_off UNUSEDPARAM */\n\npackage lampyris_link_pkg;\n"
    );
    let numbers = [
        ("MaxWords", MAX_WORDS),
        ("MaxBody", MAX_BODY),
        ("RequestHeader", REQUEST_HEADER),
        ("ResponseHeader", RESPONSE_HEADER),
        ("Window", WINDOW),
        ("ResetClocks", RESET_CLOCKS as usize),
        ("InfoWords", INFO_WORDS.len()),
        ("StatusWords", STATUS_WORDS.len()),
    ];
    for (name, value) in numbers {
        let _ = writeln!(out, "  localparam int unsigned {name} = {value};");
    }
    let info = INFO_MAGIC << 16 | PROTOCOL_VERSION;
    for (name, value) in [
        ("InfoProtocol", info),
        ("CrcInitial", CRC_INITIAL),
        ("CrcResidue", CRC_RESIDUE),
    ] {
        let _ = writeln!(out, "  localparam logic [31:0] {name} = 32'h{value:08x};");
    }
    for (name, value) in [("Delimiter", DELIMITER), ("ResponseBit", RESPONSE_BIT)] {
        let _ = writeln!(out, "  localparam logic [7:0] {name} = 8'h{value:02x};");
    }
    out.push('\n');
    for (kind, table) in [("Cmd", COMMANDS), ("Status", STATUSES)] {
        for code in table {
            let _ = writeln!(
                out,
                "  localparam logic [7:0] {kind}{} = 8'h{:02x};",
                upper_camel(code.name),
                code.value
            );
        }
        out.push('\n');
    }
    out += &crc_function();
    out += "endpackage\n\n/* verilator lint_on UNUSEDPARAM */\n";
    out
}

/// One byte of the CRC.
fn crc_function() -> String {
    format!(
        "  // One byte of the reflected CRC.\n\
         \x20 function automatic logic [31:0] crc_byte(logic [31:0] crc, logic [7:0] data);\n\
         \x20   logic [31:0] next;\n\
         \x20   next = crc ^ {{24'd0, data}};\n\
         \x20   for (int unsigned i = 0; i < 8; i++) begin\n\
         \x20     next = {{1'b0, next[31:1]}} ^ (next[0] ? 32'h{CRC_POLYNOMIAL:08x} : 32'd0);\n\
         \x20   end\n\
         \x20   return next;\n\
         \x20 endfunction\n"
    )
}

fn codes(out: &mut String, title: &str, table: &[Code]) {
    let _ = writeln!(
        out,
        "\n## {title}\n\n| code | name | meaning |\n|---|---|---|"
    );
    for code in table {
        let _ = writeln!(
            out,
            "| 0x{:02x} | {} | {} |",
            code.value, code.name, code.doc
        );
    }
}

fn words(out: &mut String, title: &str, table: &[(&str, &str)]) {
    let _ = writeln!(
        out,
        "\n## {title}\n\n| word | name | meaning |\n|---|---|---|"
    );
    for (i, (name, doc)) in table.iter().enumerate() {
        let _ = writeln!(out, "| {i} | {name} | {doc} |");
    }
}

/// The manual, Markdown.
pub(super) fn manual() -> String {
    let mut out = format!("<!-- {BANNER} -->\n# Host link, version {PROTOCOL_VERSION}\n\n");
    let text = include_str!("../link.rs");
    for line in text.lines().take_while(|line| line.starts_with("//!")) {
        let line = line[3..].strip_prefix(' ').unwrap_or(&line[3..]);
        // Links to items make sense only in rustdoc.
        let _ = writeln!(out, "{}", line.replace("[`WINDOW`]", &WINDOW.to_string()));
    }
    let _ = writeln!(
        out,
        "\n## Limits\n\n\
         - Payload: at most {MAX_WORDS} words ({} bytes); body: {MAX_BODY} bytes; frame with its \
         delimiters: {MAX_FRAME} bytes.\n\
         - Addresses: {ADDRESS_BITS} bits in memory, {CSR_ADDRESS_BITS} bits for registers.\n\
         - CRC: polynomial 0x{CRC_POLYNOMIAL:08x} (reflected).\n\
         - RESET_CORE holds the reset for {RESET_CLOCKS} clocks.",
        4 * MAX_WORDS
    );
    codes(&mut out, "Commands", COMMANDS);
    codes(&mut out, "Status codes", STATUSES);
    words(&mut out, "Payload of INFO", &INFO_WORDS);
    words(&mut out, "Payload of LINK_STATUS", &STATUS_WORDS);
    out
}
