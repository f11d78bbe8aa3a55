//! Accepting: what becomes of a frame that comes.
//!
//! Owns: what is new, what finds room, and what is dropped.
//! Must not know: when a row is queued, and when the cursor moves.
//!
//! 1. What is here already needs no room, and is not taken twice.
//! 2. A row that nothing goes on without finds room, whatever there is.
//! 3. What finds no room is noted, so that a replay is asked for that brings it; but for events and what is at or
//!    below the cursor, which none brings.
//!
//! The window's invariants stand there.

use super::{Base, Window};
use crate::delivery::row::{Frame, Row, RowKey, RowState, Taken};
use crate::limits;

impl Window {
    /// A frame of the mailbox, `seq` at least 1, in replay round `round`.
    pub(crate) fn accept(&mut self, seq: u64, frame: Frame, round: u64) -> Taken {
        if canary!(OneDedupSet) && self.fan_outs.contains(&frame.msg_id.0) {
            return Taken::Duplicate;
        }
        if self.base != Base::Provisional && seq <= self.acked {
            return self.accept_below(seq, frame, round);
        }
        let counts = self.may_prove(seq, frame.at.mono);
        if let Some(row) = self.rows.get_mut(&seq) {
            if row.frame.delivery_id == frame.delivery_id {
                let repeat = row.repeats.again(round, counts);
                self.prove(seq, repeat, round);
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
        let awaited = self.is_awaited(seq);
        let follows = || awaited || self.base == Base::Provisional || self.rows.contains_key(&(seq - 1));
        if canary!(GapDiscarded) && !follows() {
            return Taken::Overflow;
        }
        let id = &frame.delivery_id.0;
        let behind = self.dropped.is_before(seq, id, round);
        if !awaited && (behind || self.is_full(frame.payload.len(), 1)) {
            self.drop_row(seq, &frame, round);
            return Taken::Overflow;
        }
        self.dropped.found_room(seq, id);
        self.shared.is_row(seq, id);
        // Another one that found no room when it came under this number would be acked with this one.
        for (other, came_in) in self.dropped.under(seq).filter(|_| seq >= self.proven) {
            self.shared.miss_at(other, came_in);
        }
        // Somebody has taken it, who has left since: it only has to be acked. Or it is here under another number.
        let is_known = self.remembered.contains(id);
        if let Some(open) = is_known.then(|| self.place_of(id)).flatten() {
            self.shared.take(seq, id, Some(open), round);
        }
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

    /// Another message under the number of a row that is here.
    fn accept_second(&mut self, seq: u64, frame: Frame, round: u64) -> Taken {
        let id = frame.delivery_id.0.clone();
        let counts = self.may_prove(seq, frame.at.mono);
        if let Some(repeat) = self.shared.repeats(seq, &id).map(|repeats| repeats.again(round, counts)) {
            self.prove(seq, repeat, round);
            return Taken::Duplicate;
        }
        self.counted = self.counted.max(seq);
        if self.remembered.contains(&id) {
            self.shared.take(seq, &id, self.place_of(&id), round);
            // It may have been missing.
            self.advance();
            return Taken::Duplicate;
        }
        if !self.is_awaited(seq) && self.is_full(frame.payload.len(), 1) {
            self.shared.miss(seq, &id, round);
            self.drop_row(seq, &frame, round);
            return Taken::Overflow;
        }
        self.dropped.found_room(seq, &id);
        self.remembered.insert(&id);
        let taken = if self.shared.misses(seq, &id) { Taken::InOrder } else { Taken::Late };
        let open = frame.shown.then(|| self.push_loose(frame, round));
        self.shared.take(seq, &id, open, round);
        self.advance();
        taken
    }

    /// Where a message is that is not settled, and is to be read before it may be.
    fn place_of(&self, id: &str) -> Option<RowKey> {
        let is_open = |row: &Row| row.state != RowState::Settled && row.frame.shown;
        let is_it = |row: &Row| is_open(row) && row.frame.delivery_id.0 == id;
        let row = self.rows.iter().find(|(_, row)| is_it(row)).map(|(seq, _)| RowKey::Sequenced(*seq));
        let loose =
            || self.loose.iter().find(|(_, row)| is_it(row)).map(|(number, _)| RowKey::Loose(*number));
        row.or_else(loose)
    }

    /// There is no room for it: no replay so far has proven it gone.
    fn drop_row(&mut self, seq: u64, frame: &Frame, round: u64) {
        self.dropped.note(seq, &frame.delivery_id.0, frame.payload.len(), round);
        self.start_proofs_over(seq, frame.at.mono);
    }

    /// A fan-out event: `seq` 0, outside of the sequence.
    pub(crate) fn accept_fan_out(&mut self, frame: Frame, round: u64) -> Taken {
        if canary!(OneDedupSet) {
            self.fan_outs.insert(&frame.msg_id.0);
        }
        if canary!(EventIsPosition) && self.base == Base::Provisional {
            self.base = Base::Given(0);
        }
        // Only what is taken is remembered; and it does not come again, so there is room of its own.
        if self.is_full(frame.payload.len(), 2) {
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
        // The engine takes it for acked: it does not come again.
        if self.is_full(frame.payload.len(), 2) {
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

    fn push_loose(&mut self, frame: Frame, round: u64) -> RowKey {
        let number = self.next_loose;
        self.next_loose += 1;
        self.bytes += frame.payload.len();
        self.open += 1;
        self.turns.enqueue(RowKey::Loose(number), frame.mode);
        self.loose.insert(number, Row::new(frame, RowState::Queued, round));
        RowKey::Loose(number)
    }

    /// Whether there is no room for a payload, in so many times the usual room.
    pub(super) fn is_full(&self, payload: usize, times: usize) -> bool {
        // A single payload larger than the bound must still find room in an empty window.
        let is_too_much = self.bytes > 0 && self.bytes + payload > times * limits::WINDOW_BYTES;
        let rows = self.rows.len() + self.loose.len();
        // Settled ones keep no payload; those above a gap go only with a replay.
        is_too_much || self.open >= times * limits::WINDOW_ROWS || rows >= 2 * times * limits::WINDOW_ROWS
    }
}
