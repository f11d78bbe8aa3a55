//! The broker and its spawns: from an order to a proven process.
//!
//! Owns: the steps of a spawn, who is told of its end, and registrations whose reply may come late.
//!
//! 1. Every accepted order ends in exactly one answer to whoever gave it.
//! 2. The local name check comes before any frame: registering a live name kills its token.
//! 3. An agent that was registered and does not run is deregistered.

use super::Broker;
use crate::action::{Asked, SpawnOrder, Wish, read_wish};
use crate::agent::{Agent, Origin, Phase, Registered, child};
use crate::api::{AgentFacts, ApiError, Event, Runtime, SpawnedView};
use crate::command::{CallRequest, Command, Level};
use crate::delivery::payload::{Message, Target};
use crate::edge;
use crate::ids::{AgentId, AgentName, InvocationId, MessageId, ProcessId};
use crate::inject::harness::Harness;
use crate::inject::machine::Injector;
use crate::input::{CallReply, ExitStatus, Fault};
use crate::limits;
use crate::link::Request;
use crate::link::answer::{Answer, Refused};
use crate::marks::Mark;
use crate::purpose::CallFor;
use crate::rng::Stream;
use crate::secret::{Secret, mask};
use crate::store::{Outcome, Record};
use crate::time::Span;
use crate::timers::Timer;
use crate::wire::{self, Dialect, ErrorFrame, Invoke, RegisteredAgent, Reply};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::json;

/// Registrations on the current link.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    /// Some agent waits for its frame to be sent.
    pub(super) due: bool,
    /// Agents whose spawn ended while their reply was outstanding, by name.
    abandoned: BTreeMap<ProcessId, AgentName>,
    /// Identities that came too late for their spawn while a later one of the same name was under
    /// way, by that later process: it will most likely get the same identity.
    inherited: BTreeMap<ProcessId, AgentId>,
}

impl Registrations {
    /// Takes the identity that a spawn was to inherit and did not get.
    pub(super) fn take_inherited(&mut self, process: ProcessId) -> Option<AgentId> {
        self.inherited.remove(&process)
    }
}

/// Why a spawn failed.
pub(super) struct Failure {
    status: u16,
    code: String,
    message: String,
}

impl Failure {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_string(), message: mask(&message.into()) }
    }

    fn failed(message: impl Into<String>) -> Self {
        Self::new(500, "spawn_failed", message)
    }

    /// As a client of the local API is answered.
    pub(super) fn to_api(&self, name: AgentName) -> ApiError {
        ApiError::new(self.status, self.code.clone(), self.message.clone()).of_spawn(Some(name))
    }

    /// As an invocation is answered: some codes stand alone, because callers compare them.
    fn error(&self) -> String {
        match self.code.as_str() {
            "spawn_agent_name_in_use" | "spawn_released_before_ready" => self.code.clone(),
            "spawn_failed" => format!("spawn_failed: {}", self.message),
            code => format!("spawn_failed: {code}: {}", self.message),
        }
    }
}

/// An agent as events tell of it.
pub(super) fn facts(agent: &Agent) -> AgentFacts<'_> {
    AgentFacts {
        name: agent.name(),
        runtime: Runtime::Pty,
        cli: &agent.order.cli,
        model: agent.order.model.as_deref(),
        session_ref: agent.order.session_ref.as_deref(),
        pid: agent.pid.unwrap_or(0),
    }
}

impl Broker {
    // Orders.

    pub(super) fn on_invoke(&mut self, invoke: &Invoke<'_>) {
        let id = InvocationId::from(&*invoke.invocation_id);
        if self.actions.begin(&mut self.cx, &id) == Asked::Repeated {
            return;
        }
        let wish = read_wish(invoke);
        self.cx.log(Level::Info, "action", &format!("invocation {id}: {}", mask(&invoke.action)));
        if self.stopping.is_stopping() {
            self.finish(&id, Outcome::Error("handler_unavailable".to_string()));
            return;
        }
        match wish {
            Wish::Spawn(order) => match self.accept(order, Origin::Invocation(id.clone())) {
                // Only once it is on disk that this was begun may it have effects (S15).
                Ok(_) => self.actions.record_start(&mut self.cx, &id),
                Err(failure) => self.finish(&id, Outcome::Error(failure.error())),
            },
            Wish::Release(name) => self.release_for_invocation(&id, &name),
            Wish::Refused(error) => self.finish(&id, Outcome::Error(error)),
        }
    }

    pub(super) fn finish(&mut self, id: &InvocationId, outcome: Outcome) {
        if let Outcome::Error(error) = &outcome {
            self.cx.log(Level::Warn, "action", &format!("invocation {id} failed: {error}"));
        }
        self.actions.finish(&mut self.cx, id, outcome);
    }

    /// The start of an invocation is on disk, or could not be written.
    pub(super) fn on_start_recorded(&mut self, id: &InvocationId, written: bool) {
        let origin = Origin::Invocation(id.clone());
        let Some(process) =
            self.roster.iter().find(|agent| agent.origin == origin).map(|agent| agent.process)
        else {
            return;
        };
        if written {
            self.begin_registration(process);
        } else {
            self.fail_spawn(process, Failure::failed(self.store_fault.clone()));
        }
    }

    /// Takes an order in, or says why not (invariant 2).
    pub(super) fn accept(&mut self, order: SpawnOrder, origin: Origin) -> Result<ProcessId, Failure> {
        let name = &order.name;
        let own = self.link.membership().and_then(|membership| membership.own.as_ref());
        if own.is_some_and(|own| own.name == *name) {
            return Err(Failure::new(
                409,
                "spawn_agent_name_in_use",
                format!("{name:?} is this broker's own name"),
            ));
        }
        if self.roster.by_name(name).is_some() {
            return Err(Failure::new(
                409,
                "spawn_agent_name_in_use",
                format!("agent {name:?} already exists; release it first or choose another name"),
            ));
        }
        if self.roster.len() >= limits::AGENTS {
            return Err(Failure::new(
                503,
                "too_many_agents",
                format!("this broker hosts {} agents already", limits::AGENTS),
            ));
        }
        let process = ProcessId(self.cx.counters.next());
        self.roster.insert(process, order, origin);
        Ok(process)
    }

    /// Sends the registration, or waits for a link to send it on.
    pub(super) fn begin_registration(&mut self, process: ProcessId) {
        let wait = if self.link.is_up() { limits::AGENT_REGISTER } else { limits::AGENT_LINK };
        self.cx.wake_in(Timer::AgentRegister(process), wait);
        if let Some(agent) = self.roster.get_mut(process) {
            agent.phase = Phase::Registering { sent: false, recover: None };
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
            if !self.cx.timers.is_set(&Timer::AgentRegister(agent.process)) {
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
            self.cx.wake_in(Timer::AgentRegister(agent.process), limits::AGENT_REGISTER);
        }
    }

    /// The link that carried registrations is gone; those still wanted are sent on the next one.
    pub(super) fn forget_registrations_sent(&mut self) {
        self.registrations.abandoned.clear();
        for agent in self.roster.iter_mut() {
            if let Phase::Registering { sent, .. } = &mut agent.phase {
                *sent = false;
                self.registrations.due = true;
            }
        }
    }

    // Registration.

    pub(super) fn on_agent_reply(&mut self, process: ProcessId, reply: &Reply<'_>) {
        let registering = |agent: &&Agent| matches!(agent.phase, Phase::Registering { .. });
        let wanted = self.roster.get(process).filter(registering).is_some();
        match reply.registered_agent() {
            Some(registered) if wanted => self.on_registered(process, registered),
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
        self.owe(id, name.unwrap_or_else(|| AgentName(String::new())));
    }

    pub(super) fn on_agent_error(&mut self, process: ProcessId, error: &ErrorFrame<'_>) {
        let Some(agent) = self.roster.get_mut(process) else {
            self.registrations.abandoned.remove(&process);
            return;
        };
        let Phase::Registering { recover, .. } = &agent.phase else {
            return;
        };
        // A create-only engine; the identity is ours if it once was.
        if error.code == "agent_already_exists"
            && recover.is_none()
            && let Some(known) = self.known_agents.get(&agent.order.name)
        {
            agent.phase = Phase::Registering { sent: false, recover: Some(known.clone()) };
            self.registrations.due = true;
            return;
        }
        // Answered: no late reply can follow.
        agent.phase = Phase::Registering { sent: false, recover: None };
        let message = format!("the engine refused to register the agent: {}: {}", error.code, error.message);
        self.fail_spawn(process, Failure::new(409, &error.code, message));
    }

    pub(super) fn on_register_timeout(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        let Phase::Registering { sent, .. } = agent.phase else {
            return;
        };
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
                self.owe(id, name);
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
        if let Err(refused) = reply.and_then(Answer::read) {
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
        let Some(registered) = agent.registered.clone() else {
            return;
        };
        let Registered { id: agent_id, token, .. } = registered;
        self.on_registered(process, RegisteredAgent { agent_id, token, name: None, delivery_ack_seq: None });
    }

    /// The agent has its identity: its window opens, and its process may start.
    fn on_registered(&mut self, process: ProcessId, registered: RegisteredAgent) {
        let RegisteredAgent { agent_id, token, delivery_ack_seq, .. } = registered;
        self.cx.timers.clear(&Timer::AgentRegister(process));
        let lives_elsewhere = self.roster.by_id(&agent_id).is_some_and(|other| other.process != process);
        if lives_elsewhere {
            let message = format!("the engine gave it the identity of another agent here ({agent_id:?})");
            return self.fail_spawn(process, Failure::new(502, "agent_identity_conflict", message));
        }
        self.registrations.take_inherited(process);
        if self.leaving.forgive(&agent_id) {
            // A deregistration may have overtaken this registration at the engine.
            self.inventory.hasten();
            self.journal(&Record::Paid { agent_id: agent_id.clone() });
        }
        self.roster.register(process, Registered { id: agent_id.clone(), token });
        self.delivery.open(agent_id.clone(), delivery_ack_seq);
        let Some(name) = self.roster.get(process).map(|agent| agent.name().clone()) else {
            return;
        };
        self.remember_agent(name.clone(), agent_id);
        self.release_early(&name);
        self.start(process);
    }

    /// Keeps whose name this is, for engines that want to be told when it is taken up again.
    fn remember_agent(&mut self, name: AgentName, agent_id: AgentId) {
        if self.known_agents.insert(name.clone(), agent_id.clone()).as_ref() != Some(&agent_id) {
            self.journal(&Record::Agent { name, agent_id });
        }
        while self.known_agents.len() > limits::KNOWN_AGENTS {
            self.known_agents.pop_first();
        }
    }

    // The process.

    fn start(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        agent.phase = Phase::Starting;
        let workspace = self.link.workspace();
        let child = child::child(&agent.order, agent.registered.as_ref(), self.link.base_url(), workspace);
        let deadline = self.cx.now.mono.after(limits::AGENT_START);
        self.cx.push(Command::Spawn { process, child, deadline });
    }

    pub(super) fn on_spawned(&mut self, process: ProcessId, result: Result<u32, Fault<'_>>) {
        let Some(agent) = self.roster.get_mut(process) else {
            self.cx.count_stale(true);
            if result.is_ok() {
                // Given up while it was being started: nobody wants it.
                self.cx.push(Command::PtySignal { process, signal: crate::command::PtySignal::Kill });
                self.cx.push(Command::PtyForget { process });
            }
            return;
        };
        match result {
            Ok(pid) => {
                agent.pid = Some(pid);
                agent.injector = Some(Injector::new(&mut self.cx, process, Harness::of(&agent.order.cli)));
                agent.task = task(&self.cx, agent);
                if agent.phase == Phase::Starting {
                    agent.phase = Phase::Proving;
                    self.cx.wake_in(Timer::AgentProof(process), limits::AGENT_PROOF);
                } else {
                    self.cx.push(super::delivering::terminate(process));
                }
            }
            Err(fault) => {
                let message = format!("cannot start {:?}: {}", agent.order.cli, fault.detail);
                self.gone(process, Some(Failure::failed(message)));
            }
        }
    }

    /// The process has lived for a moment: it counts as started.
    pub(super) fn on_proof(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        if agent.phase != Phase::Proving || agent.exited.is_some() {
            return;
        }
        agent.phase = Phase::Running;
        self.cx.stats.spawned += 1;
        self.agents_changed = true;
        let agent = &*agent;
        let (name, pid) = (agent.name().clone(), agent.pid.unwrap_or(0));
        let source = match &agent.origin {
            Origin::Api(_) => "http_api",
            Origin::Invocation(_) => "relaycast_ws",
        };
        let pre_registered = agent.registered.is_some();
        self.events.push(&Event::AgentSpawned { agent: facts(agent), source, pre_registered });
        self.cx.log(Level::Info, "agent", &format!("{name:?} runs as process {pid}"));
        match agent.origin.clone() {
            Origin::Api(request) => {
                let view = SpawnedView {
                    name: &name,
                    id: agent.id(),
                    pid,
                    model: agent.order.model.as_deref(),
                    session_ref: agent.order.session_ref.as_deref(),
                    channels: &agent.order.channels,
                    warning: agent.warning.as_deref(),
                };
                let reply = view.reply();
                self.answer(request, reply);
            }
            Origin::Invocation(id) => {
                let output = json!({ "spawned": true, "name": name, "agent_id": agent.id(), "pid": pid });
                self.finish(&id, Outcome::Output(output.to_string()));
            }
        }
        self.join_agent_channels(process);
        self.pump(process);
    }

    /// Ends a spawn that did not come to a process, or whose process is not to run.
    pub(super) fn fail_spawn(&mut self, process: ProcessId, failure: Failure) {
        let Some(agent) = self.roster.get(process) else {
            return;
        };
        if matches!(agent.phase, Phase::Registering { sent: true, .. }) {
            self.registrations.abandoned.insert(process, agent.name().clone());
        }
        self.gone(process, Some(failure));
    }

    /// Tells whoever ordered an agent that it will not run.
    pub(super) fn tell_failure(&mut self, agent: &Agent, failure: &Failure) {
        let name = agent.name();
        self.cx.log(
            Level::Warn,
            "agent",
            &format!("{name:?} was not started: {}: {}", failure.code, failure.message),
        );
        match &agent.origin {
            Origin::Api(request) => {
                self.answer(*request, failure.to_api(name.clone()).reply());
            }
            Origin::Invocation(id) => self.finish(&id.clone(), Outcome::Error(failure.error())),
        }
    }
}

/// The first task of an agent as a message of its broker.
fn task(cx: &crate::cx::Cx, agent: &Agent) -> Option<Message> {
    let body = agent.order.task.clone()?;
    let id = cx.rng.hex(Stream::Publish, agent.process.0, 16);
    Some(Message {
        body,
        from: "broker".to_string(),
        target: Target::Direct(agent.name().0.clone()),
        thread: None,
        message_id: MessageId(format!("init_{id}")),
    })
}

/// How a child ended, in words.
pub(super) fn ending(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with code {code}"),
        ExitStatus::Signal(signal) => format!("was ended by signal {signal}"),
        ExitStatus::Unknown => "ended".to_string(),
    }
}

/// The failure of a child that died at once: how, and its last words.
pub(super) fn early_death(agent: &Agent, status: ExitStatus) -> Failure {
    let last_words = agent.last_words();
    let lived = Span::as_millis(limits::AGENT_PROOF);
    let mut message = format!("{:?} {} within {lived} ms", agent.order.cli, ending(status));
    if !last_words.is_empty() {
        message = format!("{message}; its last lines:\n{last_words}");
    }
    Failure::failed(message)
}
