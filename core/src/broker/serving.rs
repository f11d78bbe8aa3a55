//! The broker and its local API: requests in, exactly one answer out.
//!
//! Owns: the requests that wait for something, and what each call does.
//!
//! 1. Every request gets exactly one answer, at the latest at its deadline; a client that went away
//!    needs none.
//! 2. No answer waits for the engine, except those of `spawn` and `send`, which have deadlines.

use super::Broker;
use super::publishing::{Publishing, publish_unconfirmed};
use crate::action::SpawnOrder;
use crate::agent::{Agent, Origin, Phase};
use crate::api::{
    AgentState, AgentView, ApiCall, ApiError, DeadLetterView, HealthStatus, HealthView, PendingView, Reply,
    Screen, SessionView, SnapshotFormat, SnapshotView, SpawnRequest, StatusView, WorkspaceAuth, agents_reply,
    dead_letters_reply, input_reply, lease_reply, resized_reply, route, shutdown_reply,
};
use crate::command::{Command, Level};
use crate::delivery::dead::DeadLetter;
use crate::delivery::payload::{Message, extract};
use crate::ids::{AgentId, AgentName, ProcessId, RequestId, SubscriberId};
use crate::input::Auth;
use crate::limits;
use crate::time::{Span, Wall};
use crate::timers::Timer;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// How long raw input may take to be accepted by a terminal.
const INPUT: Span = Span::secs(6);
/// How long a release may take: SIGTERM, SIGKILL, and their grace.
const RELEASE: Span = Span::secs(8);
/// Deliveries that `/api/status` lists.
const LISTED: usize = 1_000;

/// What a waiting request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Spawn,
    Release,
    Input,
    Publish(Publishing),
}

/// The requests that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) waiting: BTreeMap<RequestId, Waiting>,
}

impl Broker {
    pub(super) fn on_api(
        &mut self,
        request: RequestId,
        auth: Auth,
        method: &str,
        target: &str,
        upgrade: bool,
        body: &[u8],
    ) {
        match route(method, target, upgrade, auth, body) {
            Ok(call) => self.serve(request, call),
            Err(error) => self.reply(request, error.reply()),
        }
    }

    fn serve(&mut self, request: RequestId, call: ApiCall) {
        let reply = match call {
            ApiCall::Health => self.health(),
            ApiCall::Session => self.session(),
            ApiCall::RenewLease => self.renew_lease(),
            ApiCall::Status => self.status(),
            ApiCall::Agents => agents_reply(&self.agent_views()),
            ApiCall::DeadLetters => self.dead_letters(),
            ApiCall::Snapshot { name, format } => self.snapshot(&name, format),
            ApiCall::Resize { name, rows, cols } => self.resize(&name, rows, cols),
            ApiCall::Events { since } => return self.open_stream(request, since),
            ApiCall::Shutdown => {
                self.reply(request, shutdown_reply());
                return self.begin_stop();
            }
            ApiCall::Spawn(_) | ApiCall::Release { .. } if self.stopping.is_stopping() => {
                shutting_down().of_spawn(None).reply()
            }
            _ if self.stopping.is_stopping() => shutting_down().reply(),
            _ if self.requests.waiting.len() >= limits::API_REQUESTS => {
                let message = "too many requests wait for an answer; try again when some have got theirs";
                ApiError::new(503, "too_many_requests", message).reply()
            }
            ApiCall::Spawn(order) => return self.spawn(request, order),
            ApiCall::Release { name, .. } => {
                self.wait(request, Waiting::Release, RELEASE);
                return self.release_for_client(request, &name);
            }
            ApiCall::Input { name, data } => return self.input(request, &name, data.into()),
            ApiCall::Send(message) => return self.publish(request, message),
        };
        self.reply(request, reply);
    }

    // Answers.

    pub(super) fn reply(&mut self, request: RequestId, reply: Reply) {
        let Reply { status, content_type, body } = reply;
        self.cx.push(Command::ApiReply { request, status, content_type, body });
    }

    pub(super) fn wait(&mut self, request: RequestId, waiting: Waiting, span: Span) {
        self.requests.waiting.insert(request, waiting);
        self.cx.wake_in(Timer::Request(request), span);
    }

    /// Answers a request that waited, unless it was answered or its client has gone (invariant 1).
    pub(super) fn answer(&mut self, request: RequestId, reply: Reply) {
        if self.requests.waiting.remove(&request).is_some() {
            self.cx.timers.clear(&Timer::Request(request));
            self.reply(request, reply);
        }
    }

    pub(super) fn on_api_gone(&mut self, request: RequestId) {
        self.requests.waiting.remove(&request);
        self.cx.timers.clear(&Timer::Request(request));
    }

    pub(super) fn on_request_timeout(&mut self, request: RequestId) {
        let Some(waiting) = self.requests.waiting.get(&request).cloned() else {
            return;
        };
        let error = match waiting {
            Waiting::Spawn => {
                ApiError::new(504, "spawn_timeout", "the agent could not be registered and started in time")
                    .of_spawn(None)
            }
            Waiting::Release => {
                ApiError::new(504, "release_timeout", "the agent's process did not end in time")
                    .of_spawn(None)
            }
            Waiting::Input => ApiError::new(504, "worker_timeout", "the agent does not read its terminal"),
            Waiting::Publish(_) => publish_unconfirmed(),
        };
        self.answer(request, error.reply());
        if waiting == Waiting::Input {
            // Whoever was told that it failed may send it again.
            self.roster.iter_mut().for_each(|agent| agent.drop_input(request));
        }
        if waiting == Waiting::Spawn {
            let origin = Origin::Api(request);
            let process = self.roster.iter().find(|agent| agent.origin == origin).map(|agent| agent.process);
            if let Some(process) = process {
                self.dismiss_late(process);
            }
        }
    }

    /// A spawn whose client has been told that it failed must not run.
    fn dismiss_late(&mut self, process: ProcessId) {
        match self.roster.get(process).map(|agent| agent.phase.clone()) {
            Some(Phase::Starting | Phase::Proving | Phase::Running) => self.dismiss(process),
            Some(Phase::Leaving) | None => {}
            Some(_) => {
                let failure = super::spawning::Failure::new(504, "spawn_timeout", "not registered in time");
                self.fail_spawn(process, failure);
            }
        }
    }

    /// Answers everything that still waits: the broker is going.
    pub(super) fn refuse_waiting(&mut self) {
        if canary!(LeftWaiting) {
            return;
        }
        let waiting: Vec<(RequestId, Waiting)> =
            self.requests.waiting.iter().map(|(request, waiting)| (*request, waiting.clone())).collect();
        for (request, waiting) in waiting {
            let error = match waiting {
                Waiting::Publish(_) => publish_unconfirmed(),
                Waiting::Release => continue,
                Waiting::Spawn => shutting_down().of_spawn(None),
                Waiting::Input => shutting_down(),
            };
            self.answer(request, error.reply());
        }
    }

    // Views.

    fn uptime(&self) -> Span {
        self.cx.now.mono.since(self.started.mono)
    }

    /// One sentence per thing that is wrong.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.link.is_up() {
            problems.push(format!("not registered with the engine: {}", self.link.reason()));
        } else if !self.link.is_answering(self.cx.now.mono) {
            problems.push("the engine answers no request".to_string());
        }
        let stuck =
            |agent: &&Agent| agent.injector.as_ref().is_some_and(crate::inject::machine::Injector::is_stuck);
        for agent in self.roster.iter().filter(stuck) {
            problems.push(format!("agent {:?} does not read its terminal; its messages wait", agent.name()));
        }
        for agent in self.roster.iter() {
            let dialog = agent.injector.as_ref().and_then(|injector| injector.dialog(&agent.terminal.0));
            if let Some(dialog) = dialog {
                problems.push(format!(
                    "agent {:?} waits for an answer to its dialog ({dialog}); its messages wait",
                    agent.name()
                ));
            }
        }
        for agent in self.roster.iter().filter(|agent| agent.warning.is_some()) {
            problems.push(format!(
                "agent {:?}: {}",
                agent.name(),
                agent.warning.as_deref().unwrap_or_default()
            ));
        }
        if self.inventory.refused() > 0 {
            problems.push(format!("the engine refuses {} agents in the inventory", self.inventory.refused()));
        }
        self.deaf_agents(&mut problems);
        if !self.store_fault.is_empty() {
            problems.push(self.store_fault.clone());
        }
        problems
    }

    fn health(&self) -> Reply {
        let mut problems = self.problems();
        if canary!(ConnectedIsHealthy) && self.link.is_connected() {
            problems.clear();
        }
        let status = match (problems.is_empty(), self.link.was_up() || self.link.is_disabled()) {
            (true, _) => HealthStatus::Ok,
            (false, false) => HealthStatus::Starting,
            (false, true) => HealthStatus::Degraded,
        };
        HealthView {
            status,
            version: &self.version,
            uptime: self.uptime(),
            workspace: self.link.workspace(),
            agents: self.roster.len(),
            pending: self.delivery.open_rows(),
            streams: self.events.subscribers(),
            connected: self.link.is_connected(),
            confirmed: self.link.is_up(),
            delivery: self.delivery_state(),
            delivery_reason: Some(self.link.reason()).filter(|reason| !reason.is_empty()),
            dead_letters: self.dead.len(),
            problems: &problems,
        }
        .reply()
    }

    fn session(&self) -> Reply {
        SessionView {
            version: &self.version,
            workspace_key: self.link.key(),
            base_url: self.link.base_url(),
            workspace: self.link.workspace(),
            persist: self.persist,
            uptime: self.uptime(),
            degraded: !self.problems().is_empty(),
            node: self.link.node_id(),
            node_name: self.link.node_name(),
        }
        .reply()
    }

    fn renew_lease(&mut self) -> Reply {
        if !self.persist {
            self.cx.wake_in(Timer::Lease, limits::LEASE);
        }
        lease_reply(self.persist, limits::LEASE)
    }

    pub(super) fn on_lease(&mut self) {
        self.cx.log(Level::Warn, "broker", "nobody has renewed the lease of this broker; shutting down");
        self.begin_stop();
    }

    fn agent_views(&self) -> Vec<AgentView<'_>> {
        let mut pending: BTreeMap<&AgentId, usize> = BTreeMap::new();
        for (id, _, _) in self.delivery.pending() {
            *pending.entry(id).or_default() += 1;
        }
        let now = self.cx.now.mono;
        let view = |agent| agent_view(agent, now, &pending);
        self.roster.iter().map(view).collect()
    }

    fn status(&self) -> Reply {
        let agents = self.agent_views();
        let now = self.cx.now;
        let rows = self.delivery.pending().take(LISTED);
        let pending: Vec<PendingView<'_>> = rows
            .filter_map(|(id, frame, attempts)| {
                Some(PendingView {
                    delivery: &frame.delivery_id,
                    agent: self.roster.by_id(id)?.name(),
                    message: &frame.msg_id,
                    from: None,
                    attempts,
                    queued_at: frame.at.wall,
                    age: now.mono.since(frame.at.mono),
                    last_error: None,
                })
            })
            .collect();
        let membership = self.link.membership();
        let auth = membership.and_then(|membership| {
            let own = membership.own.as_ref()?;
            Some(WorkspaceAuth { workspace: &membership.workspace, self_name: &own.name, self_id: &own.id })
        });
        StatusView { agents: &agents, pending_count: self.delivery.open_rows(), pending: &pending, auth }
            .reply()
    }

    fn dead_letters(&self) -> Reply {
        let read = |letter| (letter, extract_letter(letter));
        let letters: Vec<(&DeadLetter, Message)> = self.dead.iter().map(read).collect();
        let views: Vec<DeadLetterView<'_>> = letters
            .iter()
            .map(|(letter, message)| DeadLetterView {
                delivery: &letter.delivery_id,
                agent: &letter.agent,
                agent_id: &letter.agent_id,
                seq: letter.seq,
                message: &letter.message_id,
                from: Some(&message.from),
                target: Some(message.target.as_str()),
                body: &message.body,
                reason: &letter.reason,
                attempts: letter.attempts,
                at: Wall(letter.at_ms),
            })
            .collect();
        dead_letters_reply(&views)
    }

    fn snapshot(&self, name: &AgentName, format: SnapshotFormat) -> Reply {
        let Some(agent) = self.roster.by_name(name) else {
            return ApiError::agent_not_found(&name.0).reply();
        };
        let terminal = &agent.terminal.0;
        let (rows, cols) = terminal.size();
        let (plain, ansi);
        let screen = match format {
            SnapshotFormat::Plain => {
                plain = terminal.snapshot_plain();
                Screen::Plain(&plain)
            }
            SnapshotFormat::Ansi => {
                ansi = terminal.snapshot_ansi();
                Screen::Ansi(&ansi)
            }
        };
        SnapshotView { rows, cols, cursor: terminal.cursor(), screen }.reply()
    }

    // Acts.

    fn spawn(&mut self, request: RequestId, order: SpawnRequest) {
        let order = SpawnOrder::from(order);
        let name = order.name.clone();
        match self.accept(order, Origin::Api(request)) {
            Ok(process) => {
                self.wait(request, Waiting::Spawn, limits::SPAWN_ANSWER);
                self.begin_registration(process, None);
            }
            Err(failure) => self.reply(request, failure.to_api(name).reply()),
        }
    }

    fn resize(&mut self, name: &AgentName, rows: u16, cols: u16) -> Reply {
        let process = self.roster.by_name(name).map(|agent| agent.process);
        let Some(agent) = process.and_then(|process| self.roster.get_mut(process)) else {
            return ApiError::agent_not_found(&name.0).reply();
        };
        agent.terminal.0.resize(rows, cols);
        let (rows, cols) = agent.terminal.0.size();
        // A program that is being started gets its size with its start, or right behind it.
        if agent.pid.is_some() {
            self.cx.push(Command::PtyResize { process: agent.process, rows, cols });
        }
        resized_reply(name, rows, cols)
    }

    fn input(&mut self, request: RequestId, name: &AgentName, data: Vec<u8>) {
        let Some(process) = self.roster.by_name(name).map(|agent| agent.process) else {
            return self.reply(request, ApiError::agent_not_found(&name.0).reply());
        };
        self.wait(request, Waiting::Input, INPUT);
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        if agent.pid.is_none() || !agent.queue_input(&mut self.cx, Some(request), data) {
            let message = "the agent's terminal takes no more input now; send less at once, or try again";
            self.answer(request, ApiError::new(503, "worker_busy", message).reply());
        }
    }

    pub(super) fn on_input_written(
        &mut self,
        request: RequestId,
        process: ProcessId,
        written: usize,
        whole: bool,
    ) {
        let Some(name) = self.roster.get(process).map(|agent| agent.name().clone()) else {
            return;
        };
        let reply = if whole {
            input_reply(&name, written)
        } else {
            let message = format!("the agent's terminal took {written} bytes and then no more");
            ApiError::new(504, "worker_timeout", message).reply()
        };
        self.answer(request, reply);
    }

    fn open_stream(&mut self, request: RequestId, since: u64) {
        let subscriber = SubscriberId(self.cx.counters.next());
        match self.events.open(subscriber, since) {
            Ok(()) => self.cx.push(Command::ApiStream { request, subscriber }),
            Err(error) => self.reply(request, error.reply()),
        }
    }
}

fn extract_letter(letter: &DeadLetter) -> Message {
    extract(&letter.payload, &letter.agent.0, letter.message_id.clone())
}

fn agent_view<'a>(
    agent: &'a Agent,
    now: crate::time::Mono,
    pending: &BTreeMap<&AgentId, usize>,
) -> AgentView<'a> {
    let injector = agent.injector.as_ref();
    let state = match injector {
        Some(injector) if injector.is_stuck() => AgentState::Blocked,
        Some(injector) if injector.is_idle() && agent.phase == Phase::Running => AgentState::Idle,
        _ => AgentState::Working,
    };
    AgentView {
        name: agent.name(),
        id: agent.id(),
        cli: &agent.order.cli,
        model: agent.order.model.as_deref(),
        channels: &agent.order.channels,
        session_ref: agent.order.session_ref.as_deref(),
        pid: agent.pid,
        state,
        pending: agent.id().and_then(|id| pending.get(id)).copied().unwrap_or(0),
        quiet: injector.map(|injector| now.since(injector.last_output())),
    }
}

fn shutting_down() -> ApiError {
    ApiError::new(503, "shutting_down", "this broker is shutting down")
}
