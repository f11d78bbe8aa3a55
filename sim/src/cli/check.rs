//! `relay-sim check`: recorded brokers before their judges.
//!
//! Owns: what is printed of each, and the exit code. Must not know: any rule.

use super::code::Code;
use super::refuse;
use super::replay::{Args, each};
use super::terminal::shown;
use relay_sim::oracles::Class;
use relay_sim::replay::{Checked, check};

/// Violations that are told of one trace; the rest is counted.
const TOLD: usize = 20;

pub(crate) fn run(args: &Args) -> Code {
    each(&args.files, |file, trace, _| {
        let place = file.display();
        let Checked { replayed, violations } = check(trace).map_err(|difference| {
            let what = difference.to_string();
            let line = what.lines().next().unwrap_or_default();
            refuse(file, &format_args!("not judged, because this core does something else: {line}"))
        })?;
        let (inputs, commands) = (replayed.inputs, replayed.commands);
        if violations.is_empty() {
            let end = shown(&trace.end);
            say!("held: {place}: {inputs} inputs, {commands} commands; it ends with: {end}");
            return Ok(());
        }
        say!("broken: {place}: {} violations in {inputs} inputs, {commands} commands", violations.len());
        for violation in violations.iter().take(TOLD) {
            say!("  line {}: {}: {}", violation.line, violation.rule, shown(&violation.message));
        }
        if violations.len() > TOLD {
            say!("  and {} more", violations.len() - TOLD);
        }
        Err(Code::found(Class::Safety))
    })
}
