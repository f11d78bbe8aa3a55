//! Shared: the numbers that an engine has given to more than one message.
//!
//! Owns: which other messages came under the number of a row, and what has become of each.
//! Must not know: the row itself, order, acks.
//!
//! 1. A number is open as long as another message under it is here and not settled, or is missing: it found no room,
//!    or was given back with its agent.
//! 2. One that is missing is given up when what is missing up to there is proven gone, or after
//!    [`limits::HOLE_PROOFS`] whole replays that did not bring it.
//! 3. At most [`limits::REMEMBERED`] of either kind are known; that of the highest number goes first.

use super::dropped::Place;
use super::remembered::fingerprint;
use super::repeats::Repeats;
use super::row::RowKey;
use crate::limits;
use alloc::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
struct Here {
    repeats: Repeats,
    /// Where it is, as long as it is not settled.
    open: Option<RowKey>,
}

#[derive(Debug)]
struct Missing {
    /// The last replay round in which it came.
    came_in: u64,
    /// How many whole replays have not brought it, and the round of the last one.
    replays: u8,
    last_replay: u64,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    here: BTreeMap<Place, Here>,
    missing: BTreeMap<Place, Missing>,
}

impl Shared {
    /// Another message under `seq` was taken in `round`; `open` is where it is, unless it is settled at once.
    pub(super) fn take(&mut self, seq: u64, id: &str, open: Option<RowKey>, round: u64) {
        let place = (seq, fingerprint(id));
        self.missing.remove(&place);
        self.here.insert(place, Here { repeats: Repeats::new(round), open });
        if self.here.len() > limits::REMEMBERED {
            self.here.pop_last();
        }
    }

    /// A message under `seq` that came in `round` is not here: it must come again.
    pub(super) fn miss(&mut self, seq: u64, id: &str, round: u64) {
        self.miss_at((seq, fingerprint(id)), round);
    }

    /// See [`Self::miss`].
    pub(super) fn miss_at(&mut self, place: Place, round: u64) {
        self.missing.insert(place, Missing { came_in: round, replays: 0, last_replay: round });
        if self.missing.len() > limits::REMEMBERED {
            self.missing.pop_last();
        }
    }

    /// It has come, and is the row of its number.
    pub(super) fn is_row(&mut self, seq: u64, id: &str) {
        self.missing.remove(&(seq, fingerprint(id)));
    }

    /// The repeats of another message under `seq`, if it is here or was.
    pub(super) fn repeats(&mut self, seq: u64, id: &str) -> Option<&mut Repeats> {
        self.here.get_mut(&(seq, fingerprint(id))).map(|here| &mut here.repeats)
    }

    /// Those of all numbers from `low` to `high`.
    pub(super) fn repeats_of(&mut self, low: u64, high: u64) -> impl Iterator<Item = &mut Repeats> {
        self.here.range_mut((low, 0)..=(high, u64::MAX)).map(|(_, here)| &mut here.repeats)
    }

    /// Whether this message is missing.
    pub(super) fn misses(&self, seq: u64, id: &str) -> bool {
        self.missing.contains_key(&(seq, fingerprint(id)))
    }

    /// Whether any is missing.
    pub(super) fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether another message under `seq` must be waited for (invariant 1).
    pub(super) fn is_open(&self, seq: u64) -> bool {
        let all = (seq, 0)..=(seq, u64::MAX);
        let is_open = |(_, here): (&Place, &Here)| here.open.is_some();
        self.here.range(all.clone()).any(is_open) || self.missing.range(all).next().is_some()
    }

    /// The message at `key` is settled.
    pub(super) fn settle(&mut self, key: RowKey) {
        self.here.values_mut().for_each(|here| _ = here.open.take_if(|open| *open == key));
    }

    /// The cursor is at `seq`.
    pub(super) fn pass(&mut self, seq: u64) {
        while self.here.first_key_value().is_some_and(|((low, _), _)| *low <= seq) {
            self.here.pop_first();
        }
        while self.missing.first_key_value().is_some_and(|((low, _), _)| *low <= seq) {
            self.missing.pop_first();
        }
    }

    /// The agent leaves: what is here and not settled is missing, since the round that it came in last; what is
    /// settled comes again as something known.
    pub(super) fn give_back(&mut self) {
        for (place, here) in core::mem::take(&mut self.here) {
            if here.open.is_some() {
                self.miss_at(place, here.repeats.last_round());
            }
        }
    }

    /// What is missing below `seq` is gone. The numbers under which any was.
    pub(super) fn prove(&mut self, seq: u64) -> BTreeSet<u64> {
        let left = self.missing.split_off(&(seq, 0));
        let gone = core::mem::replace(&mut self.missing, left);
        gone.into_keys().map(|(number, _)| number).collect()
    }

    /// The replay of `round` is over. The numbers under which any is not waited for any more (invariant 2).
    pub(super) fn end_replay(&mut self, round: u64) -> BTreeSet<u64> {
        let mut given_up = BTreeSet::new();
        self.missing.retain(|(number, _), missing| {
            if missing.came_in < round && missing.last_replay < round {
                missing.replays = missing.replays.saturating_add(1);
                missing.last_replay = round;
            }
            let is_gone = missing.replays >= limits::HOLE_PROOFS;
            given_up.extend(is_gone.then_some(*number));
            !is_gone
        });
        given_up
    }
}
