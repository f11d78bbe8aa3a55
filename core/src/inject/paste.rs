//! The bytes of an injection: a text framed for the state that a terminal is in.
//!
//! Owns: bracketed paste, and the breaking of lines that the kernel would cut.
//! Must not know: when the bytes are written, and the CR that submits them.
//!
//! 1. The only ESC in a plan are those of the two paste brackets around it; the only other control
//!    characters are LF, and TAB inside a paste.
//! 2. For a canonical terminal no line is longer than [`CANONICAL_LINE`].
//! 3. Everything of the text stands in the plan, in order.

use super::text::Text;
use alloc::string::String;
use alloc::vec::Vec;

/// Longest line for a terminal in canonical mode, in bytes. Linux keeps 4,095 of a line and drops
/// the rest; the distance leaves room for what a person has typed before.
pub(crate) const CANONICAL_LINE: usize = 4_000;

const PASTE_START: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// Ends the first part of a broken line.
const BROKEN: &str = " \\";
/// Begins the rest of a broken line.
const CONTINUED: &str = "… ";

/// Outside a paste many programs complete words on TAB.
const TAB: &str = "    ";

/// How a terminal takes text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// The program has asked for bracketed paste: the whole text is one paste.
    Paste,
    /// Every line is a line that was typed.
    Plain {
        /// The kernel collects lines, and keeps only so much of each.
        canonical: bool,
    },
}

/// The bytes to write for a text, without the CR that submits it. A line that is too long for a
/// canonical terminal ends in ` \` and goes on after `… ` in the next one.
pub(crate) fn plan(text: &Text, format: Format) -> Vec<u8> {
    match format {
        Format::Paste => [PASTE_START, text.as_str().as_bytes(), PASTE_END].concat(),
        Format::Plain { canonical: false } => text.as_str().replace('\t', TAB).into_bytes(),
        Format::Plain { canonical: true } => broken_lines(&text.as_str().replace('\t', TAB)).into_bytes(),
    }
}

fn broken_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, mut rest) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let mut room = CANONICAL_LINE;
        while rest.len() > room {
            let (part, later) = rest.split_at(rest.floor_char_boundary(room - BROKEN.len()));
            for piece in [part, BROKEN, "\n", CONTINUED] {
                out += piece;
            }
            rest = later;
            room = CANONICAL_LINE - CONTINUED.len();
        }
        out += rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::payload::{Message, Target};
    use crate::ids::MessageId;
    use crate::inject::text::render;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    const RAW: Format = Format::Plain { canonical: false };
    const CANONICAL: Format = Format::Plain { canonical: true };

    fn text(body: &str) -> Text {
        render(&Message {
            body: body.to_string(),
            from: "a".into(),
            target: Target::Direct("b".into()),
            thread: None,
            message_id: MessageId::from("1"),
        })
    }

    #[test]
    fn a_paste_is_bracketed_and_keeps_its_tabs() {
        assert_eq!(
            plan(&text("x\n\ty\x1b[201~z"), Format::Paste),
            b"\x1b[200~Relay message from a [1]: x\n\tyz\x1b[201~"
        );
    }

    #[test]
    fn plain_text_has_spaces_for_tabs() {
        for format in [RAW, CANONICAL] {
            assert_eq!(plan(&text("x\n\ty"), format), b"Relay message from a [1]: x\n    y");
        }
    }

    #[test]
    fn a_long_line_is_broken_visibly_for_a_canonical_terminal_only() {
        let text = text(&"é".repeat(5_000));
        assert_eq!(plan(&text, RAW).len(), text.as_str().len());
        let plan = String::from_utf8(plan(&text, CANONICAL)).unwrap();
        let lines: Vec<&str> = plan.split('\n').collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].ends_with(" \\") && lines[1].ends_with("é \\"));
        assert!(lines[1].starts_with("… é") && lines[2].starts_with("… é"));
        assert!(lines[0].len() >= CANONICAL_LINE - 1, "a line is filled to the last character");
    }

    #[test]
    fn a_line_that_just_fits_is_left_alone() {
        let header = text("x").as_str().len() - 1;
        let fits = text(&"y".repeat(CANONICAL_LINE - header));
        assert_eq!(plan(&fits, CANONICAL), fits.as_str().as_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..<_>::default() })]

        #[test]
        fn a_plan_is_clean_short_lined_and_complete(
            pieces in proptest::collection::vec(("[a-z\u{0}-\u{1f}\u{7f}-\u{9f}é漢😀]{0,6}", 0..900_usize), 0..12),
        ) {
            let body: String = pieces.iter().map(|(piece, times)| piece.repeat(*times)).collect();
            let text = text(&body);
            let whole = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();

            let paste = whole(plan(&text, Format::Paste));
            let inner = paste.strip_prefix("\x1b[200~").unwrap().strip_suffix("\x1b[201~").unwrap();
            prop_assert!(!inner.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            prop_assert_eq!(inner, text.as_str());

            let typed = whole(plan(&text, RAW));
            prop_assert!(!typed.chars().any(|c| c.is_control() && c != '\n'));
            prop_assert_eq!(&typed, &text.as_str().replace('\t', "    "));

            let lines = whole(plan(&text, CANONICAL));
            prop_assert!(lines.split('\n').all(|line| line.len() <= CANONICAL_LINE));
            prop_assert_eq!(lines.replace(&format!("{BROKEN}\n{CONTINUED}"), ""), typed);
        }
    }
}
