//! Reading input files: traces and scenarios.
//!
//! Owns: opening, bounds, and telling a trace from a scenario, also to the reader who gives one for the
//! other. Must not know: what either says.
//!
//! 1. A file is opened once and read once: it may be a pipe.
//! 2. No more is read than the largest file of its kind has, and little of what cannot be of that kind.
//! 3. The mark that an editor may have put before either is no part of it.
//! 4. A trace that was cut off is none, but what is there of it is not lost: whoever gives one is told how
//!    it becomes whole.

use relay_core::trace::{FORMAT, LARGEST, Trace, check_size, last_line};
use relay_sim::scenario::{self, Scenario};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How a trace begins, and every line of one that is no input.
const TRACE: &[u8] = b"{\"t\":";
/// How one begins whose first line nobody has put in another order.
const BOOT: &str = "{\"t\":\"boot\"";
/// Keys that stand before the plan of a scenario.
const SCENARIO: [&str; 3] = ["\"v\"", "\"about\"", "\"expect\""];
/// What an editor may put before either.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes that are looked at to tell a trace from a scenario.
const BEGIN: usize = 4 << 10;
/// Characters that are shown of what stands for the number of a format.
const SHOWN: usize = 40;
/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// What a picture can be made of.
pub(super) enum Input {
    /// The text of a trace.
    Trace(String),
    Scenario(Box<Scenario>),
}

/// What a file is, by how it begins.
enum Kind {
    Empty,
    Trace,
    Scenario,
    /// Either, in another order or broken, or neither.
    Other,
}

/// The text of a trace; the words for the reader where there is none.
pub(super) fn trace(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(told)?;
    sized(&file)?;
    let begin = begin(&file)?;
    match kind(&begin) {
        Kind::Empty => Err(EMPTY.into()),
        Kind::Scenario => {
            Err("this is no trace but a scenario: `run` and `view` take it, and `record` makes a trace of it"
                .into())
        }
        Kind::Other if !trimmed(&begin).starts_with(b"{") => Err(no_trace(&begin)),
        Kind::Trace | Kind::Other => trace_in(begin.chain(file)),
    }
}

/// A scenario; the words for the reader where there is none.
pub(super) fn scenario(path: &Path) -> Result<Scenario, String> {
    let file = File::open(path).map_err(told)?;
    let begin = begin(&file)?;
    match kind(&begin) {
        Kind::Empty => Err(EMPTY.into()),
        Kind::Trace => Err("this is not a scenario but a trace: `replay`, `check` and `view` take it, and \
             `distill` makes a scenario of it"
            .into()),
        Kind::Scenario | Kind::Other => scenario_in(begin.chain(file)),
    }
}

/// A trace or a scenario, by how it begins; the words for the reader where it is neither.
pub(super) fn either(path: &Path) -> Result<Input, String> {
    let file = File::open(path).map_err(told)?;
    let begin = begin(&file)?;
    let found = match kind(&begin) {
        Kind::Empty => return Err(EMPTY.into()),
        Kind::Trace => {
            sized(&file)?;
            return trace_in(begin.chain(file)).map(Input::Trace);
        }
        Kind::Scenario => scenario_in(begin.chain(file)),
        Kind::Other => scenario_in(begin.chain(file))
            .map_err(|why| format!("{why}; nor is it a trace, which begins with a `boot` line")),
    };
    found.map(|scenario| Input::Scenario(Box::new(scenario)))
}

/// Why a text is no trace.
pub(super) enum Unread {
    /// It was one, and is cut off.
    Cut(Cut),
    /// In words.
    Wrong(String),
}

impl Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(cut) => f.write_str(&cut.told("")),
            Self::Wrong(why) => f.write_str(why),
        }
    }
}

/// What is there of a trace that has no end, because whoever wrote it was killed, say.
pub(super) struct Cut {
    /// The lines that are whole, and an end.
    pub(super) text: String,
    /// The first line that is not there, or not all of it.
    line: usize,
    is_torn: bool,
    inputs: u64,
    end: String,
}

impl Cut {
    /// In words, how it becomes whole (invariant 4); `done` says what was done with the inputs.
    pub(super) fn told(&self, done: &str) -> String {
        let Self { line, inputs, end, .. } = self;
        let how = if self.is_torn { "remove this line and append this one" } else { "append this line" };
        let end = end.trim_end();
        format!(
            "line {line}: the trace was cut off here: it has no end, after {inputs} inputs{done}; {how}, and every \
             command takes it: {end}"
        )
    }
}

/// What is there of a trace; `None` where more than its end is missing, or nothing.
fn cut(text: &str) -> Option<Cut> {
    // A line is whole when its newline is there.
    let whole = &text[..=text.rfind('\n')?];
    let is_input = |line: &&str| !line.as_bytes().starts_with(TRACE);
    let inputs = whole.lines().skip(1).filter(is_input).count() as u64;
    let end = last_line(inputs, "cut off");
    let mended = whole.to_owned() + &end;
    Trace::read(&mended).ok()?;
    let (line, is_torn) = (whole.lines().count() + 1, whole.len() < text.len());
    Some(Cut { text: mended, line, is_torn, inputs, end })
}

/// A trace from its text; why it is none, for the reader, where it is none.
pub(super) fn read(text: &str) -> Result<Trace<'_>, Unread> {
    if let Some(why) = text.lines().next().and_then(unreadable_head) {
        return Err(Unread::Wrong(format!("line 1: {why}")));
    }
    Trace::read(text).map_err(|error| {
        cut(text).map_or_else(
            || {
                let error = error.to_string();
                // What is told of a line as a whole stands in no column of it.
                Unread::Wrong(error.strip_suffix(", at column 0").unwrap_or(&error).to_owned())
            },
            Unread::Cut,
        )
    })
}

/// What is wrong with a first line that says of itself that it is one: not that it is none.
fn unreadable_head(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        v: Option<Value>,
    }
    if !line.starts_with(BOOT) {
        return None;
    }
    match serde_json::from_str::<Head>(line) {
        Ok(Head { v: Some(v) }) if v.as_u64() == Some(u64::from(FORMAT)) => None,
        Ok(Head { v: Some(v) }) => {
            let found: String = v.to_string().chars().take(SHOWN).collect();
            Some(format!(
                "this trace has format {found}, and only format {FORMAT} can be read: take the relay-sim of the \
                 version that recorded it"
            ))
        }
        Ok(Head { v: None }) => Some("the `boot` line has no `v`, the number of its format".into()),
        Err(error) if error.is_eof() => Some(format!("the line is cut off after {} bytes", line.len())),
        Err(error) => Some(format!("this is no JSON from column {} on", error.column())),
    }
}

const EMPTY: &str = "the file is empty";

/// The first bytes of a file.
fn begin(file: &File) -> Result<Vec<u8>, String> {
    let mut begin = Vec::new();
    file.take(BEGIN as u64).read_to_end(&mut begin).map_err(told)?;
    Ok(begin)
}

/// What is looked at to tell one kind from another.
fn trimmed(begin: &[u8]) -> &[u8] {
    begin.strip_prefix(MARK).unwrap_or(begin).trim_ascii_start()
}

fn kind(begin: &[u8]) -> Kind {
    let text = trimmed(begin);
    let has = |key: &str| text.windows(key.len()).any(|part| part == key.as_bytes());
    if text.is_empty() && begin.len() < BEGIN {
        Kind::Empty
    } else if text.starts_with(TRACE) {
        Kind::Trace
    } else if text.starts_with(b"{") && SCENARIO.into_iter().all(has) {
        Kind::Scenario
    } else {
        Kind::Other
    }
}

/// What is said of a file that begins as no JSON does.
fn no_trace(begin: &[u8]) -> String {
    // A character may go on behind what was looked at.
    let is_text = std::str::from_utf8(begin).map_or_else(|error| error.error_len().is_none(), |_| true);
    let what = if is_text { "it does not begin with a `boot` line" } else { "it is no text (UTF-8)" };
    format!("line 1: this is no trace: {what}")
}

fn sized(file: &File) -> Result<(), String> {
    let bytes = file.metadata().map_err(told)?.len();
    // Rounded up, so that what is larger than the largest one is told to be so.
    check_size(bytes.checked_next_multiple_of(MIB).unwrap_or(bytes))
}

fn trace_in(file: impl Read) -> Result<String, String> {
    // What is no plain file does not tell its size before.
    let bytes = bounded(file, LARGEST, "trace")?;
    String::from_utf8(unmarked(bytes)).or_else(|error| {
        if error.utf8_error().error_len().is_none() {
            // Cut off in the middle of a character: its line is told where it is read.
            return Ok(String::from_utf8_lossy(error.as_bytes()).into_owned());
        }
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        Err(format!("line {line}: this is no text (UTF-8), so it is no trace"))
    })
}

fn scenario_in(file: impl Read) -> Result<Scenario, String> {
    let bytes = bounded(file, scenario::FILE as u64, "scenario")?;
    let text =
        String::from_utf8(unmarked(bytes)).map_err(|_| "this is no text (UTF-8), so it is no scenario")?;
    Scenario::parse(&text).map_err(|error| error.to_string())
}

/// Without what an editor may have put before the rest.
fn unmarked(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    bytes
}

/// All of a file, unless it has more bytes than any of its kind.
fn bounded(file: impl Read, most: u64, kind: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > most {
        return Err(format!("it has more than {} MiB, and no {kind} has", most / MIB));
    }
    Ok(bytes)
}

fn told(error: io::Error) -> String {
    format!("cannot be read: {error}")
}
