//! The ledger: which message is for whom, who has read it, what became of it.
//!
//! Owns: facts, gathered from the engine model, the agent models and the store.
//! Must not know: what follows from them.
//!
//! 1. Facts are added and never taken back, but for dead letters that a rewritten journal has no more.
//! 2. A row is forgotten when it was read once, and so many behind it are acked that nothing can come of
//!    it any more: a run of any length holds no more than its newest rows.

use super::At;
use crate::agents::reader::Token;
use crate::engine::Event;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A journal keeps so many dead letters.
const LETTERS: usize = 500;

/// Of each identity so many rows are remembered behind which all is well, and so many messages in all: many
/// times what can be under way.
const REMEMBERED: usize = 1_024;

/// A row of the engine for one agent.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The message, if a simulated sender wrote it.
    pub(super) token: Option<Token>,
    pub(super) delivery_id: Option<String>,
    /// When the life of the broker that had it last got it first.
    pub(super) arrived: Option<At>,
    /// Messages that had its number before, which the engine had forgotten.
    before: Vec<Token>,
    /// The engine has ended it without an ack.
    pub(super) gone: bool,
}

/// One identity of the engine.
#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) rows: BTreeMap<u64, Row>,
    /// The sequence of the row stored last.
    newest: u64,
    /// The greatest sequence written to any of the broker's links.
    pub(super) sent: u64,
    /// The engine's ack cursor.
    pub(super) cursor: u64,
    /// Messages with a row, and its sequence.
    pub(super) addressed: BTreeMap<Token, u64>,
    /// Messages that a process of it has taken whole, with the number of times.
    pub(super) taken: BTreeMap<Token, u64>,
    /// Processes started.
    pub(super) processes: u64,
}

/// A message as its sender knows it.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) token: Token,
    /// The name of who sent it, where the engine has told that.
    pub(super) sender: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By id: the newest messages.
    posted: BTreeMap<String, Posted>,
    ids: BTreeMap<String, String>,
    pub(super) identities: BTreeMap<String, Identity>,
    buried: BTreeSet<String>,
    /// Identities that have one.
    buried_for: BTreeSet<String>,
    rows: u64,
}

impl Identity {
    /// Forgets the oldest row, if it is done with (invariant 2) and `read_once`; returns its message.
    pub(super) fn forget_oldest(&mut self, read_once: impl Fn(Token) -> bool) -> Option<Token> {
        let oldest = self.rows.first_entry()?;
        let token = oldest.get().token.filter(|token| read_once(*token))?;
        if oldest.key() + REMEMBERED as u64 > self.cursor || self.taken.get(&token) != Some(&1) {
            return None;
        }
        oldest.remove();
        self.addressed.remove(&token);
        self.taken.remove(&token);
        Some(token)
    }

    /// Whether what a broker can know of under this number was taken: one that is still under way may have
    /// the number of an older one.
    pub(super) fn was_taken(&self, row: &Row) -> bool {
        let taken = |token: &Token| self.taken.contains_key(token);
        row.token.as_ref().is_none_or(taken) || (row.arrived.is_none() && row.before.iter().any(taken))
    }
}

impl Ledger {
    pub(super) fn posted(&mut self, msg_id: &str, token: Token, sender: Option<&str>) {
        let sender = sender.map(str::to_owned);
        self.posted.insert(msg_id.to_owned(), Posted { token, sender });
        if self.posted.len() > REMEMBERED {
            // Ids grow with time, and are equally long.
            self.posted.pop_first();
        }
    }

    /// The message of this id, if a simulated sender wrote it not long ago.
    pub(super) fn posted_as(&self, msg_id: &str) -> Option<&Posted> {
        self.posted.get(msg_id)
    }

    pub(super) fn row_count(&self) -> u64 {
        self.rows
    }

    /// The identity that a name has at the engine.
    pub(super) fn id_of(&self, name: &str) -> Option<&String> {
        self.ids.get(name)
    }

    pub(super) fn is_buried(&self, row: &Row) -> bool {
        row.delivery_id.as_ref().is_some_and(|id| self.buried.contains(id))
    }

    /// Whether any message for an identity was given up, in its sequence or not.
    pub(super) fn has_buried(&self, agent_id: &str) -> bool {
        self.buried_for.contains(agent_id)
    }

    pub(super) fn engine(&mut self, event: &Event) {
        match event {
            Event::AgentRegistered { agent_id, name, .. } => {
                self.ids.insert(name.to_string(), agent_id.to_string());
                self.identity(agent_id);
            }
            Event::Stored { agent_id, seq, msg_id } => {
                let token = self.posted.get(&**msg_id).map(|posted| posted.token);
                self.rows += 1;
                let identity = self.identity(agent_id);
                identity.newest = *seq;
                let old = identity.rows.remove(seq).unwrap_or_default();
                let before = old.before.into_iter().chain(old.token).collect();
                identity.rows.insert(*seq, Row { token, before, ..Row::default() });
                identity.addressed.extend(token.map(|token| (token, *seq)));
            }
            Event::Dead { agent_id, seq } => {
                self.identity(agent_id).rows.entry(*seq).or_default().gone = true;
            }
            Event::Delivered { agent_id, seq, delivery_id, .. } if *seq > 0 => {
                let identity = self.identity(agent_id);
                identity.sent = identity.sent.max(*seq);
                identity.rows.entry(*seq).or_default().delivery_id = Some(delivery_id.to_string());
            }
            Event::Acked { matched: Some(agent_id), up_to_seq, .. } => {
                let identity = self.identity(agent_id);
                identity.cursor = identity.cursor.max(*up_to_seq);
            }
            _ => {}
        }
    }

    /// A row reaches the broker.
    pub(super) fn arrived(&mut self, at: At, agent_id: &str, seq: u64, delivery_id: Option<&str>) {
        let identity = self.identities.get_mut(agent_id);
        let row = identity.and_then(|identity| identity.rows.get_mut(&seq));
        if let Some(row) = row.filter(|row| row.delivery_id.as_deref() == delivery_id) {
            row.arrived = row.arrived.filter(|before| before.life == at.life).or(Some(at));
        }
    }

    /// The identity whose rows an engine that has forgotten some begins to number anew.
    pub(super) fn renumbers<'a>(&self, event: &'a Event) -> Option<&'a str> {
        let Event::Stored { agent_id, seq, .. } = event else {
            return None;
        };
        let newest = self.identities.get(&**agent_id)?.newest;
        (*seq <= newest).then_some(agent_id)
    }

    fn identity(&mut self, agent_id: &str) -> &mut Identity {
        self.identities.entry(agent_id.to_owned()).or_default()
    }

    /// A record of a journal is on disk.
    pub(super) fn stored(&mut self, record: &Value) {
        if let Some(id) = letter(record) {
            self.buried.insert(id);
            self.buried_for.extend(record["agent_id"].as_str().map(str::to_owned));
        }
    }

    /// A journal has replaced the one before.
    pub(super) fn rewritten(&mut self, journal: &str) -> Result<(), String> {
        let records = journal.lines().filter_map(|line| serde_json::from_str(line).ok());
        let kept: BTreeSet<String> = records.filter_map(|record: Value| letter(&record)).collect();
        if kept.len() >= LETTERS {
            return Ok(());
        }
        let (buried, lost) = std::mem::take(&mut self.buried).into_iter().partition(|id| kept.contains(id));
        self.buried = buried;
        let lost: BTreeSet<String> = lost;
        let acked = self.identities.values().flat_map(|identity| {
            let unread = move |row: &&Row| row.token.is_none_or(|token| !identity.taken.contains_key(&token));
            identity.rows.range(..=identity.cursor).map(|(_, row)| row).filter(unread)
        });
        let mut letters = acked.filter_map(|row| row.delivery_id.as_ref());
        match letters.find(|id| lost.contains(*id)) {
            Some(id) => {
                Err(format!("the journal is written anew without the dead letter {id}, which was acked"))
            }
            None => Ok(()),
        }
    }
}

/// The delivery whose dead letter a record is.
fn letter(record: &Value) -> Option<String> {
    record["delivery_id"].as_str().filter(|_| record["record"] == "dead").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ConnectionId;
    use serde_json::json;

    #[test]
    fn a_letter_whose_row_was_acked_must_stay_in_the_journal() {
        let connection = ConnectionId(1);
        let mut ledger = Ledger::default();
        ledger.engine(&Event::AgentRegistered {
            agent_id: "77".into(),
            name: "bob".into(),
            connection: None,
        });
        ledger.engine(&Event::Stored { agent_id: "77".into(), seq: 1, msg_id: "901".into() });
        ledger.engine(&Event::Delivered {
            connection,
            agent_id: "77".into(),
            seq: 1,
            delivery_id: "del_1".into(),
            msg_id: "901".into(),
            replay: false,
        });
        let record = json!({ "record": "dead", "delivery_id": "del_1", "agent_id": "77" });
        ledger.stored(&record);
        assert_eq!(ledger.rewritten(&record.to_string()), Ok(()));
        assert!(ledger.is_buried(&ledger.identities["77"].rows[&1]));
        assert_eq!(ledger.rewritten(""), Ok(()), "the row is the engine's still");
        assert!(!ledger.is_buried(&ledger.identities["77"].rows[&1]));
        ledger.stored(&record);
        let matched = Some("77".into());
        ledger.engine(&Event::Acked { connection, agent: "bob".into(), up_to_seq: 1, matched });
        assert!(ledger.rewritten("").is_err());
    }
}
