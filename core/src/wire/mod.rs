//! The node wire: frames between this broker and the engine (`core/PROTOCOL.md` §3).
//!
//! Owns: the text form of every frame, both ways, and what differs between the engine's dialects.
//! Must not know: what a frame means for an agent, a cursor or a connection; it holds no state.
//!
//! 1. Inbound is lenient: whatever is readable of a frame is taken, and nothing that a peer writes can panic.
//! 2. Outbound is strict: exactly the keys that the dialect's schema knows, in a fixed order; an absent
//!    value is an absent key. Engines refuse a whole frame for one key too many.

mod inbound;
mod object;
mod outbound;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub(crate) use inbound::{Deliver, ErrorFrame, Inbound, Invoke, Mode, RegisteredAgent, Reply, decode};
pub(crate) use object::Object;
pub(crate) use outbound::{
    InventoryAgent, Node, Outcome, Provider, action_result, agent_deregister, agent_recover, agent_register,
    delivery_ack, inventory_sync,
};

/// The `v` of every frame.
const VERSION: u8 = 1;

/// Which strict schema the engine applies to the frames of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dialect {
    /// Engines from 6.0: named providers, and from 6.0.3 the delivery cursor.
    Provider,
    /// Engines 5.x: one socket per node; they refuse a frame that names a provider.
    Legacy,
}
