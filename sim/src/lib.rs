//! A deterministic simulator for relay-core.

pub mod engine;
