//! Telling a trace: the story of a recorded life.
//!
//! Owns: the order in which inputs and commands are told. Must not know: what they mean.
//!
//! 1. Time begins with the trace.

use super::{Difference, Replayed, replay_with};
use crate::story::{Fact, Moment, Narrator};
use relay_core::trace::Trace;

/// Replays a trace and tells what happens.
///
/// # Errors
/// The replay parts from the trace; what was told leads there.
pub fn narrate(trace: &Trace<'_>, mut listen: impl FnMut(Moment)) -> Result<Replayed, Difference> {
    let mut narrator = Narrator::new();
    replay_with(trace, |step| {
        let at = step.now.mono.since(trace.boot.now.mono).0;
        let input = step.input.iter().map(Fact::Input);
        let commands = step.commands.iter().map(Fact::Command);
        for fact in input.chain(commands) {
            if let Some(moment) = narrator.tell(at, &fact) {
                listen(moment);
            }
        }
    })
}
