//! The trace of a run: one hash of all that happened, and a line per event for people who listen.
//!
//! Owns: the form of a line, and the digest. Must not know: what the events mean.
//!
//! 1. Two runs of one case have equal digests, whether or not somebody listens; the first different
//!    line is where they part.
//! 2. Without a listener nothing is put into words: a fact goes into the hash as it is.

use rustc_hash::FxHasher;
use std::fmt::{Arguments, Debug};
use std::hash::{Hash, Hasher};

/// Where lines go.
pub type Sink<'a> = dyn FnMut(&str) + 'a;

/// Longest line that is printed, in characters.
const LINE: usize = 180;

/// Lines and their hash.
pub(super) struct Trace<'a> {
    sink: Option<&'a mut Sink<'a>>,
    hash: FxHasher,
}

impl<'a> Trace<'a> {
    /// A trace that prints to `sink`, if there is one.
    pub(super) fn new(sink: Option<&'a mut Sink<'a>>) -> Self {
        Self { sink, hash: FxHasher::default() }
    }

    /// Adds a fact that speaks for itself: virtual time in µs, who, and what.
    pub(super) fn event(&mut self, now: u64, who: &'static str, fact: &(impl Hash + Debug)) {
        self.line(now, who, fact, format_args!("{fact:?}"));
    }

    /// Adds a fact with words of its own.
    pub(super) fn line(&mut self, now: u64, who: &'static str, fact: &impl Hash, words: Arguments<'_>) {
        (now, who).hash(&mut self.hash);
        fact.hash(&mut self.hash);
        if let Some(sink) = &mut self.sink {
            let text: String = words.to_string().chars().take(LINE).collect();
            sink(&format!(
                "{:>5}.{:06}  {who:<9} {}",
                now / 1_000_000,
                now % 1_000_000,
                text.replace('\n', "\u{2424}")
            ));
        }
    }

    /// The hash of all facts so far.
    pub(super) fn digest(&self) -> u64 {
        self.hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(facts: &[(u64, &'static str, &str)]) -> u64 {
        let mut trace = Trace::new(None);
        for (now, who, fact) in facts {
            trace.event(*now, who, fact);
        }
        trace.digest()
    }

    #[test]
    fn time_author_fact_and_order_make_the_digest() {
        let facts = [(1, "<", "one"), (2, ">", "two")];
        assert_eq!(digest(&facts), digest(&facts));
        let others = [
            [(1, "<", "two"), (2, ">", "one")],
            [(1, "<", "one"), (3, ">", "two")],
            [(1, "<", "one"), (2, "<", "two")],
        ];
        for other in others {
            assert_ne!(digest(&facts), digest(&other));
        }
    }

    #[test]
    fn a_listener_does_not_change_the_digest_and_gets_short_lines() {
        let mut heard = Vec::new();
        let mut sink = |line: &str| heard.push(line.to_owned());
        let mut trace = Trace::new(Some(&mut sink));
        trace.event(1_500_000, "<", &"x\ny".repeat(100));
        let told = trace.digest();
        let mut deaf = Trace::new(None);
        deaf.event(1_500_000, "<", &"x\ny".repeat(100));
        assert_eq!(told, deaf.digest());
        assert!(heard[0].starts_with("    1.500000  <") && heard[0].chars().count() < 220);
    }
}
