//! Proving: when what is missing is gone.
//!
//! Owns: what a message that comes again proves of those below it, and what takes that back.
//! Must not know: what finds room, and when the cursor moves.
//!
//! 1. Only one and the same message, come again with [`limits::HOLE_PROOFS`] replays, proves anything (`Repeats`).
//! 2. What came, and is not here, is not proven gone by replays that brought it, however many go on side by side: for
//!    [`limits::REPLAY_REST`] nothing that stands above it counts.
//!
//! The window's invariants stand there.

use super::{HOLES, Window};
use crate::delivery::repeats::{Again, Repeats};
use crate::limits;
use crate::time::Mono;
use alloc::collections::BTreeSet;

impl Window {
    /// A message under `seq` came again: whatever is missing below it was not in that replay (invariant 1).
    pub(super) fn prove(&mut self, seq: u64, repeat: Again, round: u64) {
        if repeat.is_of_a_replay {
            self.repeated_in = round;
        }
        self.counted = self.counted.max(seq);
        if repeat.is_proof && self.proven < seq && !canary!(GapNeverClosed) {
            self.proven = seq;
            let given_up = self.shared.prove(seq);
            self.give_up(given_up);
        }
    }

    /// Whether what comes again under `seq` may prove something at `now`.
    pub(super) fn may_prove(&self, seq: u64, now: Mono) -> bool {
        self.unproven.is_none_or(|(low, until)| seq < low || now >= until)
    }

    /// What came under `seq` at `now` is not here: none of the replays so far has proven it gone, nor does the rest
    /// of one that brought it.
    pub(super) fn start_proofs_over(&mut self, seq: u64, now: Mono) {
        self.proven = self.proven.min(seq);
        let low = self.unproven.filter(|(_, until)| now < *until).map_or(seq, |(low, _)| low.min(seq));
        self.unproven = Some((low, now.after(limits::REPLAY_REST)));
        if seq <= self.counted {
            let rows = self.rows.range_mut(seq..=self.counted).map(|(_, row)| &mut row.repeats);
            rows.chain(self.shared.repeats_of(seq, self.counted)).for_each(Repeats::start_over);
            self.counted = seq - 1;
        }
    }

    /// Other messages under these numbers are not waited for any more.
    pub(super) fn give_up(&mut self, numbers: BTreeSet<u64>) {
        numbers.into_iter().for_each(|seq| self.note_hole(seq, seq));
        self.advance();
    }

    pub(super) fn note_hole(&mut self, low: u64, high: u64) {
        self.holes.push_back((low, high));
        if self.holes.len() > HOLES {
            self.holes.pop_front();
        }
    }
}
