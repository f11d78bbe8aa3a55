//! One connection: what is outstanding on it and whether it is alive.
//!
//! Owns: the requests that wait for a reply, the outbound credit, and the stamps of liveness.
//! Must not know: tokens, delays, agents.
//!
//! 1. A new connection is a new value; nothing is carried over.
//! 2. What is sent is counted, so that a later answer proves what was sent before it.
//! 3. Pongs prove a socket, answers prove an engine: they have a limit each.

use crate::command::Command;
use crate::cx::Cx;
use crate::ids::{AgentId, FrameId, LinkId, ProcessId};
use crate::limits;
use crate::rng::Stream;
use crate::time::Mono;
use crate::wire::Dialect;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

/// What a request frame is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// `node.register`.
    Register,
    /// `inventory.sync`, with its number on this link.
    Inventory(u64),
    /// `agent.register` or `agent.recover` for a spawn.
    Agent(ProcessId),
    /// `agent.deregister`; only newer engines answer.
    Deregister(AgentId),
}

/// Where in the order of requests something was sent: a reply to a later request proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    link: LinkId,
    before: u64,
    answers: u8,
}

/// A reply to a request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    link: LinkId,
    number: u64,
    needed: u8,
}

impl Sent {
    /// Takes an answer into account; true once what was sent has surely been handled.
    pub(crate) fn is_proven_by(&mut self, answered: Answered) -> bool {
        if self.link == answered.link && answered.number >= self.before {
            self.answers += 1;
        }
        self.answers >= answered.needed
    }
}

/// Answers that prove what was sent before. Engines 5.x handle frames side by side, so there the
/// first answer may overtake.
const fn answers_needed(dialect: Dialect) -> u8 {
    match dialect {
        Dialect::Provider => 1,
        Dialect::Legacy => 2,
    }
}

/// Requests outstanding at once; the oldest is forgotten, as engines do not answer all of them.
const REQUESTS: usize = 8_192;

#[derive(Debug)]
pub(crate) struct Session {
    pub(super) link: LinkId,
    pub(super) dialect: Dialect,
    pub(super) last_frame: Mono,
    pub(super) last_answer: Mono,
    requests: BTreeMap<FrameId, (u64, Request)>,
    order: BTreeMap<u64, FrameId>,
    next_request: u64,
    in_flight: usize,
}

impl Session {
    pub(super) fn new(cx: &Cx, link: LinkId, dialect: Dialect) -> Self {
        Self {
            link,
            dialect,
            last_frame: cx.now.mono,
            last_answer: cx.now.mono,
            requests: BTreeMap::new(),
            order: BTreeMap::new(),
            next_request: 1,
            in_flight: 0,
        }
    }

    pub(crate) const fn link(&self) -> LinkId {
        self.link
    }

    /// Names a new request.
    pub(super) fn request(&mut self, cx: &mut Cx, request: Request) -> FrameId {
        let id = FrameId(format!("rb_{}", cx.rng.hex(Stream::FrameId, cx.counters.next(), 12)));
        let number = self.next_request;
        self.next_request += 1;
        self.requests.insert(id.clone(), (number, request));
        self.order.insert(number, id.clone());
        if self.order.len() > REQUESTS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.requests.remove(&oldest);
        }
        id
    }

    /// Takes the request that an answer names.
    pub(super) fn answered(&mut self, cx: &Cx, id: &str) -> Option<(Request, Answered)> {
        let (number, request) = self.requests.remove(&FrameId::from(id))?;
        self.order.remove(&number);
        self.last_answer = cx.now.mono;
        let needed = answers_needed(self.dialect);
        Some((request, Answered { link: self.link, number, needed }))
    }

    /// Takes the only pending registration among `wanted` processes, for a reply without our id.
    pub(super) fn take_agent(&mut self, process: ProcessId) -> bool {
        let wanted = Request::Agent(process);
        let found = self.requests.iter().find(|(_, (_, request))| *request == wanted);
        let Some((id, number)) = found.map(|(id, (number, _))| (id.clone(), *number)) else {
            return false;
        };
        self.requests.remove(&id);
        self.order.remove(&number);
        true
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, cx: &mut Cx, text: String) -> Sent {
        self.in_flight += text.len();
        cx.push(Command::LinkSend { link: self.link, text });
        Sent { link: self.link, before: self.next_request, answers: 0 }
    }

    /// The socket has taken this many bytes.
    pub(super) fn drained(&mut self, bytes: usize) {
        assert!(bytes <= self.in_flight, "a driver drained more than it was given");
        self.in_flight -= bytes;
    }

    /// Whether there is credit to send.
    pub(super) const fn has_credit(&self) -> bool {
        self.in_flight < limits::LINK_CREDIT
    }

    /// When the link must be called dead.
    pub(super) fn dead_at(&self) -> Mono {
        if canary!(SilenceIsLife) {
            return Mono(u64::MAX);
        }
        if canary!(PongsAreLife) {
            return self.last_frame.after(limits::LINK_SILENCE);
        }
        self.last_frame.after(limits::LINK_SILENCE).min(self.last_answer.after(limits::ANSWER_SILENCE))
    }
}
