//! `relay-sim seed`: one seed.
//!
//! Owns: telling one case. Must not know: what a seed stands for.

use relay_sim::engine::ProfileName;
use relay_sim::oracles::{Class, Failure};
use relay_sim::plan;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which.
    seed: u64,
    /// Print what happens.
    #[arg(long)]
    verbose: bool,
    /// Engine release.
    #[arg(long, default_value = "6.0.3")]
    profile: ProfileName,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let &Args { seed, verbose, profile } = args;
    let mut print = |line: &str| println!("{line}");
    let first = if verbose {
        println!("{}", super::reproduction(seed, profile));
        relay_sim::run(plan::draw(seed, profile), Some(&mut print))
    } else {
        relay_sim::run(plan::draw(seed, profile), None)
    };
    let second = relay_sim::run(plan::draw(seed, profile), None);
    let failure = match (first, second) {
        (Ok(one), Ok(other)) if one.digest == other.digest => {
            println!("passed: {one:?}");
            return ExitCode::SUCCESS;
        }
        (Err(one), Err(other)) if one.message == other.message => one,
        _ => Failure {
            class: Class::Nondeterminism,
            rule: "digest",
            message: "two runs of this seed differ".into(),
        },
    };
    super::report(seed, profile, &failure)
}
