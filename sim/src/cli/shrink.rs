//! `relay-sim shrink`: from a seed that fails to a small scenario that fails the same way.
//!
//! Owns: what is printed meanwhile, and where the scenario goes. Must not know: how a case is shrunk.

use super::again;
use super::code::Code;
use super::numbers;
use super::output::{self, Readers};
use super::patience::PROGRESS;
use relay_sim::engine::ProfileName;
use relay_sim::plan;
#[cfg(canary)]
use relay_sim::scenario::Expected;
use relay_sim::scenario::{self, Progress};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which: a number, or a git hash of at least 7 digits; `0x` says that fewer ones are hexadecimal.
    #[arg(allow_negative_numbers = true)]
    seed: String,
    /// Engine release.
    #[arg(long, default_value = "6.0.3")]
    profile: ProfileName,
    /// Where the scenario is written to; printed when left out.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Cases that are run at most; the first two tell how the seed fails.
    #[arg(long, default_value_t = 3_000, allow_negative_numbers = true, value_parser = numbers::runs)]
    runs: u32,
    /// Let this bug loose.
    #[cfg(canary)]
    #[arg(long)]
    canary: Option<String>,
}

pub(crate) fn run(args: &Args) -> Code {
    shrink(args).map_or_else(|code| code, |()| Code::HELD)
}

fn shrink(args: &Args) -> Result<(), Code> {
    // The words of a panic are in the failure.
    std::panic::set_hook(Box::new(|_| {}));
    let refuse = |why: String| {
        complain!("relay-sim: {why}");
        Code::REFUSED
    };
    let seed = super::seed::parse(&args.seed).map_err(refuse)?;
    #[cfg(canary)]
    super::canary::let_loose_named(args.canary.as_deref()).map_err(refuse)?;
    let mut told = Instant::now();
    let tell = |progress: Progress| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let Progress { phase, runs, steps, agents } = progress;
            complain!("{phase}: {runs} runs, {steps} steps and {agents} agents left");
        }
    };
    let plan = plan::draw(seed, args.profile);
    let before = plan.steps.len();
    let run = |plan: &plan::Plan| relay_sim::run(plan.clone(), None).err();
    #[cfg_attr(not(canary), expect(unused_mut, reason = "only a canary has more to say"))]
    let mut shrunk = scenario::shrink(plan, args.runs, run, tell).map_err(|why| {
        complain!("seed {seed} on {}: {why}", args.profile);
        Code::REFUSED
    })?;
    #[cfg(canary)]
    if let Some(canary) = args.canary.clone() {
        shrunk.scenario.expect = Expected::Finds { canary, rule: shrunk.failure.rule.into() };
    }
    let text = shrunk.scenario.to_text();
    let written = args.output.as_ref().map(|path| output::write(path, &text, Readers::Usual));
    // What took so long is not lost with a name that cannot be written.
    if !matches!(written, Some(Ok(()))) {
        say!("{}", text.trim_end());
    }
    let (steps, runs) = (shrunk.scenario.plan.steps.len(), shrunk.runs);
    let kept = unused(&shrunk.name);
    let kept = kept.display();
    complain!("{seed} {}", super::verdict(&shrunk.failure));
    complain!("{before} steps became {steps} in {runs} runs");
    match (&args.output, &written) {
        (Some(path), Some(Ok(()))) => {
            complain!("to keep them, store them as {kept}");
            complain!("{}", again::file("run", path));
        }
        _ => complain!("to keep them, store what was printed as {kept}, or name that file with -o"),
    }
    written.unwrap_or(Ok(()))
}

/// Where the scenario may be kept without taking the place of another.
fn unused(name: &str) -> PathBuf {
    let folder = Path::new("fixtures/regressions");
    let numbered = (2_u32..).map(|number| folder.join(format!("{name}-{number}.json")));
    let mut names = std::iter::once(folder.join(format!("{name}.json"))).chain(numbered);
    names.find(|file| !file.exists()).expect("some number is not taken")
}
