//! Readiness: whether a program that was started takes text yet.
//!
//! Owns: the rule of each harness, and the times after which we no longer wait.
//! Must not know: the clock, and what waits for readiness.
//!
//! 1. While a dialog is up the answer is [`Readiness::Blocked`], whatever the time.
//! 2. Without a dialog every program is ready in the end: a known one after [`UNRECOGNISED_AFTER`],
//!    another one after [`OTHER_AT_LATEST`].
//! 3. [`Readiness::NotYet`] names the next instant at which time alone changes the answer.
//!
//! A program is asked for until it is ready once; after that only [`Harness::dialog`] counts.
//! See `core/PROTOCOL.md §6`.

use super::harness::{Harness, bare};
use crate::term::Terminal;
use crate::time::Span;

/// So long without output means that a program has drawn what it had to draw.
pub(crate) const QUIET: Span = Span::millis(250);

/// A screen is judged only when nothing has been drawn on it for so long: in the middle of a drawing
/// the beginning of a dialog looks like a prompt.
const SETTLED: Span = Span::millis(50);

/// A program without a rule is taken for ready so long after it was started, however it chatters.
pub(crate) const OTHER_AT_LATEST: Span = Span::secs(2);

/// A known program whose screen we do not recognise gets its text after all: vendors change
/// screens, and a message must not wait for ever.
pub(crate) const UNRECOGNISED_AFTER: Span = Span::secs(60);

/// More output than this, in bytes, followed by quiet, is a drawn screen.
const DRAWN: u64 = 500;

/// What a wrapper prints when the program in it takes text.
const READY_MARK: &str = "->pty:ready";

/// The answer of [`ready`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// It takes text.
    Ready {
        /// Only for want of patience: the screen of a known harness was not recognised.
        unrecognised: bool,
    },
    /// It does not take text yet.
    NotYet {
        /// Ask again after this time even if there is no output.
        recheck_after: Span,
    },
    /// A dialog is up. Only output changes that.
    Blocked {
        /// Its name, for people.
        dialog: &'static str,
    },
}

/// Whether a program takes text, from its screen, the time since its last output (or since it was
/// started, if there was none), and the time since it was started.
pub(crate) fn ready(harness: Harness, screen: &Terminal, quiet_for: Span, since_exec: Span) -> Readiness {
    if harness == Harness::Other && (quiet_for >= QUIET || since_exec >= OTHER_AT_LATEST) {
        // Whatever its screen says.
        return Readiness::Ready { unrecognised: false };
    }
    let text = screen.text(0..=u16::MAX);
    if let Some(dialog) = harness.dialog_in(&text) {
        return Readiness::Blocked { dialog };
    }
    let (quiet_counts, at_latest) = match harness {
        Harness::Other => (true, OTHER_AT_LATEST),
        Harness::Codex | Harness::Opencode => (screen.fed() > DRAWN, UNRECOGNISED_AFTER),
        Harness::Claude | Harness::Gemini => (false, UNRECOGNISED_AFTER),
    };
    let needed = match recognised(harness, screen, &text) {
        Recognised::Announced => Span(0),
        Recognised::Prompt => SETTLED,
        Recognised::Nothing if quiet_counts => QUIET,
        Recognised::Nothing => Span(u64::MAX),
    };
    if quiet_for >= needed {
        return Readiness::Ready { unrecognised: false };
    }
    if since_exec >= at_latest {
        return Readiness::Ready { unrecognised: true };
    }
    let left = Span(at_latest.0 - since_exec.0);
    Readiness::NotYet { recheck_after: left.min(Span(needed.0 - quiet_for.0)) }
}

/// What a screen says by itself.
enum Recognised {
    Nothing,
    /// The prompt of the harness.
    Prompt,
    /// In so many words that the program takes text.
    Announced,
}

fn recognised(harness: Harness, screen: &Terminal, text: &str) -> Recognised {
    if text.contains(READY_MARK) {
        return Recognised::Announced;
    }
    let prompt = match harness {
        Harness::Claude => {
            let (row, _) = screen.cursor();
            (text.contains("Welcome back") || text.contains("Welcome to "))
                && is_empty_prompt(&screen.text(row..=row))
        }
        Harness::Gemini => {
            text.contains("Type your message or @path/to/file")
                && !text.to_lowercase().contains("waiting for auth")
        }
        Harness::Codex => text.split('\n').any(|row| begins_prompt(row) || row.contains("codex> ")),
        Harness::Opencode => text.split('\n').any(begins_prompt),
        Harness::Other => false,
    };
    if prompt { Recognised::Prompt } else { Recognised::Nothing }
}

/// A prompt with nothing behind it, or with the example that is shown until something is typed.
fn is_empty_prompt(row: &str) -> bool {
    bare(row)
        .strip_prefix(['❯', '>'])
        .is_some_and(|rest| rest.trim().is_empty() || rest.trim_start().starts_with("Try \""))
}

fn begins_prompt(row: &str) -> bool {
    // The space behind a prompt may be the last thing on its row.
    let row = row.trim_start_matches(|char: char| char == '│' || char.is_whitespace());
    ["> ", "$ ", ">>> ", "›", "❯"].iter().any(|prompt| row.starts_with(prompt))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Readiness = Readiness::Ready { unrecognised: false };

    fn screen(text: &str) -> Terminal {
        let mut screen = Terminal::new(24, 80);
        screen.feed(text.replace('\n', "\r\n").as_bytes());
        screen
    }

    fn asked(harness: Harness, text: &str, quiet: u64, exec: u64) -> Readiness {
        ready(harness, &screen(text), Span::millis(quiet), Span::millis(exec))
    }

    const fn not_yet(millis: u64) -> Readiness {
        Readiness::NotYet { recheck_after: Span::millis(millis) }
    }

    #[test]
    fn another_program_is_ready_when_quiet_or_after_two_seconds() {
        for (quiet, exec, answer) in [
            (0, 0, not_yet(250)),
            (249, 249, not_yet(1)),
            (250, 250, READY),
            (100, 1_000, not_yet(150)),
            (10, 1_900, not_yet(100)),
            (0, 2_000, READY),
        ] {
            assert_eq!(asked(Harness::Other, "starting", quiet, exec), answer);
        }
    }

    #[test]
    fn a_known_harness_is_ready_by_its_screen() {
        for (harness, text) in [
            (Harness::Claude, "Welcome back Ann\n│ > │\x1b[2;4H"),
            (Harness::Claude, "✻ Welcome to Claude Code\n\n❯ "),
            (Harness::Claude, "Welcome back\n❯ Try \"fix lint errors\""),
            (Harness::Gemini, "│ > Type your message or @path/to/file │"),
            (Harness::Codex, "codex> "),
            (Harness::Codex, "model: x\n› Ask me"),
            (Harness::Opencode, "$ "),
        ] {
            assert_eq!(asked(harness, text, 0, 0), not_yet(50), "it may still be drawing: {text}");
            assert_eq!(asked(harness, text, 50, 50), READY, "{text}");
        }
        for (harness, text) in [
            (Harness::Claude, "❯ "),
            (Harness::Claude, "Welcome back\n❯ run the tests"),
            (Harness::Claude, "Welcome back\n❯ \nstatus"),
            (Harness::Gemini, "Waiting for auth...\nType your message or @path/to/file"),
            (Harness::Codex, "loading -> "),
            (Harness::Opencode, ""),
        ] {
            assert_eq!(asked(harness, text, 10_000, 10_000), not_yet(50_000), "{text}");
        }
    }

    #[test]
    fn much_output_and_then_quiet_is_a_drawn_screen() {
        let drawn = "x".repeat(501);
        for harness in [Harness::Codex, Harness::Opencode] {
            assert_eq!(asked(harness, &drawn, 0, 1_000), not_yet(250));
            assert_eq!(asked(harness, &drawn, 250, 1_000), READY);
            assert_eq!(asked(harness, &drawn[1..], 250, 1_000), not_yet(59_000));
        }
        assert_eq!(asked(Harness::Claude, &drawn, 250, 1_000), not_yet(59_000));
    }

    #[test]
    fn an_unrecognised_screen_is_released_after_a_minute() {
        let late = Readiness::Ready { unrecognised: true };
        for harness in [Harness::Claude, Harness::Codex, Harness::Gemini, Harness::Opencode] {
            assert_eq!(asked(harness, "new look", 0, 59_999), not_yet(1));
            assert_eq!(asked(harness, "new look", 0, 60_000), late);
        }
    }

    #[test]
    fn a_dialog_blocks_for_as_long_as_it_is_up() {
        let dialog = "Do you trust this folder?\n❯ 1. Yes, proceed\n  2. No, exit\n->pty:ready";
        for exec in [0, 60_000, 3_600_000] {
            assert_eq!(
                asked(Harness::Claude, dialog, exec, exec),
                Readiness::Blocked { dialog: "folder trust" }
            );
        }
    }

    #[test]
    fn a_program_that_says_so_is_ready_at_once() {
        for harness in [Harness::Claude, Harness::Gemini, Harness::Other] {
            assert_eq!(asked(harness, "x ->pty:ready", 0, 0), READY);
        }
    }
}
