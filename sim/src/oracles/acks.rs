//! S1 and S2: what an ack covers, and how acks move.
//!
//! Would catch: ack on receipt; ack when the text is on the screen but unread in the kernel; ack past
//! a gap; ack of a dead letter whose record is not on disk, or is overwritten there; a cursor taken
//! from the wrong identity or from a link before; a cursor that starts again from 0; an ack of hundreds of
//! rows after a long reconnect, which the engine fails at.
//!
//! 1. S1: every row that an ack covers was taken whole by a process of that identity, or has a dead
//!    letter on disk, or is gone in the engine, or was acked there before, or was given the number of one for
//!    which this holds and has not arrived; and the letters of rows that were acked stay on disk.
//! 2. S2: on one link the acks of an identity do not decrease, whatever becomes of its processes, and
//!    none exceeds what the engine has sent or stated.
//! 3. S2: none covers more open rows than the engine can end at once, unless earlier ones did not count because
//!    the engine had the agent elsewhere: nothing tells the broker how many of them.

use super::Broken;
use super::facts::Frame;
use super::ledger::{Identity, Ledger};
use crate::engine::Event;
use crate::world::Of;
use relay_core::ids::LinkId;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Rows up to here are judged, per identity.
    judged: BTreeMap<String, u64>,
    /// The latest ack per link and identity.
    latest: BTreeMap<(Of<LinkId>, String), u64>,
    /// Agents an ack of whom found nobody.
    ignored: BTreeSet<String>,
}

impl Acks {
    pub(super) fn frame(
        &mut self,
        ledger: &Ledger,
        link: Of<LinkId>,
        frame: &Frame<'_>,
    ) -> Result<(), Broken> {
        let (Some(name), Some(seq)) = (frame.agent.as_deref(), frame.up_to_seq) else {
            return Ok(());
        };
        let Some((id, identity)) = ledger.id_of(name).and_then(|id| Some((id, ledger.identities.get(id)?)))
        else {
            return Err(("S2", format!("an ack names {name:?}, which the engine never had")));
        };
        self.judge_order(link, id, identity, seq)
            .map_err(|why| ("S2", format!("ack of {name} up to {seq}: {why}")))?;
        self.judge_rows(ledger, id, identity, seq)
            .map_err(|why| ("S1", format!("ack of {name} up to {seq}: {why}")))
    }

    /// The greatest sequence that the broker has acked of an identity; 0 for none.
    pub(super) fn acked(&self, id: &str) -> u64 {
        self.judged.get(id).copied().unwrap_or(0)
    }

    /// Something happens at the engine.
    pub(super) fn engine(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Acked { agent, matched: None, .. } => {
                self.ignored.insert(agent.clone());
                Ok(())
            }
            Event::AckTooWide { agent, rows, .. } if !self.ignored.contains(agent) => Err(format!(
                "one ack of {agent} covers {rows} open rows: the engine cannot end so many at once"
            )),
            _ => Ok(()),
        }
    }

    fn judge_order(
        &mut self,
        link: Of<LinkId>,
        id: &str,
        identity: &Identity,
        seq: u64,
    ) -> Result<(), String> {
        let latest = self.latest.insert((link, id.to_owned()), seq);
        let latest = latest.unwrap_or(0);
        if seq < latest {
            return Err(format!("it was {latest} before on this link"));
        }
        let most = identity.sent.max(identity.cursor);
        if seq > most {
            return Err(format!("the engine has sent or stated no more than {most}"));
        }
        Ok(())
    }

    fn judge_rows(&mut self, ledger: &Ledger, id: &str, identity: &Identity, seq: u64) -> Result<(), String> {
        let judged = self.judged.entry(id.to_owned()).or_default();
        let from = (*judged).max(identity.cursor) + 1;
        *judged = (*judged).max(seq);
        if from > seq {
            return Ok(());
        }
        for (number, row) in identity.rows.range(from..=seq) {
            if !identity.was_taken(row) && !row.gone && !ledger.is_buried(row) {
                return Err(format!("row {number} (message {:?}) was never taken whole by it", row.token));
            }
        }
        Ok(())
    }
}
