//! Rivals: another node that an agent is bound to, and another instance that serves the broker's node.
//!
//! Owns: when the two are at the engine, and as what.
//! Must not know: the broker, or what its rules are; what becomes of work that is placed with the other node.
//!
//! 1. Rivals live beside the engine: no network lies between them and it.
//! 2. What a rival has taken it lets go when its time is over, at the latest at the calm: it closes its
//!    socket, or falls silent and leaves it to the engine to find that out.
//! 3. Nothing that happens on a rival's socket is a fact about the broker.

use super::event::Event;
use super::marks::FaultMark;
use super::{World, neighbour};
use crate::engine::{ConnectionId, Event as EngineEvent};
use crate::plan::SECOND;
use crate::rng::Stream;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Between two attempts to get in.
const ATTEMPT: u64 = SECOND / 2;
/// Between two heartbeats.
const BEAT: u64 = 10 * SECOND;
/// The name of the other node.
const NEIGHBOUR: &str = "neighbour";

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rival {
    /// Another node of the workspace.
    Neighbour,
    /// Another instance with the token of the broker's node.
    Twin,
}

impl Rival {
    const fn noun(self) -> &'static str {
        match self {
            Self::Neighbour => "the other node",
            Self::Twin => "the other instance",
        }
    }
}

#[derive(Debug, Default)]
struct Presence {
    /// It goes on until then.
    until: u64,
    /// It is going to do something.
    acts: bool,
    connection: Option<ConnectionId>,
    registered: bool,
    /// It offers the programs that the broker offers.
    offers: bool,
    /// The agents that live there because they were ordered there.
    agents: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub(super) struct Rivals {
    neighbour: Presence,
    twin: Presence,
    /// The other node's id and token, once it is enrolled.
    enrolled: Option<(String, String)>,
    /// All sockets that ever were a rival's.
    sockets: BTreeSet<ConnectionId>,
}

impl Rivals {
    /// Whether something happened on a rival's socket.
    pub(super) fn own(&self, event: &EngineEvent) -> bool {
        !self.sockets.is_empty() && event.connection().is_some_and(|other| self.sockets.contains(&other))
    }

    /// Whether a socket is a rival's.
    pub(super) fn has(&self, connection: ConnectionId) -> bool {
        self.sockets.contains(&connection)
    }

    /// Whether it is the other node's socket.
    pub(super) fn serves(&self, connection: ConnectionId) -> bool {
        self.neighbour.connection == Some(connection)
    }

    /// An agent lives on the other node.
    pub(super) fn settle(&mut self, name: &str) {
        self.neighbour.agents.insert(name.to_owned());
    }

    fn of(&mut self, who: Rival) -> &mut Presence {
        match who {
            Rival::Neighbour => &mut self.neighbour,
            Rival::Twin => &mut self.twin,
        }
    }

    /// The engine did something on a rival's socket.
    fn note(&mut self, event: &EngineEvent) {
        for presence in [&mut self.neighbour, &mut self.twin] {
            match event {
                EngineEvent::NodeRegistered { connection, .. }
                    if presence.connection == Some(*connection) =>
                {
                    presence.registered = true;
                }
                EngineEvent::Closed { connection } if presence.connection == Some(*connection) => {
                    (presence.connection, presence.registered) = (None, false);
                }
                _ => {}
            }
        }
    }
}

impl World<'_> {
    /// An agent is bound to another node, which keeps it for so long.
    pub(super) fn take_over(&mut self, agent: usize, lasts: u64) {
        let name = self.plan.agents[agent].name.clone();
        if !self.is_placed_here(&name) {
            return;
        }
        self.appear(Rival::Neighbour, lasts);
        let (key, wish) = (self.api_key.clone(), json!({ "agent_name": name }).to_string());
        let path = format!("/v1/nodes/{NEIGHBOUR}/agents");
        let answer = self.http("POST", &path, Some(&key), &[], Some(&wish));
        if answer.status < 300 && self.terminals.has(&name) {
            self.mark(FaultMark::TakenOver);
        }
    }

    /// For so long another node offers what the broker offers.
    pub(super) fn offer(&mut self, lasts: u64) {
        let neighbour = self.rivals.of(Rival::Neighbour);
        (neighbour.offers, neighbour.registered) = (true, false);
        if let Some(connection) = neighbour.connection {
            self.introduce(Rival::Neighbour, connection);
        }
        self.appear(Rival::Neighbour, lasts);
    }

    /// For so long another instance wants to serve the broker's node; it is there before the broker is
    /// back.
    pub(super) fn double(&mut self, lasts: u64) {
        self.cut_all();
        self.appear(Rival::Twin, lasts);
    }

    fn appear(&mut self, who: Rival, lasts: u64) {
        let until = self.now + lasts;
        let presence = self.rivals.of(who);
        presence.until = presence.until.max(until);
        if !std::mem::replace(&mut presence.acts, true) {
            self.act(who);
        }
    }

    /// A rival goes on, or leaves.
    pub(super) fn act(&mut self, who: Rival) {
        let until = self.rivals.of(who).until;
        if self.now >= until {
            return self.depart(who);
        }
        let presence = self.rivals.of(who);
        match (presence.connection, presence.registered) {
            (None, _) => self.come(who),
            (Some(connection), false) => self.introduce(who, connection),
            (Some(connection), true) => {
                let beat = json!({
                    "v": 1, "type": "node.heartbeat", "active_agents": presence.agents.len(),
                    "handlers_live": presence.offers, "load": 0,
                });
                self.say(connection, &beat);
            }
        }
        let presence = self.rivals.of(who);
        let after = if presence.registered { BEAT } else { ATTEMPT };
        self.heap.put((self.now + after).min(until), Event::Rival(who));
    }

    fn come(&mut self, who: Rival) {
        let Some((_, token)) = self.credentials(who) else {
            return;
        };
        let Ok(connection) = self.engine.upgrade(self.now_ms(), "/v1/node/ws", Some(&token)) else {
            return;
        };
        self.rivals.sockets.insert(connection);
        self.rivals.of(who).connection = Some(connection);
        self.pump_engine();
        self.introduce(who, connection);
    }

    /// The node that a rival serves, and its token.
    fn credentials(&mut self, who: Rival) -> Option<(String, String)> {
        match who {
            Rival::Twin => {
                let node = self.network.node_id.clone()?;
                let token = self.engine.node_token(&node)?.to_owned();
                Some((node, token))
            }
            Rival::Neighbour => {
                if self.rivals.enrolled.is_none() {
                    let (key, wish) = (self.api_key.clone(), json!({ "name": NEIGHBOUR }).to_string());
                    let answer = self.http("POST", "/v1/nodes", Some(&key), &[], Some(&wish));
                    let answer: Value = serde_json::from_str(&answer.body).ok()?;
                    let text = |key: &str| answer["data"][key].as_str().map(str::to_owned);
                    self.rivals.enrolled = text("id").zip(text("token"));
                }
                self.rivals.enrolled.clone()
            }
        }
    }

    fn introduce(&mut self, who: Rival, connection: ConnectionId) {
        let Some((node, _)) = self.credentials(who) else {
            return;
        };
        let name = match who {
            Rival::Neighbour => NEIGHBOUR.to_owned(),
            Rival::Twin => self.engine.node_name(&node).unwrap_or_default().to_owned(),
        };
        let offers = self.rivals.of(who).offers;
        let capabilities = if offers { neighbour::capabilities() } else { json!([]) };
        let mut frame = json!({
            "v": 1, "type": "node.register", "name": name, "node_id": node, "capabilities": capabilities,
            "max_agents": 0, "tags": [], "version": "rival",
        });
        if self.plan.profile.frames.providers {
            frame["provider"] = json!({ "name": "broker", "instance_id": "rival" });
        }
        self.say(connection, &frame);
    }

    pub(super) fn say(&mut self, connection: ConnectionId, frame: &Value) {
        self.engine.text(self.now_ms(), connection, &frame.to_string());
        self.pump_engine();
    }

    /// Its time is over (invariant 2).
    fn depart(&mut self, who: Rival) {
        let key = self.key();
        let silent = !self.faults.calm && self.rng.chance(Stream::Fault, key, 500);
        let presence = std::mem::take(self.rivals.of(who));
        if presence.connection.is_some() {
            self.trace.line(self.now, "rival", &who, format_args!("{} leaves", who.noun()));
        }
        self.clear_out(presence.agents);
        if let Some(connection) = presence.connection.filter(|_| !silent) {
            self.engine.closed(self.now_ms(), connection);
            self.pump_engine();
        }
    }

    /// Rivals that are there leave.
    pub(super) fn end_rivals(&mut self) {
        for who in [Rival::Neighbour, Rival::Twin] {
            self.rivals.of(who).until = 0;
            self.depart(who);
        }
    }

    /// Something happened on a rival's socket (invariant 3).
    pub(super) fn note_rival(&mut self, event: &EngineEvent) {
        self.rivals.note(event);
        if let EngineEvent::NodeRegistered { connection, .. } = event
            && self.rivals.twin.connection == Some(*connection)
        {
            self.mark(FaultMark::Doubled);
        }
    }
}
