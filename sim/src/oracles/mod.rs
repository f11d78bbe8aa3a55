//! Oracles: what must hold, judged by what really happened.
//!
//! Owns: the verdict of a case, and the passing on of facts to those who judge them.
//! Must not know: the broker's state, events or logs. Facts come from the models only.
//!
//! 1. An oracle keeps marks of what it has judged and never looks at it again.
//! 2. The first violation is the verdict; what follows from it is not interesting.

mod acks;
mod calm;
mod frames;
mod ledger;
mod requests;
mod takes;

use crate::agents::reader::Token;
use crate::engine::{Event, Record};
use crate::world::Of;
use ledger::Ledger;
use relay_core::StoreAction;
use relay_core::ids::{LinkId, ProcessId, RequestId};

pub use calm::Unsettled;

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

/// All oracles of one world.
#[derive(Debug, Default)]
pub struct Oracles {
    ledger: Ledger,
    acks: acks::Acks,
    takes: takes::Takes,
    requests: requests::Requests,
    verdict: Option<Failure>,
}

impl Oracles {
    /// The first violation, if there was one.
    pub fn verdict(&self) -> Option<&Failure> {
        self.verdict.as_ref()
    }

    fn note(&mut self, rule: &'static str, judged: Result<(), String>) {
        if let (Err(message), None) = (judged, &self.verdict) {
            self.verdict = Some(Failure { class: Class::Safety, rule, message });
        }
    }

    /// A sender got this id for its message.
    pub fn posted(&mut self, msg_id: &str, token: Token) {
        self.ledger.posted(msg_id, token);
    }

    /// The engine did something.
    pub fn engine(&mut self, record: &Record) {
        self.ledger.engine(&record.event);
        if let Event::Rejected { code, reason, .. } = &record.event {
            self.note("S11", frames::judge(code, reason));
        }
    }

    /// A frame leaves the broker.
    pub fn frame(&mut self, link: Of<LinkId>, text: &str) {
        let judged = self.acks.frame(&self.ledger, link, text);
        if let Err((rule, message)) = judged {
            self.note(rule, Err(message));
        }
    }

    /// A change of a file is on disk.
    pub fn stored(&mut self, action: &StoreAction) {
        self.ledger.stored(action);
    }

    /// A process of this agent was started.
    pub fn started(&mut self, process: Of<ProcessId>, name: &str) {
        self.takes.started(&mut self.ledger, process, name);
    }

    /// A process has read a whole message; it has thrown input away so many times before.
    pub fn took(&mut self, process: Of<ProcessId>, token: Token, flushes: u64) {
        let judged = self.takes.took(&mut self.ledger, process, token, flushes);
        if let Err((rule, message)) = judged {
            self.note(rule, Err(message));
        }
    }

    /// A request was made on the local API.
    pub fn asked(&mut self, request: Of<RequestId>, what: &str) {
        self.requests.asked(request, what);
    }

    /// The broker answered it.
    pub fn answered(&mut self, request: Of<RequestId>) {
        let judged = self.requests.answered(request);
        self.note("S10", judged);
    }

    /// The client of a request goes away; false if it was answered before.
    pub fn left(&mut self, request: Of<RequestId>) -> bool {
        self.requests.left(request)
    }

    /// Its time is up.
    pub fn overdue(&mut self, request: Of<RequestId>) {
        let judged = self.requests.overdue(request);
        self.note("S10", judged);
    }

    /// The broker is gone, and with it whoever waits for it.
    pub fn died(&mut self, life: u64) {
        self.requests.died(life);
    }

    /// How many whole messages were taken, and how many rows were stored.
    pub fn counts(&self) -> (u64, u64) {
        (self.takes.count(), self.ledger.row_count())
    }
}
