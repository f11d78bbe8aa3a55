//! The commands of `relay-sim`, one file each.
//!
//! Owns: arguments, what is printed, exit codes. Must not know: how a case is simulated or judged.
//!
//! 1. A failure prints the command that reproduces it, as the first line and as the last.

pub(crate) mod canary;
pub(crate) mod run;
pub(crate) mod seed;
pub(crate) mod swarm;

use relay_sim::engine::ProfileName;
use relay_sim::oracles::Failure;
use std::process::ExitCode;

/// Prints a failure; its exit code.
fn report(seed: u64, profile: ProfileName, failure: &Failure) -> ExitCode {
    tell(&reproduction(seed, profile), failure)
}

fn tell(reproduction: &str, failure: &Failure) -> ExitCode {
    println!("{reproduction}");
    println!("{:?} {}: {}", failure.class, failure.rule, failure.message);
    println!("{reproduction}");
    ExitCode::from(failure.class as u8)
}

fn reproduction(seed: u64, profile: ProfileName) -> String {
    format!("cargo run --release -p relay-sim -- seed {seed} --profile {profile}")
}
