//! `relay-sim record`: from a scenario to the trace of one life of its broker.
//!
//! Owns: which life, and the file. Must not know: what a trace says.
//!
//! 1. The trace of a case that fails is written as well; its end names the rule.

use super::code::Code;
use super::output::{self, Readers};
use super::patience::meanwhile;
use super::terminal::place;
use super::{input, numbers, refuse};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A scenario file.
    file: PathBuf,
    /// Where the trace is written to.
    #[arg(short, long)]
    output: PathBuf,
    /// Which life of the broker.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_parser = numbers::life)]
    life: u64,
}

pub(crate) fn run(args: &Args) -> Code {
    record(args).unwrap_or_else(|code| code)
}

fn record(args: &Args) -> Result<Code, Code> {
    output::must_differ(&args.output, &args.file)?;
    let scenario = input::scenario(&args.file).map_err(|why| refuse(&args.file, &why))?;
    let mut trace = String::new();
    let mut tape = |life: u64, lines: &str| {
        if life == args.life {
            trace.push_str(lines);
        }
    };
    let result = meanwhile(&place(&args.file), || relay_sim::record(scenario.plan, None, &mut tape));
    if trace.is_empty() {
        return Err(refuse(&args.file, &format_args!("the broker has no life {}", args.life)));
    }
    output::write(&args.output, &trace, Readers::Owner)?;
    let (place, lines, bytes) = (place(&args.output), trace.lines().count(), trace.len());
    output::note(&args.output, format_args!("recorded: {place}: {lines} lines, {bytes} bytes"));
    let Err(failure) = result else { return Ok(Code::HELD) };
    output::note(&args.output, format_args!("{}", super::verdict(&failure)));
    Ok(Code::found(failure.class))
}
