//! The injection machine: one message at a time into one terminal.
//!
//! Owns: readiness of the program, what each input means for the injection under way, and patience with it.
//! Must not know: acks, sequences, or where the text comes from.
//!
//! 1. One injection at a time; nothing else is written between its first byte and its submit.
//! 2. A pause has a reason and ends early on evidence; no stage waits for time alone.
//! 3. An injection is confirmed only when the terminal took all its bytes and the submit, and the
//!    program's input queue is empty. The kernel echoes text that nobody reads: the screen alone
//!    proves nothing.
//! 4. If the terminal changes its mode while bytes of ours are unread, the program has thrown them
//!    away: the injection is given back to be typed again. So it is if nobody looked between the
//!    typing and a change from lines to keys: to be read twice is better than to be lost.
//! 5. Bytes that the terminal accepted are never written a second time within one injection.
//! 6. Time for which the machine slept is not waited: no program ran in it.
//!
//! The rules are those of `core/PROTOCOL.md` §6.

use super::harness::Harness;
use super::readiness::{Readiness, ready};
use super::work::{BLOCKED, Evidence, Job, LOOK_FIRST, Modes, Stage, Work, check, next_chunk, write};
use crate::cx::Cx;
use crate::delivery::RowKey;
use crate::ids::{OpId, ProcessId};
use crate::input::{Fault, FaultKind, TtyState};
use crate::limits;
use crate::term::Terminal;
use crate::time::{Mono, Span};
use crate::timers::Timer;
use alloc::boxed::Box;

/// Between the interrupt key and the text: programs tell a lone ESC from a sequence by time.
const INTERRUPT_PAUSE: Span = Span::millis(120);
/// Between two looks at the screen for the sake of output: a program may draw character by character,
/// and each look reads the whole place.
const LOOK_APART: Span = Span::millis(1);
/// Without progress for this long an injection is reported as stuck.
const STUCK: Span = Span::secs(10);

/// What an input to the machine led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing that others must know.
    Nothing,
    /// The program takes text now. `unrecognised` when only for want of patience.
    Ready { unrecognised: bool },
    /// The text and its submit are written.
    Typed(RowKey),
    /// The program has taken the message.
    Confirmed(RowKey, Evidence),
    /// The program threw the message away unread.
    ThrownAway(RowKey),
    /// The program has not taken the message for a while. Said once per injection.
    Stuck(RowKey),
    /// The program lives but has not taken the message for [`limits::UNVERIFIED`].
    GivenUp(RowKey),
}

#[derive(Debug)]
enum State {
    Booting,
    Idle,
    Busy(Box<Work>),
}

#[derive(Debug)]
pub(crate) struct Injector {
    process: ProcessId,
    harness: Harness,
    exec_at: Mono,
    last_output: Mono,
    state: State,
}

impl Injector {
    /// A machine for a program that was started just now.
    pub(crate) fn new(cx: &mut Cx, process: ProcessId, harness: Harness) -> Self {
        cx.wake_in(Timer::Terminal(process), super::readiness::QUIET);
        let now = cx.now.mono;
        let state = if canary!(TypedBeforeReady) { State::Idle } else { State::Booting };
        Self { process, harness, exec_at: now, last_output: now, state }
    }

    /// Whether a message can be handed over.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether bytes written now would stand in the middle of an injection (invariant 1).
    pub(crate) fn is_typing(&self) -> bool {
        let State::Busy(work) = &self.state else {
            return false;
        };
        matches!(
            work.stage,
            Stage::Interrupting(_) | Stage::Typing { .. } | Stage::Settling(_) | Stage::Submitting(_)
        )
    }

    /// Whether an injection has begun to write and has not been confirmed.
    pub(crate) fn has_written(&self) -> bool {
        let State::Busy(work) = &self.state else {
            return false;
        };
        !matches!(work.stage, Stage::Looking(_) | Stage::Blocked)
    }

    /// Whether an injection was reported as stuck and still is.
    pub(crate) fn is_stuck(&self) -> bool {
        matches!(&self.state, State::Busy(work) if work.reported)
    }

    /// What keeps the program from taking text, where only a person can help.
    pub(crate) fn dialog(&self, screen: &Terminal) -> Option<&'static str> {
        let waits = match &self.state {
            State::Booting => true,
            State::Idle => false,
            State::Busy(work) => matches!(work.stage, Stage::Blocked),
        };
        if waits { self.harness.dialog(screen) } else { None }
    }

    /// Since when the program has been silent, were it not for the sleep of the machine.
    pub(crate) const fn last_output(&self) -> Mono {
        self.last_output
    }

    /// Begins an injection. Only when idle.
    pub(crate) fn start(&mut self, cx: &mut Cx, screen: &Terminal, job: Job) {
        assert!(self.is_idle(), "one injection at a time");
        let mut work = Work::new(cx.now.mono, job, screen);
        if self.harness.dialog(screen).is_some() {
            cx.wake_in(Timer::Terminal(self.process), BLOCKED);
        } else {
            work.stage = Stage::Looking(check(cx, self.process));
        }
        self.state = State::Busy(Box::new(work));
    }

    /// The terminal produced output, which `screen` has taken in.
    pub(crate) fn on_output(&mut self, cx: &mut Cx, screen: &Terminal) -> Outcome {
        self.last_output = cx.now.mono;
        match &mut self.state {
            State::Booting => self.judge_readiness(cx, screen),
            State::Idle => Outcome::Nothing,
            State::Busy(work) => {
                work.output = true;
                let began =
                    !matches!(work.stage, Stage::Looking(_) | Stage::Blocked | Stage::Interrupting(_));
                // The end of a text is written last: while it is being typed there is nothing to see.
                let typed = began && !matches!(work.stage, Stage::Typing { .. });
                let look_at = work.looked.map_or(cx.now.mono, |at| at.after(LOOK_APART));
                if began && !work.seen {
                    work.unlooked = true;
                    if typed && look_at <= cx.now.mono {
                        work.look_at_screen(cx, screen);
                    }
                }
                match &mut work.stage {
                    Stage::Settling(op @ None) | Stage::Confirming(op @ None) if work.seen => {
                        *op = Some(check(cx, self.process));
                    }
                    Stage::Settling(None) | Stage::Confirming(None) if work.unlooked => {
                        cx.timers.set_earlier(Timer::Terminal(self.process), look_at);
                    }
                    _ => {}
                }
                Outcome::Nothing
            }
        }
    }

    /// [`Timer::Terminal`] of this process fired.
    pub(crate) fn on_timer(&mut self, cx: &mut Cx, screen: &Terminal) -> Outcome {
        let process = self.process;
        let State::Busy(work) = &mut self.state else {
            return match self.state {
                State::Booting => self.judge_readiness(cx, screen),
                _ => Outcome::Nothing,
            };
        };
        match &mut work.stage {
            Stage::Blocked if self.harness.dialog(screen).is_some() => {
                cx.wake_in(Timer::Terminal(process), BLOCKED);
            }
            Stage::Blocked => work.stage = Stage::Looking(check(cx, process)),
            Stage::Interrupting(None) => work.type_text(cx, process, screen),
            Stage::Settling(op @ None) | Stage::Confirming(op @ None) => *op = Some(check(cx, process)),
            _ => {}
        }
        self.judge_patience(cx)
    }

    fn judge_readiness(&mut self, cx: &mut Cx, screen: &Terminal) -> Outcome {
        let now = cx.now.mono;
        let verdict = ready(self.harness, screen, now.since(self.last_output), now.since(self.exec_at));
        match verdict {
            Readiness::Ready { unrecognised } => {
                self.state = State::Idle;
                cx.timers.clear(&Timer::Terminal(self.process));
                Outcome::Ready { unrecognised }
            }
            Readiness::NotYet { recheck_after } => {
                // A jump of the clock shows against the next wake only.
                cx.wake_in(Timer::Terminal(self.process), recheck_after.clamp(LOOK_FIRST, BLOCKED));
                Outcome::Nothing
            }
            Readiness::Blocked { .. } => {
                cx.timers.clear(&Timer::Terminal(self.process));
                Outcome::Nothing
            }
        }
    }

    /// Whether the injection takes too long, and whether that is to be said.
    fn judge_patience(&mut self, cx: &Cx) -> Outcome {
        let State::Busy(work) = &mut self.state else {
            return Outcome::Nothing;
        };
        let key = work.job.key;
        if cx.now.mono.since(work.started) >= limits::UNVERIFIED && !canary!(NeverGivenUp) {
            self.state = State::Idle;
            return Outcome::GivenUp(key);
        }
        if !work.reported && cx.now.mono.since(work.progress) >= STUCK {
            work.reported = true;
            #[cfg(canary)]
            if canary!(BusyIsTypedAgain) {
                self.state = State::Idle;
                return Outcome::ThrownAway(key);
            }
            return Outcome::Stuck(key);
        }
        Outcome::Nothing
    }

    /// A write of this machine ended; false if `op` is none of its.
    pub(crate) fn on_written(
        &mut self,
        cx: &mut Cx,
        screen: &Terminal,
        op: OpId,
        written: usize,
        fault: Option<&Fault<'_>>,
    ) -> Option<Outcome> {
        let process = self.process;
        let State::Busy(work) = &mut self.state else {
            return None;
        };
        // A broken terminal is followed by its end, which ends the machine.
        let broken = fault.is_some_and(|fault| fault.kind != FaultKind::Deadline);
        if written > 0 {
            work.progress = cx.now.mono;
        }
        match &mut work.stage {
            Stage::Interrupting(current) if *current == Some(op) => {
                *current = None;
                cx.wake_in(Timer::Terminal(process), INTERRUPT_PAUSE);
            }
            Stage::Typing { op: current, bytes, sent } if *current == op => {
                *sent += if canary!(PartIsWhole) { bytes.0.len() } else { written };
                if broken {
                    return Some(Outcome::Nothing);
                }
                if *sent == 0 && Modes::of(screen) != work.modes {
                    // Nothing of it is framed yet for what the program was.
                    work.type_text(cx, process, screen);
                } else if *sent < bytes.0.len() {
                    *current = write(cx, process, next_chunk(&bytes.0, *sent));
                } else if work.tty.canonical {
                    work.submit(cx, process);
                } else {
                    let stage = Stage::Settling(Some(check(cx, process)));
                    work.wait(cx, stage);
                }
            }
            Stage::Submitting(current) if *current == op => {
                if broken {
                    return Some(Outcome::Nothing);
                }
                if written == 0 {
                    work.submit(cx, process);
                } else {
                    let stage = Stage::Confirming(Some(check(cx, process)));
                    work.wait(cx, stage);
                    work.output = false;
                    return Some(Outcome::Typed(work.job.key));
                }
            }
            _ => return None,
        }
        Some(self.judge_patience(cx))
    }

    /// A check of this machine ended; `None` if `op` is none of its.
    pub(crate) fn on_state(
        &mut self,
        cx: &mut Cx,
        screen: &Terminal,
        op: OpId,
        state: Option<TtyState>,
    ) -> Option<Outcome> {
        let process = self.process;
        let State::Busy(work) = &mut self.state else {
            return None;
        };
        let current = match &work.stage {
            Stage::Looking(current) => Some(*current),
            Stage::Settling(current) | Stage::Confirming(current) => *current,
            _ => None,
        };
        if current != Some(op) {
            return None;
        }
        let Some(state) = state else {
            work.look_later(cx, process);
            return Some(self.judge_patience(cx));
        };
        if let Stage::Looking(_) = work.stage {
            work.tty = state;
            work.modes = Modes::of(screen);
            match self.harness.interrupt_key().filter(|_| work.job.steer) {
                Some(key) => work.stage = Stage::Interrupting(Some(write(cx, process, key.to_vec()))),
                None => work.type_text(cx, process, screen),
            }
            return Some(Outcome::Nothing);
        }
        if work.was_thrown_away(state, screen) {
            return Some(self.throw_away(cx));
        }
        work.note_unread(cx, state);
        if work.unlooked {
            work.look_at_screen(cx, screen);
        }
        let verdict = work.judge(cx, process, self.last_output);
        Some(match verdict {
            Some(evidence) => {
                let key = work.job.key;
                self.state = State::Idle;
                cx.timers.clear(&Timer::Terminal(process));
                Outcome::Confirmed(key, evidence)
            }
            None => self.judge_patience(cx),
        })
    }

    /// What has been waited is counted from `later` of each instant (invariant 6).
    pub(crate) fn put_off(&mut self, later: impl Fn(Mono) -> Mono) {
        self.exec_at = later(self.exec_at);
        self.last_output = later(self.last_output);
        if let State::Busy(work) = &mut self.state {
            work.put_off(later);
        }
    }

    /// The program starts its screen anew: it must become ready again (invariant 4).
    fn throw_away(&mut self, cx: &mut Cx) -> Outcome {
        let State::Busy(work) = core::mem::replace(&mut self.state, State::Booting) else {
            return Outcome::Nothing;
        };
        self.exec_at = cx.now.mono;
        self.last_output = cx.now.mono;
        cx.wake_in(Timer::Terminal(self.process), super::readiness::QUIET);
        Outcome::ThrownAway(work.job.key)
    }
}
