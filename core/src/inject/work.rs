//! One injection: its stages, from the first look at a terminal to the evidence.
//!
//! Owns: what is known of the injection under way, and what the latest look at its terminal means.
//! Must not know: readiness, patience, and what others are told.
//!
//! 1. A look that failed proves nothing: the next step waits for one that succeeds.
//! 2. Before the next look as much time passes again as was waited so far, within [`LOOK_FIRST`] and
//!    [`LOOK_LAST`], and never more than until the next limit.
//!
//! What is thrown away, and that nothing is written twice, are invariants 4 and 5 of `machine`.

use super::evidence::Tail;
use super::paste::{Format, plan};
use super::text::Text;
use crate::command::Command;
use crate::cx::Cx;
use crate::delivery::RowKey;
use crate::ids::{OpId, ProcessId};
use crate::input::TtyState;
use crate::limits;
use crate::term::Terminal;
use crate::time::{Mono, Span};
use crate::timers::Timer;
use alloc::vec::Vec;
use core::fmt;

/// A raw program that shows nothing more for this long has drawn the text.
const SETTLE_QUIET: Span = Span::millis(30);
/// A raw program that shows nothing at all gets the submit after this.
const SETTLE_AT_LATEST: Span = Span::millis(500);
/// From the submit to giving up on an echo, when the input queue is empty.
const ECHO_WAIT: Span = Span::millis(150);
/// First and longest pause between two looks at the input queue.
pub(super) const LOOK_FIRST: Span = Span::millis(1);
const LOOK_LAST: Span = Span::secs(2);
/// One write to a terminal reports what was accepted after this at the latest.
const WRITE: Span = Span::secs(5);
/// What stands in the way, a dialog or a lack of descriptors, is looked at again after this.
pub(super) const BLOCKED: Span = Span::secs(1);

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

/// The injection under way.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) job: Job,
    tail: Tail,
    pub(super) stage: Stage,
    pub(super) tty: TtyState,
    pub(super) modes: Modes,
    pub(super) started: Mono,
    /// When the stage began that waits for the program.
    since: Mono,
    /// When the program last made progress.
    pub(super) progress: Mono,
    /// At the last look bytes of ours were unread.
    unread: bool,
    /// At a look everything of ours was read: nothing can be thrown away any more.
    text_read: bool,
    /// The end of the text has stood on the screen.
    pub(super) seen: bool,
    /// How much output there was before the text.
    fed: u64,
    /// When the screen was last looked at.
    pub(super) looked: Option<Mono>,
    /// There was output since.
    pub(super) unlooked: bool,
    /// There was output since the text began, or later since the submit.
    pub(super) output: bool,
    pub(super) reported: bool,
}

/// Where it stands.
#[derive(Debug)]
pub(super) enum Stage {
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
pub(super) struct Bytes(pub(super) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// The modes of a terminal whose change shows that a program has (re)started its screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Modes {
    paste: bool,
    alternate: bool,
}

impl Modes {
    pub(super) fn of(screen: &Terminal) -> Self {
        Self { paste: screen.bracketed_paste(), alternate: screen.alternate_screen() }
    }
}

impl Work {
    /// An injection that begins now, with nothing asked and nothing written.
    pub(super) fn new(now: Mono, job: Job, screen: &Terminal) -> Self {
        Self {
            tail: Tail::of(&job.text),
            job,
            stage: Stage::Blocked,
            tty: TtyState { unread: 0, canonical: false, echo: false },
            modes: Modes::of(screen),
            started: now,
            since: now,
            progress: now,
            unread: false,
            text_read: false,
            seen: false,
            fed: screen.fed(),
            looked: None,
            unlooked: false,
            output: false,
            reported: false,
        }
    }

    pub(super) fn type_text(&mut self, cx: &mut Cx, process: ProcessId, screen: &Terminal) {
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
        self.fed = screen.fed();
        self.progress = cx.now.mono;
    }

    pub(super) fn submit(&mut self, cx: &mut Cx, process: ProcessId) {
        self.stage = Stage::Submitting(write(cx, process, b"\r".to_vec()));
    }

    /// A look failed: nothing is known until one succeeds.
    pub(super) fn look_later(&mut self, cx: &mut Cx, process: ProcessId) {
        match &mut self.stage {
            Stage::Settling(op) | Stage::Confirming(op) => *op = None,
            stage => *stage = Stage::Blocked,
        }
        cx.wake_in(Timer::Terminal(process), BLOCKED);
    }

    /// Enters a stage that waits for the program.
    pub(super) fn wait(&mut self, cx: &Cx, stage: Stage) {
        self.stage = stage;
        self.since = cx.now.mono;
    }

    /// What has been waited is counted from `later` of each instant (invariant 6 of `machine`).
    pub(super) fn put_off(&mut self, later: impl Fn(Mono) -> Mono) {
        for since in [&mut self.started, &mut self.since, &mut self.progress] {
            *since = later(*since);
        }
    }

    pub(super) fn look_at_screen(&mut self, cx: &Cx, screen: &Terminal) {
        // Less output than the end of the text is long has not shown it: what looks like it is older.
        let shown = screen.fed() - self.fed;
        self.seen = shown >= self.tail.len() && self.tail.seen_on(screen);
        self.looked = Some(cx.now.mono);
        self.unlooked = false;
    }

    pub(super) fn was_thrown_away(&self, state: TtyState, screen: &Terminal) -> bool {
        if canary!(TypedBeforeReady) {
            return false;
        }
        if canary!(SwallowedIsTaken) {
            return false;
        }
        let changed = state.canonical != self.tty.canonical || Modes::of(screen) != self.modes;
        // A program that has only now begun to read keys discards, as a rule, what was typed before.
        let unseen = self.tty.canonical && !state.canonical;
        changed && (self.unread || unseen) && !self.text_read && state.unread == 0
    }

    pub(super) fn note_unread(&mut self, cx: &Cx, state: TtyState) {
        let unread = state.unread > 0;
        if self.unread && !unread {
            self.progress = cx.now.mono;
        }
        self.text_read |= !unread;
        self.unread = unread;
    }

    /// What the latest look means: the evidence, if the injection is confirmed; otherwise the next
    /// step is taken or scheduled.
    pub(super) fn judge(&mut self, cx: &mut Cx, process: ProcessId, last_output: Mono) -> Option<Evidence> {
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
                let is_blind = canary!(SilenceIsTaken) && waited >= WRITE;
                if is_blind || (!self.unread && waited >= ECHO_WAIT) {
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

pub(super) fn next_chunk(bytes: &[u8], sent: usize) -> Vec<u8> {
    bytes[sent..bytes.len().min(sent + limits::PTY_WRITE)].to_vec()
}

pub(super) fn check(cx: &mut Cx, process: ProcessId) -> OpId {
    let op = cx.op();
    cx.push(Command::PtyCheck { process, op });
    op
}

pub(super) fn write(cx: &mut Cx, process: ProcessId, bytes: Vec<u8>) -> OpId {
    let op = cx.op();
    let deadline = cx.now.mono.after(WRITE);
    cx.push(Command::PtyWrite { process, op, bytes, deadline });
    op
}
