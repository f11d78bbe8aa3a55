//! Losses: frames that a node never gets although its socket lives on.
//!
//! Owns: which frames those are, and what the engine believes of them.
//! Must not know: what is lost, or who misses it.
//!
//! 1. What one part of an engine hands to the part that has the socket may be lost: rows, events outside of the
//!    sequence, invocations. What answers a frame of the node leaves where that was read, and is not.
//! 2. The engine may know of it: the send has failed. Or it believes that the frame was sent.
//! 3. A row is lost once at most: one that two replays leave out is gone, as far as a node can tell.

use super::Engine;
use super::ids::AgentKey;
use super::journal::Event;
use crate::rng::{Rng, Stream, key};
use std::collections::BTreeSet;

/// One in so many frames is lost.
const ONE_IN: u64 = 3;
/// The position of these draws among those of their stream.
const POSITION: u64 = 83;

/// How a frame is lost (invariant 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The engine knows of it.
    Failed,
    /// It does not.
    Unnoticed,
}

#[derive(Debug, Default)]
pub(super) struct Losses {
    /// In Unix ms.
    until: i64,
    /// Frames that might have been lost so far: a key for draws.
    count: u64,
    rows: BTreeSet<(AgentKey, u64)>,
}

impl Engine {
    /// Until then frames may be lost on sockets that live on.
    pub fn lose_frames_until(&mut self, end_ms: i64) {
        self.losses.until = end_ms;
    }

    /// Whether, and how, the next frame is lost.
    pub(super) fn loss(&mut self, now: i64) -> Option<Loss> {
        if now >= self.losses.until {
            return None;
        }
        self.losses.count += 1;
        let draw = Rng::new(self.options.seed).word(Stream::Fault, key(self.losses.count, POSITION));
        let loss = if draw & 1 == 0 { Loss::Failed } else { Loss::Unnoticed };
        (draw >> 1).is_multiple_of(ONE_IN).then_some(loss)
    }

    /// Whether, and how, the frame of a row is lost (invariant 3).
    pub(super) fn loss_of_row(&mut self, now: i64, agent: AgentKey, seq: u64) -> Option<Loss> {
        let loss = self.loss(now)?;
        self.losses.rows.insert((agent, seq)).then_some(loss)
    }

    /// A row, or with 0 an event outside of the sequence, does not reach its node.
    pub(super) fn note_lost(&mut self, now: i64, agent: AgentKey, seq: u64, loss: Loss) {
        let agent_id = self.state.agents[agent.0].id.clone();
        self.journal.push(now, Event::FrameLost { agent_id, seq, failed: loss == Loss::Failed });
    }
}
