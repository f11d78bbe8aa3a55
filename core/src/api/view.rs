//! Answers: what the broker knows, in the words of its clients.
//!
//! Owns: the bodies of successful answers (`core/PROTOCOL.md` §9). Must not know: where facts come from.
//!
//! 1. Fields are in the core's vocabulary and units, the JSON in the clients'.
//! 2. Every number is real; a key that could only be made up is left out or `null`.

use super::base64;
use super::error::Reply;
use crate::ids::{AgentId, AgentName, DeliveryId, MessageId, NodeId, WorkspaceId};
use crate::secret::Secret;
use crate::time::{Span, Wall};
use alloc::string::String;
use alloc::vec::Vec;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// The version of the local API that clients ask for.
const API_VERSION: u8 = 2;

/// How the broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthStatus {
    /// Everything works.
    Ok,
    /// Something does not; see the problems.
    Degraded,
    /// The first registration is not confirmed yet.
    Starting,
}

/// `GET /health`.
#[derive(Clone, Debug)]
pub(crate) struct HealthView<'a> {
    /// The verdict.
    pub status: HealthStatus,
    /// Version of this broker.
    pub version: &'a str,
    /// Since the start.
    pub uptime: Span,
    /// Once known.
    pub workspace: Option<&'a WorkspaceId>,
    /// Agents in the roster.
    pub agents: usize,
    /// Deliveries held and not acked.
    pub pending: usize,
    /// Open event streams.
    pub streams: usize,
    /// Whether the socket to the engine is open.
    pub connected: bool,
    /// Whether the engine has confirmed the registration on it.
    pub confirmed: bool,
    /// One word for the state of delivery, stable for programs.
    pub delivery: &'a str,
    /// Why delivery is not working, if it is not.
    pub delivery_reason: Option<&'a str>,
    /// Dead letters kept.
    pub dead_letters: usize,
    /// One sentence per thing that is wrong.
    pub problems: &'a [String],
}

impl HealthView<'_> {
    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        Reply::ok(self)
    }
}

/// Written without a tree: nothing is asked for as often.
impl Serialize for HealthView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Clients compare this with ids, so it is never null.
        let workspace = self.workspace.map_or("ws_unknown", |workspace| &workspace.0);
        let membership = |id| Membership { is_default: true, workspace_id: id };
        let status = match self.status {
            HealthStatus::Ok => "ok",
            HealthStatus::Degraded => "degraded",
            HealthStatus::Starting => "starting",
        };
        let mut health = serializer.serialize_struct("HealthView", 15)?;
        health.serialize_field("agentCount", &self.agents)?;
        health.serialize_field("deadLetterCount", &self.dead_letters)?;
        health.serialize_field("defaultWorkspaceId", workspace)?;
        health.serialize_field("memberships", self.workspace.map(membership).as_slice())?;
        health.serialize_field("nodeConnected", &self.connected)?;
        let delivery = NodeDelivery { reason: self.delivery_reason, state: self.delivery };
        health.serialize_field("nodeDelivery", &delivery)?;
        health.serialize_field("pendingDeliveryCount", &self.pending)?;
        health.serialize_field("problems", self.problems)?;
        health.serialize_field("relaycastConnected", &self.confirmed)?;
        health.serialize_field("service", "agent-relay-listen")?;
        health.serialize_field("status", status)?;
        health.serialize_field("uptimeMs", &self.uptime.as_millis())?;
        health.serialize_field("version", self.version)?;
        health.serialize_field("workspaceId", workspace)?;
        health.serialize_field("wsConnections", &self.streams)?;
        health.end()
    }
}

#[derive(Serialize)]
struct Membership<'a> {
    is_default: bool,
    workspace_id: &'a WorkspaceId,
}

#[derive(Serialize)]
struct NodeDelivery<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    state: &'a str,
}

/// `GET /api/session`.
#[derive(Clone, Debug)]
pub(crate) struct SessionView<'a> {
    /// Version of this broker.
    pub version: &'a str,
    /// The key of the workspace; only the holder of the local key sees this answer.
    pub workspace_key: Option<&'a Secret>,
    /// The engine.
    pub base_url: &'a str,
    /// Once known.
    pub workspace: Option<&'a WorkspaceId>,
    /// Whether the broker outlives its owner.
    pub persist: bool,
    /// Since the start.
    pub uptime: Span,
    /// Whether health is anything but good.
    pub degraded: bool,
    /// Once known.
    pub node: Option<&'a NodeId>,
    /// Once known.
    pub node_name: Option<&'a str>,
}

impl SessionView<'_> {
    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        Reply::ok(&json!({
            "broker_version": self.version,
            "protocol_version": API_VERSION,
            "workspace_key": self.workspace_key.map(Secret::expose),
            "relay_base_url": self.base_url,
            "default_workspace_id": self.workspace,
            "mode": if self.persist { "persist" } else { "ephemeral" },
            "uptime_secs": self.uptime.as_secs(),
            "degraded": self.degraded,
            "node_id": self.node,
            "node_name": self.node_name,
        }))
    }
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentState {
    /// Starting, or writing to its terminal.
    Working,
    /// Waiting for input.
    Idle,
    /// Not reading what is typed.
    Blocked,
}

/// One agent of a list.
#[derive(Clone, Debug)]
pub(crate) struct AgentView<'a> {
    /// Its name.
    pub name: &'a AgentName,
    /// Its identity, once registered.
    pub id: Option<&'a AgentId>,
    /// Its program.
    pub cli: &'a str,
    /// Its model, if the client named one.
    pub model: Option<&'a str>,
    /// Its channels.
    pub channels: &'a [String],
    /// The harness's session.
    pub session_ref: Option<&'a str>,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// What it is doing.
    pub state: AgentState,
    /// Deliveries held for it and not acked.
    pub pending: usize,
    /// Since its last output, without the sleep of the machine.
    pub quiet: Option<Span>,
}

/// Written as it is: with many agents a value of every one of them would cost more than all the rest.
impl Serialize for AgentView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nothing = None::<()>;
        let state = match self.state {
            AgentState::Working => "working",
            AgentState::Idle => "idle",
            AgentState::Blocked => "blocked_on_send",
        };
        let mut agent = serializer.serialize_struct("AgentView", 16)?;
        agent.serialize_field("agent_id", &self.id)?;
        agent.serialize_field("channels", self.channels)?;
        agent.serialize_field("cli", self.cli)?;
        agent.serialize_field("context_budget_pct", &nothing)?;
        agent.serialize_field("current_state", state)?;
        agent.serialize_field("last_activity_ms", &self.quiet.map(Span::as_millis))?;
        agent.serialize_field("model", &self.model)?;
        agent.serialize_field("name", self.name)?;
        agent.serialize_field("parent", &nothing)?;
        agent.serialize_field("pending_delivery_count", &self.pending)?;
        agent.serialize_field("pid", &self.pid)?;
        agent.serialize_field("provider", &nothing)?;
        agent.serialize_field("runtime", "pty")?;
        agent.serialize_field("sessionId", &self.session_ref)?;
        agent.serialize_field("team", &nothing)?;
        agent.serialize_field("workerPid", &self.pid)?;
        agent.end()
    }
}

/// `GET /api/spawned`.
pub(crate) fn agents_reply(agents: &[AgentView<'_>]) -> Reply {
    #[derive(Serialize)]
    struct Agents<'a> {
        agents: &'a [AgentView<'a>],
    }
    Reply::ok(&Agents { agents })
}

/// One delivery that is held.
#[derive(Clone, Debug)]
pub(crate) struct PendingView<'a> {
    /// Its id.
    pub delivery: &'a DeliveryId,
    /// For whom.
    pub agent: &'a AgentName,
    /// Its message.
    pub message: &'a MessageId,
    /// Who wrote it.
    pub from: Option<&'a str>,
    /// Typed so far.
    pub attempts: u8,
    /// When it came.
    pub queued_at: Wall,
    /// How long ago.
    pub age: Span,
    /// Why the last attempt failed.
    pub last_error: Option<&'a str>,
}

/// The workspace and the broker's own agent in it.
#[derive(Clone, Debug)]
pub(crate) struct WorkspaceAuth<'a> {
    /// Which.
    pub workspace: &'a WorkspaceId,
    /// Name of the broker's own agent.
    pub self_name: &'a AgentName,
    /// Its identity.
    pub self_id: &'a AgentId,
}

/// `GET /api/status`.
#[derive(Clone, Debug)]
pub(crate) struct StatusView<'a> {
    /// All agents.
    pub agents: &'a [AgentView<'a>],
    /// How many deliveries are held in all.
    pub pending_count: usize,
    /// The first of them.
    pub pending: &'a [PendingView<'a>],
    /// `None` while the broker has no identity.
    pub auth: Option<WorkspaceAuth<'a>>,
}

impl StatusView<'_> {
    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        let pending: Vec<Value> = self
            .pending
            .iter()
            .map(|row| {
                json!({
                    "delivery_id": row.delivery,
                    "worker_name": row.agent,
                    "event_id": row.message,
                    "from": row.from,
                    "to": row.agent,
                    "attempts": row.attempts,
                    "queued_at_ms": row.queued_at.0,
                    "age_ms": row.age.as_millis(),
                    "last_error": row.last_error,
                })
            })
            .collect();
        let workspaces: Vec<Value> = self
            .auth
            .iter()
            .map(|auth| {
                json!({
                    "workspace_id": auth.workspace,
                    "workspace_alias": null,
                    "self_name": auth.self_name,
                    "self_agent_id": auth.self_id,
                    "authenticated": true,
                    "default": true,
                })
            })
            .collect();
        let auth = json!({
            "authenticated": self.auth.is_some(),
            "workspace_count": workspaces.len(),
            "default_workspace_id": self.auth.as_ref().map(|auth| auth.workspace),
            "workspaces": workspaces,
        });
        Reply::ok(&Status {
            agent_count: self.agents.len(),
            agents: self.agents,
            auth,
            pending_deliveries: pending,
            pending_delivery_count: self.pending_count,
        })
    }
}

#[derive(Serialize)]
struct Status<'a> {
    agent_count: usize,
    agents: &'a [AgentView<'a>],
    auth: Value,
    pending_deliveries: Vec<Value>,
    pending_delivery_count: usize,
}

/// A successful `POST /api/spawn`.
#[derive(Clone, Debug)]
pub(crate) struct SpawnedView<'a> {
    /// Its name.
    pub name: &'a AgentName,
    /// Its identity, unless it runs unregistered.
    pub id: Option<&'a AgentId>,
    /// Its process.
    pub pid: u32,
    /// Its model, if the client named one.
    pub model: Option<&'a str>,
    /// The harness's session.
    pub session_ref: Option<&'a str>,
    /// Its channels.
    pub channels: &'a [String],
    /// What the caller should know although it worked.
    pub warning: Option<&'a str>,
}

impl SpawnedView<'_> {
    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        Reply::ok(&json!({
            "success": true,
            "name": self.name,
            "agent_id": self.id,
            "runtime": "pty",
            "pid": self.pid,
            "model": self.model,
            "sessionId": self.session_ref,
            "channels": self.channels,
            "pre_registered": self.id.is_some(),
            "warning": self.warning,
        }))
    }
}

/// What a terminal shows.
#[derive(Clone, Debug)]
pub(crate) enum Screen<'a> {
    /// Its lines.
    Plain(&'a str),
    /// The bytes that draw it.
    Ansi(&'a [u8]),
}

/// `GET /api/spawned/{name}/snapshot`.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotView<'a> {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
    /// Line and column of the cursor, from 0.
    pub cursor: (u16, u16),
    /// What it shows.
    pub screen: Screen<'a>,
}

impl SnapshotView<'_> {
    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        let (format, screen) = match self.screen {
            Screen::Plain(text) => ("plain", text.into()),
            Screen::Ansi(bytes) => ("ansi", base64::encode(bytes)),
        };
        Reply::ok(&json!({
            "format": format,
            "rows": self.rows,
            "cols": self.cols,
            "cursor": [u32::from(self.cursor.0) + 1, u32::from(self.cursor.1) + 1],
            "screen": screen,
        }))
    }
}

/// A message that the engine has accepted.
#[derive(Clone, Debug)]
pub(crate) struct SentView<'a> {
    /// Our name for the publish.
    pub event: &'a str,
    /// The engine's id of the message.
    pub message: Option<&'a MessageId>,
    /// Where.
    pub workspace: Option<&'a WorkspaceId>,
}

impl SentView<'_> {
    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        Reply::ok(&json!({
            "success": true,
            "event_id": self.event,
            "local": false,
            "relaycast_published": true,
            "message_id": self.message,
            "workspace_id": self.workspace,
        }))
    }
}

/// One message that could not be delivered.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetterView<'a> {
    /// Its delivery.
    pub delivery: &'a DeliveryId,
    /// For whom.
    pub agent: &'a AgentName,
    /// The identity it was for.
    pub agent_id: &'a AgentId,
    /// Its place in that identity's sequence.
    pub seq: u64,
    /// Its message.
    pub message: &'a MessageId,
    /// Who wrote it.
    pub from: Option<&'a str>,
    /// Where it was sent.
    pub target: Option<&'a str>,
    /// The text.
    pub body: &'a str,
    /// Why it was given up.
    pub reason: &'a str,
    /// Typed so often.
    pub attempts: u8,
    /// When it was given up.
    pub at: Wall,
}

/// `GET /api/dead-letters`.
pub(crate) fn dead_letters_reply(letters: &[DeadLetterView<'_>]) -> Reply {
    let letters: Vec<Value> = letters
        .iter()
        .map(|letter| {
            json!({
                "delivery_id": letter.delivery,
                "name": letter.agent,
                "agent_id": letter.agent_id,
                "seq": letter.seq,
                "event_id": letter.message,
                "from": letter.from,
                "target": letter.target,
                "body": letter.body,
                "reason": letter.reason,
                "attempts": letter.attempts,
                "failed_at_ms": letter.at.0,
            })
        })
        .collect();
    Reply::ok(&json!({"dead_letters": letters}))
}

/// `POST /api/session/renew`; `lease` is what is left, ignored by a broker that persists.
pub(crate) fn lease_reply(persist: bool, lease: Span) -> Reply {
    let left = if persist { 0 } else { lease.as_secs() };
    Reply::ok(&json!({"renewed": true, "expires_in_secs": left, "persist": persist}))
}

/// `DELETE /api/spawned/{name}`.
pub(crate) fn released_reply(name: &AgentName) -> Reply {
    Reply::ok(&json!({"success": true, "name": name}))
}

/// `POST /api/input/{name}`, once the terminal has taken it.
pub(crate) fn input_reply(name: &AgentName, bytes: usize) -> Reply {
    Reply::ok(&json!({"name": name, "bytes_written": bytes}))
}

/// `POST /api/resize/{name}`.
pub(crate) fn resized_reply(name: &AgentName, rows: u16, cols: u16) -> Reply {
    Reply::ok(&json!({"name": name, "rows": rows, "cols": cols}))
}

/// `POST /api/shutdown`.
pub(crate) fn shutdown_reply() -> Reply {
    Reply::ok(&json!({"status": "shutting_down"}))
}

#[cfg(test)]
mod tests;
