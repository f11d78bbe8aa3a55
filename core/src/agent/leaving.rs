//! Leaving: agents that are gone here and that the engine must be told of.
//!
//! Owns: the deregistrations that are owed, until the engine has surely handled them.
//! Must not know: why an agent left.
//!
//! 1. A deregistration is owed from the moment an agent leaves until a later answer on the same link
//!    proves that it was handled; a new link means sending it again.
//! 2. An identity that lives here is never deregistered.
//! 3. Whom an invocation has released is deregistered behind its result: from 8.11.6 to 9.2.0 a release has
//!    failed whose agent is bound to its node no more when the result comes (`core/PROTOCOL.md` §7).

use crate::cx::Cx;
use crate::ids::{AgentId, AgentName};
use crate::link::{Answered, Link, Request, Sent};
use crate::marks::Mark;
use crate::wire;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// One agent that has left.
#[derive(Debug)]
struct Owed {
    name: AgentName,
    /// It waits for the results of releases of its name.
    behind: bool,
    sent: Option<Sent>,
    sends: u32,
}

/// What is owed.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    owed: BTreeMap<AgentId, Owed>,
    unsent: bool,
}

impl Leaving {
    /// What was owed when the broker last stopped.
    pub(crate) fn new(saved: BTreeMap<AgentId, AgentName>) -> Self {
        let unsent = !saved.is_empty();
        let owed = |(id, name)| (id, Owed { name, behind: true, sent: None, sends: 0 });
        Self { owed: saved.into_iter().map(owed).collect(), unsent }
    }

    /// What is owed, for the journal.
    pub(crate) fn owed(&self) -> BTreeMap<AgentId, AgentName> {
        self.owed.iter().map(|(id, owed)| (id.clone(), owed.name.clone())).collect()
    }

    /// An agent has left; `behind`: perhaps because an invocation has released it.
    pub(crate) fn owe(&mut self, id: AgentId, name: AgentName, behind: bool) {
        if canary!(StaleRelease) && self.owed.contains_key(&id) {
            return;
        }
        self.owed.insert(id, Owed { name, behind, sent: None, sends: 0 });
        self.unsent = true;
    }

    /// An invocation releases whoever of this name leaves.
    pub(crate) fn put_behind(&mut self, name: &AgentName) {
        self.owed.values_mut().filter(|owed| owed.name == *name).for_each(|owed| owed.behind = true);
    }

    /// The identity lives here (again); whether a deregistration was owed (invariant 2).
    pub(crate) fn forgive(&mut self, id: &AgentId) -> bool {
        if canary!(StaleRelease) {
            return false;
        }
        self.owed.remove(id).is_some()
    }

    /// Everything must be sent again: the link that carried it is gone.
    pub(crate) fn link_lost(&mut self) {
        if canary!(LeaveLost) {
            return;
        }
        for owed in self.owed.values_mut() {
            owed.sent = None;
        }
        self.unsent = !self.owed.is_empty();
    }

    /// Sends what is due, as far as there is credit; `is_releasing`: whether the result of a release of this
    /// name waits to be sent (invariant 3).
    pub(crate) fn flush(&mut self, cx: &mut Cx, link: &mut Link, is_releasing: impl Fn(&AgentName) -> bool) {
        if !self.unsent {
            return;
        }
        let mut waits = false;
        for (id, owed) in self.owed.iter_mut().filter(|(_, owed)| owed.sent.is_none()) {
            if owed.behind && is_releasing(&owed.name) {
                waits = true;
                continue;
            }
            if !link.has_credit() {
                return;
            }
            let request = Request::Deregister(id.clone());
            let build = |frame: &_| wire::agent_deregister(Some(frame), id, Some(&owed.name));
            owed.sent = link.request(cx, request, build);
            if owed.sends > 0 {
                cx.marks.hit(Mark::DeregistrationResent);
            }
            owed.sends += 1;
        }
        self.unsent = waits;
    }

    /// The engine answered a request: what that proves is no longer owed.
    pub(crate) fn on_answer(&mut self, answered: Answered) -> Vec<AgentId> {
        let proven = |owed: &mut Owed| owed.sent.as_mut().is_some_and(|sent| sent.is_proven_by(answered));
        let paid: Vec<AgentId> =
            self.owed.iter_mut().filter_map(|(id, owed)| proven(owed).then(|| id.clone())).collect();
        for id in &paid {
            self.owed.remove(id);
        }
        paid
    }

    /// Whether this agent's deregistration is on its way, or will be.
    pub(crate) fn owes(&self, id: &AgentId) -> bool {
        self.owed.contains_key(id)
    }
}
