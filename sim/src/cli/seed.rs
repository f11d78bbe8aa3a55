//! `relay-sim seed`: one seed.
//!
//! Owns: telling one case. Must not know: what a seed stands for.

use super::again;
use super::code::Code;
use relay_sim::engine::ProfileName;
use relay_sim::oracles::{Class, Failure};
use relay_sim::plan;

/// Digits of a git hash.
const HASH: usize = 40;
/// Digits to which git shortens one at least, unless told otherwise: fewer may be a slip, as 1e3 is.
const SHORT: usize = 7;
/// Digits of the greatest seed.
const DECIMAL: usize = 20;
/// Hexadecimal digits of a seed.
const HEX: usize = 16;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which: a number, or a git hash of at least 7 digits; `0x` says that fewer ones are hexadecimal.
    #[arg(allow_negative_numbers = true)]
    seed: String,
    /// Tell what happens: virtual time in s, link, agent, event.
    #[arg(long)]
    verbose: bool,
    /// Engine release.
    #[arg(long, default_value = "6.0.3")]
    profile: ProfileName,
}

pub(crate) fn run(args: &Args) -> Code {
    let &Args { verbose, profile, .. } = args;
    let seed = match parse(&args.seed) {
        Ok(seed) => seed,
        Err(why) => {
            complain!("relay-sim: {why}");
            return Code::REFUSED;
        }
    };
    say!("{}", again::seed(seed, profile));
    let plan = plan::draw(seed, profile);
    let first = if verbose { super::aloud(plan) } else { relay_sim::run(plan, None) };
    let second = relay_sim::run(plan::draw(seed, profile), None);
    let failure = match (first, second) {
        (Ok(one), Ok(other)) if one.digest == other.digest => {
            say!("passed: {}", super::summary(&one));
            say!("digest {:016x}", one.digest);
            say!("{}", again::seed(seed, profile));
            return Code::HELD;
        }
        (Err(one), Err(other)) if one.message == other.message => one,
        _ => Failure {
            class: Class::Nondeterminism,
            rule: "digest",
            message: "two runs of this seed differ".into(),
        },
    };
    say!("{}", super::verdict(&failure));
    say!("{}", again::shrink(seed, profile));
    say!("{}", again::seed(seed, profile));
    Code::found(failure.class)
}

/// A seed: a number, or the first 64 bits of a hexadecimal one, as git hashes are.
///
/// Digits that make a number are one; `0x` before them, or more of them than a seed has, say otherwise.
/// Without `0x` there are at least [`SHORT`] hexadecimal ones.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let (digits, is_hex) = text.strip_prefix("0x").map_or((text, false), |rest| (rest, true));
    let has_only = |of: fn(&u8) -> bool| !digits.is_empty() && digits.as_bytes().iter().all(of);
    if !is_hex && digits.len() <= DECIMAL && has_only(u8::is_ascii_digit) {
        return digits.parse().map_err(|_| format!("seed {digits} is greater than {}", u64::MAX));
    }
    let fewest = if is_hex { 1 } else { SHORT };
    if (fewest..=HASH).contains(&digits.len()) && has_only(u8::is_ascii_hexdigit) {
        return u64::from_str_radix(&digits[..digits.len().min(HEX)], 16).map_err(|why| why.to_string());
    }
    let shown: String = text.chars().take(HASH).collect();
    Err(format!(
        "{shown:?} is no seed: give a number up to {}, or a git hash of {SHORT} to {HASH} digits, or 0x \
         and hexadecimal digits",
        u64::MAX
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_git_hashes_are_seeds() {
        for (text, seed) in [
            ("0", 0),
            ("42", 42),
            ("18446744073709551615", u64::MAX),
            ("0x2a", 42),
            ("0xbeef", 0xbeef),
            ("539cdbd", 0x539_cdbd),
            ("12345e7", 0x123_45e7),
            ("539cdbd8a4c4f2f6d83d0c7c8f4e5a6b7c8d9e0f", 0x539c_dbd8_a4c4_f2f6),
            ("1234567890123456789012345678901234567890", 0x1234_5678_9012_3456),
        ] {
            assert_eq!(parse(text), Ok(seed), "{text}");
        }
    }

    #[test]
    fn what_is_no_seed_is_refused_in_one_line() {
        let long = "f".repeat(41);
        for text in [
            "",
            "0x",
            "-1",
            "1.5",
            "1e3",
            "beef",
            "539cdb",
            "0x-1",
            "seed",
            "18446744073709551616",
            "é",
            &long,
        ] {
            let why = parse(text).unwrap_err();
            assert!(!why.contains('\n') && why.len() < 200, "{why}");
        }
    }
}
