//! Evidence on the screen: whether the end of a text that we wrote stands there.
//!
//! Owns: what of a text is looked for, and where.
//! Must not know: what follows from finding it. The screen alone proves little: the kernel echoes
//! text that no program has read.
//!
//! 1. Only letters and digits are compared, so wrapping, borders, prompts, colours and rendered
//!    markup between them do not matter.
//! 2. A text that ends like an earlier one is found while that one still shows: look only when there was
//!    as much output as shows it ([`Tail::len`]). Whoever redraws that much can still be mistaken.
//! 3. One look costs no more than one pass over a screen, and mostly only its last rows.

use super::text::Text;
use crate::term::Terminal;
use alloc::string::String;
use core::fmt;

/// How many characters are looked for: enough to be no accident, few enough to fit on every screen.
const LENGTH: usize = 24;

/// How many characters of the last lines are enough to leave the lines above them out: a terminal
/// may show the echo of one typed line and the answer to it before the next.
const ENOUGH: usize = 8;

/// How many rows above the cursor are looked at where the program keeps its cursor at its input.
const LOOK_BACK: u16 = 8;

/// The end of a written text, as looked for on the screen.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The last characters first, since screens are read upwards.
    reversed: String,
}

impl fmt::Debug for Tail {
    /// Free text shows as its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({} bytes)", self.reversed.len())
    }
}

impl Tail {
    /// The last up to 24 letters and digits of a text, from as few of its last lines as give 8.
    pub(crate) fn of(text: &Text) -> Self {
        let mut reversed = String::new();
        let mut count = 0;
        for line in text.as_str().rsplit('\n') {
            let part: String = legible(line).take(LENGTH - count).collect();
            count += part.chars().count();
            reversed += &part;
            if count >= ENOUGH {
                break;
            }
        }
        Self { reversed }
    }

    /// The fewest bytes of output that show it.
    pub(crate) const fn len(&self) -> u64 {
        self.reversed.len() as u64
    }

    /// Whether the tail stands on the screen: on the cursor's row or the 8 above it, or anywhere if
    /// the program hides its cursor or uses the alternate screen.
    pub(crate) fn seen_on(&self, screen: &Terminal) -> bool {
        let (height, _) = screen.size();
        let (row, _) = screen.cursor();
        let rows = if screen.alternate_screen() || screen.cursor_hidden() {
            0..height
        } else {
            row.saturating_sub(LOOK_BACK)..row + 1
        };
        let mut shown = String::new();
        // Upwards, since the end of what was typed last mostly stands in the last of these rows.
        !self.reversed.is_empty()
            && rows.rev().any(|row| {
                let overlap = shown.len().saturating_sub(self.reversed.len());
                let overlap = shown.floor_char_boundary(overlap);
                shown.extend(legible(&screen.text(row..=row)));
                shown[overlap..].contains(&self.reversed)
            })
    }
}

/// The letters and digits of a text, from its end (invariant 1).
fn legible(text: &str) -> impl Iterator<Item = char> {
    text.chars().rev().filter(|char| char.is_alphanumeric())
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

    const LONG: &str = "The quick brown fox jumps over the lazy dog, and then it rests for a \
                        while because foxes do so whenever they have jumped over enough dogs.";

    fn text(body: &str) -> Text {
        render(&Message {
            body: body.to_string(),
            from: "alice".into(),
            target: Target::Direct("bob".into()),
            thread: None,
            message_id: MessageId::from("901"),
        })
    }

    fn screen(output: &str) -> Terminal {
        let mut screen = Terminal::new(24, 80);
        screen.feed(output.as_bytes());
        screen
    }

    #[test]
    fn an_echoed_text_is_seen_however_it_wraps() {
        for body in ["hi", LONG, "漢字かな交じり文の最後の部分です、そして終わり。", "!!!", "a\n\n\tb"]
        {
            let text = text(body);
            for cols in [20, 33, 80, 200] {
                let mut screen = Terminal::new(24, cols);
                screen.feed(text.as_str().replace('\n', "\r\n").as_bytes());
                assert!(Tail::of(&text).seen_on(&screen), "{body} at {cols} columns");
                screen.feed(b"\r\n");
                assert!(Tail::of(&text).seen_on(&screen), "{body} after submit");
            }
        }
    }

    #[test]
    fn a_text_without_its_end_is_not_seen() {
        let text = text(LONG);
        let whole = text.as_str();
        assert!(!Tail::of(&text).seen_on(&screen(&whole[..whole.len() - 4])));
        assert!(!Tail::of(&text).seen_on(&screen("")));
    }

    #[test]
    fn lines_that_are_answered_one_by_one_do_not_hide_the_last() {
        let text = text("first\nsecond line\nthird line");
        let mut echoed = String::new();
        for line in text.as_str().split('\n') {
            echoed += &format!("{line}\r\n{line}\r\n");
        }
        assert!(Tail::of(&text).seen_on(&screen(&echoed)));
    }

    #[test]
    fn borders_and_prompts_between_wrapped_rows_do_not_matter() {
        let text = text(LONG);
        let chars: alloc::vec::Vec<char> = text.as_str().chars().collect();
        for (left, right) in [("│ > ", " │"), ("| ", "|"), ("❯ ", ""), ("┃  ", "  ┃")] {
            let mut drawn = format!("╭{}╮\r\n", "─".repeat(20));
            for part in chars.chunks(15) {
                let line: String = part.iter().collect();
                drawn += &format!("{left}{line}{right}\r\n");
            }
            drawn += &format!("╰{}╯", "─".repeat(20));
            assert!(Tail::of(&text).seen_on(&screen(&drawn)), "{left}");
        }
    }

    #[test]
    fn rows_far_above_a_visible_cursor_are_not_searched() {
        let text = text("hi");
        let scrolled = format!("{}{}", text.as_str(), "\r\n".repeat(9));
        assert!(!Tail::of(&text).seen_on(&screen(&scrolled)));
        for mode in ["\x1b[?25l", "\x1b[?1049h"] {
            let output = format!("{mode}{}\x1b[24;1H", text.as_str());
            assert!(Tail::of(&text).seen_on(&screen(&output)), "{mode:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn a_text_echoed_by_a_terminal_is_seen(body in "([a-zA-Z0-9 .,!é漢]{8,60}\n){0,3}[a-z0-9 .,!é漢]{0,200}", cols in 20..200_u16) {
            let text = text(&body);
            let mut screen = Terminal::new(24, cols);
            screen.feed(text.as_str().replace('\n', "\r\n").as_bytes());
            prop_assume!(screen.cursor().0 < 23);
            prop_assert!(Tail::of(&text).seen_on(&screen));
        }
    }
}
