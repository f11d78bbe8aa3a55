//! Ids: who is meant.
//!
//! Owns: the newtypes that keep one kind of id from being taken for another.
//! Must not know: what happens to the things they name.
//!
//! 1. Ids that this broker makes are counters from one `Counters` value and are never re-used.
//! 2. Ids that the engine makes are opaque text, compared byte for byte.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! counter_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "#{}"), self.0)
            }
        }
    )*};
}

counter_id! {
    /// One WebSocket to the engine, from the attempt to open it to its end.
    LinkId,
    /// One HTTP call to the engine.
    CallId,
    /// One child process with its terminal: a new one for every spawn, so it is also the generation.
    ProcessId,
    /// One write to, or check of, a terminal.
    OpId,
    /// One store operation.
    StoreId,
    /// One request on the local API. Made by the driver.
    RequestId,
    /// One open event stream of the local API.
    SubscriberId,
}

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) String);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    )*};
}

text_id! {
    /// An agent identity of the engine. Deliveries, cursors and acks belong to it, not to the name.
    AgentId,
    /// The name of an agent: what people and frames call it. May pass from one identity to another.
    AgentName,
    /// One delivery of one message to one agent.
    DeliveryId,
    /// One message; several deliveries and receipts can carry the same one.
    MessageId,
    /// One action invocation: the idempotency key of spawn and release.
    InvocationId,
    /// This node, towards the engine.
    NodeId,
    /// The workspace that the key belongs to.
    WorkspaceId,
    /// A request frame of ours that wants a correlated reply.
    FrameId,
}

/// The source of every counter id of one broker (invariant 1).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    last: u64,
}

impl Counters {
    /// The next number; starts at 1.
    pub(crate) const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}
