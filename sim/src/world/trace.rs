//! The trace of a run: a line per event for people, and one hash of them all.
//!
//! Owns: the form of a line, and the digest. Must not know: what the events mean.
//!
//! 1. Two runs of one case have equal digests; the first different line is where they part.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

/// Where lines go.
pub type Sink<'a> = dyn FnMut(&str) + 'a;

/// Longest line that is printed, in characters.
const LINE: usize = 180;

/// Lines and their hash.
pub(super) struct Trace<'a> {
    sink: Option<&'a mut Sink<'a>>,
    hash: DefaultHasher,
}

impl<'a> Trace<'a> {
    /// A trace that prints to `sink`, if there is one.
    pub(super) fn new(sink: Option<&'a mut Sink<'a>>) -> Self {
        Self { sink, hash: DefaultHasher::new() }
    }

    /// Adds a line: virtual time in µs, who, and what.
    pub(super) fn line(&mut self, now: u64, who: &str, what: fmt::Arguments<'_>) {
        self.hash.write_u64(now);
        self.hash.write(who.as_bytes());
        let _ = fmt::write(&mut Hashed(&mut self.hash), what);
        if let Some(sink) = &mut self.sink {
            let text: String = what.to_string().chars().take(LINE).collect();
            sink(&format!(
                "{:>5}.{:06}  {who:<9} {}",
                now / 1_000_000,
                now % 1_000_000,
                text.replace('\n', "\u{2424}")
            ));
        }
    }

    /// The hash of all lines so far.
    pub(super) fn digest(&self) -> u64 {
        self.hash.finish()
    }
}

struct Hashed<'a>(&'a mut DefaultHasher);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
