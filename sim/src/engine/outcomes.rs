//! Outcomes: how invocations end, and what follows.
//!
//! Owns: results, completion by inventory, the effects of a release, what callers are told.
//! Must not know: placement and dispatch.
//!
//! 1. The first end of an invocation wins; later results are ignored without a word.
//! 2. A result counts only from the node (and provider) that the invocation is dispatched to.
//! 3. A release takes effect only while its agent lives on the node that answers it.

use super::ids::{AgentKey, InvocationKey, NodeKey};
use super::journal::Event;
use super::profile::LateRelease;
use super::state::{InvocationState, Place};
use super::{ConnectionId, Engine};
use serde_json::{Map, Value, json};

impl Engine {
    /// `action.result` (invariants 1 and 2).
    pub(super) fn result(
        &mut self,
        now: i64,
        connection: ConnectionId,
        node: NodeKey,
        provider: &str,
        frame: &Map<String, Value>,
    ) {
        let id = frame["invocation_id"].as_str().unwrap_or_default().to_owned();
        let scoped = self.options.profile.cursor;
        let key = self.state.invocation_by_id(&id).filter(|key| {
            let invocation = &self.state.invocations[key.0];
            invocation.is_open()
                && invocation.node == Some(node)
                && (!scoped || invocation.provider == provider)
        });
        self.journal
            .push(now, Event::InvocationResult { connection, invocation_id: id, accepted: key.is_some() });
        let Some(key) = key else { return };
        let error = frame.get("error").and_then(Value::as_str).filter(|error| !error.is_empty());
        if error == Some("handler_unavailable") {
            if let Some(slot) = self.state.nodes[node.0].providers.get_mut(provider) {
                slot.handlers_live = false;
            }
            return self.reschedule(now, key);
        }
        let output = frame.get("output").cloned().unwrap_or(Value::Null);
        let late = error.is_none() && self.is_late_release(now, key);
        let fails = late && self.options.profile.late_release == LateRelease::Fails;
        let error = if fails { Some("agent_release_generation_conflict") } else { error };
        self.end(now, key, output, error.map(str::to_owned));
    }

    /// Whether the agent of a release does not live any more on the node that it was dispatched to.
    fn is_late_release(&mut self, now: i64, key: InvocationKey) -> bool {
        let invocation = &self.state.invocations[key.0];
        if invocation.action != "release" || self.released_here(key).is_some() {
            return false;
        }
        let agent = self.released_by(key);
        if agent.is_some_and(|agent| self.state.agents[agent.0].left == invocation.node) {
            let invocation_id = invocation.id.clone();
            self.journal.push(now, Event::LeftBeforeRelease { invocation_id });
        }
        true
    }

    /// Whom a release is about.
    fn released_by(&self, key: InvocationKey) -> Option<AgentKey> {
        let invocation = &self.state.invocations[key.0];
        self.state.agent_by_name(invocation.workspace, invocation.input["name"].as_str()?)
    }

    /// Whom a release is about, while that lives on the node that it was dispatched to (invariant 3).
    fn released_here(&self, key: InvocationKey) -> Option<AgentKey> {
        let node = self.state.invocations[key.0].node?;
        self.released_by(key).filter(|agent| self.lives_on(*agent, node))
    }

    pub(super) fn end(&mut self, now: i64, key: InvocationKey, output: Value, error: Option<String>) {
        let invocation = &mut self.state.invocations[key.0];
        let completed = error.is_none();
        invocation.state = if completed { InvocationState::Completed } else { InvocationState::Failed };
        (invocation.output, invocation.error) = (output, error);
        let (invocation_id, caller) = (invocation.id.clone(), invocation.caller);
        let data = json!({
            "invocation_id": invocation.id, "action_name": invocation.action,
            "status": if completed { "completed" } else { "failed" }, "output": invocation.output, "error": invocation.error,
        });
        let released = (completed && invocation.action == "release").then(|| invocation.input.clone());
        self.journal.push(now, Event::InvocationFinished { invocation_id: invocation_id.clone(), completed });
        if let Some(input) = released {
            self.after_release(now, key, &input);
        }
        if let Some(caller) = caller {
            let kind = if completed { "action.completed" } else { "action.failed" };
            self.send_event(now, caller, kind, &invocation_id, &invocation_id, &data);
        }
    }

    fn after_release(&mut self, now: i64, key: InvocationKey, input: &Value) {
        let Some(agent) = self.released_here(key) else {
            return;
        };
        self.tell_exited(now, agent, "released");
        if input["delete_agent"] == true {
            return self.remove_agent(agent);
        }
        self.vacate(agent);
        let agent = &mut self.state.agents[agent.0];
        (agent.active, agent.bound, agent.place) = (false, false, Place::Nowhere);
    }

    /// An inventory entry that names an open invocation ends it.
    pub(super) fn complete_by_inventory(
        &mut self,
        now: i64,
        agent: AgentKey,
        node: NodeKey,
        provider: &str,
        entry: &Value,
    ) -> bool {
        let key = entry["invocation_id"].as_str().and_then(|id| self.state.invocation_by_id(id));
        let key = key.filter(|key| {
            let invocation = &self.state.invocations[key.0];
            invocation.is_open() && invocation.node == Some(node) && invocation.provider == provider
        });
        let Some(key) = key else { return false };
        let agent = &self.state.agents[agent.0];
        let output = json!({
            "agent_id": &*agent.id, "name": &*agent.name, "invocation_id": entry["invocation_id"],
            "session_ref": entry["session_ref"],
        });
        self.end(now, key, output, None);
        true
    }
    /// `agent.exited` for the agent that had this one spawned.
    pub(super) fn tell_exited(&mut self, now: i64, key: AgentKey, reason: &str) {
        let agent = &self.state.agents[key.0];
        let invocation_id = agent.metadata["invocation_id"].as_str().unwrap_or_default();
        let invocation = self.state.invocation_by_id(invocation_id);
        let caller = invocation.and_then(|key| self.state.invocations[key.0].caller);
        let Some(caller) = caller.filter(|_| self.options.profile.exit_events) else {
            return;
        };
        let node_id = match agent.place {
            Place::Node(node) => Some(self.state.nodes[node.0].id.clone()),
            Place::Direct | Place::Nowhere => None,
        };
        let data = json!({
            "agent_id": &*agent.id, "agent_name": &*agent.name, "node_id": node_id,
            "invocation_id": invocation_id, "reason": reason,
        });
        let event = format!("{}_{}", agent.id, invocation_id);
        self.send_event(now, caller, "agent.exited", &event, &event, &data);
    }
}
