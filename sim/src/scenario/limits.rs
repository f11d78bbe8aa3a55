//! What a scenario must not say.
//!
//! Owns: the bounds of a plan that comes from a file, and which names are taken.
//! Must not know: the form of the file.
//!
//! 1. A bound is far beyond what is drawn or found, and low enough for one process.
//! 2. What no broker can pass is refused, so that a failure is the broker's.
//! 3. Numbers of steps are found by their names (plan, invariant 3), so a new step is checked by itself.

use super::{Unusable, arguments};
use crate::plan::{Fault, Plan, SECOND, Step};
use crate::world::{INSTANCE, SENDERS};
use std::collections::BTreeSet;

/// Bytes of a file; a step has some 50.
pub const FILE: usize = 4 << 20;
/// Agents of a plan.
pub(crate) const AGENTS: usize = 1_000;
/// Steps of a plan.
pub(crate) const STEPS: usize = 50_000;
/// Characters of an agent's name.
pub(crate) const NAME: usize = 64;
/// Bytes of a message: the engine takes no longer one.
pub(crate) const SIZE: i64 = 1 << 20;
/// Messages of a burst.
const COUNT: i64 = 2_000;
/// Bytes of all messages, counted for everybody who may get them.
pub(crate) const TOTAL: u64 = 64 << 20;
/// Rows of all messages, counted like that: with more, the events of a world may be too many.
pub(crate) const ROWS: u64 = 100_000;
/// Any time, in µs: a day. Also the largest number of any other kind.
pub(crate) const TIME: u64 = 24 * 3_600 * SECOND;
/// Longest way of a frame, and operation of the operating system, in µs: with more, a request has no
/// answer in its time, and a link is taken for silent before it is.
const DELAY: u64 = 2 * SECOND;
/// So much later than the calm there may be work, in µs: some is drawn to follow a fault, and later the
/// world may have ended.
const LATE: u64 = SECOND;
/// So much later than the calm a fault may end, in µs: a program that has read nothing for half an hour is given
/// up, as it should be.
const OUTLASTS: u64 = 15 * 60 * SECOND;

/// Whether somebody in the world has this name already: the broker's own agent, or a sender.
pub(crate) fn is_taken(name: &str) -> bool {
    name == INSTANCE || SENDERS.contains(&name)
}

fn unusable<T>(message: String) -> Result<T, Unusable> {
    Err(Unusable(message))
}

fn at_most(what: &str, found: u64, limit: u64) -> Result<(), Unusable> {
    if found > limit {
        return unusable(format!("{what} is {found}, and at most {limit} is simulated"));
    }
    Ok(())
}

pub(super) fn check(plan: &Plan) -> Result<(), Unusable> {
    at_most("the number of agents", plan.agents.len() as u64, AGENTS as u64)?;
    at_most("the number of steps", plan.steps.len() as u64, STEPS as u64)?;
    let times =
        [("calm_at", plan.calm_at, TIME), ("network", plan.network, DELAY), ("system", plan.system, DELAY)];
    for (what, time, limit) in times {
        at_most(what, time, limit)?;
        if time == 0 {
            return unusable(format!("{what} is 0, and must be at least 1 µs"));
        }
    }
    at_most("dying", plan.dying, 1_000)?;
    check_agents(plan)?;
    for (number, (at, step)) in plan.steps.iter().enumerate() {
        check_time(plan, number, *at, step)?;
        check_step(plan, number, step)?;
    }
    let mut load = Load::default();
    plan.steps.iter().for_each(|(_, step)| load.add(step, plan.agents.len()));
    at_most("the sum of all messages in bytes, for each that may get them,", load.bytes, TOTAL)?;
    at_most("the number of all messages, for each that may get them,", load.rows, ROWS)
}

/// What steps make the world carry.
#[derive(Debug, Default)]
pub(crate) struct Load {
    bytes: u64,
    rows: u64,
}

impl Load {
    /// Another step, in a world of so many agents.
    pub(crate) fn add(&mut self, step: &Step, agents: usize) {
        let (size, rows) = match step {
            Step::Direct { size, .. } | Step::Send { size, .. } => (*size as u64, 1),
            Step::Channel { size } | Step::Reply { size } | Step::Group { size } => {
                (*size as u64, agents as u64)
            }
            Step::Burst { count, .. } => (*count as u64, *count as u64),
            _ => return,
        };
        self.bytes = self.bytes.saturating_add(size.saturating_mul(rows));
        self.rows = self.rows.saturating_add(rows);
    }

    /// Whether a scenario may have it.
    pub(crate) const fn fits(&self) -> bool {
        self.bytes <= TOTAL && self.rows <= ROWS
    }
}

/// Nothing fails after the calm, so a fault comes before it; work may be a little late.
fn check_time(plan: &Plan, number: usize, at: u64, step: &Step) -> Result<(), Unusable> {
    at_most(&format!("the time of step {number}"), at, TIME)?;
    let (calm_at, is_fault) = (plan.calm_at, matches!(step, Step::Fault(_)));
    if is_fault && at >= calm_at {
        return unusable(format!("step {number} is a fault at {at}, and must be before calm_at, {calm_at}"));
    }
    if at > calm_at + LATE {
        return unusable(format!("step {number} is at {at}, and must not be later than calm_at, {calm_at}"));
    }
    if outlasts(at, step, calm_at) {
        return unusable(format!(
            "step {number} lasts too long: it must be over {} minutes behind calm_at, {calm_at}",
            OUTLASTS / 60 / SECOND
        ));
    }
    Ok(())
}

/// Whether a fault lasts too far into the calm.
pub(crate) fn outlasts(at: u64, step: &Step, calm_at: u64) -> bool {
    let lasts = arguments::numbers(step).into_iter().find(|(name, _)| name == "lasts");
    let end = lasts.map_or(at, |(_, lasts)| at.saturating_add(lasts.unsigned_abs()));
    // A machine that sleeps jumps over that time.
    end > calm_at + OUTLASTS && !matches!(step, Step::Fault(Fault::Suspend { .. }))
}

fn check_agents(plan: &Plan) -> Result<(), Unusable> {
    let mut names = BTreeSet::new();
    for agent in &plan.agents {
        let good = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
        let name = agent.name.as_str();
        if name.is_empty() || name.len() > NAME || !name.chars().all(good) {
            return unusable(format!(
                "agent {name:?} needs a name of 1 to {NAME} letters, digits, '-' and '_'"
            ));
        }
        if !names.insert(name) {
            return unusable(format!("two agents are called {name:?}"));
        }
        if is_taken(name) {
            return unusable(format!("{name:?} is no name for an agent: somebody else in the world has it"));
        }
        let (from, calm_at) = (agent.from, plan.calm_at);
        if from > calm_at {
            let what = format!("\"from\" of agent {name:?} is {from}");
            return unusable(format!("{what}, and must not be later than calm_at, {calm_at}"));
        }
    }
    Ok(())
}

fn check_step(plan: &Plan, number: usize, step: &Step) -> Result<(), Unusable> {
    for (name, value) in arguments::numbers(step) {
        let limit = match name.as_str() {
            "to" | "agent" => {
                let agents = plan.agents.len();
                if usize::try_from(value).is_ok_and(|agent| agent < agents) {
                    continue;
                }
                return unusable(format!("step {number} names agent {value}, and there are {agents}"));
            }
            "size" => SIZE,
            "count" => COUNT,
            _ => TIME as i64,
        };
        at_most(&format!("{name:?} of step {number}"), value.unsigned_abs(), limit as u64)?;
    }
    Ok(())
}
