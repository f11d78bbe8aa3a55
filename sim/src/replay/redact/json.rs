//! JSON by its places: where its values stand, and what the inside of a string says.
//!
//! Owns: finding values with the way to them, reading escapes, and writing a character as the one that
//! stood there was written. Must not know: what is a message.
//!
//! 1. No recursion: how deep a value lies does not matter.
//! 2. A character is written over one of the same length in UTF-8: neither the JSON text nor what it
//!    says changes its length.

use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::ops::Range;

/// Stands for an element of a list in the way to a value.
pub(super) const ELEMENT: &str = "[]";

/// Whether a text is JSON, as deep as it may be.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Every string and number of a sound JSON text in its order: the keys that lead to it, and its place;
/// of a string, its inside.
pub(super) fn leaves<'j>(json: &'j str, mut each: impl FnMut(&[Cow<'j, str>], Range<usize>)) {
    let bytes = json.as_bytes();
    let (mut way, mut objects, mut key_next, mut at) = (Vec::new(), Vec::new(), false, 0);
    while let Some(byte) = bytes.get(at) {
        let mut next = at + 1;
        match byte {
            b'{' | b'[' => {
                way.push(Cow::Borrowed(ELEMENT));
                objects.push(*byte == b'{');
                key_next = *byte == b'{';
            }
            b'}' | b']' => {
                way.pop();
                objects.pop();
            }
            b',' => key_next = objects.last() == Some(&true),
            b'"' => {
                let inside = next..closing(bytes, next);
                next = inside.end + 1;
                match way.last_mut().filter(|_| key_next) {
                    Some(key) => *key = text(&json[inside]),
                    None => each(&way, inside),
                }
                key_next = false;
            }
            b'-' | b'0'..=b'9' => {
                let is_number = |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                next = at + bytes[at..].iter().take_while(is_number).count();
                each(&way, at..next);
            }
            _ => {}
        }
        at = next;
    }
}

/// Where the string ends whose inside begins here.
fn closing(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(byte) = bytes.get(at).filter(|byte| **byte != b'"') {
        at += 1 + usize::from(*byte == b'\\');
    }
    at.min(bytes.len())
}

/// What the inside of a string says.
pub(super) fn text(inside: &str) -> Cow<'_, str> {
    if inside.contains('\\') {
        return letters(inside).map(|letter| letter.char).collect::<String>().into();
    }
    inside.into()
}

/// One character of a string, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) char: char,
    pub(super) place: Range<usize>,
    escaped: bool,
}

impl Letter {
    /// Another character of the same length in UTF-8, written in the same way.
    pub(super) fn written(&self, char: char) -> String {
        if !self.escaped {
            return char.into();
        }
        char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    }
}

/// The characters of a string's inside. Half of a surrogate pair is the character that stands for what
/// is none.
pub(super) fn letters(inside: &str) -> impl Iterator<Item = Letter> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &inside[at..];
        let (char, length) = escape(rest).or_else(|| rest.chars().next().map(|c| (c, c.len_utf8())))?;
        let escaped = length > char.len_utf8();
        at += length;
        Some(Letter { char, place: at - length..at, escaped })
    })
}

/// The character of the escape that a text begins with, and how long the escape is.
fn escape(text: &str) -> Option<(char, usize)> {
    let char = match text.strip_prefix('\\')?.chars().next()? {
        'u' => return unit(text).map(|first| surrogates(first, text)),
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        other @ ('"' | '\\' | '/') => other,
        _ => return None,
    };
    Some((char, 2))
}

fn surrogates(first: u16, text: &str) -> (char, usize) {
    if let Some(char) = char::from_u32(first.into()) {
        return (char, 6);
    }
    let second = text.get(6..).and_then(unit);
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    pair.map_or((char::REPLACEMENT_CHARACTER, 6), |char| (char, 12))
}

/// The number of a `\uXXXX`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let are_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    are_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_and_number_has_its_way() {
        let mut found = Vec::new();
        let json = r#"{"a":"x \"y\" \\","b":[1,{"\u0063":"z"},"w",[]],"d":{},"e":-2.5e3,"f":true,"g":""} "#;
        assert!(is_json(json));
        leaves(json, |way, place| found.push(format!("{}={}", way.join("."), &json[place])));
        let wanted = [r#"a=x \"y\" \\"#, "b.[]=1", "b.[].c=z", "b.[]=w", "e=-2.5e3", "g="];
        assert_eq!(found, wanted);
        let mut alone = Vec::new();
        leaves(r#""x""#, |way, place| alone.push((way.len(), place)));
        assert_eq!(alone, [(0, 1..2)]);
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = format!("{}\"x\"{}", "[".repeat(100_000), "]".repeat(100_000));
        let mut found = Vec::new();
        leaves(&deep, |way, place| found.push((way.len(), deep[place].to_owned())));
        assert!(is_json(&deep));
        assert_eq!(found, [(100_000, "x".to_owned())]);
    }

    #[test]
    fn characters_are_written_as_they_stood() {
        let inside = r#"a\n\"\u0041\u00e9é\u4e00\ud840\udc00\ud83dz\"#;
        let found: Vec<_> = letters(inside).collect();
        let said: String = found.iter().map(|letter| letter.char).collect();
        assert_eq!(said, "a\n\"A\u{e9}é\u{4e00}\u{20000}\u{fffd}z\\");
        assert_eq!(text(inside), said);
        let written: String = found.iter().map(|letter| &inside[letter.place.clone()]).collect();
        assert_eq!(written, inside);
        for (at, char, text) in [
            (0, 'x', "x"),
            (3, 'x', r"\u0078"),
            (4, '\u{e9}', r"\u00e9"),
            (5, '\u{e9}', "é"),
            (6, '\u{4e00}', r"\u4e00"),
            (7, '\u{20000}', r"\ud840\udc00"),
        ] {
            assert_eq!(found[at].written(char), text);
            assert_eq!(text.len(), found[at].place.len());
        }
    }
}
