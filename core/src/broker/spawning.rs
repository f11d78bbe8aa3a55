//! The broker and its spawns: from an order to a proven process.
//!
//! Owns: the steps of a spawn, who is told of its end, and registrations whose reply may come late.
//!
//! 1. Every accepted order ends in exactly one answer to whoever gave it.
//! 2. The local name check comes before any frame: registering a live name kills its token.
//! 3. An agent that was registered and does not run is deregistered.

use super::Broker;
use crate::action::{Asked, Came, SpawnOrder, Wish, read_wish};
use crate::agent::{Agent, Origin, Phase, child};
use crate::api::{AgentFacts, ApiError, Event, Runtime, SpawnedView};
use crate::command::{Command, Level};
use crate::delivery::payload::{Message, Target};
use crate::ids::{AgentName, InvocationId, MessageId, ProcessId};
use crate::inject::harness::Harness;
use crate::inject::machine::Injector;
use crate::input::{ExitStatus, Fault};
use crate::limits;
use crate::rng::Stream;
use crate::secret::mask;
use crate::store::Outcome;
use crate::time::Span;
use crate::timers::Timer;
use crate::wire::Invoke;
use alloc::format;
use alloc::string::{String, ToString};
use serde_json::json;

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

    pub(super) fn failed(message: impl Into<String>) -> Self {
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

    pub(super) fn on_invoke(&mut self, invoke: &Invoke<'_>, came: Came) {
        let id = InvocationId::from(&*invoke.invocation_id);
        let wish = read_wish(invoke);
        let releases = if let Wish::Release(name) = &wish { Some(name) } else { None };
        if self.stopping.is_stopping() && releases.is_none() && !self.actions.knows(&id) {
            // Any answer would stand for ever; without one the engine asks the next life.
            return;
        }
        let asked = self.actions.begin(&mut self.cx, &id, releases, came);
        if asked == Asked::Repeated {
            if releases.is_some() {
                // On its repeated result an engine moves away who lives under that name now.
                self.inventory.refresh();
            }
            return;
        }
        self.cx.log(Level::Info, "action", &format!("invocation {id}: {}", mask(&invoke.action)));
        match wish {
            Wish::Spawn(order) => match self.accept(order, Origin::Invocation(id.clone())) {
                // Only once it is on disk that this was begun may it have effects (S15).
                Ok(process) if canary!(StartNotRecorded) => self.begin_registration(process, None),
                Ok(_) => self.actions.record_start(&mut self.cx, &id),
                Err(failure) => self.finish(&id, Outcome::Error(failure.error())),
            },
            Wish::Release(name) => {
                // If this life ends before it is surely answered, the next one answers.
                if !canary!(ReleaseNotKept) {
                    self.actions.record_start(&mut self.cx, &id);
                }
                self.release_for_invocation(&id, &name);
            }
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
            self.begin_registration(process, None);
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

    // The process.

    pub(super) fn start(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        agent.phase = Phase::Starting;
        // It may have been resized while it was registered, and not every size is possible.
        (agent.order.rows, agent.order.cols) = agent.terminal.0.size();
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
        if agent.pid.is_some() {
            return self.cx.count_stale(true);
        }
        match result {
            Ok(pid) => {
                agent.pid = Some(pid);
                let (rows, cols) = agent.terminal.0.size();
                if (rows, cols) != (agent.order.rows, agent.order.cols) {
                    self.cx.push(Command::PtyResize { process, rows, cols });
                }
                agent.injector = Some(Injector::new(&mut self.cx, process, Harness::of(&agent.order.cli)));
                agent.task = task(&self.cx, agent);
                if agent.phase == Phase::Starting {
                    agent.phase = Phase::Proving;
                    self.cx.wake_in(Timer::AgentProof(process), limits::AGENT_PROOF);
                    if canary!(StartIsProof) {
                        self.on_proof(process);
                    }
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
        self.want_channels(process);
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
    pub(super) fn tell_failure(&mut self, name: &AgentName, origin: &Origin, failure: &Failure) {
        self.cx.log(
            Level::Warn,
            "agent",
            &format!("{name:?} was not started: {}: {}", failure.code, failure.message),
        );
        match origin {
            Origin::Api(request) => {
                self.answer(*request, failure.to_api(name.clone()).reply());
            }
            #[cfg(canary)]
            Origin::Invocation(id) if canary!(FailureIsSuccess) => {
                self.finish(id, Outcome::Output(r#"{"spawned":true}"#.to_string()));
            }
            Origin::Invocation(id) => self.finish(id, Outcome::Error(failure.error())),
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
