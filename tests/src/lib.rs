//! What the tests of the whole share: the built binary, processes that end with their test, a scripted
//! engine, clients for both sides, and published brokers to test against.
//!
//! 1. Everything listens on loopback and keeps its files in directories of its own.
//! 2. Every wait is for a condition and has a deadline; a test says what it waited for.
//! 3. A process that was started here ends with its owner, by its id.

pub mod agent;
pub mod binary;
pub mod engine;
pub mod hosted;
pub mod http;
pub mod npm;
pub mod peer;
pub mod place;
pub mod process;
pub mod sender;
pub mod wait;
pub mod websocket;
