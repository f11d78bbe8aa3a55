//! Numbers on the command line, and what they must be.
//!
//! Owns: the bounds. Must not know: what a number is for.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::thread;

/// Threads at most: more than any machine that this is run on makes use of.
const JOBS: u64 = 256;
/// Minutes at most: a year.
const MINUTES: f64 = 366.0 * 24.0 * 60.0;

/// How many threads.
pub(super) fn jobs(text: &str) -> Result<usize, String> {
    whole(text, 1..=JOBS)
}

/// One thread per processor.
pub(super) fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(JOBS as usize)
}

/// How many cases: none would prove nothing.
pub(super) fn seeds(text: &str) -> Result<u64, String> {
    whole(text, 1..=u64::MAX)
}

/// Which seed comes first.
pub(super) fn start(text: &str) -> Result<u64, String> {
    whole(text, 0..=u64::MAX)
}

/// Which life of a broker.
pub(super) fn life(text: &str) -> Result<u64, String> {
    whole(text, 1..=u64::MAX)
}

/// How many runs of a case that is made small: the first two tell how it fails.
pub(super) fn runs(text: &str) -> Result<u32, String> {
    whole(text, 2..=u64::from(u32::MAX))
}

fn whole<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    let number = number.and_then(|number: u64| T::try_from(number).ok());
    number.ok_or_else(|| format!("give a whole number from {} to {}", range.start(), range.end()))
}

/// How long.
pub(super) fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes| *minutes > 0.0 && *minutes <= MINUTES);
    minutes.ok_or_else(|| format!("give a number of minutes above 0 and up to {MINUTES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_in_its_range() {
        assert_eq!((jobs("1"), jobs("256"), start("0")), (Ok(1), Ok(256), Ok(0)));
        assert_eq!(runs("4294967295"), Ok(u32::MAX));
        for text in ["0", "-1", "257", "1.0", "1e1", "", "18446744073709551616"] {
            assert_eq!(jobs(text), Err("give a whole number from 1 to 256".to_owned()), "{text}");
        }
    }

    #[test]
    fn minutes_are_a_time_that_there_is() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for text in ["inf", "nan", "-1", "0", "-0", "1e300", "", "five"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }
}
