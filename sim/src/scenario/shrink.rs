//! Shrinking: from a case that fails to a small one that fails the same way.
//!
//! Owns: which smaller cases are tried, in which order, and how many.
//! Must not know: how a case is run, or why it fails.
//!
//! 1. A smaller case is taken only if it breaks the same rule; another bug is another case.
//! 2. What has to be tried is tried from coarse to fine: the end of the case, whole kinds of steps,
//!    agents, runs of steps (ddmin), and last the arguments.
//! 3. The number of runs is bounded; what was reached by then is the result.
//! 4. The seed stays: it keys the delays.

use super::{Scenario, arguments};
use crate::agents::Kind;
use crate::oracles::{Class, Failure};
use crate::plan::{Plan, SECOND};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// Rounds over everything: what one kind of change makes possible for another.
const ROUNDS: usize = 4;
/// Characters of a failure's message that a scenario keeps.
const ABOUT: usize = 200;
/// Fault words in a name.
const WORDS: usize = 4;

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is tried.
    pub phase: &'static str,
    /// Runs so far.
    pub runs: u32,
    /// Steps that are left.
    pub steps: usize,
    /// Agents that are left.
    pub agents: usize,
}

/// A small case.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// It, expected to pass once the bug is gone.
    pub scenario: Scenario,
    /// How it fails.
    pub failure: Failure,
    /// A name for its file.
    pub name: String,
    /// Runs that it took.
    pub runs: u32,
}

/// Why there is no small case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unshrinkable {
    /// The case passes.
    Passes,
    /// Two runs of the case differ.
    Nondeterministic,
}

impl fmt::Display for Unshrinkable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passes => "the case passes: there is nothing to shrink",
            Self::Nondeterministic => "two runs of the case differ: find out why first",
        })
    }
}

impl std::error::Error for Unshrinkable {}

/// Shrinks a case in at most `limit` runs, but not fewer than the two that tell how it fails; `run` says
/// how a case fails.
///
/// # Errors
/// When the case does not fail, or not the same way twice.
pub fn shrink(
    plan: Plan,
    limit: u32,
    run: impl FnMut(&Plan) -> Option<Failure>,
    progress: impl FnMut(Progress),
) -> Result<Shrunk, Unshrinkable> {
    let mut run = run;
    let failure = run(&plan).ok_or(Unshrinkable::Passes)?;
    let again = run(&plan).ok_or(Unshrinkable::Nondeterministic)?;
    if again.message != failure.message {
        return Err(Unshrinkable::Nondeterministic);
    }
    let mut case =
        Case { symptom: symptom(&failure), plan, failure, run, progress, phase: "", runs: 2, limit };
    case.truncate();
    for _ in 0..ROUNDS {
        let before = case.plan.clone();
        case.drop_kinds();
        case.drop_agents();
        case.drop_steps();
        case.simplify();
        if case.plan == before {
            break;
        }
    }
    let about: String = format!("Broke {}: {}", case.failure.rule, case.failure.message);
    let about: String = about.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    Ok(Shrunk {
        name: name(&case.failure, &case.plan),
        scenario: Scenario::new(about.chars().take(ABOUT).collect::<String>(), case.plan),
        failure: case.failure,
        runs: case.runs,
    })
}

/// What makes two failures the same. Panics have no rule, so their words count, without numbers.
fn symptom(failure: &Failure) -> (u8, &'static str, String) {
    let words = failure.message.chars().filter(|char| !char.is_ascii_digit());
    let words = if failure.class == Class::Panic { words.collect() } else { String::new() };
    (failure.class as u8, failure.rule, words)
}

/// The rule, and the faults that are left.
fn name(failure: &Failure, plan: &Plan) -> String {
    let mut words = vec![failure.rule.to_lowercase().replace(' ', "-")];
    let labels: Vec<_> = plan.steps.iter().map(|(_, step)| arguments::label(step)).collect();
    let faults: Vec<_> = labels.iter().filter_map(|label| label.strip_prefix("fault-")).collect();
    let wanted = if faults.is_empty() { labels.iter().map(String::as_str).collect() } else { faults };
    let mut seen = BTreeSet::new();
    let wanted = wanted.into_iter().filter(|word| seen.insert(*word)).take(WORDS);
    words.extend(wanted.map(str::to_owned));
    words.join("-")
}

/// The smallest case so far.
struct Case<R, P> {
    plan: Plan,
    failure: Failure,
    symptom: (u8, &'static str, String),
    run: R,
    progress: P,
    phase: &'static str,
    runs: u32,
    limit: u32,
}

impl<R: FnMut(&Plan) -> Option<Failure>, P: FnMut(Progress)> Case<R, P> {
    /// Takes the smaller case if it fails the same way (invariant 1).
    fn accept(&mut self, plan: Plan) -> bool {
        if self.runs >= self.limit || plan == self.plan {
            return false;
        }
        self.runs += 1;
        let failure = (self.run)(&plan).filter(|failure| symptom(failure) == self.symptom);
        let accepted = failure.is_some();
        if let Some(failure) = failure {
            self.plan = plan;
            self.failure = failure;
        }
        (self.progress)(Progress {
            phase: self.phase,
            runs: self.runs,
            steps: self.plan.steps.len(),
            agents: self.plan.agents.len(),
        });
        accepted
    }

    /// Tries the case with a change.
    fn change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.plan.clone();
        change(&mut plan);
        self.accept(plan)
    }

    /// The fewest steps from the beginning.
    fn truncate(&mut self) {
        self.phase = "truncate";
        let mut low = 0;
        while low < self.plan.steps.len() {
            let middle = low.midpoint(self.plan.steps.len());
            if !self.change(|plan| plan.steps.truncate(middle)) {
                low = middle + 1;
            }
        }
    }

    /// All faults at once, all steps of a kind at once, and deaths that are no step.
    fn drop_kinds(&mut self) {
        self.phase = "drop kinds";
        self.change(|plan| plan.steps.retain(|(_, step)| !arguments::label(step).starts_with("fault-")));
        let kinds: BTreeSet<_> = self.plan.steps.iter().map(|(_, step)| arguments::label(step)).collect();
        for kind in kinds {
            self.change(|plan| plan.steps.retain(|(_, step)| arguments::label(step) != kind));
        }
        self.change(|plan| plan.dying = 0);
        self.change(|plan| plan.patient = false);
    }

    /// Agents, each with the steps that name it.
    fn drop_agents(&mut self) {
        self.phase = "drop agents";
        for agent in (0..self.plan.agents.len()).rev() {
            if self.plan.agents.len() > 1 {
                self.change(|plan| remove_agent(plan, agent));
            }
        }
    }

    /// Runs of steps, from halves down to single ones.
    fn drop_steps(&mut self) {
        self.phase = "drop steps";
        let mut length = self.plan.steps.len().div_ceil(2);
        while length > 0 {
            let mut from = 0;
            while from < self.plan.steps.len() {
                let to = (from + length).min(self.plan.steps.len());
                if !self.change(|plan| drop(plan.steps.drain(from..to))) {
                    from = to;
                }
            }
            length = if length == 1 { 0 } else { length.div_ceil(2) };
        }
    }

    fn simplify(&mut self) {
        self.phase = "simplify";
        self.simplify_agents();
        for step in 0..self.plan.steps.len() {
            self.simplify_arguments(step);
            self.simplify_time(step);
        }
        let steps = self.plan.steps.iter().map(|(at, _)| *at);
        let end = steps.chain(self.plan.agents.iter().map(|agent| agent.from)).max().unwrap_or(0);
        for calm_at in [end + 1, end + SECOND, end + 10 * SECOND, self.plan.calm_at / 2] {
            let calm_at = calm_at.next_multiple_of(SECOND);
            if (end + 1..self.plan.calm_at).contains(&calm_at) && self.change(|plan| plan.calm_at = calm_at) {
                break;
            }
        }
        for (network, system) in [(1_000, 100), (10_000, 1_000)] {
            self.change(|plan| plan.network = plan.network.min(network));
            self.change(|plan| plan.system = plan.system.min(system));
        }
    }

    fn simplify_agents(&mut self) {
        for agent in 0..self.plan.agents.len() {
            self.change(|plan| plan.agents[agent].kind = Kind::Cat);
            self.change(|plan| plan.agents[agent].invoked = false);
            self.change(|plan| plan.agents[agent].task = false);
            self.change(|plan| plan.agents[agent].from = 0);
        }
    }

    /// Numbers towards 1, switches off. Names of agents are no numbers.
    fn simplify_arguments(&mut self, step: usize) {
        for argument in 0.. {
            let Some(found) = self.argument(step, argument) else { return };
            match found {
                Value::Bool(true) => {
                    self.set_argument(step, argument, &false.into());
                }
                Value::Number(number) => self.simplify_number(step, argument, number.as_i64().unwrap_or(0)),
                _ => {}
            }
        }
    }

    /// Binary search for the smallest number that still fails; of large ones nearly.
    fn simplify_number(&mut self, step: usize, argument: usize, number: i64) {
        let (sign, mut high) = (number.signum(), number.abs());
        let mut low = 1;
        while low < high {
            let middle = low.midpoint(high);
            if self.set_argument(step, argument, &(sign * middle).into()) {
                high = middle;
            } else {
                low = middle + (middle / 16).max(1);
            }
        }
    }

    /// The argument of this number that may be made simpler, or a name of an agent as null.
    fn argument(&self, step: usize, argument: usize) -> Option<Value> {
        let mut found = Vec::new();
        arguments::changed(&self.plan.steps[step].1, |name, value| {
            found.push(if is_agent(name) { Value::Null } else { value.clone() });
        });
        found.into_iter().nth(argument)
    }

    fn set_argument(&mut self, step: usize, argument: usize, to: &Value) -> bool {
        let mut number = 0;
        let changed = arguments::changed(&self.plan.steps[step].1, |_, value| {
            if number == argument {
                *value = to.clone();
            }
            number += 1;
        });
        changed.is_some_and(|changed| self.change(|plan| plan.steps[step].1 = changed))
    }

    /// A time that people can read, in the same order.
    fn simplify_time(&mut self, step: usize) {
        let after = step.checked_sub(1).map_or(0, |before| self.plan.steps[before].0);
        for unit in [SECOND, SECOND / 10, SECOND / 1_000] {
            let at = self.plan.steps[step].0 / unit * unit;
            if at >= after && self.change(|plan| plan.steps[step].0 = at) {
                return;
            }
        }
    }
}

fn is_agent(name: &str) -> bool {
    ["to", "agent"].contains(&name)
}

fn remove_agent(plan: &mut Plan, agent: usize) {
    plan.agents.remove(agent);
    plan.steps.retain_mut(|(_, step)| {
        let mut named = false;
        let changed = arguments::changed(step, |name, value| {
            let place = value.as_u64().filter(|_| is_agent(name));
            named |= place == Some(agent as u64);
            if let Some(place) = place.filter(|place| *place > agent as u64) {
                *value = (place - 1).into();
            }
        });
        *step = changed.unwrap_or(*step);
        !named
    });
}

#[cfg(test)]
#[path = "shrink_tests.rs"]
mod tests;
