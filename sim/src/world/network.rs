//! The network: links between the broker and the engine.
//!
//! Owns: which link is which of the engine's connections, delays, order, and what gets lost.
//! Must not know: what frames say.
//!
//! 1. Each direction of a link keeps its order, as TCP does.
//! 2. A link ends once, for each side by itself; what was under way to the other side may be lost.

use super::World;
use super::calls::TROUBLE;
use super::disk::FOREIGN_TOKEN;
use super::event::{Completion, Event, Of};
use super::marks::FaultMark;
use crate::engine::{ConnectionId, Event as EngineEvent, OVERLOADED, Output};
use crate::plan::{Fault, Plan, SECOND, Step};
use crate::rng::Stream;
use crate::story::Fact;
use relay_core::ids::LinkId;
use relay_core::time::Mono;
use relay_core::{FaultKind, Secret};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// A frame and its answer are through within this time, in µs: more than twice the longest way that is drawn.
const ANSWERED: u64 = SECOND;
/// Longest that a held frame waits, on its way up and down.
const HOLD: u64 = 160 * SECOND;
const HOLD_DOWN: u64 = 40 * SECOND;
/// Longest that a live frame of the engine waits to be overtaken.
const OVERTAKEN: u64 = SECOND;
/// Frames remembered per agent, to be sent again.
const REMEMBERED: usize = 2_000;

/// One link, as the broker sees it.
#[derive(Debug, Default)]
struct Wire {
    connection: Option<ConnectionId>,
    /// The broker knows that it is open.
    open: bool,
    /// When the latest text arrives, per direction.
    up_at: u64,
    down_at: u64,
    /// When the latest text that a fault held arrives, in either direction.
    held_until: u64,
    /// Nothing passes until it breaks.
    silent: bool,
    /// Nothing reaches the engine until it breaks, although pings are answered.
    deaf: bool,
    paused: bool,
    waiting: VecDeque<Completion>,
    closing: bool,
}

#[derive(Debug, Default)]
pub(super) struct Network {
    wires: BTreeMap<Of<LinkId>, Wire>,
    connections: BTreeMap<ConnectionId, Of<LinkId>>,
    /// The plan sends frames again.
    remembers: bool,
    /// Frames of rows as they were last sent: per agent, by sequence.
    rows: BTreeMap<String, BTreeMap<u64, String>>,
    /// The broker's node, and the latest invocation that was sent to it.
    pub(super) node_id: Option<String>,
    pub(super) invocation: Option<String>,
    /// A row was lost on a link that lives on.
    pub(super) has_lost: bool,
}

impl Network {
    /// The network of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        let replays = |step: &(u64, Step)| matches!(step.1, Step::Fault(Fault::Replay { .. }));
        Self { remembers: plan.steps.iter().any(replays), ..Self::default() }
    }
}

/// Whose row a frame is.
#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow)]
    agent_id: Cow<'a, str>,
    seq: u64,
}

impl World<'_> {
    pub(super) fn network_delay(&mut self) -> u64 {
        let key = self.key();
        self.rng.skewed(Stream::Network, key, 1, self.plan.network)
    }

    // Links, from the broker's side.

    pub(super) fn open_link(&mut self, link: Of<LinkId>, url: &str, token: &Secret, deadline: Mono) {
        if token.expose() == FOREIGN_TOKEN {
            self.oracles.foreign_token();
        }
        let mut after = self.network_delay();
        if self.now < self.faults.slow_handshake {
            let key = self.key();
            after += self.rng.between(Stream::Fault, key, SECOND / 2, 12 * SECOND);
            self.mark(FaultMark::HandshakeSlow);
        }
        let deadline = self.virtual_time(deadline);
        let refused = self.refusal().or_else(|| {
            let late = self.now + after >= deadline;
            after = after.min(deadline - self.now);
            late.then_some(Err(FaultKind::Deadline))
        });
        let at = self.now + after;
        if let Some(why) = refused {
            let refused = Completion::LinkRefused(link.1, why);
            return self.heap.put(at, Event::Input(link.0, refused));
        }
        self.network.wires.insert(link, Wire::default());
        let path = url.split_once("://").map_or("", |(_, rest)| rest);
        let path = path.find('/').map_or("/", |at| &path[at..]).to_owned();
        self.heap.put(at, Event::Upgrade(link, path, token.expose().to_owned()));
    }

    /// Why a link is not opened, whoever asks.
    fn refusal(&mut self) -> Option<Result<u16, FaultKind>> {
        let (mark, why) = if self.now < self.faults.refuse {
            (FaultMark::ConnectionRefused, Err(FaultKind::Broken))
        } else if self.now < self.faults.unauthorized {
            (FaultMark::UpgradeUnauthorized, Ok(401))
        } else if self.now < self.faults.unavailable {
            let key = self.key();
            (
                FaultMark::UpgradeUnavailable,
                Ok(TROUBLE[self.rng.word(Stream::Fault, key) as usize % TROUBLE.len()]),
            )
        } else {
            return None;
        };
        self.mark(mark);
        Some(why)
    }

    pub(super) fn on_upgrade(&mut self, link: Of<LinkId>, path: &str, token: &str) {
        if !self.network.wires.contains_key(&link) {
            return;
        }
        let now = self.now_ms();
        self.engine.read_behind(self.faults.behind(self.now));
        let upgraded = self.engine.upgrade(now, path, Some(token));
        self.engine.read_behind(0);
        match upgraded {
            Ok(connection) => {
                if let Some(wire) = self.network.wires.get_mut(&link) {
                    wire.connection = Some(connection);
                }
                self.network.connections.insert(connection, link);
                self.send_down(link, Completion::LinkUp(link.1));
            }
            Err(status) => {
                self.network.wires.remove(&link);
                let at = self.now + self.network_delay();
                let refused = Completion::LinkRefused(link.1, Ok(status));
                self.heap.put(at, Event::Input(link.0, refused));
            }
        }
        self.pump_engine();
    }

    pub(super) fn send_up(&mut self, link: Of<LinkId>, text: String) {
        let delay = self.network_delay();
        let drained = self.now + self.system_delay();
        let hold = if self.now < self.faults.hold {
            let key = self.key();
            self.rng.skewed(Stream::Fault, key, 1, HOLD)
        } else {
            0
        };
        let Some(wire) = self.network.wires.get_mut(&link).filter(|wire| !wire.closing) else {
            return;
        };
        let bytes = text.len();
        if wire.deaf {
            self.fault_marks.hit(FaultMark::HalfDead);
        }
        self.heap.put(drained, Event::Down(link, Completion::LinkDrained(link.1, bytes)));
        if wire.silent {
            self.fault_marks.hit(FaultMark::FrameSwallowed);
        }
        if let Some(connection) = wire.connection.filter(|_| !wire.silent && !wire.deaf) {
            if hold > 0 {
                self.fault_marks.hit(FaultMark::HeldUp);
            }
            wire.up_at = wire.up_at.max(self.now + delay + hold);
            if hold > 0 {
                wire.held_until = wire.held_until.max(wire.up_at);
            }
            self.heap.put(wire.up_at, Event::Up(connection, text));
        }
    }

    pub(super) fn ping(&mut self, link: Of<LinkId>) {
        self.send_down(link, Completion::LinkPong(link.1));
    }

    pub(super) fn pause_link(&mut self, link: Of<LinkId>, paused: bool) {
        let Some(wire) = self.network.wires.get_mut(&link) else {
            return;
        };
        wire.paused = paused;
        if !paused {
            let waiting = std::mem::take(&mut wire.waiting);
            for completion in waiting {
                self.heap.put(self.now, Event::Down(link, completion));
            }
        }
    }

    pub(super) fn close_link(&mut self, link: Of<LinkId>, deadline: Mono) {
        let latest = self.virtual_time(deadline);
        let (there, back) = (self.network_delay(), self.network_delay());
        // Drivers read on to the answer of the close.
        self.pause_link(link, false);
        let Some(wire) = self.network.wires.get_mut(&link) else {
            return;
        };
        if std::mem::replace(&mut wire.closing, true) {
            return;
        }
        let closed = wire.up_at.max(self.now + there);
        match wire.connection {
            Some(connection) => {
                let ended = if wire.silent { latest } else { (closed + back).min(latest) };
                if !wire.silent {
                    self.heap.put(closed, Event::UpClosed(connection));
                }
                self.heap.put(ended, Event::Ended(link, "closed".into()));
            }
            None => {
                self.network.wires.remove(&link);
                let refused = Completion::LinkRefused(link.1, Err(FaultKind::Broken));
                self.heap.put(self.now + 1, Event::Input(link.0, refused));
            }
        }
    }

    // Links, towards the broker.

    /// Sends something down a link, in order.
    pub(super) fn send_down(&mut self, link: Of<LinkId>, completion: Completion) {
        let mut delay = self.network_delay();
        let held = self.now < self.faults.hold_down && matches!(completion, Completion::LinkText(..));
        if held {
            let key = self.key();
            delay += self.rng.skewed(Stream::Fault, key, 1, HOLD_DOWN);
            self.mark(FaultMark::HeldDown);
        }
        let Some(wire) = self.network.wires.get_mut(&link).filter(|wire| !wire.silent) else {
            return;
        };
        wire.down_at = wire.down_at.max(self.now + delay);
        if held {
            wire.held_until = wire.held_until.max(wire.down_at);
        }
        self.heap.put(wire.down_at, Event::Down(link, completion));
    }

    pub(super) fn arrive(&mut self, link: Of<LinkId>, completion: Completion) {
        let Some(wire) = self.network.wires.get_mut(&link) else {
            return;
        };
        wire.open |= matches!(completion, Completion::LinkUp(_));
        let from_engine = matches!(completion, Completion::LinkText(..));
        if from_engine && wire.paused {
            wire.waiting.push_back(completion);
            return;
        }
        self.feed(link.0, &completion);
    }

    pub(super) fn on_ended(&mut self, link: Of<LinkId>, why: String) {
        let Some(wire) = self.network.wires.remove(&link) else {
            return;
        };
        if let Some(connection) = wire.connection {
            self.network.connections.remove(&connection);
        }
        let ended = if wire.open {
            Completion::LinkDown(link.1, why)
        } else {
            Completion::LinkRefused(link.1, Err(FaultKind::Broken))
        };
        self.feed(link.0, &ended);
    }

    /// Every open link breaks.
    pub(super) fn cut_all(&mut self) {
        self.cut(|_| true);
    }

    /// The engine forgets its connections and nothing else; links break.
    pub(super) fn restart_engine(&mut self) {
        if !self.network.connections.is_empty() {
            self.mark(FaultMark::EngineRestarted);
        }
        self.engine.restart(self.now_ms());
        self.pump_engine();
        self.cut_all();
    }

    /// Links that are silent break.
    pub(super) fn cut_silent(&mut self) {
        self.cut(|wire| wire.silent || wire.deaf);
    }

    /// Whether frames are still held on a link that is open, or what answers them is under way.
    pub(super) fn holds_frames(&self) -> bool {
        let answered = self.now.saturating_sub(ANSWERED);
        let held = |wire: &Wire| wire.connection.is_some() && !wire.closing && wire.held_until > answered;
        self.network.wires.values().any(held)
    }

    fn cut(&mut self, which: impl Fn(&Wire) -> bool) {
        let doomed: Vec<_> = self
            .network
            .wires
            .iter()
            .filter(|(_, wire)| which(wire))
            .filter_map(|(link, wire)| Some((*link, wire.connection?)))
            .collect();
        for (link, connection) in doomed {
            let (here, there) = (self.network_delay(), self.network_delay());
            self.heap.put(self.now + here, Event::Ended(link, "broken".into()));
            self.heap.put(self.now + there, Event::UpClosed(connection));
        }
    }

    /// The links that are open now.
    pub(super) fn open_links(&self) -> Vec<Of<LinkId>> {
        self.network.connections.values().copied().collect()
    }

    /// The engine behind every open link is dead and its socket alive, until the link breaks.
    pub(super) fn deafen(&mut self, lasts: u64) {
        self.break_later(lasts, |wire| wire.deaf = true);
    }

    /// Nothing passes any open link any more, until it breaks.
    pub(super) fn silence(&mut self, lasts: u64) {
        self.break_later(lasts, |wire| wire.silent = true);
    }

    fn break_later(&mut self, lasts: u64, change: impl Fn(&mut Wire)) {
        let mut doomed = Vec::new();
        for (link, wire) in &mut self.network.wires {
            if let Some(connection) = wire.connection {
                change(wire);
                doomed.push((*link, connection));
            }
        }
        for (link, connection) in doomed {
            self.heap.put(self.now + lasts, Event::Ended(link, "broken".into()));
            self.heap.put(self.now + lasts, Event::UpClosed(connection));
        }
    }

    /// The links of a broker that died: the engine learns of it a little later.
    pub(super) fn drop_links(&mut self, life: u64) {
        let doomed: Vec<_> = self.network.wires.keys().filter(|(of, _)| *of == life).copied().collect();
        for link in doomed {
            let delay = self.network_delay();
            let Some(connection) = self.network.wires.remove(&link).and_then(|wire| wire.connection) else {
                continue;
            };
            self.network.connections.remove(&connection);
            self.heap.put(self.now + delay, Event::UpClosed(connection));
        }
    }

    // The engine.

    fn note_dispatched(&mut self, connection: ConnectionId, invocation_id: &str) {
        let current = self.life.as_ref().map(|life| life.number);
        let link = self.network.connections.get(&connection);
        if let Some(&(life, link)) = link.filter(|(life, _)| Some(*life) == current) {
            let at = self.at(life);
            self.oracles.dispatched(at, link, invocation_id);
        }
    }

    /// Passes on what the engine has done.
    pub(super) fn pump_engine(&mut self) {
        self.end_reorder();
        for record in self.engine.drain_journal() {
            self.trace.tell(self.now, "engine", &record.event, &Fact::Engine(&record.event));
            if self.rivals.own(&record.event) {
                self.note_rival(&record.event);
                continue;
            }
            match &record.event {
                EngineEvent::Delivered { replay: false, agent_id, .. } => {
                    if self.engine.late_replays().any(|late| *late == **agent_id) {
                        self.mark(FaultMark::ReplayOvertaken);
                    }
                    self.schedule_release();
                }
                EngineEvent::Delivered { connection, .. } if self.engine.is_in_replay(*connection) => {
                    self.mark(FaultMark::ReplayInPieces);
                }
                EngineEvent::InventorySynced { connection, .. } if self.engine.is_in_replay(*connection) => {
                    self.mark(FaultMark::AnsweredInReplay);
                }
                EngineEvent::Rejected { code: OVERLOADED, .. } => self.mark(FaultMark::Overloaded),
                EngineEvent::FrameLost { seq, failed, .. } => {
                    self.network.has_lost |= *seq > 0;
                    self.mark(match (seq, failed) {
                        (0, _) => FaultMark::EventLost,
                        (_, true) => FaultMark::RowNotSent,
                        (_, false) => FaultMark::RowLost,
                    });
                }
                EngineEvent::Unseen { what } => self.mark(match *what {
                    "a node" | "an agent" => FaultMark::NameUnseen,
                    _ => FaultMark::TokenUnseen,
                }),
                EngineEvent::InvocationLost { .. } => self.mark(FaultMark::InvocationLost),
                EngineEvent::NodeRegistered { node_id, .. } => {
                    self.network.node_id = Some(node_id.clone());
                }
                EngineEvent::InvocationSent { connection, invocation_id, .. } => {
                    self.network.invocation = Some(invocation_id.clone());
                    self.note_dispatched(*connection, invocation_id);
                }
                _ => {}
            }
            self.oracles.engine(&record);
        }
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { connection, text } if self.rivals.has(connection) => {
                    self.order_elsewhere(connection, text);
                }
                Output::Send { connection, text } => {
                    self.remember(&text);
                    if let Some(link) = self.network.connections.get(&connection).copied() {
                        for completion in self.tamper(link, text) {
                            self.send_down(link, completion);
                        }
                    }
                }
                Output::Close { connection, reason, .. } => {
                    // Of an engine that is half dead not even the close comes through.
                    let hears =
                        |link: &Of<LinkId>| self.network.wires.get(link).is_none_or(|wire| !wire.deaf);
                    let link = self.network.connections.get(&connection).copied();
                    if let Some(link) = link.filter(hears) {
                        let at = self.network.wires.get(&link).map_or(0, |wire| wire.down_at);
                        let at = at.max(self.now + self.network_delay());
                        self.heap.put(at, Event::Ended(link, reason.into()));
                    }
                }
            }
        }
        if self.engine.late_replays().next().is_some() {
            self.schedule_release();
        }
    }

    /// What waits to be overtaken does not wait for long.
    fn schedule_release(&mut self) {
        if self.faults.reorders() && self.faults.release_at <= self.now {
            let key = self.key();
            let after = self.rng.skewed(Stream::Fault, key, 1, OVERTAKEN);
            self.faults.release_at = self.now + after;
            self.heap.put(self.now + after, Event::Release);
        }
    }

    fn remember(&mut self, text: &str) {
        if !self.network.remembers || !text.contains("\"type\":\"deliver\"") {
            return;
        }
        if let Ok(Place { agent_id, seq: seq @ 1.. }) = serde_json::from_str(text) {
            let rows = self.network.rows.entry(agent_id.into_owned()).or_default();
            rows.insert(seq, text.to_owned());
            if rows.len() > REMEMBERED {
                rows.pop_first();
            }
        }
    }

    /// Everything open of one agent is sent again, in order, as a replay sends it.
    pub(super) fn replay(&mut self, agent: usize) {
        let Some(id) = self.engine.agent_id(&self.plan.agents[agent].name) else {
            return;
        };
        let seqs: Vec<u64> =
            self.engine.rows(&id).filter(|row| row.state.is_open()).map(|row| row.seq).collect();
        let Some(rows) = self.network.rows.get(&id) else {
            return;
        };
        // A row that was never sent would be missing, which no replay of the engine does.
        let Some(texts) = seqs.iter().map(|seq| rows.get(seq).cloned()).collect::<Option<Vec<_>>>() else {
            return;
        };
        let links: Vec<_> = self.network.connections.values().copied().collect();
        for link in links {
            if !texts.is_empty() {
                self.mark(FaultMark::Replayed);
            }
            for text in &texts {
                self.send_down(link, Completion::LinkText(link.1, text.clone()));
            }
        }
    }
}
