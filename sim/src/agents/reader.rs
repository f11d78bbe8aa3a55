//! Recognising messages in what a program has read.
//!
//! Owns: the form of the bodies that simulated senders write, and finding them again, whole or not.
//! Must not know: terminals, or what the broker puts around a body.
//!
//! 1. A body is a row of numbered marks with words between them; it counts as taken when all its
//!    marks were read in order and an end of line after the last.
//! 2. Marks survive every break of lines that the broker may make: only their own characters count.

use std::fmt::Write as _;

/// A message of a simulated sender, unique in its world.
pub type Token = u64;

/// Words between two marks: with a mark some 40 bytes.
const WORDS: &str = " and so on and on it goes";

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
    let (_, rest) = text.split_once("<m")?;
    rest.split_once('.')?.0.parse().ok()
}

/// Reads a stream of bytes.
#[derive(Debug, Default)]
pub struct Reader {
    mark: Option<String>,
    /// The body under way and its next part.
    body: Option<(Token, u64)>,
    /// A complete body that is not submitted yet.
    complete: Option<Token>,
}

impl Reader {
    /// Takes bytes; the messages that they complete.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Token> {
        let mut taken = Vec::new();
        let mut rest = bytes.iter();
        while let Some(byte) = rest.next() {
            match byte {
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
                b'\r' | b'\n' if self.mark.is_none() => taken.extend(self.complete.take()),
                // Before a mark nothing else counts.
                _ if self.mark.is_none() && self.complete.is_none() => {
                    let next = rest.as_slice();
                    rest = next[memchr::memchr(b'<', next).unwrap_or(next.len())..].iter();
                }
                _ => {}
            }
        }
        taken
    }

    fn on_mark(&mut self, mark: &str) {
        let Some((token, part)) = mark.strip_prefix('m').and_then(|rest| rest.split_once('.')) else {
            return;
        };
        let (part, last) = part.strip_suffix('!').map_or((part, false), |part| (part, true));
        let (Ok(token), Ok(part)) = (token.parse(), part.parse()) else {
            return;
        };
        let follows = part == 0 || self.body == Some((token, part));
        self.complete = (follows && last).then_some(token);
        self.body = (follows && !last).then_some((token, part + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_body_is_found_when_it_is_submitted_and_not_before() {
        for size in [1, 100, 5_000] {
            let mut reader = Reader::default();
            let text = body(17, size, 3);
            assert_eq!(token_of(&text), Some(17));
            assert!(reader.read(format!("Relay message from a [9]: {text}").as_bytes()).is_empty());
            assert!(reader.read(b"\x1b[201~").is_empty());
            assert_eq!(reader.read(b"\r"), [17]);
            assert!(reader.read(b"\r").is_empty());
        }
    }

    #[test]
    fn a_body_with_a_missing_part_is_not_taken() {
        let text = body(17, 400, 3);
        for part in [0, 3] {
            let torn = text.replacen(&format!("<m17.{part}>"), "", 1);
            assert!(Reader::default().read(format!("{torn}\n").as_bytes()).is_empty());
        }
    }

    #[test]
    fn breaks_inside_a_mark_do_not_hide_it() {
        let text = body(17, 100, 3).replacen("<m17.1", "<m1 \\\n… 7.1", 1);
        assert_eq!(Reader::default().read(format!("{text}\r").as_bytes()), [17]);
    }
}
