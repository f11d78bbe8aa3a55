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
use alloc::borrow::ToOwned;
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
    /// The engine has to be told that an agent has left, behind the result of the release that asked for it.
    Owed {
        agent_id: AgentId,
        #[serde(flatten)]
        leave: Leave,
    },
    /// It has been told, or the identity lives here again.
    Paid { agent_id: AgentId },
    /// An invocation was accepted.
    Started { invocation: InvocationId, at_ms: i64 },
    /// An invocation is over.
    Finished { invocation: InvocationId, at_ms: i64, outcome: Outcome },
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

/// A leave that the engine has to be told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leave {
    /// Who has left.
    pub(crate) name: AgentName,
    /// The release that asked for it: its result goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) behind: Option<InvocationId>,
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
    pub(crate) owed: BTreeMap<AgentId, Leave>,
    /// Invocations: when, and how they ended if they did.
    pub(crate) invocations: BTreeMap<InvocationId, (i64, Option<Outcome>)>,
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
        let fresh = |(at, _): &(i64, Option<Outcome>)| now.0.saturating_sub(*at) < limits::INVOCATION_AGE_MS;
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
            Record::Owed { agent_id, leave } => {
                self.owed.insert(agent_id, leave);
            }
            Record::Paid { agent_id } => {
                self.owed.remove(&agent_id);
            }
            Record::Started { invocation, at_ms } => {
                self.invocations.entry(invocation).or_insert((at_ms, None));
            }
            Record::Finished { invocation, at_ms, outcome } => {
                self.invocations.insert(invocation, (at_ms, Some(outcome)));
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
            .map(|(agent_id, leave)| Record::Owed { agent_id: agent_id.clone(), leave: leave.clone() });
        let invocations = self.invocations.iter().map(|(invocation, (at_ms, outcome))| {
            let (invocation, at_ms) = (invocation.clone(), *at_ms);
            match outcome.to_owned() {
                Some(outcome) => Record::Finished { invocation, at_ms, outcome },
                None => Record::Started { invocation, at_ms },
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

    fn journal() -> String {
        let inv = |text: &str| InvocationId::from(text);
        let bob = || AgentId::from("7");
        [
            Record::Agent { name: "bob".into(), agent_id: "3".into() },
            Record::Agent { name: "bob".into(), agent_id: bob() },
            Record::Owed { agent_id: bob(), leave: Leave { name: "bob".into(), behind: None } },
            Record::Owed {
                agent_id: "8".into(),
                leave: Leave { name: "eve".into(), behind: Some(inv("r")) },
            },
            Record::Paid { agent_id: "8".into() },
            Record::Started { invocation: inv("a"), at_ms: 5 },
            Record::Started { invocation: inv("b"), at_ms: 5 },
            Record::Finished { invocation: inv("b"), at_ms: 6, outcome: Outcome::Error("no".to_string()) },
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
            assert_eq!(recovered.invocations[&InvocationId::from("a")], (5, None));
            assert_eq!(
                recovered.invocations[&InvocationId::from("b")],
                (6, Some(Outcome::Error("no".to_string())))
            );
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
        let recovered = Recovered::read(&journal(), Wall(limits::INVOCATION_AGE_MS + 6));
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
            (name(), agent_id(), proptest::option::of(invocation())).prop_map(|(name, agent_id, behind)| {
                Record::Owed { agent_id, leave: Leave { name, behind } }
            }),
            agent_id().prop_map(|agent_id| Record::Paid { agent_id }),
            (invocation(), at_ms()).prop_map(|(invocation, at_ms)| Record::Started { invocation, at_ms }),
            (invocation(), at_ms(), outcome).prop_map(|(invocation, at_ms, outcome)| Record::Finished {
                invocation,
                at_ms,
                outcome
            }),
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
