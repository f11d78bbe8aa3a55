//! L1: when nothing fails any more, every message for a live agent is dealt with.
//!
//! Would catch: a window that waits for a sequence that never comes; a row taken but not acked after
//! a reconnect; an injection that is never tried again; an agent that the engine believes elsewhere.

use super::Oracles;
use crate::engine::Engine;

/// An open row of an agent that reads.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The agent's name.
    pub agent: String,
    /// The row's sequence.
    pub seq: u64,
    /// Whether a process of it has taken the message whole.
    pub taken: bool,
}

impl Oracles {
    /// The first open row of each of these agents.
    pub fn unsettled<'a>(&self, engine: &Engine, agents: impl Iterator<Item = &'a String>) -> Vec<Unsettled> {
        let of = |name: &'a String| {
            let id = self.ledger.id_of(name)?;
            let row = engine.rows(id).find(|row| row.state.is_open())?;
            let identity = self.ledger.identities.get(id)?;
            let token = identity.rows.get(&row.seq)?.token;
            let taken = token.is_some_and(|token| identity.taken.contains_key(&token));
            Some(Unsettled {
                agent: name.clone(),
                seq: row.seq,
                taken,
            })
        };
        agents.filter_map(of).collect()
    }
}
