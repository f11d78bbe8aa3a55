//! Recognising messages in what a program has read.
//!
//! Owns: the form of the bodies that simulated senders write, and finding them again, whole or not.
//! Must not know: terminals, or what the broker puts around a body.
//!
//! 1. A body is a row of numbered marks with words between them; it counts as taken when all its
//!    marks and words were read in order and an end of line after the last.
//! 2. Marks and words survive every break of lines that the broker may make: only their own characters count.
//! 3. Within a paste an end of line is one of the text, for who knows pastes.

use std::fmt::Write as _;

/// A message of a simulated sender, unique in its world.
pub type Token = u64;

/// Words between two marks: with a mark some 40 bytes.
const WORDS: &str = " and so on and on it goes";
/// The letters of those.
const LETTERS: &[u8] = b"andsoonandonitgoes";

/// Begins and ends a paste, behind the escape.
const PASTE: [&[u8]; 2] = [b"[200~", b"[201~"];

/// A body of about `size` bytes; every `line` marks a new line begins.
pub fn body(token: Token, size: usize, line: usize) -> String {
    let mut text = String::with_capacity(size + 32);
    let mut part = 0;
    while text.len() + 40 < size {
        let _ = write!(text, "<m{token}.{part}>{WORDS}");
        part += 1;
        text.push(if part % line == 0 { '\n' } else { ' ' });
    }
    let _ = write!(text, "<m{token}.{part}!>");
    text
}

/// The message whose body this text is, or contains first.
pub fn token_of(text: &str) -> Option<Token> {
    let at = memchr::memmem::find(text.as_bytes(), b"<m")?;
    text[at + 2..].split_once('.')?.0.parse().ok()
}

/// Reads a stream of bytes.
#[derive(Debug, Default)]
pub struct Reader {
    mark: Option<String>,
    /// The body under way and its next part.
    body: Option<(Token, u64)>,
    /// So many letters of the words behind its latest mark were read.
    letters: usize,
    /// A complete body that is not submitted yet.
    complete: Option<Token>,
    /// What may become a bracket of a paste, behind the escape.
    bracket: Option<Vec<u8>>,
    /// A paste is under way.
    pasting: bool,
}

impl Reader {
    /// Takes bytes, with pastes or without; the messages that they complete.
    pub fn read(&mut self, bytes: &[u8], pastes: bool) -> Vec<Token> {
        self.pasting &= pastes;
        let mut taken = Vec::new();
        let mut rest = bytes.iter();
        while let Some(byte) = rest.next() {
            if self.is_of_bracket(*byte) {
                continue;
            }
            match byte {
                0x1b if pastes => self.bracket = Some(Vec::new()),
                b'<' => self.mark = Some(String::new()),
                b'>' => {
                    if let Some(mark) = self.mark.take() {
                        self.on_mark(&mark);
                    }
                }
                b'm' | b'.' | b'!' | b'0'..=b'9' => {
                    if let Some(mark) = &mut self.mark {
                        mark.push(char::from(*byte));
                    }
                }
                b'\r' | b'\n' if self.mark.is_none() && !self.pasting => taken.extend(self.complete.take()),
                b'a'..=b'z' if self.mark.is_none() && self.body.is_some() => self.on_letter(*byte),
                // Before a body nothing else counts.
                _ if self.mark.is_none() && self.complete.is_none() && self.body.is_none() => {
                    let next = rest.as_slice();
                    rest = next[memchr::memchr2(b'<', 0x1b, next).unwrap_or(next.len())..].iter();
                }
                _ => {}
            }
        }
        taken
    }

    /// Whether a byte belongs to what may become a bracket of a paste.
    fn is_of_bracket(&mut self, byte: u8) -> bool {
        let Some(bracket) = &mut self.bracket else {
            return false;
        };
        bracket.push(byte);
        let is_of_it = PASTE.iter().any(|whole| whole.starts_with(bracket));
        if let Some(which) = PASTE.iter().position(|whole| whole == bracket) {
            self.pasting = which == 0;
        }
        if !is_of_it || bracket.len() == PASTE[0].len() {
            self.bracket = None;
        }
        is_of_it
    }

    /// A letter between two marks. A wrong one makes the body another text.
    fn on_letter(&mut self, byte: u8) {
        if LETTERS.get(self.letters) == Some(&byte) {
            self.letters += 1;
        } else {
            self.body = None;
        }
    }

    fn on_mark(&mut self, mark: &str) {
        let Some((token, part)) = mark.strip_prefix('m').and_then(|rest| rest.split_once('.')) else {
            return;
        };
        let (part, last) = part.strip_suffix('!').map_or((part, false), |part| (part, true));
        let (Ok(token), Ok(part)) = (token.parse(), part.parse()) else {
            return;
        };
        let goes_on = self.body == Some((token, part)) && self.letters == LETTERS.len();
        let follows = part == 0 || goes_on;
        self.letters = 0;
        self.complete = (follows && last).then_some(token);
        self.body = (follows && !last).then_some((token, part + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_body_is_found_when_it_is_submitted_and_not_before() {
        for (size, pastes) in [(1, true), (100, false), (5_000, true)] {
            let mut reader = Reader::default();
            let text = body(17, size, 3);
            assert_eq!(token_of(&text), Some(17));
            assert!(reader.read(b"\x1b[200~Relay message ", pastes).is_empty());
            assert!(reader.read(format!("from a [9]: {text}").as_bytes(), pastes).is_empty());
            assert!(reader.read(b"\x1b[20", pastes).is_empty());
            assert!(reader.read(b"1~", pastes).is_empty());
            assert_eq!(reader.read(b"\r", pastes), [17]);
            assert!(reader.read(b"\r", pastes).is_empty());
        }
    }

    #[test]
    fn an_end_of_line_within_a_paste_submits_nothing() {
        let pasted = format!("\u{1b}[200~{}\r\u{1b}[201~", body(17, 100, 3));
        let mut reader = Reader::default();
        assert!(reader.read(pasted.as_bytes(), true).is_empty());
        assert_eq!(reader.read(b"\r", true), [17]);
        assert_eq!(Reader::default().read(pasted.as_bytes(), false), [17], "it knows no pastes");
    }

    #[test]
    fn a_body_with_a_missing_part_is_not_taken() {
        let text = body(17, 400, 3);
        for part in ["<m17.0>", "<m17.3>", "s"] {
            let torn = text.replacen(part, "", 1);
            assert!(Reader::default().read(format!("{torn}\n").as_bytes(), false).is_empty(), "{part}");
        }
    }

    #[test]
    fn breaks_inside_a_mark_or_a_word_do_not_hide_it() {
        let text = body(17, 100, 3).replacen("<m17.1", "<m1 \\\n… 7.1", 1).replacen("goes", "go \\\n… es", 1);
        assert_eq!(Reader::default().read(format!("{text}\r").as_bytes(), false), [17]);
    }
}
