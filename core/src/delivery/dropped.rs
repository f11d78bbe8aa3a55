//! Dropped: the rows for which a window had no room.
//!
//! Owns: which they are, which of them are awaited, and when each came last.
//! Must not know: the rows that are here, and how a replay is asked for.
//!
//! 1. What comes behind the lowest that is awaited is not taken either: it would be shown before it. That ends with
//!    the row, or with a replay that passes over it: one that brings again what came behind it.
//! 2. They come again only with a replay, and in order. What a whole replay has not brought the engine has
//!    given up.
//! 3. At most [`limits::WINDOW_ROWS`] are known of each kind; the highest goes first.

use super::remembered::fingerprint;
use crate::limits;
use alloc::collections::BTreeMap;

/// A number, and the fingerprint of a delivery id that came under it.
pub(super) type Place = (u64, u64);

/// When one came last, and how large it was.
#[derive(Clone, Copy, Debug)]
struct Came {
    round: u64,
    /// As the how manieth.
    turn: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Dropped {
    highest: u64,
    turns: u64,
    /// The numbers under which one may still come, and what came there last.
    awaited: BTreeMap<u64, Came>,
    places: BTreeMap<Place, Came>,
}

impl Dropped {
    /// There is no room for `seq` and its `bytes`, which came in `round`.
    pub(super) fn note(&mut self, seq: u64, id: &str, bytes: usize, round: u64) {
        self.highest = self.highest.max(seq);
        self.turns += 1;
        let came = Came { round, turn: self.turns, bytes };
        self.awaited.insert(seq, came);
        if self.awaited.len() > limits::WINDOW_ROWS {
            self.awaited.pop_last();
        }
        self.places.insert((seq, fingerprint(id)), came);
        if self.places.len() > limits::WINDOW_ROWS {
            self.places.pop_last();
        }
    }

    /// There is room for `seq` now: nothing waits for it any more, unless another one under its number had none either.
    pub(super) fn found_room(&mut self, seq: u64, id: &str) {
        self.places.remove(&(seq, fingerprint(id)));
        if self.under(seq).next().is_none() {
            self.awaited.remove(&seq);
        }
    }

    /// Those that came under `seq`, and in which replay round each came last.
    pub(super) fn under(&self, seq: u64) -> impl Iterator<Item = (Place, u64)> {
        self.places.range((seq, 0)..=(seq, u64::MAX)).map(|(place, came)| (*place, came.round))
    }

    /// All of them.
    pub(super) fn places(&self) -> impl Iterator<Item = (Place, u64)> {
        self.places.iter().map(|(place, came)| (*place, came.round))
    }

    /// The cursor is at `acked`.
    pub(super) fn pass(&mut self, acked: u64) {
        while self.places.first_key_value().is_some_and(|((low, _), _)| *low <= acked) {
            self.places.pop_first();
        }
        while self.awaited.first_key_value().is_some_and(|(low, _)| *low <= acked) {
            self.awaited.pop_first();
        }
    }

    /// Whether `seq`, which comes in `round`, is behind one that may still come (invariant 1).
    pub(super) fn is_before(&mut self, seq: u64, id: &str, round: u64) -> bool {
        let came = self.places.get(&(seq, fingerprint(id)));
        let came_behind = came.filter(|came| came.round < round).map_or(0, |came| came.turn);
        let passed = |(_, came): &(u64, Came)| came.turn < came_behind;
        while self.lowest_below(seq).is_some_and(|lowest| passed(&lowest)) {
            self.awaited.pop_first();
        }
        self.lowest_below(seq).is_some()
    }

    fn lowest_below(&self, seq: u64) -> Option<(u64, Came)> {
        self.awaited.first_key_value().filter(|(lowest, _)| **lowest < seq).map(|(seq, came)| (*seq, *came))
    }

    /// The replay of `round` is over (invariant 2).
    pub(super) fn end_replay(&mut self, round: u64) {
        self.places.retain(|_, came| came.round >= round);
        self.awaited.retain(|_, came| came.round >= round);
        if self.awaited.is_empty() {
            self.highest = 0;
        }
    }

    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// The lowest that may still come, and its payload bytes.
    pub(super) fn lowest(&self) -> Option<(u64, usize)> {
        self.awaited.first_key_value().map(|(first, came)| (*first, came.bytes))
    }
}
