//! Oracles: what must hold, judged by what really happened.
//!
//! Owns: the verdict of a case, and the passing on of what really happened to those who judge it.
//! Must not know: the broker's state, events or logs. Facts come from the models only.
//!
//! 1. An oracle keeps marks of what it has judged and never looks at it again.
//! 2. The first violation is the verdict; what follows from it is not interesting.
//! 3. Facts of the engine, of agents and of files outlast the life of a broker, so that every rule
//!    holds over a crash and a restart from whatever is on disk (S7).
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
mod passing;
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

use crate::agents::reader::Token;
use crate::engine::{Event, Record};
use crate::world::Of;
use ledger::Ledger;
use relay_core::ids::{LinkId, ProcessId};
use relay_core::limits::REMEMBERED;
use relay_core::{Held, StoreAction, StoreFile};
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
