//! Time as the core sees it.
//!
//! Owns: the two clocks' types and their saturating arithmetic.
//! Must not know: where readings come from. Nothing in this crate reads a clock.
//!
//! 1. `Mono` orders events and drives every timer; it never goes backwards once it has passed
//!    through `Clock::observe`.
//! 2. `Wall` is printed or sent, never compared and never used for a timer.

use core::fmt;

/// Microseconds since an arbitrary origin that survives suspend (drivers read `CLOCK_BOOTTIME`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Mono(pub u64);

/// Milliseconds since the Unix epoch. May step in either direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wall(pub i64);

/// One reading of both clocks, taken once per input by the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Drives timers.
    pub mono: Mono,
    /// Stamped on what people and the engine read.
    pub wall: Wall,
}

/// A length of time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Span(pub u64);

impl Span {
    /// The given number of milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// The given number of seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Twice as long, but at most `cap`.
    #[must_use]
    pub fn doubled(self, cap: Self) -> Self {
        Self(self.0.saturating_mul(2)).min(cap)
    }
}

impl Mono {
    /// The instant `span` later; saturates.
    #[must_use]
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

/// Clamps the driver's readings so that `Mono` never runs backwards (invariant 1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    now: Now,
}

impl Clock {
    /// A clock that starts at `now`.
    pub(crate) const fn new(now: Now) -> Self {
        Self { now }
    }

    /// Takes a reading and returns it clamped, with how far the clock moved.
    pub(crate) fn observe(&mut self, reading: Now) -> (Now, Span) {
        let mono = self.now.mono.max(reading.mono);
        let moved = mono.since(self.now.mono);
        self.now = Now { mono, wall: reading.wall };
        (self.now, moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_from_the_past_is_clamped() {
        let mut clock = Clock::new(Now { mono: Mono(10), wall: Wall(5) });
        let (now, moved) = clock.observe(Now { mono: Mono(3), wall: Wall(1) });
        assert_eq!((now.mono, moved), (Mono(10), Span(0)));
        assert_eq!(now.wall, Wall(1), "the wall clock may step back");
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Mono(u64::MAX).after(Span::secs(1)), Mono(u64::MAX));
        assert_eq!(Mono(1).since(Mono(2)), Span(0));
        assert_eq!(Span::secs(u64::MAX).doubled(Span::secs(3)), Span::secs(3));
    }
}
