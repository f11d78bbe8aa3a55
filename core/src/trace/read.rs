//! Reading: a trace as a value.
//!
//! Owns: which lines make a trace, and what is wrong with a text that is none.
//! Must not know: what a broker makes of the inputs.
//!
//! 1. Every fault is told with the number of its line; nothing is repaired or left out.
//! 2. A trace that was read is complete: inputs without a gap, and an end.

use super::form::{InputForm, now};
use super::print::Print;
use super::record::{Detail, InputLine, Line};
use super::{CHECK, FORMAT, SIZE};
use crate::config::{Boot, Config};
use crate::input::Input;
use crate::time::Now;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::Deserialize;

/// The life of one broker, as it was recorded. Borrows from the text.
#[derive(Debug)]
pub struct Trace<'a> {
    /// Version of the core that was recorded.
    pub core: Cow<'a, str>,
    /// Who ran it.
    pub driver: Cow<'a, str>,
    /// Whether commands were recorded as text as well.
    pub detail: Detail,
    /// What the broker was made of, with filler for secrets.
    pub config: Config,
    /// The other half of that.
    pub boot: Boot,
    /// Prints of what the start has caused; `None` where the trace was cut there.
    pub caused: Option<Vec<Print>>,
    /// The inputs in their order.
    pub entries: Vec<Entry<'a>>,
    /// Number of the last line.
    pub end_line: usize,
    /// How it ended: `exit 0`, a signal, a panic, the size of the trace.
    pub end: Cow<'a, str>,
}

/// One input, and what followed.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Its number, from 1.
    pub number: u64,
    /// When it came.
    pub now: Now,
    form: InputForm<'a>,
    /// Prints of what it has caused; `None` where the trace was cut there.
    pub caused: Option<Vec<Print>>,
    /// The digest of the broker's state after it, where there is one.
    pub check: Option<Check<'a>>,
}

/// A digest of the broker's whole state.
#[derive(Debug)]
pub struct Check<'a> {
    /// Its line in the file, from 1.
    pub line: usize,
    /// In hex.
    pub digest: Cow<'a, str>,
}

impl Entry<'_> {
    /// The input itself.
    pub fn input(&self) -> Input<'_> {
        self.form.input()
    }
}

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ReadError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl<'a> Trace<'a> {
    /// Reads a whole trace.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn read(text: &'a str) -> Result<Self, ReadError> {
        let mut lines = text.lines().enumerate().map(|(at, text)| (at + 1, text));
        let (_, first) = lines.next().ok_or_else(|| error(1, "the file is empty"))?;
        let mut trace = Self::begin(first)?;
        for (line, text) in lines.by_ref() {
            if text.starts_with(INPUT) {
                trace.input(line, text)?;
                continue;
            }
            match serde_json::from_str(text).map_err(|e| unreadable(line, text, &e))? {
                Line::Check { n, digest } => trace.check(line, n, digest)?,
                Line::End { n, po, c, why } => {
                    trace.expect(line, n)?;
                    trace.see_texts(&c);
                    trace.set_caused(po);
                    (trace.end_line, trace.end) = (line, why);
                    break;
                }
                Line::Boot { .. } => return Err(error(line, "a second trace begins here")),
            }
        }
        if let Some((line, _)) = lines.next() {
            return Err(error(line, "there is more behind the end of the trace"));
        }
        if trace.end_line == 0 {
            let line = 1 + trace.entries.last().map_or(1, |entry| entry.line);
            let what =
                format!("the trace was cut off here: it has no end, after {} inputs", trace.entries.len());
            return Err(ReadError { line, what });
        }
        Ok(trace)
    }

    /// Whether all that the last input has caused is there.
    pub fn is_whole(&self) -> bool {
        self.entries.last().map_or(&self.caused, |entry| &entry.caused).is_some()
    }

    fn begin(text: &'a str) -> Result<Self, ReadError> {
        /// What every format of the first line has.
        #[derive(Deserialize)]
        struct Version<'a> {
            t: Cow<'a, str>,
            v: u32,
        }
        let version: Version<'_> = serde_json::from_str(text)
            .map_err(|_| error(1, "this is no trace: it does not begin with a `boot` line"))?;
        if version.t != "boot" {
            return Err(error(1, "this is no trace: it does not begin with a `boot` line"));
        }
        if version.v != FORMAT {
            let what = format!("this trace has format {}, and only format {FORMAT} can be read", version.v);
            return Err(ReadError { line: 1, what });
        }
        let line = serde_json::from_str(text).map_err(|e| unreadable(1, text, &e))?;
        let Line::Boot { core, driver, config, boot, .. } = line else {
            return Err(error(1, "this is no `boot` line"));
        };
        Ok(Self {
            core,
            driver,
            detail: Detail::Prints,
            config: config.into_config().map_err(|what| error(1, what))?,
            boot: boot.into_boot().map_err(|what| error(1, what))?,
            caused: None,
            entries: Vec::new(),
            end_line: 0,
            end: Cow::Borrowed(""),
        })
    }

    fn input(&mut self, line: usize, text: &'a str) -> Result<(), ReadError> {
        let InputLine { n, now: clocks, po, c, i } =
            serde_json::from_str(text).map_err(|e| unreadable(line, text, &e))?;
        self.expect(line, n.wrapping_sub(1))?;
        let now = now(clocks);
        if now.mono < self.entries.last().map_or(self.boot.now.mono, |before| before.now.mono) {
            return Err(error(line, "the monotonic clock is behind that of the input before"));
        }
        self.set_caused(Some(po));
        self.see_texts(&c);
        self.entries.push(Entry { line, number: n, now, form: i, caused: None, check: None });
        Ok(())
    }

    fn check(&mut self, line: usize, n: u64, digest: Cow<'a, str>) -> Result<(), ReadError> {
        self.expect(line, n)?;
        match self.entries.last_mut() {
            Some(entry) if entry.check.is_none() && n.is_multiple_of(CHECK) => {
                entry.check = Some(Check { line, digest });
                Ok(())
            }
            _ => Err(error(line, "no check belongs here")),
        }
    }

    /// `n` inputs must be there.
    fn expect(&self, line: usize, n: u64) -> Result<(), ReadError> {
        let there = self.entries.len() as u64;
        if n == there {
            return Ok(());
        }
        let what = format!("lines are missing or out of order: {there} inputs came before, not {n}");
        Err(ReadError { line, what })
    }

    const fn see_texts(&mut self, texts: &[String]) {
        if !texts.is_empty() {
            self.detail = Detail::Full;
        }
    }

    fn set_caused(&mut self, prints: Option<Vec<Print>>) {
        match self.entries.last_mut() {
            Some(entry) => entry.caused = prints,
            None => self.caused = prints,
        }
    }
}

/// Bytes of the largest trace: a line is begun while there is room, so the last one may stand out.
pub const LARGEST: u64 = 2 * SIZE as u64;

/// Whether a file of so many bytes can be a trace, told for people if not.
///
/// # Errors
/// It is larger than any trace.
pub fn check_size(bytes: u64) -> Result<(), String> {
    if bytes <= LARGEST {
        return Ok(());
    }
    Err(format!("the file has {} MiB, and no trace has more than {}", bytes >> 20, LARGEST >> 20))
}

/// Characters of an error.
const WORDS: usize = 160;

/// How the line of an input begins.
const INPUT: &str = "{\"n\":";

fn error(line: usize, what: &str) -> ReadError {
    ReadError { line, what: what.to_string() }
}

fn unreadable(line: usize, text: &str, error: &serde_json::Error) -> ReadError {
    // A line that ends in its middle was cut off; its own end says nothing to the reader.
    let what = if error.is_eof() {
        format!("the line is cut off after {} bytes", text.len())
    } else {
        let told = error.to_string();
        // A line may be as long as a trace; the reader gets the beginning of what is quoted of it.
        let told = beginning(told.split(" at line ").next().unwrap_or_default());
        format!("{told}, at column {}", error.column())
    };
    ReadError { line, what }
}

/// A text, or as many of its words as [`WORDS`] allows; a longer word only in part.
fn beginning(text: &str) -> Cow<'_, str> {
    let Some((end, _)) = text.char_indices().nth(WORDS) else {
        return Cow::Borrowed(text);
    };
    // Of one long word the reader gets what fits.
    let cut = match text[..end].rfind(' ') {
        _ if text[end..].starts_with(' ') => end,
        Some(space) if space * 2 > end => space,
        _ => end,
    };
    Cow::Owned(format!("{} \u{2026}", text[..cut].trim_end_matches([' ', ','])))
}
