//! Known agents: the identity that each name had last.
//!
//! Owns: which names are remembered, in the order in which they were used.
//! Must not know: what an identity is taken up again for, and how all this comes to the disk.
//!
//! 1. At most [`limits::KNOWN_AGENTS`]. Who was used longest ago goes first, and nobody who lives here.

use crate::ids::{AgentId, AgentName};
use crate::limits;
use alloc::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub(crate) struct KnownAgents {
    by_name: BTreeMap<AgentName, (u64, AgentId)>,
    by_use: BTreeMap<u64, AgentName>,
    uses: u64,
}

impl KnownAgents {
    /// The name is used for this identity; whether that is news.
    pub(crate) fn used(&mut self, name: AgentName, agent_id: AgentId) -> bool {
        self.uses += 1;
        let before = self.by_name.insert(name.clone(), (self.uses, agent_id.clone()));
        self.by_use.insert(self.uses, name);
        before.is_none_or(|(use_before, id)| {
            self.by_use.remove(&use_before);
            id != agent_id
        })
    }

    pub(crate) fn get(&self, name: &AgentName) -> Option<&AgentId> {
        self.by_name.get(name).map(|(_, id)| id)
    }

    pub(crate) fn forget(&mut self, name: &AgentName) {
        if let Some((last_use, _)) = self.by_name.remove(name) {
            self.by_use.remove(&last_use);
        }
    }

    /// Keeps the bound (invariant 1).
    pub(crate) fn forget_surplus(&mut self, lives: impl Fn(&AgentName) -> bool) {
        while self.len() > limits::KNOWN_AGENTS
            && let Some(name) = self.by_use.values().find(|name| !lives(name)).cloned()
        {
            self.forget(&name);
        }
    }

    /// All of them, the one that was used longest ago first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&AgentName, &AgentId)> {
        self.by_use.values().filter_map(|name| Some((name, self.get(name)?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    fn used(known: &mut KnownAgents, number: usize) -> bool {
        known.used(AgentName(format!("n{number}")), AgentId(format!("{number}")))
    }

    #[test]
    fn who_was_used_longest_ago_goes_first_unless_he_lives() {
        let mut known = KnownAgents::default();
        (0..limits::KNOWN_AGENTS + 2).for_each(|number| assert!(used(&mut known, number)));
        assert!(!used(&mut known, 1), "it is known");
        known.forget_surplus(|name| name.0 == "n0");
        assert_eq!(known.len(), limits::KNOWN_AGENTS);
        let kept: Vec<_> = known.iter().map(|(_, id)| id.0.as_str()).collect();
        assert_eq!((&kept[..2], kept.last()), (&["0", "4"][..], Some(&"1")));
    }

    #[test]
    fn a_name_has_the_identity_that_it_was_used_for_last() {
        let mut known = KnownAgents::default();
        let bob = AgentName::from("bob");
        for (id, is_news) in [("1", true), ("1", false), ("2", true)] {
            assert_eq!(known.used(bob.clone(), AgentId::from(id)), is_news);
            assert_eq!((known.get(&bob), known.iter().count()), (Some(&AgentId::from(id)), 1));
        }
        known.forget(&bob);
        assert_eq!((known.get(&bob), known.iter().count(), known.len()), (None, 0, 0));
    }
}
