//! Words: what each word of a message becomes, wherever it stands.
//!
//! Owns: which words are hidden, their filler, and finding messages on screens.
//! Must not know: where in JSON messages stand.
//!
//! 1. A word and its filler have the same length, character by character, in UTF-8 and as escapes.
//!    A single character says nothing by itself; what keys spell that were typed one by one is a word.
//! 2. A word that also stands outside of messages stays, and so do the words of a message's header: the
//!    core compares with them, whatever their case.

use super::json::{Letter, letters, text};
use super::places::{Part, Source, replace};
use relay_core::ids::ProcessId;
use relay_core::trace::Trace;
use relay_core::{CallReply, Input};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The words of a typed message's header that stand in no frame, and those of paste brackets, which the
/// core takes out of messages.
const OURS: [&str; 7] = ["Relay", "message", "from", "in", "thread", "200", "201"];

/// So many letters and digits tell messages apart well enough to look closer.
const BEGINNING: usize = 4;

/// Where requests go that type something; the name of an agent follows.
const TYPING: &str = "/api/input/";

/// Stands for a byte that is none of any character, and makes JSON unsound just as that does.
const NO_TEXT: &str = "\u{1a}";

/// Letters and digits of a message, and what they become.
type Legible = (Vec<char>, Vec<char>);

/// What each word of a message becomes.
#[derive(Debug, Default)]
pub(super) struct Words {
    filler: BTreeMap<String, String>,
    /// Letters and digits of each message, and what they become, by how they begin: a program may
    /// break a text into rows in the middle of a word.
    messages: BTreeMap<Vec<char>, Vec<Legible>>,
}

impl Words {
    pub(super) fn of(trace: &Trace<'_>) -> Self {
        let mut typed = BTreeMap::<_, String>::new();
        let (mut inside, mut outside, mut texts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut sort = |source: Source, json: &str| {
            replace(source, json, &mut |part| {
                let (part, into) = match part {
                    Part::Message(message) => {
                        texts.insert(message.to_owned());
                        (message, &mut inside)
                    }
                    Part::Other(other) => (other, &mut outside),
                };
                let text = text(part);
                into.extend(runs(&text).filter(|run| is_word(run)).map(str::to_owned));
                None
            });
        };
        sort(Source::Journal, &trace.boot.journal);
        for entry in &trace.entries {
            match entry.input() {
                Input::LinkText { text, .. } => sort(Source::Frame, text),
                Input::CallDone { result: Ok(CallReply { body, .. }), .. } => {
                    sort(Source::Answer, &readable(body));
                }
                Input::Api { target, body, .. } => {
                    let body = readable(body);
                    sort(Source::Request, &body);
                    if let Some(name) = target.strip_prefix(TYPING) {
                        replace(Source::Request, &body, &mut |part| {
                            if let Part::Message(keys) = part {
                                typed.entry(name.to_owned()).or_default().push_str(keys);
                            }
                            None
                        });
                    }
                }
                _ => {}
            }
        }
        typed.values().for_each(|keys| sort(Source::Payload, &format!("[\"{keys}\"]")));
        let is_ours = |word: &&String| OURS.iter().any(|ours| ours.eq_ignore_ascii_case(word));
        let hidden = inside.difference(&outside).filter(|word| !is_ours(word));
        let filler = hidden.zip(0..).map(|(word, number)| (word.clone(), filler(word, number))).collect();
        let mut all = Self { filler, messages: BTreeMap::new() };
        texts.iter().for_each(|text| all.learn(text));
        // The longest first: one message may begin like another.
        all.messages
            .values_mut()
            .for_each(|alike| alike.sort_by_key(|(old, _)| std::cmp::Reverse(old.len())));
        all
    }

    /// Learns a message as it is shown: as it is, or where the core shows the JSON around it, written anew
    /// or, if it cannot be read as text, as it came.
    fn learn(&mut self, inside: &str) {
        let legible = |text: &str| text.chars().filter(|char| char.is_alphanumeric()).collect::<Vec<_>>();
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (old, came) = (text(inside), self.message(inside));
        let new = self.told(&old);
        let forms = BTreeSet::from([
            (legible(&old), legible(&new)),
            (legible(&quoted(&old)), legible(&quoted(&new))),
            (legible(inside), legible(&came)),
        ]);
        for (old, new) in forms.into_iter().filter(|(old, new)| old.len() > BEGINNING && old != new) {
            self.messages.entry(old[..BEGINNING].into()).or_default().push((old, new));
        }
    }

    /// JSON with other words in its messages.
    pub(super) fn json(&self, source: Source, json: &str) -> String {
        replace(source, json, &mut |part| match part {
            Part::Message(message) => Some(self.message(message)),
            Part::Other(_) => None,
        })
    }

    /// The same for bytes, which may be no text.
    pub(super) fn bytes(&self, source: Source, bytes: &[u8]) -> Vec<u8> {
        let mut new = self.json(source, &readable(bytes)).into_bytes();
        let mut at = 0;
        for chunk in bytes.utf8_chunks() {
            at += chunk.valid().len();
            new[at..at + chunk.invalid().len()].copy_from_slice(chunk.invalid());
            at += chunk.invalid().len();
        }
        new
    }

    /// The inside of a JSON string with other words.
    fn message(&self, inside: &str) -> String {
        let all: Vec<Letter> = letters(inside).collect();
        let together =
            |one: &Letter, next: &Letter| one.char.is_alphanumeric() == next.char.is_alphanumeric();
        let mut out = String::with_capacity(inside.len());
        for run in all.chunk_by(together) {
            match self.filler.get(&run.iter().map(|letter| letter.char).collect::<String>()) {
                Some(filler) => {
                    run.iter().zip(filler.chars()).for_each(|(old, new)| out += &old.written(new))
                }
                None => run.iter().for_each(|letter| out += &inside[letter.place.clone()]),
            }
        }
        out
    }

    /// Words for people, with others in the place of those of messages.
    pub(super) fn told(&self, text: &str) -> String {
        runs(text).map(|run| self.filler.get(run).map_or(run, String::as_str)).collect()
    }

    /// All output of each terminal, as one.
    pub(super) fn screens(&self, trace: &Trace<'_>) -> BTreeMap<ProcessId, Vec<u8>> {
        let mut screens = BTreeMap::<_, Vec<u8>>::new();
        for entry in &trace.entries {
            if let Input::PtyOutput { process, bytes } = entry.input() {
                screens.entry(process).or_default().extend_from_slice(bytes);
            }
        }
        for screen in screens.values_mut() {
            self.screen(screen);
        }
        screens
    }

    fn screen(&self, bytes: &mut [u8]) {
        let shown = Shown::of(bytes);
        let mut at = 0;
        while at < shown.chars.len() {
            let rest = &shown.chars[at..];
            let alike = rest.get(..BEGINNING).and_then(|beginning| self.messages.get(beginning));
            let message = alike.and_then(|alike| alike.iter().find(|(old, _)| rest.starts_with(old)));
            let word = shown.word(at);
            let filler =
                || self.filler.get(&word.iter().collect::<String>()).map(|word| word.chars().collect());
            let new = message.map(|(_, new)| new.clone()).or_else(filler);
            match new {
                Some(new) => {
                    shown.put(bytes, at, &new);
                    at += new.len();
                }
                None => at += word.len(),
            }
        }
    }
}

/// The letters and digits that a terminal's output shows.
struct Shown {
    chars: Vec<char>,
    places: Vec<usize>,
}

impl Shown {
    fn of(bytes: &[u8]) -> Self {
        let (mut shown, mut from) = (Self { chars: Vec::new(), places: Vec::new() }, 0);
        for chunk in bytes.utf8_chunks() {
            let mut chars = chunk.valid().char_indices().peekable();
            while let Some((at, char)) = chars.next() {
                if char == '\u{1b}' && chars.next_if(|(_, next)| *next == '[').is_some() {
                    // Up to the letter that ends the sequence.
                    while chars.next().is_some_and(|(_, char)| !('@'..='~').contains(&char)) {}
                } else if char.is_alphanumeric() {
                    shown.chars.push(char);
                    shown.places.push(from + at);
                }
            }
            from += chunk.valid().len() + chunk.invalid().len();
        }
        shown
    }

    /// The rest of the word at a place: what stands together.
    fn word(&self, at: usize) -> &[char] {
        let together =
            |n: &usize| *n == at || self.places[*n] == self.places[*n - 1] + self.chars[*n - 1].len_utf8();
        let end = (at..self.chars.len()).take_while(together).last().map_or(at, |last| last + 1);
        &self.chars[at..end]
    }

    fn put(&self, bytes: &mut [u8], at: usize, new: &[char]) {
        for (char, place) in new.iter().zip(&self.places[at..]) {
            char.encode_utf8(&mut bytes[*place..]);
        }
    }
}

/// Bytes as a text of the same length.
fn readable(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes
            .utf8_chunks()
            .flat_map(|chunk| [chunk.valid().to_owned(), NO_TEXT.repeat(chunk.invalid().len())])
            .collect(),
    }
}

/// A text's words, and what stands between them.
fn runs(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let first = text.chars().next()?.is_alphanumeric();
        let end = text.find(|char: char| char.is_alphanumeric() != first).unwrap_or(text.len());
        let (run, rest) = text.split_at(end);
        text = rest;
        Some(run)
    })
}

/// Whether a run is one of letters and digits.
fn is_word(run: &str) -> bool {
    run.starts_with(char::is_alphanumeric)
}

/// Another word of this length; different for different numbers, as far as the length allows. What is
/// all digits may be a number, and becomes one.
fn filler(word: &str, number: usize) -> String {
    // Of a text that was typed key by key, letters that differ would tell it.
    let mut rest = if word.chars().nth(1).is_some() { number } else { 0 };
    let (first, many) = if word.bytes().all(|byte| byte.is_ascii_digit()) { (b'1', 9) } else { (b'a', 26) };
    word.chars()
        .map(|char| match char.len_utf8() {
            1 => {
                let letter = char::from(first + (rest % many) as u8);
                rest /= many;
                letter
            }
            2 => '\u{e9}',
            3 => '\u{4e00}',
            _ => '\u{20000}',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(hidden: &[&str]) -> Words {
        let filler = hidden.iter().zip(27..).map(|(word, n)| ((*word).into(), filler(word, n))).collect();
        Words { filler, messages: BTreeMap::new() }
    }

    #[test]
    fn words_are_replaced_in_messages_and_on_screens_alike() {
        let mut words = words(&["secret", "plan"]);
        words.learn(r"the secret\nplan");
        let json =
            words.json(Source::Request, r#"{"text":"the secret\nplan \u00e9 secret","from":"secret"}"#);
        assert_eq!(json, r#"{"text":"the bbaaaa\ncbaa \u00e9 bbaaaa","from":"secret"}"#);
        for (shown, hidden) in [
            ("\x1b[1;31msecret\x1b[0m plan", "\x1b[1;31mbbaaaa\x1b[0m cbaa"),
            ("| the sec\r\n| ret pl\r\n|an", "| the bba\r\n| aaa cb\r\n|aa"),
            (r#"{"output":"the secret\nplan"}"#, r#"{"output":"the bbaaaa\ncbaa"}"#),
        ] {
            let mut screen = [shown.as_bytes(), b"\xff"].concat();
            words.screen(&mut screen);
            assert_eq!(screen, [hidden.as_bytes(), b"\xff"].concat(), "{shown:?}");
        }
    }

    #[test]
    fn words_written_as_escapes_are_replaced_as_escapes() {
        let words = words(&["Schlüssel", "漢字", "4711"]);
        for (json, hidden) in [
            (r#"{"text":"Schl\u00fcssel \u6f22\u5B57!"}"#, r#"{"text":"bbaa\u00e9aaaa \u4e00\u4e00!"}"#),
            (r#"{"text":"\u0053chlüssel"}"#, r#"{"text":"\u0062baaéaaaa"}"#),
            (r#"{"text":4711,"note":"4711"}"#, r#"{"text":3411,"note":"3411"}"#),
        ] {
            assert_eq!(words.json(Source::Request, json), hidden);
        }
        let mut screen = "Schlüssel 漢字!".as_bytes().to_vec();
        words.screen(&mut screen);
        assert_eq!(String::from_utf8(screen).unwrap(), "bbaaéaaaa 一一!");
    }

    /// Half of a surrogate pair is no text: the core shows the JSON as it came.
    #[test]
    fn escapes_that_are_shown_are_replaced() {
        let mut words = words(&["Schlüssel", "secret"]);
        words.learn(r"Schl\u00fcssel\n\ud83d secret");
        let mut screen = br#"{"text":"Schl\u00fcssel\n\ud83d secret"}"#.to_vec();
        words.screen(&mut screen);
        assert_eq!(String::from_utf8(screen).unwrap(), r#"{"text":"bbaa\u00e9aaaa\n\ud83d cbaaaa"}"#);
    }

    #[test]
    fn what_is_no_text_keeps_its_bytes() {
        let words = words(&["secret"]);
        let bytes = words.bytes(Source::Request, b"{\"text\":\"a\xffsecret\xc3\"}");
        assert_eq!(bytes, b"{\"text\":\"a\xffbbaaaa\xc3\"}");
    }
}
