//! Reads the ports out of the header that Verilator writes for the top module.
//!
//! The lines have the form `VL_IN8(&clk_i,0,0);` or `VL_OUTW(&data_o,511,0,16);`: direction,
//! storage, name, most and least significant bit, and for wide ports the count of 32-bit words.

use crate::{Error, Result};
use std::fmt::Write;
use std::path::Path;

/// One scalar or packed port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HeaderPort {
    /// Member of the C++ class.
    pub(crate) member: String,
    /// Name in the SystemVerilog source.
    pub(crate) name: String,
    /// 0 input, 1 output, 2 inout, as in the C interface.
    pub(crate) direction: u32,
    /// Bytes of the storage, 0 for an array of 32-bit words.
    pub(crate) storage: u32,
    /// Bits.
    pub(crate) width: u32,
}

/// All ports of the header at `path` whose text is `text`.
///
/// Unpacked array ports are left out: asking for one reports that the design has no such port.
pub(crate) fn ports(path: &Path, text: &str) -> Result<Vec<HeaderPort>> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let Some((direction, rest)) = direction(line) else {
            continue;
        };
        let port = port(direction, rest).ok_or_else(|| Error::Header {
            path: path.to_path_buf(),
            line: index + 1,
            problem: format!("`{line}` does not read as a port"),
        })?;
        found.push(port);
    }
    Ok(found)
}

fn direction(line: &str) -> Option<(u32, &str)> {
    // INOUT first, because IN is its prefix.
    [("VL_INOUT", 2), ("VL_IN", 0), ("VL_OUT", 1)]
        .into_iter()
        .find_map(|(prefix, direction)| Some((direction, line.strip_prefix(prefix)?)))
}

fn port(direction: u32, rest: &str) -> Option<HeaderPort> {
    let (storage, rest) = rest.split_once('(')?;
    let (arguments, _) = rest.split_once(')')?;
    let mut arguments = arguments.split(',').map(str::trim);
    let member = arguments.next()?.trim_start_matches('&').to_owned();
    let msb: u32 = arguments.next()?.parse().ok()?;
    let lsb: u32 = arguments.next()?.parse().ok()?;
    let width = msb.checked_sub(lsb)?.checked_add(1)?;
    let storage = match storage {
        "8" => 1,
        "16" => 2,
        "" => 4,
        "64" => 8,
        "W" => {
            let words: u32 = arguments.next()?.parse().ok()?;
            (words == width.div_ceil(32)).then_some(0)?
        }
        _ => return None,
    };
    if storage != 0 && width > storage * 8 {
        return None;
    }
    Some(HeaderPort {
        name: unmangle(&member),
        member,
        direction,
        storage,
        width,
    })
}

/// Verilator writes characters that C++ identifiers cannot hold, and `__`, as `__0` and two
/// hexadecimal digits.
fn unmangle(member: &str) -> String {
    let mut out = String::new();
    let mut rest = member;
    while let Some(at) = rest.find("__0") {
        out.push_str(&rest[..at]);
        let code = rest
            .get(at + 3..at + 5)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 5..];
            }
            None => {
                out.push_str("__0");
                rest = &rest[at + 3..];
            }
        }
    }
    out + rest
}

/// The port table as the `SHIM_PORTS` macro of the C interface.
pub(crate) fn table(ports: &[HeaderPort]) -> String {
    let mut out = String::from("#define SHIM_PORTS \\\n");
    for port in ports {
        let _ = writeln!(
            out,
            "  {{\"{}\", {}, {}, {}, [](Vmodel& m) -> void* {{ return &m.{}; }}}}, \\",
            port.name.escape_default(),
            port.direction,
            port.storage,
            port.width,
            port.member
        );
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Vec<HeaderPort>> {
        ports(Path::new("Vmodel.h"), line)
    }

    #[test]
    fn reads_every_storage() {
        let text = "    VL_IN8(&clk_i,0,0);\n VL_OUT16(&a_o,9,1);\n VL_INOUT(&b_io,31,0);\n\
                    VL_OUT64(&c_o,39,0);\n VL_INW(&d_i,511,0,16);\n VlUnpacked<CData, 3> &e_i;";
        let read: Vec<_> = parse(text)
            .unwrap()
            .into_iter()
            .map(|p| (p.name, p.direction, p.storage, p.width))
            .collect();
        let expected = [
            ("clk_i", 0, 1, 1),
            ("a_o", 1, 2, 9),
            ("b_io", 2, 4, 32),
            ("c_o", 1, 8, 40),
            ("d_i", 0, 0, 512),
        ]
        .map(|(name, direction, storage, width)| (name.to_owned(), direction, storage, width));
        assert_eq!(read, expected);
    }

    #[test]
    fn names_a_bad_line() {
        for line in [
            "VL_IN8(&x,8,0);",
            "VL_INW(&x,511,0,15);",
            "VL_IN9(&x,0,0);",
            "VL_IN8(&x,0);",
            "VL_IN8(&x,0,1);",
            "VL_IN8(&x,99999999999,0);",
            "VL_IN8",
        ] {
            let error = parse(&format!("\n{line}")).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn unmangles_names() {
        assert_eq!(unmangle("plain_i"), "plain_i");
        assert_eq!(unmangle("a__05Fb"), "a_b");
        assert_eq!(unmangle("a___05Fb"), "a__b");
        assert_eq!(unmangle("a__0zz"), "a__0zz");
    }
}
