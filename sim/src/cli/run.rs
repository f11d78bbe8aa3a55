//! `relay-sim run`: scenarios from files.
//!
//! Owns: reading files, and what is printed of each. Must not know: what a scenario says.

use relay_sim::scenario::{self, Scenario};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scenario files, as in `fixtures/regressions/`.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Tell what happens: virtual time in s, link, agent, event.
    #[arg(long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        let scenario = match read(file) {
            Ok(scenario) => scenario,
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::FAILURE;
            }
        };
        #[cfg(canary)]
        if let Err(why) = found(&scenario) {
            eprintln!("{}: {why}", file.display());
            code = ExitCode::FAILURE;
        }
        let result = if args.verbose { super::aloud(scenario.plan) } else { scenario.run() };
        match result {
            Ok(report) => say!("passed: {}: {}", file.display(), super::summary(&report)),
            Err(failure) => {
                let reproduction = format!("cargo run --release -p relay-sim -- run {}", file.display());
                code = super::tell(&reproduction, &failure);
            }
        }
    }
    code
}

/// Whether the bug that a scenario names breaks the rule that it names.
#[cfg(canary)]
fn found(scenario: &Scenario) -> Result<(), String> {
    let scenario::Expected::Finds { canary, rule } = &scenario.expect else { return Ok(()) };
    super::canary::let_loose_named(Some(canary))?;
    let found = scenario.run().err();
    super::canary::let_loose_named(None)?;
    match found {
        Some(failure) if failure.rule == rule => Ok(()),
        Some(failure) => Err(format!("{canary} broke {}, and {rule} was expected", failure.rule)),
        None => Err(format!("{canary} breaks nothing, and {rule} was expected")),
    }
}

/// Reads a scenario; the line for the reader where there is none.
pub(crate) fn read(path: &Path) -> Result<Scenario, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    let mut text = String::new();
    let limit = scenario::FILE as u64;
    file.take(limit + 1).read_to_string(&mut text).map_err(|error| wrong(&error))?;
    if text.len() as u64 > limit {
        return Err(wrong(&format_args!("more than {limit} bytes, which is no scenario")));
    }
    Scenario::parse(&text).map_err(|error| wrong(&error))
}
