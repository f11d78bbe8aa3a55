//! The client subcommands: `spawn`, `ls`, `status`, `send`, `release`.
//!
//! Owns: how a person or a script talks to a running broker through its local API.
//! Must not know: the broker's insides. Everything goes through HTTP and the event stream
//! (`core/PROTOCOL.md` §9), so these commands serve any broker that keeps that contract.
//!
//! 1. Results go to stdout, everything else to stderr; with `--json` both are JSON, one object a line.
//! 2. Every failure has one of four classes, and each class one exit code ([`failure::Class`]).
//! 3. No call is without a time limit, and none is repeated by itself: a repeat could act twice.
//! 4. A key never reaches a message, and what a broker says never reaches the terminal unfiltered.

mod args;
mod commands;
pub(crate) mod discover;
pub(crate) mod failure;
mod follow;
pub(crate) mod http;
mod output;
mod send;
mod table;
#[cfg(test)]
mod test_broker;

pub(crate) use args::ClientCommand;

use discover::Surroundings;
use failure::Failure;
use output::Output;
use std::process::ExitCode;

/// Runs one client command to its end, on a runtime of its own.
pub(crate) fn run(command: ClientCommand) -> ExitCode {
    let output = Output::of_process(command.connection().json);
    match perform(&command, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.class.exit_code()
        }
    }
}

fn perform(command: &ClientCommand, output: &Output) -> Result<(), Failure> {
    let target = discover::find(command.connection(), &Surroundings::of_process()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::refused("no_runtime", format!("cannot start the async runtime: {error}"))
    })?;
    runtime.block_on(commands::perform(command, &http::Api::new(target), output))
}
