//! The other node's work: what the engine places there while it offers the programs that the broker offers.
//!
//! Owns: what runs on the other node, and what it answers.
//! Must not know: how the other node comes and goes.
//!
//! 1. An agent is registered soon after it was ordered; that it is there is said late, perhaps too late. A
//!    release is only said to be done: who lived there goes with the node.
//! 2. When the node leaves, whoever lived there is gone, and the name free, unless the broker has it by now or
//!    runs that very identity: engines that only create let no other node have the name.

use super::World;
use super::event::Event;
use super::marks::FaultMark;
use crate::agents::Kind;
use crate::engine::ConnectionId;
use crate::plan::SECOND;
use crate::rng::Stream;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A program is there within this time, in µs.
const STARTED: u64 = 2 * SECOND;
/// It is said within this time, in µs: an engine waits for 30 seconds.
const ANSWERED: u64 = 40 * SECOND;

/// What the other node offers: the programs that the broker offers, as `node.register` wants them.
pub(super) fn capabilities() -> Value {
    let placeable = Kind::ALL.into_iter().filter(|kind| kind.is_placeable());
    let offered = placeable.map(|kind| format!("spawn:{}", kind.command())).chain(["release".to_owned()]);
    offered.map(|name| json!({ "name": name, "kind": "capacity" })).collect()
}

impl World<'_> {
    /// The engine has sent something to a rival. Only what it orders of the other node is read.
    pub(super) fn order_elsewhere(&mut self, connection: ConnectionId, text: String) {
        if self.rivals.serves(connection) && text.contains("\"type\":\"action.invoke\"") {
            let key = self.key();
            let after = self.rng.skewed(Stream::Fault, key, 1, STARTED);
            self.heap.put(self.now + after, Event::Elsewhere(connection, text));
        }
    }

    /// The other node does what it was asked for, or says what came of it.
    pub(super) fn on_elsewhere(&mut self, connection: ConnectionId, text: &str) {
        if !self.rivals.serves(connection) {
            return;
        }
        let frame: Value = serde_json::from_str(text).unwrap_or_default();
        if frame["type"] == "action.result" {
            return self.say(connection, &frame);
        }
        let name = frame["input"]["name"].as_str().unwrap_or_default();
        let starts = frame["action"].as_str().is_some_and(|action| action.starts_with("spawn"));
        let mut result = json!({ "v": 1, "type": "action.result", "invocation_id": frame["invocation_id"] });
        if !starts || self.host_elsewhere(connection, name, &frame["invocation_id"]) {
            result["output"] = json!({ "name": name });
        } else {
            result["error"] = json!(format!("agent {name:?} cannot live here"));
        }
        let key = self.key();
        let after = self.rng.skewed(Stream::Fault, key, 1, ANSWERED);
        self.heap.put(self.now + after, Event::Elsewhere(connection, result.to_string()));
    }

    /// Registers an agent with the other node; whether the engine lets it live there.
    fn host_elsewhere(&mut self, connection: ConnectionId, name: &str, invocation: &Value) -> bool {
        let wish = json!({
            "v": 1, "id": "rival", "type": "agent.register", "name": name, "invocation_id": invocation,
        });
        self.say(connection, &wish);
        let place = self.place_of(name);
        let hosted = place.is_some() && place != self.network.node_id.as_deref();
        let words = if hosted { "runs on the other node" } else { "may not run on the other node" };
        self.trace.line(self.now, "rival", &(name, hosted), format_args!("{name} {words}"));
        if hosted {
            self.mark(FaultMark::PlacedElsewhere);
            self.rivals.settle(name);
        }
        hosted
    }

    /// The node that the engine has an agent on.
    fn place_of(&self, name: &str) -> Option<&str> {
        self.engine.agent_id(name).and_then(|id| self.engine.node_of_agent(&id))
    }

    /// Whether the engine has an agent on the broker's node.
    pub(super) fn is_placed_here(&self, name: &str) -> bool {
        let place = self.place_of(name);
        place.is_some() && place == self.network.node_id.as_deref()
    }

    /// Whoever holds the workspace key deletes the identity of an agent.
    pub(super) fn delete_agent(&mut self, name: &str) {
        let key = self.api_key.clone();
        self.http("DELETE", &format!("/v1/agents/{name}"), Some(&key), &[], None);
    }

    /// The other node is about to leave, or to fall silent for good, and its agents go first (invariant 2).
    pub(super) fn clear_out(&mut self, agents: BTreeSet<String>) {
        for name in agents {
            let identity = self.engine.agent_id(&name);
            if !self.is_placed_here(&name) && !self.terminals.has_as(&name, identity.as_deref()) {
                self.delete_agent(&name);
            }
        }
    }
}
