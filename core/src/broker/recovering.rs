//! The broker and names that exist: engines that only create want to be told whose a name is.
//!
//! Owns: which identity is taken up again for an agent, and how it is found out.
//!
//! 1. An identity is taken up only in answer to a refusal of its name.
//! 2. The remembered identity is tried once, then the one that the engine tells, once. Whether it is
//!    ours to take is the engine's to say: it gives it only to the node that registered it first.
//!
//! The rules are those of `core/PROTOCOL.md` §4.

use super::Broker;
use crate::agent::Phase;
use crate::command::CallRequest;
use crate::edge;
use crate::ids::{AgentId, ProcessId};
use crate::input::CallReply;
use crate::limits;
use crate::link::answer::{Answer, Refused};
use crate::marks::Mark;
use crate::purpose::CallFor;
use alloc::format;
use alloc::vec::Vec;

/// The refusal of a name that exists.
const TAKEN: &str = "agent_already_exists";

impl Broker {
    /// The engine refused to register an agent with `code`, or to give it the identity `tried`.
    /// Whether something else is being tried now.
    pub(super) fn recover(&mut self, process: ProcessId, tried: Option<&AgentId>, code: &str) -> bool {
        let Some(name) = self.roster.get(process).map(|agent| agent.name().clone()) else {
            return false;
        };
        let known = self.known_agents.get(&name);
        match (code, tried) {
            (TAKEN, None) => match known.cloned() {
                Some(known) => {
                    self.begin_registration(process, Some(known));
                    true
                }
                // A registration of ours whose reply was lost with its link has left the name taken.
                None => self.look_up(process),
            },
            // Somebody has deleted the agent that we remember, and there is a new one of its name.
            ("agent_identity_conflict", Some(tried)) if known == Some(tried) => {
                self.known_agents.remove(&name);
                self.look_up(process)
            }
            _ => false,
        }
    }

    /// Asks whose the name is; false without a workspace key to ask with.
    fn look_up(&mut self, process: ProcessId) -> bool {
        let (Some(agent), Some(key)) = (self.roster.get_mut(process), self.link.key()) else {
            return false;
        };
        self.cx.marks.hit(Mark::NameLookedUp);
        let request = CallRequest {
            method: "GET",
            url: edge::http_url(self.link.base_url(), &["v1", "agents", &agent.name().0]),
            bearer: Some(key.clone()),
            headers: Vec::new(),
            body: None,
        };
        let call = self.cx.call(CallFor::LookUp(process), request, limits::AGENT_LOOK_UP);
        agent.phase = Phase::LookingUp(call);
        true
    }

    pub(super) fn on_looked_up(&mut self, process: ProcessId, reply: Result<CallReply<'_>, Refused>) {
        let waits = self.roster.get(process).is_some_and(|agent| matches!(agent.phase, Phase::LookingUp(_)));
        if !waits {
            return;
        }
        match reply.and_then(Answer::read).map(|answer| answer.text("id")) {
            Ok(Some(id)) => self.begin_registration(process, Some(AgentId(id))),
            Ok(None) => self.refuse_registration(process, TAKEN, "the engine does not say whose the name is"),
            Err(refused) => {
                let told = format!("the engine does not say whose the name is: {refused}");
                self.refuse_registration(process, TAKEN, &told);
            }
        }
    }
}
