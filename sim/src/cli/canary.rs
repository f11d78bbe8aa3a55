//! `relay-sim canary`: whether the simulator finds the bugs that brokers have had.
//!
//! Owns: the command. Must not know: how a case is simulated.
//!
//! 1. Only a build with `--cfg canary` has the bugs. Any other build makes that build, in a target
//!    directory of its own, and hands the command over to it.

#[cfg(canary)]
mod hunt;
#[cfg(not(canary))]
mod other_build;

#[cfg(canary)]
pub(crate) use hunt::{let_loose_named, run};
#[cfg(not(canary))]
pub(crate) use other_build::run;

use super::numbers;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which bug; all when left out.
    name: Option<String>,
    /// How many cases to try for each.
    #[arg(long, default_value_t = 10_000, allow_negative_numbers = true, value_parser = numbers::seeds)]
    seeds: u64,
    /// Cases at once.
    #[arg(long, default_value_t = numbers::default_jobs(), allow_negative_numbers = true, value_parser = numbers::jobs)]
    jobs: usize,
}
