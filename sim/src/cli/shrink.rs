//! `relay-sim shrink`: from a seed that fails to a small scenario that fails the same way.
//!
//! Owns: what is printed meanwhile, and where the scenario goes. Must not know: how a case is shrunk.

use relay_sim::engine::ProfileName;
use relay_sim::plan;
use relay_sim::scenario::{self, Progress};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which: a number, or a git hash.
    seed: String,
    /// Engine release.
    #[arg(long, default_value = "6.0.3")]
    profile: ProfileName,
    /// Where the scenario is written to; printed when left out.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Cases that are run at most.
    #[arg(long, default_value_t = 3_000)]
    runs: u32,
    /// Let this bug loose.
    #[cfg(canary)]
    #[arg(long)]
    canary: Option<String>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    // The words of a panic are in the failure.
    std::panic::set_hook(Box::new(|_| {}));
    let seed = match super::seed::parse(&args.seed) {
        Ok(seed) => seed,
        Err(why) => {
            eprintln!("relay-sim: {why}");
            return ExitCode::FAILURE;
        }
    };
    #[cfg(canary)]
    if let Err(why) = super::canary::let_loose_named(args.canary.as_deref()) {
        eprintln!("relay-sim: {why}");
        return ExitCode::FAILURE;
    }
    let mut told = Instant::now();
    let tell = |progress: Progress| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let Progress { phase, runs, steps, agents } = progress;
            eprintln!("{phase}: {runs} runs, {steps} steps and {agents} agents left");
        }
    };
    let plan = plan::draw(seed, args.profile);
    let before = plan.steps.len();
    let run = |plan: &plan::Plan| relay_sim::run(plan.clone(), None).err();
    #[cfg_attr(not(canary), expect(unused_mut, reason = "only a canary has more to say"))]
    let mut shrunk = match scenario::shrink(plan, args.runs, run, tell) {
        Ok(shrunk) => shrunk,
        Err(why) => {
            eprintln!("seed {seed} on {}: {why}", args.profile);
            return ExitCode::FAILURE;
        }
    };
    #[cfg(canary)]
    if let Some(canary) = args.canary.clone() {
        shrunk.scenario.expect = scenario::Expected::Finds { canary, rule: shrunk.failure.rule.into() };
    }
    let text = shrunk.scenario.to_text();
    let place = match &args.output {
        None => {
            print!("{text}");
            format!("fixtures/regressions/{}.json", shrunk.name)
        }
        Some(path) => {
            if let Err(error) = std::fs::write(path, text) {
                eprintln!("{}: {error}", path.display());
                return ExitCode::FAILURE;
            }
            path.display().to_string()
        }
    };
    let (steps, runs) = (shrunk.scenario.plan.steps.len(), shrunk.runs);
    eprintln!("{seed} {}: {}", shrunk.failure.rule, shrunk.failure.message);
    eprintln!(
        "{before} steps became {steps} in {runs} runs; keep them as fixtures/regressions/{}.json",
        shrunk.name
    );
    eprintln!("cargo run --release -p relay-sim -- run {place}");
    ExitCode::SUCCESS
}
