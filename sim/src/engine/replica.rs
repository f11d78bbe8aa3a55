//! The replica: a copy of the store that is a little behind it.
//!
//! Owns: what is not seen there yet of what was just made: tokens, nodes, agents.
//! Must not know: who is answered from it.
//!
//! 1. It is behind only in what was made; what is gone is gone there, too.
//! 2. Frames are never answered from it: the owner of a node's socket has the store itself.

use super::Engine;
use super::http::{Call, Refusal, refuse};
use super::journal::Event;

impl Engine {
    /// From now on requests and upgrades are answered from a replica that is so far behind; 0 is the store itself.
    pub fn read_behind(&mut self, behind_ms: i64) {
        self.behind_ms = behind_ms;
    }

    /// Whether what was made then is not seen yet.
    pub(super) fn is_unseen(&mut self, now: i64, made_at: i64, what: &'static str) -> bool {
        let unseen = now - made_at < self.behind_ms;
        if unseen {
            self.journal.push(now, Event::Unseen { what });
        }
        unseen
    }

    /// Whether the node and the agent that a request names are seen.
    pub(super) fn check_seen(&mut self, route: &[&str], call: &Call<'_>) -> Result<(), Refusal> {
        let (node, agent) = match *route {
            ["nodes", node, "agents"] => (Some(node), call.body["agent_name"].as_str()),
            ["nodes", node, ..] => (Some(node), None),
            ["agents", agent, ..] => (None, Some(agent)),
            _ => (None, None),
        };
        let workspace = call.caller.workspace();
        let node = node.and_then(|name| self.state.node_by_name(workspace, name));
        if let Some(made_at) = node.map(|key| self.state.nodes[key.0].created_at)
            && self.is_unseen(call.now, made_at, "a node")
        {
            return Err(refuse(404, "node_not_found", "no such node"));
        }
        let agent = agent.and_then(|name| self.state.agent_by_name(workspace, name));
        if let Some(made_at) = agent.map(|key| self.state.agents[key.0].created_at)
            && self.is_unseen(call.now, made_at, "an agent")
        {
            return Err(refuse(404, "agent_not_found", "no such agent"));
        }
        Ok(())
    }
}
