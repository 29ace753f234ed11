//! Consistent Overhead Byte Stuffing: a coding without zero bytes.

/// Appends the coded form of `body` to `out`, without delimiters.
pub(crate) fn encode(body: &[u8], out: &mut Vec<u8>) {
    let mut code_at = out.len();
    out.push(1);
    for &byte in body {
        if byte != 0 {
            out.push(byte);
            out[code_at] += 1;
        }
        if byte == 0 || out[code_at] == 0xff {
            code_at = out.len();
            out.push(1);
        }
    }
}

/// The body of a coded text without zero bytes; `None` when its last group is cut short.
pub(crate) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(coded.len());
    let mut rest = coded;
    let mut zero_due = false;
    while let Some((&code, tail)) = rest.split_first() {
        if zero_due {
            body.push(0);
        }
        let (group, tail) = tail.split_at_checked(usize::from(code.checked_sub(1)?))?;
        body.extend_from_slice(group);
        zero_due = code != 0xff;
        rest = tail;
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codings() {
        let cases: [(&[u8], &[u8]); 5] = [
            (&[], &[1]),
            (&[0], &[1, 1]),
            (&[7], &[2, 7]),
            (&[7, 0, 9], &[2, 7, 2, 9]),
            (&[0, 0, 5, 0], &[1, 1, 2, 5, 1]),
        ];
        for (body, coded) in cases {
            let mut out = Vec::new();
            encode(body, &mut out);
            assert_eq!(out, coded);
            assert_eq!(decode(coded).as_deref(), Some(body));
        }
    }

    #[test]
    fn long_groups_have_no_zero_behind_them() {
        for length in 250..=260 {
            let body: Vec<u8> = (0..length).map(|i| (i % 255 + 1) as u8).collect();
            let mut coded = Vec::new();
            encode(&body, &mut coded);
            assert!(!coded.contains(&0));
            assert_eq!(coded.len(), body.len() + 1 + body.len() / 254);
            assert_eq!(decode(&coded), Some(body));
        }
        // The empty group at the end is optional.
        let whole: Vec<u8> = std::iter::once(255).chain(1..=254).collect();
        assert_eq!(decode(&whole), Some((1..=254).collect()));
    }

    #[test]
    fn every_body_comes_back() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let length = random.usize(0..600);
            let zeros = random.u8(0..100);
            let body: Vec<u8> = (0..length)
                .map(|_| {
                    if random.u8(0..100) < zeros {
                        0
                    } else {
                        random.u8(..)
                    }
                })
                .collect();
            let mut coded = Vec::new();
            encode(&body, &mut coded);
            assert!(!coded.contains(&0));
            assert_eq!(decode(&coded), Some(body));
        }
    }

    #[test]
    fn a_group_that_is_cut_short_is_refused() {
        assert_eq!(decode(&[3, 1]), None);
        assert_eq!(decode(&[2]), None);
    }
}
