//! The local API: what its requests mean and what its answers look like (`core/PROTOCOL.md` §9).
//!
//! Owns: routes, request and answer shapes, the event ring and its subscribers.
//! Must not know: the HTTP library, and anything of agents, deliveries or links; the broker fills in
//! the views and acts on the calls.
//!
//! 1. A request becomes a typed [`ApiCall`] or an [`ApiError`] without a look at the broker's state.
//! 2. Everything but `GET /health` needs the key.
//! 3. An answer is a [`Reply`]; nothing here sends it.

pub(crate) mod base64;
mod body;
mod error;
mod event;
mod name;
mod request;
mod ring;
mod route;
mod view;

pub(crate) use error::{ApiError, Reply};
pub(crate) use event::{AgentFacts, DeliveryFacts, Event, Runtime};
pub(crate) use name::validate_agent_name;
pub(crate) use request::{SendMode, SendRequest, SnapshotFormat, SpawnRequest, Target};
pub(crate) use ring::EventRing;
pub(crate) use route::{ApiCall, route};
pub(crate) use view::{
    AgentState, AgentView, DeadLetterView, HealthStatus, HealthView, PendingView, Screen, SentView,
    SessionView, SnapshotView, SpawnedView, StatusView, WorkspaceAuth, agents_reply, dead_letters_reply,
    input_reply, lease_reply, released_reply, resized_reply, shutdown_reply,
};
