use super::*;
use crate::engine::ProfileName;
use crate::plan::{Fault, Step, draw};

fn failure(rule: &'static str) -> Failure {
    Failure { class: Class::Safety, rule, message: "a row was acked too early".into() }
}

/// A plan with much in it.
fn plan() -> Plan {
    let mut plan = draw(3, ProfileName::V6_0_3);
    let agent = plan.agents[0].clone();
    plan.agents =
        (0..4).map(|number| crate::plan::AgentPlan { name: format!("a{number}"), ..agent.clone() }).collect();
    let filler = (0..100).map(|at| (at * 77_777, Step::Send { to: at as usize % 4, size: 9 }));
    plan.steps = filler.collect();
    plan.steps[30].1 = Step::Fault(Fault::Kill { agent: 2 });
    plan.steps[40].1 = Step::Fault(Fault::Cut);
    plan.steps[60].1 = Step::Direct { to: 2, steer: true, size: 5_000 };
    plan.steps[90].1 = Step::Direct { to: 1, steer: true, size: 5_000 };
    plan.calm_at = 200 * SECOND;
    plan
}

/// Fails where the link breaks, and later the agent `a2` gets at least 700 bytes.
fn oracle(plan: &Plan) -> Option<Failure> {
    let cut = plan.steps.iter().position(|(_, step)| *step == Step::Fault(Fault::Cut))?;
    let hits =
        |step: &Step| matches!(step, Step::Direct { to, size: 700.., .. } if plan.agents[*to].name == "a2");
    plan.steps[cut..].iter().any(|(_, step)| hits(step)).then(|| failure("S1"))
}

#[test]
fn only_what_the_failure_needs_is_left() {
    let shrunk = shrink(plan(), 2_000, oracle, |_| {}).unwrap();
    let plan = &shrunk.scenario.plan;
    let steps: Vec<_> = plan.steps.iter().map(|(_, step)| *step).collect();
    assert_eq!(steps, [Step::Fault(Fault::Cut), Step::Direct { to: 0, steer: false, size: 700 }], "{plan:?}");
    assert_eq!(plan.agents.len(), 1);
    assert_eq!(plan.agents[0].name, "a2");
    assert!(plan.calm_at <= 20 * SECOND);
    assert!(plan.steps.iter().all(|(at, _)| at.is_multiple_of(SECOND)));
    assert_eq!(shrunk.name, "s1-cut");
    assert_eq!(Scenario::parse(&shrunk.scenario.to_text()).unwrap(), shrunk.scenario);
}

#[test]
fn another_rule_is_another_bug() {
    // Without the kill, something else breaks.
    let run = |plan: &Plan| {
        let killed = plan.steps.iter().any(|(_, step)| matches!(step, Step::Fault(Fault::Kill { .. })));
        Some(failure(if killed { "S1" } else { "S2" }))
    };
    let shrunk = shrink(plan(), 2_000, run, |_| {}).unwrap();
    assert_eq!(shrunk.failure.rule, "S1");
    let steps = &shrunk.scenario.plan.steps;
    assert!(matches!(steps[..], [(_, Step::Fault(Fault::Kill { agent: 0 }))]), "{steps:?}");
    assert_eq!(shrunk.name, "s1-kill");
}

#[test]
fn a_panic_is_the_same_whatever_its_numbers() {
    let run = |plan: &Plan| {
        let message = match plan.steps.len() {
            0 => "nothing".into(),
            steps => format!("slot {steps} is not there"),
        };
        Some(Failure { class: Class::Panic, rule: "panic", message })
    };
    let shrunk = shrink(plan(), 2_000, run, |_| {}).unwrap();
    assert_eq!(shrunk.failure.message, "slot 1 is not there");
}

#[test]
fn the_number_of_runs_is_bounded() {
    let mut runs = 0;
    let count = |plan: &Plan| {
        runs += 1;
        oracle(plan)
    };
    let shrunk = shrink(plan(), 25, count, |_| {}).unwrap();
    assert_eq!((runs, shrunk.runs), (25, 25));
    assert!(oracle(&shrunk.scenario.plan).is_some());
}

#[test]
fn what_passes_or_changes_is_not_shrunk() {
    assert_eq!(shrink(plan(), 9, |_| None, |_| {}).unwrap_err(), Unshrinkable::Passes);
    let mut runs = 0;
    let flaky = |_: &Plan| {
        runs += 1;
        Some(Failure { message: format!("run {runs}"), ..failure("S1") })
    };
    assert_eq!(shrink(plan(), 9, flaky, |_| {}).unwrap_err(), Unshrinkable::Nondeterministic);
}

#[test]
fn the_calm_stays_behind_all_that_is_wanted_and_happens() {
    let mut plan = plan();
    plan.agents[0].from = 150 * SECOND;
    // Only an early calm, or a late one, fails: what is between them does not.
    let run = |plan: &Plan| {
        let is_late = plan.agents.iter().any(|agent| agent.from == 150 * SECOND);
        let fails = is_late && !(150 * SECOND..200 * SECOND).contains(&plan.calm_at);
        fails.then(|| failure("S1"))
    };
    let shrunk = shrink(plan, 2_000, run, |_| {}).unwrap();
    assert_eq!(shrunk.scenario.plan.calm_at, 200 * SECOND);
    assert_eq!(Scenario::parse(&shrunk.scenario.to_text()).unwrap(), shrunk.scenario);
}
