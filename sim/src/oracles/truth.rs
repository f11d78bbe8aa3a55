//! S15: a result says what has happened.
//!
//! Would catch: a spawn that failed and is answered as done, so that its caller waits for an agent that is not
//! there; a release that is answered as done while the program still runs and still has its terminal.
//!
//! 1. A spawn is answered as done only if a process of that name was really started since it was first asked
//!    for, in whatever life.
//! 2. A release is answered as done only when no process of that name runs here any more. What a life before
//!    was asked for is not judged: the name may have been given anew.
//!
//! An answer that comes again says what was true when it was first given.

use super::facts::Frame;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Processes really started, by name, over all lives.
    started: BTreeMap<String, u64>,
    /// Who was to be started by which invocation, and how many processes of that name had been before.
    spawns: BTreeMap<String, (String, u64)>,
    /// Who is to be released by which invocation, of this life.
    releases: BTreeMap<String, String>,
    /// What this life has answered.
    answered: BTreeSet<String>,
}

impl Truth {
    /// A process of an agent was started.
    pub(super) fn started(&mut self, name: &str) {
        *self.started.entry(name.to_owned()).or_default() += 1;
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
            let before = self.started.get(name).copied().unwrap_or(0);
            self.spawns.entry(id.to_owned()).or_insert_with(|| (name.to_owned(), before));
        }
    }

    /// A result leaves the broker; `runs` tells whether a process of a name does, as far as the broker knows.
    pub(super) fn ends(
        &mut self,
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
        let was_started =
            |(name, before): &(String, u64)| self.started.get(name).is_some_and(|now| now > before);
        if let Some((name, _)) = self.spawns.get(id).filter(|spawn| !was_started(spawn)) {
            return Err(format!("spawn {id} is answered as done, and no process of {name:?} was started"));
        }
        match self.releases.get(id).filter(|name| runs(name)) {
            Some(name) => Err(format!("release {id} is answered as done, and {name:?} still runs")),
            None => Ok(()),
        }
    }

    /// The broker is gone.
    pub(super) fn died(&mut self) {
        self.releases.clear();
        self.answered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        truth.ends(&frame, is_done, |_| runs).is_ok()
    }

    #[test]
    fn a_spawn_is_done_when_a_process_was_started_for_it() {
        assert!(!answered(&mut asked("spawn:cat"), true, false));
        assert!(answered(&mut asked("spawn:cat"), false, false));
        let mut truth = asked("spawn:cat");
        truth.started("eve");
        assert!(!answered(&mut truth, true, false), "it is somebody else");
        let mut truth = asked("spawn:cat");
        truth.started("bob");
        truth.died();
        assert!(answered(&mut truth, true, false), "a life before has started it");
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
