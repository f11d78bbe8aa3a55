//! The trace of a run: one hash of all that happened, and a story for whoever listens.
//!
//! Owns: the digest, and the hour of the listener. Must not know: what the facts mean.
//!
//! 1. Two runs of one case have equal digests, whether or not somebody listens; the first different
//!    moment is where they part.
//! 2. Without a listener nothing is put into words: a fact goes into the hash as it is.

use crate::story::{Fact, Moment, Narrator};
use rustc_hash::FxHasher;
use std::fmt::{Arguments, Debug};
use std::hash::{Hash, Hasher};

/// Where moments go.
pub type Sink<'a> = dyn FnMut(Moment) + 'a;

/// Facts: their hash, and who listens to their story.
pub(super) struct Trace<'a> {
    listener: Option<(&'a mut Sink<'a>, Narrator)>,
    hash: FxHasher,
}

impl<'a> Trace<'a> {
    /// A trace that tells `sink`, if there is one.
    pub(super) fn new(sink: Option<&'a mut Sink<'a>>) -> Self {
        Self { listener: sink.map(|sink| (sink, Narrator::new())), hash: FxHasher::default() }
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
        if let Some((sink, narrator)) = &mut self.listener
            && let Some(moment) = narrator.tell(now, told)
        {
            sink(moment);
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
        let mut sink = |moment: Moment| heard.push(moment);
        let mut trace = Trace::new(Some(&mut sink));
        trace.event(1_500_000, "FAULT", &"cut");
        let told = trace.digest();
        let mut deaf = Trace::new(None);
        deaf.event(1_500_000, "FAULT", &"cut");
        assert_eq!(told, deaf.digest());
        assert_eq!((heard[0].at, heard[0].text.as_str()), (1_500_000, "\"cut\""));
    }
}
