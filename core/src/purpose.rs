//! Purposes: what the IO in flight is for.
//!
//! Owns: the enums that a completion is routed by.
//! Must not know: what happens then.

use crate::broker::Member;
use crate::delivery::RowKey;
use crate::ids::{AgentId, AgentName, InvocationId, ProcessId, RequestId};

/// What an HTTP call to the engine is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallFor {
    /// Creating a workspace, for a broker without key.
    Workspace,
    /// Registering the broker's own agent.
    OwnAgent,
    /// Another token for the broker's own agent, whose token was refused.
    OwnToken,
    /// Minting a node token.
    Mint,
    /// A step of getting somebody into a channel.
    Channel {
        /// Who.
        member: Member,
        /// The channel, without `#`.
        channel: alloc::string::String,
    },
    /// Publishing a message for the local API.
    Publish(RequestId),
    /// Asking whose the name of an agent is.
    LookUp(ProcessId),
    /// Asking who lives on this node, and so which of these do not.
    Census(alloc::vec::Vec<AgentId>),
    /// Registering an agent over HTTP.
    RegisterOverHttp {
        /// Its process to be.
        process: ProcessId,
        /// Its name.
        name: AgentName,
    },
    /// Binding that agent to this node.
    Bind(ProcessId),
}

/// What a store operation is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreFor {
    /// `identity.json`.
    Identity,
    /// The token cache.
    Token,
    /// Records that nothing waits for.
    Journal,
    /// The record that an invocation was started; only then is it.
    Started(InvocationId),
    /// A dead letter; only then is its row settled.
    DeadLetter(AgentId, RowKey),
}
