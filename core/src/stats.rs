//! Stats: plain counters for health, logs and benchmarks.
//!
//! Owns: what is counted. Must not know: who reads it.
//!
//! 1. Counters only grow; gauges are computed from state when they are asked for.

/// Counters since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Inputs handled.
    pub inputs: u64,
    /// `deliver` frames taken in.
    pub frames: u64,
    /// Frames that could not be decoded.
    pub undecodable: u64,
    /// Ack frames sent.
    pub acks: u64,
    /// Messages confirmed by their text on the screen.
    pub confirmed_screen: u64,
    /// Messages confirmed by output after the submit.
    pub confirmed_activity: u64,
    /// Messages taken by a program that shows nothing.
    pub confirmed_taken: u64,
    /// Injections that the agent did not take in time, so far.
    pub unverified: u64,
    /// Links confirmed.
    pub registrations: u64,
    /// Tokens minted.
    pub mints: u64,
    /// Agents started.
    pub spawned: u64,
    /// Store operations that failed.
    pub store_faults: u64,
    /// Most delivery ids that were remembered for one identity.
    pub remembered: usize,
    /// Completions for things that were over.
    pub stale_completions: u64,
}

/// What is held just now: all of it bounded by the agents, requests and operations under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Timers that are armed.
    pub timers: usize,
    /// Calls to the engine that have not ended.
    pub calls: usize,
    /// Changes of files that have not ended.
    pub stores: usize,
    /// Requests on the local API that wait for their answer.
    pub requests: usize,
}
