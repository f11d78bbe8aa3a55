//! The pure, sans-IO state machine of a Relaycast broker node.
//!
//! A broker runs beside agents on one machine. It enrols as a node with the Relaycast engine, starts
//! agents in terminals, types each message that arrives into the right one, and acks it only when the
//! agent has taken it. Every decision of that is here; sockets, terminals, files and clocks are not.
//!
//! ```text
//!   engine ──frames──▶ link ──▶ delivery ──▶ inject ──▶ terminal      core:    decides
//!          ◀──acks──── link ◀── delivery ◀── inject ◀── terminal      driver:  does
//!                        ▲          ▲
//!   clients ──requests──▶ api ──▶ agents, actions ──▶ processes
//! ```
//!
//! # The contract
//!
//! A driver owns one [`Broker`] and repeats:
//!
//! 1. [`Broker::poll`] until it returns [`Step::Wait`], executing every [`Command`]. Execution never
//!    blocks and never waits for another command.
//! 2. Wait for one [`Input`], at the latest until [`Wake::at`]. Take inputs that are ready first (a
//!    bounded number), then [`Input::Tick`] when the deadline has passed: what waited during a suspended
//!    night is read before it is timed out.
//! 3. Read the clocks once and call [`Broker::handle`].
//!
//! `handle` is infallible: a peer's mistake becomes an output or a state. Calling it before the output is
//! drained is a driver's mistake, and panics. Every command that starts IO carries a deadline and is
//! answered by exactly one input with its id; late answers change nothing. All state is in memory; what
//! must outlive the process leaves through [`Command::Store`] and comes back through [`Boot`].
//!
//! The same inputs at the same times give the same commands, in every process and on every machine:
//! there is no clock, no entropy, no thread and no hashed iteration in this crate.
//!
//! # What a driver promises
//!
//! | Command | Answered by | The driver sees to it that |
//! | --- | --- | --- |
//! | [`LinkOpen`](Command::LinkOpen) | `LinkUp` or `LinkRefused`; later one `LinkDown` | no redirect is followed, no second attempt made |
//! | [`LinkSend`](Command::LinkSend) | `LinkDrained`, summed | messages leave in order, by one writer |
//! | [`LinkPing`](Command::LinkPing) | `LinkPong` by the peer | pings of the peer are answered without the core |
//! | [`LinkPause`](Command::LinkPause) | nothing | reading stops soon; one message may still come |
//! | [`LinkClose`](Command::LinkClose) | `LinkDown` (`LinkRefused` before `LinkUp`) | what is queued goes first, and what still comes is handed over; the deadline ends it |
//! | [`Call`](Command::Call) | `CallDone` | one exchange, its answer whole or a fault, by the deadline |
//! | [`Spawn`](Command::Spawn) | `Spawned`; then `PtyEof` and `PtyExited`, once each | the child has a terminal and a group of its own |
//! | [`PtyWrite`](Command::PtyWrite) | `PtyWritten` | writes keep their order; what was accepted is told, also when time is up |
//! | [`PtyCheck`](Command::PtyCheck) | `PtyState` | what is unread includes every byte whose write was told |
//! | [`PtyResize`](Command::PtyResize), [`PtySignal`](Command::PtySignal), [`PtyForget`](Command::PtyForget) | nothing | a child is not signalled once it is reaped |
//! | [`Store`](Command::Store) | `Stored` | `Ok` means on disk; changes happen in order |
//! | [`ApiReply`](Command::ApiReply), [`ApiStream`](Command::ApiStream) | nothing | each [`Input::Api`] gets one of them, or says [`Input::ApiGone`] |
//! | [`StreamSend`](Command::StreamSend), [`StreamClose`](Command::StreamClose) | `StreamDrained`, `StreamGone` | as for links |
//! | [`Log`](Command::Log), [`Exit`](Command::Exit) | nothing | nobody waits for a log |
//!
//! # A message, step by step
//!
//! 1. The engine sends a `deliver` frame; the driver hands it over as [`Input::LinkText`].
//! 2. The core puts it into the window of its agent. When it is next and the program is ready, a
//!    [`Command::PtyWrite`] with its text leaves, and after `PtyWritten` another one with the submit.
//! 3. A [`Command::PtyCheck`] follows; as long as [`TtyState::unread`] is not 0, a timer repeats it.
//! 4. Once the program has read it all, and its screen or its output shows it (or nothing is ever shown),
//!    the row counts, and the ack leaves as [`Command::LinkSend`]: at most one for each agent and input.
//! 5. If the link breaks before, nothing is acked; the engine sends the row again, and the window knows
//!    that it was typed.
//!
//! `core/PORTING.md` says in which order to write a driver, how to test it, and what to look out for.
//!
//! # Example
//!
//! ```
//! use relay_core::time::{Mono, Now, Wall};
//! use relay_core::{Access, Boot, Broker, Command, Config, Input, Secret, Step};
//!
//! let now = |ms: u64| Now { mono: Mono(ms * 1_000), wall: Wall(1_760_000_000_000 + ms as i64) };
//! let config = Config {
//!     instance: "project".into(),
//!     node_name: None,
//!     base_url: "https://engine.example".into(),
//!     access: Access::Key(Secret::new("rk_live_0123456789abcdef").unwrap()),
//!     node_id: None,
//!     node_token: None,
//!     agent_type: "human".into(),
//!     harnesses: vec!["claude".into()],
//!     max_agents: 0,
//!     channels: vec![],
//!     version: "0.1.0".into(),
//!     persist: true,
//! };
//! let boot = Boot {
//!     now: now(0),
//!     seed: [7; 32],
//!     machine_seed: "node_seed".into(),
//!     cwd: "/project".into(),
//!     pid: 1,
//!     identity: None,
//!     tokens: vec![],
//!     journal: String::new(),
//! };
//! let mut broker = Broker::new(config, boot);
//!
//! // The first thing it wants is an identity of its own.
//! let Step::Do(Command::Call { request, .. }) = broker.poll() else { panic!() };
//! assert_eq!((request.method, request.url.as_str()), ("POST", "https://engine.example/v1/agents"));
//! let Step::Wait(wake) = broker.poll() else { panic!() };
//!
//! // Nothing came in: time passes.
//! broker.handle(now(5), Input::Tick);
//! assert!(matches!(broker.poll(), Step::Wait(_)));
//! # let _ = wake;
//! ```
//!
//! The rules of the wire that this crate relies on stand in `core/PROTOCOL.md`.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

#[macro_use]
mod canary;

mod action;
mod agent;
mod api;
mod broker;
mod command;
mod config;
mod cx;
mod delivery;
mod digest;
pub mod edge;
pub mod ids;
mod inject;
mod input;
pub mod limits;
mod link;
mod marks;
mod purpose;
mod rng;
mod secret;
mod stats;
mod store;
mod term;
pub mod time;
mod timers;
pub mod trace;
mod wire;

pub use broker::Broker;
#[cfg(canary)]
pub use canary::{Canary, let_loose};
pub use command::{
    CallRequest, Child, Command, Level, LogLine, PtySignal, Step, StoreAction, StoreFile, Text, Wake,
};
pub use config::{Access, Boot, Config};
pub use digest::Digest;
pub use input::{Auth, CallReply, ExitStatus, Fault, FaultKind, Input, Refusal, TtyState};
pub use marks::{Mark, Marks};
pub use rng::hex;
pub use secret::{Secret, mask};
pub use stats::{Held, Stats};
