//! `inventory.sync`: what a node says lives on it.
//!
//! Owns: which entries are accepted, and what listing and not listing an agent does.
//! Must not know: HTTP.
//!
//! 1. Names that nobody has are ignored; nothing is created.
//! 2. Until conflicts are isolated, one of them fails the whole frame and changes nothing; later only where
//!    nobody who is known is accepted.
//! 3. Active agents of the provider that are not named are offline, and open invocations that no accepted
//!    entry names rescheduled; an empty list means all of them.

use super::Engine;
use super::frames::{Fault, Inbound};
use super::ids::AgentKey;
use super::journal::Event;
use super::nodes::DEFAULT_PROVIDER;
use super::profile::{Conflict, Replay};
use super::state::Place;
use serde_json::{Value, json};

impl Engine {
    pub(super) fn inventory(&mut self, now: i64, inbound: &Inbound) -> Result<(), Fault> {
        let entries = inbound.frame.get("agents").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut listed = Vec::new();
        let mut rejected = Vec::new();
        for entry in &entries {
            match self.judge_entry(inbound, entry) {
                Ok(Some(key)) => listed.push((key, entry)),
                Ok(None) => {}
                Err(fault) if self.options.profile.inventory_conflict == Conflict::FailAll => {
                    return Err(fault);
                }
                Err(fault) => rejected.push(fault),
            }
        }
        if listed.is_empty() && !rejected.is_empty() {
            return Err(rejected.swap_remove(0));
        }
        let ids: Vec<&str> = listed.iter().filter_map(|(_, entry)| entry["invocation_id"].as_str()).collect();
        let mut newly = Vec::new();
        for (key, _) in &listed {
            if self.certify(now, *key, inbound) {
                newly.push(*key);
            }
        }
        let completed = listed
            .iter()
            .filter(|(key, entry)| {
                self.complete_by_inventory(now, *key, inbound.node, &inbound.provider, entry)
            })
            .count();
        let named: Vec<&str> = entries.iter().filter_map(|entry| entry["name"].as_str()).collect();
        self.mark_missing(now, inbound, &named);
        let rescheduled = self.reschedule_unlisted(now, inbound.node, &inbound.provider, &ids);
        let names = listed.iter().map(|(key, _)| self.state.agents[key.0].name.clone()).collect();
        self.journal.push(now, Event::InventorySynced { connection: inbound.connection, names });
        let open = self
            .state
            .invocations
            .iter()
            .filter(|other| other.is_open() && other.node == Some(inbound.node))
            .count();
        let mut data = json!({
            "rebound_agents": if self.options.profile.cursor { listed.len() } else { entries.len() }, "open_invocations": open, "completed_invocations": completed,
            "rescheduled_invocations": rescheduled,
        });
        if self.options.profile.inventory_conflict == Conflict::Skip {
            data["rejected_agents"] = json!(rejected.len());
        }
        self.reply(now, inbound, &data);
        let cursor = self.connections.get(&inbound.connection).is_some_and(|state| state.cursor);
        let agents = match self.options.profile.replay_on_inventory {
            Replay::Node => self.agents_of(inbound.node, None),
            Replay::Certified if cursor => listed.into_iter().map(|(key, _)| key).collect(),
            Replay::Newly | Replay::Certified => newly,
        };
        self.replay(now, inbound.connection, &agents);
        Ok(())
    }

    /// Whether an entry may be listed; `None` for a name that nobody has.
    fn judge_entry(&self, inbound: &Inbound, entry: &Value) -> Result<Option<AgentKey>, Fault> {
        let workspace = self.state.nodes[inbound.node.0].workspace;
        let name = entry["name"].as_str().unwrap_or_default();
        let Some(key) = self.state.agent_by_name(workspace, name) else {
            return Ok(None);
        };
        let agent = &self.state.agents[key.0];
        if let Place::Node(other) = agent.place
            && other != inbound.node
            && agent.active
            && self.state.nodes[other.0].online
        {
            return Err(("agent_location_conflict", format!("agent {name:?} is active elsewhere")));
        }
        let adoptable = self.options.profile.inventory_adopts
            && agent.place == Place::Node(inbound.node)
            && agent.provider == DEFAULT_PROVIDER;
        if self.options.profile.cursor && agent.provider != inbound.provider && !adoptable {
            return Err(("agent_provider_conflict", format!("agent {name:?} belongs to another provider")));
        }
        if self.options.profile.cursor && entry["agent_id"].as_str() != Some(&*agent.id) {
            return Err(("agent_identity_mismatch", format!("agent {name:?} has another id")));
        }
        Ok(Some(key))
    }

    /// A listed agent lives here; whether that makes it newly reachable on this connection.
    fn certify(&mut self, now: i64, key: AgentKey, inbound: &Inbound) -> bool {
        let was_here = self.lives_on(key, inbound.node);
        self.occupy(now, key, inbound.node, &inbound.provider);
        match self.connections.get_mut(&inbound.connection) {
            Some(state) if state.cursor => state.ready.insert(key) || !was_here,
            _ => !was_here,
        }
    }

    /// Active agents of the provider that are not listed are offline; their mail is still routed here.
    fn mark_missing(&mut self, now: i64, inbound: &Inbound, named: &[&str]) {
        let provider = self.options.profile.cursor.then_some(inbound.provider.as_str());
        for key in self.agents_of(inbound.node, provider) {
            let agent = &mut self.state.agents[key.0];
            if !named.contains(&&*agent.name) && std::mem::take(&mut agent.active) {
                self.tell_exited(now, key, "missing_from_inventory");
            }
        }
    }
}
