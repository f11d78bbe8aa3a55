//! The delivery window of one identity: from its cursor upward.
//!
//! Owns: the cursor, the rows above it, the order in which they go to the terminal, and what may be acked.
//! Must not know: frames of the wire, keystrokes, other identities.
//!
//! 1. The cursor is the end of the longest prefix of settled rows and proven holes; it never goes back. Of two
//!    messages that came under one number both are settled before it passes that, and one that found no room
//!    is awaited there when the other is settled.
//! 2. While the base is provisional no row is injected, but a second one under its number, and nothing acked.
//! 3. A row is queued when every lower row is at least queued, or when its owner says that each missing one has been
//!    waited for long enough: since the first row above it came.
//! 4. A sequence is a hole only after [`limits::HOLE_PROOFS`](crate::limits::HOLE_PROOFS) replays, each
//!    of which repeated a higher row without bringing it.
//! 5. No delivery id of the last [`limits::REMEMBERED`](crate::limits::REMEMBERED) is queued twice.
//! 6. What comes behind a row that found no room is not taken either, but a second one under its number.
//!
//! The rules are those of `core/PROTOCOL.md` §5.

use super::dropped::Dropped;
use super::remembered::Remembered;
use super::row::{Frame, Row, RowKey, RowState, Taken};
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
    /// Loose rows that share the number of a row above the cursor: that number, and theirs.
    sharing: BTreeSet<(u64, u64)>,
    turns: Turns,
    remembered: Remembered,
    fan_outs: Remembered,
    /// Ranges that were proven holes, so that a row that turns up after all is not lost.
    holes: VecDeque<(u64, u64)>,
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
    holes: VecDeque<(u64, u64)>,
}

impl Past {
    /// Everything up to this sequence was acked.
    pub(crate) const fn acked(&self) -> u64 {
        self.acked
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
            sharing: BTreeSet::new(),
            turns: Turns::default(),
            remembered: Remembered::new(limits::REMEMBERED),
            fan_outs: Remembered::new(limits::REMEMBERED),
            holes: VecDeque::new(),
            bytes: 0,
            dropped: Dropped::default(),
        }
    }

    /// A window that goes on where an earlier one of the identity ended.
    pub(crate) fn resume(past: Past) -> Self {
        let Past { base, acked, told, remembered, fan_outs, holes } = past;
        Self { base, acked, told, remembered, fan_outs, holes, ..Self::new(None) }
    }

    /// The identity leaves. What it has not taken is as if it had never come; what it has is remembered, also
    /// where it may not be acked yet.
    pub(crate) fn into_past(mut self) -> Past {
        let unsettled = |row: &&Row| row.state != RowState::Settled && row.frame.shown;
        for row in self.rows.values().chain(self.loose.values()).filter(unsettled) {
            self.remembered.forget(&row.frame.delivery_id.0);
            self.fan_outs.forget(&row.frame.delivery_id.0);
        }
        let Self { base, acked, told, remembered, fan_outs, holes, .. } = self;
        Past { base, acked, told, remembered, fan_outs, holes }
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
        self.dropped.highest() > highest
    }

    /// Whether there is room again for what was dropped.
    pub(crate) fn has_room(&self) -> bool {
        self.row_count() * 2 <= limits::WINDOW_ROWS && self.bytes * 2 <= limits::WINDOW_BYTES
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
    pub(crate) fn open(&self) -> usize {
        self.pending().count()
    }

    /// The rows that are not settled, with the times they were tried.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (&Frame, u8)> {
        let unsettled = |row: &&Row| row.state != RowState::Settled;
        let rows = self.rows.values().chain(self.loose.values()).filter(unsettled);
        rows.map(|row| (&row.frame, row.attempts))
    }

    /// A frame of the mailbox, `seq` at least 1, in replay round `round`.
    pub(crate) fn accept(&mut self, seq: u64, frame: Frame, round: u64) -> Taken {
        if canary!(OneDedupSet) && self.fan_outs.contains(&frame.msg_id.0) {
            return Taken::Duplicate;
        }
        if self.base != Base::Provisional && seq <= self.acked {
            return self.accept_below(seq, frame, round);
        }
        if let Some(row) = self.rows.get_mut(&seq) {
            if row.frame.delivery_id == frame.delivery_id {
                row.last_round = round;
                self.prove(seq, round);
                #[cfg(canary)]
                if canary!(ResentIsNew) && frame.shown {
                    self.push_loose(frame, round);
                    return Taken::Late;
                }
                return Taken::Duplicate;
            }
            // An engine that re-uses numbers has given this one to another message.
            return self.accept_second(seq, frame, round);
        }
        let awaited = self.base != Base::Provisional && seq == self.next_seq();
        let follows = || awaited || self.base == Base::Provisional || self.rows.contains_key(&(seq - 1));
        if canary!(GapDiscarded) && !follows() {
            return Taken::Overflow;
        }
        let behind = self.dropped.is_before(seq, self.acked, round);
        if !awaited && (behind || self.is_full(frame.payload.len())) {
            self.drop_row(seq, round);
            return Taken::Overflow;
        }
        self.dropped.found_room(seq);
        // Somebody has taken it, who has left since: it only has to be acked.
        let is_known = self.remembered.contains(&frame.delivery_id.0);
        let shown = frame.shown && !is_known;
        self.insert(seq, Frame { shown, ..frame }, round);
        if self.base == Base::Provisional && seq == 1 {
            self.fix_base();
        }
        match self.rows.get(&seq) {
            _ if is_known => Taken::Duplicate,
            Some(row) if row.state == RowState::Held => Taken::Held,
            _ => Taken::InOrder,
        }
    }

    /// Another message under the number of a row that is here (invariant 1).
    fn accept_second(&mut self, seq: u64, frame: Frame, round: u64) -> Taken {
        let number = self.next_loose;
        let taken = self.accept_loose(frame, round);
        if self.loose.contains_key(&number) {
            self.sharing.insert((seq, number));
        }
        match taken {
            Taken::Overflow => self.drop_row(seq, round),
            Taken::Late => self.dropped.found_room(seq),
            _ => return taken,
        }
        if let Some(row) = self.rows.get_mut(&seq) {
            row.second_dropped = (taken == Taken::Overflow).then_some(round);
        }
        taken
    }

    /// The replay of `round` has brought all that the engine keeps. What was dropped may be the first row, though,
    /// as long as that is not known.
    pub(crate) fn end_replay(&mut self, round: u64) {
        if self.base != Base::Provisional {
            self.dropped.end_replay(round);
        }
    }

    fn drop_row(&mut self, seq: u64, round: u64) {
        self.dropped.note(seq, round);
        // It is there, so no replay has proven it gone.
        if let Some((_, above)) = self.rows.range_mut((Bound::Excluded(seq), Bound::Unbounded)).next() {
            (above.proofs, above.proof_round) = (0, round);
        }
    }

    /// A fan-out event: `seq` 0, outside of the sequence.
    pub(crate) fn accept_fan_out(&mut self, frame: Frame, round: u64) -> Taken {
        if canary!(OneDedupSet) {
            self.fan_outs.insert(&frame.msg_id.0);
        }
        if canary!(EventIsPosition) && self.base == Base::Provisional {
            self.base = Base::Given(0);
        }
        // Only what is taken is remembered: what found no room may come again.
        if self.is_full(frame.payload.len()) {
            return Taken::Overflow;
        }
        if !self.fan_outs.insert(&frame.delivery_id.0) && !frame.recurs {
            return Taken::Duplicate;
        }
        if frame.shown {
            self.push_loose(frame, round);
        }
        Taken::InOrder
    }

    fn accept_below(&mut self, seq: u64, frame: Frame, round: u64) -> Taken {
        #[cfg(canary)]
        if canary!(ForgottenOnceAcked) {
            self.remembered.forget(&frame.delivery_id.0);
            return self.accept_loose(frame, round);
        }
        let given = matches!(self.base, Base::Given(_));
        let was_hole = self.holes.iter().any(|(low, high)| (*low..=*high).contains(&seq));
        if self.remembered.contains(&frame.delivery_id.0) || (given && !was_hole) {
            return Taken::Duplicate;
        }
        self.accept_loose(frame, round)
    }

    fn accept_loose(&mut self, frame: Frame, round: u64) -> Taken {
        if self.is_full(frame.payload.len()) {
            return Taken::Overflow;
        }
        if !self.remembered.insert(&frame.delivery_id.0) {
            return Taken::Duplicate;
        }
        if frame.shown {
            self.push_loose(frame, round);
        }
        Taken::Late
    }

    fn push_loose(&mut self, frame: Frame, round: u64) {
        let number = self.next_loose;
        self.next_loose += 1;
        self.bytes += frame.payload.len();
        self.turns.enqueue(RowKey::Loose(number), frame.mode);
        self.loose.insert(number, Row::new(frame, RowState::Queued, round));
    }

    /// Rows of both kinds.
    fn row_count(&self) -> usize {
        self.rows.len() + self.loose.len()
    }

    fn is_full(&self, payload: usize) -> bool {
        // A single payload larger than the bound must still find room in an empty window.
        let is_too_much = self.bytes > 0 && self.bytes + payload > limits::WINDOW_BYTES;
        is_too_much || self.row_count() >= limits::WINDOW_ROWS
    }

    fn insert(&mut self, seq: u64, frame: Frame, round: u64) {
        self.remembered.insert(&frame.delivery_id.0);
        self.bytes += frame.payload.len();
        let mut row = Row::new(frame, RowState::Held, round);
        // The gap that this row splits keeps the proofs that it has collected.
        if let Some(above) = self.rows.range((Bound::Excluded(seq), Bound::Unbounded)).next()
            && self.after_gap.contains(above.0)
        {
            (row.proofs, row.proof_round) = (above.1.proofs, above.1.proof_round);
        }
        self.rows.insert(seq, row);
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
        }
    }

    /// The first frames have been collected for long enough: the lowest of them is the first, whether there was
    /// room for it or not.
    fn fix_base(&mut self) {
        let Some(lowest) = self.rows.keys().next().copied() else {
            return;
        };
        let first = self.dropped.lowest().map_or(lowest, |dropped| lowest.min(dropped));
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
        let repeated = |row: &Row| row.first_round < round && row.last_round == round;
        let lowest = self.rows.values().next().filter(|_| !self.rows.values().any(repeated));
        lowest.map(|row| (row.frame.at.mono, row.first_round))
    }

    /// Rows have come at `later` of when they came.
    pub(crate) fn put_off(&mut self, later: impl Fn(Mono) -> Mono) {
        for row in self.rows.values_mut() {
            row.frame.at.mono = later(row.frame.at.mono);
        }
    }

    /// Whether a row waits for lower ones.
    pub(crate) fn holds(&self) -> bool {
        // Whatever comes below one that is not held is not held either.
        self.rows.last_key_value().is_some_and(|(_, row)| row.state == RowState::Held)
    }

    /// The row `seq` came again: whatever is missing below it was not in that replay (invariant 4).
    fn prove(&mut self, seq: u64, round: u64) {
        if self.rows.get(&seq).is_none_or(|row| row.first_round >= round || canary!(GapNeverClosed)) {
            return;
        }
        let gaps: Vec<u64> = self.after_gap.range(..=seq).copied().collect();
        for above in gaps {
            if let Some(row) = self.rows.get_mut(&above)
                && row.proof_round < round
            {
                row.proofs = row.proofs.saturating_add(1);
                row.proof_round = round;
            }
        }
        self.advance();
    }

    /// Whether what is missing directly below `seq` has been proven gone.
    fn proven_below(&self, seq: u64) -> bool {
        self.rows.get(&seq).is_some_and(|row| row.proofs >= limits::HOLE_PROOFS && !canary!(CursorZero))
    }

    /// Moves the cursor over everything that is settled or gone (invariant 1).
    fn advance(&mut self) {
        while let Some(seq) = self.rows.keys().next().copied() {
            if seq > self.next_seq() {
                if !self.proven_below(seq) && !canary!(AckPastGap) {
                    return;
                }
                self.holes.push_back((self.next_seq(), seq - 1));
                if self.holes.len() > HOLES {
                    self.holes.pop_front();
                }
                self.acked = seq - 1;
                self.after_gap.remove(&seq);
                // It waited for what is now known not to come.
                self.queue_in_order(seq);
            }
            #[cfg(canary)]
            if canary!(AckOnReceipt) {
                self.type_later(seq);
            }
            let is_shared = self.sharing.range((seq, 0)..=(seq, u64::MAX)).next().is_some();
            let settled = self.rows.get(&seq).is_some_and(|row| row.state == RowState::Settled);
            if (!settled || is_shared) && !canary!(AckOnReceipt) {
                return;
            }
            let row = self.rows.remove(&seq);
            if let Some(round) = row.and_then(|row| row.second_dropped) {
                return self.await_second(seq, round);
            }
            self.acked = seq;
            self.told.pass(seq);
        }
    }

    /// The message that came first under `seq` is settled, and the other, for which there was no room in `round`,
    /// is missing as any row may be.
    fn await_second(&mut self, seq: u64, round: u64) {
        self.note_gap(seq.saturating_add(1));
        if let Some((_, above)) = self.rows.range_mut(seq..).next() {
            (above.proofs, above.proof_round) = (0, above.proof_round.max(round));
        }
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
        let Some(row) = self.row_mut(key) else { return };
        self.bytes -= row.settle();
        if let RowKey::Loose(number) = key {
            self.loose.remove(&number);
            self.sharing.retain(|(_, other)| *other != number);
        }
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
