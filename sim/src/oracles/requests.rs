//! S10: the local API answers.
//!
//! Would catch: a request that is forgotten, or left to its deadline, when its agent dies; two answers to one; a spawn or a
//! publish that waits for a dead engine, and a question about the state that waits behind it.
//!
//! 1. Every request gets exactly one answer within the time of its kind, unless the broker dies first.
//! 2. What asks only for the broker's own state is answered at once.
//! 3. Who types into a program that ends is answered with its end.
//! 4. Where the machine slept, the broker cannot know since when: it may count all the time from the input before
//!    as asleep.

use super::At;
use crate::world::Of;
use relay_core::ids::{ProcessId, RequestId};
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000;
/// A timer's due time and the answer that follows may be this far apart, in virtual µs.
const SLACK: u64 = SECOND;
/// A step of the machine's clock beyond this is a jump.
const CLOCK_JUMP: u64 = relay_core::limits::CLOCK_JUMP.0;

#[derive(Debug)]
struct Asked {
    what: String,
    /// Virtual µs, later by what may count as asleep.
    at: u64,
    /// The program that it is for has ended.
    ended: bool,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<Of<RequestId>, Asked>,
    /// Programs with a terminal, and whose they are.
    programs: BTreeMap<ProcessId, String>,
    /// The machine's clock and virtual time at the latest input, in µs.
    latest: (u64, u64),
}

/// How long an answer may take, in µs.
fn limit(what: &str) -> u64 {
    match what.split_once(' ') {
        Some(("POST", "/api/spawn")) => relay_core::limits::SPAWN_ANSWER.0,
        Some(("POST", "/api/send")) => relay_core::limits::PUBLISH.0,
        Some(("POST", target)) if target.starts_with("/api/input/") => 6 * SECOND,
        Some(("DELETE", _)) => 8 * SECOND,
        _ => 0,
    }
}

impl Requests {
    /// The broker is handed an input.
    pub(super) fn input(&mut self, at: At) -> Result<(), String> {
        let (mono, now) = std::mem::replace(&mut self.latest, (at.mono, at.now));
        let passed = at.now - now;
        if at.mono.saturating_sub(mono) > passed + CLOCK_JUMP {
            for asked in self.open.values_mut() {
                // Invariant 4.
                asked.at += passed;
            }
        }
        match self.open.iter().find(|(_, asked)| asked.ended) {
            Some((request, Asked { what, .. })) => {
                Err(format!("{request:?} ({what}) is not answered, and the program has ended"))
            }
            None => Ok(()),
        }
    }

    /// A program is started for this agent.
    pub(super) fn starts(&mut self, process: ProcessId, name: &str) {
        self.programs.insert(process, name.to_owned());
    }

    /// The terminal of a program is dropped.
    pub(super) fn forgets(&mut self, process: ProcessId) {
        let name = self.programs.remove(&process);
        for asked in self.open.values_mut() {
            asked.ended |= name.is_some() && asked.what.strip_prefix("POST /api/input/") == name.as_deref();
        }
    }

    pub(super) fn asked(&mut self, request: Of<RequestId>, what: String, at: u64) {
        self.open.insert(request, Asked { what, at, ended: false });
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// What an open request asks for.
    pub(super) fn what(&self, request: Of<RequestId>) -> Option<&str> {
        self.open.get(&request).map(|asked| asked.what.as_str())
    }

    /// What somebody waits for that the broker can answer before it ends.
    pub(super) fn waits(&self) -> Option<&str> {
        let mut waiting = self.open.values().map(|asked| asked.what.as_str());
        waiting.find(|what| !what.starts_with("DELETE"))
    }

    pub(super) fn answered(&mut self, request: Of<RequestId>, now: u64) -> Result<(), String> {
        let Some(Asked { what, at, .. }) = self.open.remove(&request) else {
            return Err(format!("{request:?} was answered twice, or never asked"));
        };
        let took = now.saturating_sub(at);
        if took > limit(&what) + SLACK {
            return Err(format!("{request:?} ({what}) was answered after {took} µs"));
        }
        Ok(())
    }

    /// Whoever has left needs no answer.
    pub(super) fn left(&mut self, request: Of<RequestId>) -> bool {
        self.open.remove(&request).is_some()
    }

    pub(super) fn overdue(&mut self, request: Of<RequestId>) -> Result<(), String> {
        match self.open.remove(&request) {
            Some(Asked { what, .. }) => Err(format!("{request:?} ({what}) got no answer in time")),
            None => Ok(()),
        }
    }

    pub(super) fn died(&mut self, life: u64) {
        self.programs.clear();
        self.open.retain(|(of, _), _| *of != life);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_wanted_once_and_in_time_unless_the_broker_died() {
        let mut requests = Requests::default();
        let [one, other, third] = [1, 2, 3].map(|number| (1, RequestId(number)));
        for request in [one, other, third] {
            requests.asked(request, "GET /health".into(), 0);
        }
        assert_eq!(requests.answered(one, 0), Ok(()));
        assert_eq!(requests.overdue(one), Ok(()));
        assert!(requests.answered(one, 0).is_err());
        assert!(requests.overdue(other).is_err());
        requests.died(1);
        assert_eq!(requests.overdue(third), Ok(()));
    }

    #[test]
    fn what_waits_while_the_machine_sleeps_waits_longer() {
        let at = |mono, now| At { life: 1, mono: mono * SECOND, now: now * SECOND };
        for (slept, good) in [(0, false), (20, true)] {
            let mut requests = Requests::default();
            assert_eq!(requests.input(at(1, 1)), Ok(()));
            requests.asked((1, RequestId(1)), "POST /api/input/bob".into(), SECOND);
            assert_eq!(requests.input(at(6 + slept, 6)), Ok(()));
            assert_eq!(requests.answered((1, RequestId(1)), 12 * SECOND).is_ok(), good, "{slept}");
        }
    }

    #[test]
    fn who_types_into_a_program_that_ends_is_answered_with_its_end() {
        let at = At { life: 1, mono: SECOND, now: SECOND };
        for (process, good) in [(1, false), (2, true)] {
            let mut requests = Requests::default();
            requests.asked((1, RequestId(1)), "POST /api/input/bob".into(), SECOND);
            requests.starts(ProcessId(1), "bob");
            requests.starts(ProcessId(2), "eve");
            requests.forgets(ProcessId(process));
            assert_eq!(requests.input(at).is_ok(), good, "{process}");
            assert_eq!(requests.answered((1, RequestId(1)), SECOND), Ok(()));
            assert_eq!(requests.input(at), Ok(()));
        }
    }

    #[test]
    fn a_question_about_the_state_waits_for_nothing() {
        let mut requests = Requests::default();
        for (what, after, good) in [
            ("POST /api/spawn", 25 * SECOND, true),
            ("POST /api/spawn", 27 * SECOND, false),
            ("GET /api/status", 2 * SECOND, false),
        ] {
            requests.asked((1, RequestId(1)), what.into(), 0);
            assert_eq!(requests.answered((1, RequestId(1)), after).is_ok(), good, "{what}");
        }
    }
}
