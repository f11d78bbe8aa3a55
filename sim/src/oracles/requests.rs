//! S10: the local API answers.
//!
//! Would catch: a request that is forgotten when its agent dies; two answers to one; a spawn or a
//! publish that waits for a dead engine, and a question about the state that waits behind it.
//!
//! 1. Every request gets exactly one answer within the time of its kind, unless the broker dies first.
//! 2. What asks only for the broker's own state is answered at once.

use crate::world::Of;
use relay_core::ids::RequestId;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000;
/// A timer's due time and the answer that follows may be this far apart, in virtual µs.
const SLACK: u64 = SECOND;

#[derive(Debug)]
struct Asked {
    what: String,
    /// Virtual µs.
    at: u64,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<Of<RequestId>, Asked>,
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
    pub(super) fn asked(&mut self, request: Of<RequestId>, what: String, at: u64) {
        self.open.insert(request, Asked { what, at });
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// What an open request asks for.
    pub(super) fn what(&self, request: Of<RequestId>) -> Option<&str> {
        self.open.get(&request).map(|asked| asked.what.as_str())
    }

    pub(super) fn answered(&mut self, request: Of<RequestId>, now: u64) -> Result<(), String> {
        let Some(Asked { what, at }) = self.open.remove(&request) else {
            return Err(format!("{request:?} was answered twice, or never asked"));
        };
        let took = now - at;
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
