//! Dead letters: messages that an agent never took, kept for people.
//!
//! Owns: the list of dead letters, newest last.
//! Must not know: why a row was given up, or how it is written to disk.
//!
//! 1. At most [`limits::DEAD_LETTERS`]; the oldest goes first.

use crate::ids::{AgentId, AgentName, DeliveryId, MessageId};
use crate::limits;
use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// One message that was given up.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadLetter {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The message.
    pub message_id: MessageId,
    /// The identity that it was for.
    pub agent_id: AgentId,
    /// The name of that identity.
    pub agent: AgentName,
    /// Its place in the identity's sequence; 0 if it had none.
    pub seq: u64,
    /// The payload as it came.
    pub payload: String,
    /// A stable word: `thrown_away`, `not_taken`.
    pub reason: String,
    /// How often it was typed.
    pub attempts: u8,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl fmt::Debug for DeadLetter {
    /// Free text shows as its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivery_id, agent_id, seq, reason, payload, .. } = self;
        write!(f, "DeadLetter({delivery_id}, {agent_id}, {seq}, {reason}, {} bytes)", payload.len())
    }
}

#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    letters: VecDeque<DeadLetter>,
}

impl DeadLetters {
    pub(crate) fn push(&mut self, letter: DeadLetter) {
        self.letters.push_back(letter);
        if self.letters.len() > limits::DEAD_LETTERS {
            self.letters.pop_front();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &DeadLetter> {
        self.letters.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }
}
