//! Telling a trace: the story of a recorded life, and what is wrong with it.
//!
//! Owns: the order in which inputs, commands and verdicts are told. Must not know: what they mean.
//!
//! 1. Time begins with the trace. A verdict stands behind what it is about; what shows only at the end, as an
//!    answer that never came, stands there.

use super::{Checked, Difference, check_with};
use crate::story::{Fact, Moment, Narrator};
use relay_core::trace::Trace;

/// Replays a trace and tells what happens, with each rule that was broken.
///
/// # Errors
/// The replay parts from the trace; what was told leads there.
pub fn narrate(trace: &Trace<'_>, mut listen: impl FnMut(Moment)) -> Result<Checked, Difference> {
    let mut narrator = Narrator::new();
    let (mut at, mut told) = (0, 0);
    let mut tell = |at: u64, fact: &Fact<'_>| {
        if let Some(moment) = narrator.tell(at, fact) {
            listen(moment);
        }
    };
    let checked = check_with(trace, |step, violations| {
        at = step.now.mono.since(trace.boot.now.mono).0;
        let input = step.input.iter().map(Fact::Input);
        for fact in input.chain(step.commands.iter().map(Fact::Command)) {
            tell(at, &fact);
        }
        for violation in &violations[told..] {
            tell(at, &Fact::Failed(&violation.into()));
        }
        told = violations.len();
    })?;
    for violation in &checked.violations[told..] {
        tell(at, &Fact::Failed(&violation.into()));
    }
    Ok(checked)
}
