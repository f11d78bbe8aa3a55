//! Dropped: the rows that came and are not here: there was no room for them, or their agent left without them.
//!
//! Owns: which they are, which of them are awaited, and when each came last.
//! Must not know: the rows that are here, and how a replay is asked for.
//!
//! 1. What comes behind the lowest that is awaited is not taken either: it would be shown before it. That ends with
//!    the row, or with a replay that passes over it: one that brings again what came behind it.
//! 2. They come again only with a replay, and in order. What a whole replay has not brought the engine has
//!    given up.
//! 3. At most [`limits::WINDOW_ROWS`] are known of each kind; the highest goes first. Of those only is known when the
//!    last one came.

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
    /// When one last came that is not known any more, above all that are.
    beyond: Option<Came>,
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
        self.know((seq, fingerprint(id)), came);
    }

    /// The agent leaves, without `seq`, which came in `round`.
    pub(super) fn give_back(&mut self, seq: u64, id: &str, round: u64) {
        self.know((seq, fingerprint(id)), Came { round, turn: self.turns, bytes: 0 });
    }

    fn know(&mut self, place: Place, came: Came) {
        self.places.insert(place, came);
        if self.places.len() > limits::WINDOW_ROWS {
            self.beyond = self.places.pop_last().map(|(_, came)| came);
        }
    }

    /// The agent has left: none is awaited, and as many are known as of what it took.
    pub(super) fn await_none(&mut self) {
        self.awaited.clear();
        (self.highest, self.beyond) = (0, None);
        while self.places.len() > limits::REMEMBERED {
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

    /// The lowest number of all, awaited or not.
    pub(super) fn lowest_known(&self) -> Option<u64> {
        self.places.first_key_value().map(|((lowest, _), _)| *lowest)
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
        let place = (seq, fingerprint(id));
        let is_beyond = self.places.last_key_value().is_some_and(|(last, _)| *last < place);
        let came = self.places.get(&place).copied().or_else(|| self.beyond.filter(|_| is_beyond));
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
        self.beyond.take_if(|came| came.round < round);
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
