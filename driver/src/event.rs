//! Events: inputs that own what they carry, on their way to the loop.
//!
//! Owns: [`Event`], its view as [`Input`], the classing of errors.
//! Must not know: what produces events, or what the core makes of them.
//!
//! 1. An inbox needs no bound of its own, for every producer is bounded: completions by the core's
//!    credit, terminals and links by the permits (`Room`) that their events hold until the core has
//!    seen them, API requests by the server's limit.

use hyper::body::Bytes;
use relay_core::ids::{CallId, LinkId, OpId, ProcessId, RequestId, StoreId, SubscriberId};
use relay_core::{Auth, CallReply, ExitStatus, Fault, FaultKind, Input, Refusal, TtyState};
use rustix::process::Pid;
use std::io;
use tungstenite::Utf8Bytes;

/// What went wrong: an owned [`Fault`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class.
    pub kind: FaultKind,
    /// For people.
    pub detail: String,
}

impl Failure {
    /// A failure of this class.
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    fn fault(&self) -> Fault<'_> {
        Fault { kind: self.kind, detail: &self.detail }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as E;
        let kind = match error.kind() {
            E::TimedOut | E::WouldBlock => FaultKind::Deadline,
            E::NotFound => FaultKind::NotFound,
            E::PermissionDenied | E::ReadOnlyFilesystem => FaultKind::Denied,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => FaultKind::NoSpace,
            E::ConnectionRefused
            | E::ConnectionReset
            | E::ConnectionAborted
            | E::NotConnected
            | E::BrokenPipe
            | E::UnexpectedEof
            | E::HostUnreachable
            | E::NetworkUnreachable => FaultKind::Broken,
            _ => FaultKind::Other,
        };
        Self::new(kind, error.to_string())
    }
}

/// Why a link could not be opened: an owned [`Refusal`].
#[derive(Debug)]
pub enum Refused {
    /// The upgrade was answered with this status.
    Status(u16),
    /// Anything else.
    Failed(Failure),
}

/// A started child, before the loop has adopted it.
#[derive(Debug)]
pub struct Started<Handles> {
    /// Its process, and the leader of its group.
    pub pid: Pid,
    /// What the runtime watches; taken by whoever adopts the child.
    pub handles: Option<Handles>,
}

impl<Handles> Started<Handles> {
    /// Its operating system id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }
}

/// One thing that happened; see the variants of [`Input`] with the same names.
///
/// `Room` is a place in the inbox, given back when the event is dropped; `Handles` are what the
/// runtime watches of a child.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are those of the inputs of the same names")]
pub enum Event<Room, Handles> {
    LinkUp {
        link: LinkId,
    },
    LinkRefused {
        link: LinkId,
        why: Refused,
    },
    LinkText {
        link: LinkId,
        text: Utf8Bytes,
        _room: Room,
    },
    LinkBinary {
        link: LinkId,
        len: usize,
    },
    LinkPong {
        link: LinkId,
    },
    LinkDrained {
        link: LinkId,
        bytes: usize,
    },
    LinkDown {
        link: LinkId,
        why: String,
    },
    CallDone {
        call: CallId,
        result: Result<(u16, Bytes), Failure>,
    },
    Spawned {
        process: ProcessId,
        result: Result<Started<Handles>, Failure>,
    },
    PtyOutput {
        process: ProcessId,
        bytes: Vec<u8>,
        _room: Room,
    },
    PtyWritten {
        process: ProcessId,
        op: OpId,
        written: usize,
        failure: Option<Failure>,
    },
    PtyState {
        process: ProcessId,
        op: OpId,
        state: Option<TtyState>,
    },
    PtyEof {
        process: ProcessId,
    },
    /// The status is filled in by the loop, which reaps the child.
    PtyExited {
        process: ProcessId,
        status: ExitStatus,
    },
    Api {
        request: RequestId,
        auth: Auth,
        method: String,
        target: String,
        upgrade: bool,
        body: Bytes,
    },
    ApiGone {
        request: RequestId,
    },
    StreamDrained {
        subscriber: SubscriberId,
        bytes: usize,
    },
    StreamGone {
        subscriber: SubscriberId,
    },
    Stored {
        store: StoreId,
        result: Result<(), Failure>,
    },
    Terminate,
}

impl<Room, Handles> Event<Room, Handles> {
    /// The input that the core gets; borrows from the event.
    pub fn input(&self) -> Input<'_> {
        match *self {
            Self::LinkUp { link } => Input::LinkUp { link },
            Self::LinkRefused { link, ref why } => {
                let why = match why {
                    Refused::Status(status) => Refusal::Status(*status),
                    Refused::Failed(failure) => Refusal::Fault(failure.fault()),
                };
                Input::LinkRefused { link, why }
            }
            Self::LinkText { link, ref text, .. } => Input::LinkText { link, text },
            Self::LinkBinary { link, len } => Input::LinkBinary { link, len },
            Self::LinkPong { link } => Input::LinkPong { link },
            Self::LinkDrained { link, bytes } => Input::LinkDrained { link, bytes },
            Self::LinkDown { link, ref why } => Input::LinkDown { link, why },
            Self::CallDone { call, ref result } => {
                let result = match result {
                    Ok((status, body)) => Ok(CallReply { status: *status, body }),
                    Err(failure) => Err(failure.fault()),
                };
                Input::CallDone { call, result }
            }
            Self::Spawned { process, ref result } => {
                let result = result.as_ref().map(Started::id).map_err(Failure::fault);
                Input::Spawned { process, result }
            }
            Self::PtyOutput { process, ref bytes, .. } => Input::PtyOutput { process, bytes },
            Self::PtyWritten { process, op, written, ref failure } => {
                let fault = failure.as_ref().map(Failure::fault);
                Input::PtyWritten { process, op, written, fault }
            }
            Self::PtyState { process, op, state } => Input::PtyState { process, op, state },
            Self::PtyEof { process } => Input::PtyEof { process },
            Self::PtyExited { process, status } => Input::PtyExited { process, status },
            Self::Api { request, auth, ref method, ref target, upgrade, ref body } => {
                Input::Api { request, auth, method, target, upgrade, body }
            }
            Self::ApiGone { request } => Input::ApiGone { request },
            Self::StreamDrained { subscriber, bytes } => Input::StreamDrained { subscriber, bytes },
            Self::StreamGone { subscriber } => Input::StreamGone { subscriber },
            Self::Stored { store, ref result } => {
                Input::Stored { store, result: result.as_ref().copied().map_err(Failure::fault) }
            }
            Self::Terminate => Input::Terminate,
        }
    }
}
