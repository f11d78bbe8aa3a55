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

/// Columns of the narrowest terminal that lines are made for; only texts that are to be copied, or were not made
/// here, may be longer.
const WIDTH: usize = 80;
/// Columns in which marks are listed.
const COLUMNS: usize = 2;

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

    /// One line: speed, marks, failures by class, which have lines of their own when there are many.
    pub(super) fn progress(&self) -> String {
        let mut classes = BTreeMap::<&str, u64>::new();
        for broken in &self.broken {
            *classes.entry(class_name(broken.failure.class)).or_default() += broken.count;
        }
        let mut failures: Vec<_> = classes.iter().map(|(class, count)| format!("{class} {count}")).collect();
        if failures.is_empty() {
            failures.push("failures 0".to_owned());
        }
        let hit = self.marks.values().filter(|hits| **hits > 0).count();
        let line = format!(
            "{:>5.0} s {:>7} cases {:>6.1}/s {:>8.0} events/s  marks {hit} of {}",
            self.begun.elapsed().as_secs_f64(),
            self.total(|sum| sum.cases),
            self.rate(|sum| sum.cases),
            self.rate(|sum| sum.events),
            self.marks.len(),
        );
        wrapped(line, &failures, WIDTH)
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
        let width = hit.iter().map(|(mark, _)| mark.len()).max().unwrap_or_default();
        for row in hit.chunks(COLUMNS) {
            let cells: String = row.iter().map(|(mark, hits)| format!("  {mark:<width$}{hits:>9}")).collect();
            say!("{cells}");
        }
        let never: Vec<_> =
            self.marks.iter().filter(|(_, hits)| **hits == 0).map(|(mark, _)| *mark).collect();
        if !never.is_empty() {
            say!("{}", wrapped("  never hit:".to_owned(), &never, WIDTH));
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

    pub(super) fn print_json(&self, interrupted: bool) {
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
            "failures": failures, "interrupted": interrupted,
        });
        say!("{result}");
    }
}

/// A line that begins like this and goes on with these parts, and what does not fit into so many columns below it.
fn wrapped<P: AsRef<str>>(begin: String, parts: &[P], columns: usize) -> String {
    let (mut text, mut room) = (begin.clone(), columns.saturating_sub(begin.chars().count()));
    for part in parts {
        let needed = 2 + part.as_ref().chars().count();
        if needed > room {
            text.push_str("\n  ");
            room = columns - 2;
        }
        text.push_str("  ");
        text.push_str(part.as_ref());
        room = room.saturating_sub(needed);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_sim::oracles::Class;
    use std::time::Duration;

    const CLASSES: [Class; 5] =
        [Class::Panic, Class::Safety, Class::Liveness, Class::Nondeterminism, Class::Resource];

    /// What a night on a large machine comes to, with failures of so many classes.
    fn night(classes: usize) -> Tally {
        let mut tally = Tally::new(&relay_sim::PROFILES, true);
        for (seed, class) in CLASSES.into_iter().take(classes).enumerate() {
            let failure = Failure { class, rule: "S1", message: "a row was lost".into() };
            tally.add(seed as u64, relay_sim::PROFILES[0], Err(failure));
        }
        let sum = tally.sums.entry(relay_sim::PROFILES[0]).or_default();
        let seconds = 43_200;
        (sum.cases, sum.events) = (150 * seconds, 9_999_999 * seconds);
        tally.begun = Instant::now().checked_sub(Duration::from_secs(seconds)).expect("the machine is up");
        tally.broken.iter_mut().for_each(|broken| broken.count = 12_345);
        tally.marks.values_mut().for_each(|hits| *hits = 1_234_567);
        tally
    }

    #[test]
    fn progress_fits_a_terminal_and_names_every_class_of_failure() {
        for classes in 0..=CLASSES.len() {
            let progress = night(classes).progress();
            assert!(progress.lines().all(|line| line.chars().count() <= WIDTH), "{progress}");
            for class in CLASSES.into_iter().take(classes) {
                assert!(progress.contains(&format!("{} 12345", class_name(class))), "{progress}");
            }
            assert!(progress.contains(" 150.0/s") && progress.contains(" events/s"), "{progress}");
            assert!(classes > 1 || progress.lines().count() == 1, "{progress}");
        }
    }

    #[test]
    fn what_does_not_fit_stands_below() {
        let parts = ["one", "two", "three"];
        assert_eq!(wrapped("a:".into(), &parts, 80), "a:  one  two  three");
        assert_eq!(wrapped("a:".into(), &parts, 12), "a:  one  two\n    three");
        assert_eq!(wrapped("a:".into(), &parts, 6), "a:\n    one\n    two\n    three");
    }
}
