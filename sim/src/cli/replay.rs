//! `relay-sim replay`, `bless`, `redact`: traces from files.
//!
//! Owns: reading and writing files, and what is printed of each. Must not know: what a trace says.

use relay_core::trace::{LARGEST, Trace, check_size};
use relay_sim::oracles::Class;
use relay_sim::replay::{NotRedacted, bless as blessed, redact as redacted, replay};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code of a replay that does something else than was recorded.
const DIFFERENT: u8 = 13;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Trace files, as `relay-broker up --record FILE` writes them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

impl Args {
    /// A single file.
    pub(super) fn of(file: &Path) -> Self {
        Self { files: vec![file.to_owned()] }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct RedactArgs {
    /// A trace file.
    file: PathBuf,
    /// Where the trace without messages goes.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

/// `replay`: every trace must do again what it did.
pub(crate) fn run(args: &Args) -> ExitCode {
    each(args, |file, trace, _| match replay(trace) {
        Ok(done) => {
            let ended = if done.panicked { ", the last with the panic that was recorded" } else { "" };
            say!(
                "replayed: {}: {} inputs{ended}, {} commands, {} digests of the state, all equal",
                file.display(),
                done.inputs,
                done.commands,
                done.checks
            );
            Ok(())
        }
        Err(difference) => {
            say!("different: {}: {difference}", file.display());
            Err(ExitCode::from(DIFFERENT))
        }
    })
}

/// `bless`: what the traces do now is what they shall do.
pub(crate) fn bless(args: &Args) -> ExitCode {
    each(args, |file, trace, text| {
        let new = blessed(trace).map_err(|panic| {
            wrong(file, &panic);
            ExitCode::from(Class::Panic as u8)
        })?;
        let word = if new == text { "unchanged" } else { "blessed" };
        replace(file, &new).map_err(|message| wrong(file, &message))?;
        say!("{word}: {}", file.display());
        Ok(())
    })
}

/// `redact`: a trace that can be shown to others.
pub(crate) fn redact(args: &RedactArgs) -> ExitCode {
    each(&Args::of(&args.file), |file, trace, _| {
        let redacted = redacted(trace).map_err(|error| match (wrong(file, &error), error) {
            (_, NotRedacted::Different(_)) => ExitCode::from(DIFFERENT),
            (code, NotRedacted::Unwritable(_)) => code,
        })?;
        replace(&args.output, &redacted.text).map_err(|message| wrong(&args.output, &message))?;
        say!("redacted: {}", args.output.display());
        if let Some(line) = redacted.ends_before {
            say!("note: it ends before line {line}, behind which the broker would do something else");
        }
        Ok(())
    })
}

/// Does something with every trace, until the first that is none.
pub(super) fn each(
    args: &Args,
    mut act: impl FnMut(&Path, &Trace<'_>, &str) -> Result<(), ExitCode>,
) -> ExitCode {
    // The words of a panic are in the difference.
    std::panic::set_hook(Box::new(|_| {}));
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        let done = read(file).map_err(|message| wrong(file, &message)).and_then(|text| {
            let trace = Trace::read(&text).map_err(|error| wrong(file, &error))?;
            act(file, &trace, &text)
        });
        code = done.err().unwrap_or(code);
    }
    code
}

pub(super) fn wrong(file: &Path, what: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{}: {what}", file.display());
    ExitCode::FAILURE
}

/// The text of a trace; the line for the reader where there is none.
pub(super) fn read(file: &Path) -> Result<String, String> {
    let file = File::open(file).map_err(|error| error.to_string())?;
    check_size(file.metadata().map_err(|error| error.to_string())?.len())?;
    // What is no plain file does not tell its size before.
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    check_size(bytes.len() as u64)?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        format!("line {line}: this is no text (UTF-8), so it is no trace")
    })
}

/// Writes beside the file and renames, so that a full disk leaves the old one.
fn replace(file: &Path, text: &str) -> Result<(), String> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = file.with_file_name(name);
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, file))
        .map_err(|error| error.to_string())
}
