//! L1 and S4: results of the actions that agents asked for.
//!
//! Would catch: what comes outside of the sequence thrown away, so that a caller never learns of its
//! result; a structured result shown with the envelope that it came in.
//!
//! 1. L1: a result that reaches the broker for an agent whose process runs is typed into it.
//! 2. S4: of a result an agent is shown what the action put out, and nothing around it.
//!
//! Nothing repeats a result: one that found no process is lost, as the engine has it.

use relay_core::Command;
use std::collections::{BTreeMap, BTreeSet};

/// What a simulated action puts out is `{"outcome":"o<number>"}`.
const MARK: &str = "\"outcome\":\"o";
/// A key of the envelope.
const ENVELOPE: &str = "\"invocation_id\"";

#[derive(Debug, Default)]
pub(super) struct Results {
    /// Outcomes that are to be typed, by name.
    due: BTreeMap<String, BTreeSet<u64>>,
    /// Outcomes that have come: another copy is none.
    known: BTreeSet<u64>,
}

fn outcome(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(MARK)?;
    rest.split_once('"')?.0.parse().ok()
}

impl Results {
    /// A delivery outside of the sequence reaches the broker for an agent whose process runs.
    pub(super) fn arrived(&mut self, name: &str, text: &str) {
        if let Some(outcome) = outcome(text).filter(|outcome| self.known.insert(*outcome)) {
            self.due.entry(name.to_owned()).or_default().insert(outcome);
        }
    }

    /// Something is typed into the process of an agent.
    pub(super) fn command(&mut self, name: &str, command: &Command) -> Result<(), String> {
        let (Command::PtyWrite { bytes, .. }, false) = (command, self.due.is_empty()) else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(bytes);
        let Some(outcome) = outcome(&text) else {
            return Ok(());
        };
        if let Some(due) = self.due.get_mut(name) {
            due.remove(&outcome);
        }
        if text.contains(ENVELOPE) {
            return Err(format!("{name:?} is shown the envelope of outcome {outcome}"));
        }
        Ok(())
    }

    /// The process of an agent is gone, or its agent is.
    pub(super) fn left(&mut self, name: &str) {
        self.due.remove(name);
    }

    /// The first outcome of an agent that was not typed.
    pub(super) fn first_due(&self, name: &str) -> Option<u64> {
        self.due.get(name)?.first().copied()
    }

    /// The broker is gone with all that it had.
    pub(super) fn died(&mut self) {
        self.due.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::ids::{OpId, ProcessId};
    use relay_core::time::Mono;

    fn typed(text: &str) -> Command {
        let (process, op, bytes) = (ProcessId(1), OpId(1), text.as_bytes().to_vec());
        Command::PtyWrite { process, op, bytes, deadline: Mono(9) }
    }

    #[test]
    fn a_result_is_due_until_it_is_typed_without_its_envelope() {
        let mut results = Results::default();
        results.arrived("bob", r#"{"seq":0,"payload":{"data":{"output":{"outcome":"o5"}}}}"#);
        assert_eq!(results.first_due("bob"), Some(5));
        assert_eq!(results.command("bob", &typed("something else")), Ok(()));
        assert_eq!(results.first_due("bob"), Some(5));
        assert_eq!(results.command("bob", &typed(r#"result: {"outcome":"o5"}"#)), Ok(()));
        assert_eq!(results.first_due("bob"), None);
        results.arrived("bob", r#"{"outcome":"o5"}"#);
        assert_eq!(results.first_due("bob"), None, "a copy");
        results.arrived("bob", r#"{"outcome":"o6"}"#);
        let whole = r#"{"data":{"invocation_id":"i","output":{"outcome":"o6"}}}"#;
        assert!(results.command("bob", &typed(whole)).is_err());
        results.arrived("bob", r#"{"outcome":"o7"}"#);
        results.left("bob");
        assert_eq!(results.first_due("bob"), None);
    }
}
