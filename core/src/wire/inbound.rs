//! Frames from the engine.
//!
//! Owns: the reading of a frame's text into borrowed parts, and the one reply body that others rely on.
//! Must not know: which request a reply answers, or which deliveries are new.
//!
//! 1. A `deliver` is refused only if nobody could say whose it is or where it stands in the sequence: a
//!    refused one is never acked, so its agent would wait for it until it expires.
//! 2. No id is made up: what the engine did not say is `None`.
//! 3. An agent's token leaves this module only as a [`Secret`].

use super::{Object, VERSION};
use crate::Secret;
use crate::ids::{AgentId, AgentName};
use alloc::borrow::Cow;
use core::fmt;
use serde_json::value::RawValue;

/// A frame from the engine (`core/PROTOCOL.md` §3).
#[derive(Debug)]
pub(crate) enum Inbound<'a> {
    /// A message or event for one agent.
    Deliver(Deliver<'a>),
    /// Work for this node.
    Invoke(Invoke<'a>),
    /// The good answer to a request of ours.
    Reply(Reply<'a>),
    /// The refusal of a request of ours.
    Error(ErrorFrame<'a>),
    /// `context.update`: presence, membership or delivery news. Nothing depends on it.
    ContextUpdate,
    /// A sign of life that wants no answer.
    Ping,
    /// A type that this broker does not know.
    Unknown {
        /// The frame's `type`, as the peer wrote it.
        kind: Cow<'a, str>,
    },
}

/// `deliver`: one row of an agent's mailbox, or one event outside of any sequence (`core/PROTOCOL.md` §5).
#[derive(Debug)]
pub(crate) struct Deliver<'a> {
    /// Whose it is.
    pub identity: Identity<'a>,
    /// This delivery of this message; the same again when it is repeated.
    pub delivery_id: Option<Cow<'a, str>>,
    /// The message. Events with `seq` 0 carry the id of the message that they are about.
    pub msg_id: Option<Cow<'a, str>>,
    /// The place in the agent's sequence, from 1; 0 for events outside of it.
    pub seq: u64,
    /// How urgent it is.
    pub mode: Mode,
    /// What is delivered, normally an object of `type` and `data` (`core/PROTOCOL.md` §11).
    pub payload: Option<&'a RawValue>,
    /// The first key that was missing or not of its usual form, for the log. The frame counts all the same.
    pub repaired: Option<&'static str>,
}

/// The recipient of a `deliver`: an id, a name, or both; never neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity<'a> {
    agent_id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
}

impl Identity<'_> {
    /// The agent identity that the row belongs to.
    pub(crate) fn agent_id(&self) -> Option<&str> {
        self.agent_id.as_deref()
    }

    /// The agent's name at the time of sending.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// How a delivery stands to the work its agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// In its turn.
    Wait,
    /// Before everything that waits, interrupting if the agent can be interrupted.
    Steer,
}

/// `action.invoke`: an invocation that the engine has placed on this node (`core/PROTOCOL.md` §7).
#[derive(Debug)]
pub(crate) struct Invoke<'a> {
    /// The idempotency key: a repeat carries the same one.
    pub invocation_id: Cow<'a, str>,
    /// For example `spawn:claude`; empty if the engine named none, so that it can still be answered.
    pub action: Cow<'a, str>,
    /// Any JSON; `null` if absent.
    pub input: &'a RawValue,
    /// The agent that handles the action, when one does.
    pub agent_id: Option<Cow<'a, str>>,
    /// The name of that agent.
    pub agent_name: Option<Cow<'a, str>>,
}

/// `reply`: a request of ours was carried out.
pub(crate) struct Reply<'a> {
    /// The request's id; an id of the engine's own making if the request had none.
    pub id: Option<Cow<'a, str>>,
    /// What the request yields; `null` if absent.
    pub data: &'a RawValue,
}

/// The data of the reply to `agent.register` and `agent.recover`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RegisteredAgent {
    /// The identity, new or taken over.
    pub agent_id: AgentId,
    /// The only credential of that identity from now on.
    pub token: Secret,
    /// The registered name, if the engine repeats it.
    pub name: Option<AgentName>,
    /// The highest sequence acked so far; given only where the cursor capability was accepted.
    pub delivery_ack_seq: Option<u64>,
}

impl fmt::Debug for Reply<'_> {
    /// Leaves the data out: an agent's token may be in it (invariant 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Reply<'_> {
    /// The data as that of `agent.register`; `None` if it has no agent id or no token.
    pub(crate) fn registered_agent(&self) -> Option<RegisteredAgent> {
        let data = Object::parse(self.data.get())?;
        Some(RegisteredAgent {
            agent_id: AgentId(data.id("agent_id")?.into_owned()),
            token: Secret::new(&data.text("token")?)?,
            name: data.id("name").map(|name| AgentName(name.into_owned())),
            delivery_ack_seq: data.whole("delivery_ack_seq"),
        })
    }
}

/// `error`: a request of ours was refused. The connection stays open.
#[derive(Debug)]
pub(crate) struct ErrorFrame<'a> {
    /// The request's id, unless the engine could not read it (`invalid_message` carries a foreign one).
    pub id: Option<Cow<'a, str>>,
    /// A stable code; `unknown_error` if the engine gave none.
    pub code: Cow<'a, str>,
    /// Text for people; may be empty.
    pub message: Cow<'a, str>,
}

/// A frame of which nothing could be used. It is counted and logged; the connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undecodable {
    /// The frame's type, when that much was readable.
    pub kind: Option<&'static str>,
    /// What was missing.
    pub reason: &'static str,
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frame dropped: {}", self.kind.unwrap_or("engine"), self.reason)
    }
}

/// Reads one text message of the node socket.
///
/// # Errors
/// [`Undecodable`] for text that is no JSON object or has no `type`, for a `deliver` without identity or
/// sequence, and for an `action.invoke` without id.
pub(crate) fn decode(text: &str) -> Result<Inbound<'_>, Undecodable> {
    let refused = |reason| Undecodable { kind: None, reason };
    let frame = Object::parse(text).ok_or_else(|| refused("it is not a JSON object"))?;
    let kind = frame.text("type").ok_or_else(|| refused("it has no type"))?;
    Ok(match &*kind {
        "deliver" => Inbound::Deliver(deliver(&frame)?),
        "action.invoke" => Inbound::Invoke(invoke(&frame)?),
        "reply" if frame.flag("ok") != Some(false) => {
            Inbound::Reply(Reply { id: frame.id("id"), data: raw(&frame, "data") })
        }
        "reply" | "error" => Inbound::Error(ErrorFrame {
            id: frame.id("id"),
            code: frame.id("code").unwrap_or(Cow::Borrowed("unknown_error")),
            message: frame.text("message").unwrap_or_default(),
        }),
        "context.update" => Inbound::ContextUpdate,
        "ping" => Inbound::Ping,
        _ => Inbound::Unknown { kind },
    })
}

fn deliver<'a>(frame: &Object<'a>) -> Result<Deliver<'a>, Undecodable> {
    let refused = |reason| Undecodable { kind: Some("deliver"), reason };
    let identity = Identity { agent_id: frame.id("agent_id"), name: frame.id("agent") };
    if identity.agent_id.is_none() && identity.name.is_none() {
        return Err(refused("it names neither agent_id nor agent"));
    }
    #[cfg(canary)]
    if canary!(UnknownFieldDrops)
        && frame.len() > "v type delivery_id agent_id agent msg_id seq mode payload".split(' ').count()
    {
        return Err(refused("it has an unknown key"));
    }
    #[cfg(canary)]
    if canary!(UnknownModeDrops) && unusual_key(frame) == Some("mode") {
        return Err(refused("its mode is unknown"));
    }
    Ok(Deliver {
        identity,
        delivery_id: frame.id("delivery_id"),
        msg_id: frame.id("msg_id"),
        seq: frame.whole("seq").ok_or_else(|| refused("its seq is not a whole number from 0"))?,
        mode: match frame.text("mode").as_deref() {
            Some("steer") => Mode::Steer,
            _ => Mode::Wait,
        },
        payload: frame.get("payload"),
        repaired: unusual_key(frame),
    })
}

/// The first key of a `deliver` whose value is not what the engine's own schema asks for.
fn unusual_key(frame: &Object<'_>) -> Option<&'static str> {
    let first_byte = |key| frame.get(key).and_then(|value| value.get().bytes().next());
    if frame.whole("v") != Some(u64::from(VERSION)) {
        return Some("v");
    }
    if let Some(key) = ["delivery_id", "agent_id", "agent", "msg_id"]
        .into_iter()
        .find(|key| first_byte(key) != Some(b'"') || frame.id(key).is_none())
    {
        return Some(key);
    }
    if frame.get("seq").is_none_or(|seq| seq.get().parse::<u64>().is_err()) {
        return Some("seq");
    }
    if !matches!(frame.text("mode").as_deref(), Some("wait" | "steer")) {
        return Some("mode");
    }
    (first_byte("payload") != Some(b'{')).then_some("payload")
}

fn invoke<'a>(frame: &Object<'a>) -> Result<Invoke<'a>, Undecodable> {
    let refused = Undecodable { kind: Some("action.invoke"), reason: "it has no invocation_id" };
    Ok(Invoke {
        invocation_id: frame.id("invocation_id").ok_or(refused)?,
        action: frame.text("action").unwrap_or_default(),
        input: raw(frame, "input"),
        agent_id: frame.id("agent_id"),
        agent_name: frame.id("agent_name"),
    })
}

fn raw<'a>(frame: &Object<'a>, key: &str) -> &'a RawValue {
    frame.get(key).unwrap_or(RawValue::NULL)
}
