//! `relay-sim replay`, `bless`, `redact`: traces from files.
//!
//! Owns: going through files, and what is printed of each. Must not know: what a trace says.
//!
//! 1. Whatever comes of a file, the next one has its turn; the exit code is the worst.
//! 2. Who gets less than he asked for is told how much he got, and the exit code says it, too: a script
//!    sees nothing else.

use super::code::Code;
use super::input::Unread;
use super::output::{self, Readers};
use super::patience::meanwhile;
use super::terminal::{place, shown};
use super::{input, refuse};
use relay_core::trace::Trace;
use relay_sim::oracles::Class;
use relay_sim::replay::{NotRedacted, Replayed, bless as blessed, redact as redacted, replay};
use std::path::{Path, PathBuf};
use std::slice;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Trace files, as `relay-broker up --record FILE` writes them.
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RedactArgs {
    /// A trace file.
    file: PathBuf,
    /// Where the trace without messages goes.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

/// `replay`: every trace must do again what it did, and what is there of one that was cut off, too: a
/// difference counts more than the missing end.
pub(crate) fn run(args: &Args) -> Code {
    each_text(&args.files, |file, text| {
        let trace = input::read(text).map_err(|why| unread(file, &why))?;
        let done = compared(file, &trace)?;
        let ended = if done.panicked { ", the last with the panic that was recorded" } else { "" };
        say!(
            "replayed: {}: {} inputs{ended}, {} commands, {} digests of the state, all equal",
            place(file),
            done.inputs,
            done.commands,
            done.checks
        );
        Ok(())
    })
}

/// What comes of a text that is no whole trace.
fn unread(file: &Path, why: &Unread) -> Code {
    let Unread::Cut(cut) = why else { return refuse(file, why) };
    let replayed = input::read(&cut.text).map_err(|why| refuse(file, &why));
    match replayed.and_then(|trace| compared(file, &trace)) {
        Ok(_) => refuse(file, &cut.told(" (replayed, all equal)")),
        Err(code) => code,
    }
}

/// Replays a trace; a difference is printed.
fn compared(file: &Path, trace: &Trace<'_>) -> Result<Replayed, Code> {
    replay(trace).map_err(|difference| {
        let lines: Vec<_> = difference.to_string().lines().map(shown).collect();
        say!("different: {}: {}", place(file), lines.join("\n"));
        Code::found(difference.class())
    })
}

/// `bless`: what the traces do now is what they shall do.
pub(crate) fn bless(args: &Args) -> Code {
    each(&args.files, |file, trace, text| {
        let new = blessed(trace).map_err(|panic| {
            refuse(file, &panic);
            Code::found(Class::Panic)
        })?;
        if new == text {
            say!("unchanged: {}", place(file));
            return Ok(());
        }
        output::write(file, &new, Readers::Owner)?;
        output::note(file, format_args!("blessed: {}", place(file)));
        Ok(())
    })
}

/// `redact`: a trace that can be shown to others.
pub(crate) fn redact(args: &RedactArgs) -> Code {
    each(slice::from_ref(&args.file), |file, trace, _| {
        output::must_differ(&args.output, file)?;
        let redacted = redacted(trace).map_err(|error| match (refuse(file, &error), error) {
            (_, NotRedacted::Different(difference)) => Code::found(difference.class()),
            (code, NotRedacted::Unwritable(_)) => code,
        })?;
        output::write(&args.output, &redacted.text, Readers::Owner)?;
        output::note(&args.output, format_args!("redacted: {}", place(&args.output)));
        let Some(line) = redacted.ends_before else { return Ok(()) };
        // The end of each is no part of what was recorded.
        let (kept, lines) = (line - 1, trace.end_line - 1);
        complain!(
            "{}: it ends before line {line}: kept {kept} of {lines} lines, because with other words the broker \
             would do something else there; to show the rest without its messages, `distill` the original",
            place(&args.output)
        );
        // Invariant 2.
        Err(Code::REFUSED)
    })
}

/// Does something with every trace (invariant 1).
pub(super) fn each(
    files: &[PathBuf],
    mut act: impl FnMut(&Path, &Trace<'_>, &str) -> Result<(), Code>,
) -> Code {
    each_text(files, |file, text| {
        let trace = input::read(text).map_err(|why| refuse(file, &why))?;
        act(file, &trace, text)
    })
}

/// Does something with the text of every trace, which may not be one (invariant 1).
fn each_text(files: &[PathBuf], mut act: impl FnMut(&Path, &str) -> Result<(), Code>) -> Code {
    // The words of a panic are in the difference.
    std::panic::set_hook(Box::new(|_| {}));
    let mut code = Code::HELD;
    for file in files {
        let done = meanwhile(&place(file), || {
            let text = input::trace(file).map_err(|why| refuse(file, &why));
            text.and_then(|text| act(file, &text))
        });
        code = code.worst(done.err().unwrap_or(Code::HELD));
    }
    code
}
