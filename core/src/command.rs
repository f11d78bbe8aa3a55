//! Commands: everything a broker wants done.
//!
//! Owns: the one enum through which the core tells a driver what to do.
//! Must not know: sockets, files, processes.
//!
//! 1. Every command that starts IO carries a deadline and has exactly one completion input with its
//!    id. `LinkSend`, `LinkPing`, `LinkPause`, `PtyResize`, `PtySignal`, `PtyForget`, `StreamSend`,
//!    `Log` and the API answers have none.
//! 2. No command waits for another; a driver may run them all at once, but writes to one link, one
//!    terminal, one stream and one file keep their order.
//! 3. The core holds credit (`limits`), so no queue of a driver grows without bound.

use crate::ids::{CallId, LinkId, OpId, ProcessId, RequestId, StoreId, SubscriberId};
use crate::secret::Secret;
use crate::time::Mono;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What [`Broker::poll`](crate::Broker::poll) returns.
#[must_use = "a command that is not executed breaks the core's promises"]
#[derive(Debug)]
pub enum Step {
    /// Do this, then poll again.
    Do(Command),
    /// Nothing more to do: wait for an input, at the latest until then.
    Wait(Wake),
}

/// When, and why, the core wants its next `Tick`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Never, if `None`.
    pub at: Option<Mono>,
    /// The reason of the earliest deadline.
    pub why: &'static str,
}

/// One thing to do.
#[derive(Debug, Hash)]
pub enum Command {
    /// Open a WebSocket. Answered by `LinkUp` or `LinkRefused`, and after `LinkUp` by one `LinkDown`.
    LinkOpen {
        /// Which link.
        link: LinkId,
        /// `ws://` or `wss://`, complete.
        url: String,
        /// For `authorization: Bearer …`.
        token: Secret,
        /// For connect, TLS and upgrade together.
        deadline: Mono,
    },
    /// Send a text message.
    LinkSend {
        /// Which link.
        link: LinkId,
        /// The whole message.
        text: String,
    },
    /// Send a ping.
    LinkPing {
        /// Which link.
        link: LinkId,
    },
    /// Stop, or go on, reading from the socket.
    LinkPause {
        /// Which link.
        link: LinkId,
        /// True to stop.
        paused: bool,
    },
    /// Send what is queued, then a close frame with this code; drop the socket at the deadline. What still
    /// comes until then is handed over: some of it engines send only once.
    /// Answered by `LinkDown` (`LinkRefused` if it was not up yet).
    LinkClose {
        /// Which link.
        link: LinkId,
        /// WebSocket close code.
        code: u16,
        /// Close reason.
        reason: &'static str,
        /// When to give up politeness.
        deadline: Mono,
    },

    /// Make an HTTP call to the engine. Answered by `CallDone`.
    Call {
        /// Which call.
        call: CallId,
        /// What to send.
        request: CallRequest,
        /// For the whole exchange.
        deadline: Mono,
    },

    /// Start a child on a new terminal. Answered by `Spawned`; after success `PtyEof` and `PtyExited`
    /// follow once each, in either order.
    Spawn {
        /// Which process.
        process: ProcessId,
        /// What to start.
        child: Child,
        /// For the start.
        deadline: Mono,
    },
    /// Write to a child's terminal, as much as it takes. Answered by `PtyWritten`.
    PtyWrite {
        /// Which process.
        process: ProcessId,
        /// Which write.
        op: OpId,
        /// At most [`limits::PTY_CREDIT`](crate::limits::PTY_CREDIT) bytes are in flight per process.
        bytes: Vec<u8>,
        /// When to report what was accepted so far.
        deadline: Mono,
    },
    /// Look at a child's terminal. Answered by `PtyState` without delay, but not before the bytes of
    /// every reported write have reached the program's queue (on Linux a poll of the slave sees to that).
    PtyCheck {
        /// Which process.
        process: ProcessId,
        /// Which check.
        op: OpId,
    },
    /// Change the size of a child's terminal.
    PtyResize {
        /// Which process.
        process: ProcessId,
        /// Lines, at least 1.
        rows: u16,
        /// Columns, at least 1.
        cols: u16,
    },
    /// Signal a child's process group.
    PtySignal {
        /// Which process.
        process: ProcessId,
        /// How hard.
        signal: PtySignal,
    },
    /// Drop the terminal: no more output is wanted. Pending writes may be dropped unanswered; the
    /// exit is still reported if it was not.
    PtyForget {
        /// Which process.
        process: ProcessId,
    },

    /// Change a file. Answered by `Stored`.
    Store {
        /// Which operation.
        store: StoreId,
        /// What to do.
        action: StoreAction,
        /// After which the core treats it as failed.
        deadline: Mono,
    },

    /// Answer a local API request.
    ApiReply {
        /// Which request.
        request: RequestId,
        /// HTTP status.
        status: u16,
        /// `application/json` or `text/plain`.
        content_type: &'static str,
        /// The body.
        body: String,
    },
    /// Accept a local API request as event stream: answer 101, then treat it as this subscriber.
    ApiStream {
        /// Which request.
        request: RequestId,
        /// Its name from now on.
        subscriber: SubscriberId,
    },
    /// Send a text message on an event stream.
    StreamSend {
        /// Which stream.
        subscriber: SubscriberId,
        /// The whole message.
        text: String,
    },
    /// Close an event stream. Answered by `StreamGone`.
    StreamClose {
        /// Which stream.
        subscriber: SubscriberId,
        /// WebSocket close code.
        code: u16,
        /// Close reason.
        reason: &'static str,
    },

    /// Tell the operator.
    Log(LogLine),
    /// End the process with this code, after flushing logs. Nothing follows.
    Exit {
        /// Process exit code.
        code: u8,
    },
}

/// An HTTP call, complete.
#[derive(Debug, Hash)]
pub struct CallRequest {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'static str,
    /// Complete URL.
    pub url: String,
    /// For `authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// More headers: lower-case names.
    pub headers: Vec<(&'static str, Text)>,
    /// JSON, sent with `content-type: application/json`.
    pub body: Option<String>,
}

impl CallRequest {
    /// A question without a body.
    pub(crate) const fn get(url: String, bearer: Secret) -> Self {
        Self { method: "GET", url, bearer: Some(bearer), headers: Vec::new(), body: None }
    }
}

/// Text for the outside that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Text {
    /// May be shown.
    Plain(String),
    /// May not.
    Secret(Secret),
}

impl Text {
    /// The text itself.
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

/// A child to start.
#[derive(Hash)]
pub struct Child {
    /// Program and arguments; the program is looked up in the child's `PATH`.
    pub argv: Vec<String>,
    /// Set on top of the driver's own environment, in order.
    pub env: Vec<(String, Text)>,
    /// Taken out of the driver's own environment first.
    pub env_remove: Vec<String>,
    /// Working directory; the broker's own when `None`.
    pub cwd: Option<String>,
    /// Terminal lines.
    pub rows: u16,
    /// Terminal columns.
    pub cols: u16,
}

impl fmt::Debug for Child {
    /// What callers put into an environment may be secret: only its names are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "Child({:?}, {names:?}, {:?}, {}x{})", self.argv, self.cwd, self.rows, self.cols)
    }
}

/// How hard to stop a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PtySignal {
    /// SIGHUP and SIGTERM: please go.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A change to the broker's files. All files are made with mode 0600, their directories with 0700.
#[derive(Debug, Hash)]
pub enum StoreAction {
    /// Replace a whole file: temporary file, sync, rename, sync of the directory.
    Replace {
        /// Which file.
        file: StoreFile,
        /// Its new content; `Secret` because identities and tokens hold credentials.
        content: Secret,
    },
    /// Append lines to the journal and sync.
    Append {
        /// Complete lines, each with its newline.
        lines: String,
    },
    /// Remove a file; a missing one is fine.
    Remove {
        /// Which file.
        file: StoreFile,
    },
}

/// The files that the core writes. Where they lie is the driver's business (see `store`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StoreFile {
    /// `identity.json` in the state directory.
    Identity,
    /// `node-tokens/<stem>.json` in the machine's data directory.
    NodeToken {
        /// File name without extension; safe as it is.
        stem: String,
    },
    /// `journal-<instance>.jsonl` in the state directory.
    Journal,
}

/// One line for the operator.
#[derive(Debug, Hash)]
pub struct LogLine {
    /// How bad.
    pub level: Level,
    /// The area: `link`, `delivery`, `agent`, `inject`, `action`, `api`, `store`, `broker`.
    pub area: &'static str,
    /// A sentence, already masked.
    pub message: String,
}

/// How bad a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For engineers.
    Debug,
    /// The ordinary course of things.
    Info,
    /// Something to look at.
    Warn,
    /// Something is broken.
    Error,
}
