//! Harnesses: what is known of the programs that agents usually are.
//!
//! Owns: telling them apart, their interrupt keys, and the dialogs in which typed text would be
//! taken for an answer.
//! Must not know: when to look, and what to do about it. Nothing here answers a dialog.
//!
//! 1. A dialog is told by its subject *and* by its options standing at the start of rows, so a
//!    message that only speaks of one is not taken for it.
//! 2. A program that is not known has no dialogs and no interrupt key: for it both are text.
//!
//! See `core/PROTOCOL.md §6`.

use crate::term::Terminal;
use alloc::string::String;

/// The program that an agent is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Harness {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// opencode.
    Opencode,
    /// Any other program.
    Other,
}

impl Harness {
    /// The harness of a program, by the last part of its path; `claude:opus` is a `claude`.
    pub(crate) fn of(argv0: &str) -> Self {
        let name = argv0.rsplit('/').next().unwrap_or(argv0);
        match name.split(':').next().unwrap_or(name) {
            "claude" => Self::Claude,
            "codex" => Self::Codex,
            "gemini" => Self::Gemini,
            "opencode" => Self::Opencode,
            _ => Self::Other,
        }
    }

    /// The key that stops what the program is doing, if it has one.
    pub(crate) const fn interrupt_key(self) -> Option<&'static [u8]> {
        match self {
            Self::Claude | Self::Codex | Self::Gemini | Self::Opencode => Some(b"\x1b"),
            Self::Other => None,
        }
    }

    /// The dialog that is up on a screen, by a name for people, if one is. While it is, nothing may
    /// be typed.
    pub(crate) fn dialog(self, screen: &Terminal) -> Option<&'static str> {
        // Without dialogs there is no need to read the screen.
        (self != Self::Other).then(|| screen.text(0..=u16::MAX)).and_then(|text| self.dialog_in(&text))
    }

    /// The dialog in the text of a whole screen.
    pub(super) fn dialog_in(self, text: &str) -> Option<&'static str> {
        if self == Self::Other || canary!(TypedIntoDialog) {
            return None;
        }
        // All that dialogs are known by is ASCII.
        let screen = Shown { text: text.to_ascii_lowercase() };
        match self {
            Self::Claude => claude_dialog(&screen),
            Self::Codex => codex_dialog(&screen),
            Self::Gemini => gemini_dialog(&screen),
            Self::Opencode => opencode_dialog(&screen),
            Self::Other => None,
        }
    }
}

fn claude_dialog(screen: &Shown) -> Option<&'static str> {
    let yes_or_no = || screen.option("yes") && screen.option("no");
    let asks = || yes_or_no() || screen.asks();
    if screen.says("mcp server approval") && screen.says_any(&["[a]", "approve all"]) {
        Some("MCP server approval")
    } else if screen.says("trust") && screen.says("folder") && yes_or_no() {
        Some("folder trust")
    } else if ((screen.says("bypass") && screen.says("permission")) || screen.says("dangerously")) && asks() {
        Some("bypass permissions")
    } else {
        None
    }
}

fn codex_dialog(screen: &Shown) -> Option<&'static str> {
    let news = (screen.says("codex") && screen.says("upgrade"))
        || (screen.says("codex") && screen.says("new") && screen.says("model"))
        || (screen.says("just") && screen.says("got") && screen.says("upgrade"));
    if news && screen.option("try") && screen.says("existing") {
        Some("model upgrade")
    } else if screen.says("trust")
        && screen.says_any(&["folder", "directory"])
        && screen.option("yes")
        && screen.option("no")
    {
        Some("folder trust")
    } else {
        None
    }
}

fn gemini_dialog(screen: &Shown) -> Option<&'static str> {
    let option = |labels: &[&str]| labels.iter().any(|label| screen.option(label));
    if screen.says("action required") && option(&["allow once", "allow for this session"]) {
        Some("action approval")
    } else if screen.says("trust") && option(&["trust folder", "trust this folder", "trust parent folder"]) {
        Some("folder trust")
    } else {
        None
    }
}

fn opencode_dialog(screen: &Shown) -> Option<&'static str> {
    let option = screen.option("yes, allow") || screen.option("yes, and always allow");
    (screen.says("execute") && screen.says("impact:") && option).then_some("execution approval")
}

/// What a screen shows, in lower case.
struct Shown {
    text: String,
}

impl Shown {
    /// The rows that are not empty, without borders.
    fn rows(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.split('\n').map(bare).filter(|row| !row.is_empty())
    }

    fn says(&self, words: &str) -> bool {
        self.text.contains(words)
    }

    fn says_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|words| self.says(words))
    }

    /// Whether a row is an option with this label, or with a longer one, whatever marks and numbers
    /// stand before it.
    fn option(&self, label: &str) -> bool {
        self.rows().any(|row| {
            row.trim_start_matches(|char: char| !char.is_alphabetic())
                .strip_prefix(label)
                .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        })
    }

    /// Whether the last row waits for a typed yes or no.
    fn asks(&self) -> bool {
        let last = self.rows().next_back().unwrap_or("");
        last.contains("(yes/no)") || last.contains("(y/n)")
    }
}

/// A row without white space and box drawing at its ends.
pub(super) fn bare(row: &str) -> &str {
    row.trim_matches(|char: char| {
        char.is_whitespace() || char == '|' || ('\u{2500}'..='\u{257f}').contains(&char)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(text: &str) -> Terminal {
        let mut screen = Terminal::new(24, 80);
        screen.feed(text.replace('\n', "\r\n").as_bytes());
        screen
    }

    #[test]
    fn programs_are_known_by_their_names() {
        for (argv0, harness) in [
            ("claude", Harness::Claude),
            ("/usr/local/bin/claude", Harness::Claude),
            ("claude:opus", Harness::Claude),
            ("./codex", Harness::Codex),
            ("gemini", Harness::Gemini),
            ("opencode", Harness::Opencode),
            ("claudette", Harness::Other),
            ("/opt/codex/run", Harness::Other),
            ("cat", Harness::Other),
            ("", Harness::Other),
        ] {
            assert_eq!(Harness::of(argv0), harness, "{argv0}");
            assert_eq!(harness.interrupt_key().is_some(), harness != Harness::Other);
        }
    }

    #[test]
    fn each_dialog_is_recognised_in_its_harness_only() {
        let boxed = "╭──────────────────────────╮\n│ Do you trust the files in this folder? │\n\
                     │ ❯ 1. Yes, proceed │\n│   2. No, exit │\n╰───────╯";
        for (harness, text, name) in [
            (Harness::Claude, boxed, "folder trust"),
            (
                Harness::Claude,
                "WARNING: running in Bypass Permissions mode\n❯ 1. No, exit\n  2. Yes, I accept\n\
                 Enter to confirm",
                "bypass permissions",
            ),
            (Harness::Claude, "--dangerously-x: continue? (y/n)", "bypass permissions"),
            (Harness::Claude, "MCP Server Approval Required\n[a] Approve all servers", "MCP server approval"),
            (
                Harness::Codex,
                "Codex just got an upgrade\n› 1. Try new model\n  2. Use existing model",
                "model upgrade",
            ),
            (
                Harness::Codex,
                "Do you trust the contents of this directory?\n› 1. Yes, continue\n  2. No, quit",
                "folder trust",
            ),
            (Harness::Gemini, "Action Required\n● 1. Allow once\n", "action approval"),
            (Harness::Gemini, "Modify Trust Level\n● 1. Trust this folder (x)", "folder trust"),
            (Harness::Opencode, "EXECUTE rm\nimpact: high\n> Yes, allow", "execution approval"),
        ] {
            assert_eq!(harness.dialog(&screen(text)), Some(name), "{text}");
            assert_eq!(Harness::Other.dialog(&screen(text)), None);
        }
    }

    #[test]
    fn a_message_about_a_dialog_is_none() {
        for text in [
            "Relay message from eve [1]: do you trust this folder? say yes, or no, and exit",
            "⏵⏵ bypass permissions on (shift+tab to cycle)\n❯ yes, proceed",
            "Codex: I will try the existing model upgrade\nAction Required: none",
            "None of the folders is one to trust.\nYesterday it was.",
        ] {
            for harness in [Harness::Claude, Harness::Codex, Harness::Gemini, Harness::Opencode] {
                assert_eq!(harness.dialog(&screen(text)), None, "{harness:?}: {text}");
            }
        }
    }
}
