//! Frames to the engine.
//!
//! Owns: the keys, their order and the dialect's differences of every frame that this broker sends.
//! Must not know: when a frame is due.
//!
//! 1. A frame has the keys of its schema and no others; optional values that are absent leave no key.
//! 2. Every request that is answered carries an id, because an engine answers one without under an id of
//!    its own making.
//! 3. Nothing but [`Node`] depends on the dialect.

use super::{Dialect, VERSION};
use crate::ids::{AgentId, AgentName, FrameId, InvocationId, NodeId};
use alloc::string::String;
use alloc::vec::Vec;
use serde::Serialize;
use serde_json::value::RawValue;

/// The capability that asks an engine (6.0.3 and later) to state each agent's cursor and to hold its
/// deliveries back until the agent is registered (`core/PROTOCOL.md` §5).
const CURSOR_CAPABILITY: &str = "relay:delivery-cursor-v1";

/// What stands in for an empty error text, which the engine would take for success.
const EMPTY_ERROR: &str = "failed without a reason";

/// What a node says about itself: constant while the broker lives.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The display name, unique in the workspace.
    pub name: String,
    /// The id that the node token was minted for.
    pub node_id: NodeId,
    /// What it can do, for example `spawn:claude` or `release`. The cursor capability is added here where the
    /// dialect knows it.
    pub capabilities: Vec<String>,
    /// The most agents it hosts; 0 for no limit.
    pub max_agents: u32,
    /// Free labels for placement.
    pub tags: Vec<String>,
    /// Name and version of the program, `name/x.y.z`.
    pub version: String,
    /// Who this process is among the node's providers.
    pub provider: Provider,
}

/// One party that serves a node. An engine lets a connection with the same instance take over at once, and
/// refuses another instance while the first still lives (`core/PROTOCOL.md` §4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Provider {
    /// The stable name that frames for agents are routed by.
    pub name: String,
    /// The process, the same over all its connections.
    pub instance_id: String,
}

/// One thing a node can do: all that this one offers is capacity, on which the engine places work.
#[derive(Serialize)]
struct Capability<'a> {
    name: &'a str,
    kind: &'static str,
}

impl Node {
    /// `node.register`: makes the node online; answered.
    pub(crate) fn register(&self, id: &FrameId, dialect: Dialect) -> String {
        let cursor = (dialect == Dialect::Provider).then_some(CURSOR_CAPABILITY);
        let names = self.capabilities.iter().map(String::as_str).chain(cursor);
        let capabilities = names.map(|name| Capability { name, kind: "capacity" }).collect();
        encode(&Frame::NodeRegister {
            id,
            name: &self.name,
            node_id: &self.node_id,
            provider: self.provider(dialect),
            capabilities,
            max_agents: self.max_agents,
            tags: &self.tags,
            version: &self.version,
        })
    }

    /// `node.heartbeat`: keeps the node online; never answered.
    ///
    /// Repeats no capabilities: they are replaced as a whole, and only registering should do that. The load
    /// is the share of `max_agents` in use, 0 without a limit.
    pub(crate) fn heartbeat(&self, active_agents: u32, handlers_live: bool, dialect: Dialect) -> String {
        let load = if self.max_agents == 0 {
            0.0
        } else {
            f64::from(active_agents.min(self.max_agents)) / f64::from(self.max_agents)
        };
        encode(&Frame::NodeHeartbeat {
            name: &self.name,
            node_id: &self.node_id,
            provider: self.provider(dialect),
            max_agents: self.max_agents,
            version: &self.version,
            load,
            active_agents,
            handlers_live,
        })
    }

    /// `node.deregister`: the goodbye; never answered.
    pub(crate) fn deregister(&self, dialect: Dialect) -> String {
        encode(&Frame::NodeDeregister { provider: self.provider(dialect) })
    }

    fn provider(&self, dialect: Dialect) -> Option<&Provider> {
        (dialect == Dialect::Provider).then_some(&self.provider)
    }
}

/// `agent.register`: a new agent, or on engines up to about 8.1 also the takeover of an existing name, which
/// ends the token of whoever holds it (`core/PROTOCOL.md` §4). Answered.
///
/// `invocation_id` is the spawn that caused it; an agent with a `session_ref` is declared resumable.
pub(crate) fn agent_register(
    id: &FrameId,
    name: &AgentName,
    invocation_id: Option<&InvocationId>,
    session_ref: Option<&str>,
) -> String {
    let resumable = session_ref.map(|_| true);
    encode(&Frame::AgentRegister { id, name, invocation_id, session_ref, resumable })
}

/// `agent.recover`: takes up an identity again that this node registered before, on engines whose
/// `agent.register` only creates. Answered.
pub(crate) fn agent_recover(
    id: &FrameId,
    name: &AgentName,
    expected_agent_id: &AgentId,
    invocation_id: Option<&InvocationId>,
    session_ref: Option<&str>,
) -> String {
    let resumable = session_ref.map(|_| true);
    encode(&Frame::AgentRecover { id, name, expected_agent_id, invocation_id, session_ref, resumable })
}

/// `agent.deregister`: the agent has left this node. Answered by engines from 8.7 if it carries an id.
pub(crate) fn agent_deregister(id: Option<&FrameId>, agent_id: &AgentId, name: Option<&AgentName>) -> String {
    encode(&Frame::AgentDeregister { id, agent_id, name })
}

/// `delivery.ack`: every row of the agent up to and including `up_to_seq` is done. By name, because that is
/// what the engine looks up. Never answered.
pub(crate) fn delivery_ack(agent: &AgentName, up_to_seq: u64) -> String {
    encode(&Frame::DeliveryAck { agent, up_to_seq })
}

/// What became of an invocation.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome<'a> {
    /// It succeeded, with any JSON.
    Output(&'a RawValue),
    /// It failed, with a code or a sentence.
    Error(&'a str),
}

/// `action.result`: the end of an invocation. Never answered.
pub(crate) fn action_result(invocation_id: &InvocationId, outcome: Outcome<'_>) -> String {
    let outcome = match outcome {
        Outcome::Error("") => Outcome::Error(EMPTY_ERROR),
        other => other,
    };
    encode(&Frame::ActionResult { invocation_id, outcome })
}

/// One agent of an inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InventoryAgent<'a> {
    /// Its identity.
    pub agent_id: &'a AgentId,
    /// Its name, by which the engine looks it up.
    pub name: &'a AgentName,
    /// The spawn that it came from: naming an open one completes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<&'a InvocationId>,
    /// The session it can be resumed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_ref: Option<&'a str>,
}

/// `inventory.sync`: these agents, and no others, live here (`core/PROTOCOL.md` §8). Answered.
pub(crate) fn inventory_sync(id: &FrameId, agents: &[InventoryAgent<'_>]) -> String {
    encode(&Frame::InventorySync { id, agents })
}

/// The keys of each frame, in the order in which they are written.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Frame<'a> {
    #[serde(rename = "node.register")]
    NodeRegister {
        id: &'a FrameId,
        name: &'a str,
        node_id: &'a NodeId,
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<&'a Provider>,
        capabilities: Vec<Capability<'a>>,
        max_agents: u32,
        tags: &'a [String],
        version: &'a str,
    },
    #[serde(rename = "node.heartbeat")]
    NodeHeartbeat {
        name: &'a str,
        node_id: &'a NodeId,
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<&'a Provider>,
        max_agents: u32,
        version: &'a str,
        load: f64,
        active_agents: u32,
        handlers_live: bool,
    },
    #[serde(rename = "node.deregister")]
    NodeDeregister {
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<&'a Provider>,
    },
    #[serde(rename = "agent.register")]
    AgentRegister {
        id: &'a FrameId,
        name: &'a AgentName,
        #[serde(skip_serializing_if = "Option::is_none")]
        invocation_id: Option<&'a InvocationId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        session_ref: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        resumable: Option<bool>,
    },
    #[serde(rename = "agent.recover")]
    AgentRecover {
        id: &'a FrameId,
        name: &'a AgentName,
        expected_agent_id: &'a AgentId,
        #[serde(skip_serializing_if = "Option::is_none")]
        invocation_id: Option<&'a InvocationId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        session_ref: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        resumable: Option<bool>,
    },
    #[serde(rename = "agent.deregister")]
    AgentDeregister {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a FrameId>,
        agent_id: &'a AgentId,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a AgentName>,
    },
    #[serde(rename = "delivery.ack")]
    DeliveryAck { agent: &'a AgentName, up_to_seq: u64 },
    #[serde(rename = "action.result")]
    ActionResult {
        invocation_id: &'a InvocationId,
        #[serde(flatten)]
        outcome: Outcome<'a>,
    },
    #[serde(rename = "inventory.sync")]
    InventorySync { id: &'a FrameId, agents: &'a [InventoryAgent<'a>] },
}

#[derive(Serialize)]
struct Versioned<'a> {
    v: u8,
    #[serde(flatten)]
    frame: &'a Frame<'a>,
}

fn encode(frame: &Frame<'_>) -> String {
    // Every key is a string and no number is infinite or NaN, so this cannot fail.
    serde_json::to_string(&Versioned { v: VERSION, frame }).expect("frames are plain JSON")
}
