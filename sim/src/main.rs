//! `relay-sim`: simulates brokers against a model of the engine, with faults, and judges what happened.
//!
//! Exit codes: 0 when everything held, 1 for bad usage or input, 10 when the core broke an assertion of
//! its own, 11 safety, 12 liveness, 13 the same seed or trace went two ways, 14 resources.

/// As `println!`; but a reader who has seen enough, as `head` has, is no reason to fail.
macro_rules! say {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($what)*);
    }};
}

mod cli;

use clap::Parser;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A world is made of many small values: a fifth of its time goes into the allocator of libc.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Simulates brokers against a model of the engine, with faults, and judges what happened.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run many seeds, until one fails.
    Swarm(cli::swarm::Args),
    /// Run one seed, twice: both runs must be the same.
    Seed(cli::seed::Args),
    /// Run scenario files.
    Run(cli::run::Args),
    /// Let recorded brokers live again: each must do what it did, bit for bit.
    Replay(cli::replay::Args),
    /// Judge recorded brokers by their inputs and commands: whether any rule of safety was broken.
    Check(cli::replay::Args),
    /// Take what recorded brokers do now for what they shall do, after an intended change.
    ///
    /// A trace at which the core panics is refused with 10 and left as it is, unless it ends with that
    /// panic; an end with a panic that does not come any more is replaced.
    Bless(cli::replay::Args),
    /// Take the messages out of a recorded broker's trace: other words of the same length stand there.
    ///
    /// Replaced are what people and agents said, tasks, arguments and the values of environments, in
    /// what came in and where terminals show it. What stays: words that also stand outside of messages
    /// (names of agents, senders and channels, ids, programs, models, directories, the keys of JSON),
    /// everything that is no letter or digit, and what a program shows that nobody sent, or in a form of its own. Read it before
    /// you show it to others. A trace that does not replay is refused with 13.
    Redact(cli::replay::RedactArgs),
    /// Make a scenario of a recorded broker's trace, that does about the same in a world.
    Distill(cli::distill::Args),
    /// Let bugs loose that brokers have had, and count the seeds until each is found.
    Canary(cli::canary::Args),
    /// Measure the simulator.
    Bench,
    /// Record the trace of a scenario's broker.
    Record(cli::record::Args),
    /// Make a small scenario of a seed that fails.
    Shrink(cli::shrink::Args),
    /// Draw a case as one HTML page.
    View(cli::view::Args),
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match args.command {
        Command::Swarm(args) => cli::swarm::run(&args),
        Command::Seed(args) => cli::seed::run(&args),
        Command::Run(args) => cli::run::run(&args),
        Command::Replay(args) => cli::replay::run(&args),
        Command::Check(args) => cli::check::run(&args),
        Command::Bless(args) => cli::replay::bless(&args),
        Command::Redact(args) => cli::replay::redact(&args),
        Command::Distill(args) => cli::distill::run(&args),
        Command::Canary(args) => cli::canary::run(&args),
        Command::Bench => cli::bench::run(),
        Command::Record(args) => cli::record::run(&args),
        Command::Shrink(args) => cli::shrink::run(&args),
        Command::View(args) => cli::view::run(&args),
    }
}
