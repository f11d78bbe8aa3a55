//! The broker and its link: frames in, the opening sequence out.
//!
//! Owns: routing of frames and replies, inventory snapshots, and requests for a replay.

use super::Broker;
use crate::action::{Came, RELEASE};
use crate::agent::{Agent, Origin, Phase};
use crate::api;
use crate::command::{Command, Level};
use crate::ids::{AgentId, AgentName, CallId, FrameId, InvocationId, LinkId};
use crate::input::{CallReply, Fault};
use crate::limits;
use crate::link::answer::Refused;
use crate::link::{Answered, LinkEvent, ReplyTo, Request};
use crate::purpose::CallFor;
use crate::secret::mask;
use crate::store::Record;
use crate::time::{Mono, Span};
use crate::timers::Timer;
use crate::wire::{self, Dialect, ErrorFrame, Inbound, InventoryAgent, Invoke, Reply};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

/// What is known about the engine's replays.
#[derive(Debug, Default)]
pub(super) struct Replays {
    /// A snapshot that asks for a replay waits for its reply.
    asked: bool,
    /// The round that began with that reply, or with the first one of the link.
    round: u64,
    /// A snapshot was answered on this link: what it brings without being asked follows.
    answered: bool,
    /// The engine has shown that a snapshot does not make it replay.
    silent_on_inventory: bool,
    /// A reconnect for the sake of a replay has to wait.
    reconnect_due: bool,
    /// No reconnect for the sake of a replay before this, whoever needs one.
    reconnect_after: Mono,
    reconnect_interval: Span,
}

impl Broker {
    pub(super) fn on_text(&mut self, link: LinkId, text: &str) {
        if !self.link.is_current(link) {
            return self.on_late_text(link, text);
        }
        self.link.on_frame(&self.cx);
        match wire::decode(text) {
            Ok(Inbound::Deliver(deliver)) => self.on_deliver(&deliver, text),
            Ok(Inbound::Invoke(invoke)) => self.on_invoke(&invoke, Came::Here),
            Ok(Inbound::Reply(reply)) => self.on_reply(&reply),
            Ok(Inbound::Error(error)) => self.on_error(&error),
            Ok(Inbound::Ping | Inbound::ContextUpdate) => {}
            Ok(Inbound::Unknown { kind }) => {
                let message = format!("left out a frame of unknown type {:?}", mask(&kind));
                self.cx.log(Level::Debug, "link", &message);
            }
            Err(undecodable) => {
                self.cx.stats.undecodable += 1;
                self.cx.log(Level::Warn, "link", &format!("left out a frame: {undecodable}"));
            }
        }
    }

    /// What the engine sent before it heard that its link is given up. Rows and most invocations come again
    /// on the next one; what is outside of the sequence never does, nor may a release.
    fn on_late_text(&mut self, link: LinkId, text: &str) {
        if !self.link.is_given_up(link) {
            return self.cx.count_stale(true);
        }
        match wire::decode(text) {
            Ok(Inbound::Deliver(deliver)) if deliver.seq == 0 => self.on_late_event(&deliver),
            Ok(Inbound::Invoke(invoke)) if invoke.action == RELEASE && !self.knows(&invoke) => {
                self.on_invoke(&invoke, Came::Late);
            }
            _ => self.cx.count_stale(true),
        }
    }

    fn knows(&self, invoke: &Invoke<'_>) -> bool {
        self.actions.knows(&InvocationId::from(&*invoke.invocation_id))
    }

    pub(super) fn on_link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Nothing => {}
            LinkEvent::Confirmed => self.on_confirmed(),
            LinkEvent::Lost => self.on_lost(),
            LinkEvent::Closed => self.on_link_closed(),
            LinkEvent::Fatal(why) => {
                self.cx.log(Level::Error, "link", &why);
                self.exit(1);
            }
        }
    }

    /// The opening sequence: all of it is state that [`Broker::flush`] sends in its order.
    fn on_confirmed(&mut self) {
        self.delivery.begin_link();
        self.delivery.begin_round(&mut self.cx);
        self.inventory.opened(&mut self.cx);
        (self.replays.asked, self.replays.reconnect_due) = (false, false);
        self.replays.answered = false;
        self.registrations.due = true;
        self.agents_changed = true;
        self.paused = false;
        self.emit_connection();
        self.join_channels();
        // The heartbeat comes behind what was owed: whatever the engine does on it finds that done.
        self.flush_link();
        self.link.heartbeat(&mut self.cx);
    }

    fn on_lost(&mut self) {
        self.actions.link_lost();
        self.leaving.link_lost();
        self.forget_registrations_sent();
        self.early.clear();
        for timer in [Timer::InventoryRefresh, Timer::InventoryWait, Timer::ReplayCheck] {
            self.cx.timers.clear(&timer);
        }
        self.emit_connection();
    }

    fn emit_connection(&mut self) {
        let reason = self.link.reason().to_string();
        let state = self.delivery_state();
        self.events.push(&api::Event::NodeConnection {
            state,
            reason: Some(reason.as_str()).filter(|r| !r.is_empty()),
        });
    }

    /// The state of the link in one stable word.
    pub(super) fn delivery_state(&self) -> &'static str {
        if self.link.is_up() {
            "ok"
        } else if self.link.is_disabled() {
            "delivery_disabled"
        } else if self.link.was_up() {
            "reconnecting"
        } else {
            "connecting"
        }
    }

    fn on_reply(&mut self, reply: &Reply<'_>) {
        match self.link.on_reply(&mut self.cx, reply) {
            ReplyTo::Link(event) => self.on_link_event(event),
            ReplyTo::Request(request, answered) => {
                self.on_answered(answered);
                match request {
                    Request::Agent(process) => self.on_agent_reply(process, reply),
                    Request::Inventory(number) => self.on_inventory_reply(number, reply),
                    Request::Register | Request::Deregister(_) => {}
                }
            }
            ReplyTo::Nobody => self.on_foreign_reply(reply),
        }
    }

    fn on_error(&mut self, error: &ErrorFrame<'_>) {
        let told = mask(&format!("{}: {}", error.code, error.message));
        match self.link.on_error(&mut self.cx, error) {
            ReplyTo::Link(event) => self.on_link_event(event),
            ReplyTo::Request(request, answered) => {
                self.on_answered(answered);
                match request {
                    Request::Agent(process) => self.on_agent_error(process, error),
                    Request::Inventory(number) => self.on_inventory_error(number, error),
                    Request::Register | Request::Deregister(_) => {
                        self.cx.log(Level::Debug, "link", &format!("the engine refused a request: {told}"));
                    }
                }
            }
            ReplyTo::Nobody => {
                self.cx.log(Level::Warn, "link", &format!("the engine refused a frame: {told}"));
            }
        }
    }

    /// Any answer proves what was sent before its request.
    fn on_answered(&mut self, answered: Answered) {
        self.actions.on_answer(&mut self.cx, answered);
        self.delivery.on_answer(answered);
        for agent_id in self.leaving.on_answer(answered) {
            self.journal(&Record::Paid { agent_id });
        }
    }

    /// Results, and among them the first inventory of the link.
    pub(super) fn send_results(&mut self) {
        let roster = &self.roster;
        let is_listed = |id: &InvocationId| {
            roster.iter().any(|agent| entry(agent).and_then(|entry| entry.invocation_id) == Some(id))
        };
        let opened = self.inventory.has_opened() || self.stopping.is_stopping();
        let is_wanted = |name: &AgentName| {
            roster.by_name(name).is_some_and(|agent| matches!(agent.phase, Phase::Registering { .. }))
        };
        self.actions.flush(&mut self.cx, &mut self.link, opened, is_listed, is_wanted);
        if !opened {
            self.send_inventory();
            if self.inventory.has_opened() {
                self.actions.flush(&mut self.cx, &mut self.link, true, |_| false, |_| false);
            }
        }
    }

    // The inventory.

    pub(super) fn send_inventory(&mut self) {
        // What is left to the next life is under way for ever: rescheduled now it would come here again.
        if self.stopping.is_stopping() && self.inventory.has_opened() {
            return;
        }
        let quiet_from = || {
            let mut phases = self.roster.iter().map(|agent| &agent.phase);
            // It has a deadline of its own.
            let registering = phases.any(|phase| matches!(phase, Phase::Registering { sent: true, .. }));
            if registering { Mono(u64::MAX) } else { self.actions.quiet_from() }
        };
        if !self.inventory.is_due(&mut self.cx, quiet_from) || !self.link.has_credit() {
            return;
        }
        let listed: Vec<&Agent> = self
            .roster
            .iter()
            .filter(|agent| matches!(agent.phase, Phase::Starting | Phase::Proving | Phase::Running))
            .filter(|agent| agent.id().is_some_and(|id| self.inventory.lists(id)))
            .filter(|agent| match agent.origin {
                Origin::Api(_) => !canary!(InventoryOmitsApi),
                Origin::Invocation(_) => !canary!(InventoryOmitsInvoked),
            })
            .collect();
        let entries: Vec<InventoryAgent<'_>> = listed.iter().filter_map(|agent| entry(agent)).collect();
        if canary!(EmptyNotSent) && entries.is_empty() {
            return;
        }
        let ids = entries.iter().map(|entry| entry.agent_id.clone()).collect();
        let build = |id: &FrameId| wire::inventory_sync(id, &entries);
        let request = Request::Inventory(self.inventory.next());
        if self.link.request(&mut self.cx, request, build).is_some() {
            self.inventory.sent(&mut self.cx, ids);
        }
    }

    fn on_inventory_reply(&mut self, number: u64, reply: &Reply<'_>) {
        self.delivery.begin_round(&mut self.cx);
        let data = wire::Object::parse(reply.data.get());
        let count = |key| data.as_ref().and_then(|data| data.whole(key));
        let passed_over = count("rejected_agents").unwrap_or(0);
        if passed_over > self.inventory.passed_over() {
            let message = format!(
                "the engine passes over {passed_over} agents of the inventory: another node has them, and \
                 their messages; this broker lists them again every {} s",
                limits::INVENTORY_REFRESH.as_secs()
            );
            self.cx.log(Level::Error, "agent", &message);
        }
        if let Some(id) = self.inventory.accepted(&mut self.cx, number, passed_over) {
            self.report_excluded(&id, "the engine accepts the inventory only without it");
        }
        if self.inventory.is_latest(number) {
            let known = count("rebound_agents").map_or(u64::MAX, |known| known.saturating_add(passed_over));
            self.take_census((self.inventory.listed().len() as u64).saturating_sub(known));
        }
        let opens = !core::mem::replace(&mut self.replays.answered, true);
        if core::mem::take(&mut self.replays.asked) || opens {
            // Another answer may come before what this one brings has come.
            self.replays.round = self.delivery.round();
            self.cx.wake_in(Timer::ReplayCheck, limits::GAP_WAIT);
        }
    }

    fn on_inventory_error(&mut self, number: u64, error: &ErrorFrame<'_>) {
        let told = mask(&format!("{}: {}", error.code, error.message));
        self.cx.log(Level::Warn, "agent", &format!("the engine refused the inventory: {told}"));
        let roster = &self.roster;
        let name_of = |id: &AgentId| roster.by_id(id).map(|agent| agent.name().clone());
        if let Some(id) =
            self.inventory.rejected(&mut self.cx, number, (&error.code, &error.message), name_of)
        {
            self.report_excluded(&id, &told);
        }
    }

    fn report_excluded(&mut self, id: &AgentId, why: &str) {
        let Some(agent) = self.roster.by_id(id) else {
            return;
        };
        let name = agent.name().clone();
        self.events.push(&api::Event::WorkerError { name: &name, code: "inventory_refused", message: why });
        self.cx.log(Level::Error, "agent", &format!("{name:?} is left out of the inventory: {why}"));
    }

    // Replays.

    pub(super) fn ask_replay(&mut self) {
        if self.replays.silent_on_inventory && self.link.dialect() == Dialect::Provider {
            self.reconnect_for_replay();
        } else {
            self.replays.asked = true;
            self.inventory.refresh();
        }
    }

    /// The reply to the snapshot was given time to be followed by a replay.
    pub(super) fn check_replay(&mut self) {
        if self.replays.answered && !self.delivery.has_link_brought() {
            self.delivery.link_has_brought(&mut self.cx);
        } else if self.link.dialect() == Dialect::Provider
            && self.delivery.round_was_silent(self.replays.round)
        {
            self.replays.silent_on_inventory = true;
            self.replays.reconnect_due = true;
        } else if self.link.dialect() == Dialect::Legacy {
            self.delivery.round_has_brought(&mut self.cx, self.replays.round);
        }
        if core::mem::take(&mut self.replays.reconnect_due) && self.delivery.wants_replay() {
            self.reconnect_for_replay();
        }
    }

    /// A new link makes every engine replay; but it also reschedules what is open here.
    fn reconnect_for_replay(&mut self) {
        let now = self.cx.now.mono;
        if self.actions.any_open() || now < self.replays.reconnect_after {
            self.replays.reconnect_due = true;
            self.cx.wake_in(Timer::ReplayCheck, limits::GAP_WAIT);
            return;
        }
        let interval = self.replays.reconnect_interval.max(limits::REPLAY_FIRST);
        self.replays.reconnect_after = now.after(interval);
        self.replays.reconnect_interval = interval.doubled(limits::REPLAY_MAX);
        let event =
            self.link.reconnect(&mut self.cx, "messages are missing and only a new connection brings them");
        self.on_link_event(event);
    }

    // Calls and stores.

    pub(super) fn on_call(&mut self, call: CallId, result: Result<CallReply<'_>, Fault<'_>>) {
        let Some(purpose) = self.cx.call_done(call) else {
            return;
        };
        let reply = result.map_err(|fault| Refused::by_fault(&fault));
        match purpose {
            CallFor::Workspace | CallFor::OwnAgent | CallFor::Mint => {
                let event = self.link.on_call(&mut self.cx, &purpose, reply);
                self.on_link_event(event);
            }
            CallFor::OwnToken => self.on_own_token(reply),
            CallFor::Channel { member, channel } => self.on_channel_call(member, &channel, reply),
            CallFor::Publish(request) => self.on_published(request, reply),
            CallFor::LookUp(process) => self.on_looked_up(process, reply),
            CallFor::Census(listed) => self.on_census(listed, reply),
            CallFor::RegisterOverHttp { process, name } => {
                self.on_registered_over_http(process, name, reply);
            }
            CallFor::Bind(process) => self.on_bound(process, reply),
        }
    }

    pub(super) fn pause_link(&mut self, pause: bool) {
        if pause == self.paused {
            return;
        }
        if let Some(session) = self.link.up() {
            self.paused = pause;
            let link = session.link();
            self.cx.push(Command::LinkPause { link, paused: pause });
        }
    }
}

/// An agent as the engine is told of it. Its invocation is named only now that it runs.
fn entry(agent: &Agent) -> Option<InventoryAgent<'_>> {
    let invocation_id = match &agent.origin {
        Origin::Invocation(id) if agent.phase == Phase::Running => Some(id),
        _ => None,
    };
    let session_ref = agent.order.session_ref.as_deref();
    Some(InventoryAgent { agent_id: agent.id()?, name: agent.name(), invocation_id, session_ref })
}
