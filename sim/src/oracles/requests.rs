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
