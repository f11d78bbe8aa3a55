//! Repeats: what it proves that a message comes again.
//!
//! Owns: in which replay rounds one message came, and how often it must come again before whatever is missing below
//! it is gone.
//! Must not know: numbers, what is missing, the messages.
//!
//! 1. A replay brings a message once, and in order: each coming again is another replay, however many answers begin
//!    rounds in the middle of one. Comings of two messages may be of the same one, and are not added up.
//! 2. Two comings in one round count once: a frame may be doubled on its way.

use crate::limits;

#[derive(Debug)]
pub(super) struct Repeats {
    first_round: u64,
    last_round: u64,
    wanted: u8,
}

/// What it means that a message came again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// An answer has come since it came first.
    pub(super) is_of_a_replay: bool,
    /// It has come often enough: what is missing below it is gone.
    pub(super) is_proof: bool,
}

impl Repeats {
    /// It came for the first time.
    pub(super) const fn new(round: u64) -> Self {
        Self { first_round: round, last_round: round, wanted: limits::HOLE_PROOFS }
    }

    /// It came again; what that means. `counts`: the replay that brought it may prove something.
    pub(super) const fn again(&mut self, round: u64, counts: bool) -> Again {
        if self.last_round < round {
            self.last_round = round;
            self.wanted = self.wanted.saturating_sub(counts as u8);
        }
        Again { is_of_a_replay: self.first_round < round, is_proof: self.wanted == 0 }
    }

    /// Something below it came, which is not here: nothing so far has proven that gone.
    pub(super) const fn start_over(&mut self) {
        self.wanted = limits::HOLE_PROOFS;
    }

    /// The replay round in which it came first.
    pub(super) const fn first_round(&self) -> u64 {
        self.first_round
    }

    /// The one in which it came last.
    pub(super) const fn last_round(&self) -> u64 {
        self.last_round
    }
}
