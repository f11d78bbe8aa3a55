//! Scenarios as text.
//!
//! Owns: reading, writing, and the layout: a line for each agent and each step, so that a change of a
//! file is a change of lines. Must not know: what may stand in a scenario.

use super::{Scenario, Unusable, VERSION, limits};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// Structures down to this depth stand on lines of their own.
const DEPTH: usize = 3;

/// Characters of an error; a file's own words, or the list of what may stand there, may be longer.
const WORDS: usize = 240;

/// The beginning and the end of a text, where the place in the file stands.
fn short(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= WORDS {
        return text.to_owned();
    }
    let (begin, end) = (&chars[..WORDS * 2 / 3], &chars[chars.len() - WORDS / 3..]);
    begin.iter().chain(&[' ', '\u{2026}', ' ']).chain(end).collect()
}

/// What every version says.
#[derive(Deserialize)]
struct Head {
    v: u64,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let wrong =
            |error: serde_json::Error| Unusable(format!("not a scenario: {}", short(&error.to_string())));
        let head: Head = serde_json::from_str(text).map_err(wrong)?;
        if head.v != VERSION {
            let message = format!("version {} of the form, and only {VERSION} is understood", head.v);
            return Err(Unusable(message));
        }
        let scenario: Self = serde_json::from_str(text).map_err(wrong)?;
        limits::check(&scenario.plan)?;
        Ok(scenario)
    }

    /// The text that reads back as this scenario.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::new();
        let mut writer = Serializer::with_formatter(&mut bytes, Lines::default());
        self.serialize(&mut writer).expect("a scenario has only strings as keys");
        bytes.push(b'\n');
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }
}

/// Indents by one space down to [`DEPTH`]; what is deeper stands on one line.
#[derive(Default)]
struct Lines {
    depth: usize,
    empty: bool,
}

impl Lines {
    fn open<W: ?Sized + Write>(&mut self, to: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.empty = true;
        to.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, to: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !self.empty && self.depth < DEPTH {
            self.line(to)?;
        }
        self.empty = false;
        to.write_all(bracket)
    }

    fn item<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.empty = false;
        if !first {
            to.write_all(b",")?;
        }
        match self.depth {
            ..=DEPTH => self.line(to),
            _ if first => Ok(()),
            _ => to.write_all(b" "),
        }
    }

    fn line<W: ?Sized + Write>(&self, to: &mut W) -> io::Result<()> {
        write!(to, "\n{:1$}", "", self.depth)
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.open(to, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.close(to, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.item(to, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.open(to, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.close(to, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.item(to, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}
