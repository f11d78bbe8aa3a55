//! The broker and its deliveries: from a frame to a terminal to an ack.
//!
//! Owns: which process a frame is for, and frames that come too early.
//! Must not know: how what is given up comes to the disk.

use super::Broker;
use crate::agent::{Agent, Phase, TASK};
use crate::api::{DeliveryFacts, Event};
use crate::command::{Command, Level};
use crate::delivery::payload::{Class, Message, classify, extract, payload_type, recurs};
use crate::delivery::{Frame, Repeat, RowKey, Taken, Wanted};
use crate::ids::{AgentId, AgentName, DeliveryId, MessageId, OpId, ProcessId};
use crate::inject::machine::Outcome;
use crate::inject::text::render;
use crate::inject::{Evidence, Job};
use crate::input::{Fault, TtyState};
use crate::limits;
use crate::link::Request;
use crate::marks::Mark;
use crate::timers::Timer;
use crate::wire::{self, Deliver, Dialect, Inbound, Mode};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Frames that came before the reply that says whose they are, and agents that nobody knows.
#[derive(Default)]
pub(super) struct Early {
    frames: BTreeMap<AgentName, Vec<String>>,
    /// Unknown identities that the engine was told about on this link.
    told: BTreeSet<AgentId>,
}

/// Unknown identities remembered per link.
const TOLD: usize = 1_024;

impl Early {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn take(&mut self, name: &AgentName) -> Vec<String> {
        self.frames.remove(name).unwrap_or_default()
    }

    /// The identity lives here now. Whether the engine was told on this link that it does not.
    pub(super) fn lives(&mut self, agent_id: &AgentId) -> bool {
        self.told.remove(agent_id)
    }
}

impl core::fmt::Debug for Early {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let held: Vec<_> = self.frames.iter().map(|(name, frames)| (name, frames.len())).collect();
        write!(f, "Early({held:?}, {:?})", self.told)
    }
}

/// Whom a frame is for.
enum Recipient {
    Here(AgentId, ProcessId),
    /// An agent of this name waits for its registration.
    Coming(AgentName),
    Nobody,
}

impl Broker {
    pub(super) fn on_deliver(&mut self, deliver: &Deliver<'_>, text: &str) {
        self.cx.stats.frames += 1;
        if let Some(key) = deliver.repaired {
            self.cx.log(Level::Debug, "delivery", &format!("took a frame in although its {key:?} is odd"));
        }
        if canary!(SeqZeroDropped) && deliver.seq == 0 {
            return;
        }
        match self.recipient(deliver) {
            Recipient::Here(agent, process) => self.take_in(&agent, process, deliver),
            Recipient::Coming(name) => self.hold_early(name, text),
            Recipient::Nobody if self.stopping.is_stopping() => {}
            Recipient::Nobody => self.on_unknown_agent(deliver),
        }
    }

    /// An event outside of the sequence came on a link that was given up: for who lives here it counts.
    pub(super) fn on_late_event(&mut self, deliver: &Deliver<'_>) {
        if let Recipient::Here(agent, process) = self.recipient(deliver) {
            self.cx.stats.frames += 1;
            self.take_in(&agent, process, deliver);
        }
    }

    /// The id decides; the name only where the frame has no id.
    fn recipient(&self, deliver: &Deliver<'_>) -> Recipient {
        let name = deliver.identity.name().map(AgentName::from);
        let by_name = || name.as_ref().and_then(|name| self.roster.by_name(name));
        let agent = match deliver.identity.agent_id() {
            Some(_) if canary!(RoutedByName) => by_name().filter(|agent| agent.registered.is_some()),
            Some(id) => self.roster.by_id(&AgentId::from(id)),
            None => by_name().filter(|agent| agent.registered.is_some()),
        };
        if let Some((agent, id)) = agent.and_then(|agent| Some((agent, agent.id()?))) {
            if !self.delivery.has(id) {
                return Recipient::Coming(agent.name().clone());
            }
            return Recipient::Here(id.clone(), agent.process);
        }
        match by_name() {
            Some(agent) if agent.is_spawning() && agent.registered.is_none() => {
                Recipient::Coming(agent.name().clone())
            }
            _ => Recipient::Nobody,
        }
    }

    fn take_in(&mut self, id: &AgentId, process: ProcessId, deliver: &Deliver<'_>) {
        let frame = self.frame(deliver);
        let shown = frame.shown;
        let (delivery_id, event_id) = (frame.delivery_id.clone(), frame.msg_id.clone());
        let Some(taken) = self.delivery.accept(&mut self.cx, id, deliver.seq, frame) else {
            return;
        };
        if shown && matches!(taken, Taken::InOrder | Taken::Held | Taken::Late) {
            self.emit_queued(process, &delivery_id, &event_id);
        }
        // Also what is not shown, or came twice, may have let others go.
        self.pump(process);
    }

    fn emit_queued(&mut self, process: ProcessId, delivery_id: &DeliveryId, event_id: &MessageId) {
        let Some(agent) = self.roster.get(process) else {
            return;
        };
        let at = self.cx.now.wall;
        let facts = DeliveryFacts { name: agent.name(), delivery_id, event_id, at };
        self.events.push(&Event::DeliveryQueued(facts));
    }

    fn frame(&self, deliver: &Deliver<'_>) -> Frame {
        let payload = deliver.payload.map_or("null", |payload| payload.get());
        let kind = payload_type(payload);
        let msg_id = deliver.msg_id.as_deref();
        // A frame without ids is told from others by what it says.
        let delivery_id = deliver.delivery_id.as_deref().map_or_else(
            || format!("{}/{}/{}", msg_id.unwrap_or("?"), deliver.seq, crate::digest::Digest::of(&payload)),
            ToOwned::to_owned,
        );
        Frame {
            msg_id: MessageId(msg_id.map_or_else(|| delivery_id.clone(), ToOwned::to_owned)),
            delivery_id: DeliveryId(delivery_id),
            mode: deliver.mode,
            payload: payload.to_owned(),
            shown: matches!(classify(&kind), Class::Inject(_)),
            recurs: deliver.seq == 0 && recurs(&kind),
            at: self.cx.now,
        }
    }

    fn hold_early(&mut self, name: AgentName, text: &str) {
        self.cx.marks.hit(Mark::EarlyFrame);
        let held = self.early.frames.entry(name).or_default();
        // Beyond the bound the frame stays with the engine, unacked.
        if held.len() < limits::EARLY_FRAMES {
            held.push(text.to_owned());
        }
    }

    /// What was held for a name whose identity is known now. Rows that a replay brings again, in order and
    /// with the older ones, are left to that.
    pub(super) fn release_early(&mut self, name: &AgentName, rows_come_again: bool) {
        for text in self.early.take(name) {
            match wire::decode(&text) {
                Ok(Inbound::Deliver(deliver)) if !(rows_come_again && self.is_row_here(&deliver)) => {
                    self.on_deliver(&deliver, &text);
                }
                _ => {}
            }
        }
    }

    fn is_row_here(&self, deliver: &Deliver<'_>) -> bool {
        deliver.seq > 0 && matches!(self.recipient(deliver), Recipient::Here(..))
    }

    /// Nobody has seen the message, so it is not acked; the engine is told once that the agent is not here.
    fn on_unknown_agent(&mut self, deliver: &Deliver<'_>) {
        self.cx.marks.hit(Mark::UnknownAgent);
        if canary!(MissingWorker) {
            return;
        }
        let Some(id) = deliver.identity.agent_id().map(AgentId::from) else {
            return;
        };
        let name = deliver.identity.name().map(AgentName::from);
        let released = name.as_ref().is_some_and(|name| self.actions.is_releasing(name));
        // Before the registration is confirmed nothing can be said; the engine will send it again.
        let unsayable = !self.link.has_credit() || self.leaving.owes(&id) || released;
        if unsayable || self.early.told.len() >= TOLD || !self.early.told.insert(id.clone()) {
            return;
        }
        let shown = name.clone().unwrap_or_else(|| AgentName(id.0.clone()));
        let message = format!("the engine sends messages for agent {id:?}, which is not on this node");
        self.cx.log(Level::Warn, "delivery", &format!("{message} (called {shown:?}); they stay unacked"));
        self.events.push(&Event::WorkerError { name: &shown, code: "unknown_agent", message: &message });
        let request = Request::Deregister(id.clone());
        self.link
            .request(&mut self.cx, request, |frame| wire::agent_deregister(Some(frame), &id, name.as_ref()));
    }

    pub(super) fn on_gap_timer(&mut self, agent: &AgentId) {
        // Before the registration is confirmed an engine may send live frames, but not yet the older
        // ones: the lowest frame is no base then. Its confirmation arms the timer again.
        if !self.link.is_up() {
            return;
        }
        // Nor may what is missing have come before the first inventory, with which engines bring it.
        let unknown = self.delivery.cursor(agent).is_none();
        if !self.inventory.has_opened() || (unknown && !self.finds_first_row(agent)) {
            self.cx.wake_in(Timer::DeliveryGap(agent.clone()), limits::GAP_WAIT);
            return;
        }
        let wanted = self.delivery.gap_timer(&mut self.cx, agent);
        self.after_wait(agent, wanted);
    }

    /// Whether the lowest row is the first: whatever is older has come. If only an answer can tell, it is
    /// asked for.
    fn finds_first_row(&mut self, agent: &AgentId) -> bool {
        // The older ones may not have come while a snapshot, which brings them, is unanswered, or was
        // accepted only without this agent.
        if !self.inventory.is_settled() || !self.inventory.lists(agent) {
            return false;
        }
        // Engines of 5.x bring all that is open, in order, behind each answer, however late: until the
        // lowest has come again, lower ones may.
        let repeat = match self.link.dialect() {
            Dialect::Legacy => self.delivery.repeat(self.cx.now.mono, agent),
            Dialect::Provider => Repeat::Done,
        };
        if repeat == Repeat::Wanted {
            self.delivery.asked_for_repeat(self.cx.now.mono, agent);
            self.ask_replay();
        }
        repeat == Repeat::Done
    }

    pub(super) fn on_replay_timer(&mut self, agent: &AgentId) {
        let wanted = self.delivery.replay_timer(&mut self.cx, agent);
        self.after_wait(agent, wanted);
    }

    fn after_wait(&mut self, agent: &AgentId, wanted: Wanted) {
        if wanted == Wanted::Replay {
            let cursor = self.delivery.cursor(agent);
            let message = format!(
                "messages are missing for {agent:?} behind its cursor {cursor:?}; asking for a replay"
            );
            self.cx.log(Level::Warn, "delivery", &message);
            self.ask_replay();
        }
        if let Some(process) = self.roster.by_id(agent).map(|agent| agent.process) {
            self.pump(process);
        }
    }

    pub(super) fn send_acks(&mut self) {
        let (cx, link, roster) = (&mut self.cx, &mut self.link, &self.roster);
        while link.has_credit()
            && self.delivery.send_ack(|id, seq| link.ack(cx, roster.by_id(id)?.name(), seq))
        {}
    }

    // The terminal.

    /// Hands an agent its next message, if it can take one.
    pub(super) fn pump(&mut self, process: ProcessId) {
        if self.stopping.is_stopping() {
            return;
        }
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        let ready = agent.injector.as_ref().is_some_and(crate::inject::machine::Injector::is_idle);
        if !ready || agent.phase == Phase::Leaving {
            return;
        }
        let Some((key, message, mode)) = next_message(agent, &mut self.delivery) else {
            return;
        };
        let text = render(&message);
        if key != TASK {
            self.events.push(&relay_inbound(&message, mode, self.link.workspace()));
        }
        let job = Job { key, text, steer: mode == Mode::Steer };
        if let Some(injector) = &mut agent.injector {
            injector.start(&mut self.cx, &agent.terminal.0, job);
        }
    }

    pub(super) fn on_output(&mut self, process: ProcessId, bytes: &[u8]) {
        let Some(agent) = self.roster.get_mut(process) else {
            self.cx.count_stale(true);
            return;
        };
        agent.terminal.0.feed(bytes);
        let replies = agent.terminal.0.take_replies();
        if !replies.is_empty() {
            agent.queue_input(&mut self.cx, None, replies);
        }
        let outcome = match &mut agent.injector {
            Some(injector) => injector.on_output(&mut self.cx, &agent.terminal.0),
            None => Outcome::Nothing,
        };
        if self.events.subscribers() > 0 {
            let chunk = agent.text_of(bytes);
            self.events.push(&Event::WorkerStream { name: agent.name(), stream: "stdout", chunk: &chunk });
        }
        self.on_outcome(process, outcome);
    }

    pub(super) fn on_terminal_timer(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        let Some(injector) = &mut agent.injector else {
            return;
        };
        let outcome = injector.on_timer(&mut self.cx, &agent.terminal.0);
        self.on_outcome(process, outcome);
    }

    pub(super) fn on_written(
        &mut self,
        process: ProcessId,
        op: OpId,
        written: usize,
        fault: Option<&Fault<'_>>,
    ) {
        let Some(agent) = self.roster.get_mut(process) else {
            self.cx.count_stale(true);
            return;
        };
        if let Some((request, written, whole)) = agent.input_written(op, written, fault) {
            if let Some(request) = request {
                self.on_input_written(request, process, written, whole);
            }
            return;
        }
        let (injector, screen) = (agent.injector.as_mut(), &agent.terminal.0);
        match injector.and_then(|injector| injector.on_written(&mut self.cx, screen, op, written, fault)) {
            Some(outcome) => self.on_outcome(process, outcome),
            None => self.cx.count_stale(true),
        }
    }

    pub(super) fn on_state(&mut self, process: ProcessId, op: OpId, state: Option<TtyState>) {
        let agent = self.roster.get_mut(process);
        let outcome = agent.and_then(|agent| {
            let screen = &agent.terminal.0;
            agent.injector.as_mut()?.on_state(&mut self.cx, screen, op, state)
        });
        match outcome {
            Some(outcome) => self.on_outcome(process, outcome),
            None => self.cx.count_stale(true),
        }
    }

    #[expect(clippy::redundant_closure, reason = "a variant's constructor is not general over the lifetime")]
    fn on_outcome(&mut self, process: ProcessId, outcome: Outcome) {
        match outcome {
            Outcome::Nothing => return,
            Outcome::Ready { unrecognised } => self.on_ready(process, unrecognised),
            Outcome::Typed(key) => self.emit_delivery(process, key, |facts| Event::DeliveryInjected(facts)),
            Outcome::Confirmed(key, evidence) => self.on_confirmed_by_agent(process, key, evidence),
            Outcome::ThrownAway(key) => self.on_thrown_away(process, key),
            Outcome::Stuck(key) => self.on_stuck(process, key),
            Outcome::GivenUp(key) => self.bury(process, key, "not_taken"),
        }
        if let Some(agent) = self.roster.get_mut(process) {
            agent.flush_inputs(&mut self.cx);
        }
        self.pump(process);
    }

    fn on_ready(&mut self, process: ProcessId, unrecognised: bool) {
        let Some(agent) = self.roster.get(process) else {
            return;
        };
        let name = agent.name();
        if unrecognised {
            let message =
                format!("{name:?} does not show a screen that we know; typing into it all the same");
            self.cx.log(Level::Warn, "inject", &message);
        }
        self.events.push(&Event::WorkerReady { agent: super::spawning::facts(agent) });
    }

    pub(super) fn emit_delivery(
        &mut self,
        process: ProcessId,
        key: RowKey,
        event: impl Fn(DeliveryFacts<'_>) -> Event<'_>,
    ) {
        let at = self.cx.now.wall;
        let Some(agent) = self.roster.get(process).filter(|_| key != TASK) else {
            return;
        };
        let Some(frame) = agent.id().and_then(|id| self.delivery.frame(id, key)) else {
            return;
        };
        let (name, delivery_id, event_id) = (agent.name(), &frame.delivery_id, &frame.msg_id);
        self.events.push(&event(DeliveryFacts { name, delivery_id, event_id, at }));
    }

    #[expect(clippy::redundant_closure, reason = "a variant's constructor is not general over the lifetime")]
    fn on_confirmed_by_agent(&mut self, process: ProcessId, key: RowKey, evidence: Evidence) {
        let stats = &mut self.cx.stats;
        match evidence {
            Evidence::Screen => stats.confirmed_screen += 1,
            Evidence::Activity => stats.confirmed_activity += 1,
            Evidence::Taken => stats.confirmed_taken += 1,
        }
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        if key == TASK {
            agent.task = None;
            return;
        }
        let verification = evidence.name();
        self.emit_delivery(process, key, |delivery| Event::DeliveryVerified { delivery, verification });
        self.emit_delivery(process, key, |facts| Event::DeliveryAck(facts));
        if let Some(id) = self.roster.get(process).and_then(Agent::id).cloned() {
            self.delivery.settle(&mut self.cx, &id, key);
        }
    }

    fn on_thrown_away(&mut self, process: ProcessId, key: RowKey) {
        self.cx.marks.hit(Mark::InputThrownAway);
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        let name = agent.name().clone();
        self.cx.log(
            Level::Warn,
            "inject",
            &format!("{name:?} threw typed input away; typing it again when it is ready"),
        );
        if key == TASK {
            agent.attempts_at_task += 1;
            if agent.attempts_at_task >= limits::ATTEMPTS {
                agent.task = None;
            }
            return;
        }
        let Some(id) = agent.id().cloned() else { return };
        if self.delivery.put_back(&id, key) >= limits::ATTEMPTS {
            self.bury(process, key, "thrown_away");
        }
    }

    fn on_stuck(&mut self, process: ProcessId, key: RowKey) {
        self.cx.marks.hit(Mark::Unverified);
        self.cx.stats.unverified += 1;
        let Some(agent) = self.roster.get(process) else {
            return;
        };
        let message = "it does not read its terminal; the message stays unacked until it does";
        self.cx.log(Level::Warn, "inject", &format!("{:?}: {message}", agent.name()));
        let name = agent.name().clone();
        self.events.push(&Event::WorkerError { name: &name, code: "unverified", message });
        self.emit_delivery(process, key, |delivery| Event::DeliveryFailed { delivery, reason: "unverified" });
    }
}

/// What is typed next: an agent's first task, then its rows.
fn next_message(agent: &Agent, delivery: &mut crate::delivery::Delivery) -> Option<(RowKey, Message, Mode)> {
    if let Some(task) = &agent.task {
        return Some((TASK, task.clone(), Mode::Wait));
    }
    let (key, frame) = delivery.take_next(agent.id()?)?;
    let message = extract(&frame.payload, &agent.name().0, frame.msg_id.clone());
    Some((key, message, frame.mode))
}

fn relay_inbound<'a>(
    message: &'a Message,
    mode: Mode,
    workspace_id: Option<&'a crate::ids::WorkspaceId>,
) -> Event<'a> {
    Event::RelayInbound {
        event_id: &message.message_id,
        from: &message.from,
        target: message.target.as_str(),
        body: &message.body,
        thread_id: message.thread.as_deref(),
        workspace_id,
        mode: if mode == Mode::Steer { "steer" } else { "wait" },
    }
}

/// Stops a process: politely first.
pub(super) fn terminate(process: ProcessId) -> Command {
    Command::PtySignal { process, signal: crate::command::PtySignal::Terminate }
}
