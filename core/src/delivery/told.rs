//! Told: how far the engine knows what may be acked of one identity.
//!
//! Owns: which ack is the next, which of them left on this link, and which have surely arrived.
//! Must not know: rows, and why the cursor moved.
//!
//! 1. One ack covers at most [`limits::ACK_STEP`] rows more than the one before it on the link, and the first one
//!    of a link as many more than the engine surely knows of: engines may end no more rows by one frame
//!    (`core/PROTOCOL.md` §5).
//! 2. On one link acks do not go back.

use crate::limits;
use crate::link::{Answered, Sent};
use alloc::collections::VecDeque;

/// Steps remembered at most: those of more rows than an engine keeps open for an agent.
const STEPS: usize = 1_024;

/// What the engine was told of a cursor.
#[derive(Debug)]
pub(super) struct Told {
    /// The engine knows this one: it has said so, or an answer has proven that the ack was handled.
    known: u64,
    /// The last ack on this link, or what was known when that began.
    sent: u64,
    /// An ack that is not proven yet; later ones are proven after it.
    unproven: Option<(Sent, u64)>,
    /// Acks that may be due between what is known and the cursor.
    steps: VecDeque<u64>,
    /// Rows that the cursor has passed since the last step.
    passed: usize,
}

impl Told {
    /// The engine knows this cursor.
    pub(super) const fn new(cursor: u64) -> Self {
        Self { known: cursor, sent: cursor, unproven: None, steps: VecDeque::new(), passed: 0 }
    }

    /// The cursor has moved over a row, to `cursor`.
    pub(super) fn pass(&mut self, cursor: u64) {
        self.passed += 1;
        if self.passed < limits::ACK_STEP {
            return;
        }
        self.passed = 0;
        self.steps.push_back(cursor);
        if self.steps.len() > STEPS {
            self.steps.pop_front();
        }
    }

    /// The next ack, when everything up to `cursor` may be acked.
    pub(super) fn next(&self, cursor: u64) -> u64 {
        if canary!(AckInOne) {
            return cursor;
        }
        let first = self.steps.partition_point(|step| *step <= self.sent);
        self.steps.get(first).map_or(cursor, |step| cursor.min(*step))
    }

    /// This ack has left.
    pub(super) fn acked(&mut self, cursor: u64, sent: Option<Sent>) {
        self.sent = cursor;
        if self.unproven.is_none() {
            self.unproven = sent.map(|sent| (sent, cursor));
        }
    }

    /// The engine answered a request: what was sent before it has arrived.
    pub(super) fn on_answer(&mut self, answered: Answered) {
        let proven = self.unproven.take_if(|(sent, _)| sent.is_proven_by(answered));
        if let Some((_, cursor)) = proven {
            self.known = self.known.max(cursor);
            let first = self.steps.partition_point(|step| *step <= self.known);
            self.steps.drain(..first);
        }
    }

    /// A link begins: what is not proven may be lost.
    pub(super) fn begin_link(&mut self) {
        self.sent = self.known;
        self.unproven = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(rows: core::ops::RangeInclusive<u64>) -> Told {
        let mut told = Told::new(rows.start() - 1);
        rows.for_each(|seq| told.pass(seq));
        told
    }

    /// The acks that leave at once.
    fn acks(told: &mut Told, cursor: u64) -> alloc::vec::Vec<u64> {
        let next = || {
            let seq = told.next(cursor);
            told.acked(seq, None);
            seq
        };
        let mut acks =
            alloc::vec::Vec::from_iter(core::iter::repeat_with(next).take_while(|seq| *seq < cursor));
        acks.push(cursor);
        acks
    }

    #[test]
    fn many_rows_are_acked_in_steps_and_few_at_once() {
        let step = limits::ACK_STEP as u64;
        assert_eq!(acks(&mut passed(1..=step), step), [step]);
        let mut told = passed(1..=2 * step + 1);
        assert_eq!(acks(&mut told, 2 * step + 1), [step, 2 * step, 2 * step + 1]);
        assert_eq!(told.next(2 * step + 1), 2 * step + 1, "again");
        told.begin_link();
        assert_eq!(told.next(2 * step + 1), step, "they may be lost");
    }

    #[test]
    fn numbers_without_rows_are_no_steps() {
        let mut told = Told::new(7);
        told.pass(u64::MAX);
        assert_eq!(acks(&mut told, u64::MAX), [u64::MAX]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let rows = (STEPS * limits::ACK_STEP * 2) as u64;
        let told = passed(1..=rows);
        assert_eq!(told.steps.len(), STEPS);
        assert!(told.next(rows) > rows / 2);
    }
}
