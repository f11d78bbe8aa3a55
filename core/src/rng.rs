//! Keyed randomness.
//!
//! Owns: every random decision of the core.
//! Must not know: an entropy source. The boot seed is the only one.
//!
//! 1. A draw depends on the seed, the stream and the key, never on how many draws came before, so a
//!    shrunk case keeps the draws of the steps that remain.
//! 2. Integers only.

use alloc::string::String;
use core::fmt::Write as _;
use sha2::{Digest as _, Sha256};

/// What a draw is for. Draws of different streams are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Jitter of a reconnect or mint delay; key = attempt number.
    Backoff,
    /// Ids of our request frames; key = counter.
    FrameId,
    /// The instance id of this broker; key = 0.
    Instance,
    /// Suffixes of names that were taken; key = attempt.
    NameSuffix,
    /// Idempotency keys and event ids of messages sent through the local API; key = counter.
    Publish,
}

/// Draws from the boot seed.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    seed: [u8; 32],
}

impl Rng {
    /// A source keyed by `seed`.
    pub(crate) const fn new(seed: [u8; 32]) -> Self {
        Self { seed }
    }

    fn bytes(&self, stream: Stream, key: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update([stream as u8]);
        hash.update(key.to_le_bytes());
        hash.finalize().into()
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&self, stream: Stream, key: u64, bound: u64) -> u64 {
        let bytes = self.bytes(stream, key);
        let word = u64::from_le_bytes(bytes[..8].try_into().expect("a digest has 32 bytes"));
        // Multiply-shift keeps the result below the bound without a division's bias at these sizes.
        ((u128::from(word) * u128::from(bound)) >> 64) as u64
    }

    /// `2 * bytes` lower-case hex digits; `bytes` is at most 32.
    pub(crate) fn hex(&self, stream: Stream, key: u64, bytes: usize) -> String {
        hex(&self.bytes(stream, key)[..bytes])
    }
}

/// `bytes` as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_keyed_not_sequential() {
        let rng = Rng::new([7; 32]);
        let late = rng.below(Stream::Backoff, 9, 1_000);
        let _ = rng.below(Stream::Backoff, 1, 1_000);
        assert_eq!(rng.below(Stream::Backoff, 9, 1_000), late);
        assert_ne!(rng.hex(Stream::FrameId, 1, 8), rng.hex(Stream::Publish, 1, 8));
        assert!((0..200).all(|key| rng.below(Stream::Backoff, key, 10) < 10));
        assert_eq!(rng.below(Stream::Backoff, 3, 0), 0);
    }
}
