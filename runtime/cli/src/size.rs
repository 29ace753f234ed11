//! Amounts of memory as people write them.

/// Units; the binary ones first.
const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Bytes of `text`: `2GiB`, `1.5 GiB`, `512MiB`, `2GB`, or plain bytes.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    if number.is_empty() {
        return Err("expected a number with a unit, such as 2GiB or 512MiB".into());
    }
    let scale = if unit.is_empty() {
        1
    } else {
        let known = UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        known.ok_or_else(|| unknown(unit))?.1
    };
    let bytes = if let Ok(whole) = number.parse::<u64>() {
        whole.checked_mul(scale)
    } else {
        let value: f64 = number
            .parse()
            .map_err(|_| format!("`{number}` is not a number"))?;
        let bytes = (value * scale as f64).round();
        (bytes < u64::MAX as f64).then_some(bytes as u64)
    };
    match bytes {
        Some(0) => Err("0 bytes hold nothing".into()),
        Some(bytes) => Ok(bytes),
        None => Err("more than 64 bits can count".into()),
    }
}

fn unknown(unit: &str) -> String {
    let letter = unit.chars().next().map(|c| c.to_ascii_uppercase());
    match letter {
        Some(c @ ('K' | 'M' | 'G' | 'T')) => {
            format!(
                "unknown unit `{unit}`; write {c}iB for powers of 1024, {c}B for powers of 1000"
            )
        }
        _ => format!("unknown unit `{unit}`; write KiB, MiB, GiB, kB, MB, GB or plain bytes"),
    }
}

/// Budgets separated by commas; `none` stands for no limit.
pub(crate) fn parse_or_none(text: &str) -> Result<Budget, String> {
    if text.trim() == "none" {
        return Ok(Budget(None));
    }
    parse(text).map(|bytes| Budget(Some(bytes)))
}

/// A memory budget, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget(pub(crate) Option<u64>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("2GiB", 2 << 30),
            ("512MiB", 512 << 20),
            ("1.5 gib", 3 << 29),
            ("2GB", 2_000_000_000),
            ("0.5kB", 500),
            ("123456789", 123_456_789),
            ("7 B", 7),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn wrong_sizes_say_what_is_wrong() {
        for (text, told) in [
            ("", "such as 2GiB"),
            ("GiB", "such as 2GiB"),
            ("-5MiB", "such as 2GiB"),
            ("2G", "GiB for powers of 1024"),
            ("5 potatoes", "unknown unit `potatoes`"),
            ("1.2.3MiB", "`1.2.3` is not a number"),
            ("0", "hold nothing"),
            ("99999999999999999999", "64 bits"),
            ("20000000TiB", "64 bits"),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(told), "{text}: {message}");
        }
    }
}
