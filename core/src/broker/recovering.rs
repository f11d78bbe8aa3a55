//! The broker and names that exist: engines that only create want to be told whose a name is.
//!
//! Owns: which identity is taken up again for an agent, and how it is found out.
//!
//! 1. An identity is taken up only in answer to a refusal of its name.
//! 2. The remembered identity is tried once, then the one that the engine tells, once. Whether it is
//!    ours to take is the engine's to say: it gives it only to the node that registered it first, and
//!    the one that it has not given us as another's is not tried again.
//! 3. A name that nobody has any more is registered afresh, once for each spawn.
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
use crate::secret::mask;
use crate::wire::ErrorFrame;
use alloc::format;

/// The refusal of a name that exists.
const TAKEN: &str = "agent_already_exists";

/// The refusal of an identity that another node registered, or that is not the one of this name.
const UNAUTHORIZED: &str = "agent_recovery_not_authorized";

/// The refusal of an identity that somebody changed at the same moment.
const CHANGED: &str = "agent_identity_conflict";

/// The refusal of an identity whose name nobody has.
const NOBODY: &str = "agent_not_found";

impl Broker {
    /// The engine refused to register an agent, or to give it the identity `tried`. Whether something
    /// else is being tried now.
    pub(super) fn recover(
        &mut self,
        process: ProcessId,
        tried: Option<&AgentId>,
        error: &ErrorFrame<'_>,
    ) -> bool {
        let Some(agent) = self.roster.get_mut(process) else {
            return false;
        };
        let name = agent.name().clone();
        let known = self.known_agents.get(&name);
        let is_known = tried.is_some() && tried == known;
        match (&*error.code, tried) {
            (TAKEN, None) => match known.cloned() {
                Some(known) => {
                    self.begin_registration(process, Some(known));
                    true
                }
                // A registration of ours whose reply was lost with its link has left the name taken.
                None => self.look_up(process),
            },
            // Somebody has deleted the agent that we remember, and there is a new one of its name.
            (UNAUTHORIZED | CHANGED, Some(tried)) if is_known => {
                // What somebody changed just then may still be ours.
                let unauthorized = (error.code == UNAUTHORIZED).then(|| mask(&error.message));
                agent.tries.unauthorized = unauthorized.map(|told| (tried.clone(), told));
                // Without a key to ask with, what we remember stays the best that we know.
                let asks = self.look_up(process);
                if asks {
                    self.known_agents.forget(&name);
                }
                asks
            }
            (NOBODY, Some(_)) if !agent.tries.afresh => {
                agent.tries.afresh = true;
                if is_known {
                    self.known_agents.forget(&name);
                }
                self.begin_registration(process, None);
                true
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
        let url = edge::http_url(self.link.base_url(), &["v1", "agents", &agent.name().0]);
        let request = CallRequest::get(url, key.clone());
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
            Ok(Some(id)) => self.take_up(process, AgentId(id)),
            Ok(None) => self.refuse_registration(process, TAKEN, "the engine does not say whose the name is"),
            Err(refused) => {
                let told = format!("the engine does not say whose the name is: {refused}");
                self.refuse_registration(process, TAKEN, &told);
            }
        }
    }

    /// The engine told whose the name is (invariant 2).
    fn take_up(&mut self, process: ProcessId, id: AgentId) {
        let unauthorized = self.roster.get(process).and_then(|agent| agent.tries.unauthorized.clone());
        match unauthorized.filter(|(refused, _)| *refused == id) {
            Some((_, told)) => self.refuse_registration(process, UNAUTHORIZED, &told),
            None => self.begin_registration(process, Some(id)),
        }
    }
}
