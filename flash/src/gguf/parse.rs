//! The grammar of a GGUF v3 header, as nom parsers.
//!
//! Every count in the file is checked against the bytes that are left before anything is
//! allocated for it, so memory stays within a small factor of the file's size.

use super::value::{ARRAY_ID, Array, Value};
use crate::{
    Error, Result,
    error::{RECONVERT, REDOWNLOAD},
};
use nom::{
    IResult, Parser,
    bytes::complete::take,
    error::{ErrorKind, ParseError},
    number::complete::{
        le_f32, le_f64, le_i8, le_i16, le_i32, le_i64, le_u8, le_u16, le_u32, le_u64,
    },
};
use std::collections::BTreeMap;

/// First four bytes of a file.
pub(super) const MAGIC: &[u8; 4] = b"GGUF";
/// The version that is read and written.
pub(super) const VERSION: u32 = 3;
/// ggml's limit on dimensions.
const MAX_DIMS: u32 = 4;
/// Nesting limit of arrays: parsing recurses.
const MAX_DEPTH: usize = 8;
/// Longest key or tensor name accepted (the format allows 65535 for keys, ggml 64 for tensors).
const MAX_NAME: usize = 65_535;

/// A tensor as the header describes it; nothing but the grammar has been checked.
pub(super) struct RawTensor {
    pub(super) name: String,
    pub(super) dims: Vec<u64>,
    pub(super) ty: u32,
    /// From the start of the data section.
    pub(super) offset: u64,
    /// Where the entry lies in the file, for messages.
    pub(super) at: usize,
}

/// The header of one file.
pub(super) struct Header {
    pub(super) entries: BTreeMap<String, Value>,
    pub(super) tensors: Vec<RawTensor>,
    /// Bytes up to the end of the tensor table, without padding.
    pub(super) len: usize,
}

/// A parse failure: the input left at the place, and what is wrong there.
struct Fault<'a> {
    rest: &'a [u8],
    problem: String,
    hint: &'static str,
}

type Parsed<'a, T> = IResult<&'a [u8], T, Fault<'a>>;

impl<'a> ParseError<&'a [u8]> for Fault<'a> {
    fn from_error_kind(rest: &'a [u8], _kind: ErrorKind) -> Self {
        // `complete` number and `take` parsers fail in one way only.
        Self {
            rest,
            problem: "the file ends too early".into(),
            hint: REDOWNLOAD,
        }
    }

    fn append(_input: &'a [u8], _kind: ErrorKind, other: Self) -> Self {
        other
    }
}

fn fault<'a, T>(rest: &'a [u8], problem: String, hint: &'static str) -> Parsed<'a, T> {
    Err(nom::Err::Error(Fault {
        rest,
        problem,
        hint,
    }))
}

/// Adds what was being read to the message of an inner failure.
fn named<'a, T>(
    what: impl Fn() -> String,
    mut parser: impl FnMut(&'a [u8]) -> Parsed<'a, T>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, T> {
    move |input| {
        parser(input).map_err(|err| {
            err.map(|f| Fault {
                problem: format!("{} ({})", f.problem, what()),
                ..f
            })
        })
    }
}

/// Reads a count of items of at least `min_bytes` each, which must fit into the rest of the file.
fn count(min_bytes: usize) -> impl Fn(&[u8]) -> Parsed<'_, usize> {
    move |input| {
        let (rest, n) = le_u64(input)?;
        let limit = rest.len() / min_bytes;
        match usize::try_from(n) {
            Ok(n) if n <= limit => Ok((rest, n)),
            _ => fault(
                input,
                format!("count {n} exceeds what the file can hold ({limit})"),
                REDOWNLOAD,
            ),
        }
    }
}

fn text(input: &[u8]) -> Parsed<'_, String> {
    let (rest, len) = count(1)(input)?;
    let (after, bytes) = take(len)(rest)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok((after, text.to_owned())),
        Err(err) => fault(
            rest,
            format!("text is not UTF-8 after {} bytes of it", err.valid_up_to()),
            RECONVERT,
        ),
    }
}

fn name(input: &[u8]) -> Parsed<'_, String> {
    let (rest, name) = text(input)?;
    if name.is_empty() || name.len() > MAX_NAME {
        let problem = format!(
            "a name has {} bytes; 1 to {MAX_NAME} are allowed",
            name.len()
        );
        return fault(input, problem, RECONVERT);
    }
    Ok((rest, name))
}

fn boolean(input: &[u8]) -> Parsed<'_, bool> {
    match le_u8(input)? {
        (rest, 0) => Ok((rest, false)),
        (rest, 1) => Ok((rest, true)),
        (_, other) => fault(
            input,
            format!("boolean is {other}; expected 0 or 1"),
            RECONVERT,
        ),
    }
}

fn value(input: &[u8]) -> Parsed<'_, Value> {
    let (rest, ty) = le_u32(input)?;
    match ty {
        0 => le_u8.map(Value::U8).parse(rest),
        1 => le_i8.map(Value::I8).parse(rest),
        2 => le_u16.map(Value::U16).parse(rest),
        3 => le_i16.map(Value::I16).parse(rest),
        4 => le_u32.map(Value::U32).parse(rest),
        5 => le_i32.map(Value::I32).parse(rest),
        6 => le_f32.map(Value::F32).parse(rest),
        7 => boolean.map(Value::Bool).parse(rest),
        8 => text.map(Value::String).parse(rest),
        ARRAY_ID => array(rest, 1).map(|(rest, items)| (rest, Value::Array(items))),
        10 => le_u64.map(Value::U64).parse(rest),
        11 => le_i64.map(Value::I64).parse(rest),
        12 => le_f64.map(Value::F64).parse(rest),
        other => fault(input, format!("unknown value type {other}"), RECONVERT),
    }
}

/// Reads a count and that many items of at least `min_bytes` each.
fn list<'a, T>(
    input: &'a [u8],
    min_bytes: usize,
    mut item: impl FnMut(&'a [u8]) -> Parsed<'a, T>,
) -> Parsed<'a, Vec<T>> {
    let (mut rest, n) = count(min_bytes)(input)?;
    let mut items = Vec::with_capacity(n);
    for _ in 0..n {
        let (after, parsed) = item(rest)?;
        items.push(parsed);
        rest = after;
    }
    Ok((rest, items))
}

fn array(input: &[u8], depth: usize) -> Parsed<'_, Array> {
    if depth > MAX_DEPTH {
        return fault(
            input,
            format!("arrays nest deeper than {MAX_DEPTH}"),
            RECONVERT,
        );
    }
    let (rest, ty) = le_u32(input)?;
    match ty {
        0 => list(rest, 1, le_u8).map(|(r, v)| (r, Array::U8(v))),
        1 => list(rest, 1, le_i8).map(|(r, v)| (r, Array::I8(v))),
        2 => list(rest, 2, le_u16).map(|(r, v)| (r, Array::U16(v))),
        3 => list(rest, 2, le_i16).map(|(r, v)| (r, Array::I16(v))),
        4 => list(rest, 4, le_u32).map(|(r, v)| (r, Array::U32(v))),
        5 => list(rest, 4, le_i32).map(|(r, v)| (r, Array::I32(v))),
        6 => list(rest, 4, le_f32).map(|(r, v)| (r, Array::F32(v))),
        7 => list(rest, 1, boolean).map(|(r, v)| (r, Array::Bool(v))),
        8 => list(rest, 8, text).map(|(r, v)| (r, Array::String(v))),
        ARRAY_ID => list(rest, 12, |i| array(i, depth + 1)).map(|(r, v)| (r, Array::Array(v))),
        10 => list(rest, 8, le_u64).map(|(r, v)| (r, Array::U64(v))),
        11 => list(rest, 8, le_i64).map(|(r, v)| (r, Array::I64(v))),
        12 => list(rest, 8, le_f64).map(|(r, v)| (r, Array::F64(v))),
        other => fault(
            input,
            format!("unknown array element type {other}"),
            RECONVERT,
        ),
    }
}

fn entries(input: &[u8], n: usize) -> Parsed<'_, BTreeMap<String, Value>> {
    let mut entries = BTreeMap::new();
    let mut rest = input;
    for i in 0..n {
        let (after_key, key) = named(|| format!("in metadata key {i} of {n}"), name)(rest)?;
        let (after, value) = named(|| format!("in metadata key `{key}`"), value)(after_key)?;
        if entries.contains_key(&key) {
            return fault(
                rest,
                format!("metadata key `{key}` occurs twice"),
                RECONVERT,
            );
        }
        entries.insert(key, value);
        rest = after;
    }
    Ok((rest, entries))
}

fn tensor_body<'a>(input: &'a [u8], name: &str) -> Parsed<'a, (Vec<u64>, u32, u64)> {
    let (mut rest, n) = le_u32(input)?;
    if n == 0 || n > MAX_DIMS {
        let problem = format!("tensor `{name}` has {n} dimensions; 1 to {MAX_DIMS} are allowed");
        return fault(input, problem, RECONVERT);
    }
    let mut dims = Vec::with_capacity(n as usize);
    for _ in 0..n {
        let (after, dim) = le_u64(rest)?;
        dims.push(dim);
        rest = after;
    }
    let (rest, ty) = le_u32(rest)?;
    let (rest, offset) = le_u64(rest)?;
    Ok((rest, (dims, ty, offset)))
}

fn header(input: &[u8]) -> Parsed<'_, Header> {
    let total = input.len();
    let (rest, magic) = named(|| "in the magic number".into(), take(4usize))(input)?;
    if magic != MAGIC {
        let hint = match magic {
            b"LAMP" => {
                "`lampyris pack` wrote this file, for run, chat, bench, serve and `pack --verify`; \
                 give this command the model that it was packed from"
            }
            _ => "this is not a GGUF file; pass a .gguf file or a directory with safetensors",
        };
        return fault(
            input,
            format!("magic number is {magic:02x?}, not \"GGUF\""),
            hint,
        );
    }
    let at_version = rest;
    let (rest, version) = named(|| "in the version".into(), le_u32)(rest)?;
    if version != VERSION {
        let (problem, hint) = if version.swap_bytes() <= VERSION {
            (
                "the file is big-endian".to_owned(),
                "only little-endian files are read; convert the model again on this machine",
            )
        } else {
            (
                format!("GGUF version {version}; only version {VERSION} is read"),
                "convert the model again with a current converter",
            )
        };
        return fault(at_version, problem, hint);
    }
    // Smallest tensor entry: 8 length + 1 name + 4 + 8 one dim + 4 type + 8 offset.
    let (rest, n_tensors) = named(|| "in the tensor count".into(), count(33))(rest)?;
    // Smallest pair: 8 length + 1 key + 4 type + 1 value.
    let (rest, n_entries) = named(|| "in the metadata count".into(), count(14))(rest)?;
    let (mut rest, entries) = entries(rest, n_entries)?;
    let mut tensors = Vec::with_capacity(n_tensors.min(rest.len() / 33));
    for i in 0..n_tensors {
        let at = total - rest.len();
        let (after, name) =
            named(|| format!("in the name of tensor {i} of {n_tensors}"), name)(rest)?;
        let what = || format!("in the entry of tensor `{name}`");
        let (after, (dims, ty, offset)) = named(what, |i| tensor_body(i, &name))(after)?;
        tensors.push(RawTensor {
            name,
            dims,
            ty,
            offset,
            at,
        });
        rest = after;
    }
    Ok((
        rest,
        Header {
            entries,
            tensors,
            len: total - rest.len(),
        },
    ))
}

/// Parses the header of `data`, whose name in messages is `file`.
pub(super) fn parse_header(file: &str, data: &[u8]) -> Result<Header> {
    match header(data) {
        Ok((_, header)) => Ok(header),
        Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => Err(Error::Malformed {
            file: file.into(),
            offset: data.len() - fault.rest.len(),
            problem: fault.problem,
            hint: fault.hint,
        }),
        Err(nom::Err::Incomplete(_)) => unreachable!("only `complete` parsers are used"),
    }
}
