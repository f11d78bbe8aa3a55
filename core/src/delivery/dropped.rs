//! Dropped: the rows for which a window had no room.
//!
//! Owns: which they are, the lowest and the highest of them, and when the last one came.
//! Must not know: the rows that are here, and how a replay is asked for.
//!
//! 1. What comes behind the lowest is not taken either: it would be shown before it. That ends with the row, or
//!    with a replay that passes over it.
//! 2. They come again only with a replay, and in order. What a whole replay has not brought the engine has
//!    given up.
//! 3. At most [`limits::WINDOW_ROWS`] are told apart from others under their numbers; the highest goes first.

use super::remembered::fingerprint;
use crate::limits;
use alloc::collections::BTreeMap;

/// A number, and the fingerprint of a delivery id that came under it.
pub(super) type Place = (u64, u64);

#[derive(Debug, Default)]
pub(super) struct Dropped {
    highest: u64,
    /// The lowest that may still come, and in which replay round it came last.
    first: Option<(u64, u64)>,
    /// The last replay round in which any came, and the lowest that came in it.
    round: u64,
    lowest_in_round: Option<u64>,
    /// Which they are, and in which replay round each came last.
    places: BTreeMap<Place, u64>,
}

impl Dropped {
    /// There is no room for `seq`, which came in `round`.
    pub(super) fn note(&mut self, seq: u64, id: &str, round: u64) {
        self.places.insert((seq, fingerprint(id)), round);
        if self.places.len() > limits::WINDOW_ROWS {
            self.places.pop_last();
        }
        self.highest = self.highest.max(seq);
        let lowest = self.lowest_in_round.filter(|lowest| self.round == round && *lowest < seq);
        (self.round, self.lowest_in_round) = (round, Some(lowest.unwrap_or(seq)));
        if self.first.is_none_or(|(first, _)| seq <= first) {
            self.first = Some((seq, round));
        }
    }

    /// There is room for `seq` now: nothing waits for it any more, unless another one under its number had none either.
    pub(super) fn found_room(&mut self, seq: u64, id: &str) {
        self.places.remove(&(seq, fingerprint(id)));
        if self.under(seq).next().is_none() {
            self.first.take_if(|(first, _)| *first == seq);
            self.lowest_in_round.take_if(|lowest| *lowest == seq);
        }
    }

    /// Those that came under `seq`, and in which replay round each came last.
    pub(super) fn under(&self, seq: u64) -> impl Iterator<Item = (Place, u64)> {
        self.places.range((seq, 0)..=(seq, u64::MAX)).map(|(place, round)| (*place, *round))
    }

    /// The cursor is at `acked`.
    pub(super) fn pass(&mut self, acked: u64) {
        while self.places.first_key_value().is_some_and(|((low, _), _)| *low <= acked) {
            self.places.pop_first();
        }
    }

    /// Whether `seq`, which comes in `round`, is behind one that may still come (invariant 1).
    pub(super) fn is_before(&mut self, seq: u64, acked: u64, round: u64) -> bool {
        let last = self.highest;
        let is_passed = |(first, came_in): &mut (u64, u64)| {
            *first <= acked || (*first < seq && seq <= last && *came_in < round)
        };
        if self.first.take_if(is_passed).is_some() {
            self.first = self.lowest_in_round.map(|lowest| (lowest, self.round));
            self.first.take_if(is_passed);
        }
        self.first.is_some_and(|(first, _)| first < seq)
    }

    /// The replay of `round` is over (invariant 2).
    pub(super) fn end_replay(&mut self, round: u64) {
        if self.round < round {
            *self = Self::default();
        } else {
            self.first = self.lowest_in_round.map(|lowest| (lowest, self.round));
            self.places.retain(|_, came_in| *came_in >= round);
        }
    }

    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// The lowest that may still come.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.first.map(|(first, _)| first)
    }
}
