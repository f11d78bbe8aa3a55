//! The pure, sans-IO state machine of a Relaycast broker node.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod api;
mod broker;
mod command;
mod config;
pub mod edge;
pub mod ids;
mod input;
pub mod limits;
mod rng;
mod secret;
pub mod time;
mod timers;

pub use broker::Broker;
pub use command::{
    CallRequest, Child, Command, Level, LogLine, PtySignal, Step, StoreAction, StoreFile, Text, Wake,
};
pub use config::{Access, Boot, Config};
pub use input::{Auth, CallReply, ExitStatus, Fault, FaultKind, Input, Refusal, TtyState};
pub use rng::hex;
pub use secret::{Secret, mask};
