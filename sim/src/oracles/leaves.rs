//! L8: whom the broker takes leave of is gone at the engine, too.
//!
//! Owns: which identities the broker has to take leave of, over all lives.
//! Must not know: how, or how often, the engine is told.
//!
//! Would catch: a leave that went down with its link and was not told on the next one; a leave that the journal
//! forgets before the engine has heard of it; an agent that is bound to the node behind its leave. Mail for such
//! an agent goes to a node where nobody takes it, and its rows stay open until they expire.
//!
//! 1. Leave is to be taken from when the broker says so on the wire or in its journal, until the engine registers
//!    the identity again, or the broker lists it: an answer that was under way may have given it to a new process.
//!    So it is with an identity whose name is listed under another one: older engines bind whom they find by name.
//! 2. A life that dies leaves to the next one what is on disk.
//! 3. L8: at rest the engine has none of these bound to the broker's node.

use super::facts::Frame;
use crate::engine::{Engine, Event};
use serde_json::Value;
use std::collections::BTreeSet;

/// In a record: leave is to be taken, and need not be taken any more.
const OWED: &str = r#""record":"owed""#;
const PAID: &str = r#""record":"paid""#;

#[derive(Debug, Default)]
pub(super) struct Leaves {
    /// Of whom this life has to take leave.
    wanted: BTreeSet<String>,
    /// Of whom the journal says so.
    kept: BTreeSet<String>,
    /// Names in the latest inventory of this life.
    listed: BTreeSet<String>,
}

impl Leaves {
    /// A frame leaves the broker.
    pub(super) fn sent(&mut self, frame: &Frame<'_>) {
        match frame.kind() {
            "agent.deregister" => self.wanted.extend(frame.agent_id.as_deref().map(str::to_owned)),
            "inventory.sync" => {
                for id in frame.agents.iter().filter_map(|entry| entry.agent_id.as_deref()) {
                    self.wanted.remove(id);
                }
                let names = frame.agents.iter().filter_map(|entry| entry.name.as_deref());
                self.listed = names.map(str::to_owned).collect();
            }
            _ => {}
        }
    }

    /// Lines of the journal are on their way to the disk.
    pub(super) fn writes(&mut self, lines: &str) {
        self.wanted.extend(told(lines, OWED));
    }

    /// Lines of the journal are on disk.
    pub(super) fn stored(&mut self, lines: &str) {
        for line in lines.lines() {
            // What was registered again while the disk was slow is not to be taken leave of.
            self.kept.extend(told(line, OWED).filter(|id| self.wanted.contains(id)));
            told(line, PAID).for_each(|id| _ = self.kept.remove(&id));
        }
    }

    pub(super) fn engine(&mut self, event: &Event) {
        if let Event::AgentRegistered { agent_id, .. } = event {
            self.wanted.remove(&**agent_id);
            self.kept.remove(&**agent_id);
        }
    }

    /// The broker is gone.
    pub(super) fn died(&mut self) {
        self.wanted.clone_from(&self.kept);
        self.listed.clear();
    }

    /// Somebody whom the engine still has on this node although leave was to be taken.
    pub(super) fn first_bound(&self, engine: &Engine, node: &str) -> Option<&str> {
        let is_bound = |id: &&str| engine.has_agent(id) && engine.node_of_agent(id) == Some(node);
        let is_listed =
            |id: &str| self.listed.iter().any(|name| engine.agent_id(name).as_deref() == Some(id));
        self.wanted.iter().map(String::as_str).find(|id| is_bound(id) && !is_listed(id))
    }
}

/// Of whom these lines tell this.
fn told(lines: &str, what: &str) -> impl Iterator<Item = String> {
    let id = |line: &str| {
        let record: Value = serde_json::from_str(line).ok()?;
        record["agent_id"].as_str().map(str::to_owned)
    };
    lines.lines().filter(move |line| line.contains(what)).filter_map(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "{\"record\":\"owed\",\"agent_id\":\"77\",\"name\":\"bob\"}\n";

    fn registered() -> Event {
        Event::AgentRegistered { agent_id: "77".into(), name: "bob".into(), connection: None }
    }

    #[test]
    fn leave_is_to_be_taken_until_the_identity_is_registered_again() {
        let mut leaves = Leaves::default();
        leaves.sent(&Frame::read(r#"{"type":"node.deregister"}"#));
        assert!(leaves.wanted.is_empty());
        leaves.sent(&Frame::read(r#"{"type":"agent.deregister","agent_id":"77"}"#));
        assert!(leaves.wanted.contains("77"));
        leaves.engine(&registered());
        assert!(leaves.wanted.is_empty());
        leaves.stored(LINE);
        leaves.died();
        assert!(leaves.wanted.is_empty(), "the record came late");
    }

    #[test]
    fn whoever_is_listed_lives_here() {
        let mut leaves = Leaves::default();
        leaves.sent(&Frame::read(r#"{"type":"agent.deregister","agent_id":"77"}"#));
        leaves.stored(LINE);
        leaves.sent(&Frame::read(r#"{"type":"inventory.sync","agents":[{"name":"bob","agent_id":"77"}]}"#));
        assert!(leaves.wanted.is_empty());
        let mut next = Leaves { kept: leaves.kept.clone(), ..Leaves::default() };
        next.died();
        assert!(next.wanted.contains("77"), "the journal says so");
        leaves.stored(&LINE.replace("owed", "paid"));
        leaves.died();
        assert!(leaves.wanted.is_empty());
    }

    #[test]
    fn a_life_knows_of_those_before_it_what_is_on_disk() {
        let mut leaves = Leaves::default();
        leaves.writes(LINE);
        leaves.died();
        assert!(leaves.wanted.is_empty());
        leaves.writes(LINE);
        leaves.stored(LINE);
        leaves.died();
        assert!(leaves.wanted.contains("77"));
    }
}
