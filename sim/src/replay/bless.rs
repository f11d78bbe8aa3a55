//! Blessing: new prints and digests for the same inputs, after an intended change.
//!
//! Owns: writing a trace anew from its inputs. Must not know: files.
//!
//! 1. The inputs and their times stay as they are, and so does the end, unless it is a panic that does
//!    not come any more; a trace that replays stays the same byte for byte.
//! 2. A panic is never what a core shall do: a trace is refused on whose inputs it panics, unless the
//!    trace was recorded for that panic.

use super::{PANIC, Player};
use relay_core::trace::{Mask, Recorder, Trace};
use std::fmt::{self, Display};

/// A panic of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// The line of the input that it came at; 1 for the start.
    pub line: usize,
    /// So many inputs were handed over, that one included.
    pub inputs: usize,
    /// Its words.
    pub what: String,
}

impl Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.lines().next().unwrap_or_default();
        write!(
            f,
            "not blessed, because the core panics at line {} ({what}): mend the core, or the line if somebody \
             has edited it",
            self.line
        )
    }
}

impl std::error::Error for Panicked {}

/// The trace with the prints and digests that its inputs lead to now.
///
/// # Errors
/// The core panics, and the trace does not end with that.
pub fn bless(trace: &Trace<'_>) -> Result<String, Panicked> {
    let recorded = trace.end.starts_with(PANIC);
    let new = rewrite(trace, trace.is_whole());
    match new.panic {
        Some(panic) if !recorded || panic.inputs < trace.entries.len() => Err(panic),
        None if recorded => {
            let end = format!("the core does not panic here any more; recorded was: {}", trace.end);
            Ok(written(trace, true, &end).text)
        }
        _ => Ok(new.text),
    }
}

/// What came of writing a trace anew.
pub(super) struct Rewritten {
    /// The trace; after a panic it ends, with the same words as before.
    pub(super) text: String,
    /// The panic that it ended at.
    pub(super) panic: Option<Panicked>,
}

/// Writes a trace anew; `whole` says whether all that the last input has caused is to be told.
pub(super) fn rewrite(trace: &Trace<'_>, whole: bool) -> Rewritten {
    written(trace, whole, &trace.end)
}

fn written(trace: &Trace<'_>, whole: bool, end: &str) -> Rewritten {
    // What comes out of a trace is masked already.
    let mut recorder = Recorder::new(&trace.config, &trace.boot, &trace.driver, Mask::off(), trace.detail);
    let mut player = Player::new(trace);
    let mut panic = None;
    loop {
        let line = player.upcoming().map_or(1, |entry| {
            recorder.input(entry.now, &entry.input());
            entry.line
        });
        let moment = match player.step() {
            Ok(Some(moment)) => moment,
            Ok(None) => break,
            Err(what) => {
                panic = Some(Panicked { line, inputs: player.at, what });
                break;
            }
        };
        moment.commands.iter().for_each(|command| recorder.command(command));
        let settled = whole || player.upcoming().is_some();
        if let Some(broker) = player.broker().filter(|_| settled) {
            recorder.settled(|| broker.digest());
        }
    }
    recorder.end(end);
    Rewritten { text: recorder.take(), panic }
}
