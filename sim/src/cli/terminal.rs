//! What is printed: stdout, stderr, and what a terminal may be shown.
//!
//! Owns: lines, whether they are coloured, and what becomes of those that cannot be printed.
//! Must not know: what a line says.
//!
//! 1. Whoever reads stdout may have seen enough, as `head` has: a broken pipe is no failure. Anything
//!    else that keeps a line from stdout is told at the end, and exit code 1 at least.
//! 2. A line that stderr does not take is gone: there is nobody left to tell.
//! 3. What comes from a file reaches a terminal through [`shown`] only, and its name through [`place`].

use super::code::Code;
use relay_sim::story::Colour;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::OnceLock;

/// Characters that are shown of a text from a file.
const SHOWN: usize = 1_000;

/// Why the first line was lost.
static LOST: OnceLock<String> = OnceLock::new();

/// Prints a line on stdout.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    printed(writeln!(io::stdout(), "{line}"));
}

/// Prints a line on stderr.
pub(crate) fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Takes note of what came of printing on stdout (invariant 1).
pub(crate) fn printed(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error.to_string());
    }
}

/// The exit code, when everything that there was to say has been said.
pub(crate) fn close(code: Code) -> Code {
    printed(io::stdout().flush());
    let Some(why) = LOST.get() else { return code };
    complain!("relay-sim: cannot write to stdout: {why}");
    code.worst(Code::REFUSED)
}

/// Whether stdout gets colours: a terminal does, unless its user or its kind wants none.
pub(crate) fn colour() -> Colour {
    let of = |name| std::env::var_os(name);
    wanted(io::stdout().is_terminal(), of("NO_COLOR").as_deref(), of("TERM").as_deref())
}

fn wanted(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Colour {
    let refused = no_color.is_some_and(|value| !value.is_empty());
    let is_dumb = term.is_some_and(|term| term == "dumb");
    if is_terminal && !refused && !is_dumb { Colour::On } else { Colour::Off }
}

/// A file's name, as [`shown`].
pub(crate) fn place(file: &Path) -> String {
    shown(&file.display().to_string())
}

/// A text from a file, without the characters that steer a terminal, and not longer than [`SHOWN`].
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (at, char) in text.chars().enumerate() {
        if at == SHOWN {
            let left = text.chars().count() - SHOWN;
            return format!("{shown} \u{2026} and {left} more characters");
        }
        if steers(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// Control characters, and those that turn the direction of writing.
pub(super) fn steers(char: char) -> bool {
    let turns = matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    char.is_control() || turns || matches!(char, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_wants_them_gets_colours() {
        let some = |text: &'static str| Some(OsStr::new(text));
        assert_eq!(wanted(true, None, some("xterm")), Colour::On);
        assert_eq!(wanted(true, some(""), None), Colour::On, "an empty NO_COLOR says nothing");
        assert_eq!(wanted(true, some("1"), some("xterm")), Colour::Off);
        assert_eq!(wanted(true, some("0"), some("xterm")), Colour::Off, "any value counts");
        assert_eq!(wanted(true, None, some("dumb")), Colour::Off);
        assert_eq!(wanted(false, None, some("xterm")), Colour::Off);
    }

    #[test]
    fn what_steers_a_terminal_is_escaped_and_the_rest_is_left() {
        assert_eq!(shown("a \u{e9}\"\\ b"), "a \u{e9}\"\\ b");
        assert_eq!(shown("\x1b[31m\r\n\t\x07\u{9b}\u{202e}"), "\\u{1b}[31m\\r\\n\\t\\u{7}\\u{9b}\\u{202e}");
    }

    #[test]
    fn a_long_text_is_cut_with_a_word_about_the_rest() {
        let told = shown(&"x".repeat(SHOWN + 5));
        assert!(told.ends_with("x \u{2026} and 5 more characters"), "{told}");
        assert_eq!(shown(&"x".repeat(SHOWN)).len(), SHOWN);
    }
}
