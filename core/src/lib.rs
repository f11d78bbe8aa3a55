//! The pure, sans-IO state machine of a Relaycast broker node.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod action;
mod agent;
pub mod api;
mod broker;
mod command;
mod config;
mod cx;
pub mod delivery;
mod digest;
pub mod edge;
pub mod ids;
pub mod inject;
mod input;
pub mod limits;
mod link;
mod marks;
mod purpose;
mod rng;
mod secret;
mod stats;
mod store;
pub mod term;
pub mod time;
mod timers;
pub mod wire;

pub use broker::Broker;
pub use command::{
    CallRequest, Child, Command, Level, LogLine, PtySignal, Step, StoreAction, StoreFile, Text, Wake,
};
pub use config::{Access, Boot, Config};
pub use digest::Digest;
pub use input::{Auth, CallReply, ExitStatus, Fault, FaultKind, Input, Refusal, TtyState};
pub use marks::{Mark, Marks};
pub use rng::hex;
pub use secret::{Secret, mask};
pub use stats::Stats;
