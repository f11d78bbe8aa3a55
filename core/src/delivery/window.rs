//! The delivery window of one identity: from its cursor upward.
//!
//! Owns: the cursor, the rows above it, the order in which they go to the terminal, and what may be acked.
//! Must not know: frames of the wire, keystrokes, other identities.
//!
//! 1. The cursor is the end of the longest prefix of settled rows and proven holes; it never goes back. It does not
//!    pass a number while another message that came under it is open, nor while the row's message is open under
//!    another number.
//! 2. While the base is provisional no row is injected, but a second one under its number, and nothing acked.
//! 3. A row is queued when every lower row is at least queued, or when its owner says that each missing one has been
//!    waited for long enough: since the first row above it came.
//! 4. A sequence is a hole only after [`limits::HOLE_PROOFS`](crate::limits::HOLE_PROOFS) replays, each
//!    of which repeated one and the same higher row without bringing it.
//! 5. No delivery id of the last [`limits::REMEMBERED`](crate::limits::REMEMBERED) is queued twice.
//! 6. What comes behind a row that found no room is not taken either, but for another message under the number of
//!    a row that is here.
//! 7. What no replay would bring, an event or a row at or below the cursor, has as much room again.
//!
//! The rules are those of `core/PROTOCOL.md` §5.

mod accepting;
mod proving;

use super::dropped::Dropped;
use super::remembered::Remembered;
use super::row::{Frame, Row, RowKey, RowState};
use super::shared::Shared;
use super::told::Told;
use super::turns::Turns;
use crate::limits;
use crate::link::{Answered, Sent};
use crate::time::Mono;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;

#[derive(Debug, PartialEq, Eq)]
enum Base {
    /// Stated by the engine: everything up to it was acked in an earlier life.
    Given(u64),
    /// Not stated, and no frame came yet, or the first ones are still being collected.
    Provisional,
    /// Found by watching.
    Found,
}

#[derive(Debug)]
pub(crate) struct Window {
    base: Base,
    acked: u64,
    told: Told,
    rows: BTreeMap<u64, Row>,
    /// Rows that have a gap directly below them.
    after_gap: BTreeSet<u64>,
    loose: BTreeMap<u64, Row>,
    next_loose: u64,
    /// What else came under the numbers above the cursor.
    shared: Shared,
    turns: Turns,
    remembered: Remembered,
    fan_outs: Remembered,
    /// Ranges that were proven holes, so that a row that turns up after all is not lost.
    holes: VecDeque<(u64, u64)>,
    /// What is missing below this sequence has been proven gone.
    proven: u64,
    /// What is here above this sequence has started its proofs over.
    counted: u64,
    /// From this sequence up nothing is proven before this instant.
    unproven: Option<(u64, Mono)>,
    /// The last replay round in which something came again.
    repeated_in: u64,
    /// Rows that are not settled.
    open: usize,
    bytes: usize,
    dropped: Dropped,
}

/// What is known of an identity that has left: what was acked, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Past {
    base: Base,
    acked: u64,
    told: Told,
    remembered: Remembered,
    fan_outs: Remembered,
    shared: Shared,
    dropped: Dropped,
    holes: VecDeque<(u64, u64)>,
}

impl Past {
    /// Whether a window that begins at `cursor`, if the engine states that, goes on with it.
    pub(crate) fn goes_on(&self, cursor: Option<u64>) -> bool {
        cursor.is_none_or(|cursor| self.base != Base::Provisional && cursor <= self.acked)
    }
}

/// Proven holes remembered per identity.
const HOLES: usize = 64;

impl Window {
    /// A window that starts behind `cursor`, if the engine stated one.
    pub(crate) fn new(cursor: Option<u64>) -> Self {
        Self {
            base: cursor.map_or(Base::Provisional, Base::Given),
            acked: cursor.unwrap_or(0),
            told: Told::new(cursor.unwrap_or(0)),
            rows: BTreeMap::new(),
            after_gap: BTreeSet::new(),
            loose: BTreeMap::new(),
            next_loose: 1,
            shared: Shared::default(),
            turns: Turns::default(),
            remembered: Remembered::new(limits::REMEMBERED),
            fan_outs: Remembered::new(limits::REMEMBERED),
            holes: VecDeque::new(),
            proven: 0,
            counted: 0,
            unproven: None,
            repeated_in: 0,
            open: 0,
            bytes: 0,
            dropped: Dropped::default(),
        }
    }

    /// A window that goes on from `now` where an earlier one of the identity ended.
    pub(crate) fn resume(past: Past, now: Mono) -> Self {
        let Past { base, acked, told, remembered, fan_outs, shared, dropped, holes } = past;
        // Replays that brought what it did not take, or brought that to nobody, may go on.
        let unproven = Some((0, now.after(limits::REPLAY_REST)));
        Self { base, acked, told, remembered, fan_outs, shared, dropped, holes, unproven, ..Self::new(None) }
    }

    /// The identity leaves. What it has not taken is as if it had never come; what it has is remembered, also
    /// where it may not be acked yet.
    pub(crate) fn into_past(mut self) -> Past {
        let unread = |row: &Row| row.state != RowState::Settled && row.frame.shown;
        for row in self.rows.values().chain(self.loose.values()).filter(|row| unread(row)) {
            self.remembered.forget(&row.frame.delivery_id.0);
            self.fan_outs.forget(&row.frame.delivery_id.0);
        }
        // Another one under its number may come before it.
        for (seq, row) in self.rows.iter().filter(|(_, row)| unread(row)) {
            self.dropped.give_back(*seq, &row.frame.delivery_id.0, row.repeats.last_round());
        }
        self.shared.give_back();
        self.dropped.await_none();
        let Self { base, acked, told, remembered, fan_outs, shared, dropped, holes, .. } = self;
        Past { base, acked, told, remembered, fan_outs, shared, dropped, holes }
    }

    /// Everything up to this sequence may be acked; `None` while that is not known (invariant 2).
    pub(crate) fn cursor(&self) -> Option<u64> {
        (self.base != Base::Provisional).then_some(self.acked)
    }

    /// The ack that is due next, and whether it is the last one, if anything may be acked.
    pub(crate) fn next_ack(&self) -> Option<(u64, bool)> {
        let cursor = self.cursor().filter(|cursor| *cursor > 0)?;
        let next = self.told.next(cursor);
        Some((next, next == cursor))
    }

    /// This ack has left.
    pub(crate) fn acked(&mut self, seq: u64, sent: Option<Sent>) {
        self.told.acked(seq, sent);
    }

    /// The engine answered a request: acks sent before it have arrived.
    pub(crate) fn on_answer(&mut self, answered: Answered) {
        self.told.on_answer(answered);
    }

    /// A link begins: acks may be lost.
    pub(crate) fn begin_link(&mut self) {
        self.told.begin_link();
    }

    /// Whether the base is still open.
    pub(crate) fn is_provisional(&self) -> bool {
        self.base == Base::Provisional
    }

    /// Whether a row is missing below another, or was dropped for want of room.
    pub(crate) fn wants_replay(&self) -> bool {
        !self.after_gap.is_empty() || self.has_dropped()
    }

    /// Whether a frame was dropped for want of room and has not come again.
    pub(crate) fn has_dropped(&self) -> bool {
        let highest = self.rows.last_key_value().map_or(self.acked, |(seq, _)| *seq);
        self.dropped.highest() > highest || self.shared.has_missing()
    }

    /// Whether half of the room is free. Settled rows take none: only a replay frees that.
    pub(crate) fn has_room(&self) -> bool {
        self.open * 2 <= limits::WINDOW_ROWS && self.bytes * 2 <= limits::WINDOW_BYTES
    }

    /// Whether the lowest of what was dropped would be taken.
    pub(crate) fn would_take_dropped(&self) -> bool {
        let fits = |(seq, bytes)| self.is_awaited(seq) || !self.is_full(bytes, 1);
        self.dropped.lowest().is_none_or(fits)
    }

    /// Whether nothing goes on without what comes under `seq`.
    fn is_awaited(&self, seq: u64) -> bool {
        self.base != Base::Provisional
            && seq == self.next_seq()
            && self.rows.get(&seq).is_none_or(|row| row.state == RowState::Settled)
    }

    /// The sequence directly behind the cursor.
    const fn next_seq(&self) -> u64 {
        self.acked.saturating_add(1)
    }

    /// Delivery ids remembered, of rows or of events.
    pub(crate) fn remembered(&self) -> usize {
        self.remembered.len().max(self.fan_outs.len())
    }

    /// Payload bytes held.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows that are not settled.
    pub(crate) const fn open(&self) -> usize {
        self.open
    }

    /// The rows that are not settled, with the times they were tried.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (&Frame, u8)> {
        let unsettled = |row: &&Row| row.state != RowState::Settled;
        let rows = self.rows.values().chain(self.loose.values()).filter(unsettled);
        rows.map(|row| (&row.frame, row.attempts))
    }

    /// The replay of `round` has brought all that the engine keeps. What was dropped may be the first row, though,
    /// as long as that is not known.
    pub(crate) fn end_replay(&mut self, round: u64) {
        if self.base != Base::Provisional {
            self.dropped.end_replay(round);
            let given_up = self.shared.end_replay(round);
            self.give_up(given_up);
        }
    }

    fn insert(&mut self, seq: u64, frame: Frame, round: u64) {
        self.remembered.insert(&frame.delivery_id.0);
        self.bytes += frame.payload.len();
        self.open += 1;
        self.counted = self.counted.max(seq);
        self.rows.insert(seq, Row::new(frame, RowState::Held, round));
        self.note_gap(seq);
        self.note_gap(seq.saturating_add(1));
        if self.base != Base::Provisional {
            self.queue_in_order(seq);
            self.advance();
        }
    }

    /// Whether a row directly below `seq` is missing.
    fn note_gap(&mut self, seq: u64) {
        let missing = self.rows.contains_key(&seq)
            && self.base != Base::Provisional
            && seq > self.next_seq()
            && !self.rows.contains_key(&(seq - 1));
        if missing {
            self.after_gap.insert(seq);
        } else {
            self.after_gap.remove(&seq);
        }
    }

    /// Queues `seq`, and what waited for it, if nothing lower is missing or still held, or a later one was let past
    /// what is missing already (invariant 3).
    fn queue_in_order(&mut self, seq: u64) {
        let below_is_done = seq == self.next_seq()
            || self.rows.get(&(seq - 1)).is_some_and(|below| below.state != RowState::Held);
        let above = self.rows.range((Bound::Excluded(seq), Bound::Unbounded)).next();
        let is_overtaken = above.is_some_and(|(_, above)| above.state != RowState::Held);
        if !below_is_done && !is_overtaken && !canary!(OutOfOrder) {
            return;
        }
        let mut next = seq;
        while self.rows.get(&next).is_some_and(|row| row.state == RowState::Held) {
            self.queue(next);
            next = next.saturating_add(1);
        }
    }

    fn queue(&mut self, seq: u64) {
        let Some(row) = self.rows.get_mut(&seq) else {
            return;
        };
        if row.frame.shown {
            row.state = RowState::Queued;
            let mode = row.frame.mode;
            self.turns.enqueue(RowKey::Sequenced(seq), mode);
        } else {
            self.bytes -= row.settle();
            self.open -= 1;
        }
    }

    /// The first frames have been collected for long enough: the lowest of them is the first, whether there was
    /// room for it or not.
    fn fix_base(&mut self) {
        let Some(lowest) = self.rows.keys().next().copied() else {
            return;
        };
        let first = self.dropped.lowest_known().map_or(lowest, |dropped| lowest.min(dropped));
        self.base = Base::Found;
        self.acked = first - 1;
        self.told = Told::new(self.acked);
        let seqs: Vec<u64> = self.rows.keys().copied().collect();
        for seq in &seqs {
            self.note_gap(*seq);
        }
        for seq in seqs {
            self.queue_in_order(seq);
        }
        self.advance();
    }

    /// The wait for lower rows is over where a gap is known since a time that is long ago, which is when the first
    /// row above it came. Returns whether rows were released past a gap, and since when the lowest that is left is
    /// known.
    pub(crate) fn release_held(&mut self, is_long_ago: impl Fn(Mono) -> bool) -> (bool, Option<Mono>) {
        if self.base == Base::Provisional {
            self.fix_base();
            return (false, None);
        }
        let (mut since, mut left) = (Mono(u64::MAX), None);
        for (seq, row) in self.rows.iter().rev() {
            since = since.min(row.frame.at.mono);
            if row.state == RowState::Held && self.after_gap.contains(seq) {
                if is_long_ago(since) {
                    break;
                }
                left = Some((*seq, since));
            }
        }
        let end = left.map_or(Bound::Unbounded, |(seq, _)| Bound::Excluded(seq));
        let held = |(seq, row): (&u64, &Row)| (row.state == RowState::Held).then_some(*seq);
        let seqs: Vec<u64> = self.rows.range((Bound::Unbounded, end)).filter_map(held).collect();
        for seq in &seqs {
            self.queue(*seq);
        }
        self.advance();
        (!seqs.is_empty(), left.map(|(_, since)| since))
    }

    /// When the lowest row came, and in which round, unless a row has come again in this one: a replay comes in
    /// order, so whatever is open below that row has come, too.
    pub(crate) fn lowest_unrepeated(&self, round: u64) -> Option<(Mono, u64)> {
        let lowest = self.rows.values().next().filter(|_| self.repeated_in < round);
        lowest.map(|row| (row.frame.at.mono, row.repeats.first_round()))
    }

    /// Rows have come at `later` of when they came.
    pub(crate) fn put_off(&mut self, later: impl Fn(Mono) -> Mono) {
        for row in self.rows.values_mut() {
            row.frame.at.mono = later(row.frame.at.mono);
        }
        self.unproven = self.unproven.map(|(low, until)| (low, later(until)));
    }

    /// Whether a row waits for lower ones.
    pub(crate) fn holds(&self) -> bool {
        // Whatever comes below one that is not held is not held either.
        self.rows.last_key_value().is_some_and(|(_, row)| row.state == RowState::Held)
    }

    /// Moves the cursor over everything that is settled or gone (invariant 1), once it is known where it stands.
    fn advance(&mut self) {
        if self.base == Base::Provisional {
            return;
        }
        while let Some(seq) = self.rows.keys().next().copied() {
            if seq > self.next_seq() {
                let is_proven = seq <= self.proven && !canary!(CursorZero);
                if !is_proven && !canary!(AckPastGap) {
                    return;
                }
                self.note_hole(self.next_seq(), seq - 1);
                self.pass(seq - 1);
                self.after_gap.remove(&seq);
                // It waited for what is now known not to come.
                self.queue_in_order(seq);
            }
            #[cfg(canary)]
            if canary!(AckOnReceipt) {
                self.type_later(seq);
            }
            let settled = self.rows.get(&seq).is_some_and(|row| row.state == RowState::Settled);
            if (!settled || self.shared.is_open(seq)) && !canary!(AckOnReceipt) {
                return;
            }
            self.rows.remove(&seq);
            self.pass(seq);
            self.told.pass(seq);
        }
    }

    /// The cursor is at `seq`.
    fn pass(&mut self, seq: u64) {
        self.acked = seq;
        self.shared.pass(seq);
        self.dropped.pass(seq);
    }

    /// The cursor passes an open row, which is typed all the same, as if it stood outside of the sequence.
    #[cfg(canary)]
    fn type_later(&mut self, seq: u64) {
        let Some(row) = self.rows.remove(&seq).filter(|row| row.state != RowState::Settled) else { return };
        let number = self.next_loose;
        self.next_loose += 1;
        self.turns.rename(RowKey::Sequenced(seq), RowKey::Loose(number));
        self.loose.insert(number, row);
    }

    /// How many holes were passed.
    pub(crate) fn hole_count(&self) -> usize {
        self.holes.len()
    }

    /// Takes the next row for the terminal: steering ones first.
    pub(crate) fn take_next(&mut self) -> Option<(RowKey, &Frame)> {
        let key = self.turns.take()?;
        let row = self.row_mut(key)?;
        row.state = RowState::Injecting;
        row.attempts = row.attempts.saturating_add(1);
        Some((key, &row.frame))
    }

    /// What a row brought, while it is not settled.
    pub(crate) fn frame(&self, key: RowKey) -> Option<&Frame> {
        self.row(key).map(|row| &row.frame)
    }

    /// How often a row was handed to the terminal.
    pub(crate) fn attempts(&self, key: RowKey) -> u8 {
        self.row(key).map_or(0, |row| row.attempts)
    }

    /// Puts a row back at the head of its queue; the number of attempts so far.
    pub(crate) fn put_back(&mut self, key: RowKey) -> u8 {
        let Some(row) = self.row_mut(key) else { return 0 };
        row.state = RowState::Queued;
        let (attempts, mode) = (row.attempts, row.frame.mode);
        self.turns.put_back(key, mode);
        attempts
    }

    /// The agent has taken the row, or its dead letter is on disk.
    pub(crate) fn settle(&mut self, key: RowKey) {
        let Some(row) = self.row_mut(key).filter(|row| row.state != RowState::Settled) else { return };
        self.bytes -= row.settle();
        self.open -= 1;
        if let RowKey::Loose(number) = key {
            self.loose.remove(&number);
        }
        self.shared.settle(key);
        self.advance();
    }

    /// The row is given up: it may be settled once its dead letter is on disk.
    pub(crate) fn bury(&mut self, key: RowKey) {
        if let Some(row) = self.row_mut(key) {
            row.state = RowState::Burying;
        }
        self.turns.remove(key);
    }

    fn row(&self, key: RowKey) -> Option<&Row> {
        match key {
            RowKey::Sequenced(seq) => self.rows.get(&seq),
            RowKey::Loose(number) => self.loose.get(&number),
        }
    }

    fn row_mut(&mut self, key: RowKey) -> Option<&mut Row> {
        match key {
            RowKey::Sequenced(seq) => self.rows.get_mut(&seq),
            RowKey::Loose(number) => self.loose.get_mut(&number),
        }
    }
}
