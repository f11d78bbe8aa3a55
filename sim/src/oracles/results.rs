//! L1, S4 and S5: results of the actions that agents asked for, and refusals of them.
//!
//! Would catch: what comes outside of the sequence thrown away, so that a caller never learns of its result, or
//! only of the first of two refusals; a result read twice because it came twice; a structured result shown with
//! the envelope that it came in.
//!
//! 1. L1: a result that reaches the broker for an agent whose process runs is read by that, unless it threw it
//!    away too often.
//! 2. S4: nobody else reads it, and of a result an agent is shown what the action put out, and nothing around it.
//! 3. S5: a process reads it once, and once more per time that it threw input away since the result came. A
//!    refusal comes under the name of the action, not its own: who is sent it again may read it again.
//!
//! Nothing repeats a result: one that found no process is lost, as the engine has it.

use super::{At, Broken};
use crate::agents::reader::{Token, token_of};
use crate::world::Of;
use relay_core::Command;
use relay_core::ids::ProcessId;
use relay_core::limits::ATTEMPTS;
use std::collections::BTreeMap;

/// In a result, as opposed to other events.
const RESULT: &str = "\"action.";
/// In a refusal.
const REFUSAL: &str = "\"action.denied\"";
/// What a simulated action puts out begins so.
const OUTPUT: &str = "{\"outcome\":\"<m";
/// A key of the envelope.
const ENVELOPE: &str = "\"invocation_id\"";

/// What came for an agent.
#[derive(Debug)]
struct Came {
    name: String,
    /// When it came first.
    at: At,
    /// So often it may be read by one process that throws nothing away.
    copies: u64,
    /// Nobody who was there when it came has read it.
    due: bool,
    read: BTreeMap<Of<ProcessId>, u64>,
}

#[derive(Debug, Default)]
pub(super) struct Results {
    came: BTreeMap<Token, Came>,
}

impl Results {
    /// A delivery outside of the sequence reaches the broker for an agent; `runs`: whether its process does. One
    /// that is about to start may be shown it.
    pub(super) fn arrived(&mut self, at: At, name: &str, text: &str, runs: bool) {
        let Some(token) = token_of(text).filter(|_| text.contains(RESULT)) else {
            return;
        };
        let came = self.came.entry(token).or_insert_with(|| Came {
            name: name.to_owned(),
            at,
            copies: 0,
            due: runs,
            read: BTreeMap::new(),
        });
        if came.copies == 0 || text.contains(REFUSAL) {
            came.copies += 1;
        }
    }

    /// A process of this name has read a message whole; `thrown`: how often it has thrown input away since then.
    /// `None` if it is no result.
    pub(super) fn read(
        &mut self,
        process: Of<ProcessId>,
        name: &str,
        token: Token,
        thrown: impl Fn(At) -> u64,
    ) -> Option<Result<(), Broken>> {
        let came = self.came.get_mut(&token)?;
        if came.name != name {
            return Some(Err(("S4", format!("{name} read result {token}, which is for {}", came.name))));
        }
        came.due = false;
        let times = came.read.entry(process).or_default();
        *times += 1;
        if *times > came.copies + thrown(came.at) {
            return Some(Err(("S5", format!("{name} ({process:?}) read result {token} {times} times"))));
        }
        Some(Ok(()))
    }

    /// Something is typed into the process of an agent.
    pub(super) fn command(name: &str, command: &Command) -> Result<(), String> {
        let Command::PtyWrite { bytes, .. } = command else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(bytes);
        if text.contains(OUTPUT) && text.contains(ENVELOPE) {
            return Err(format!("{name:?} is shown the envelope of a result"));
        }
        Ok(())
    }

    /// The process of an agent is gone, or its agent is.
    pub(super) fn left(&mut self, name: &str) {
        self.came.values_mut().filter(|came| came.name == name).for_each(|came| came.due = false);
    }

    /// The first result of an agent that was not read; `thrown`: how often its processes have thrown input away
    /// since then.
    pub(super) fn unread(&self, name: &str, thrown: impl Fn(At) -> u64) -> Option<Token> {
        let is_due = |came: &Came| came.due && came.name == name && thrown(came.at) < u64::from(ATTEMPTS);
        self.came.iter().find(|(_, came)| is_due(came)).map(|(token, _)| *token)
    }

    /// The broker is gone with all that it had.
    pub(super) fn died(&mut self) {
        self.came.values_mut().for_each(|came| came.due = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::ids::OpId;
    use relay_core::time::Mono;

    const AT: At = At { life: 1, mono: 0, now: 0 };
    const PROCESS: Of<ProcessId> = (1, ProcessId(7));
    const RESULT: &str = r#"{"type":"action.completed","data":{"output":{"outcome":"<m5.0!>"}}}"#;
    const REFUSAL: &str = r#"{"type":"action.denied","data":{"error":"<m5.0!>"}}"#;

    fn came(text: &str, times: usize) -> Results {
        let mut results = Results::default();
        (0..times).for_each(|_| results.arrived(AT, "bob", text, true));
        results
    }

    fn read(results: &mut Results, name: &str, thrown: u64) -> bool {
        results.read(PROCESS, name, 5, |_| thrown).is_some_and(|judged| judged.is_ok())
    }

    #[test]
    fn a_result_is_due_until_it_is_read_or_nobody_is_there() {
        let mut results = came(RESULT, 1);
        assert_eq!(results.unread("eve", |_| 0), None);
        assert_eq!(results.unread("bob", |_| 0), Some(5));
        assert_eq!(results.unread("bob", |_| u64::from(ATTEMPTS)), None, "it was thrown away too often");
        assert_eq!(results.read(PROCESS, "bob", 6, |_| 0), None);
        assert!(read(&mut results, "bob", 0));
        assert_eq!(results.unread("bob", |_| 0), None);
        let mut results = came(RESULT, 1);
        results.left("bob");
        assert_eq!(results.unread("bob", |_| 0), None);
    }

    #[test]
    fn a_result_is_read_by_whom_it_is_for_as_often_as_it_was_thrown_away() {
        let mut results = came(RESULT, 2);
        assert!(!read(&mut results, "eve", 0));
        assert!(read(&mut results, "bob", 0));
        assert!(read(&mut results, "bob", 1));
        assert!(!read(&mut results, "bob", 1), "another copy is none");
        let mut results = came(REFUSAL, 2);
        assert!(read(&mut results, "bob", 0));
        assert!(read(&mut results, "bob", 0), "it was refused again");
        assert!(!read(&mut results, "bob", 0));
    }

    #[test]
    fn an_agent_is_not_shown_the_envelope() {
        let typed = |text: &str| {
            let (process, op, bytes) = (ProcessId(1), OpId(1), text.as_bytes().to_vec());
            Results::command("bob", &Command::PtyWrite { process, op, bytes, deadline: Mono(9) })
        };
        assert_eq!(typed(r#"result: {"outcome":"<m5.0!>"}"#), Ok(()));
        assert!(typed(r#"{"data":{"invocation_id":"i","output":{"outcome":"<m5.0!>"}}}"#).is_err());
    }
}
