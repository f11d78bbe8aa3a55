//! Backoff: how long to wait before the next attempt.
//!
//! Owns: the growing delay with full jitter.
//! Must not know: what is attempted.
//!
//! 1. A delay is drawn evenly from zero to the current ceiling; the ceiling starts at
//!    [`limits::BACKOFF_FIRST`] and doubles to [`limits::BACKOFF_MAX`].
//! 2. Only [`Backoff::reset`] makes it small again.

use crate::limits;
use crate::rng::{Rng, Stream};
use crate::time::Span;

#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Span,
    draws: u64,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { ceiling: limits::BACKOFF_FIRST, draws: 0 }
    }

    /// The delay before the next attempt.
    pub(super) fn next(&mut self, rng: &Rng) -> Span {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.doubled(limits::BACKOFF_MAX);
        self.jitter(rng, ceiling)
    }

    /// A delay that does not grow the following ones.
    pub(super) fn short(&mut self, rng: &Rng) -> Span {
        self.jitter(rng, limits::BACKOFF_FIRST)
    }

    pub(super) const fn reset(&mut self) {
        self.ceiling = limits::BACKOFF_FIRST;
    }

    fn jitter(&mut self, rng: &Rng, ceiling: Span) -> Span {
        self.draws += 1;
        Span(rng.below(Stream::Backoff, self.draws, ceiling.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_in_the_envelope_and_shrink_only_on_reset() {
        let rng = Rng::new([1; 32]);
        let mut backoff = Backoff::new();
        let mut ceiling = limits::BACKOFF_FIRST;
        for _ in 0..50 {
            assert!(backoff.next(&rng) < ceiling);
            ceiling = ceiling.doubled(limits::BACKOFF_MAX);
        }
        backoff.reset();
        assert!(backoff.next(&rng) < limits::BACKOFF_FIRST);
    }
}
