//! Reading input files: traces and scenarios.
//!
//! Owns: opening, bounds, and telling a trace from a scenario. Must not know: what either says.
//!
//! 1. A file is opened once and read once: it may be a pipe.
//! 2. No more is read than the largest file of its kind has.

use relay_core::trace::{LARGEST, check_size};
use relay_sim::scenario::{self, Scenario};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How a trace begins.
const TRACE: &[u8] = b"{\"t\":";
/// What an editor may put before it.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes that are looked at to tell a trace from a scenario.
const BEGIN: u64 = 4 << 10;

/// What a picture can be made of.
pub(super) enum Input {
    /// The text of a trace.
    Trace(String),
    Scenario(Box<Scenario>),
}

/// The text of a trace; the words for the reader where there is none.
pub(super) fn trace(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(told)?;
    sized(&file)?;
    trace_in(file)
}

/// A scenario; the words for the reader where there is none.
pub(super) fn scenario(path: &Path) -> Result<Scenario, String> {
    scenario_in(File::open(path).map_err(told)?)
}

/// A trace or a scenario, by how it begins; the words for the reader where it is neither.
pub(super) fn either(path: &Path) -> Result<Input, String> {
    let file = File::open(path).map_err(told)?;
    let mut begin = Vec::new();
    (&file).take(BEGIN).read_to_end(&mut begin).map_err(told)?;
    if is_trace(&begin) {
        sized(&file)?;
        return trace_in(begin.chain(file)).map(Input::Trace);
    }
    scenario_in(begin.chain(file)).map(|scenario| Input::Scenario(Box::new(scenario)))
}

/// Whether a file begins as traces do; an empty one would have to.
fn is_trace(begin: &[u8]) -> bool {
    let begin = begin.strip_prefix(MARK).unwrap_or(begin).trim_ascii_start();
    begin.is_empty() || begin.starts_with(TRACE)
}

fn sized(file: &File) -> Result<(), String> {
    check_size(file.metadata().map_err(told)?.len())
}

fn trace_in(file: impl Read) -> Result<String, String> {
    // What is no plain file does not tell its size before.
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(told)?;
    check_size(bytes.len() as u64)?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        format!("line {line}: this is no text (UTF-8), so it is no trace")
    })
}

fn scenario_in(file: impl Read) -> Result<Scenario, String> {
    let mut text = String::new();
    let limit = scenario::FILE as u64;
    file.take(limit + 1).read_to_string(&mut text).map_err(told)?;
    if text.len() as u64 > limit {
        return Err(format!("more than {limit} bytes, which is no scenario"));
    }
    Scenario::parse(&text).map_err(|error| error.to_string())
}

fn told(error: io::Error) -> String {
    error.to_string()
}
