//! Operands that reach the corners of binary32.

use lampyris_tests::bench::Random;

/// Values at which rules change.
pub(crate) const SPECIAL: [u32; 32] = [
    0x0000_0000, // 0
    0x8000_0000,
    0x0000_0001, // subnormal
    0x8000_0001,
    0x007f_ffff,
    0x807f_ffff,
    0x0080_0000, // smallest normal
    0x8080_0000,
    0x0080_0001,
    0x00ff_ffff,
    0x3f80_0000, // 1
    0xbf80_0000,
    0x3f7f_ffff,
    0x3f80_0001,
    0x4000_0000, // 2
    0x4080_0000,
    0x3400_0000, // 2^-23
    0xb400_0000,
    0x4300_0000, // 128
    0x42ff_ffff,
    0xc2fc_0000, // -126
    0xc2fc_0001,
    0xc2fb_ffff,
    0x7f7f_ffff, // largest
    0xff7f_ffff,
    0x7f80_0000, // infinity
    0xff80_0000,
    0x7fc0_0000, // NaN
    0xffc0_0000,
    0x7f80_0001,
    0xff80_0001,
    0x7fff_ffff,
];

/// Any bits, a special value, or a number of ordinary size.
pub(crate) fn operand(random: &mut Random) -> u32 {
    match random.below(10) {
        0 => SPECIAL[random.below(32) as usize],
        1..=3 => random.bits() as u32,
        _ => ordinary(random),
    }
}

/// A number with magnitude from 2^-12 to 2^12; some have short significands, so that ties occur.
pub(crate) fn ordinary(random: &mut Random) -> u32 {
    let exponent = 115 + random.below(25) as u32;
    let keep = match random.below(3) {
        0 => !0u32 << random.below(24),
        _ => !0,
    };
    let bits = random.bits() as u32;
    bits & 0x8000_0000 | exponent << 23 | bits & keep & 0x7f_ffff
}

/// A partner for `a`: unrelated, or of such an exponent that sums cancel and products leave the
/// range of normal numbers.
pub(crate) fn partner(random: &mut Random, a: u32) -> u32 {
    let exponent = (a >> 23 & 0xff) as i64;
    let near = |random: &mut Random, center: i64, spread: u64| {
        let e = center + random.below(2 * spread + 1) as i64 - spread as i64;
        random.bits() as u32 & 0x807f_ffff | (e.clamp(0, 255) as u32) << 23
    };
    match random.below(6) {
        0 => near(random, exponent, 2),
        1 => near(random, exponent, 27),
        2 => near(random, 127 - exponent, 3),
        3 => near(random, 381 - exponent, 3),
        4 => (a ^ 0x8000_0000).wrapping_add(random.below(3) as u32),
        _ => operand(random),
    }
}
