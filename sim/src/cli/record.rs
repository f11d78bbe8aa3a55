//! `relay-sim record`: from a scenario to the trace of one life of its broker.
//!
//! Owns: which life, and the file. Must not know: what a trace says.
//!
//! 1. The trace of a case that fails is written as well; its end names the rule.

use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A scenario file.
    file: PathBuf,
    /// Where the trace is written to.
    #[arg(short, long)]
    output: PathBuf,
    /// Which life of the broker.
    #[arg(long, default_value_t = 1)]
    life: u64,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match record(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn record(args: &Args) -> Result<ExitCode, String> {
    let scenario = super::run::read(&args.file)?;
    let mut trace = String::new();
    let mut tape = |life: u64, lines: &str| {
        if life == args.life {
            trace.push_str(lines);
        }
    };
    let result = relay_sim::record(scenario.plan, None, &mut tape);
    if trace.is_empty() {
        return Err(format!("{}: the broker has no life {}", args.file.display(), args.life));
    }
    let output = args.output.display();
    std::fs::write(&args.output, &trace).map_err(|error| format!("{output}: {error}"))?;
    say!("recorded: {output}: {} lines, {} bytes", trace.lines().count(), trace.len());
    let Err(failure) = result else { return Ok(ExitCode::SUCCESS) };
    say!("{}", super::verdict(&failure));
    Ok(ExitCode::from(failure.class as u8))
}
