//! The injection machine: one message at a time into one terminal.
//!
//! Owns: readiness of the program, and the stages of the injection under way.
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
//!
//! The rules are those of `core/PROTOCOL.md` §6.

use super::evidence::Tail;
use super::harness::Harness;
use super::paste::{Format, plan};
use super::readiness::{Readiness, ready};
use super::text::Text;
use crate::command::Command;
use crate::cx::Cx;
use crate::delivery::RowKey;
use crate::ids::{OpId, ProcessId};
use crate::input::{Fault, FaultKind, TtyState};
use crate::limits;
use crate::term::Terminal;
use crate::time::{Mono, Span};
use crate::timers::Timer;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// Between the interrupt key and the text: programs tell a lone ESC from a sequence by time.
const INTERRUPT_PAUSE: Span = Span::millis(120);
/// A raw program that shows nothing more for this long has drawn the text.
const SETTLE_QUIET: Span = Span::millis(30);
/// A raw program that shows nothing at all gets the submit after this.
const SETTLE_AT_LATEST: Span = Span::millis(500);
/// From the submit to giving up on an echo, when the input queue is empty.
const ECHO_WAIT: Span = Span::millis(150);
/// First and longest pause between two looks at the input queue.
const LOOK_FIRST: Span = Span::millis(1);
const LOOK_LAST: Span = Span::secs(2);
/// Between two looks at the screen for the sake of output: a program may draw character by character,
/// and each look reads the whole place.
const LOOK_APART: Span = Span::millis(1);
/// Without progress for this long an injection is reported as stuck.
const STUCK: Span = Span::secs(10);
/// One write to a terminal reports what was accepted after this at the latest.
const WRITE: Span = Span::secs(5);
/// What stands in the way, a dialog or a lack of descriptors, is looked at again after this.
const BLOCKED: Span = Span::secs(1);

/// What is to be typed.
pub(crate) struct Job {
    /// The row that it is for.
    pub(crate) key: RowKey,
    /// The text.
    pub(crate) text: Text,
    /// Interrupt the program first, where it can be interrupted.
    pub(crate) steer: bool,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({:?}, {} bytes, steer {})", self.key, self.text.as_str().len(), self.steer)
    }
}

/// Why an injection counts as confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Taken, and the end of the text stands on the screen.
    Screen,
    /// Taken, and the program produced output after the submit.
    Activity,
    /// Taken by a program that shows nothing.
    Taken,
}

impl Evidence {
    /// The stable name of the evidence.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Screen => "screen",
            Self::Activity => "activity",
            Self::Taken => "taken",
        }
    }
}

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
struct Work {
    job: Job,
    tail: Tail,
    stage: Stage,
    tty: TtyState,
    modes: Modes,
    started: Mono,
    /// When the stage began that waits for the program.
    since: Mono,
    /// When the program last made progress.
    progress: Mono,
    /// At the last look bytes of ours were unread.
    unread: bool,
    /// At a look everything of ours was read: nothing can be thrown away any more.
    text_read: bool,
    /// The end of the text has stood on the screen.
    seen: bool,
    /// When the screen was last looked at.
    looked: Option<Mono>,
    /// There was output since.
    unlooked: bool,
    /// There was output since the text began, or later since the submit.
    output: bool,
    reported: bool,
}

#[derive(Debug)]
enum Stage {
    /// The terminal's mode is being asked for.
    Looking(OpId),
    /// A dialog is up, or the terminal cannot be looked at: try again soon.
    Blocked,
    /// The interrupt key is being written, or was.
    Interrupting(Option<OpId>),
    /// The text is being written.
    Typing { op: OpId, bytes: Bytes, sent: usize },
    /// A raw program is given the time to draw the text.
    Settling(Option<OpId>),
    /// The submit is being written.
    Submitting(OpId),
    /// The program must read.
    Confirming(Option<OpId>),
}

/// Bytes to type; shown as their number.
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// The modes of a terminal whose change shows that a program has (re)started its screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Modes {
    paste: bool,
    alternate: bool,
}

impl Modes {
    fn of(screen: &Terminal) -> Self {
        Self { paste: screen.bracketed_paste(), alternate: screen.alternate_screen() }
    }
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
        Self { process, harness, exec_at: now, last_output: now, state: State::Booting }
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

    /// Since when the program has been silent.
    pub(crate) const fn last_output(&self) -> Mono {
        self.last_output
    }

    /// Begins an injection. Only when idle.
    pub(crate) fn start(&mut self, cx: &mut Cx, screen: &Terminal, job: Job) {
        assert!(self.is_idle(), "one injection at a time");
        let now = cx.now.mono;
        let tail = Tail::of(&job.text);
        let mut work = Work {
            job,
            tail,
            stage: Stage::Blocked,
            tty: TtyState { unread: 0, canonical: false, echo: false },
            modes: Modes::of(screen),
            started: now,
            since: now,
            progress: now,
            unread: false,
            text_read: false,
            seen: false,
            looked: None,
            unlooked: false,
            output: false,
            reported: false,
        };
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
                let typed =
                    !matches!(work.stage, Stage::Looking(_) | Stage::Blocked | Stage::Interrupting(_));
                let look_at = work.looked.map_or(cx.now.mono, |at| at.after(LOOK_APART));
                if typed && !work.seen {
                    work.unlooked = true;
                    if look_at <= cx.now.mono {
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
                cx.wake_in(Timer::Terminal(self.process), recheck_after.max(LOOK_FIRST));
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
        if cx.now.mono.since(work.started) >= limits::UNVERIFIED {
            self.state = State::Idle;
            return Outcome::GivenUp(key);
        }
        if !work.reported && cx.now.mono.since(work.progress) >= STUCK {
            work.reported = true;
            return Outcome::Stuck(key);
        }
        Outcome::Nothing
    }

    /// A write of this machine ended; false if `op` is none of its.
    pub(crate) fn on_written(
        &mut self,
        cx: &mut Cx,
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
                *sent += written;
                if broken {
                    return Some(Outcome::Nothing);
                }
                if *sent < bytes.0.len() {
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

impl Work {
    fn type_text(&mut self, cx: &mut Cx, process: ProcessId, screen: &Terminal) {
        let format = if screen.bracketed_paste() {
            Format::Paste
        } else {
            Format::Plain { canonical: self.tty.canonical }
        };
        self.modes = Modes::of(screen);
        let bytes = plan(&self.job.text, format);
        let op = write(cx, process, next_chunk(&bytes, 0));
        self.stage = Stage::Typing { op, bytes: Bytes(bytes), sent: 0 };
        self.output = false;
        self.progress = cx.now.mono;
    }

    fn submit(&mut self, cx: &mut Cx, process: ProcessId) {
        self.stage = Stage::Submitting(write(cx, process, b"\r".to_vec()));
    }

    /// A look failed: nothing is known until one succeeds.
    fn look_later(&mut self, cx: &mut Cx, process: ProcessId) {
        match &mut self.stage {
            Stage::Settling(op) | Stage::Confirming(op) => *op = None,
            stage => *stage = Stage::Blocked,
        }
        cx.wake_in(Timer::Terminal(process), BLOCKED);
    }

    /// Enters a stage that waits for the program.
    fn wait(&mut self, cx: &Cx, stage: Stage) {
        self.stage = stage;
        self.since = cx.now.mono;
    }

    fn look_at_screen(&mut self, cx: &Cx, screen: &Terminal) {
        self.seen = self.tail.seen_on(screen);
        self.looked = Some(cx.now.mono);
        self.unlooked = false;
    }

    fn was_thrown_away(&self, state: TtyState, screen: &Terminal) -> bool {
        let changed = state.canonical != self.tty.canonical || Modes::of(screen) != self.modes;
        // A program that has only now begun to read keys discards, as a rule, what was typed before.
        let unseen = self.tty.canonical && !state.canonical;
        changed && (self.unread || unseen) && !self.text_read && state.unread == 0
    }

    fn note_unread(&mut self, cx: &Cx, state: TtyState) {
        let unread = state.unread > 0;
        if self.unread && !unread {
            self.progress = cx.now.mono;
        }
        self.text_read |= !unread;
        self.unread = unread;
    }

    /// What the latest look means: the evidence, if the injection is confirmed; otherwise the next
    /// step is taken or scheduled.
    fn judge(&mut self, cx: &mut Cx, process: ProcessId, last_output: Mono) -> Option<Evidence> {
        let waited = cx.now.mono.since(self.since);
        // As long again as so far, however often output made it look in between.
        let next_look = waited.clamp(LOOK_FIRST, LOOK_LAST);
        let pause = match &mut self.stage {
            Stage::Settling(op) => {
                *op = None;
                let quiet = self.output && cx.now.mono.since(last_output) >= SETTLE_QUIET;
                if !self.unread && (self.seen || quiet || waited >= SETTLE_AT_LATEST) {
                    self.submit(cx, process);
                    return None;
                }
                next_look.min(SETTLE_QUIET)
            }
            Stage::Confirming(op) => {
                *op = None;
                if (!self.unread || canary!(AckBeforeRead)) && self.seen {
                    return Some(Evidence::Screen);
                }
                if !self.unread && waited >= ECHO_WAIT {
                    return Some(if self.output { Evidence::Activity } else { Evidence::Taken });
                }
                if self.unread { next_look } else { Span(ECHO_WAIT.0 - waited.0) }
            }
            _ => return None,
        };
        cx.wake_in(Timer::Terminal(process), pause);
        None
    }
}

fn next_chunk(bytes: &[u8], sent: usize) -> Vec<u8> {
    bytes[sent..bytes.len().min(sent + limits::PTY_WRITE)].to_vec()
}

fn check(cx: &mut Cx, process: ProcessId) -> OpId {
    let op = cx.op();
    cx.push(Command::PtyCheck { process, op });
    op
}

fn write(cx: &mut Cx, process: ProcessId, bytes: Vec<u8>) -> OpId {
    let op = cx.op();
    let deadline = cx.now.mono.after(WRITE);
    cx.push(Command::PtyWrite { process, op, bytes, deadline });
    op
}
