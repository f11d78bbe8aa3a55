//! Oracles: what must hold, judged by what really happened.
//!
//! Owns: the verdict of a case, and the passing on of facts to those who judge them.
//! Must not know: the broker's state, events or logs. Facts come from the models only.
//!
//! 1. An oracle keeps marks of what it has judged and never looks at it again.
//! 2. The first violation is the verdict; what follows from it is not interesting.
//! 3. Facts of the engine, of agents and of files outlast the life of a broker, so that every rule
//!    holds over a crash and a restart from whatever is on disk (S7).
//! 4. A frame is read once, for all oracles.
//!
//! There is no L6 (what is held back drains after a flush): the core never holds messages back for a
//! client to flush. What it holds, behind a gap or a program that does not read, L1 wants acked.

mod acks;
pub(crate) mod bounds;
mod calm;
mod facts;
mod farewell;
mod field;
mod frames;
mod health;
mod hosting;
mod identity;
mod invocations;
mod leaves;
mod ledger;
mod letters;
mod order;
mod published;
mod reconnect;
mod registrations;
mod requests;
mod resent;
mod results;
mod scene;
mod secrets;
mod takes;
mod tasks;
mod troubles;
mod truth;
mod typed;

use crate::agents::reader::{Token, token_of};
use crate::engine::{Event, Record};
use crate::world::{INSTANCE, Of};
use facts::Frame;
use invocations::Order;
use ledger::Ledger;
use relay_core::ids::{LinkId, ProcessId, RequestId};
use relay_core::limits::REMEMBERED;
use relay_core::{Command, Held, Input, StoreAction, StoreFile};
use results::Results;
use scene::Scene;
use serde_json::Value;

pub use calm::Unsettled;
pub use field::{Field, Violation};

/// Classes of failure, each with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The core broke one of its own assertions.
    Panic = 10,
    /// Something happened that must not.
    Safety = 11,
    /// Something did not happen that must.
    Liveness = 12,
    /// The same seed went two ways.
    Nondeterminism = 13,
    /// Too many events, commands or timers.
    Resource = 14,
}

impl Class {
    /// The class of a rule.
    fn of(rule: &str) -> Self {
        match rule {
            "S9" => Self::Resource,
            rule if rule.starts_with('L') => Self::Liveness,
            _ => Self::Safety,
        }
    }
}

/// Why a case failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its class.
    pub class: Class,
    /// Which rule was broken: `S1` …
    pub rule: &'static str,
    /// How.
    pub message: String,
}

/// When something happens.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// In which life of the broker.
    pub life: u64,
    /// The machine's clock, which the broker sees, in µs.
    pub mono: u64,
    /// Virtual time, in µs. A machine that sleeps makes its clock jump, not virtual time.
    pub now: u64,
}

/// A rule and how it was broken.
type Broken = (&'static str, String);

/// All oracles of one world.
#[derive(Debug, Default)]
pub struct Oracles {
    ledger: Ledger,
    scene: Scene,
    acks: acks::Acks,
    bounds: bounds::Bounds,
    farewell: farewell::Farewell,
    health: health::Health,
    identity: identity::Identity,
    invocations: invocations::Invocations,
    leaves: leaves::Leaves,
    order: order::Order,
    published: published::Published,
    reconnect: reconnect::Reconnect,
    registrations: registrations::Registrations,
    requests: requests::Requests,
    resent: resent::Resent,
    results: Results,
    takes: takes::Takes,
    tasks: tasks::Tasks,
    troubles: troubles::Troubles,
    truth: truth::Truth,
    /// Since when there is nothing to do for the broker: virtual µs.
    quiet_since: Option<u64>,
    /// The engine has given a row up since a link was last closed.
    given_up: bool,
    verdict: Option<Failure>,
}

impl Oracles {
    /// The first violation, if there was one.
    pub fn verdict(&self) -> Option<&Failure> {
        self.verdict.as_ref()
    }

    fn note(&mut self, rule: &'static str, judged: Result<(), String>) {
        self.blame(judged.map_err(|message| (rule, message)));
    }

    fn blame(&mut self, judged: Result<(), Broken>) {
        if let (Err((rule, message)), None) = (judged, &self.verdict) {
            self.verdict = Some(Failure { class: Class::of(rule), rule, message });
        }
    }

    // What passes between the broker and the world.

    /// The broker is handed an input.
    pub fn input(&mut self, at: At, input: &Input<'_>) {
        let frame = match input {
            Input::LinkText { text, .. } => Some(Frame::read(text)),
            _ => None,
        };
        let judged = self.invocations.goes_on();
        self.note("S15", judged);
        let judged = self.requests.input(at);
        self.note("S10", judged);
        let judged = self.reconnect.input(at, &self.scene, input);
        self.blame(judged);
        self.passed(at, input, frame.as_ref());
        self.scene.input(at, input, frame.as_ref());
        self.reconnect.after(&self.scene);
        self.note("S13", health::Health::kept(at, &self.scene));
        self.note("L8", hosting::on_time(at, &self.scene));
        self.registrations.input(input, frame.as_ref());
        self.resent.input(input, frame.as_ref());
        self.troubles.input(at.mono, input, frame.as_ref());
        self.bounds.input(input);
        self.farewell.input(input);
        self.identity.input(input);
        // A link may end late of what went wrong long before.
        if matches!(input, Input::LinkDown { .. } | Input::Terminate) {
            self.quiet_since = None;
        }
        if let (Input::LinkText { link, text }, Some(frame)) = (input, &frame) {
            self.arrived(at, *link, frame);
            if let Some(id) = frame.invocation_id.as_deref() {
                self.tasks.ordered(Order::Invocation(id.to_owned()), token_of(text));
            }
        }
        if matches!(input, Input::Terminate) {
            self.invocations.stops();
        }
        if let Input::Api { request, method, target, body, .. } = input {
            self.requests.asked((at.life, *request), format!("{method} {target}"), at.now);
            self.published.asked((at.life, *request), target, body);
            if *target == "/api/spawn" {
                self.invocations.asked(*request, body);
                self.truth.asked(*request, body);
                let task = std::str::from_utf8(body).ok().and_then(token_of);
                self.tasks.ordered(Order::Api(*request), task);
            }
        }
    }

    /// Results on their way to a process, and processes that end.
    fn passed(&mut self, at: At, input: &Input<'_>, frame: Option<&Frame<'_>>) {
        match (input, frame) {
            (Input::LinkText { text, .. }, Some(frame)) if frame.seq == Some(0) => {
                let name = frame.agent.as_deref().unwrap_or_default();
                let is_its_own = |id: &str| self.scene.name_of(id) == Some(name);
                let hosted = frame.agent_id.as_deref().map_or_else(|| self.scene.hosts(name), is_its_own);
                self.results.arrived(at, name, text, hosted && self.scene.runs(name));
            }
            (Input::PtyExited { process, .. } | Input::PtyEof { process }, _) => {
                let name = self.scene.process(*process).unwrap_or_default();
                self.results.left(name);
                if let Input::PtyExited { process, .. } = input {
                    self.truth.ended(at.mono, (at.life, *process));
                    if let Some(id) = self.ledger.id_of(name) {
                        self.order.begins_anew(id);
                    }
                }
            }
            _ => {}
        }
    }

    fn arrived(&mut self, at: At, link: LinkId, frame: &Frame<'_>) {
        let registered = frame.data.as_ref().is_some_and(|data| data.agent_id.is_some());
        if registered || matches!(frame.kind(), "deliver" | "action.invoke") {
            self.quiet_since = None;
        }
        match frame.kind() {
            "deliver" => {
                // Rows of a link that was given up are not taken: they come again.
                let is_taken = self.scene.link.as_ref().is_some_and(|current| current.id == link);
                if is_taken {
                    self.order.arrived(at.mono, frame);
                }
                if let Some(id) = frame.agent_id.as_deref().filter(|_| frame.seq.is_some_and(|seq| seq > 0)) {
                    self.health.arrived(at, id, frame);
                    if is_taken {
                        self.ledger.arrived(at, id, frame.seq.unwrap_or(0), frame.delivery_id.as_deref());
                    }
                }
            }
            "action.invoke" if !self.scene.is_outlived(link) => {
                let scene = &self.scene;
                let runs = |name: &str| scene.hosts(name) && scene.runs(name);
                self.invocations.given(at.mono, link, frame, runs);
                self.truth.given(frame);
            }
            _ => {}
        }
    }

    /// The broker wants something done.
    pub fn command(&mut self, at: At, command: &Command) {
        let frame = match command {
            Command::LinkSend { text, .. } => Some(Frame::read(text)),
            _ => None,
        };
        let looks = matches!(command, Command::LinkClose { .. }) && std::mem::take(&mut self.given_up);
        if let Some(since) = self.quiet_since.filter(|_| !looks) {
            self.note("L4", calm::quiet(at.now - since, command, frame.as_ref()));
        }
        let judged = bounds::deadline(at, command);
        self.note("L3", judged);
        let judged = self.bounds.command(command);
        self.note("S9", judged);
        let judged = self.reconnect.command(at, &self.scene, command);
        self.note("S9", judged);
        let waits = self.requests.waits();
        let judged = self.farewell.command(&self.scene, command, frame.as_ref(), waits);
        self.blame(judged);
        match command {
            Command::LinkSend { link, text } => {
                if let Some(frame) = &frame {
                    self.sent(at, (at.life, *link), frame, text);
                }
            }
            Command::ApiReply { request, body, .. } => self.replied(at, *request, Some(body), command),
            Command::ApiStream { request, .. } => self.replied(at, *request, None, command),
            _ => {
                let judged = secrets::command(command, None);
                self.note("S12", judged);
                let judged = self.identity.command(INSTANCE, command);
                self.blame(judged);
            }
        }
        if let Command::Store { action, .. } = command {
            self.invocations.writes(action);
            if let StoreAction::Append { lines } = action {
                self.leaves.writes(lines);
                let judged = letters::written(at, &self.ledger, &self.takes, lines);
                self.note("S1", judged);
            }
        }
        let judged = self.registrations.command(command, frame.as_ref());
        self.blame(judged);
        let judged = self.troubles.command(at.mono, command, frame.as_ref());
        self.note("S14", judged);
        let judged = self.resent.command(command, frame.as_ref());
        self.note("L5", judged);
        self.typed(command, frame.as_ref());
        if let Command::PtyForget { process } = command {
            self.requests.forgets(*process);
        }
        self.scene.command(at, command, frame.as_ref());
        if let Command::Spawn { process, .. } = command {
            let name = self.scene.process(*process).unwrap_or_default();
            self.requests.starts(*process, name);
            match self.invocations.spawns(name) {
                Ok(orders) => self.tasks.started((at.life, *process), &orders),
                Err(why) => self.note("S15", Err(why)),
            }
        }
    }

    /// Results that are typed, and agents that leave.
    fn typed(&mut self, command: &Command, frame: Option<&Frame<'_>>) {
        match command {
            Command::PtyWrite { process, .. } => {
                let name = self.scene.process(*process).unwrap_or_default();
                let judged = Results::command(name, command);
                self.note("S4", judged);
            }
            Command::LinkSend { .. } => {
                let left = frame.filter(|frame| frame.kind() == "agent.deregister");
                let name = left.and_then(|frame| self.scene.name_of(frame.agent_id.as_deref()?));
                if let Some(name) = name {
                    self.results.left(name);
                }
            }
            _ => {}
        }
    }

    fn sent(&mut self, at: At, link: Of<LinkId>, frame: &Frame<'_>, text: &str) {
        let judged = hosting::frame(at, &self.scene, frame);
        self.blame(judged);
        self.leaves.sent(frame);
        match frame.kind() {
            "agent.register" => {
                if let Some(id) = frame.name.as_deref().and_then(|name| self.ledger.id_of(name)) {
                    self.order.begins_anew(id);
                }
            }
            "inventory.sync" => {
                let by = self.scene.link.as_ref().map_or(0, |link| link.inventory_by);
                let judged = self.invocations.listed(at.mono, link.1, frame, at.mono < by);
                self.note("S15", judged);
                let judged = self.truth.listed(at.mono, frame);
                self.note("S15", judged);
            }
            "delivery.ack" => {
                let judged = self.acks.frame(&self.ledger, link, frame);
                self.blame(judged);
            }
            "action.result" => {
                if text.contains("spawn_missing_cli") {
                    self.note("S15", Err(format!("an order that names its harness is refused: {text}")));
                }
                let judged = self.invocations.ends(frame, text);
                self.note("S15", judged);
                let is_done = text.contains("\"output\":");
                let judged = self.truth.ends(at.mono, frame, is_done, |name| self.scene.runs(name));
                self.note("S15", judged);
            }
            _ => {}
        }
    }

    fn replied(&mut self, at: At, request: RequestId, body: Option<&str>, command: &Command) {
        let of = (at.life, request);
        let what = self.requests.what(of);
        let shown = secrets::command(command, what);
        let health = match body.filter(|_| what == Some("GET /health")) {
            Some(body) => self.health.said(at, &self.scene, body),
            None => Ok(()),
        };
        self.note("S12", shown);
        self.note("S13", health);
        self.invocations.answered(request);
        let is_done = matches!(command, Command::ApiReply { status: 200, .. });
        let judged = self.truth.replied(at.mono, request, is_done);
        self.note("S15", judged);
        let judged = self.requests.answered(of, at.now);
        self.note("S10", judged);
        let judged = self.published.answered(of, command);
        self.note("S10", judged);
    }

    /// The time that anybody waits for this answer is up.
    pub fn overdue(&mut self, request: Of<RequestId>) {
        let judged = self.requests.overdue(request);
        self.note("S10", judged);
    }

    /// A completion came again, and this came of it.
    pub fn stale(&mut self, what: &str) {
        self.note("S8", Err(what.to_owned()));
    }

    /// The engine has answered a call of the broker.
    pub fn called(&mut self, method: &str, path: &str, status: u16, body: &str) {
        self.note("S11", frames::called(method, path, status, body));
    }

    /// The client of a request goes away; false if it was answered before.
    pub fn left(&mut self, request: Of<RequestId>) -> bool {
        self.published.left(request);
        self.requests.left(request)
    }

    // What really happens.

    /// A sender got this id for its message, and was told its own name.
    pub fn posted(&mut self, msg_id: &str, token: Token, sender: Option<&str>) {
        self.ledger.posted(msg_id, token, sender);
        self.published.posted(token);
    }

    /// The engine did something.
    pub fn engine(&mut self, record: &Record) {
        if let Some(id) = self.ledger.renumbers(&record.event) {
            self.order.begins_anew(id);
        }
        self.given_up |= matches!(record.event, Event::Dead { .. });
        self.ledger.engine(&record.event);
        self.leaves.engine(&record.event);
        let judged = self.invocations.engine(&record.event);
        self.note("S15", judged);
        let judged = self.identity.engine(&record.event);
        self.note("N1", judged);
        let judged = self.acks.engine(&record.event);
        self.note("S2", judged);
        if let Event::Rejected { code, reason, .. } = &record.event {
            self.note("S11", frames::judge(code, reason));
        }
    }

    /// The engine sends an invocation on a link of the life that runs.
    pub fn dispatched(&mut self, at: At, link: LinkId, invocation_id: &str) {
        let current = self.scene.link.as_ref().filter(|current| current.id == link);
        if current.is_some_and(|current| current.confirmed_at.is_none()) {
            self.invocations.queued(at.mono, link, invocation_id);
        }
    }

    /// A file got these permissions.
    pub fn permitted(&mut self, mode: u32) {
        if mode & 0o077 != 0 {
            self.note("S12", Err(format!("a file with secrets has mode {mode:o}: others can read it")));
        }
    }

    /// The broker has remembered so many delivery ids of one identity.
    pub fn remembers(&mut self, ids: usize) {
        if ids > REMEMBERED {
            self.note("S9", Err(format!("{ids} delivery ids of one agent are remembered")));
        }
    }

    /// The broker holds this, while so many agents are wanted.
    pub fn holds(&mut self, held: &Held, agents: usize) {
        let judged = self.bounds.held(held, agents, self.requests.len());
        self.note("S9", judged);
    }

    /// The broker holds this although it has had nothing to do for long.
    pub fn rests(&mut self, held: &Held, agents: usize) {
        self.note("L7", bounds::rest(held, agents));
    }

    /// A token of another workspace or engine was shown to this one.
    pub fn foreign_token(&mut self) {
        self.note("S12", Err("the token of another workspace was offered to this one".into()));
    }

    /// A change of a file is on disk.
    pub fn stored(&mut self, action: &StoreAction) {
        let lines = match action {
            StoreAction::Append { lines } => lines,
            StoreAction::Replace { file: StoreFile::Journal, content } => {
                self.invocations.rewritten(content.expose());
                self.leaves.stored(content.expose());
                let judged = self.ledger.rewritten(content.expose());
                return self.note("S1", judged);
            }
            _ => return,
        };
        self.leaves.stored(lines);
        for line in lines.lines() {
            let record: Value = serde_json::from_str(line).unwrap_or_default();
            self.invocations.stored(&record);
            self.ledger.stored(&record);
            if let Some(id) = record["agent_id"].as_str().filter(|_| record["record"] == "dead") {
                self.health.buried(id);
            }
        }
    }

    /// A process of this agent was started; `deaf` if it never reads.
    pub fn started(&mut self, at: At, process: Of<ProcessId>, name: &str, deaf: bool) {
        if let Some(id) = self.ledger.id_of(name) {
            self.health.started(id, deaf);
        }
        self.takes.started(&mut self.ledger, at, process, name, deaf);
        self.truth.started(at.mono, process, name);
    }

    /// A process throws away, perhaps, what it has not read.
    pub fn threw(&mut self, at: At, process: Of<ProcessId>) {
        self.takes.threw(at.now, process);
    }

    /// The broker types into a program; `pastes`: whether that wants pastes, if the broker knows.
    pub fn types(&mut self, bytes: &[u8], pastes: Option<bool>) {
        let judged = typed::judge(&self.ledger, bytes, pastes);
        self.note("S4", judged);
    }

    /// A process has read a whole message.
    pub fn took(&mut self, at: At, process: Of<ProcessId>, token: Token) {
        if let Some(judged) = self.tasks.read(process, token, self.takes.thrown(process)) {
            return self.note("S5", judged);
        }
        let thrown = |since| self.takes.thrown_by(process, since);
        if let Some(judged) = self.results.read(process, self.takes.name_of(process), token, thrown) {
            return self.blame(judged);
        }
        match self.takes.took(&mut self.ledger, process, token) {
            Ok(Some((id, seq))) => {
                let cursor = self.ledger.identities.get(&id).map_or(0, |identity| identity.cursor);
                let judged = self.order.read(at.mono, &id, seq, self.acks.acked(&id).max(cursor));
                self.note("S6", judged);
            }
            Ok(None) => {}
            Err(broken) => self.blame(Err(broken)),
        }
    }

    /// The broker is gone, and with it whoever waits for it.
    pub fn died(&mut self, at: At) {
        self.requests.died(at.life);
        self.published.died(at.life);
        self.invocations.died();
        self.leaves.died();
        self.tasks.died();
        self.truth.died(at.mono);
        self.identity.died();
        self.reconnect.died();
        self.bounds.died();
        self.farewell.died();
        self.health.died();
        self.order.died();
        self.registrations = registrations::Registrations::default();
        self.resent = resent::Resent::default();
        self.troubles = troubles::Troubles::default();
        self.results.died();
        self.scene = Scene::default();
        self.quiet_since = None;
    }

    /// How many whole messages were taken, and how many rows were stored.
    pub fn counts(&self) -> (u64, u64) {
        (self.takes.count(), self.ledger.row_count())
    }
}
