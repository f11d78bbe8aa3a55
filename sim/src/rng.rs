//! Keyed randomness of a simulation.
//!
//! Owns: every draw. Must not know: what is drawn for.
//!
//! 1. A draw depends on the seed, the stream and the key only, so leaving one step of a plan out
//!    changes no draw of the others.
//! 2. Integers only.

/// What a draw is for. Draws of different streams are independent.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// The broker's own seed; key = life.
    Boot,
    /// Sizes and weights of the plan; key = position.
    Shape,
    /// The steps of the plan; key = number of the step.
    Step,
    /// What kind of program an agent is; key = process.
    Program,
    /// What a program does; key = process and turn.
    Turn,
    /// How long the network takes; key = counter of frames.
    Network,
    /// How long a call takes, and how it ends; key = counter of calls.
    Call,
    /// How long the operating system takes; key = counter of operations.
    System,
    /// How a fault comes out; key = counter.
    Fault,
}

/// Draws from one seed.
#[derive(Clone, Copy, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A source keyed by `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5eed_0f5e_ed0f_5eed))
    }

    /// 64 bits.
    pub const fn word(self, stream: Stream, key: u64) -> u64 {
        mix(mix(self.0 ^ (stream as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93)).wrapping_add(key))
    }

    /// A number in `low..=high`.
    pub const fn between(self, stream: Stream, key: u64, low: u64, high: u64) -> u64 {
        low + self.word(stream, key) % (high - low + 1)
    }

    /// True in `per_mille` of 1 000 cases.
    pub const fn chance(self, stream: Stream, key: u64, per_mille: u64) -> bool {
        self.word(stream, key) % 1_000 < per_mille
    }

    /// Mostly small and sometimes large: uniform up to a bound that is itself `high` shifted down.
    pub const fn skewed(self, stream: Stream, key: u64, low: u64, high: u64) -> u64 {
        let word = self.word(stream, key);
        let bound = (high - low) >> (word % 8);
        low + (word >> 8) % (bound + 1)
    }
}

/// A key made of two numbers.
pub const fn key(one: u64, other: u64) -> u64 {
    mix(one).wrapping_add(other)
}

/// The finaliser of splitmix64.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_keyed_and_stay_in_their_range() {
        let rng = Rng::new(7);
        assert_eq!(rng.word(Stream::Step, 3), Rng::new(7).word(Stream::Step, 3));
        assert_ne!(rng.word(Stream::Step, 3), rng.word(Stream::Turn, 3));
        for key in 0..500 {
            assert!((5..=9).contains(&rng.between(Stream::Step, key, 5, 9)));
            assert!((2..=100).contains(&rng.skewed(Stream::Step, key, 2, 100)));
        }
    }
}
