//! The broker and the registrations of its agents: on the socket, and over HTTP where that fails.
//!
//! Owns: registrations that are due, outstanding or abandoned, and what their replies lead to.
//!
//! 1. A registration is state: a new link sends it again until its spawn is given up.
//! 2. A reply that nobody waits for any more is undone, unless a later spawn has the same identity.
//! 3. The window of an identity is open before its process may start.
//! 4. What an engine in trouble refuses is asked for again on the same link, while there is time for it.
//!    Until then it is not unanswered: no inventory waits for it.

use super::Broker;
use super::spawning::Failure;
use crate::agent::{Agent, Origin, Phase, Registered};
use crate::api::Event;
use crate::command::{CallRequest, Level};
use crate::edge;
use crate::ids::{AgentId, AgentName, ProcessId};
use crate::input::CallReply;
use crate::limits;
use crate::link::Request;
use crate::link::answer::{Answer, Refused};
use crate::marks::Mark;
use crate::purpose::CallFor;
use crate::secret::{Secret, mask};
use crate::store::Record;
use crate::time::Span;
use crate::timers::Timer;
use crate::wire::{self, Dialect, ErrorFrame, RegisteredAgent, Reply};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::json;

/// Refusals of an engine in trouble, which pass; `SQLITE_…` are codes of its database. Only these: what is
/// not known to pass may be final, and then whoever ordered the agent is to hear it at once.
const PASSING: [&str; 3] = ["node_control_failed", "internal_error", "database_overloaded"];
const PASSING_PREFIX: &str = "SQLITE_";

/// Registrations on the current link.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    /// Some agent waits for its frame to be sent.
    pub(super) due: bool,
    /// Agents whose spawn ended while their reply was outstanding, by name.
    pub(super) abandoned: BTreeMap<ProcessId, AgentName>,
    /// Identities that came too late for their spawn while a later one of the same name was under
    /// way, by that later process: it will most likely get the same identity.
    pub(super) inherited: BTreeMap<ProcessId, AgentId>,
}

impl Registrations {
    /// Takes the identity that a spawn was to inherit and did not get.
    pub(super) fn take_inherited(&mut self, process: ProcessId) -> Option<AgentId> {
        self.inherited.remove(&process)
    }
}

impl Broker {
    /// Sends the registration, or waits for a link to send it on; as the one `recover` where it is given.
    pub(super) fn begin_registration(&mut self, process: ProcessId, recover: Option<AgentId>) {
        let wait = if self.link.is_up() { limits::AGENT_REGISTER } else { limits::AGENT_LINK };
        self.cx.wake_in(Timer::AgentRegister(process), wait);
        if let Some(agent) = self.roster.get_mut(process) {
            agent.phase = Phase::Registering { sent: false, recover };
            agent.tries.troubles = 0;
            self.registrations.due = true;
        }
    }

    pub(super) fn send_registrations(&mut self) {
        if !core::mem::take(&mut self.registrations.due) {
            return;
        }
        for agent in self.roster.iter_mut() {
            let Phase::Registering { sent: sent @ false, recover } = &mut agent.phase else {
                continue;
            };
            let timers = &self.cx.timers;
            let waits = timers.is_set(&Timer::AgentRetry(agent.process));
            if waits || !timers.is_set(&Timer::AgentRegister(agent.process)) {
                continue;
            }
            if self.actions.is_releasing(&agent.order.name) {
                self.registrations.due = true;
                continue;
            }
            if !self.link.has_credit() {
                self.registrations.due = true;
                return;
            }
            let invocation = match &agent.origin {
                Origin::Invocation(id) => Some(id),
                Origin::Api(_) => None,
            };
            let (name, session) = (&agent.order.name, agent.order.session_ref.as_deref());
            let request = Request::Agent(agent.process);
            let frame = self.link.request(&mut self.cx, request, |id| match recover {
                Some(expected) => wire::agent_recover(id, name, expected, invocation, session),
                None => wire::agent_register(id, name, invocation, session),
            });
            *sent = frame.is_some();
            if agent.tries.troubles == 0 {
                self.cx.wake_in(Timer::AgentRegister(agent.process), limits::AGENT_REGISTER);
            }
        }
    }

    /// The link that carried registrations is gone; those still wanted are sent on the next one.
    pub(super) fn forget_registrations_sent(&mut self) {
        self.registrations.abandoned.clear();
        for agent in self.roster.iter_mut() {
            if let Phase::Registering { sent, .. } = &mut agent.phase {
                *sent = false;
                agent.tries.troubles = 0;
                self.cx.timers.clear(&Timer::AgentRetry(agent.process));
                self.registrations.due = true;
            }
        }
    }

    pub(super) fn on_agent_reply(&mut self, process: ProcessId, reply: &Reply<'_>) {
        #[cfg(canary)]
        let process = if canary!(WrongRegistration) { self.latest_of_name(process) } else { process };
        let registering = |agent: &&Agent| matches!(agent.phase, Phase::Registering { .. });
        let wanted = self.roster.get(process).filter(registering).is_some();
        match reply.registered_agent() {
            // Without a cursor nothing says whether the rows that came before this reply are the first
            // ones; behind it all that are open come once more.
            Some(registered) if wanted => {
                let replayed = registered.delivery_ack_seq.is_none();
                self.on_registered(process, registered, replayed);
            }
            Some(registered) => self.compensate(process, registered),
            None if wanted => {
                let message = "the engine's reply to agent.register has no agent id or token";
                if let Some(agent) = self.roster.get_mut(process) {
                    // It has been answered: no reply is outstanding.
                    agent.phase = Phase::Registering { sent: false, recover: None };
                }
                self.fail_spawn(process, Failure::new(502, "invalid_agent_register_reply_data", message));
            }
            None => {}
        }
    }

    /// The process whose registration a reply was taken for that was told by the name alone.
    #[cfg(canary)]
    fn latest_of_name(&self, process: ProcessId) -> ProcessId {
        let name = self.registrations.abandoned.get(&process);
        name.and_then(|name| self.roster.by_name(name)).map_or(process, |agent| agent.process)
    }

    /// A reply without our id: the only registration of its name may be meant.
    pub(super) fn on_foreign_reply(&mut self, reply: &Reply<'_>) {
        let Some(name) = reply.registered_agent().and_then(|registered| registered.name) else {
            return;
        };
        let pending = self
            .roster
            .by_name(&name)
            .filter(|agent| agent.phase == Phase::Registering { sent: true, recover: None });
        let pending = pending.map(|agent| agent.process);
        let abandoned = self
            .registrations
            .abandoned
            .iter()
            .filter(|(_, other)| **other == name)
            .map(|(process, _)| *process);
        let candidates: Vec<ProcessId> = pending.into_iter().chain(abandoned).collect();
        if let [process] = candidates[..]
            && self.link.take_agent_request(process)
        {
            self.cx.marks.hit(Mark::MatchedByName);
            self.on_agent_reply(process, reply);
        }
    }

    /// A registration succeeded that nobody waits for any more: it is undone.
    fn compensate(&mut self, process: ProcessId, registered: RegisteredAgent) {
        self.cx.marks.hit(Mark::LateRegistration);
        let name = self.registrations.abandoned.remove(&process).or(registered.name);
        let id = registered.agent_id;
        if self.roster.by_id(&id).is_some() {
            return;
        }
        // A deregistration would arrive behind the registration that is under way, and undo that one.
        let later = name.as_ref().and_then(|name| self.roster.by_name(name));
        if let Some(later) = later.filter(|agent| agent.is_spawning() && agent.registered.is_none()) {
            let (process, name) = (later.process, later.name().clone());
            self.registrations.inherited.insert(process, id.clone());
            // An engine that only creates has refused it by now, and lets it recover the identity.
            return self.remember_agent(name, id);
        }
        self.cx.log(
            Level::Warn,
            "agent",
            &format!("the registration of {name:?} came too late and is undone"),
        );
        let name = name.unwrap_or_else(|| AgentName(String::new()));
        self.owe_late(id, name);
    }

    pub(super) fn on_agent_error(&mut self, process: ProcessId, error: &ErrorFrame<'_>) {
        let Some(agent) = self.roster.get_mut(process) else {
            self.registrations.abandoned.remove(&process);
            return;
        };
        let Phase::Registering { recover, .. } = &mut agent.phase else {
            return;
        };
        // Answered: no late reply can follow.
        let recover = recover.take();
        agent.phase = Phase::Registering { sent: false, recover: None };
        if !self.recover(process, recover.as_ref(), error) && !self.try_again(process, recover, error) {
            self.refuse_registration(process, &error.code, &error.message);
        }
    }

    /// Whether a refused registration, or the recovery of this identity, is tried again (invariant 4).
    fn try_again(&mut self, process: ProcessId, recover: Option<AgentId>, error: &ErrorFrame<'_>) -> bool {
        let passes = !canary!(TroubleIsRefusal)
            && (PASSING.contains(&&*error.code) || error.code.starts_with(PASSING_PREFIX));
        let deadline = self.cx.timers.deadline(&Timer::AgentRegister(process));
        let (Some(agent), Some(deadline), true) = (self.roster.get_mut(process), deadline, passes) else {
            return false;
        };
        let at = self.cx.now.mono.after(Span(limits::AGENT_RETRY_FIRST.0 << agent.tries.troubles));
        if at >= deadline {
            return false;
        }
        agent.tries.troubles += 1;
        agent.tries.trouble = (mask(&error.code), mask(&error.message));
        agent.phase = Phase::Registering { sent: false, recover };
        self.cx.timers.set(Timer::AgentRetry(process), at);
        let name = agent.name();
        let message = format!("the engine cannot register {name:?} now: {}: {}", error.code, error.message);
        self.cx.log(Level::Warn, "agent", &message);
        true
    }

    pub(super) fn refuse_registration(&mut self, process: ProcessId, code: &str, told: &str) {
        let message = format!("the engine refused to register the agent: {code}: {told}");
        self.fail_spawn(process, Failure::new(409, code, message));
    }

    pub(super) fn on_register_timeout(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        let Phase::Registering { sent, .. } = agent.phase else {
            return;
        };
        if !sent && agent.tries.troubles > 0 {
            // There was no time left, or no room on the link, for the next try.
            let (code, told) = agent.tries.trouble.clone();
            return self.refuse_registration(process, &code, &told);
        }
        if !sent {
            let reason = self.link.reason();
            let message = format!(
                "the engine has not registered this broker yet ({reason}); see `relay-broker status`"
            );
            return self.fail_spawn(process, Failure::new(503, "not_connected", message));
        }
        self.registrations.abandoned.insert(process, agent.order.name.clone());
        if self.link.dialect() == Dialect::Legacy && self.link.key().is_some() {
            return self.register_over_http(process);
        }
        let message = format!("no reply to agent.register within {} s", limits::AGENT_REGISTER.as_secs());
        self.fail_spawn(process, Failure::new(504, "agent_register_timeout", message));
    }

    /// The fall-back of older engines, whose socket did not answer.
    fn register_over_http(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        let body =
            json!({ "name": agent.order.name, "type": "agent", "metadata": { "cli": agent.order.cli } });
        let request = CallRequest {
            method: "POST",
            url: edge::http_url(self.link.base_url(), &["v1", "agents"]),
            bearer: self.link.key().cloned(),
            headers: Vec::new(),
            body: Some(body.to_string()),
        };
        let name = agent.order.name.clone();
        let purpose = CallFor::RegisterOverHttp { process, name };
        agent.phase = Phase::OverHttp(self.cx.call(purpose, request, limits::REGISTER_OVER_HTTP));
    }

    pub(super) fn on_registered_over_http(
        &mut self,
        process: ProcessId,
        name: AgentName,
        reply: Result<CallReply<'_>, Refused>,
    ) {
        let answer = reply.and_then(Answer::read).and_then(|answer| {
            let token = answer.text("token").and_then(|token| Secret::new(&token));
            let missing = || Refused::malformed("POST /v1/agents", "id and token");
            answer.text("id").map(AgentId).zip(token).ok_or_else(missing)
        });
        let waits = |agent: &&mut Agent| matches!(agent.phase, Phase::OverHttp(_));
        let Some(agent) = self.roster.get_mut(process).filter(waits) else {
            // Its spawn was given up meanwhile: what was registered is undone.
            if let Ok((id, _)) = answer {
                self.owe_late(id, name);
            }
            return;
        };
        let (id, token) = match answer {
            Ok(answer) => answer,
            Err(refused) => {
                let message = format!("no reply to agent.register, and over HTTP the engine said: {refused}");
                return self.fail_spawn(process, Failure::new(502, "agent_register_timeout", message));
            }
        };
        let registered = Registered { id, token };
        let body = json!({ "agent_name": agent.order.name });
        let node = self.link.node_name().unwrap_or_default();
        let request = CallRequest {
            method: "POST",
            url: edge::http_url(self.link.base_url(), &["v1", "nodes", node, "agents"]),
            bearer: self.link.key().cloned(),
            headers: Vec::new(),
            body: Some(body.to_string()),
        };
        agent.phase =
            Phase::Binding(self.cx.call(CallFor::Bind(process), request, limits::REGISTER_OVER_HTTP));
        self.roster.register(process, registered);
    }

    pub(super) fn on_bound(&mut self, process: ProcessId, reply: Result<CallReply<'_>, Refused>) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        if !matches!(agent.phase, Phase::Binding(_)) {
            return;
        }
        if let Err(refused) = reply.and_then(Answer::read)
            && !canary!(BindingIgnored)
        {
            let message = format!("the agent is registered, but binding it to this node failed: {refused}");
            if let Origin::Invocation(_) = agent.origin {
                return self.fail_spawn(process, Failure::failed(message));
            }
            let warning =
                format!("{message}; it will receive no messages until it is released and spawned again");
            let name = agent.name().clone();
            self.events.push(&Event::RegistrationWarning { name: &name, warning: &warning });
            self.cx.log(Level::Error, "agent", &format!("{name:?}: {warning}"));
            agent.warning = Some(warning);
        }
        self.cx.marks.hit(Mark::BoundOverHttp);
        // What was stored before the agent was bound comes only with a replay.
        self.inventory.refresh();
        let Some(registered) = agent.registered.clone() else {
            return;
        };
        let Registered { id: agent_id, token, .. } = registered;
        let registered = RegisteredAgent { agent_id, token, name: None, delivery_ack_seq: None };
        self.on_registered(process, registered, false);
    }

    /// The agent has its identity: its window opens, and its process may start. `replayed`: the engine sends
    /// what is open once more.
    fn on_registered(&mut self, process: ProcessId, registered: RegisteredAgent, replayed: bool) {
        let RegisteredAgent { agent_id, token, delivery_ack_seq, .. } = registered;
        self.cx.timers.clear(&Timer::AgentRegister(process));
        let lives_elsewhere = self.roster.by_id(&agent_id).is_some_and(|other| other.process != process);
        if lives_elsewhere {
            let message = format!("the engine gave it the identity of another agent here ({agent_id:?})");
            return self.fail_spawn(process, Failure::new(502, "agent_identity_conflict", message));
        }
        self.registrations.take_inherited(process);
        let (owed, unknown) = (self.leaving.forgive(&agent_id), self.early.lives(&agent_id));
        if owed || unknown {
            // A deregistration may have overtaken this registration at the engine.
            self.inventory.refresh();
        }
        if owed {
            self.journal(&Record::Paid { agent_id: agent_id.clone() });
        }
        self.roster.register(process, Registered { id: agent_id.clone(), token });
        self.delivery.open(self.cx.now.mono, agent_id.clone(), delivery_ack_seq);
        let Some(name) = self.roster.get(process).map(|agent| agent.name().clone()) else {
            return;
        };
        self.remember_agent(name.clone(), agent_id);
        self.release_early(&name, replayed);
        self.start(process);
    }

    /// Keeps whose name this is, for engines that want to be told when it is taken up again.
    fn remember_agent(&mut self, name: AgentName, agent_id: AgentId) {
        if self.known_agents.used(name.clone(), agent_id.clone()) {
            self.journal(&Record::Agent { name, agent_id });
        }
        self.known_agents.forget_surplus(|name| self.roster.by_name(name).is_some());
    }
}
