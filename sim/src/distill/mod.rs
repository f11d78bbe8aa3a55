//! Distilling: from a recorded life to a scenario that does about the same.
//!
//! Owns: what of a record becomes which step, and what is left out.
//! Must not know: files, or how a plan is carried out.
//!
//! 1. Of the record's texts only the names of agents get into the scenario.
//! 2. What comes of it can be run: it is within the bounds of scenarios.
//! 3. The record is lived again without being compared, so that one of another core can be distilled
//!    too: the commands are those of this core, up to where it panics.
//!
//! | Of the record | In the scenario |
//! | --- | --- |
//! | all times | three seconds later, so that the agents are there |
//! | messages: when, for whom, how long, urgent or not | the same; bodies and senders are the simulator's |
//! | a message in a channel, a thread or a group | the same where all agents got it, else one for each that did |
//! | agents: names, how and when they were first started | the same, but for names that others have; where a program ends for good, the operator starts it again |
//! | what their terminals did | the most similar [`Kind`](crate::agents::Kind) of program |
//! | releases, input by hand, messages through the local API | the same; other requests are the simulator's |
//! | a link that broke, was refused, or went silent | a fault of that length |
//! | 401s at the upgrade | another token, or a time in which all are refused |
//! | calls, files or starts that failed | a time in which such things fail |
//! | a process that ended by itself, a stalled terminal, a clock that jumped | a fault of its kind |
//! | a stop, a panic | the same; another life follows |
//! | rows that came twice, or overtook others | a fault that causes it |
//! | the release of the engine | the oldest that fits what it said |
//! | what earlier lives left: files, mail, invocations | nothing: the first life is the first |
//! | rows that the engine lost, odd frames, slow disks, readers and handshakes | nothing |

mod cast;
mod link;
mod mail;
mod program;
mod watch;

use crate::plan::{Plan, SECOND, Step};
use crate::replay::Player;
use crate::scenario::Scenario;
use crate::scenario::limits::{self, Load};
use relay_core::trace::Trace;
use watch::Watch;

/// Until nothing fails any more, after the record's end.
const AFTER: u64 = SECOND;
/// Longest operation of the operating system, in µs: no record tells it from a busy program.
const SYSTEM: u64 = 1_000;

/// The scenario that does about what a recorded broker lived through.
pub fn distill(trace: &Trace<'_>) -> Scenario {
    let mut watch = Watch::new(trace);
    let mut player = Player::new(trace);
    while let Ok(Some(moment)) = player.step() {
        if let Some(broker) = player.broker() {
            watch.see(&moment, broker.marks());
        }
    }
    watch.end(&trace.end);
    let network = watch.network();
    let (agents, mut steps) = watch.steps();
    let found = steps.len();
    within_bounds(&mut steps, agents.len());
    let wanted = agents.iter().map(|agent| agent.from).max().unwrap_or(0);
    let last = steps.last().map_or(0, |(at, _)| *at).max(wanted);
    let messages = steps.iter().filter(|(_, step)| is_message(step)).count();
    let left_out = match (watch.strays(), found - steps.len()) {
        (0, 0) => String::new(),
        (strays, late) => format!(
            "; left out: messages for agents that never ran here: {strays}, steps that are too late or too many: {late}"
        ),
    };
    let about = format!(
        "Distilled from a trace (driver {}, core {}): {messages} messages, {} agents. Times, sizes, starts \
         and faults as recorded; bodies, senders, kinds of program and the release are stood in for{left_out}",
        trace.driver,
        trace.core,
        agents.len(),
    );
    let calm_at = (watch.now().max(last) + AFTER).min(limits::TIME);
    steps.retain(|(at, step)| !limits::outlasts(*at, step, calm_at));
    let plan = Plan {
        seed: u64::from_le_bytes(std::array::from_fn(|at| trace.boot.seed[at])),
        profile: watch.release().into(),
        agents,
        steps,
        calm_at,
        network,
        system: SYSTEM,
        dying: 0,
        patient: false,
    };
    Scenario::new(about, plan)
}

const fn is_message(step: &Step) -> bool {
    matches!(
        step,
        Step::Direct { .. }
            | Step::Channel { .. }
            | Step::Reply { .. }
            | Step::Group { .. }
            | Step::Send { .. }
    )
}

/// Leaves out what no scenario of so many agents may have; in the order of time.
fn within_bounds(steps: &mut Vec<(u64, Step)>, agents: usize) {
    let mut load = Load::default();
    let fits = |(at, step): &&(u64, Step)| {
        load.add(step, agents);
        *at < limits::TIME && load.fits()
    };
    let kept = steps.iter().take(limits::STEPS).take_while(fits).count();
    steps.truncate(kept);
}
