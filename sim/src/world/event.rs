//! Events of a world, and the order in which they happen.
//!
//! Owns: the heap, and inputs that own what they carry on their way to the broker.
//! Must not know: what an event leads to.
//!
//! 1. Events happen in the order of (time, number); numbers grow, so what was scheduled first for an
//!    instant happens first.

use super::rivals::Rival;
use crate::agents::Cue;
use crate::engine::ConnectionId;
use relay_core::ids::{CallId, LinkId, OpId, ProcessId, RequestId, StoreId, SubscriberId};
use relay_core::{Auth, CallReply, ExitStatus, Fault, FaultKind, Input, Refusal, TtyState};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something of one life of the broker: lives are numbered, and each counts its own ids from 1.
pub type Of<Id> = (u64, Id);

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    /// An input reaches the broker, if this life of it is still there.
    Input(u64, Completion),
    /// An input of a link reaches the broker, if the link is still there.
    Down(Of<LinkId>, Completion),
    /// A link's end reaches the broker.
    Ended(Of<LinkId>, String),
    /// An upgrade request reaches the engine.
    Upgrade(Of<LinkId>, String, String),
    /// A text reaches the engine.
    Up(ConnectionId, String),
    /// A close reaches the engine.
    UpClosed(ConnectionId),
    /// A call reaches the engine.
    Call(u64, CallId, Box<CallOut>),
    /// A child is started.
    Start(Of<ProcessId>),
    /// A program goes on.
    Cue(Of<ProcessId>, Cue),
    /// A terminal ends after its process.
    Eof(Of<ProcessId>),
    /// A stalled terminal takes bytes again.
    Unstall(Of<ProcessId>),
    /// A write's time is up.
    WriteDeadline(Of<ProcessId>, OpId),
    /// The next change of a file reaches the disk.
    Store(u64),
    /// The client of a local API request gives up waiting.
    ApiDeadline(Of<RequestId>),
    /// The client of a local API request goes away.
    ApiLeave(Of<RequestId>),
    /// Slow readers of events have read what they got.
    Drain,
    /// A step of the plan.
    Step(usize),
    /// The operator looks after the agents.
    Supervise,
    /// The broker is started again.
    Restart,
    /// The broker is asked again to stop, if that life of it is still there.
    TerminateAgain(u64),
    /// The operator, who has the node's new token, gives it to the broker.
    GiveToken,
    /// A rival of the broker goes on.
    Rival(Rival),
    /// The other node does what it was asked for, or says so.
    Elsewhere(ConnectionId, String),
    /// The engine lets frames go that waited to be overtaken.
    Release,
    /// Faults stop.
    Calm,
    /// The world is looked at: has it come to rest?
    Review,
}

/// A call of the broker to the engine.
#[derive(Debug)]
pub(super) struct CallOut {
    /// `GET`, `POST` …
    pub(super) method: &'static str,
    /// Path with query.
    pub(super) path: String,
    /// Credential.
    pub(super) bearer: Option<String>,
    /// More headers.
    pub(super) headers: Vec<(String, String)>,
    /// JSON.
    pub(super) body: Option<String>,
    /// How it ends.
    pub(super) fate: Fate,
}

/// A request on the local API.
#[derive(Clone, Debug, Hash)]
pub(super) struct Asked {
    /// What was made of its key.
    pub(super) auth: Auth,
    /// `GET`, `POST` …
    pub(super) method: &'static str,
    /// Path with query.
    pub(super) target: String,
    /// Mostly JSON.
    pub(super) body: String,
    /// A WebSocket is wanted.
    pub(super) upgrade: bool,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// As the engine says.
    Good,
    /// With this status, without effect.
    Status(u16),
    /// With this status, after the engine has done it all.
    StatusAfter(u16),
    /// The connection breaks before the engine has it.
    Broken,
    /// The answer never comes, although the engine has done it, at this time.
    Lost(u64),
}

/// An [`Input`] that owns what it carries.
#[derive(Clone, Debug, Hash)]
pub(super) enum Completion {
    LinkUp(LinkId),
    LinkRefused(LinkId, Result<u16, FaultKind>),
    LinkText(LinkId, String),
    LinkBinary(LinkId, usize),
    LinkPong(LinkId),
    LinkDrained(LinkId, usize),
    LinkDown(LinkId, String),
    CallDone(CallId, Result<(u16, String), FaultKind>),
    Spawned(ProcessId, Result<u32, FaultKind>),
    PtyOutput(ProcessId, Vec<u8>),
    PtyWritten(ProcessId, OpId, usize, Option<FaultKind>),
    PtyState(ProcessId, OpId, Option<TtyState>),
    PtyEof(ProcessId),
    PtyExited(ProcessId, ExitStatus),
    Api(RequestId, Asked),
    ApiGone(RequestId),
    StreamDrained(SubscriberId, usize),
    StreamGone(SubscriberId),
    Stored(StoreId, Result<(), FaultKind>),
    Terminate,
}

/// The words of every simulated fault. Whoever shows them has to mask the token.
const DETAIL: &str = "simulated fault of nt_live_0123456789abcdef0123456789abcdef";

fn fault(kind: FaultKind) -> Fault<'static> {
    Fault { kind, detail: DETAIL }
}

impl Completion {
    /// Whether it is said once about an operation, which is over then.
    pub(super) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::LinkRefused(..)
                | Self::LinkDown(..)
                | Self::CallDone(..)
                | Self::Spawned(..)
                | Self::PtyWritten(..)
                | Self::PtyState(..)
                | Self::PtyEof(_)
                | Self::PtyExited(..)
                | Self::StreamGone(_)
                | Self::Stored(..)
        )
    }

    /// The input that the broker gets.
    pub(super) fn input(&self) -> Input<'_> {
        match *self {
            Self::LinkUp(link) => Input::LinkUp { link },
            Self::LinkRefused(link, ref why) => Input::LinkRefused {
                link,
                why: match why {
                    Ok(status) => Refusal::Status(*status),
                    Err(kind) => Refusal::Fault(fault(*kind)),
                },
            },
            Self::LinkText(link, ref text) => Input::LinkText { link, text },
            Self::LinkBinary(link, len) => Input::LinkBinary { link, len },
            Self::LinkPong(link) => Input::LinkPong { link },
            Self::LinkDrained(link, bytes) => Input::LinkDrained { link, bytes },
            Self::LinkDown(link, ref why) => Input::LinkDown { link, why },
            Self::CallDone(call, ref result) => Input::CallDone {
                call,
                result: match result {
                    Ok((status, body)) => Ok(CallReply { status: *status, body: body.as_bytes() }),
                    Err(kind) => Err(fault(*kind)),
                },
            },
            Self::Spawned(process, result) => Input::Spawned { process, result: result.map_err(fault) },
            Self::PtyOutput(process, ref bytes) => Input::PtyOutput { process, bytes },
            Self::PtyWritten(process, op, written, kind) => {
                Input::PtyWritten { process, op, written, fault: kind.map(fault) }
            }
            Self::PtyState(process, op, state) => Input::PtyState { process, op, state },
            Self::PtyEof(process) => Input::PtyEof { process },
            Self::PtyExited(process, status) => Input::PtyExited { process, status },
            Self::Api(request, Asked { auth, method, ref target, ref body, upgrade }) => {
                Input::Api { request, auth, method, target, upgrade, body: body.as_bytes() }
            }
            Self::ApiGone(request) => Input::ApiGone { request },
            Self::StreamDrained(subscriber, bytes) => Input::StreamDrained { subscriber, bytes },
            Self::StreamGone(subscriber) => Input::StreamGone { subscriber },
            Self::Stored(store, result) => Input::Stored { store, result: result.map_err(fault) },
            Self::Terminate => Input::Terminate,
        }
    }
}

/// What will happen.
#[derive(Debug, Default)]
pub(super) struct Heap {
    /// When what happens, and in which slot it waits: the earliest on top.
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    numbers: u64,
}

impl Heap {
    /// Schedules an event for `at`.
    pub(super) fn put(&mut self, at: u64, event: Event) {
        self.numbers += 1;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(event);
        self.order.push(Reverse((at, self.numbers, slot)));
    }

    /// When the next event happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next event.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let Reverse((.., slot)) = self.order.pop()?;
        self.free.push(slot);
        self.slots[slot].take()
    }
}
