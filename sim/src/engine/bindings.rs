//! Bindings: which node an agent lives on, by request over HTTP.
//!
//! Owns: binding, unbinding, their views.
//! Must not know: frames.
//!
//! 1. An agent has one place at a time; binding it elsewhere ends the binding before.
//! 2. Before a release adopts the provider of the node, a binding leaves the agent's provider as it is:
//!    the mail is routed to the node, but to a socket that may not exist.

use super::Engine;
use super::http::{Answer, Call, Data, refuse};
use super::ids::{AgentKey, NodeKey, iso};
use super::nodes::DEFAULT_PROVIDER;
use super::state::Place;
use serde_json::{Value, json};

impl Engine {
    pub(super) fn binding_view(&self, now: i64, agent: AgentKey, node: NodeKey) -> Value {
        let (agent, node) = (&self.state.agents[agent.0], &self.state.nodes[node.0]);
        json!({
            "id": format!("anb_{}", agent.id), "agent_id": &*agent.id, "agent_name": &*agent.name, "node_id": node.id,
            "node_name": node.name, "node_kind": "ws", "node_role": "broker", "status": "active", "session_ref": null,
            "priority": 0, "created_at": iso(now), "updated_at": iso(now),
        })
    }

    pub(super) fn bind(&mut self, call: &Call<'_>, name: &str) -> Answer {
        call.caller.owner()?;
        let node = self.node_named(call, name)?;
        let key = self.named(call, call.text("agent_name")?)?;
        let live =
            self.state.nodes[node.0].providers.iter().find(|(_, provider)| provider.connection.is_some());
        let adopted = live.map(|(name, provider)| (name.clone(), provider.connection));
        let adopted = adopted.filter(|_| self.options.profile.bind_adopts_provider);
        if !self.lives_on(key, node) && !self.has_room(node) {
            return Err(refuse(409, "node_capacity_exceeded", format!("node {name:?} is full")));
        }
        let own = self.state.agents[key.0].provider.clone();
        let provider = adopted.as_ref().map_or(own, |(provider, _)| provider.clone());
        self.occupy(call.now, key, node, &provider);
        let mut view = self.binding_view(call.now, key, node);
        if let Some((_, connection)) = adopted {
            if let Some(state) = connection.and_then(|id| self.connections.get_mut(&id)) {
                state.ready.insert(key);
            }
            view["delivery_ack_seq"] = json!(self.state.agents[key.0].mailbox.cursor());
        }
        Ok((201, view.into()))
    }

    pub(super) fn unbind(&mut self, call: &Call<'_>, name: &str, agent: &str) -> Answer {
        let node = self.node_named(call, name)?;
        let key = self.named(call, agent)?;
        if self.state.agents[key.0].place != Place::Node(node) {
            return Err(refuse(404, "node_agent_binding_not_found", "it is bound elsewhere"));
        }
        self.vacate(key);
        let agent = &mut self.state.agents[key.0];
        (agent.place, agent.provider, agent.bound) = (Place::Direct, DEFAULT_PROVIDER.into(), true);
        Ok((204, Data::NONE))
    }
}
