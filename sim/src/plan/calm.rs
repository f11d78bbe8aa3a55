//! Plans in which nothing fails: for measuring.
//!
//! Owns: a steady load. Must not know: who measures what.

use super::{AgentPlan, Plan, SECOND, Step};
use crate::agents::Kind;
use crate::engine::ProfileName;

/// Programs that take what they are sent without a long start.
const KINDS: [Kind; 4] = [Kind::Cat, Kind::Raw, Kind::Wrapped, Kind::Claude];
/// Until the first message, so that the agents are there.
const START: u64 = 30 * SECOND;
/// Between two messages for one agent: more than it needs for one.
const PAUSE: u64 = 2 * SECOND;
/// Bytes of a message.
const SIZE: usize = 200;

/// A case without faults: so many direct messages, evenly spread over so many agents.
pub fn calm(seed: u64, profile: ProfileName, agents: usize, messages: usize) -> Plan {
    let agent = |number: usize| AgentPlan {
        name: format!("agent-{number}"),
        kind: KINDS[number % KINDS.len()],
        invoked: false,
        from: 0,
        task: false,
    };
    let at = |number: usize| START + number as u64 * PAUSE / agents as u64;
    let step = |number| (at(number), Step::Direct { to: number % agents, steer: false, size: SIZE });
    Plan {
        seed,
        profile: profile.into(),
        agents: (0..agents).map(agent).collect(),
        steps: (0..messages).map(step).collect(),
        calm_at: at(messages),
        network: 5_000,
        system: 500,
        dying: 0,
        patient: false,
    }
}
