//! The sum of many cases, and how it is shown.
//!
//! Owns: sums, the line of progress, the table at the end and its JSON form.
//! Must not know: threads, or how a case is run.
//!
//! 1. The exit code is that of the first failure.
//! 2. Without `--keep-going` nothing behind the first failure is counted.

use super::code::Code;
use super::{again, class_name, terminal};
use relay_core::Mark;
use relay_sim::engine::ProfileName;
use relay_sim::oracles::Failure;
use relay_sim::story::Colour;
use relay_sim::world::{FaultMark, Report};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// Columns in which marks are listed.
const COLUMNS: usize = 3;

/// What the cases of one release came to.
#[derive(Debug, Default)]
struct Sum {
    cases: u64,
    failures: u64,
    events: u64,
    taken: u64,
}

/// A rule that was broken: the first case that broke it, and how many did.
#[derive(Debug)]
struct Broken {
    seed: u64,
    profile: ProfileName,
    failure: Failure,
    count: u64,
}

/// What all cases came to.
#[derive(Debug)]
pub(super) struct Tally {
    begun: Instant,
    keep_going: bool,
    sums: BTreeMap<ProfileName, Sum>,
    marks: BTreeMap<&'static str, u64>,
    /// In the order in which they were first broken.
    broken: Vec<Broken>,
}

impl Tally {
    pub(super) fn new(profiles: &[ProfileName], keep_going: bool) -> Self {
        let sums = profiles.iter().map(|profile| (*profile, Sum::default())).collect();
        // Also what no case tells of, as when the first one fails.
        let marks = Mark::ALL.iter().map(|mark| mark.name());
        let marks =
            marks.chain(FaultMark::ALL.iter().map(|mark| mark.name())).map(|mark| (mark, 0)).collect();
        Self { begun: Instant::now(), keep_going, sums, marks, broken: Vec::new() }
    }

    /// Adds a case; cases come in order.
    pub(super) fn add(&mut self, seed: u64, profile: ProfileName, result: Result<Report, Failure>) {
        if !self.keep_going && !self.broken.is_empty() {
            return;
        }
        let sum = self.sums.entry(profile).or_default();
        sum.cases += 1;
        match result {
            Ok(report) => {
                sum.events += report.events;
                sum.taken += report.taken;
                for (mark, hits) in report.marks {
                    *self.marks.entry(mark).or_default() += hits;
                }
            }
            Err(failure) => {
                sum.failures += 1;
                let same = |broken: &&mut Broken| {
                    broken.failure.rule == failure.rule && broken.failure.class == failure.class
                };
                match self.broken.iter_mut().find(same) {
                    Some(broken) => broken.count += 1,
                    None => self.broken.push(Broken { seed, profile, failure, count: 1 }),
                }
            }
        }
    }

    /// By the first failure (invariant 1).
    pub(super) fn exit_code(&self) -> Code {
        self.broken.first().map_or(Code::HELD, |broken| Code::found(broken.failure.class))
    }

    fn total(&self, of: impl Fn(&Sum) -> u64) -> u64 {
        self.sums.values().map(of).sum()
    }

    /// How many per second, so far.
    fn rate(&self, of: impl Fn(&Sum) -> u64) -> f64 {
        self.total(of) as f64 / self.begun.elapsed().as_secs_f64().max(0.001)
    }

    /// One line: speed, failures by class, marks.
    pub(super) fn progress(&self) -> String {
        let mut classes = BTreeMap::<&str, u64>::new();
        for broken in &self.broken {
            *classes.entry(class_name(broken.failure.class)).or_default() += broken.count;
        }
        let failures: Vec<_> = classes.iter().map(|(class, count)| format!("{class} {count}")).collect();
        let failures = if failures.is_empty() { "0".to_owned() } else { failures.join(", ") };
        let hit = self.marks.values().filter(|hits| **hits > 0).count();
        format!(
            "{:>6.0} s  {:>9} cases  {:>7.1} cases/s  {:>9.0} events/s  failures: {failures}  marks: {hit} of {}",
            self.begun.elapsed().as_secs_f64(),
            self.total(|sum| sum.cases),
            self.rate(|sum| sum.cases),
            self.rate(|sum| sum.events),
            self.marks.len(),
        )
    }

    pub(super) fn print_table(&self) {
        say!("{:<10}{:>10}{:>10}{:>14}{:>12}", "release", "cases", "failures", "events", "messages");
        for (profile, sum) in &self.sums {
            let Sum { cases, failures, events, taken } = sum;
            say!("{:<10}{cases:>10}{failures:>10}{events:>14}{taken:>12}", profile.as_str());
        }
        say!(
            "{:.1} s, {:.1} cases/s, {:.0} events/s",
            self.begun.elapsed().as_secs_f64(),
            self.rate(|sum| sum.cases),
            self.rate(|sum| sum.events),
        );
        let hit: Vec<_> = self.marks.iter().filter(|(_, hits)| **hits > 0).collect();
        say!("\nmarks: {} of {} hit", hit.len(), self.marks.len());
        for row in hit.chunks(COLUMNS) {
            let cells: String = row.iter().map(|(mark, hits)| format!("  {mark:<24}{hits:>9}")).collect();
            say!("{cells}");
        }
        let never: Vec<_> =
            self.marks.iter().filter(|(_, hits)| **hits == 0).map(|(mark, _)| *mark).collect();
        if !never.is_empty() {
            say!("  never hit: {}", never.join(" "));
        }
        self.print_failures();
    }

    fn print_failures(&self) {
        let (bad, good, plain) = match terminal::colour() {
            Colour::On => ("\x1b[31m", "\x1b[32m", "\x1b[m"),
            Colour::Off => ("", "", ""),
        };
        if self.broken.is_empty() {
            return say!("\n{good}everything held{plain}");
        }
        for broken in &self.broken {
            let Broken { seed, profile, failure, count } = broken;
            let (what, message) = (super::broken(failure), terminal::shown(&failure.message));
            say!("\n{bad}{what}{plain}, {count} times: {message}");
            say!("  first: {}", again::seed(*seed, *profile));
            say!("  {}", again::shrink(*seed, *profile));
        }
    }

    pub(super) fn print_json(&self) {
        let releases: Vec<_> = self
            .sums
            .iter()
            .map(|(profile, sum)| {
                json!({
                    "release": profile.as_str(), "cases": sum.cases, "failures": sum.failures,
                    "events": sum.events, "messages": sum.taken,
                })
            })
            .collect();
        let failures: Vec<_> = self
            .broken
            .iter()
            .map(|broken| {
                json!({
                    "class": class_name(broken.failure.class), "rule": broken.failure.rule,
                    "count": broken.count, "seed": broken.seed, "release": broken.profile.as_str(),
                    "message": broken.failure.message,
                })
            })
            .collect();
        let result = json!({
            "seconds": self.begun.elapsed().as_secs_f64(), "casesPerSecond": self.rate(|sum| sum.cases),
            "eventsPerSecond": self.rate(|sum| sum.events), "releases": releases, "marks": self.marks,
            "failures": failures,
        });
        say!("{result}");
    }
}
