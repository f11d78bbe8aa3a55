//! Stale completions: what came once comes again.
//!
//! Owns: which completions are repeated, and when. Must not know: what they were for.
//!
//! 1. Only what a driver says once about an operation is repeated, to the same life of the broker.
//! 2. S8: it changes nothing. No command follows that anybody would notice, and the next wake is the
//!    same.

use super::World;
use super::event::Completion;
use crate::rng::{Stream, key};
use crate::story::Fact;
use relay_core::{Command, PtySignal, Step};
use std::collections::VecDeque;

/// Completions that are remembered.
const REMEMBERED: usize = 8;
/// One in so many completions is followed by a stale one.
const ONE_IN: u64 = 64;
/// The position of these draws among those of their stream.
const POSITION: u64 = 81;

#[derive(Debug, Default)]
pub(super) struct Stale {
    life: u64,
    past: VecDeque<Completion>,
    /// Completions so far: a key for draws.
    count: u64,
}

impl World<'_> {
    /// After a completion: perhaps an earlier one comes again.
    pub(super) fn repeat_a_completion(&mut self, completion: &Completion) {
        let Some(number) = self.life.as_ref().map(|life| life.number) else {
            return;
        };
        if self.stale.life != number {
            self.stale = Stale { life: number, count: self.stale.count, ..Stale::default() };
        }
        if !completion.is_final() {
            return;
        }
        self.stale.count += 1;
        let draw = self.rng.word(Stream::Fault, key(self.stale.count, POSITION));
        self.stale.past.push_back(completion.clone());
        if self.stale.past.len() > REMEMBERED {
            self.stale.past.pop_front();
        }
        if draw.is_multiple_of(ONE_IN) {
            let pick = (draw >> 8) as usize % self.stale.past.len();
            let again = self.stale.past[pick].clone();
            self.feed_stale(&again);
        }
    }

    fn feed_stale(&mut self, again: &Completion) {
        let now = self.reading();
        let Some(life) = &mut self.life else { return };
        self.trace.tell(self.now, "stale", again, &Fact::Input(&again.input()));
        self.tape.input(now, &again.input());
        life.broker.handle(now, again.input());
        let (number, mut shown) = (life.number, Vec::new());
        let wanted = loop {
            match life.broker.poll() {
                Step::Do(command) => {
                    self.tape.command(&command);
                    if !is_harmless(&command) {
                        break Some(format!("the broker wants {command:?}"));
                    }
                    if let Command::StreamSend { subscriber, text } = command {
                        shown.push((subscriber, text));
                    }
                }
                Step::Wait(wake) => {
                    self.tape.settled(&life.broker);
                    let other = wake.at != life.wake;
                    break other.then(|| format!("the broker wakes at {:?}", wake.at));
                }
            }
        };
        for (subscriber, text) in shown {
            self.on_event((number, subscriber), &text);
        }
        if let Some(wanted) = wanted {
            self.oracles.stale(&format!("{again:?} came again, and {wanted}"));
        }
    }
}

/// A start that nobody waits for has its child killed and forgotten, whether or not it is still there;
/// no other process has its id. Events that were due anyway are shown.
const fn is_harmless(command: &Command) -> bool {
    let kills = matches!(command, Command::PtySignal { signal: PtySignal::Kill, .. });
    kills || matches!(command, Command::Log(_) | Command::PtyForget { .. } | Command::StreamSend { .. })
}
