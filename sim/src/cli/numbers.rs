//! Numbers on the command line, and what they must be.
//!
//! Owns: the bounds. Must not know: what a number is for.

use clap::builder::RangedU64ValueParser;
use std::num::NonZero;
use std::thread;

/// Threads at most: more than any machine that this is run on makes use of.
const JOBS: u64 = 256;
/// Minutes at most: a year.
const MINUTES: f64 = 366.0 * 24.0 * 60.0;

/// How many threads.
pub(super) fn jobs() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=JOBS)
}

/// One thread per processor.
pub(super) fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(JOBS as usize)
}

/// How many cases: none would prove nothing.
pub(super) fn seeds() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(1..)
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
    fn minutes_are_a_time_that_there_is() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for text in ["inf", "nan", "-1", "0", "-0", "1e300", "", "five"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }
}
