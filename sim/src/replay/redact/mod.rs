//! Redacting: a trace without what people and agents said to each other.
//!
//! Owns: which inputs hold messages, and that what comes out does what it did.
//! Must not know: files, or what a broker makes of a message.
//!
//! 1. A word becomes another of the same length, the same wherever it stands, so that a message is
//!    still recognised on the screen of its agent and the broker does what it did.
//! 2. Words that also stand outside of messages (names, ids, keys) stay: they would show anyway, and
//!    the header of a typed message consists of them. So does everything that is no letter or digit, and
//!    every control sequence of a terminal.
//! 3. What a screen shows of a message in another form than it has stays, apart from what is left of a
//!    word where a text is cut: `screens.rs` has the rule.
//! 4. What does not replay is not redacted: the prints that show it would be gone.

mod json;
mod numbers;
mod places;
mod screens;
mod shown;
mod words;

use super::bless::rewrite;
use super::{Difference, Replayed, replay};
use crate::oracles::Class;
use places::Source;
use relay_core::trace::{Entry, Mask, Print, ReadError, Recorder, Trace, last_line};
use relay_core::{CallReply, Input};
use screens::Screens;
use std::fmt::{self, Display};
use words::Words;

/// A trace without messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The trace; it replays.
    pub text: String,
    /// The line of the first input that is left out, because with other words it would make the broker
    /// want more or fewer things; so is all that follows.
    pub ends_before: Option<usize>,
}

/// Why a trace is not redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRedacted {
    /// It does not replay.
    Different(Difference),
    /// It holds a line that cannot be written again.
    Unwritable(ReadError),
}

impl Display for NotRedacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Different(difference) => {
                let Difference { line, what } = difference;
                let what = what.lines().next().unwrap_or_default();
                // No panic can be blessed.
                let first = if difference.class() == Class::Panic { "" } else { "bless it first, or " };
                write!(
                    f,
                    "not redacted, because it does not replay (line {line}: {what}): {first}redact the original \
                     with the core that recorded it"
                )
            }
            Self::Unwritable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotRedacted {}

impl From<ReadError> for NotRedacted {
    fn from(error: ReadError) -> Self {
        Self::Unwritable(error)
    }
}

/// Takes the messages out of a trace.
///
/// # Errors
/// The trace does not replay, or holds a line that cannot be written again.
pub fn redact(trace: &Trace<'_>) -> Result<Redacted, NotRedacted> {
    let Replayed { panicked, .. } = replay(trace).map_err(NotRedacted::Different)?;
    let lines = without_messages(trace);
    let new = rewrite(&Trace::read(&lines)?, trace.is_whole());
    let inputs = trace.entries.len();
    let panics = match &new.panic {
        Some(panic) if panicked && panic.inputs == inputs => None,
        Some(panic) => Some(panic.inputs),
        None => panicked.then_some(inputs),
    };
    let parts = parting(trace, &Trace::read(&new.text)?);
    let Some(same) = panics.map(|inputs| inputs.saturating_sub(1)).into_iter().chain(parts).min() else {
        return Ok(Redacted { text: new.text, ends_before: None });
    };
    let kept: String = lines.split_inclusive('\n').take(1 + same).collect();
    let short = kept + &last_line(same as u64, "redacted: behind this the broker would do something else");
    let ends_before = trace.entries.get(same).map(|entry| entry.line);
    Ok(Redacted { text: rewrite(&Trace::read(&short)?, true).text, ends_before })
}

/// The inputs of a trace with other words in messages, as a trace without prints.
fn without_messages(trace: &Trace<'_>) -> String {
    let words = Words::of(trace);
    let mut boot = trace.boot.clone();
    boot.journal = words.json(Source::Journal, &boot.journal);
    // What comes out of a trace is masked already.
    let mut recorder = Recorder::new(&trace.config, &boot, &trace.driver, Mask::off(), trace.detail);
    let mut screens = Screens::of(&words, trace);
    for entry in &trace.entries {
        let owned;
        let input = match entry.input() {
            Input::LinkText { link, text } => {
                let new = words.json(Source::Frame, text);
                recorder.input(entry.now, &Input::LinkText { link, text: &new });
                continue;
            }
            Input::CallDone { call, result: Ok(CallReply { status, body }) } => {
                owned = words.bytes(Source::Answer, body);
                Input::CallDone { call, result: Ok(CallReply { status, body: &owned }) }
            }
            Input::Api { request, auth, method, target, upgrade, body } => {
                owned = words.bytes(Source::Request, body);
                Input::Api { request, auth, method, target, upgrade, body: &owned }
            }
            Input::PtyOutput { process, bytes } => {
                owned = screens.next(process, bytes.len());
                Input::PtyOutput { process, bytes: &owned }
            }
            other => other,
        };
        recorder.input(entry.now, &input);
    }
    recorder.end(&words.told(&trace.end));
    recorder.take()
}

/// How many inputs lead to as many commands in both; `None` when all do.
fn parting(old: &Trace<'_>, new: &Trace<'_>) -> Option<usize> {
    let count = |caused: &Option<Vec<Print>>| caused.as_ref().map(Vec::len);
    let different = |(old, new): (&Entry<'_>, &Entry<'_>)| count(&old.caused) != count(&new.caused);
    let shorter = (new.entries.len() < old.entries.len()).then_some(new.entries.len());
    old.entries.iter().zip(&new.entries).position(different).or(shorter)
}
