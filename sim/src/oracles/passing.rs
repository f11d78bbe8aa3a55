//! Passing: what passes between the broker and the world.
//!
//! Owns: which oracles are told of an input, a command, a request and an answer, and in which order.
//! Must not know: what they make of it.
//!
//! 1. What an oracle judges by the state before an input or a command is asked before that state moves on.
//! 2. A frame is read once, for all oracles.

use super::facts::Frame;
use super::invocations::Order;
use super::results::Results;
use super::{At, Oracles, bounds, calm, frames, health, hosting, letters, secrets};
use crate::agents::reader::token_of;
use crate::world::{INSTANCE, Of};
use relay_core::ids::{LinkId, RequestId};
use relay_core::{Command, Input, StoreAction};

impl Oracles {
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
        let registered = frame.data.as_ref().and_then(|data| data.agent_id.as_deref());
        if let Some(id) = registered {
            self.order.registered(id);
        }
        if frame.data.as_ref().is_some_and(|data| data.rebound_agents.is_some()) {
            self.order.answered(at.mono);
        }
        if registered.is_some() || matches!(frame.kind(), "deliver" | "action.invoke") {
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
}
