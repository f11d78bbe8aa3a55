//! The hunt: cases are run with one bug loose until an oracle speaks.
//!
//! Owns: which cases are tried, and the table of what was found.
//! Must not know: where a bug sits, or what an oracle looks at.
//!
//! 1. The cases of a hunt are the same every time: case n has seed n, and the releases take turns.
//! 2. A find is the first case that fails, however many run at once, and only if it passes with no bug
//!    loose: what also fires on healthy code finds nothing.
//! 3. The selector is one for the whole process: bugs are hunted one after the other.

use super::Args;
use crate::cli::code::Code;
use crate::cli::patience::meanwhile;
use relay_core::{Canary, let_loose};
use relay_sim::engine::ProfileName;
use relay_sim::oracles::Failure;
use relay_sim::{PROFILES, plan};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Half of the bugs must be found within so many cases.
const MEDIAN: u64 = 1_000;

/// How a find is made a scenario: `seed` does not have the bug.
const SMALL: &str = "RUSTFLAGS=\"--cfg canary\" cargo run --release -p relay-sim --target-dir target/canary -- \
                     shrink SEED --profile RELEASE --canary NAME";

/// The first case in which an oracle spoke.
#[derive(Debug)]
struct Find {
    case: u64,
    failure: Failure,
}

pub(crate) fn run(args: &Args) -> Code {
    std::panic::set_hook(Box::new(|_| {}));
    let named = |canary: &&Canary| args.name.as_deref().is_none_or(|name| canary.name() == name);
    let wanted: Vec<Canary> = Canary::ALL.iter().filter(named).copied().collect();
    if wanted.is_empty() {
        let names: Vec<_> = Canary::ALL.iter().map(|canary| canary.name()).collect();
        complain!("relay-sim: no such canary; there are {}", names.join(", "));
        return Code::REFUSED;
    }
    let begun = Instant::now();
    say!("{:<36}{:<12}{:>7}  case", "canary", "oracle", "seeds");
    let mut found = Vec::new();
    for canary in &wanted {
        match meanwhile(&canary.name(), || hunt(*canary, args)) {
            Ok(find) => {
                let Find { case, failure } = &find;
                let (rule, profile) = (failure.rule, profile(*case));
                say!(
                    "{:<36}{rule:<12}{:>7}  seed {case} --profile {profile}: {}",
                    canary.name(),
                    case + 1,
                    failure.message
                );
                found.push(case + 1);
            }
            Err(why) => {
                say!("{:<36}{:<12}{:>7}  {why}; it is: {}", canary.name(), "-", "-", canary.what());
            }
        }
    }
    found.sort_unstable();
    let seconds = begun.elapsed().as_secs_f64();
    let median = found.get(found.len() / 2).copied();
    let told = median.map_or_else(String::new, |median| format!(", median {median} seeds"));
    say!("{} of {} found{told}, {seconds:.0} s", found.len(), wanted.len());
    say!("to make one small: {SMALL}");
    let good =
        found.len() == wanted.len() && (args.name.is_some() || median.is_some_and(|median| median < MEDIAN));
    if good { Code::HELD } else { Code::REFUSED }
}

/// Lets the bug of this name loose, or none.
pub(crate) fn let_loose_named(name: Option<&str>) -> Result<(), String> {
    let canary = name.map(|name| {
        let found = Canary::ALL.iter().find(|canary| canary.name() == name);
        found.copied().ok_or_else(|| format!("no canary is called {name:?}"))
    });
    let_loose(canary.transpose()?);
    Ok(())
}

/// The release that a case is for.
fn profile(case: u64) -> ProfileName {
    PROFILES[(case % PROFILES.len() as u64) as usize]
}

fn outcome(case: u64) -> Option<Failure> {
    relay_sim::run(plan::draw(case, profile(case)), None).err()
}

/// Lets a bug loose until it is found.
fn hunt(canary: Canary, args: &Args) -> Result<Find, String> {
    let (next, found) = (AtomicU64::new(0), Mutex::new(None::<Find>));
    let found_before = |case: u64| {
        let found = found.lock().expect("no holder panics");
        found.as_ref().is_some_and(|find: &Find| find.case < case)
    };
    let_loose(Some(canary));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= args.seeds || found_before(case) {
                        return;
                    }
                    if let Some(failure) = outcome(case)
                        && !found_before(case)
                    {
                        *found.lock().expect("no holder panics") = Some(Find { case, failure });
                    }
                }
            });
        }
    });
    let_loose(None);
    let found = found.into_inner().expect("no holder panics");
    let find = found.ok_or_else(|| format!("not found in {} cases", args.seeds))?;
    match outcome(find.case) {
        None => Ok(find),
        Some(failure) => Err(format!("case {} fails without it: {}", find.case, failure.message)),
    }
}
