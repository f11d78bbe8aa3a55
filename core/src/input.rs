//! Inputs: everything that can happen to a broker.
//!
//! Owns: the one enum through which a driver tells the core what happened.
//! Must not know: what the core makes of it.
//!
//! 1. An input borrows: frames and terminal bytes are parsed in place.
//! 2. A completion carries the id of the command that it answers, exactly once. A completion whose
//!    id is no longer wanted changes nothing and is counted.
//! 3. Peers may put anything into the borrowed text; only a driver's broken promise is a panic.

use crate::ids::{CallId, LinkId, OpId, ProcessId, RequestId, StoreId, SubscriberId};

/// One thing that happened. Produced by a driver, consumed by [`Broker::handle`](crate::Broker::handle).
#[derive(Debug)]
pub enum Input<'a> {
    /// Nothing happened but time: the deadline of the last [`Wake`](crate::Wake) may have passed.
    Tick,

    /// The WebSocket of [`Command::LinkOpen`](crate::Command::LinkOpen) is open.
    LinkUp {
        /// Which link.
        link: LinkId,
    },
    /// It could not be opened; this ends the link.
    LinkRefused {
        /// Which link.
        link: LinkId,
        /// Why.
        why: Refusal<'a>,
    },
    /// A text message arrived.
    LinkText {
        /// Which link.
        link: LinkId,
        /// The whole message.
        text: &'a str,
    },
    /// A binary message arrived; the protocol has none.
    LinkBinary {
        /// Which link.
        link: LinkId,
        /// Its length in bytes.
        len: usize,
    },
    /// A pong arrived.
    LinkPong {
        /// Which link.
        link: LinkId,
    },
    /// Text handed over by [`Command::LinkSend`](crate::Command::LinkSend) has left for the socket.
    LinkDrained {
        /// Which link.
        link: LinkId,
        /// How many bytes of text, summed over the messages written.
        bytes: usize,
    },
    /// The link is gone: closed by us, by the peer, or broken. Nothing more comes for this id.
    LinkDown {
        /// Which link.
        link: LinkId,
        /// Close code and reason, or the error; for people.
        why: &'a str,
    },

    /// An HTTP call to the engine is over.
    CallDone {
        /// The id of [`Command::Call`](crate::Command::Call).
        call: CallId,
        /// What came back. The body is at most [`limits::CALL_BODY`](crate::limits::CALL_BODY) bytes.
        result: Result<CallReply<'a>, Fault<'a>>,
    },

    /// The child of [`Command::Spawn`](crate::Command::Spawn) was started, or could not be.
    Spawned {
        /// Which process.
        process: ProcessId,
        /// Its operating system id.
        result: Result<u32, Fault<'a>>,
    },
    /// The child's terminal produced output.
    PtyOutput {
        /// Which process.
        process: ProcessId,
        /// Raw bytes; may split characters and sequences anywhere.
        bytes: &'a [u8],
    },
    /// A [`Command::PtyWrite`](crate::Command::PtyWrite) is over.
    PtyWritten {
        /// Which process.
        process: ProcessId,
        /// Which write.
        op: OpId,
        /// How many bytes, from the start, the terminal has accepted.
        written: usize,
        /// Why it stopped short, if it did. [`FaultKind::Deadline`] when the terminal was full.
        fault: Option<Fault<'a>>,
    },
    /// The answer to [`Command::PtyCheck`](crate::Command::PtyCheck).
    PtyState {
        /// Which process.
        process: ProcessId,
        /// Which check.
        op: OpId,
        /// The terminal's state, or `None` when it is gone or cannot be looked at now.
        state: Option<TtyState>,
    },
    /// The terminal has ended: no more output. Comes before or after the exit.
    PtyEof {
        /// Which process.
        process: ProcessId,
    },
    /// The child is dead and reaped. Comes before or after the end of its output.
    PtyExited {
        /// Which process.
        process: ProcessId,
        /// How it ended.
        status: ExitStatus,
    },

    /// A request arrived on the local API. Answered by exactly one
    /// [`Command::ApiReply`](crate::Command::ApiReply) or, for the event stream, [`Command::ApiStream`](crate::Command::ApiStream).
    Api {
        /// Names the request in the answer.
        request: RequestId,
        /// What `edge::authorize` said of its key. The core never sees the key.
        auth: Auth,
        /// `GET`, `POST` …
        method: &'a str,
        /// Path with query, percent-encoded as it came.
        target: &'a str,
        /// Whether the client wants a WebSocket.
        upgrade: bool,
        /// At most [`limits::API_BODY`](crate::limits::API_BODY) bytes.
        body: &'a [u8],
    },
    /// The client of a request went away before it was answered.
    ApiGone {
        /// Which request.
        request: RequestId,
    },
    /// An event stream has written text handed over by
    /// [`Command::StreamSend`](crate::Command::StreamSend).
    StreamDrained {
        /// Which stream.
        subscriber: SubscriberId,
        /// How many bytes of text.
        bytes: usize,
    },
    /// An event stream is gone.
    StreamGone {
        /// Which stream.
        subscriber: SubscriberId,
    },

    /// A [`Command::Store`](crate::Command::Store) is over.
    Stored {
        /// Which operation.
        store: StoreId,
        /// `Ok` means synced to disk.
        result: Result<(), Fault<'a>>,
    },

    /// The operator wants the broker to stop. The second one exits at once.
    Terminate,
}

/// Why a link could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// The upgrade was answered with this HTTP status.
    Status(u16),
    /// Anything else: no answer in time, connection refused, TLS, DNS.
    Fault(Fault<'a>),
}

/// An HTTP answer of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallReply<'a> {
    /// The status code.
    pub status: u16,
    /// The body as it came.
    pub body: &'a [u8],
}

/// What the operating system or the network did to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<'a> {
    /// The class, which decides what the core does.
    pub kind: FaultKind,
    /// The system's words, for people. May quote a peer: masked before it is shown.
    pub detail: &'a str,
}

/// Classes of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Not finished by the deadline of the command.
    Deadline,
    /// The peer, file or program is not there.
    NotFound,
    /// Not allowed, or read-only.
    Denied,
    /// No space left.
    NoSpace,
    /// The other side is gone or refused to talk.
    Broken,
    /// Anything else.
    Other,
}

/// A look at a child's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TtyState {
    /// Bytes of input that the program has not read, as `FIONREAD` on the slave tells: on a canonical
    /// terminal only complete lines count. Every byte whose write was reported is either counted or
    /// read.
    pub unread: u32,
    /// Whether the kernel hands out input by lines (`ICANON`).
    pub canonical: bool,
    /// Whether the kernel echoes input (`ECHO`).
    pub echo: bool,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The system did not say.
    Unknown,
}

/// The verdict on a local API request's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Auth {
    /// The right key.
    Ok,
    /// No key was given.
    Missing,
    /// Another key was given.
    Wrong,
}
