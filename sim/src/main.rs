//! `relay-sim`: simulates brokers against a model of the engine, with faults, and judges what happened.
//!
//! Its exit codes are in `cli::code`.

/// As `println!`, which must not be used: it panics where stdout is lost.
macro_rules! say {
    ($($what:tt)*) => { crate::cli::terminal::say(format_args!($($what)*)) };
}

/// As `eprintln!`, which must not be used: it panics where stderr is lost.
macro_rules! complain {
    ($($what:tt)*) => { crate::cli::terminal::complain(format_args!($($what)*)) };
}

mod cli;

use clap::Parser;
use clap::error::ErrorKind;
use cli::code::{self, Code};
use cli::terminal;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A world is made of many small values: a fifth of its time goes into the allocator of libc.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Simulates brokers against a model of the engine, with faults, and judges what happened.
#[derive(Debug, Parser)]
#[command(version, after_help = code::HELP)]
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
    ///
    /// A trace without its end, as a broker leaves it that is killed, is compared as far as it goes. It ends
    /// with 1 if all that is there is equal; one line tells what makes it whole, for the other commands too.
    Replay(cli::replay::Args),
    /// Judge recorded brokers by their inputs and commands: whether any rule of safety was broken.
    ///
    /// A trace holds no commands, only hashes of them: judged are those that this core gives on the same
    /// inputs, as long as the hashes are equal. A trace of a core that does something else is not judged
    /// and ends with 13, or with 10 where this core panics. Judge it with the relay-sim of the version that
    /// recorded it; or bless a copy and check that, which judges this core on the same inputs,
    /// and says nothing of the one that recorded it.
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
    /// everything that is no letter or digit, and what a program shows that nobody sent, or in a form of
    /// its own. Read it before you show it to others. A trace that does not replay is refused with 13, or
    /// with 10 where the core panics. Where other words would make the broker do something else, what is
    /// written ends before that, and the command with 1: one line tells how much was kept.
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
    ///
    /// The page is written whatever happens in it; what was found there decides how this ends.
    View(cli::view::Args),
}

fn main() -> ExitCode {
    let code = match Args::try_parse() {
        Ok(args) => run(args.command),
        Err(error) => refused(&error),
    };
    terminal::close(code).into()
}

/// Prints what clap has to say: the help that was asked for, or what is wrong.
fn refused(error: &clap::Error) -> Code {
    if !error.use_stderr() {
        terminal::printed(error.print());
        return Code::HELD;
    }
    let text = error.to_string();
    // The value and what is wrong with it are all there is to say.
    let end = if error.kind() == ErrorKind::ValueValidation { text.find('\n') } else { None };
    // Words of the command line stand in it as they were given.
    let lines = text[..end.unwrap_or(text.len())].trim_end().lines();
    lines.for_each(|line| complain!("{}", terminal::shown(line)));
    Code::REFUSED
}

fn run(command: Command) -> Code {
    match command {
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
