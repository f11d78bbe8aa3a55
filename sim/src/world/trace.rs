//! The trace of a run: one hash of all that happened, and the facts themselves for whoever listens.
//!
//! Owns: the digest, and who listens. Must not know: what the facts mean.
//!
//! 1. Two runs of one case have equal digests, whether or not somebody listens; the first different
//!    fact is where they part.
//! 2. Without a listener nothing is put into words: a fact goes into the hash as it is.

use crate::story::Fact;
use rustc_hash::FxHasher;
use std::fmt::{Arguments, Debug};
use std::hash::{Hash, Hasher};

/// Where facts go: virtual time in µs, and what happened, with every secret that is in it.
pub type Sink<'a> = dyn FnMut(u64, &Fact<'_>) + 'a;

/// Facts: their hash, and who listens.
pub(super) struct Trace<'a> {
    sink: Option<&'a mut Sink<'a>>,
    hash: FxHasher,
}

impl<'a> Trace<'a> {
    /// A trace that tells `sink`, if there is one.
    pub(super) fn new(sink: Option<&'a mut Sink<'a>>) -> Self {
        Self { sink, hash: FxHasher::default() }
    }

    /// Adds a fact that speaks for itself: virtual time in µs, who, and what.
    pub(super) fn event(&mut self, now: u64, who: &'static str, fact: &(impl Hash + Debug)) {
        self.line(now, who, fact, format_args!("{fact:?}"));
    }

    /// Adds a fact with words of its own.
    pub(super) fn line(&mut self, now: u64, who: &'static str, fact: &impl Hash, words: Arguments<'_>) {
        self.tell(now, who, fact, &Fact::Said(who, words));
    }

    /// Adds a fact that the story has a form for.
    pub(super) fn tell(&mut self, now: u64, who: &'static str, fact: &impl Hash, told: &Fact<'_>) {
        (now, who).hash(&mut self.hash);
        fact.hash(&mut self.hash);
        if let Some(sink) = &mut self.sink {
            sink(now, told);
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
    fn a_listener_does_not_change_the_digest() {
        let mut heard = Vec::new();
        let mut sink = |now: u64, fact: &Fact<'_>| heard.push((now, format!("{fact:?}")));
        let mut trace = Trace::new(Some(&mut sink));
        trace.event(1_500_000, "FAULT", &"cut");
        let told = trace.digest();
        let mut deaf = Trace::new(None);
        deaf.event(1_500_000, "FAULT", &"cut");
        assert_eq!(told, deaf.digest());
        assert!(heard[0].0 == 1_500_000 && heard[0].1.contains("cut"), "{heard:?}");
    }
}
