//! `relay-sim check`: recorded brokers before their judges.
//!
//! Owns: what is printed of each, and the exit code. Must not know: any rule.
//!
//! 1. Who is not judged is told why, and what to do instead.
//! 2. A panic of the core is wrong, also where it is what was recorded.

use super::code::Code;
use super::refuse;
use super::replay::{Args, each};
use super::terminal::{place, shown};
use relay_sim::oracles::Class;
use relay_sim::replay::{Checked, Difference, Replayed, check};

/// Violations that are told of one trace; the rest is counted.
const TOLD: usize = 20;

pub(crate) fn run(args: &Args) -> Code {
    each(&args.files, |file, trace, _| {
        let place = place(file);
        let checked = check(trace).map_err(|difference| {
            refuse(file, &not_judged(&difference, &trace.core));
            Code::found(difference.class())
        })?;
        let class = checked.class();
        let Checked { replayed: Replayed { inputs, commands, .. }, violations } = checked;
        let end = shown(&trace.end);
        let Some(class) = class else {
            say!("held: {place}: {inputs} inputs, {commands} commands; it ends with: {end}");
            return Ok(());
        };
        say!("broken: {place}: {} violations in {inputs} inputs, {commands} commands", violations.len());
        for violation in violations.iter().take(TOLD) {
            say!("  line {}: {}: {}", violation.line, violation.rule, shown(&violation.message));
        }
        if violations.len() > TOLD {
            say!("  and {} more", violations.len() - TOLD);
        }
        if class == Class::Panic {
            say!("  line {}: the core panicked: {end}", trace.end_line);
        }
        Err(Code::found(class))
    })
}

/// Why a trace of this core is not judged, and what to do (invariant 1).
fn not_judged(difference: &Difference, core: &str) -> String {
    let what = difference.to_string();
    let what = what.lines().next().unwrap_or_default();
    if difference.class() == Class::Panic {
        return format!("not judged ({what}): mend the core, or the line if somebody has edited it");
    }
    format!(
        "not judged, because this core does something else ({what}): judge it with the relay-sim of the \
         version that recorded it (core {core}), or bless a copy and check that, which judges this core on \
         the same inputs"
    )
}
