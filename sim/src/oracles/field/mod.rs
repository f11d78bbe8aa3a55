//! The oracles of a recorded life: what its inputs and commands alone can show to be wrong.
//!
//! Owns: the list of everything that is wrong with one life, and where.
//! Must not know: engines, programs or files; nobody is there to be asked what really happened.
//!
//! 1. What cannot be known from the wire is taken to be right: what is told is wrong.
//! 2. Nothing is judged by how long it took, except that an answer must come at all: machines sleep.
//! 3. All violations are told, not the first only: a life of weeks may have several.

mod dialect;
mod rows;

use super::bounds::Bounds;
use super::facts::Frame;
use super::requests::Requests;
use super::scene::Scene;
use super::{At, Broken, Class, Failure, hosting, secrets};
use dialect::Dialect;
use relay_core::ids::RequestId;
use relay_core::limits::AGENTS;
use relay_core::time::Now;
use relay_core::{Command, Input};
use rows::Rows;
use std::collections::BTreeMap;

/// The only life there is.
const LIFE: u64 = 1;
/// Commands that one input may cause, not counting lines for people and streams: some per agent.
const COMMANDS: usize = 8 * AGENTS;
/// After this nobody waits for an answer, in µs: more than twice the longest limit.
const ANSWER: u64 = 60 * 1_000_000;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The line of the input that it came of; 1 for the start.
    pub line: usize,
    /// Which rule: `S1` …
    pub rule: &'static str,
    /// How it was broken.
    pub message: String,
}

impl From<&Violation> for Failure {
    fn from(Violation { line, rule, message }: &Violation) -> Self {
        Self { class: Class::Safety, rule, message: format!("line {line}: {message}") }
    }
}

/// All oracles of a recorded life.
#[derive(Debug, Default)]
pub struct Field {
    scene: Scene,
    bounds: Bounds,
    dialect: Dialect,
    requests: Requests,
    /// Since when requests wait: line, and µs.
    waiting: BTreeMap<RequestId, (usize, u64)>,
    rows: Rows,
    line: usize,
    now: u64,
    commands: usize,
    violations: Vec<Violation>,
}

impl Field {
    /// Nothing has happened; `journal` is what earlier lives have left.
    pub fn new(journal: &str) -> Self {
        let mut field = Self::default();
        field.rows.journal(journal);
        field
    }

    /// What is wrong so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    fn note(&mut self, judged: Result<(), Broken>) {
        if let Err((rule, message)) = judged {
            self.violations.push(Violation { line: self.line, rule, message });
        }
    }

    const fn at(&self) -> At {
        At { life: LIFE, mono: self.now, now: self.now }
    }

    /// The broker was handed an input, or started. `line` is where that is recorded.
    pub fn input(&mut self, line: usize, now: Now, input: Option<&Input<'_>>) {
        (self.line, self.now, self.commands) = (line, now.mono.0, 0);
        let Some(input) = input else { return };
        let text = match input {
            Input::LinkText { text, .. } => Some(*text),
            _ => None,
        };
        let frame = text.map(Frame::read);
        self.scene.input(self.at(), input, frame.as_ref());
        self.bounds.input(input);
        self.rows.input(&self.scene, input, frame.as_ref());
        if let (Some(text), Some(frame)) = (text, &frame) {
            let judged = self.dialect.arrived(&self.scene, frame, text);
            self.note(judged.map_err(|why| ("S11", why)));
        }
        match input {
            Input::Api { request, method, target, .. } => {
                self.requests.asked((LIFE, *request), format!("{method} {target}"), 0);
                self.waiting.insert(*request, (line, self.now));
            }
            Input::ApiGone { request } => {
                self.requests.left((LIFE, *request));
                self.waiting.remove(request);
            }
            _ => {}
        }
    }

    /// The broker wanted something done.
    pub fn command(&mut self, command: &Command) {
        let text = match command {
            Command::LinkSend { text, .. } => Some(text.as_str()),
            _ => None,
        };
        let frame = text.map(Frame::read);
        let judged = self.bounds.command(command).and_then(|()| self.count(command));
        self.note(judged.map_err(|why| ("S9", why)));
        if let (Some(text), Some(frame)) = (text, &frame) {
            let judged = self.dialect.sent(&self.scene, text);
            self.note(judged.map_err(|why| ("S11", why)));
            let judged = hosting::frame(self.at(), &self.scene, frame);
            self.note(judged);
        }
        let what = match command {
            Command::ApiReply { request, .. } => self.requests.what((LIFE, *request)),
            _ => None,
        };
        let judged = secrets::command(command, what).map_err(|why| ("S12", why));
        self.note(judged);
        if let Command::ApiReply { request, .. } | Command::ApiStream { request, .. } = command {
            self.waiting.remove(request);
            // Invariant 2.
            let judged = self.requests.answered((LIFE, *request), 0);
            self.note(judged.map_err(|why| ("S10", why)));
        }
        let judged = self.rows.command(&self.scene, command, frame.as_ref());
        self.note(judged);
        self.scene.command(self.at(), command, frame.as_ref());
    }

    fn count(&mut self, command: &Command) -> Result<(), String> {
        if !matches!(command, Command::Log(_) | Command::StreamSend { .. }) {
            self.commands += 1;
            // Told once per input.
            if self.commands == COMMANDS + 1 {
                return Err(format!("one input causes more than {COMMANDS} commands"));
            }
        }
        Ok(())
    }

    /// The record ends here.
    pub fn end(&mut self) {
        for (request, (line, since)) in std::mem::take(&mut self.waiting) {
            if self.now.saturating_sub(since) > ANSWER {
                let judged = self.requests.overdue((LIFE, request));
                self.line = line;
                self.note(judged.map_err(|why| ("S10", why)));
            }
        }
    }
}
