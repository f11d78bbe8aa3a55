//! Drawing a plan from a seed.
//!
//! Owns: which sizes and steps a seed stands for, and how often each comes.
//! Must not know: how a step is carried out.
//!
//! 1. A plan depends on the seed and the engine's release only.
//! 2. Some seeds have no faults at all.
//! 3. Most cases are small, a few are large: what many small ones do not find, a larger one rarely does.

use super::classes::Classes;
use super::{AgentPlan, Ask, Fault, Plan, SECOND, Step};
use crate::agents::Kind;
use crate::engine::ProfileName;
use crate::rng::{Rng, Stream, key};

/// So long an invocation has time to start an agent before the operator does.
const INVOKED: u64 = 15 * SECOND;
/// One in so many cases has bulk: messages so long that a few of them fill what is bounded. One takes as much
/// time as fifty others.
const BULKY: u64 = 2_000;
/// So many fill the window of an agent.
const WINDOWFUL: usize = 10;
/// So many fill the streams of those who follow the events and do not read them, once they are echoed.
/// More would be emulated at length for nothing else.
const STREAMFUL: usize = 4;

/// One in so many cases has more reactions than a broker remembers. Each goes to every agent: such a case takes
/// as much time as six others.
const REACTED: u64 = 300;

/// One in so many links that fall silent does so in the middle of a flood: more messages than an engine ends by
/// one ack. Such a case takes as much time as two others.
const FLOODED: u64 = 8;

/// So many links whose frames are held down are there for one that holds a message for who is just released.
const HELD: u64 = 4;

/// In one of so many links that fall silent an agent leaves for good meanwhile.
const UNHEARD: u64 = 2;

/// While one in so many times that calls fail the broker is asked to stop, and somebody has just said so much.
const UNANSWERED: u64 = 4;
const SAID: usize = 3;

/// One in so many slow replays is of messages that have no room, some of which were lost before: what one replay
/// brings once only. Such a case takes as much time as fifty others.
const ROOMLESS: u64 = 128;
/// So many of these are more than a window holds.
const OVERFLOW: usize = 13;

/// How long the messages of a case may be. A long one takes as much time as a hundred short ones, and few
/// bugs need it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Short,
    Medium,
    Long,
}

impl Length {
    fn draw(rng: Rng) -> Self {
        match rng.between(Stream::Shape, 15, 0, 4) {
            0 => Self::Long,
            1 => Self::Medium,
            _ => Self::Short,
        }
    }
}

/// Draws the case of a seed.
pub fn draw(seed: u64, profile: ProfileName) -> Plan {
    draw_with(seed, profile, Rng::new(seed).skewed(Stream::Shape, 4, 5, 120))
}

/// Draws the case of a seed with so many steps of work.
pub fn draw_with(seed: u64, profile: ProfileName, steps_of_work: u64) -> Plan {
    let rng = Rng::new(seed);
    let draw = |position: u64, low, high| rng.between(Stream::Shape, position, low, high);
    let busy = if draw(10, 0, 9) == 0 { draw(1, 120, 400) } else { draw(1, 20, 120) } * SECOND;
    let faulty = draw(2, 0, 9) > 0;
    let agents: Vec<AgentPlan> = (0..draw(3, 1, 5)).map(|number| agent(rng, number, busy)).collect();
    let length = Length::draw(rng);
    let mut steps = Vec::new();
    for number in (0..agents.len()).filter(|number| agents[*number].invoked) {
        let at = draw(20 + number as u64, 1, INVOKED);
        steps.push((at, Step::Invoke { agent: number }));
    }
    for number in 0..steps_of_work {
        let at = rng.between(Stream::Step, key(number, 1), 2 * SECOND, busy);
        steps.push((at, work(rng, number, agents.len() as u64, length)));
    }
    if draw(11, 0, BULKY - 1) == 0 {
        steps.extend(bulk(rng, &agents, busy, faulty));
    }
    if draw(16, 0, REACTED - 1) == 0 {
        let at = draw(17, 3 * SECOND, busy);
        steps.push((at - SECOND, Step::Channel { size: 20 }));
        steps.push((at, Step::Reactions { count: draw(18, 1_030, 1_300) as usize }));
    }
    if faulty {
        let classes = Classes::new(rng, busy);
        for number in 0..rng.skewed(Stream::Shape, 5, 2, 25) {
            let at = rng.between(Stream::Fault, key(number, 1), SECOND / 10, busy);
            if let Some(fault) = classes.draw(number, agents.len() as u64, at) {
                // A name is taken before its owner comes.
                let at = if fault == Fault::NameTaken { 0 } else { at };
                steps.push((at, Step::Fault(fault)));
                steps.extend(occasion(rng, number, fault, &agents, at, busy));
            }
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    Plan {
        seed,
        profile: profile.into(),
        agents,
        steps,
        calm_at: busy,
        network: rng.skewed(Stream::Shape, 6, 200, 300_000),
        system: rng.skewed(Stream::Shape, 7, 50, 30_000),
        dying: if faulty { draw(8, 0, 3) * 40 } else { 0 },
        patient: draw(9, 0, 9) == 0,
    }
}

/// What a fault that begins at `at` needs in order to strike, and few cases have just then.
fn occasion(
    rng: Rng,
    number: u64,
    fault: Fault,
    agents: &[AgentPlan],
    at: u64,
    busy: u64,
) -> Vec<(u64, Step)> {
    let drawn = |stream, low, high| rng.between(Stream::Fault, key(number, stream), low, high);
    match fault {
        // An event outside of the sequence.
        Fault::Echo { .. } => {
            vec![(at + 1, Step::Channel { size: 20 }), (at + SECOND / 2, Step::React { read: false })]
        }
        // Many messages, whose acks are lost although they are read, and readers who missed the first of so many events.
        Fault::HalfOpen { .. } if drawn(11, 0, FLOODED - 1) == 0 => {
            let quick = |agent: &AgentPlan| !matches!(agent.kind, Kind::Slow | Kind::Deaf);
            let Some(to) = agents.iter().position(quick) else {
                return Vec::new();
            };
            let count = drawn(12, 120, 200) as usize;
            let readers = Step::Fault(Fault::Readers { count: 4 });
            vec![(at.saturating_sub(SECOND / 5), Step::Burst { to, count }), (busy - 1, readers)]
        }
        // Messages that follow each other closely enough for one to overtake the other, or to be missed when more
        // comes.
        Fault::Reorder { .. } | Fault::Lose { .. } => {
            let to = drawn(13, 0, agents.len() as u64 - 1) as usize;
            let message = Step::Direct { to, steer: false, size: 20 };
            let sent = (at + drawn(14, 1, SECOND)).min(busy);
            vec![(sent, message), ((sent + drawn(15, 1, SECOND / 100)).min(busy), message)]
        }
        // A message under way to one who is released meanwhile, and starts anew under the same name.
        Fault::HoldDown { .. } if drawn(16, 0, HELD - 1) == 0 => {
            let agent = drawn(17, 0, agents.len() as u64 - 1) as usize;
            let released = at.saturating_sub(drawn(18, 1, SECOND / 2));
            let message = Step::Direct { to: agent, steer: false, size: 20 };
            vec![(released, Step::InvokeRelease { agent }), (at + drawn(19, 1, SECOND / 4), message)]
        }
        // An agent that leaves for good while nothing passes the link.
        Fault::HalfOpen { lasts } if drawn(20, 0, UNHEARD - 1) == 0 => {
            let agent = drawn(21, 0, agents.len() as u64 - 1) as usize;
            vec![(at + drawn(22, 0, lasts / 2), Step::Fault(Fault::Retire { agent }))]
        }
        // Messages through the local API that are not answered yet when the broker is asked to stop.
        Fault::Calls { lasts } if drawn(23, 0, UNANSWERED - 1) == 0 => {
            let to = drawn(24, 0, agents.len() as u64 - 1) as usize;
            let said = at + drawn(25, 0, lasts / 2);
            let stopped = (said + drawn(26, 1, SECOND / 10)).min(at + lasts);
            let mut steps = vec![(said, Step::Send { to, size: 20 }); SAID];
            steps.push((stopped, Step::Fault(Fault::Terminate)));
            steps
        }
        Fault::SlowReplay { .. } => slow_replay(drawn, agents, at, busy),
        // What is just made: the broker begins, and needs another token.
        Fault::Lag { .. } => vec![(0, Step::Fault(fault)), (at + 1, Step::Fault(Fault::Rotate))],
        // An order for an agent that does not run.
        Fault::Neighbour { .. } => {
            let Some(agent) = agents.iter().position(|agent| agent.kind.is_placeable()) else {
                return Vec::new();
            };
            let released = (at + drawn(7, 0, 3 * SECOND)).min(busy);
            let ordered = (released + drawn(8, 0, 3 * SECOND)).min(busy);
            vec![(released, Step::Release { agent }), (ordered, Step::Invoke { agent })]
        }
        _ => Vec::new(),
    }
}

/// Messages that nobody reads yet are replayed, and inventories are answered in the middle of that: a machine that
/// has slept sends one.
fn slow_replay(
    drawn: impl Fn(u64, u64, u64) -> u64,
    agents: &[AgentPlan],
    at: u64,
    busy: u64,
) -> Vec<(u64, Step)> {
    let to = drawn(27, 0, agents.len() as u64 - 1) as usize;
    let sent = at.saturating_sub(drawn(28, SECOND, 8 * SECOND));
    let lasts = drawn(29, 10 * SECOND, 90 * SECOND);
    let mut steps = vec![(sent.saturating_sub(SECOND), Step::Fault(Fault::Busy { agent: to, lasts }))];
    // A slow reader would read so much for hours.
    if drawn(30, 0, ROOMLESS - 1) == 0 && agents[to].kind != Kind::Slow {
        steps.push((sent, Step::Fault(Fault::Lose { lasts: SECOND })));
        let message = Step::Direct { to, steer: false, size: drawn(31, 430_000, 500_000) as usize };
        steps.extend((1..=OVERFLOW as u64).map(|number| ((sent + number).min(busy), message)));
    } else {
        steps.push((sent, Step::Burst { to, count: drawn(31, 3, 40) as usize }));
    }
    let begins = (at + drawn(32, 1, SECOND)).min(busy - 1);
    steps.push((begins, Step::Fault(Fault::Cut)));
    for number in 0..drawn(33, 0, 4) {
        let slept = (begins + drawn(34 + number, SECOND, 12 * SECOND)).min(busy - 1);
        steps.push((slept, Step::Fault(Fault::Suspend { lasts: 10 * SECOND })));
    }
    steps
}

/// Messages that fill the window of an agent without an echo, or with their echo the streams of slow readers.
fn bulk(rng: Rng, agents: &[AgentPlan], busy: u64, faulty: bool) -> Vec<(u64, Step)> {
    let draw = |position: u64, low, high| rng.between(Stream::Shape, position, low, high);
    let to = draw(12, 0, agents.len() as u64 - 1) as usize;
    let count = match agents[to].kind {
        // It would read for hours.
        Kind::Slow => return Vec::new(),
        Kind::Silent | Kind::Mangled => WINDOWFUL,
        _ => STREAMFUL,
    };
    let at = draw(13, 3 * SECOND, busy);
    let size = draw(14, 430_000, 500_000) as usize;
    let mut steps = vec![(at, Step::Direct { to, steer: false, size }); count];
    if faulty {
        steps.push((at - SECOND, Step::Fault(Fault::SlowReaders { lasts: 20 * SECOND })));
    }
    steps
}

fn agent(rng: Rng, number: u64, busy: u64) -> AgentPlan {
    let draw = |stream| rng.word(Stream::Shape, key(100 + number, stream));
    let kind = Kind::ALL[(draw(1) % Kind::ALL.len() as u64) as usize];
    let invoked = kind.is_placeable() && draw(2) % 2 == 0;
    let from = match draw(3) % 3 {
        _ if invoked => INVOKED,
        0 => rng.between(Stream::Shape, key(100 + number, 4), 0, busy),
        _ => 0,
    };
    AgentPlan {
        name: format!("agent-{number}"),
        kind,
        invoked,
        from,
        task: kind != Kind::Deaf && draw(5) % 2 == 0,
    }
}

fn work(rng: Rng, number: u64, agents: u64, length: Length) -> Step {
    let draw = |stream, low, high| rng.between(Stream::Step, key(number, stream), low, high);
    let to = draw(2, 0, agents - 1) as usize;
    let skewed = |stream, low, high| rng.skewed(Stream::Step, key(number, stream), low, high);
    let size = match draw(3, 0, 19) {
        0 if length == Length::Long => skewed(4, 4_000, 64_000),
        1..3 if length != Length::Short => skewed(4, 1_000, 6_000),
        _ => draw(4, 1, 300),
    } as usize;
    match draw(5, 0, 99) {
        0..46 => Step::Direct { to, steer: draw(6, 0, 3) == 0, size },
        46..61 => Step::Channel { size },
        61..67 => Step::Reply { size },
        67..69 => Step::Group { size },
        69..71 => Step::Outcome { to },
        71 => Step::React { read: draw(8, 0, 1) == 0 },
        72 => Step::Deny { to },
        73 => Step::Novel { to },
        74..77 => Step::Ask { agent: to, what: Ask::ALL[draw(8, 0, Ask::ALL.len() as u64 - 1) as usize] },
        77..86 => Step::Send { to, size },
        86 => Step::Burst { to, count: skewed(7, 20, 200) as usize },
        87..90 => Step::Input { to },
        90..93 => Step::Release { agent: to },
        93..96 => Step::InvokeRelease { agent: to },
        _ => Step::Invoke { agent: to },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        let text = |seed| format!("{:?}", draw(seed, ProfileName::V6_0_3));
        assert_eq!(text(3), text(3));
        assert_ne!(text(3), text(4));
    }

    #[test]
    fn messages_are_short_in_most_cases_and_long_in_some() {
        let longest = |seed| {
            let steps = draw_with(seed, ProfileName::V5_0_5, 100).steps.into_iter();
            let sizes = steps.filter_map(|(_, step)| match step {
                Step::Direct { size, .. } if size < 400_000 => Some(size),
                _ => None,
            });
            sizes.max().unwrap_or(0)
        };
        let longest: Vec<_> = (0..100).map(longest).collect();
        let count =
            |range: std::ops::Range<usize>| longest.iter().filter(|size| range.contains(size)).count();
        assert!(count(0..301) > 50 && count(301..6_001) > 5 && count(6_001..64_001) > 5, "{longest:?}");
    }

    #[test]
    fn every_kind_of_step_and_fault_is_drawn_by_some_seed() {
        let mut names = std::collections::BTreeSet::new();
        for seed in 0..400 {
            for (at, step) in draw(seed, ProfileName::V5_0_5).steps {
                assert!(at <= 400 * SECOND);
                let text = format!("{step:?}");
                let name = text.split_once(" {").map_or(text.as_str(), |(name, _)| name);
                names.insert(name.to_owned());
            }
        }
        assert_eq!(names.len(), 16 + Classes::count(), "{names:?}");
    }
}
