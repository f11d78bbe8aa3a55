//! The commands of `relay-sim`, one file each.
//!
//! Owns: arguments, what is printed, exit codes. Must not know: how a case is simulated or judged.
//!
//! 1. A failure prints the command that reproduces it; the commands for one case print it as the
//!    first line and as the last, and after a seed comes the one that makes a small scenario of it.
//! 2. Files are read by [`input`], written by [`output`], lines printed by [`terminal`], and commands
//!    worded by [`again`], only.

mod again;
pub(crate) mod bench;
pub(crate) mod canary;
pub(crate) mod check;
pub(crate) mod code;
pub(crate) mod distill;
mod input;
mod interrupt;
mod numbers;
mod output;
mod patience;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod seed;
pub(crate) mod shrink;
pub(crate) mod swarm;
mod tally;
pub(crate) mod terminal;
pub(crate) mod view;

use code::Code;
use relay_sim::oracles::{Class, Failure};
use relay_sim::plan::Plan;
use relay_sim::story::Columns;
use relay_sim::world::Report;
use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use terminal::{place, printed, shown};

/// Runs a case and prints its story, with colours on a terminal.
fn aloud(plan: Plan) -> Result<Report, Failure> {
    let mut out = std::io::stdout().lock();
    let names = plan.agents.iter().map(|agent| agent.name.as_str());
    let columns = Columns::new(names, terminal::colour());
    printed(writeln!(out, "{}", columns.head()));
    relay_sim::tell(plan, |moment| printed(writeln!(out, "{}", columns.line(&moment))))
}

/// Says why a file is of no use.
fn refuse(file: &Path, why: &dyn Display) -> Code {
    complain!("{}: {}", place(file), shown(&why.to_string()));
    Code::REFUSED
}

/// Prints a failure; its exit code.
fn tell(reproduction: &str, failure: &Failure) -> Code {
    say!("{reproduction}");
    say!("{}", verdict(failure));
    say!("{reproduction}");
    Code::found(failure.class)
}

/// What a case came to, in a line.
fn summary(report: &Report) -> String {
    let hit = report.marks.iter().filter(|(_, hits)| **hits > 0);
    let marks: Vec<String> = hit.map(|(mark, hits)| format!("{mark} {hits}")).collect();
    let marks = if marks.is_empty() { "no marks".to_owned() } else { marks.join(", ") };
    format!(
        "{} events in {} s, {} {} of the broker, {} rows, {} messages taken; {marks}",
        report.events,
        report.time / relay_sim::plan::SECOND,
        report.lives,
        if report.lives == 1 { "life" } else { "lives" },
        report.rows,
        report.taken,
    )
}

/// What a case failed by, in a line.
fn verdict(failure: &Failure) -> String {
    format!("{}: {}", broken(failure), shown(&failure.message))
}

/// The class of what was broken, and the rule; a panic is its own rule.
fn broken(failure: &Failure) -> String {
    let class = class_name(failure.class);
    if class == failure.rule { class.into() } else { format!("{class} {}", failure.rule) }
}

/// One word per class.
const fn class_name(class: Class) -> &'static str {
    match class {
        Class::Panic => "panic",
        Class::Safety => "safety",
        Class::Liveness => "liveness",
        Class::Nondeterminism => "nondeterminism",
        Class::Resource => "resource",
    }
}
