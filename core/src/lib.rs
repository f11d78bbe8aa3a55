//! The pure, sans-IO state machine of a Relaycast broker node.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod delivery;
pub mod ids;
pub mod inject;
mod rng;
mod secret;
pub mod term;
pub mod time;
mod timers;

pub use rng::hex;
pub use secret::{Secret, mask};
