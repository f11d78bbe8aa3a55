//! Rows: one delivery on its way through a window.
//!
//! Owns: what is kept of a `deliver` frame, what may become of it, and the states it goes through.
//! Must not know: order, acks, terminals.

use super::repeats::Repeats;
use crate::ids::{DeliveryId, MessageId};
use crate::time::Now;
use crate::wire::Mode;
use alloc::string::String;
use core::fmt;

/// Names a row inside its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowKey {
    /// A row of the mailbox, by its sequence.
    Sequenced(u64),
    /// A frame outside of the sequence (a fan-out event, or a row at or below the cursor), by a counter.
    Loose(u64),
}

/// What a frame brought.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) delivery_id: DeliveryId,
    pub(crate) msg_id: MessageId,
    pub(crate) mode: Mode,
    pub(crate) payload: String,
    /// Shown to the agent; otherwise only acked.
    pub(crate) shown: bool,
    /// Its id names what it is about and not the event: the next one of its kind has the same.
    pub(crate) recurs: bool,
    /// When it came.
    pub(crate) at: Now,
}

impl fmt::Debug for Frame {
    /// Free text shows as its length, so that digests do not depend on what people wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivery_id, msg_id, mode, payload, shown, recurs: _, at: _ } = self;
        write!(f, "{delivery_id} {msg_id} {mode:?} {} {shown}", payload.len())
    }
}

/// What a window did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is queued, or settled at once.
    InOrder,
    /// It waits for lower rows.
    Held,
    /// It is here already, or was.
    Duplicate,
    /// At or below the cursor, but never seen: queued outside of the sequence.
    Late,
    /// There is no room; a replay must bring it again.
    Overflow,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowState {
    /// Waits for lower rows.
    Held,
    /// Waits for its turn at the terminal.
    Queued,
    /// The terminal has it.
    Injecting,
    /// Given up; its dead letter is not on disk yet.
    Burying,
    /// Taken by the agent, of a class that is only acked, or dead with its letter on disk: may be acked.
    Settled,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) frame: Frame,
    pub(super) state: RowState,
    pub(super) attempts: u8,
    pub(super) repeats: Repeats,
}

impl Row {
    pub(super) const fn new(frame: Frame, state: RowState, round: u64) -> Self {
        Self { frame, state, attempts: 0, repeats: Repeats::new(round) }
    }

    /// Frees what is only needed to show the row.
    pub(super) fn settle(&mut self) -> usize {
        self.state = RowState::Settled;
        core::mem::take(&mut self.frame.payload).len()
    }
}
