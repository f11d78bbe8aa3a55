//! Numbers: what a number becomes that its reader does not write as it stood.
//!
//! Owns: finding another number of the same length. Must not know: where numbers stand.
//!
//! 1. The other one is read to a number that is written with as many digits, and the same signs between
//!    them: the core shows both at the same length. The exponent stays.
//! 2. Where none is found, a number stays.

use serde_json::Value;

/// Of numbers that differ, every third or so is written as long as it can be.
const ATTEMPTS: u64 = 1_000;

/// How a number is written once it was read; it may be too large to be read.
pub(super) fn written(number: &str) -> Option<String> {
    Some(serde_json::from_str::<Value>(number).ok()?.to_string())
}

/// Another number; different for different `seed`s, as far as its length allows.
pub(super) fn filler(number: &str, seed: u64) -> Option<String> {
    let form = |number: &str| {
        let written = written(number);
        // One that is written as it stood shows in one form only.
        let is_same = written.as_deref() == Some(number);
        (written.map(|written| written.replace(|char: char| char.is_ascii_digit(), "0")), is_same)
    };
    let wanted = form(number);
    (0..ATTEMPTS).map(|attempt| other(number, seed, attempt)).find(|new| new != number && form(new) == wanted)
}

/// An attempt: with other digits between the beginning that JSON demands and the exponent. Zeros hide as
/// well, but those at the end of a round number have to stay.
fn other(number: &str, seed: u64, attempt: u64) -> String {
    let value = number.trim_start_matches('-');
    let start = number.len() - value.strip_prefix("0.").unwrap_or(value).len();
    let end = number.find(['e', 'E']).unwrap_or(number.len());
    let mut state = seed.wrapping_mul(ATTEMPTS).wrapping_add(attempt);
    let mut digit = || {
        // As in Knuth's MMIX; what is high in it is mixed well.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'1' + ((state >> 33) % 9) as u8)
    };
    let between = number[start..end].chars().map(|char| match char {
        '0' if attempt >= ATTEMPTS / 2 => '0',
        '0'..='9' => digit(),
        sign => sign,
    });
    number[..start].chars().chain(between).chain(number[end..].chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_number_is_written_at_the_same_length() {
        for (number, shown) in [
            ("12345678901234567890123", "1.2345678901234568e+22"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.2345678901234567", "1.2345678901234567"),
            ("-1.23456789012345678901", "-1.2345678901234567"),
            ("4.5e9", "4500000000.0"),
            ("1000000000000000000000", "1e+21"),
            ("0.00000000000000000012", "1.2e-19"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("1E-400", "0.0"),
        ] {
            assert_eq!(written(number).as_deref(), Some(shown));
            for seed in 0..50 {
                let new = filler(number, seed).unwrap();
                let again = written(&new).unwrap();
                assert_eq!((new.len(), again.len()), (number.len(), shown.len()), "{new} {again}");
                assert_ne!(new, number);
            }
        }
        assert_eq!(written("1e999"), None);
        assert_eq!(filler("12e999", 0).unwrap().len(), 6);
        assert_eq!(filler("1e308", 0), None);
    }
}
