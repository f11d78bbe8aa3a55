//! Records: what the broker keeps across a restart, besides its identity and token.
//!
//! Owns: the form of the journal's lines, and their recovery.
//! Must not know: files, or when something is written.
//!
//! 1. A line that cannot be read is skipped and counted; a torn tail costs its own record only.
//! 2. Later lines win. Recovery followed by [`Recovered::compact`] loses nothing that still counts.

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
    pub(crate) agents: BTreeMap<AgentName, AgentId>,
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
                Ok(record) => recovered.take(record),
                Err(_) => recovered.unreadable += 1,
            }
        }
        let fresh = |saved: &Saved| now.0.saturating_sub(saved.at_ms) < limits::INVOCATION_AGE_MS;
        recovered.invocations.retain(|_, invocation| fresh(invocation));
        let surplus = recovered.dead.len().saturating_sub(limits::DEAD_LETTERS);
        recovered.dead.drain(..surplus);
        while recovered.agents.len() > limits::KNOWN_AGENTS {
            recovered.agents.pop_first();
        }
        recovered
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Agent { name, agent_id } => {
                self.agents.insert(name, agent_id);
            }
            Record::Dead(letter) => self.dead.push(letter),
            Record::Owed { agent_id, name } => {
                self.owed.insert(agent_id, name);
            }
            Record::Paid { agent_id } => {
                self.owed.remove(&agent_id);
            }
            Record::Started { invocation, at_ms, releases } => {
                self.invocations.entry(invocation).or_insert(Saved { at_ms, releases, outcome: None });
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
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn no() -> Outcome {
        Outcome::Error("no".to_string())
    }

    fn journal() -> String {
        let inv = |text: &str| InvocationId::from(text);
        let bob = || AgentId::from("7");
        [
            Record::Agent { name: "bob".into(), agent_id: "3".into() },
            Record::Agent { name: "bob".into(), agent_id: bob() },
            Record::Owed { agent_id: bob(), name: "bob".into() },
            Record::Owed { agent_id: "8".into(), name: "eve".into() },
            Record::Paid { agent_id: "8".into() },
            Record::Started { invocation: inv("a"), at_ms: 5, releases: None },
            Record::Started { invocation: inv("b"), at_ms: 5, releases: None },
            Record::Finished { invocation: inv("b"), at_ms: 6, outcome: no(), releases: None },
            Record::Started { invocation: inv("c"), at_ms: 7, releases: Some("bob".into()) },
            Record::Finished { invocation: inv("c"), at_ms: 8, outcome: no(), releases: Some("bob".into()) },
            Record::Started { invocation: inv("d"), at_ms: 7, releases: Some("eve".into()) },
            Record::Finished { invocation: inv("d"), at_ms: 8, outcome: no(), releases: Some("eve".into()) },
            Record::Answered { invocation: inv("d") },
        ]
        .iter()
        .map(Record::line)
        .collect()
    }

    #[test]
    fn later_lines_win_and_compaction_says_the_same() {
        let first = Recovered::read(&journal(), Wall(10));
        let second = Recovered::read(&first.compact(), Wall(10));
        for recovered in [&first, &second] {
            assert_eq!(recovered.agents[&AgentName::from("bob")], AgentId::from("7"));
            assert_eq!(recovered.owed.keys().collect::<Vec<_>>(), [&AgentId::from("7")]);
            let saved = |id: &str| {
                let Saved { at_ms, releases, outcome } =
                    recovered.invocations[&InvocationId::from(id)].clone();
                (at_ms, releases.map(|name| name.0), outcome)
            };
            assert_eq!(saved("a"), (5, None, None));
            assert_eq!(saved("b"), (6, None, Some(no())));
            assert_eq!(saved("c"), (8, Some("bob".to_string()), Some(no())), "the next life answers it");
            assert_eq!(saved("d"), (8, None, Some(no())));
        }
        assert!(first.compact().len() < journal().len());
    }

    #[test]
    fn a_torn_tail_costs_its_own_record_only() {
        let whole = journal();
        for cut in 0..whole.len() {
            let recovered = Recovered::read(&whole[..cut], Wall(10));
            assert!(recovered.unreadable <= 1, "cut at {cut}");
            let complete = whole[..cut].matches('\n').count();
            let lines = |count| whole.split_inclusive('\n').take(count).collect::<String>();
            let possible =
                [complete, complete + 1].map(|count| Recovered::read(&lines(count), Wall(10)).compact());
            assert!(possible.contains(&recovered.compact()), "cut at {cut}");
        }
    }

    #[test]
    fn old_invocations_are_forgotten() {
        let recovered = Recovered::read(&journal(), Wall(limits::INVOCATION_AGE_MS + 8));
        assert!(recovered.invocations.is_empty());
    }

    fn record() -> impl Strategy<Value = Record> {
        let agent_id = || "[1-4]".prop_map(|id| AgentId::from(id.as_str()));
        let name = || "[a-c\n\"é]".prop_map(|name| AgentName::from(name.as_str()));
        let invocation = || "[p-s]".prop_map(|id| InvocationId::from(id.as_str()));
        // On both sides of the age at which an invocation is forgotten.
        let at_ms = || 0..20_i64;
        let outcome = prop_oneof![".{0,6}".prop_map(Outcome::Output), ".{0,6}".prop_map(Outcome::Error),];
        prop_oneof![
            (name(), agent_id()).prop_map(|(name, agent_id)| Record::Agent { name, agent_id }),
            (name(), agent_id()).prop_map(|(name, agent_id)| Record::Owed { agent_id, name }),
            agent_id().prop_map(|agent_id| Record::Paid { agent_id }),
            (invocation(), at_ms(), proptest::option::of(name()))
                .prop_map(|(invocation, at_ms, releases)| Record::Started { invocation, at_ms, releases }),
            invocation().prop_map(|invocation| Record::Answered { invocation }),
            (invocation(), at_ms(), outcome, proptest::option::of(name())).prop_map(
                |(invocation, at_ms, outcome, releases)| Record::Finished {
                    invocation,
                    at_ms,
                    outcome,
                    releases
                }
            ),
        ]
    }

    const NOW: Wall = Wall(limits::INVOCATION_AGE_MS + 10);

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..<_>::default() })]

        #[test]
        fn any_beginning_of_any_journal_is_read(records in prop::collection::vec(record(), 0..30), cut in any::<prop::sample::Index>()) {
            let lines: Vec<String> = records.iter().map(Record::line).collect();
            let whole = lines.concat();
            let mut cut = cut.index(whole.len() + 1);
            while !whole.is_char_boundary(cut) {
                cut -= 1;
            }
            let torn = Recovered::read(&whole[..cut], NOW);
            prop_assert!(torn.unreadable <= 1);
            let complete = whole[..cut].matches('\n').count();
            let upto = |count: usize| Recovered::read(&lines[..count.min(lines.len())].concat(), NOW).compact();
            let compact = torn.compact();
            prop_assert!(compact == upto(complete) || compact == upto(complete + 1));
            prop_assert_eq!(Recovered::read(&compact, NOW).compact(), compact, "compaction is done at once");
        }

        #[test]
        fn any_text_as_a_journal_is_counted_and_survived(text in any::<String>(), records in prop::collection::vec(record(), 0..5)) {
            let good: String = records.iter().map(Record::line).collect();
            let mixed = Recovered::read(&alloc::format!("{good}{text}\n{good}"), NOW);
            let twice = Recovered::read(&alloc::format!("{good}{good}"), NOW);
            prop_assert_eq!(mixed.compact(), twice.compact());
            let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
            prop_assert_eq!(mixed.unreadable, lines);
        }
    }
}
