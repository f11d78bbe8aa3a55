//! One agent's mailbox: durable rows, their sequence and the ack cursor.
//!
//! Owns: row states, sequence allocation, expiry.
//! Must not know: sockets, nodes, or who the agent is.
//!
//! 1. Rows are ordered by sequence. Terminal states are never left.
//! 2. Only a cumulative ack moves the cursor, and it never moves back. Rows that fail or expire leave
//!    holes above it.
//! 3. `open` is the number of queued and delivered rows.

use super::ids::iso;
use super::profile::Sequence;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

/// Terminal rows kept for reading back; older ones are forgotten. As many as a mailbox holds open ones.
const TERMINAL_ROWS_KEPT: usize = 1_000;

/// The state of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// Stored, not written to a socket.
    Queued,
    /// Written to a socket, not acked.
    Delivered,
    /// Acked. Terminal.
    Acked,
    /// Failed over HTTP. Terminal.
    Failed,
    /// Expired. Terminal.
    DeadLettered,
}

impl RowState {
    /// Waiting for an ack.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Delivered)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Acked => "acked",
            Self::Failed => "failed",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

/// When the recipient should see a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// After its current turn.
    Wait,
    /// At once.
    Steer,
}

impl Mode {
    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Steer => "steer",
        }
    }
}

/// Rows that one ack can end: it names each in one statement, and databases take a hundred parameters.
const ACK_ROWS: usize = 90;

/// One message for one agent.
#[derive(Clone, Debug)]
pub struct Row {
    /// Position in the agent's mailbox, from 1.
    pub seq: u64,
    /// The same in every delivery of this row.
    pub delivery_id: Arc<str>,
    /// The message.
    pub msg_id: Arc<str>,
    /// Where it stands.
    pub state: RowState,
    /// `wait` or `steer`.
    pub mode: Mode,
    /// The message text.
    pub text: Arc<str>,
    /// The payload of the `deliver` frame.
    pub payload: Arc<RawValue>,
    /// When it dies, in Unix milliseconds.
    pub expires_at_ms: i64,
    /// When it was stored.
    pub created_at_ms: i64,
    /// The sweep tries a queued row again from this time on.
    pub(super) next_attempt_at: Option<i64>,
    pub(super) sender: super::ids::AgentKey,
}

impl Row {
    /// As HTTP shows it.
    pub(super) fn view(&self) -> Value {
        json!({
            "id": &*self.delivery_id, "message_id": &*self.msg_id, "seq": self.seq, "status": self.state.as_str(),
            "mode": self.mode.as_str(), "created_at": iso(self.created_at_ms),
        })
    }
}

/// The rows of one agent.
#[derive(Default)]
pub(super) struct Mailbox {
    rows: VecDeque<Row>,
    cursor: u64,
    highest: u64,
    open: usize,
}

impl Mailbox {
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.iter()
    }

    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Queued and delivered rows that are not expired at `now`.
    pub(super) fn depth(&self, now: i64, cap: usize) -> usize {
        if self.open < cap {
            return self.open;
        }
        self.open_rows().filter(|row| row.expires_at_ms > now).count()
    }

    /// Stores a row and gives it its sequence.
    pub(super) fn push(&mut self, rule: Sequence, mut row: Row) -> u64 {
        let stored = self.rows.back().map_or(0, |row| row.seq);
        let seq = match rule {
            Sequence::StoredMax => stored + 1,
            Sequence::Monotonic => self.highest.max(self.cursor) + 1,
        };
        row.seq = seq;
        self.highest = self.highest.max(seq);
        self.rows.push_back(row);
        self.open += 1;
        self.forget_old();
        seq
    }

    fn forget_old(&mut self) {
        while self.rows.len() > self.open + TERMINAL_ROWS_KEPT
            && self.rows.front().is_some_and(|row| !row.state.is_open())
        {
            self.rows.pop_front();
        }
    }

    fn after(&self, seq: u64) -> usize {
        self.rows.partition_point(|row| row.seq <= seq)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Row> {
        self.rows.get(self.after(seq.checked_sub(1)?)).filter(|row| row.seq == seq)
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Row> {
        let index = self.after(seq.checked_sub(1)?);
        self.rows.get_mut(index).filter(|row| row.seq == seq)
    }

    /// All rows that wait for an ack, also those below the cursor that an ack missed.
    pub(super) fn open_rows(&self) -> impl Iterator<Item = &Row> {
        let limit = self.open;
        self.rows.iter().filter(|row| row.state.is_open()).take(limit)
    }

    /// What a replay sends, ascending.
    pub(super) fn replayable(&self, now: i64) -> impl Iterator<Item = &Row> {
        self.rows
            .range(self.after(self.cursor)..)
            .filter(move |row| row.state.is_open() && row.expires_at_ms > now)
    }

    /// A cumulative ack. `up_to` may be beyond every row. Of more than [`ACK_ROWS`] open ones, so many, only the
    /// cursor moves.
    pub(super) fn ack(&mut self, up_to: u64) -> Result<(), usize> {
        if up_to <= self.cursor {
            return Ok(());
        }
        let (from, to) = (self.after(self.cursor), self.after(up_to));
        self.cursor = up_to;
        let open = self.rows.range(from..to).filter(|row| row.state.is_open()).count();
        if open > ACK_ROWS {
            return Err(open);
        }
        self.open -= open;
        for row in self.rows.range_mut(from..to).filter(|row| row.state.is_open()) {
            row.state = RowState::Acked;
        }
        self.forget_old();
        Ok(())
    }

    /// Ends one open row without moving the cursor. `false` if there is none.
    pub(super) fn finish(&mut self, seq: u64, state: RowState) -> bool {
        debug_assert!(!state.is_open());
        let Some(row) = self.get_mut(seq).filter(|row| row.state.is_open()) else {
            return false;
        };
        row.state = state;
        self.open -= 1;
        true
    }

    /// The written frame of this row is on a socket.
    pub(super) fn mark_delivered(&mut self, seq: u64) {
        if let Some(row) = self.get_mut(seq).filter(|row| row.state == RowState::Queued) {
            row.state = RowState::Delivered;
            row.next_attempt_at = None;
        }
    }

    /// Sequences of the open rows whose time is over.
    pub(super) fn expired(&self, now: i64) -> Vec<u64> {
        if self.open == 0 {
            return Vec::new();
        }
        self.open_rows().filter(|row| row.expires_at_ms <= now).map(|row| row.seq).collect()
    }

    /// Sequences of the queued rows, if the sweep owes one of them another attempt.
    pub(super) fn due(&self, now: i64) -> Vec<u64> {
        let queued =
            || self.open_rows().filter(|row| row.state == RowState::Queued && row.expires_at_ms > now);
        if self.open == 0 || !queued().any(|row| row.next_attempt_at.is_some_and(|due| due <= now)) {
            return Vec::new();
        }
        queued().map(|row| row.seq).collect()
    }

    /// Removes the terminal rows, as the engine's retention does.
    pub(super) fn prune(&mut self) {
        self.rows.retain(|row| row.state.is_open());
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::AgentKey;
    use super::*;

    fn row(expires_at_ms: i64) -> Row {
        Row {
            seq: 0,
            delivery_id: "del_1".into(),
            msg_id: "1".into(),
            state: RowState::Queued,
            mode: Mode::Wait,
            text: "hi".into(),
            payload: RawValue::from_string("{}".into()).unwrap().into(),
            expires_at_ms,
            created_at_ms: 0,
            next_attempt_at: None,
            sender: AgentKey(0),
        }
    }

    fn filled(rule: Sequence, count: usize) -> Mailbox {
        let mut mailbox = Mailbox::default();
        for _ in 0..count {
            mailbox.push(rule, row(100));
        }
        mailbox
    }

    fn sequences(mailbox: &Mailbox) -> Vec<u64> {
        mailbox.replayable(0).map(|row| row.seq).collect()
    }

    #[test]
    fn a_row_that_fails_in_the_middle_leaves_a_hole_and_the_cursor_below_it() {
        let mut mailbox = filled(Sequence::Monotonic, 3);
        assert!(mailbox.finish(2, RowState::DeadLettered));
        assert_eq!((sequences(&mailbox), mailbox.cursor()), (vec![1, 3], 0));
        assert_eq!(mailbox.ack(1), Ok(()));
        assert_eq!((sequences(&mailbox), mailbox.cursor()), (vec![3], 1));
    }

    #[test]
    fn acks_are_cumulative_monotone_and_unchecked_above() {
        let mut mailbox = filled(Sequence::Monotonic, 3);
        assert_eq!((mailbox.ack(2), mailbox.cursor(), mailbox.open), (Ok(()), 2, 1));
        assert_eq!((mailbox.ack(1), mailbox.cursor(), mailbox.open), (Ok(()), 2, 1));
        assert_eq!((mailbox.ack(50), mailbox.cursor(), mailbox.open), (Ok(()), 50, 0));
        assert_eq!(mailbox.push(Sequence::Monotonic, row(100)), 51);
        assert_eq!(sequences(&mailbox), [51]);
    }

    #[test]
    fn an_ack_of_too_many_rows_moves_the_cursor_and_ends_none() {
        let mut mailbox = filled(Sequence::Monotonic, ACK_ROWS + 1);
        assert_eq!(mailbox.ack(ACK_ROWS as u64 + 1), Err(ACK_ROWS + 1));
        assert_eq!((mailbox.cursor(), mailbox.open), (ACK_ROWS as u64 + 1, ACK_ROWS + 1));
        let mut mailbox = filled(Sequence::Monotonic, ACK_ROWS + 1);
        assert_eq!((mailbox.ack(1), mailbox.ack(ACK_ROWS as u64 + 1), mailbox.open), (Ok(()), Ok(()), 0));
    }

    #[test]
    fn with_old_numbering_an_ack_from_the_future_hides_what_follows() {
        let mut mailbox = filled(Sequence::StoredMax, 1);
        assert_eq!(mailbox.ack(50), Ok(()));
        assert_eq!(mailbox.push(Sequence::StoredMax, row(100)), 2);
        assert!(sequences(&mailbox).is_empty());
    }

    #[test]
    fn with_old_numbering_pruning_makes_numbers_repeat() {
        let mut mailbox = filled(Sequence::StoredMax, 2);
        assert_eq!(mailbox.ack(2), Ok(()));
        mailbox.prune();
        assert_eq!(mailbox.push(Sequence::StoredMax, row(100)), 1);
        let mut mailbox = filled(Sequence::Monotonic, 2);
        assert_eq!(mailbox.ack(2), Ok(()));
        mailbox.prune();
        assert_eq!(mailbox.push(Sequence::Monotonic, row(100)), 3);
    }

    #[test]
    fn expired_rows_are_not_replayed_and_do_not_count_even_before_the_sweep() {
        let mut mailbox = Mailbox::default();
        mailbox.push(Sequence::Monotonic, row(10));
        mailbox.push(Sequence::Monotonic, row(20));
        assert_eq!(mailbox.depth(15, 1), 1);
        assert_eq!(mailbox.replayable(15).map(|row| row.seq).collect::<Vec<_>>(), [2]);
        assert_eq!(mailbox.expired(15), [1]);
    }

    #[test]
    fn terminal_states_are_never_left() {
        let mut mailbox = filled(Sequence::Monotonic, 1);
        assert!(mailbox.finish(1, RowState::Failed));
        assert!(!mailbox.finish(1, RowState::Acked));
        mailbox.mark_delivered(1);
        assert_eq!(mailbox.ack(1), Ok(()));
        assert_eq!(mailbox.get(1).unwrap().state, RowState::Failed);
    }
}
