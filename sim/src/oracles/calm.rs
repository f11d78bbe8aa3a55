//! L1: when nothing fails any more, every message for a live agent is dealt with.
//!
//! Would catch: a window that waits for a sequence that never comes; a row taken but not acked after
//! a reconnect; an injection that is never tried again; an agent that the engine believes elsewhere.

use super::Oracles;
use crate::engine::Engine;

/// An open row of an agent that reads.
#[derive(Clone, Copy, Debug)]
pub struct Unsettled {
    /// The row's sequence.
    pub seq: u64,
    /// Whether a process of the agent has taken the message whole.
    pub taken: bool,
}

impl Oracles {
    /// The first open row of an agent.
    pub fn unsettled(&self, engine: &Engine, name: &str) -> Option<Unsettled> {
        let id = self.ledger.id_of(name)?;
        let row = engine.rows(id).find(|row| row.state.is_open())?;
        let identity = self.ledger.identities.get(id)?;
        let token = identity.rows.get(&row.seq)?.token;
        let taken = token.is_some_and(|token| identity.taken.contains_key(&token));
        Some(Unsettled { seq: row.seq, taken })
    }

    /// Whether a message for an agent that does not read was given up, if there is one.
    pub fn has_dead_letter(&self, engine: &Engine, name: &str) -> bool {
        let Some(id) = self.ledger.id_of(name) else {
            return true;
        };
        let has_open = engine.rows(id).any(|row| row.state.is_open());
        let buried = |row| self.ledger.is_buried(row);
        let rows = self.ledger.identities.get(id).map(|identity| &identity.rows);
        !has_open || rows.is_some_and(|rows| rows.values().any(buried))
    }
}
