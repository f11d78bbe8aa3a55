//! `relay-sim`: runs simulated cases by seed.

use clap::{Parser, Subcommand};
use relay_sim::engine::ProfileName;
use relay_sim::oracles::{Class, Failure};
use relay_sim::swarm;
use std::process::ExitCode;

/// Simulates brokers against a model of the engine, with faults, and judges what happened.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds, until one fails.
    Swarm {
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        start: u64,
        /// Engine release; all that are simulated when left out.
        #[arg(long)]
        profile: Option<ProfileName>,
        /// Go on after a failure.
        #[arg(long)]
        keep_going: bool,
    },
    /// Run one seed, twice: both runs must be the same.
    Seed {
        /// Which.
        seed: u64,
        /// Print what happens.
        #[arg(long)]
        verbose: bool,
        /// Engine release.
        #[arg(long, default_value = "6.0.3")]
        profile: ProfileName,
    },
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
        Command::Swarm { seeds, start, profile, keep_going } => {
            let profiles = profile.map_or_else(|| relay_sim::PROFILES.to_vec(), |profile| vec![profile]);
            swarm_run(start..start + seeds, &profiles, keep_going)
        }
        Command::Seed { seed, verbose, profile } => one(seed, profile, verbose),
    }
}

fn reproduction(seed: u64, profile: ProfileName) -> String {
    format!("cargo run --release -p relay-sim -- seed {seed} --profile {profile}")
}

fn report(seed: u64, profile: ProfileName, failure: &Failure) -> ExitCode {
    println!("{}", reproduction(seed, profile));
    println!("{:?} {}: {}", failure.class, failure.rule, failure.message);
    println!("{}", reproduction(seed, profile));
    ExitCode::from(failure.class as u8)
}

fn swarm_run(seeds: std::ops::Range<u64>, profiles: &[ProfileName], keep_going: bool) -> ExitCode {
    // The words of a panic are in the failure; `seed` shows where it was.
    std::panic::set_hook(Box::new(|_| {}));
    let begun = std::time::Instant::now();
    let (mut events, mut taken, mut cases) = (0, 0, 0_u64);
    let mut marks = std::collections::BTreeMap::<&str, u64>::new();
    let mut code = ExitCode::SUCCESS;
    for seed in seeds {
        for &profile in profiles {
            cases += 1;
            match relay_sim::run(swarm::plan(seed, profile), None) {
                Ok(report) => {
                    events += report.events;
                    taken += report.taken;
                    for (mark, hits) in report.marks {
                        *marks.entry(mark).or_default() += hits;
                    }
                }
                Err(failure) => {
                    code = report(seed, profile, &failure);
                    if !keep_going {
                        return code;
                    }
                }
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{cases} cases, {events} events, {taken} messages taken, {:.1} cases/s", cases as f64 / seconds);
    let never: Vec<_> = marks.iter().filter(|(_, hits)| **hits == 0).map(|(mark, _)| *mark).collect();
    println!("rare branches never taken: {}", never.join(" "));
    code
}

fn one(seed: u64, profile: ProfileName, verbose: bool) -> ExitCode {
    let mut print = |line: &str| println!("{line}");
    let first = if verbose {
        println!("{}", reproduction(seed, profile));
        relay_sim::run(swarm::plan(seed, profile), Some(&mut print))
    } else {
        relay_sim::run(swarm::plan(seed, profile), None)
    };
    let second = relay_sim::run(swarm::plan(seed, profile), None);
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
    report(seed, profile, &failure)
}
