//! Watching a recorded life: what each input and command means for the scenario.
//!
//! Owns: time, and who is told of what. Must not know: steps that agents or mail stand for.

use super::cast::{Cast, LATER};
use super::link::Link;
use super::mail::{Came, Mail, number};
use crate::engine::ProfileName;
use crate::plan::{AgentPlan, Fault, SECOND, Step};
use crate::replay::{Moment, PANIC};
use crate::scenario::limits;
use relay_core::ids::{LinkId, OpId, ProcessId};
use relay_core::limits::ANSWER_SILENCE;
use relay_core::time::Now;
use relay_core::trace::Trace;
use relay_core::{Auth, Command, Input, Mark, Marks, Refusal};
use serde_json::Value;
use std::collections::BTreeMap;

/// Failures of one kind belong together when they are no further apart, in µs.
const TOGETHER: u64 = 30 * SECOND;
/// How much longer than its failures a time of failures lasts, in µs.
const LONGER: u64 = SECOND / 2;
/// The clocks have parted when they differ by more, in µs.
const DRIFT: u64 = 2 * SECOND;
/// Rows that come again so soon after a reply are a replay that was asked for, in µs.
const ANSWERED: u64 = 2 * SECOND;

/// Marks of the broker that tell of a fault.
const TELLING: [Mark; 4] = [Mark::LinkSilent, Mark::AnswersSilent, Mark::ClockJump, Mark::InputThrownAway];

/// What a fault lasts from the first failure to the last.
type Lasting = fn(u64) -> Fault;

#[derive(Debug)]
pub(super) struct Watch {
    start: Now,
    latest: Now,
    /// µs since the start, without those that the machine slept.
    now: u64,
    slept: u64,
    cast: Cast,
    mail: Mail,
    link: Link,
    /// When the link was opened, until something comes.
    opened: Option<u64>,
    /// When the engine last answered something.
    answered: u64,
    /// The longest way to the engine and back, in µs.
    longest: u64,
    faults: Vec<(u64, Fault)>,
    steps: Vec<(u64, Step)>,
    /// Times of failures, by kind.
    calls: Vec<u64>,
    stores: Vec<u64>,
    starts: Vec<u64>,
    writes: BTreeMap<(ProcessId, OpId), (u64, usize)>,
    hits: [u32; TELLING.len()],
    stopping: bool,
    release: Option<ProfileName>,
}

impl Watch {
    pub(super) fn new(trace: &Trace<'_>) -> Self {
        Self {
            start: trace.boot.now,
            latest: trace.boot.now,
            now: 0,
            slept: 0,
            cast: Cast::default(),
            mail: Mail::default(),
            link: Link::default(),
            opened: None,
            answered: 0,
            longest: 0,
            faults: Vec::new(),
            steps: Vec::new(),
            calls: Vec::new(),
            stores: Vec::new(),
            starts: Vec::new(),
            writes: BTreeMap::new(),
            hits: [0; TELLING.len()],
            stopping: false,
            release: None,
        }
    }

    pub(super) fn see(&mut self, moment: &Moment<'_>, marks: &Marks) {
        let hits = TELLING.map(|mark| marks.hits(mark));
        let [silent, unanswered, jumped, thrown] = std::array::from_fn(|at| hits[at] > self.hits[at]);
        self.hits = hits;
        self.clock(moment.now, jumped);
        let now = self.now;
        if silent {
            self.link.silent(now);
        }
        if unanswered {
            let from = now.saturating_sub(ANSWER_SILENCE.0);
            self.faults.push((from, Fault::HalfDead { lasts: now - from }));
        }
        if let Some(input) = &moment.input {
            if let (true, Input::PtyState { process, .. } | Input::PtyOutput { process, .. }) =
                (thrown, input)
            {
                self.cast.program(*process).into_iter().for_each(|program| program.threw_away());
            }
            self.input(input);
        }
        moment.commands.iter().for_each(|command| self.command(command));
    }

    fn clock(&mut self, now: Now, jumped: bool) {
        let mono = now.mono.0.saturating_sub(self.latest.mono.0);
        let drift = now.wall.0.saturating_sub(self.latest.wall.0).saturating_mul(1_000);
        let drift = drift.saturating_sub(i64::try_from(mono).unwrap_or(i64::MAX));
        if jumped {
            self.faults.push((self.now, Fault::Suspend { lasts: mono.min(limits::TIME) }));
            self.slept = self.slept.saturating_add(mono);
        } else if drift.unsigned_abs() > DRIFT {
            let most = limits::TIME as i64;
            self.faults.push((self.now, Fault::WallStep { by: (drift / 1_000).clamp(-most, most) }));
        }
        self.latest = now;
        let awake = now.mono.0.saturating_sub(self.start.mono.0).saturating_sub(self.slept);
        // What comes later than any scenario may last is left out; nobody needs to know how much later.
        self.now = self.now.max(awake.min(limits::TIME));
    }

    fn input(&mut self, input: &Input<'_>) {
        let now = self.now;
        match input {
            Input::LinkUp { link } => {
                self.link.up(now, *link);
                self.opened = Some(now);
            }
            Input::LinkRefused { why, .. } => {
                self.link.refused(now, matches!(why, Refusal::Status(401)));
            }
            Input::LinkDown { link, .. } => self.link.down(now, *link),
            Input::LinkPong { .. } => self.link.heard = now,
            Input::LinkText { link, text } => self.frame(*link, text),
            Input::CallDone { result, .. } => match result {
                Ok(reply) if reply.status == 429 || reply.status >= 500 => self.calls.push(now),
                Ok(reply) if reply.status == 409 && contains(reply.body, "node_token_proof_required") => {
                    self.says(ProfileName::V9_0_0);
                }
                Ok(_) => {}
                Err(_) => self.calls.push(now),
            },
            Input::Spawned { result: Err(_), .. } => self.starts.push(now),
            Input::PtyOutput { process, bytes } => {
                self.cast.program(*process).into_iter().for_each(|program| program.output(bytes));
            }
            Input::PtyWritten { process, op, written, .. } => self.written(*process, *op, *written),
            Input::PtyState { process, state: Some(state), .. } => {
                self.cast.program(*process).into_iter().for_each(|program| program.state(now, *state));
            }
            Input::PtyExited { process, .. } => {
                if let Some(agent) = self.cast.exited(*process).filter(|_| !self.stopping) {
                    self.faults.push((now, Fault::Kill { agent }));
                }
            }
            Input::Api { auth: Auth::Ok, method, target, body, .. } => self.asked(method, target, body),
            Input::Stored { result: Err(_), .. } => self.stores.push(now),
            Input::Terminate => self.stops(),
            _ => {}
        }
    }

    fn stops(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.faults.push((self.now, Fault::Terminate));
        }
    }

    fn asked(&mut self, method: &str, target: &str, body: &[u8]) {
        let now = self.now;
        let wish: Value = serde_json::from_slice(body).unwrap_or_default();
        let word = |key: &str| wish[key].as_str().unwrap_or_default();
        match (method, target) {
            ("POST", "/api/spawn") => self.cast.asked(now, word("name"), !word("task").trim().is_empty()),
            ("POST", "/api/send") => {
                let text = wish["text"].as_str().unwrap_or_else(|| word("message"));
                self.mail.send(now, word("to"), text.to_owned());
            }
            ("POST", "/api/shutdown") => self.stops(),
            ("POST", _) => {
                let name = target.strip_prefix("/api/input/").unwrap_or_default();
                self.on(name, |to| Step::Input { to });
            }
            ("DELETE", _) => {
                let name = target.strip_prefix("/api/spawned/").unwrap_or_default();
                self.on(name, |agent| Step::Release { agent });
            }
            _ => {}
        }
    }

    /// Something is done with an agent that has been there.
    fn on(&mut self, name: &str, step: impl FnOnce(usize) -> Step) {
        self.steps.extend(self.cast.place(name).map(|agent| (self.now, step(agent))));
    }

    fn frame(&mut self, link: LinkId, text: &str) {
        self.link.heard = self.now;
        if let Some(opened) = self.opened.take() {
            self.longest = self.longest.max(self.now - opened);
        }
        let frame: Value = serde_json::from_str(text).unwrap_or_default();
        match frame["type"].as_str().unwrap_or_default() {
            "deliver" => self.delivered(link, &frame),
            "action.invoke" => self.invoked(&frame),
            "reply" => self.replied(&frame["data"]),
            "error" => self.answered = self.now,
            _ => {}
        }
    }

    fn delivered(&mut self, link: LinkId, frame: &Value) {
        let (now, payload) = (self.now, &frame["payload"]);
        if payload["type"] == "dm.received" && payload["data"]["metadata"].is_object() {
            self.says(ProfileName::V8_2_2);
        }
        let came = self.mail.deliver(now, self.latest.wall, link, frame);
        let agent = frame["agent"].as_str().and_then(|name| self.cast.place(name));
        let unasked = now > self.answered + ANSWERED;
        match (came, agent) {
            (Came::Overtaken, _) if unasked => self.reorders(),
            (Came::Again, _) if number(&frame["seq"]) == 0 => {
                self.faults.push((now.saturating_sub(LONGER), Fault::Echo { lasts: 2 * LONGER }));
            }
            (Came::Again, Some(agent)) if unasked => self.repeats(agent),
            _ => {}
        }
    }

    fn reorders(&mut self) {
        let fault = Fault::Reorder { lasts: 2 * LONGER };
        let from = self.now.saturating_sub(LONGER);
        let goes_on = |(at, other): &(u64, Fault)| *other == fault && from < at + 2 * LONGER;
        if !self.faults.iter().any(goes_on) {
            self.faults.push((from, fault));
        }
    }

    fn repeats(&mut self, agent: usize) {
        let fault = Fault::Replay { agent };
        let goes_on = |(at, other): &(u64, Fault)| *other == fault && self.now < at + LONGER;
        if !self.faults.iter().any(goes_on) {
            self.faults.push((self.now, fault));
        }
    }

    fn invoked(&mut self, frame: &Value) {
        let name =
            frame["input"]["name"].as_str().or_else(|| frame["agent_name"].as_str()).unwrap_or_default();
        match frame["action"].as_str().unwrap_or_default() {
            "release" => self.on(name, |agent| Step::InvokeRelease { agent }),
            action if action.starts_with("spawn") => self.cast.invoked(self.now, name),
            _ => {}
        }
    }

    fn replied(&mut self, data: &Value) {
        self.answered = self.now;
        if !data["registration_contract"].is_null() {
            self.says(ProfileName::V8_11_4);
        } else if data["provider"].is_object() {
            self.says(ProfileName::V6_0_3);
        }
    }

    /// The engine is of this release or a later one.
    fn says(&mut self, release: ProfileName) {
        self.release = self.release.max(Some(release));
    }

    fn written(&mut self, process: ProcessId, op: OpId, written: usize) {
        let Some((at, bytes)) = self.writes.remove(&(process, op)) else { return };
        if written == bytes {
            let now = self.now;
            self.cast.program(process).into_iter().for_each(|program| program.written(now, op));
        } else if let Some(agent) = self.cast.of(process).filter(|_| self.now > at) {
            self.faults.push((at, Fault::Stall { agent, lasts: self.now - at }));
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::LinkClose { link, .. } => self.link.closed(*link),
            Command::Spawn { process, child, .. } => self.cast.starts(self.now, *process, child),
            Command::PtySignal { process, .. } => self.cast.signalled(*process),
            Command::PtyWrite { process, op, bytes, .. } => {
                self.writes.insert((*process, *op), (self.now, bytes.len()));
                self.cast.program(*process).into_iter().for_each(|program| program.write(*op, bytes));
            }
            _ => {}
        }
    }

    /// The record ends, with these words.
    pub(super) fn end(&mut self, why: &str) {
        self.link.end();
        self.faults.append(&mut self.link.faults);
        let kinds: [(&[u64], Lasting); 3] = [
            (&self.calls, |lasts| Fault::Calls { lasts }),
            (&self.stores, |lasts| Fault::Store { lasts }),
            (&self.starts, |lasts| Fault::SpawnFails { lasts }),
        ];
        for (times, fault) in kinds {
            let together = times.chunk_by(|one, next| next - one <= TOGETHER);
            self.faults.extend(together.map(|times| {
                let lasts = times[times.len() - 1] - times[0] + 2 * LONGER;
                (times[0].saturating_sub(LONGER), fault(lasts.min(limits::TIME)))
            }));
        }
        if why.starts_with(PANIC) {
            self.faults.push((self.now, Fault::Crash { commands: 0 }));
        }
    }

    /// How long it was watched, in µs.
    pub(super) const fn now(&self) -> u64 {
        self.now
    }

    /// The longest way of a frame, in µs.
    pub(super) const fn network(&self) -> u64 {
        let way = self.longest / 2;
        if way < 100 {
            100
        } else if way > 300_000 {
            300_000
        } else {
            way
        }
    }

    /// The oldest release that fits what the engine said.
    pub(super) fn release(&self) -> ProfileName {
        self.release.unwrap_or(ProfileName::V5_0_5)
    }

    /// Deliveries for agents that did not run here.
    pub(super) fn strays(&self) -> usize {
        self.mail.strays(&self.cast)
    }

    /// The agents, and what happens.
    pub(super) fn steps(&self) -> (Vec<AgentPlan>, Vec<(u64, Step)>) {
        let mut steps = self.steps.clone();
        steps.extend(self.faults.iter().map(|(at, fault)| (*at, Step::Fault(*fault))));
        steps.extend(self.cast.invocations());
        steps.extend(self.mail.steps(&self.cast));
        steps.iter_mut().for_each(|(at, _)| *at += LATER);
        steps.sort_by_key(|(at, _)| *at);
        (self.cast.agents(self.now), steps)
    }
}

fn contains(bytes: &[u8], what: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(what)
}
