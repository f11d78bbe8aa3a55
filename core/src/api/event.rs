//! Events: what happened, for whoever follows the broker.
//!
//! Owns: the kinds of events and their fields (`core/PROTOCOL.md` §9). Must not know: who follows.
//!
//! 1. An event is one JSON object that begins with its `kind`. No field is called `seq`: the ring
//!    adds it.
//! 2. Words of peers are masked; bodies of messages and output of agents are theirs to see.

use crate::ids::{AgentName, DeliveryId, MessageId, WorkspaceId};
use crate::input::ExitStatus;
use crate::secret::mask;
use crate::time::Wall;
use alloc::string::{String, ToString};
use serde::{Serialize, Serializer};

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// An agent was started.
    AgentSpawned {
        /// Who.
        #[serde(flatten)]
        agent: AgentFacts<'a>,
        /// Who asked: `http_api` or `relaycast_ws`.
        source: &'static str,
        /// Whether it was registered before it started.
        pre_registered: bool,
    },
    /// An agent was stopped on request.
    AgentReleased {
        /// Who.
        name: &'a AgentName,
    },
    /// An agent's process is over. Made by [`Event::agent_exited`].
    AgentExited {
        /// Who.
        name: &'a AgentName,
        /// Its exit code.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// The number of the signal that ended it, as text.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// Why, in words.
        #[serde(serialize_with = "masked")]
        reason: &'a str,
    },
    /// An agent is ready for messages.
    WorkerReady {
        /// Who.
        #[serde(flatten)]
        agent: AgentFacts<'a>,
    },
    /// An agent's terminal showed something. Not kept, not numbered.
    WorkerStream {
        /// Who.
        name: &'a AgentName,
        /// `stdout`.
        stream: &'static str,
        /// What.
        chunk: &'a str,
    },
    /// Something is wrong with an agent.
    WorkerError {
        /// Who.
        name: &'a AgentName,
        /// Stable identifier.
        code: &'a str,
        /// A sentence.
        #[serde(serialize_with = "masked")]
        message: &'a str,
    },
    /// A message has come in.
    RelayInbound {
        /// Its message.
        event_id: &'a MessageId,
        /// Who wrote it.
        from: &'a str,
        /// Where it was sent.
        target: &'a str,
        /// What it says.
        body: &'a str,
        /// Its thread.
        #[serde(skip_serializing_if = "Option::is_none")]
        thread_id: Option<&'a str>,
        /// Where.
        #[serde(skip_serializing_if = "Option::is_none")]
        workspace_id: Option<&'a WorkspaceId>,
        /// `wait` or `steer`.
        mode: &'static str,
    },
    /// A delivery waits for its turn.
    DeliveryQueued(DeliveryFacts<'a>),
    /// Its text and submit were written.
    DeliveryInjected(DeliveryFacts<'a>),
    /// It was acked to the engine.
    DeliveryAck(DeliveryFacts<'a>),
    /// The agent has taken it.
    DeliveryVerified {
        /// Which.
        #[serde(flatten)]
        delivery: DeliveryFacts<'a>,
        /// By what: `screen`, `activity` or `taken`.
        verification: &'static str,
    },
    /// An attempt failed, or the delivery as a whole.
    DeliveryFailed {
        /// Which.
        #[serde(flatten)]
        delivery: DeliveryFacts<'a>,
        /// Why.
        #[serde(serialize_with = "masked")]
        reason: &'a str,
    },
    /// Held deliveries went back to the engine.
    DeliveryDropped {
        /// Whose.
        name: &'a AgentName,
        /// How many.
        count: usize,
        /// Why.
        #[serde(serialize_with = "masked")]
        reason: &'a str,
    },
    /// A message was given up.
    DeadLetterAdded {
        /// Which.
        #[serde(flatten)]
        delivery: DeliveryFacts<'a>,
        /// Who wrote it.
        from: &'a str,
        /// Typed so often.
        attempts: u8,
        /// Why.
        #[serde(serialize_with = "masked")]
        reason: &'a str,
    },
    /// An agent runs although its registration went wrong.
    RegistrationWarning {
        /// Who.
        name: &'a AgentName,
        /// A sentence.
        #[serde(serialize_with = "masked")]
        warning: &'a str,
    },
    /// The connection to the engine changed.
    NodeConnection {
        /// One word, stable for programs; the same as in `/health`.
        state: &'a str,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "masked_if")]
        reason: Option<&'a str>,
    },
}

/// An agent, as events show it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AgentFacts<'a> {
    /// Its name.
    pub name: &'a AgentName,
    /// How it runs.
    pub runtime: Runtime,
    /// Its program.
    pub cli: &'a str,
    /// Its model, if the client named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// The harness's session.
    #[serde(rename = "sessionId", skip_serializing_if = "Option::is_none")]
    pub session_ref: Option<&'a str>,
    /// Its process.
    pub pid: u32,
}

/// How agents run. There is one way.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Runtime {
    /// On a terminal.
    #[default]
    Pty,
}

/// A delivery, as events show it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DeliveryFacts<'a> {
    /// For whom.
    pub name: &'a AgentName,
    /// Which.
    pub delivery_id: &'a DeliveryId,
    /// Its message.
    pub event_id: &'a MessageId,
    /// When, in milliseconds since the epoch.
    #[serde(rename = "timestamp", serialize_with = "millis")]
    pub at: Wall,
}

impl<'a> Event<'a> {
    /// An agent's process ended like this.
    pub(crate) fn agent_exited(name: &'a AgentName, status: ExitStatus, reason: &'a str) -> Self {
        let (code, signal) = match status {
            ExitStatus::Code(code) => (Some(code), None),
            ExitStatus::Signal(signal) => (None, Some(signal.to_string())),
            ExitStatus::Unknown => (None, None),
        };
        Self::AgentExited { name, code, signal, reason }
    }

    /// The event as JSON.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("events have string keys and whole numbers")
    }
}

fn masked<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mask(text))
}

fn masked_if<S: Serializer>(text: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    masked(text.unwrap_or_default(), serializer)
}

fn millis<S: Serializer>(at: &Wall, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(at.0)
}

#[cfg(test)]
mod tests;
