//! The broker and its disk: dead letters, the journal, and what could not be written.
//!
//! Owns: which records are on their way, and when the journal is written anew.
//! Must not know: why a row is given up, or how a driver writes.
//!
//! 1. A row is settled only when the record of its dead letter is on disk.
//! 2. The journal is never written anew while such a record is on its way: it would be overwritten.
//! 3. What could not be written is written again after [`limits::REWRITE`], and once before the end.

use super::Broker;
use crate::agent::TASK;
use crate::api::{DeliveryFacts, Event};
use crate::command::{Level, StoreAction, StoreFile};
use crate::delivery::RowKey;
use crate::delivery::dead::DeadLetter;
use crate::delivery::payload::extract;
use crate::ids::{AgentId, ProcessId, StoreId};
use crate::input::{Fault, FaultKind};
use crate::limits;
use crate::marks::Mark;
use crate::purpose::StoreFor;
use crate::secret::{Secret, mask};
use crate::store::{Record, Recovered};
use crate::timers::Timer;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;

/// Dead letters whose record is not on disk yet.
#[derive(Debug, Default)]
pub(super) struct Burials {
    open: BTreeMap<(AgentId, RowKey), Burial>,
}

#[derive(Debug)]
struct Burial {
    letter: DeadLetter,
    /// Its record is on its way to the disk.
    writing: bool,
}

impl Burials {
    /// An identity has left: its rows are the engine's again, and their keys will mean others.
    pub(super) fn forget(&mut self, agent: &AgentId) {
        self.open.retain(|(id, _), _| id != agent);
    }

    /// Whether any record is not on disk yet.
    pub(super) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }
}

impl Broker {
    pub(super) fn journal(&mut self, record: &Record) {
        self.cx.store(StoreFor::Journal, StoreAction::Append { lines: record.line() });
    }

    /// Writes the journal anew when most of its lines no longer count, or some are missing.
    pub(super) fn compact_journal(&mut self) {
        // A letter on its way to the disk is not among those that are written: it would be overwritten.
        if self.cx.appended < limits::JOURNAL_APPENDS || self.burials.any_open() {
            return;
        }
        self.cx.appended = 0;
        let state = Recovered {
            agents: self.known_agents.clone(),
            dead: self.dead.iter().cloned().collect(),
            owed: self.leaving.owed(),
            invocations: self.actions.saved(),
            unreadable: 0,
        };
        if let Some(content) = Secret::new(&state.compact()) {
            let file = StoreFile::Journal;
            self.cx.store(StoreFor::Journal, StoreAction::Replace { file, content });
        }
    }

    /// Gives a row up; it may be acked once its record is on disk.
    pub(super) fn bury(&mut self, process: ProcessId, key: RowKey, reason: &'static str) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        if key == TASK {
            agent.task = None;
            return;
        }
        let Some((id, frame)) = agent.id().and_then(|id| Some((id.clone(), self.delivery.frame(id, key)?)))
        else {
            return;
        };
        let letter = DeadLetter {
            delivery_id: frame.delivery_id.clone(),
            message_id: frame.msg_id.clone(),
            agent_id: id.clone(),
            agent: agent.name().clone(),
            seq: if let RowKey::Sequenced(seq) = key { seq } else { 0 },
            payload: frame.payload.clone(),
            reason: reason.to_string(),
            attempts: self.delivery.attempts(&id, key),
            at_ms: self.cx.now.wall.0,
        };
        self.emit_delivery(process, key, |delivery| Event::DeliveryFailed { delivery, reason });
        self.delivery.bury(&id, key);
        if canary!(AckBeforeRecord) {
            self.delivery.settle(&mut self.cx, &id, key);
        }
        let burial = Burial { letter, writing: false };
        self.burials.open.insert((id, key), burial);
        self.store_letters();
    }

    /// Writes what is not on disk yet.
    fn store_letters(&mut self) {
        let unwritten = |(_, burial): &(_, &mut Burial)| !burial.writing;
        for ((id, key), burial) in self.burials.open.iter_mut().filter(unwritten) {
            burial.writing = true;
            let action = StoreAction::Append { lines: Record::Dead(burial.letter.clone()).line() };
            self.cx.store(StoreFor::DeadLetter(id.clone(), *key), action);
        }
    }

    /// What the journal lacks is written with the next flush.
    pub(super) fn repair_journal(&mut self) {
        if core::mem::take(&mut self.journal_behind) {
            // Which record it was does not matter: all that counts is written anew.
            self.cx.appended = limits::JOURNAL_APPENDS;
        }
    }

    /// A later failure does not put it off.
    fn rewrite_later(&mut self) {
        self.cx.timers.set_earlier(Timer::Rewrite, self.cx.now.mono.after(limits::REWRITE));
    }

    /// Writes again what could not be written.
    pub(super) fn rewrite(&mut self) {
        self.store_letters();
        self.link.rewrite(&mut self.cx);
        self.repair_journal();
    }

    fn on_buried(&mut self, id: &AgentId, key: RowKey) {
        let Some(Burial { letter, .. }) = self.burials.open.remove(&(id.clone(), key)) else {
            return;
        };
        self.cx.marks.hit(Mark::DeadLetter);
        let message = format!(
            "message {} for {:?} is a dead letter: {}",
            letter.message_id, letter.agent, letter.reason
        );
        self.cx.log(Level::Error, "delivery", &message);
        let (delivery_id, event_id) = (&letter.delivery_id, &letter.message_id);
        let delivery = DeliveryFacts { name: &letter.agent, delivery_id, event_id, at: self.cx.now.wall };
        let from = extract(&letter.payload, &letter.agent.0, letter.message_id.clone()).from;
        let (reason, attempts) = (letter.reason.as_str(), letter.attempts);
        self.events.push(&Event::DeadLetterAdded { delivery, from: &from, attempts, reason });
        self.dead.push(letter);
        if !canary!(LetterBlocks) {
            self.delivery.settle(&mut self.cx, id, key);
        }
    }

    /// The disk does not answer: what waits for it must not wait for ever.
    pub(super) fn on_store_timeout(&mut self, store: StoreId) {
        let fault = Fault { kind: FaultKind::Deadline, detail: "the disk does not answer" };
        self.on_stored(store, Err(fault));
    }

    pub(super) fn on_stored(&mut self, store: StoreId, result: Result<(), Fault<'_>>) {
        let Some(purpose) = self.cx.store_done(store) else {
            return;
        };
        match &result {
            Ok(()) => self.store_fault.clear(),
            Err(fault) => {
                self.cx.stats.store_faults += 1;
                let what = format!("the state could not be written: {}", mask(fault.detail));
                if self.store_fault != what {
                    self.cx.log(Level::Error, "store", &what);
                }
                self.store_fault = what;
            }
        }
        match purpose {
            StoreFor::Identity | StoreFor::Token if result.is_err() => {
                self.link.on_unwritten(&purpose);
                self.rewrite_later();
            }
            StoreFor::Journal if result.is_err() => {
                self.journal_behind = true;
                self.rewrite_later();
            }
            StoreFor::Identity | StoreFor::Token | StoreFor::Journal => {}
            StoreFor::Started(invocation) => self.on_start_recorded(&invocation, result.is_ok()),
            StoreFor::DeadLetter(id, key) if result.is_ok() => self.on_buried(&id, key),
            StoreFor::DeadLetter(id, key) => {
                if let Some(burial) = self.burials.open.get_mut(&(id, key)) {
                    burial.writing = false;
                    self.rewrite_later();
                }
            }
        }
    }
}
