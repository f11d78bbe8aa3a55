//! S15: a result says what has happened.
//!
//! Would catch: a spawn that failed and is answered as done, so that its caller waits for an agent that is not
//! there; one that is answered as done when its process has started, which ends at once because it cannot run here;
//! a release that is answered as done while the program still runs and still has its terminal.
//!
//! 1. A spawn is answered as done, by its result, the local API or in an inventory, only if a process of that name
//!    was really started since it was first asked for, in whatever life, and has lived for [`AGENT_PROOF`] by the
//!    broker's clock.
//! 2. A release is answered as done only when no process of that name runs here any more. What a life before
//!    was asked for is not judged: the name may have been given anew.
//!
//! An answer that comes again says what was true when it was first given.

use super::facts::Frame;
use crate::world::Of;
use relay_core::ids::{ProcessId, RequestId};
use relay_core::limits::AGENT_PROOF;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Who is to be started, and how many processes of that name had been before.
type Spawn = (String, u64);

#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Processes really started, by name, over all lives.
    started: BTreeMap<String, u64>,
    /// Those that the broker does not know to have ended: of which name, the how many-th of that name, and since
    /// when by the broker's clock, in µs.
    here: BTreeMap<Of<ProcessId>, (String, u64, u64)>,
    /// The latest of each name that has ended after it had lived long enough.
    proven: BTreeMap<String, u64>,
    /// What invocations ask for.
    spawns: BTreeMap<String, Spawn>,
    /// What requests of the local API ask for.
    requests: BTreeMap<RequestId, Spawn>,
    /// Who is to be released by which invocation, of this life.
    releases: BTreeMap<String, String>,
    /// What this life has answered.
    answered: BTreeSet<String>,
}

impl Truth {
    /// A process of an agent was started.
    pub(super) fn started(&mut self, mono: u64, process: Of<ProcessId>, name: &str) {
        let number = self.started.entry(name.to_owned()).or_default();
        *number += 1;
        self.here.insert(process, (name.to_owned(), *number, mono));
    }

    /// The broker is told that a process has ended.
    pub(super) fn ended(&mut self, mono: u64, process: Of<ProcessId>) {
        if let Some((name, number, _)) = self.here.remove(&process).filter(|process| is_proven(mono, process))
        {
            self.proven.insert(name, number);
        }
    }

    /// Whether a process was started for a spawn, and has lived long enough.
    fn is_done(&self, mono: u64, (name, before): &Spawn) -> bool {
        let is_here = |process: &(String, u64, u64)| {
            process.0 == *name && process.1 > *before && is_proven(mono, process)
        };
        self.proven.get(name).is_some_and(|number| number > before) || self.here.values().any(is_here)
    }

    fn spawn(&self, name: &str) -> Spawn {
        (name.to_owned(), self.started.get(name).copied().unwrap_or(0))
    }

    /// An invocation reaches the broker.
    pub(super) fn given(&mut self, frame: &Frame<'_>) {
        let name = frame.input.as_ref().and_then(|input| input.name.as_deref());
        let (Some(id), Some(action), Some(name)) =
            (frame.invocation_id.as_deref(), frame.action.as_deref(), name)
        else {
            return;
        };
        if action == "release" {
            self.releases.entry(id.to_owned()).or_insert_with(|| name.to_owned());
        } else if action.starts_with("spawn") {
            let spawn = self.spawn(name);
            self.spawns.entry(id.to_owned()).or_insert(spawn);
        }
    }

    /// A spawn is asked for on the local API.
    pub(super) fn asked(&mut self, request: RequestId, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(name) = body["name"].as_str() {
            self.requests.insert(request, self.spawn(name));
        }
    }

    /// The local API has answered; `is_done`: as done.
    pub(super) fn replied(&mut self, mono: u64, request: RequestId, is_done: bool) -> Result<(), String> {
        match self.requests.remove(&request).filter(|spawn| is_done && !self.is_done(mono, spawn)) {
            Some((name, _)) => {
                Err(format!("{request:?} is answered as done, and no {name:?} is proven to run"))
            }
            None => Ok(()),
        }
    }

    /// An inventory leaves the broker: one that names the invocation of an agent answers that as done.
    pub(super) fn listed(&self, mono: u64, frame: &Frame<'_>) -> Result<(), String> {
        let named = frame.agents.iter().filter_map(|entry| entry.invocation_id.as_deref());
        let mut spawns = named.filter_map(|id| Some((id, self.spawns.get(id)?)));
        match spawns.find(|(_, spawn)| !self.is_done(mono, spawn)) {
            Some((id, (name, _))) => {
                Err(format!("an inventory names spawn {id}, and no {name:?} is proven to run"))
            }
            None => Ok(()),
        }
    }

    /// A result leaves the broker; `runs` tells whether a process of a name does, as far as the broker knows.
    pub(super) fn ends(
        &mut self,
        mono: u64,
        frame: &Frame<'_>,
        is_done: bool,
        runs: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let Some(id) = frame.invocation_id.as_deref() else {
            return Ok(());
        };
        if !self.answered.insert(id.to_owned()) || !is_done {
            return Ok(());
        }
        if let Some((name, _)) = self.spawns.get(id).filter(|spawn| !self.is_done(mono, spawn)) {
            return Err(format!("spawn {id} is answered as done, and no {name:?} is proven to run"));
        }
        match self.releases.get(id).filter(|name| runs(name)) {
            Some(name) => Err(format!("release {id} is answered as done, and {name:?} still runs")),
            None => Ok(()),
        }
    }

    /// The broker is gone, and its processes with it.
    pub(super) fn died(&mut self, mono: u64) {
        for process in self.here.keys().copied().collect::<Vec<_>>() {
            self.ended(mono, process);
        }
        self.requests.clear();
        self.releases.clear();
        self.answered.clear();
    }
}

/// Whether a process has lived long enough.
const fn is_proven(mono: u64, (_, _, since): &(String, u64, u64)) -> bool {
    mono.saturating_sub(*since) >= AGENT_PROOF.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: Of<ProcessId> = (1, ProcessId(7));
    const PROVEN: u64 = AGENT_PROOF.0;

    fn asked(action: &str) -> Truth {
        let mut truth = Truth::default();
        let text = format!(
            r#"{{"type":"action.invoke","invocation_id":"i1","action":"{action}","input":{{"name":"bob"}}}}"#
        );
        truth.given(&Frame::read(&text));
        truth
    }

    fn answered(truth: &mut Truth, is_done: bool, runs: bool) -> bool {
        let frame = Frame::read(r#"{"type":"action.result","invocation_id":"i1"}"#);
        truth.ends(PROVEN, &frame, is_done, |_| runs).is_ok()
    }

    #[test]
    fn a_spawn_is_done_when_a_process_was_started_for_it() {
        assert!(!answered(&mut asked("spawn:cat"), true, false));
        assert!(answered(&mut asked("spawn:cat"), false, false));
        let mut truth = asked("spawn:cat");
        truth.started(0, BOB, "eve");
        assert!(!answered(&mut truth, true, false), "it is somebody else");
        let mut truth = asked("spawn:cat");
        truth.started(0, BOB, "bob");
        truth.died(PROVEN);
        assert!(answered(&mut truth, true, false), "a life before has started it");
    }

    #[test]
    fn a_spawn_is_done_when_its_process_has_lived_for_a_moment() {
        let listed =
            Frame::read(r#"{"type":"inventory.sync","agents":[{"name":"bob","invocation_id":"i1"}]}"#);
        let mut truth = asked("spawn:cat");
        truth.asked(RequestId(1), br#"{"name":"bob"}"#);
        truth.asked(RequestId(2), br#"{"name":"bob"}"#);
        truth.started(1, BOB, "bob");
        assert!(truth.listed(PROVEN, &listed).is_err());
        assert!(truth.replied(PROVEN, RequestId(1), true).is_err());
        assert_eq!(truth.listed(PROVEN + 1, &listed), Ok(()));
        assert_eq!(truth.replied(PROVEN + 1, RequestId(2), true), Ok(()));
        assert!(!answered(&mut truth, true, false));
        let mut truth = asked("spawn:cat");
        truth.started(1, BOB, "bob");
        truth.ended(PROVEN, BOB);
        assert!(!answered(&mut truth, true, false), "it has ended");
    }

    #[test]
    fn a_release_is_done_when_nobody_of_that_name_runs() {
        assert!(!answered(&mut asked("release"), true, true));
        assert!(answered(&mut asked("release"), false, true));
        let mut truth = asked("release");
        assert!(answered(&mut truth, true, false));
        assert!(answered(&mut truth, true, true), "it comes again, and another has the name");
    }
}
