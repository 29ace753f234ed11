//! Assembler text: `mnemonic field=value ...`, one instruction a line; fields that are zero are
//! left out. Numbers are decimal (negative for signed fields) or hexadecimal with `0x`.
//! `;` starts a comment.

use crate::insn::{FieldSpec, INSNS, Insn, InsnSpec};
use std::fmt;

/// Why a line is not an instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// What is wrong, with the offending word.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}

fn error<T>(message: String) -> Result<T, ParseError> {
    Err(ParseError { message })
}

fn parse_number(text: &str, field: &FieldSpec) -> Result<u64, ParseError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let magnitude = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse::<u64>(),
    };
    let Ok(magnitude) = magnitude else {
        return error(format!("`{text}` is not a number"));
    };
    let limit_bits = if field.signed {
        field.width - 1
    } else {
        field.width
    };
    let limit = (1u128 << limit_bits) - u128::from(!negative);
    if u128::from(magnitude) > limit || (negative && !field.signed) {
        return error(format!(
            "{text} does not fit `{}` ({} bits)",
            field.name, field.width
        ));
    }
    let value = if negative {
        magnitude.wrapping_neg()
    } else {
        magnitude
    };
    Ok(value & (u64::MAX >> (64 - field.width)))
}

fn find_spec(mnemonic: &str) -> Result<&'static InsnSpec, ParseError> {
    match INSNS.iter().find(|s| s.mnemonic == mnemonic) {
        Some(spec) => Ok(spec),
        None => error(format!("unknown mnemonic `{mnemonic}`")),
    }
}

impl Insn {
    /// Parses one line of assembler text.
    ///
    /// # Errors
    /// Names the unknown mnemonic or field, or the value that does not fit.
    pub fn parse(line: &str) -> Result<Insn, ParseError> {
        let code = line.split(';').next().unwrap_or("");
        let mut words = code.split_whitespace();
        let Some(mnemonic) = words.next() else {
            return error("empty line".into());
        };
        let spec = find_spec(mnemonic)?;
        let mut bits = vec![0; spec.fields.len()];
        let mut seen = vec![false; spec.fields.len()];
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                return error(format!("`{word}` is not `field=value`"));
            };
            let Some(at) = spec.fields.iter().position(|f| f.name == name) else {
                return error(format!("`{mnemonic}` has no field `{name}`"));
            };
            if std::mem::replace(&mut seen[at], true) {
                return error(format!("`{name}` is given twice"));
            }
            bits[at] = parse_number(value, &spec.fields[at])?;
        }
        Ok(Insn::from_field_bits(spec.opcode, &bits).expect("opcode is in the table"))
    }
}

impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = self.spec();
        f.write_str(spec.mnemonic)?;
        for (field, bits) in spec.fields.iter().zip(self.field_bits()) {
            if bits == 0 {
                continue;
            }
            if field.signed {
                let value = ((bits << (64 - field.width)) as i64) >> (64 - field.width);
                write!(f, " {}={value}", field.name)?;
            } else {
                write!(f, " {}={bits}", field.name)?;
            }
        }
        Ok(())
    }
}

/// Parses a program, one instruction a line; blank and comment lines are skipped.
///
/// # Errors
/// The line number (from 1) and what is wrong with it.
pub fn parse_program(text: &str) -> Result<Vec<Insn>, (usize, ParseError)> {
    let mut program = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if !line.split(';').next().unwrap_or("").trim().is_empty() {
            program.push(Insn::parse(line).map_err(|e| (at + 1, e))?);
        }
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_every_instruction() {
        let mut state = 1u64;
        for spec in INSNS {
            for _ in 0..200 {
                let bits: Vec<u64> = spec
                    .fields
                    .iter()
                    .map(|f| {
                        state = state
                            .wrapping_mul(6364136223846793005)
                            .wrapping_add(1442695040888963407);
                        let v = state >> (64 - f.width);
                        if state & 1 == 0 { v } else { 0 }
                    })
                    .collect();
                let insn = Insn::from_field_bits(spec.opcode, &bits).unwrap();
                assert_eq!(Insn::parse(&insn.to_string()).unwrap(), insn);
                assert_eq!(Insn::decode(insn.encode()), Ok(insn));
                assert_eq!(Insn::from_bytes(&insn.to_bytes()), Ok(insn));
            }
        }
    }

    #[test]
    fn parse_errors_name_the_culprit() {
        let message = |line: &str| Insn::parse(line).unwrap_err().message;
        assert_eq!(message("frob"), "unknown mnemonic `frob`");
        assert_eq!(
            message("fence units=16"),
            "16 does not fit `units` (4 bits)"
        );
        assert_eq!(message("fence unit=1"), "`fence` has no field `unit`");
        assert_eq!(
            message("call offset=8388608"),
            "8388608 does not fit `offset` (24 bits)"
        );
        assert!(Insn::parse("call offset=-8388608").is_ok());
        assert_eq!(parse_program("ret\n\n; x\nfrob").unwrap_err().0, 4);
    }
}
