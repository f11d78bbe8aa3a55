//! Records: what the broker keeps across a restart, besides its identity and token.
//!
//! Owns: the form of the journal's lines, and their recovery.
//! Must not know: files, or when something is written.
//!
//! 1. A line that cannot be read is skipped and counted; a torn tail costs its own record only.
//! 2. Later lines win, but an invocation is started once: no start supersedes a line about it that still
//!    counts. Recovery followed by [`Recovered::compact`] loses nothing that still counts.

use crate::agent::known::KnownAgents;
use crate::delivery::dead::DeadLetter;
use crate::ids::{AgentId, AgentName, InvocationId};
use crate::limits;
use crate::time::Wall;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Record {
    /// An agent name was registered as this identity.
    Agent { name: AgentName, agent_id: AgentId },
    /// A message was given up.
    Dead(DeadLetter),
    /// The engine has to be told that an agent has left.
    Owed { agent_id: AgentId, name: AgentName },
    /// It has been told, or the identity lives here again.
    Paid { agent_id: AgentId },
    /// An invocation was accepted.
    Started {
        invocation: InvocationId,
        at_ms: i64,
        /// Whom it releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        releases: Option<AgentName>,
    },
    /// An invocation is over.
    Finished {
        invocation: InvocationId,
        at_ms: i64,
        outcome: Outcome,
        /// Whom it releases, unless the engine surely has the result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        releases: Option<AgentName>,
    },
    /// The engine surely has the result of a release.
    Answered { invocation: InvocationId },
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// With this JSON.
    Output(String),
    /// With this error.
    Error(String),
}

/// An invocation, as a journal tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// When it came, in ms since 1970.
    pub(crate) at_ms: i64,
    /// Whom it releases, unless the engine surely has the result.
    pub(crate) releases: Option<AgentName>,
    /// How it ended, if it did.
    pub(crate) outcome: Option<Outcome>,
}

impl Saved {
    /// Whether it is still remembered.
    const fn is_fresh(&self, now: Wall) -> bool {
        now.0.saturating_sub(self.at_ms) < limits::INVOCATION_AGE_MS
    }
}

impl Record {
    /// The record as a line of the journal.
    pub(crate) fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("records have text keys only");
        line.push('\n');
        line
    }
}

/// What a journal says, with everything superseded left out.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The last identity of each agent name.
    pub(crate) agents: KnownAgents,
    /// Messages given up, oldest first.
    pub(crate) dead: Vec<DeadLetter>,
    /// Agents that the engine has to be told have left.
    pub(crate) owed: BTreeMap<AgentId, AgentName>,
    /// What the engine has asked for.
    pub(crate) invocations: BTreeMap<InvocationId, Saved>,
    /// Lines that could not be read.
    pub(crate) unreadable: usize,
}

impl Recovered {
    /// Reads a journal.
    pub(crate) fn read(journal: &str, now: Wall) -> Self {
        let mut recovered = Self::default();
        for line in journal.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(record) => recovered.take(record, now),
                Err(_) => recovered.unreadable += 1,
            }
        }
        recovered.invocations.retain(|_, saved| saved.is_fresh(now));
        let surplus = recovered.dead.len().saturating_sub(limits::DEAD_LETTERS);
        recovered.dead.drain(..surplus);
        recovered.agents.forget_surplus(|_| false);
        recovered
    }

    fn take(&mut self, record: Record, now: Wall) {
        match record {
            Record::Agent { name, agent_id } => {
                self.agents.used(name, agent_id);
            }
            Record::Dead(letter) => self.dead.push(letter),
            Record::Owed { agent_id, name } => {
                self.owed.insert(agent_id, name);
            }
            Record::Paid { agent_id } => {
                self.owed.remove(&agent_id);
            }
            Record::Started { invocation, at_ms, releases } => {
                // It is started once; one that was forgotten before it came again is a new one.
                if !self.invocations.get(&invocation).is_some_and(|known| known.is_fresh(now)) {
                    self.invocations.insert(invocation, Saved { at_ms, releases, outcome: None });
                }
            }
            Record::Finished { invocation, at_ms, outcome, releases } => {
                self.invocations.insert(invocation, Saved { at_ms, releases, outcome: Some(outcome) });
            }
            Record::Answered { invocation } => {
                if let Some(saved) = self.invocations.get_mut(&invocation) {
                    saved.releases = None;
                }
            }
        }
    }

    /// The journal that says the same in as few lines as possible.
    pub(crate) fn compact(&self) -> String {
        let agents = self
            .agents
            .iter()
            .map(|(name, agent_id)| Record::Agent { name: name.clone(), agent_id: agent_id.clone() });
        let dead = self.dead.iter().cloned().map(Record::Dead);
        let owed = self
            .owed
            .iter()
            .map(|(agent_id, name)| Record::Owed { agent_id: agent_id.clone(), name: name.clone() });
        let invocations = self.invocations.iter().map(|(invocation, saved)| {
            let (invocation, Saved { at_ms, releases, outcome }) = (invocation.clone(), saved.clone());
            match outcome {
                Some(outcome) => Record::Finished { invocation, at_ms, outcome, releases },
                None => Record::Started { invocation, at_ms, releases },
            }
        });
        agents.chain(dead).chain(owed).chain(invocations).map(|record| record.line()).collect()
    }
}

#[cfg(test)]
mod tests;
