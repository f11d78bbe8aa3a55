//! The journal: what the engine did, in order, for oracles and tests.
//!
//! Owns: the record types and their storage.
//! Must not know: how anything is decided. Records are never read back by the model.
//!
//! 1. Records are appended in the order in which things happened.
//! 2. When nobody drains it, the oldest half goes as soon as it is full.

use super::ConnectionId;
use std::sync::Arc;

/// Records kept at most: some minutes of a busy engine.
const CAPACITY: usize = 200_000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, in Unix milliseconds of the caller's clock.
    pub at_ms: i64,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A socket passed the upgrade.
    Upgraded {
        /// The socket.
        connection: ConnectionId,
        /// Its node.
        node_id: String,
    },
    /// A socket is gone, closed by either side.
    Closed {
        /// The socket.
        connection: ConnectionId,
    },
    /// `node.register` was accepted.
    NodeRegistered {
        /// The socket.
        connection: ConnectionId,
        /// The node.
        node_id: String,
        /// Its provider.
        provider: String,
        /// The cursor capability was accepted.
        cursor: bool,
    },
    /// A node, or one provider of it, counts as gone: closed, stale or deregistered.
    NodeLost {
        /// The node.
        node_id: String,
        /// Its provider.
        provider: String,
    },
    /// An agent got a token, over HTTP or through a node.
    AgentRegistered {
        /// The agent.
        agent_id: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// The socket, or none for HTTP.
        connection: Option<ConnectionId>,
    },
    /// An accepted `inventory.sync`.
    InventorySynced {
        /// The socket.
        connection: ConnectionId,
        /// Names listed and accepted.
        names: Vec<Arc<str>>,
    },
    /// A row was stored.
    Stored {
        /// The recipient.
        agent_id: Arc<str>,
        /// Its sequence.
        seq: u64,
        /// The message.
        msg_id: Arc<str>,
    },
    /// A full mailbox refused a row.
    DepthCapped {
        /// The recipient.
        agent_id: Arc<str>,
        /// The message.
        msg_id: Arc<str>,
    },
    /// A row became terminal without an ack.
    Dead {
        /// The recipient.
        agent_id: Arc<str>,
        /// Its sequence.
        seq: u64,
    },
    /// A `deliver` frame was written.
    Delivered {
        /// The socket.
        connection: ConnectionId,
        /// The recipient.
        agent_id: Arc<str>,
        /// Its sequence; 0 for an ephemeral event.
        seq: u64,
        /// The delivery.
        delivery_id: Arc<str>,
        /// The message.
        msg_id: Arc<str>,
        /// This was a replay, not the live dispatch.
        replay: bool,
    },
    /// A `deliver` frame did not reach its node, and the socket lives on.
    FrameLost {
        /// The recipient.
        agent_id: Arc<str>,
        /// Its sequence; 0 for an ephemeral event.
        seq: u64,
        /// The engine knows; otherwise it believes that the frame was sent.
        failed: bool,
    },
    /// A `delivery.ack` arrived.
    Acked {
        /// The socket.
        connection: ConnectionId,
        /// The name in the frame.
        agent: String,
        /// The sequence in the frame.
        up_to_seq: u64,
        /// The agent it matched by name, place and provider.
        matched: Option<Arc<str>>,
    },
    /// An ack covered more open rows than the engine can end at once: they stay open until they expire.
    AckTooWide {
        /// The socket.
        connection: ConnectionId,
        /// The name in the frame.
        agent: String,
        /// How many rows.
        rows: usize,
    },
    /// An inbound frame was answered with an error.
    Rejected {
        /// The socket.
        connection: ConnectionId,
        /// The error code.
        code: &'static str,
        /// The error message.
        reason: String,
    },
    /// An `action.invoke` frame was written.
    InvocationSent {
        /// The socket.
        connection: ConnectionId,
        /// The invocation.
        invocation_id: String,
        /// The action in the frame.
        action: String,
    },
    /// An `action.invoke` frame did not reach its node, and the socket lives on.
    InvocationLost {
        /// The invocation.
        invocation_id: String,
    },
    /// An `action.result` arrived.
    InvocationResult {
        /// The socket.
        connection: ConnectionId,
        /// The invocation in the frame.
        invocation_id: String,
        /// It decided the invocation; otherwise it was dropped silently.
        accepted: bool,
    },
    /// An invocation went back to be placed again.
    InvocationRescheduled {
        /// The invocation.
        invocation_id: String,
    },
    /// An invocation ended.
    InvocationFinished {
        /// The invocation.
        invocation_id: String,
        /// It completed; otherwise it failed.
        completed: bool,
    },
    /// A request was answered from a replica that did not know yet what it was about.
    Unseen {
        /// What that was.
        what: &'static str,
    },
    /// A release is answered whose agent has left the node already, as that has said.
    LeftBeforeRelease {
        /// The invocation.
        invocation_id: String,
    },
}

impl Event {
    /// The socket on which it happened, if it did on one.
    pub fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Upgraded { connection, .. }
            | Self::Closed { connection }
            | Self::NodeRegistered { connection, .. }
            | Self::InventorySynced { connection, .. }
            | Self::Delivered { connection, .. }
            | Self::Acked { connection, .. }
            | Self::AckTooWide { connection, .. }
            | Self::Rejected { connection, .. }
            | Self::InvocationSent { connection, .. }
            | Self::InvocationResult { connection, .. } => Some(*connection),
            Self::AgentRegistered { connection, .. } => *connection,
            Self::NodeLost { .. }
            | Self::Stored { .. }
            | Self::DepthCapped { .. }
            | Self::Dead { .. }
            | Self::FrameLost { .. }
            | Self::Unseen { .. }
            | Self::InvocationLost { .. }
            | Self::InvocationRescheduled { .. }
            | Self::InvocationFinished { .. }
            | Self::LeftBeforeRelease { .. } => None,
        }
    }
}

/// The records.
#[derive(Default)]
pub(super) struct Journal {
    records: Vec<Record>,
}

impl Journal {
    pub(super) fn push(&mut self, at_ms: i64, event: Event) {
        if self.records.len() == CAPACITY {
            self.records.drain(..CAPACITY / 2);
        }
        self.records.push(Record { at_ms, event });
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn drain(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }
}
