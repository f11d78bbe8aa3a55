//! Screens: the output of terminals with other words in what it shows of messages.
//!
//! Owns: finding messages, words and parts of words in what is shown. Must not know: how a terminal's
//! output is read, or why a word is hidden.
//!
//! 1. The output of one terminal is one text, however it is cut into chunks, and the chunks keep their
//!    lengths.
//! 2. A whole message is found with anything between its letters: rows, borders, colours.
//! 3. So is a word that colours, strings or the ends of up to four rows part.
//! 4. What is left of a word where a text is cut is hidden if it is the beginning of a hidden word before
//!    the cut, or the end of one behind it, and has as many letters as tell. A text is cut where a row
//!    ends, where the cursor is sent somewhere, and at an ellipsis. The middle of a word, fewer letters,
//!    and a word in a form of its own (capitals, letters added, base64) stay: README.md says so.
//! 5. One pass, whose steps cost no more for a long output than for a short one.

use super::shown::{Ends, Shown};
use super::words::{PART, Words};
use relay_core::Input;
use relay_core::ids::ProcessId;
use relay_core::trace::Trace;
use std::collections::BTreeMap;
use std::vec::IntoIter;

/// The output of each terminal that has not been taken yet.
#[derive(Debug)]
pub(super) struct Screens(BTreeMap<ProcessId, IntoIter<u8>>);

impl Screens {
    pub(super) fn of(words: &Words, trace: &Trace<'_>) -> Self {
        let mut screens = BTreeMap::<_, Vec<u8>>::new();
        for entry in &trace.entries {
            if let Input::PtyOutput { process, bytes } = entry.input() {
                screens.entry(process).or_default().extend_from_slice(bytes);
            }
        }
        screens.values_mut().for_each(|screen| hide(words, screen));
        Self(screens.into_iter().map(|(process, screen)| (process, screen.into_iter())).collect())
    }

    /// The next bytes of a terminal.
    pub(super) fn next(&mut self, process: ProcessId, count: usize) -> Vec<u8> {
        self.0.get_mut(&process).into_iter().flat_map(|rest| rest.take(count)).collect()
    }
}

fn hide(words: &Words, bytes: &mut [u8]) {
    for shown in Shown::of(bytes) {
        let mut at = 0;
        while let Some(rest) = shown.chars().get(at..).filter(|rest| !rest.is_empty()) {
            if let Some(new) = words.message_in(rest) {
                shown.put(bytes, at, new);
                at += new.len();
                continue;
            }
            let ends = shown.ends(at);
            at = match word(words, &shown, at, &ends) {
                Some(new) => {
                    shown.put(bytes, at, &new);
                    at + new.len()
                }
                None => ends.part,
            };
        }
    }
}

/// What the word becomes that begins here, or the part of one.
fn word(words: &Words, shown: &Shown, at: usize, ends: &Ends) -> Option<Vec<char>> {
    let rest = &shown.chars()[at..];
    let is_likely = words.may_begin(rest);
    let text = |end: &usize| rest[..*end - at].iter().collect::<String>();
    let (row, rows) = ends.rows.split_first().map_or((&ends.part, &[][..]), |(row, rows)| (row, rows));
    // A row that ends with a word is likelier than one that ends within a longer one.
    let whole = [row, &ends.part].into_iter().chain(rows);
    let mut whole = whole.filter(|end| is_likely || *end - at < PART);
    let whole = whole.find_map(|end| words.word(&text(end)).map(str::to_owned));
    let part = || {
        let mut parts = rows.iter().rev().chain([row, &ends.part]).filter(|_| is_likely);
        parts.find_map(|end| {
            let end_of_word = || shown.is_cut(at).then(|| words.end(&text(end))).flatten();
            let beginning = || shown.is_cut(*end).then(|| words.beginning(&text(end))).flatten();
            end_of_word().or_else(beginning)
        })
    };
    Some(whole.or_else(part)?.chars().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &Words, shown: &str, hidden: &str) {
        let mut screen = [shown.as_bytes(), b"\xff"].concat();
        hide(words, &mut screen);
        let told = screen.escape_ascii().to_string();
        assert_eq!(screen, [hidden.as_bytes(), b"\xff"].concat(), "{shown:?}: {told}");
    }

    #[test]
    fn messages_and_words_are_replaced_on_screens() {
        let mut words = Words::of_these(&["secret", "plan"], &[]);
        words.learn(r"the secret\nplan");
        for (shown, hidden) in [
            ("\x1b[1;31msecret\x1b[0m plan", "\x1b[1;31mbbaaaa\x1b[0m cbaa"),
            ("| the sec\r\n| ret pl\r\n|an", "| the bba\r\n| aaa cb\r\n|aa"),
            (r#"{"output":"the secret\nplan"}"#, r#"{"output":"the bbaaaa\ncbaa"}"#),
            ("s\x1b[1me\x1b[0mcret pl\x1b[1man", "b\x1b[1mb\x1b[0maaaa cb\x1b[1maa"),
            ("a\x1b[1mplan \x1b[1mplan\x1b[0ms", "a\x1b[1mcbaa \x1b[1mcbaa\x1b[0ms"),
            ("the sec\x1b]0;plan a\x07ret pl\r\nan", "the bba\x1b]0;cbaa a\x07aaa cb\r\naa"),
        ] {
            check(&words, shown, hidden);
        }
        let words = Words::of_these(&["Schlüssel", "漢字"], &[]);
        check(&words, "Schlüssel 漢字!", "bbaaéaaaa 一一!");
    }

    /// A program that does not ask for pastes in brackets shows these as text. The core takes them out of
    /// messages; what others type keeps them.
    #[test]
    fn the_brackets_of_a_paste_are_no_letters_of_a_message() {
        let mut words = Words::of_these(&["m1", "m1020", "hunt", "er"], &[]);
        for message in ["m1 0!", "m1020!", "hunt [201~ er"] {
            words.learn(message);
        }
        for (shown, hidden) in [
            ("^[[200~m1 0!^[[201~", "^[[200~bb 0!^[[201~"),
            ("│ m1 0! [\r\n│ 201~", "│ bb 0! [\r\n│ 201~"),
            ("m1020!^[[201~", "cbaaa!^[[201~"),
            ("hun\r\nt [201~ er", "dba\r\na [201~ eb"),
            ("hun\r\nt er", "dba\r\na eb"),
        ] {
            check(&words, shown, hidden);
        }
    }

    #[test]
    fn no_control_sequence_keeps_a_word_readable_or_is_altered() {
        let mut words = Words::of_these(&["tapioca", "8", "15", "1m"], &[]);
        words.learn("tapioca 8");
        for (shown, hidden) in [
            ("\x1b7tapioca\x1b8", "\x1b7bbaaaaa\x1b8"),
            ("\x1b(Btapioca", "\x1b(Bbbaaaaa"),
            ("\x1b(0x\x1b(Btapioca", "\x1b(0x\x1b(Bbbaaaaa"),
            ("\x1b(0tapioca", "\x1b(0bbaaaaa"),
            ("\x1bPtapioca\x1b\\", "\x1bPbbaaaaa\x1b\\"),
            ("\x1bPqtapioca\x1b\\8", "\x1bPqbbaaaaa\x1b\\1"),
            ("\x1b_tapioca\x1b\\\x1b^Gtapioca\x1b\\", "\x1b_bbaaaaa\x1b\\\x1b^Gbbaaaaa\x1b\\"),
            ("\x1b]0;tapioca 8\x07", "\x1b]0;bbaaaaa 1\x07"),
            ("\x1b]8;;x\x1b\\tapioca\x1b]8;;\x1b\\", "\x1b]8;;x\x1b\\bbaaaaa\x1b]8;;\x1b\\"),
            ("\x1b[8;15H\x1b[1mtapioca\x1b[8m", "\x1b[8;15H\x1b[1mbbaaaaa\x1b[8m"),
            ("\u{9b}1mtapioca\u{9b}8m", "\u{9b}1mbbaaaaa\u{9b}8m"),
            ("\x1b]0;no end\r\ntapioca", "\x1b]0;no end\r\nbbaaaaa"),
        ] {
            check(&words, shown, hidden);
        }
    }

    /// `hunt|erzwei` and `pass|word` as programs show them that redraw a part, or cut a text.
    #[test]
    fn what_is_left_of_a_word_at_a_cut_is_hidden() {
        let words = Words::of_these(&["password", "hunterzwei", "ant"], &["zwei", "Pass"]);
        for (shown, hidden) in [
            ("x\r\nword hunt\r\nerzwei", "x\r\naaaa cbaa\r\naaaaaa"),
            ("> passw... ", "> bbaaa... "),
            ("passw… x…word", "bbaaa… x…aaaa"),
            ("│ word hu │\r\n│ nterzwei │", "│ aaaa cb │\r\n│ aaaaaaaa │"),
            ("a\x1b[3;1Hword \x1b[4;1Hx", "a\x1b[3;1Haaaa \x1b[4;1Hx"),
            ("hun\nter\nzwe\ni", "cba\naaa\naaa\na"),
            ("pa\x1b[1mssw\x1b[K", "bb\x1b[1maaa\x1b[K"),
            // Of a sequence that a terminal reads otherwise.
            ("\x1b[password", "\x1b[pbaaaaaa"),
        ] {
            check(&words, shown, hidden);
        }
        for stays in [
            "zwei\r\nx",
            "x word x hunt x",
            "ord\r\npas\r\n",
            "sswo\r\n",
            "message Pass\r\nmessage",
            "pass.. x",
        ] {
            check(&words, stays, stays);
        }
    }

    /// It copied the rest with each chunk: an hour for these.
    #[test]
    fn chunks_are_taken_one_by_one() {
        let process = ProcessId(1);
        let mut screens = Screens(BTreeMap::from([(process, vec![7; 4 << 20].into_iter())]));
        for _ in 0..4 << 20 {
            assert_eq!(screens.next(process, 1), [7]);
        }
        assert!(screens.next(process, 1).is_empty());
    }
}
