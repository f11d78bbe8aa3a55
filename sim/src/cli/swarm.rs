//! `relay-sim swarm`: many seeds.
//!
//! Owns: which seeds run, and the sum of what they came to.
//! Must not know: what a seed stands for.

use relay_sim::engine::ProfileName;
use relay_sim::plan;
use std::collections::BTreeMap;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
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
}

pub(crate) fn run(args: &Args) -> ExitCode {
    // The words of a panic are in the failure; `seed` shows where it was.
    std::panic::set_hook(Box::new(|_| {}));
    let profiles = args.profile.map_or_else(|| relay_sim::PROFILES.to_vec(), |profile| vec![profile]);
    let begun = std::time::Instant::now();
    let (mut events, mut taken, mut cases) = (0, 0, 0_u64);
    let mut marks = BTreeMap::<&str, u64>::new();
    let mut code = ExitCode::SUCCESS;
    for seed in args.start..args.start + args.seeds {
        for &profile in &profiles {
            cases += 1;
            match relay_sim::run(plan::draw(seed, profile), None) {
                Ok(report) => {
                    events += report.events;
                    taken += report.taken;
                    for (mark, hits) in report.marks {
                        *marks.entry(mark).or_default() += hits;
                    }
                }
                Err(failure) => {
                    code = super::report(seed, profile, &failure);
                    if !args.keep_going {
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
