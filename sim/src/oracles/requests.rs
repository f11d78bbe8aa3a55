//! S10: the local API answers.
//!
//! Would catch: a request that is forgotten when its agent dies; two answers to one; a spawn or a
//! publish that waits for a dead engine.
//!
//! 1. Every request gets exactly one answer within its time, unless the broker dies first.

use crate::world::Of;
use relay_core::ids::RequestId;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<Of<RequestId>, String>,
}

impl Requests {
    pub(super) fn asked(&mut self, request: Of<RequestId>, what: &str) {
        self.open.insert(request, what.to_owned());
    }

    pub(super) fn answered(&mut self, request: Of<RequestId>) -> Result<(), String> {
        match self.open.remove(&request) {
            Some(_) => Ok(()),
            None => Err(format!("{request:?} was answered twice, or never asked")),
        }
    }

    /// Whoever has left needs no answer.
    pub(super) fn left(&mut self, request: Of<RequestId>) -> bool {
        self.open.remove(&request).is_some()
    }

    pub(super) fn overdue(&mut self, request: Of<RequestId>) -> Result<(), String> {
        match self.open.remove(&request) {
            Some(what) => Err(format!("{request:?} ({what}) got no answer in time")),
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
            requests.asked(request, "GET /health");
        }
        assert_eq!(requests.answered(one), Ok(()));
        assert_eq!(requests.overdue(one), Ok(()));
        assert!(requests.answered(one).is_err());
        assert!(requests.overdue(other).is_err());
        requests.died(1);
        assert_eq!(requests.overdue(third), Ok(()));
    }
}
