//! Judging: whether a recorded broker has broken a rule.
//!
//! Owns: letting it live again before its judges. Must not know: files, or any rule.
//!
//! 1. A trace holds no commands, only their prints: it is judged only if it replays, because else the
//!    commands are not those that the recorded broker gave.

use super::{Difference, Moment, Replayed, replay_with};
use crate::oracles::{Class, Field, Violation};
use relay_core::trace::Trace;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What was lived again.
    pub replayed: Replayed,
    /// All that is wrong, in its order.
    pub violations: Vec<Violation>,
}

impl Checked {
    /// What kind of wrong there is, if any. A panic of the core counts more than a rule that was broken.
    pub fn class(&self) -> Option<Class> {
        let is_broken = || !self.violations.is_empty();
        if self.replayed.panicked { Some(Class::Panic) } else { is_broken().then_some(Class::Safety) }
    }
}

/// Judges a recorded life.
///
/// # Errors
/// Where it does not replay.
pub fn check(trace: &Trace<'_>) -> Result<Checked, Difference> {
    check_with(trace, |_, _| {})
}

/// The same; `each` sees every step, and all that is wrong by then.
///
/// # Errors
/// Where it does not replay.
pub(super) fn check_with(
    trace: &Trace<'_>,
    mut each: impl FnMut(&Moment<'_>, &[Violation]),
) -> Result<Checked, Difference> {
    let mut field = Field::new(&trace.boot.journal);
    let replayed = replay_with(trace, |moment| {
        field.input(moment.line, moment.now, moment.input.as_ref());
        moment.commands.iter().for_each(|command| field.command(command));
        each(moment, field.violations());
    })?;
    field.end();
    Ok(Checked { replayed, violations: field.violations().to_vec() })
}
