//! Programs: what kind one is, by what its terminal did.
//!
//! Owns: the guess. Must not know: which agent it is, or why it was started.

use crate::agents::Kind;
use crate::plan::SECOND;
use relay_core::TtyState;
use relay_core::ids::OpId;
use std::collections::BTreeSet;

/// How a program switches bracketed paste on.
const PASTE: &[u8] = b"\x1b[?2004h";
/// A program that takes longer to read is a slow one, in µs.
const SLOW: u64 = SECOND / 2;
/// A program that has not read for so long never does, in µs.
const NEVER: u64 = 60 * SECOND;

/// What was seen of a program.
#[derive(Debug, Default)]
pub(super) struct Program {
    command: String,
    pastes: bool,
    /// The end of its output: a sequence may stand in two chunks.
    tail: Vec<u8>,
    /// By lines, echo.
    mode: Option<(bool, bool)>,
    threw_away: bool,
    /// Letters typed, and shown since then.
    typed: u64,
    shown: u64,
    submits: BTreeSet<OpId>,
    /// Since when something that was submitted is not read.
    unread_since: Option<u64>,
    slowest: u64,
}

fn letters(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).count() as u64
}

impl Program {
    pub(super) fn new(command: &str) -> Self {
        let command = command.rsplit('/').next().unwrap_or_default().to_owned();
        Self { command, ..Self::default() }
    }

    pub(super) fn output(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.pastes |= self.tail.windows(PASTE.len()).any(|window| window == PASTE);
        let old = self.tail.len().saturating_sub(PASTE.len() - 1);
        self.tail.drain(..old);
        if self.typed > 0 {
            self.shown += letters(bytes);
        }
    }

    pub(super) fn write(&mut self, op: OpId, bytes: &[u8]) {
        self.typed += letters(bytes);
        if bytes.ends_with(b"\r") {
            self.submits.insert(op);
        }
    }

    pub(super) fn written(&mut self, at: u64, op: OpId) {
        if self.submits.remove(&op) {
            self.unread_since.get_or_insert(at);
        }
    }

    pub(super) fn state(&mut self, at: u64, state: TtyState) {
        self.mode = Some((state.canonical, state.echo));
        if state.unread == 0
            && let Some(since) = self.unread_since.take()
        {
            self.slowest = self.slowest.max(at - since);
        }
    }

    /// It threw away what was typed.
    pub(super) const fn threw_away(&mut self) {
        self.threw_away = true;
    }

    /// The most similar kind, when it was watched until `now`.
    pub(super) fn kind(&self, now: u64) -> Kind {
        if self.unread_since.is_some_and(|since| now - since > NEVER) {
            return Kind::Deaf;
        }
        match self.mode {
            _ if self.pastes && self.threw_away => Kind::Boots,
            _ if self.pastes && self.command == Kind::Claude.command() => Kind::Claude,
            _ if self.pastes && self.shown * 2 < self.typed => Kind::Mangled,
            _ if self.pastes => Kind::Wrapped,
            Some((false, _)) => Kind::Raw,
            Some((true, false)) => Kind::Silent,
            _ if self.slowest > SLOW => Kind::Slow,
            _ => Kind::Cat,
        }
    }
}
