//! `relay-sim run`: scenarios from files.
//!
//! Owns: going through files, and what is printed of each. Must not know: what a scenario says.
//!
//! 1. Whatever comes of a file, the next one has its turn; the exit code is the worst.

use super::code::Code;
use super::patience::meanwhile;
use super::terminal::place;
use super::{again, input, refuse};
#[cfg(canary)]
use relay_sim::scenario::{Expected, Scenario};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scenario files, as in `fixtures/regressions/`.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Tell what happens: virtual time in s, link, agent, event.
    #[arg(long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args) -> Code {
    let one = |file| run_one(file, args.verbose).unwrap_or_else(|code| code);
    args.files.iter().map(|file| one(file)).fold(Code::HELD, Code::worst)
}

fn run_one(file: &Path, verbose: bool) -> Result<Code, Code> {
    let scenario = input::scenario(file).map_err(|why| refuse(file, &why))?;
    #[cfg(canary)]
    let finds = found(&scenario).map_or_else(|why| refuse(file, &why), |()| Code::HELD);
    #[cfg(not(canary))]
    let finds = Code::HELD;
    let result =
        if verbose { super::aloud(scenario.plan) } else { meanwhile(&place(file), || scenario.run()) };
    Ok(finds.worst(match result {
        Ok(report) => {
            say!("passed: {}: {}", place(file), super::summary(&report));
            Code::HELD
        }
        Err(failure) => {
            let reproduction = again::file("run", file);
            super::tell(&reproduction, &failure)
        }
    }))
}

/// Whether the bug that a scenario names breaks the rule that it names.
#[cfg(canary)]
fn found(scenario: &Scenario) -> Result<(), String> {
    let Expected::Finds { canary, rule } = &scenario.expect else { return Ok(()) };
    super::canary::let_loose_named(Some(canary))?;
    let found = scenario.run().err();
    super::canary::let_loose_named(None)?;
    match found {
        Some(failure) if failure.rule == rule => Ok(()),
        Some(failure) => Err(format!("{canary} broke {}, and {rule} was expected", failure.rule)),
        None => Err(format!("{canary} breaks nothing, and {rule} was expected")),
    }
}
