//! `relay-sim check`: recorded brokers before their judges.
//!
//! Owns: what is printed of each, and the exit code. Must not know: any rule.

use super::replay::{Args, each, wrong};
use relay_sim::oracles::Class;
use relay_sim::replay::{Checked, check};
use std::process::ExitCode;

/// Violations that are told of one trace; the rest is counted.
const TOLD: usize = 20;

pub(crate) fn run(args: &Args) -> ExitCode {
    each(args, |file, trace, _| {
        let shown = file.display();
        let Checked { replayed, violations } = check(trace).map_err(|difference| {
            let what = difference.to_string();
            let line = what.lines().next().unwrap_or_default();
            wrong(file, &format_args!("not judged, because this core does something else: {line}"))
        })?;
        let (inputs, commands) = (replayed.inputs, replayed.commands);
        if violations.is_empty() {
            say!("held: {shown}: {inputs} inputs, {commands} commands; it ends with: {}", trace.end);
            return Ok(());
        }
        say!("broken: {shown}: {} violations in {inputs} inputs, {commands} commands", violations.len());
        for violation in violations.iter().take(TOLD) {
            say!("  line {}: {}: {}", violation.line, violation.rule, violation.message);
        }
        if violations.len() > TOLD {
            say!("  and {} more", violations.len() - TOLD);
        }
        Err(ExitCode::from(Class::Safety as u8))
    })
}
