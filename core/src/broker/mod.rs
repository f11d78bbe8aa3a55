//! The broker: inputs in, commands out.
//!
//! Owns: the areas, and the routing of every input to the area it concerns and of its consequences to
//! the others. The parts of that routing stand in one file per subject: `spawning`, `leaving`, `delivering`,
//! `linking`, `registering`, `recovering`, `census`, `publishing`, `joining`, `serving`, `stopping`.
//! Must not know: names of wire fields, forms of answers.
//!
//! 1. `handle` is called only when the output is drained: every command has one causing input.
//! 2. Timers fire only on [`Input::Tick`], those due in order of their deadlines.
//! 3. What is to be sent is state of the areas; [`Broker::flush`] turns it into frames at the end of
//!    every input, in the order of the opening sequence.

mod census;
mod delivering;
mod joining;
mod leaving;
mod linking;
mod publishing;
mod recovering;
mod registering;
mod serving;
mod spawning;
mod stopping;
mod storing;

use crate::action::Actions;
use crate::agent::Roster;
use crate::agent::inventory::Inventory;
use crate::agent::known::KnownAgents;
use crate::agent::leaving::Leaving;
use crate::api::EventRing;
use crate::command::{Command, Level, Step, StoreAction, StoreFile, Wake};
use crate::config::{Boot, Config};
use crate::cx::Cx;
use crate::delivery::Delivery;
use crate::delivery::dead::DeadLetters;
use crate::digest::Digest;
use crate::input::Input;
use crate::limits;
use crate::link::Link;
use crate::marks::Marks;
use crate::purpose::StoreFor;
use crate::secret::Secret;
use crate::stats::{Held, Stats};
use crate::store::Recovered;
use crate::time::{Clock, Mono, Now, Span};
use crate::timers::Timer;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use census::Census;
use delivering::Early;
pub(crate) use joining::Member;
use joining::Memberships;
use linking::Replays;
use registering::Registrations;
use serving::Requests;
use stopping::Stopping;
use storing::Burials;

/// One broker node: the whole of its decisions. See the crate's documentation for the contract.
#[derive(Debug)]
pub struct Broker {
    cx: Cx,
    clock: Clock,
    started: Now,
    /// When the core was last promised to be woken.
    promised: Option<Mono>,
    version: String,
    persist: bool,
    memberships: Memberships,
    link: Link,
    delivery: Delivery,
    dead: DeadLetters,
    burials: Burials,
    early: Early,
    roster: Roster,
    registrations: Registrations,
    known_agents: KnownAgents,
    leaving: Leaving,
    inventory: Inventory,
    census: Census,
    replays: Replays,
    actions: Actions,
    events: EventRing,
    requests: Requests,
    /// Why the last store operation failed; empty when it did not.
    store_fault: String,
    /// The journal lacks a record that could not be written.
    journal_behind: bool,
    stopping: Stopping,
    paused: bool,
    agents_changed: bool,
}

impl Broker {
    /// Builds a broker and queues its first commands.
    ///
    /// `boot` must hold what an earlier life of the same state directory has stored; what it cannot
    /// read of it is logged and left out.
    pub fn new(config: Config, boot: Boot) -> Self {
        let mut cx = Cx::new(boot.now, boot.seed);
        let recovered = Recovered::read(&boot.journal, boot.now.wall);
        if recovered.unreadable > 0 {
            let message =
                format!("{} lines of the journal cannot be read and were left out", recovered.unreadable);
            cx.log(Level::Warn, "store", &message);
        }
        let compact = recovered.compact();
        if compact != boot.journal
            && let Some(content) = Secret::new(&compact)
        {
            cx.store(StoreFor::Journal, StoreAction::Replace { file: StoreFile::Journal, content });
        }
        let link = Link::new(&mut cx, &config, &boot);
        if !config.persist {
            cx.wake_in(Timer::Lease, limits::LEASE);
        }
        let mut dead = DeadLetters::default();
        recovered.dead.into_iter().for_each(|letter| dead.push(letter));
        Self {
            cx,
            clock: Clock::new(boot.now),
            started: boot.now,
            promised: None,
            version: config.version,
            persist: config.persist,
            memberships: Memberships::new(config.channels),
            link,
            delivery: Delivery::default(),
            dead,
            burials: Burials::default(),
            early: Early::default(),
            roster: Roster::default(),
            registrations: Registrations::default(),
            known_agents: recovered.agents,
            leaving: Leaving::new(recovered.owed),
            inventory: Inventory::default(),
            census: Census::default(),
            replays: Replays::default(),
            actions: Actions::new(recovered.invocations),
            events: EventRing::default(),
            requests: Requests::default(),
            store_fault: String::new(),
            journal_behind: false,
            stopping: Stopping::default(),
            paused: false,
            agents_changed: false,
        }
    }

    /// Takes one input. Infallible: a peer's mistake becomes an output or a state.
    ///
    /// # Panics
    /// When the output of the previous input has not been drained.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        assert!(self.cx.out.is_empty(), "poll until Wait before the next input");
        let before = self.cx.now.mono;
        let expected = self.promised.unwrap_or(before).max(before);
        (self.cx.now, _) = self.clock.observe(now);
        self.cx.stats.inputs += 1;
        let jumped = self.promised.is_some() && self.cx.now.mono.since(expected) > limits::CLOCK_JUMP;
        // A link whose end is told is not probed; every other input meets the new deadlines.
        let is_end = matches!(input, Input::LinkDown { .. });
        if jumped {
            self.put_off(self.cx.now.mono.since(before));
        }
        if jumped && !is_end {
            self.on_jump();
        }
        self.route(input);
        if jumped && is_end {
            self.on_jump();
        }
        self.flush();
    }

    /// The next thing to do. Call until it says [`Step::Wait`].
    pub fn poll(&mut self) -> Step {
        if let Some(command) = self.cx.out.pop_front() {
            if matches!(command, Command::Exit { .. }) {
                // What else was due at the same moment comes too late.
                self.cx.out.clear();
            }
            return Step::Do(command);
        }
        let next = self.cx.timers.next();
        let wake = Wake { at: next.map(|(at, _)| at), why: next.map_or("", |(_, timer)| timer.why()) };
        self.promised = wake.at;
        Step::Wait(wake)
    }

    /// Counters since start.
    pub const fn stats(&self) -> &Stats {
        &self.cx.stats
    }

    /// What is held just now.
    pub fn held(&self) -> Held {
        Held { requests: self.requests.waiting.len(), ..self.cx.held() }
    }

    /// How often each rare branch was taken.
    pub const fn marks(&self) -> &Marks {
        &self.cx.marks
    }

    /// A hash over the whole state.
    pub fn digest(&self) -> Digest {
        Digest::of(self)
    }

    fn route(&mut self, input: Input<'_>) {
        match input {
            Input::Tick => self.tick(),
            Input::LinkUp { link } => self.link.on_up(&mut self.cx, link),
            Input::LinkRefused { link, why } => {
                let event = self.link.on_refused(&mut self.cx, link, why);
                self.on_link_event(event);
            }
            Input::LinkText { link, text } => self.on_text(link, text),
            Input::LinkBinary { link, .. } | Input::LinkPong { link } => {
                if self.link.is_current(link) {
                    self.link.on_frame(&self.cx);
                }
            }
            Input::LinkDrained { link, bytes } => self.link.on_drained(link, bytes),
            Input::LinkDown { link, why } => {
                let event = self.link.on_down(&mut self.cx, link, why);
                self.on_link_event(event);
            }
            Input::CallDone { call, result } => self.on_call(call, result),
            Input::Spawned { process, result } => self.on_spawned(process, result),
            Input::PtyOutput { process, bytes } => self.on_output(process, bytes),
            Input::PtyWritten { process, op, written, fault } => {
                self.on_written(process, op, written, fault.as_ref());
            }
            Input::PtyState { process, op, state } => self.on_state(process, op, state),
            Input::PtyEof { process } => self.on_eof(process),
            Input::PtyExited { process, status } => self.on_exited(process, status),
            Input::Api { request, auth, method, target, upgrade, body } => {
                self.on_api(request, auth, method, target, upgrade, body);
            }
            Input::ApiGone { request } => self.on_api_gone(request),
            Input::StreamDrained { subscriber, bytes } => self.events.drained(subscriber, bytes),
            Input::StreamGone { subscriber } => self.events.gone(subscriber),
            Input::Stored { store, result } => self.on_stored(store, result),
            Input::Terminate => self.terminate(),
        }
    }

    /// The machine slept through the promised wake, perhaps for all of the time since the input before, which is
    /// `slept`: no program ran then and no row was on its way, so what waits for these has so much longer.
    fn put_off(&mut self, slept: Span) {
        let later = |at: Mono| at.after(slept);
        self.cx.timers.put_off(later);
        for injector in self.roster.iter_mut().filter_map(|agent| agent.injector.as_mut()) {
            injector.put_off(later);
        }
        self.delivery.put_off(later);
    }

    fn on_jump(&mut self) {
        self.link.on_jump(&mut self.cx);
        self.inventory.refresh();
        self.promised = None;
    }

    fn tick(&mut self) {
        while let Some(timer) = self.cx.timers.pop_due(self.cx.now.mono) {
            self.fire(timer);
        }
    }

    fn fire(&mut self, timer: Timer) {
        let cx = &mut self.cx;
        match timer {
            Timer::LinkRetry | Timer::DisabledProbe => self.link.on_retry(cx),
            Timer::LinkDeadline => {
                let event = self.link.on_deadline(cx);
                self.on_link_event(event);
            }
            Timer::Heartbeat => self.link.heartbeat(cx),
            Timer::Liveness => {
                let event = self.link.on_liveness(cx, self.paused);
                self.on_link_event(event);
            }
            Timer::LinkSettled => self.link.on_settled(),
            Timer::InventoryRefresh => self.inventory.refresh(),
            Timer::InventoryWait => self.inventory.waited(),
            Timer::ReplayCheck => self.check_replay(),
            Timer::DeliveryGap(agent) => self.on_gap_timer(&agent),
            Timer::DeliveryReplay(agent) => self.on_replay_timer(&agent),
            Timer::AgentRegister(process) => self.on_register_timeout(process),
            Timer::AgentRetry(_) => self.registrations.due = true,
            Timer::AgentProof(process) => self.on_proof(process),
            Timer::AgentKill(process) => self.on_kill_timer(process),
            Timer::Terminal(process) => self.on_terminal_timer(process),
            Timer::Request(request) => self.on_request_timeout(request),
            Timer::Rewrite => self.rewrite(),
            Timer::Join => self.join_channels(),
            Timer::Store(store) => self.on_store_timeout(store),
            Timer::Shutdown => self.on_shutdown_timer(),
            Timer::Lease => self.on_lease(),
        }
    }

    /// Turns what is due into commands (invariant 3).
    fn flush(&mut self) {
        self.flush_link();
        self.compact_journal();
        self.flush_stopping();
        self.flush_events();
    }

    fn flush_link(&mut self) {
        if self.agents_changed {
            self.agents_changed = false;
            let running = self.roster.running();
            self.link.set_active_agents(&mut self.cx, running);
        }
        let pause = self.delivery.bytes() > limits::WINDOWS_BYTES / if self.paused { 2 } else { 1 };
        if self.link.is_up() {
            self.flush_leaving();
            self.send_registrations();
            self.send_results();
            // Of those whose release is answered now the engine is told, and others may have their names.
            self.flush_leaving();
            self.send_registrations();
            self.send_inventory();
            self.send_acks();
            self.pause_link(pause);
        }
    }

    /// Events for those who follow.
    fn flush_events(&mut self) {
        if self.events.subscribers() == 0 {
            return;
        }
        let mut texts = Vec::new();
        self.events.pump(&mut texts);
        for (subscriber, text) in texts {
            self.cx.push(Command::StreamSend { subscriber, text });
        }
    }
}
