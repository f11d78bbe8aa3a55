//! The `relay-broker` binary.

mod client;

use clap::Parser;
use std::process::ExitCode;

/// A Relaycast broker node.
#[derive(Parser)]
#[command(name = "relay-broker", version)]
struct Cli {
    #[command(subcommand)]
    command: client::ClientCommand,
}

fn main() -> ExitCode {
    client::run(Cli::parse().command)
}
