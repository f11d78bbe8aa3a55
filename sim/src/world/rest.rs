//! Rest: when a world has come to its end.
//!
//! Owns: what must be over, how long that may take, and the watch over a broker that has nothing to do.
//! Must not know: what happens in the world until then.
//!
//! 1. The world is at rest when nothing is open that the broker must end, and then stays so for [`QUIET`].
//! 2. What does not come to rest within [`BUDGET`] after the calm breaks the rule that wants it.

use super::{Event, World};
use crate::agents::Kind;
use crate::oracles::Class;
use crate::plan::{AgentPlan, SECOND};

/// From the calm to rest, in µs. Two replays that prove a hole may be minutes apart, a slow reader
/// with a full mailbox needs its time, and a message that nobody reads is given up 30 minutes after it
/// was typed, which may be late after many refused tokens.
const BUDGET: u64 = 3_000 * SECOND;
/// Between two looks at whether the world has come to rest, at least.
pub(super) const REVIEW: u64 = 5 * SECOND;
/// The looks get rarer: the next is after this part of the time since the calm.
const REVIEW_PART: u64 = 8;
/// At the end the world is watched for so long: each refresh of the broker happens in it. In µs.
const QUIET: u64 = 65 * SECOND;

impl World<'_> {
    /// Looks whether the world has come to rest.
    pub(super) fn review(&mut self) {
        self.inquire();
        let Some((rule, why)) = self.unrest() else {
            return self.rest();
        };
        self.oracles.expect_quiet(None);
        let calm = self.now - self.plan.calm_at;
        if calm > BUDGET {
            let message = format!("{} s after the calm: {why}", BUDGET / SECOND);
            return self.fail(Class::Liveness, rule, message);
        }
        self.heap.put(self.now + REVIEW.max(calm / REVIEW_PART), Event::Review);
    }

    /// Nothing is open. What a broker does from now on, without cause, is only to show that it lives.
    fn rest(&mut self) {
        let stirs = |agent: &AgentPlan| agent.kind == Kind::Deaf;
        let restless = self.plan.dying > 0 || self.plan.agents.iter().any(stirs);
        if !self.oracles.expect_quiet(Some(self.now)) {
            self.quiet_since = self.now;
        }
        if restless || self.now >= self.quiet_since + QUIET {
            self.oracles.expect_quiet(None);
            if let Some(life) = self.life.as_ref().filter(|_| !restless) {
                self.oracles.rests(&life.broker.held(), self.plan.agents.len());
            }
            if !self.plan.has_faults() {
                self.oracles.expect_exactly_once(&self.engine);
            }
            self.done.get_or_insert(Ok(()));
            return;
        }
        self.heap.put(self.now + REVIEW, Event::Review);
    }

    /// What has not come to rest yet, and the rule that it breaks if it never does.
    fn unrest(&self) -> Option<(&'static str, String)> {
        if self.life.is_none() {
            return Some(("L1", "the broker is not back".into()));
        }
        if !self.oracles.is_registered() {
            return Some(("L2", "the broker is not registered".into()));
        }
        if self.holds_frames() {
            return Some(("L2", "frames are held on a link".into()));
        }
        if self.disk.is_busy() {
            return Some(("L4", "the disk has not done yet what was wanted".into()));
        }
        if let Some(id) = self.oracles.open_invocation() {
            return Some(("L5", format!("invocation {id} has no end")));
        }
        if let Some(name) = self.missing_agent() {
            return Some(("L1", format!("{name} is not running")));
        }
        if let Some(name) = self.unwanted_agent() {
            return Some(("L1", format!("{name} is not wanted, and runs")));
        }
        let node = self.network.node_id.as_deref().unwrap_or_default();
        if let Some(id) = self.oracles.bound_behind_leave(&self.engine, node) {
            return Some(("L8", format!("agent {id} has left, and the engine still has it on this node")));
        }
        self.unrest_of_agents()
    }

    /// What has not come to rest yet of the agents that are wanted.
    fn unrest_of_agents(&self) -> Option<(&'static str, String)> {
        let is_deaf = |agent: &&AgentPlan| agent.kind == Kind::Deaf;
        let (deaf, reading): (Vec<_>, Vec<_>) = self.wanted_agents().partition(is_deaf);
        for agent in reading {
            if let Some(process) = self.oracles.unread_task(&agent.name) {
                return Some(("L1", format!("the first task of {} ({process:?}) was not read", agent.name)));
            }
            if let Some(result) = self.oracles.unread_result(&agent.name) {
                return Some(("L1", format!("result {result} was not read by {}", agent.name)));
            }
            if let Some(open) = self.oracles.unsettled(&self.engine, &agent.name) {
                let why = format!("row {} of {} is open, taken: {}", open.seq, agent.name, open.taken);
                return Some(("L1", why));
            }
        }
        for agent in &deaf {
            if let Some(seq) = self.oracles.unsettled_letter(&self.engine, &agent.name) {
                return Some(("L1", format!("row {seq} of {} is a dead letter and not acked", agent.name)));
            }
        }
        let waits = |agent: &&AgentPlan| !self.oracles.has_dead_letter(&self.engine, &agent.name);
        let waiting = deaf.into_iter().filter(|_| self.plan.patient).find(waits);
        waiting.map(|agent| ("L1", format!("{} does not read and has no dead letter", agent.name)))
    }
}
