//! What every driver of relay-core does in the same way on this system, whatever its runtime.
//!
//! Owns: settings, files, clocks, children and their terminals, the form of requests and answers, the
//! frame of a process (its first line, its exit codes, its last acts).
//! Must not know: a runtime, a poller, a task; nor anything that the core decides.
//!
//! 1. Nothing here waits, except on the thread of the store and where a function says that it blocks.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod answer;
pub mod child;
pub mod clock;
pub mod descriptors;
pub mod event;
pub mod files;
pub mod logs;
pub mod process;
pub mod record;
pub mod request;
pub mod run;
pub mod settings;
pub mod socket;
pub mod state;
pub mod store;
pub mod tls;

/// The version of the broker, the same for all its drivers.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
