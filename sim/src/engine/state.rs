//! The tables.
//!
//! Owns: what is stored about workspaces, agents, nodes, rooms, messages, invocations, connections.
//! Must not know: rules.
//!
//! 1. Keys are indexes; nothing is ever removed from a table, only marked.

use super::ids::{AgentKey, InvocationKey, NodeKey, RoomKey, WorkspaceKey};
use super::mailbox::Mailbox;
use super::{ConnectionId, HttpResponse};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct State {
    pub(super) workspaces: Vec<Workspace>,
    pub(super) agents: Vec<Agent>,
    pub(super) nodes: Vec<Node>,
    pub(super) rooms: Vec<Room>,
    /// The direct conversation of two agents, the older one first.
    pub(super) direct_rooms: BTreeMap<(AgentKey, AgentKey), RoomKey>,
    pub(super) invocations: Vec<Invocation>,
    pub(super) messages: BTreeMap<u64, Message>,
    pub(super) agent_ids: BTreeMap<Arc<str>, AgentKey>,
    pub(super) tokens: BTreeMap<String, AgentKey>,
    pub(super) invocation_ids: BTreeMap<String, InvocationKey>,
    pub(super) idempotency: BTreeMap<(WorkspaceKey, String), Stored>,
}

pub(super) struct Workspace {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) key: String,
    pub(super) agents: BTreeMap<Arc<str>, AgentKey>,
    pub(super) nodes: BTreeMap<String, NodeKey>,
    pub(super) rooms: BTreeMap<String, RoomKey>,
}

/// Where an agent's mail goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its own implicit node, which exists once its token was asked for.
    Direct,
    /// A broker's node.
    Node(NodeKey),
    /// Nowhere, after a release.
    Nowhere,
}

pub(super) struct Agent {
    pub(super) workspace: WorkspaceKey,
    pub(super) id: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) kind: String,
    pub(super) metadata: Value,
    pub(super) token: String,
    /// When it was made.
    pub(super) token_at: i64,
    /// A rotated token and until when it still works.
    pub(super) previous: Option<(String, i64)>,
    pub(super) active: bool,
    pub(super) last_seen: i64,
    pub(super) created_at: i64,
    pub(super) place: Place,
    pub(super) provider: String,
    /// The binding to the place is active.
    pub(super) bound: bool,
    /// The node that first registered it.
    pub(super) home: Option<NodeKey>,
    /// The node that last said that it has left.
    pub(super) left: Option<NodeKey>,
    /// Its own implicit node.
    pub(super) direct: Option<NodeKey>,
    pub(super) mailbox: Mailbox,
    pub(super) rooms: BTreeSet<RoomKey>,
    pub(super) muted: BTreeSet<RoomKey>,
    pub(super) deleted: bool,
}

/// An agent that was not seen for longer reads as offline.
const SEEN_MS: i64 = 5 * 60 * 1_000;

impl Agent {
    /// Whether it reads as active.
    pub(super) const fn is_active(&self, now: i64) -> bool {
        self.active && now - self.last_seen < SEEN_MS
    }
}

pub(super) struct Node {
    pub(super) workspace: WorkspaceKey,
    /// The implicit node of one agent; otherwise a broker's.
    pub(super) owner: Option<AgentKey>,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) token: String,
    /// When it was made.
    pub(super) token_at: i64,
    pub(super) version: Option<String>,
    pub(super) online: bool,
    pub(super) last_heartbeat: Option<i64>,
    pub(super) created_at: i64,
    /// 0 is unlimited. Given at the enrolment, then the aggregate of the providers.
    pub(super) max_agents: u64,
    pub(super) machine_id: Option<String>,
    /// A heartbeat came since the last enrolment.
    pub(super) proved_life: bool,
    pub(super) providers: BTreeMap<String, Provider>,
}

#[derive(Default)]
pub(super) struct Provider {
    pub(super) connection: Option<ConnectionId>,
    pub(super) instance_id: Option<String>,
    pub(super) capabilities: Vec<String>,
    pub(super) max_agents: u64,
    pub(super) active_agents: u64,
    pub(super) load: f64,
    pub(super) handlers_live: bool,
    /// When its socket last sent a frame.
    pub(super) last_frame: i64,
}

pub(super) struct Connection {
    pub(super) node: NodeKey,
    /// Set by an accepted `node.register` (before 6.0: by the upgrade).
    pub(super) provider: Option<String>,
    pub(super) cursor: bool,
    /// With a cursor: the agents that may be sent to.
    pub(super) ready: BTreeSet<AgentKey>,
}

/// What kind of room a message is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RoomKind {
    Channel,
    Direct,
    Group,
}

pub(super) struct Room {
    pub(super) workspace: WorkspaceKey,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) kind: RoomKind,
    pub(super) topic: Option<String>,
    pub(super) members: BTreeSet<AgentKey>,
    pub(super) created_at: i64,
}

pub(super) struct Message {
    pub(super) workspace: WorkspaceKey,
    pub(super) room: RoomKey,
    pub(super) root: u64,
}

/// How far an invocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvocationState {
    Pending,
    Dispatched,
    Completed,
    Failed,
}

pub(super) struct Invocation {
    pub(super) workspace: WorkspaceKey,
    pub(super) id: String,
    /// `spawn`, `release` or a node's own action.
    pub(super) action: String,
    /// What the frame says: `spawn:claude`.
    pub(super) capability: String,
    pub(super) input: Value,
    pub(super) caller: Option<AgentKey>,
    pub(super) state: InvocationState,
    pub(super) node: Option<NodeKey>,
    pub(super) provider: String,
    pub(super) tried: BTreeSet<NodeKey>,
    pub(super) attempts: u32,
    pub(super) dispatched_at: i64,
    pub(super) retry_after: Option<i64>,
    pub(super) created_at: i64,
    pub(super) output: Value,
    pub(super) error: Option<String>,
}

impl Invocation {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, InvocationState::Pending | InvocationState::Dispatched)
    }
}

/// The stored answer to an idempotent request.
pub(super) struct Stored {
    pub(super) fingerprint: String,
    pub(super) response: HttpResponse,
    pub(super) at: i64,
}

impl State {
    pub(super) fn agent_by_id(&self, id: &str) -> Option<AgentKey> {
        self.agent_ids.get(id).copied()
    }

    pub(super) fn agent_by_name(&self, workspace: WorkspaceKey, name: &str) -> Option<AgentKey> {
        self.workspaces[workspace.0].agents.get(name).copied()
    }

    pub(super) fn node_by_name(&self, workspace: WorkspaceKey, name: &str) -> Option<NodeKey> {
        self.workspaces[workspace.0].nodes.get(name).copied()
    }

    pub(super) fn node_by_id(&self, id: &str) -> Option<NodeKey> {
        self.nodes.iter().position(|node| node.id == id).map(NodeKey)
    }

    pub(super) fn room_by_name(&self, workspace: WorkspaceKey, name: &str) -> Option<RoomKey> {
        self.workspaces[workspace.0].rooms.get(name).copied()
    }

    pub(super) fn invocation_by_id(&self, id: &str) -> Option<InvocationKey> {
        self.invocation_ids.get(id).copied()
    }

    /// The node that an agent's mail goes to.
    pub(super) fn node_of(&self, key: AgentKey) -> Option<NodeKey> {
        let agent = &self.agents[key.0];
        match agent.place {
            Place::Direct => agent.direct,
            Place::Node(node) => Some(node),
            Place::Nowhere => None,
        }
    }

    /// The agents located on a node, in order of their names.
    pub(super) fn agents_on(&self, node: NodeKey) -> Vec<AgentKey> {
        if let Some(owner) = self.nodes[node.0].owner {
            return Vec::from_iter((self.node_of(owner) == Some(node)).then_some(owner));
        }
        let workspace = &self.workspaces[self.nodes[node.0].workspace.0];
        let here = |key: &&AgentKey| self.agents[key.0].place == Place::Node(node);
        workspace.agents.values().filter(here).copied().collect()
    }
}
