//! The broker and agents that the engine does not have here: no message reaches them.
//!
//! Owns: how many of the agents that were listed the engine does not know, and who they are.
//! Must not know: why. Whoever has deleted an identity may have meant it, and the program holds its token, so
//! nothing is registered anew.
//!
//! 1. How many are unknown, the latest answer to an inventory tells; who leaves does not count any more.
//! 2. Who they are is asked once behind each such answer, and told to people when it is new. A list that lacks
//!    more than were counted names nobody.

use super::Broker;
use crate::agent::Agent;
use crate::api::Event;
use crate::command::{CallRequest, Level};
use crate::edge;
use crate::ids::{AgentId, AgentName};
use crate::input::CallReply;
use crate::limits;
use crate::link::answer::{Refused, read_list};
use crate::marks::Mark;
use crate::purpose::CallFor;
use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

#[derive(Debug, Default)]
pub(super) struct Census {
    /// How many of those that were listed the engine does not know.
    unknown: u64,
    /// Those of them whose identity is known.
    named: BTreeSet<AgentId>,
}

impl Census {
    /// The identity has left.
    pub(super) fn forget(&mut self, id: &AgentId) {
        self.unknown -= u64::from(self.named.remove(id)).min(self.unknown);
    }
}

impl Broker {
    /// The engine does not know so many of those whom the latest inventory listed.
    pub(super) fn take_census(&mut self, unknown: u64) {
        self.census.unknown = unknown;
        if unknown == 0 {
            self.census.named.clear();
            return;
        }
        self.cx.marks.hit(Mark::UnknownHere);
        let (Some(key), Some(node)) = (self.link.key(), self.link.node_name()) else {
            return;
        };
        let url = edge::http_url(self.link.base_url(), &["v1", "nodes", node, "agents"]);
        let listed = self.inventory.listed().to_vec();
        self.cx.call(CallFor::Census(listed), CallRequest::get(url, key.clone()), limits::CALL);
    }

    /// The engine says who lives on this node.
    pub(super) fn on_census(&mut self, listed: Vec<AgentId>, reply: Result<CallReply<'_>, Refused>) {
        let bindings = match reply.and_then(read_list) {
            Ok(bindings) => bindings,
            Err(refused) => {
                let message = format!("the engine does not say which agents it has on this node: {refused}");
                return self.cx.log(Level::Warn, "agent", &message);
            }
        };
        let active = bindings.iter().filter(|binding| binding.text("status").is_none_or(|it| it == "active"));
        // What is left of a deleted agent can still be bound, under another name.
        let here: BTreeSet<_> = active.filter_map(|it| it.id("agent_id").zip(it.id("agent_name"))).collect();
        let is_here = |agent: &Agent, id: &AgentId| {
            here.contains(&(Cow::Borrowed(id.0.as_str()), Cow::Borrowed(agent.name().0.as_str())))
        };
        let is_missing = |id: &AgentId| self.roster.by_id(id).is_some_and(|agent| !is_here(agent, id));
        let missing: BTreeSet<AgentId> = listed.into_iter().filter(is_missing).collect();
        // Those passed over live on another node. More than these cannot be missing: the list is not whole.
        let most = self.census.unknown + self.inventory.passed_over();
        let is_whole = self.census.unknown > 0 && missing.len() as u64 <= most;
        let named = if is_whole { missing } else { BTreeSet::new() };
        named.iter().for_each(|id| self.delivery.is_elsewhere(id));
        let before = core::mem::replace(&mut self.census.named, named);
        let news: Vec<AgentName> = self
            .census
            .named
            .difference(&before)
            .filter_map(|id| self.roster.by_id(id).map(|agent| agent.name().clone()))
            .collect();
        for name in news {
            let message = deaf(&name);
            self.events.push(&Event::WorkerError { name: &name, code: "not_at_engine", message: &message });
            self.cx.log(Level::Error, "agent", &message);
        }
    }

    /// What people are to know of this.
    pub(super) fn deaf_agents(&self, problems: &mut Vec<String>) {
        let named = self.census.named.iter().filter_map(|id| self.roster.by_id(id));
        problems.extend(named.map(|agent| deaf(agent.name())));
        let nameless = self.census.unknown.saturating_sub(self.census.named.len() as u64);
        if nameless > 0 {
            problems.push(format!(
                "the engine does not know {nameless} agents of this node; they get no messages"
            ));
        }
    }
}

fn deaf(name: &AgentName) -> String {
    format!(
        "the engine does not have agent {name:?} on this node any more: it gets no messages; release it and \
         start it again"
    )
}
