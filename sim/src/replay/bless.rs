//! Blessing: new prints and digests for the same inputs, after an intended change.
//!
//! Owns: writing a trace anew from its inputs. Must not know: files.
//!
//! 1. The inputs, their times and the end stay as they are; a trace that replays stays the same byte
//!    for byte.

use super::Player;
use relay_core::trace::{Mask, Recorder, Trace};

/// The trace with the prints and digests that its inputs lead to now. Where the core panics it ends,
/// with the same words as before.
pub fn bless(trace: &Trace<'_>) -> String {
    rewrite(trace, trace.is_whole())
}

/// The same; `whole` says whether all that the last input has caused is to be told.
pub(super) fn rewrite(trace: &Trace<'_>, whole: bool) -> String {
    // What comes out of a trace is masked already.
    let mut recorder = Recorder::new(&trace.config, &trace.boot, &trace.driver, Mask::off(), trace.detail);
    let mut player = Player::new(trace);
    loop {
        if let Some(entry) = player.upcoming() {
            recorder.input(entry.now, &entry.input());
        }
        let Ok(Some(moment)) = player.step() else { break };
        moment.commands.iter().for_each(|command| recorder.command(command));
        let settled = whole || player.upcoming().is_some();
        if let Some(broker) = player.broker().filter(|_| settled) {
            recorder.settled(|| broker.digest());
        }
    }
    recorder.end(&trace.end);
    recorder.take()
}
