//! Words: what each word of a message becomes, wherever it stands.
//!
//! Owns: which words are hidden, and their filler. Must not know: where in JSON messages stand, or where
//! on a screen.
//!
//! 1. A word and its filler have the same length, character by character, in UTF-8 and as escapes.
//!    A single character says nothing by itself; what keys spell that were typed one by one is a word.
//! 2. A word that also stands outside of messages stays, and so do the words of a message's header: the
//!    core compares with them, whatever their case. That holds for parts of words as well.
//! 3. The beginning or the end of a hidden word becomes that part of its filler if it has as many letters
//!    as tell it from chance: [`PART`].

use super::json::{Letter, letters, text};
use super::numbers;
use super::places::{Part, Source, replace};
use relay_core::trace::Trace;
use relay_core::{CallReply, Input};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Included, Unbounded};

/// The words of a typed message's header that stand in no frame, and those of paste brackets, which the
/// core takes out of messages.
const OURS: [&str; 7] = ["Relay", "message", "from", "in", "thread", "200", "201"];

/// The brackets of a paste behind their first sign.
const BRACKETS: [&str; 2] = ["200~", "201~"];

/// So many letters and digits tell messages apart well enough to look closer.
const BEGINNING: usize = 4;

/// So many letters and digits of a hidden word are no accident; fewer are at an end of many other words.
pub(super) const PART: usize = 4;

/// Bits of the hash by which parts are looked up first: a table of 1 MiB, however long messages are.
const HASH: u32 = 20;

/// Where requests go that type something; the name of an agent follows.
const TYPING: &str = "/api/input/";

/// Stands for a byte that is none of any character, and makes JSON unsound just as that does.
const NO_TEXT: &str = "\u{1a}";

/// Letters and digits of a message, and what they become.
type Legible = (Vec<char>, Vec<char>);

/// What each word of a message becomes.
#[derive(Debug)]
pub(super) struct Words {
    filler: BTreeMap<String, String>,
    /// Hidden words that have parts, by their letters from the last to the first.
    reversed: BTreeMap<String, String>,
    /// Which runs of [`PART`] letters stand in hidden words, by their hash.
    runs: Vec<bool>,
    /// What numbers become that are no words.
    numbers: BTreeMap<String, String>,
    /// Words that stay.
    kept: BTreeSet<String>,
    /// Letters and digits of each message, and what they become, by how they begin: a program may
    /// break a text into rows in the middle of a word.
    messages: BTreeMap<Vec<char>, Vec<Legible>>,
}

impl Words {
    pub(super) fn of(trace: &Trace<'_>) -> Self {
        let mut typed = BTreeMap::<_, String>::new();
        let (mut inside, mut outside, mut texts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut found = BTreeSet::new();
        let mut sort = |source: Source, json: &str| {
            replace(source, json, &mut |part| {
                let (part, into) = match part {
                    Part::Message(message) => {
                        texts.insert(message.to_owned());
                        (message, &mut inside)
                    }
                    Part::Number(number) => {
                        found.insert(number.to_owned());
                        return None;
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
        let hidden = inside.difference(&outside).filter(|word| !is_ours(word));
        let filler = hidden.zip(0..).map(|(word, number)| (word.clone(), filler(word, number))).collect();
        let mut all = Self::hiding(filler, outside);
        texts.iter().for_each(|text| all.learn(text));
        found.iter().zip(0..).for_each(|(number, seed)| all.learn_number(number, seed));
        // The longest first: one message may begin like another.
        all.messages
            .values_mut()
            .for_each(|alike| alike.sort_by_key(|(old, _)| std::cmp::Reverse(old.len())));
        all
    }

    fn hiding(filler: BTreeMap<String, String>, kept: BTreeSet<String>) -> Self {
        let (mut reversed, mut runs) = (BTreeMap::new(), vec![false; 1 << HASH]);
        for word in filler.keys() {
            let letters: Vec<char> = word.chars().collect();
            if letters.len() > PART {
                reversed.insert(letters.iter().rev().collect(), word.clone());
            }
            letters.windows(PART).for_each(|run| runs[hash(run)] = true);
        }
        Self { filler, reversed, runs, numbers: BTreeMap::new(), kept, messages: BTreeMap::new() }
    }

    /// What becomes of the message that letters and digits begin with.
    pub(super) fn message_in(&self, shown: &[char]) -> Option<&[char]> {
        let alike = self.messages.get(shown.get(..BEGINNING)?)?;
        alike.iter().find(|(old, _)| shown.starts_with(old)).map(|(_, new)| &**new)
    }

    /// Whether a hidden word of at least [`PART`] letters, or such a part of one, may begin like this.
    pub(super) fn may_begin(&self, shown: &[char]) -> bool {
        shown.get(..PART).is_some_and(|run| self.runs[hash(run)])
    }

    /// What a hidden word becomes.
    pub(super) fn word(&self, word: &str) -> Option<&str> {
        self.filler.get(word).map(String::as_str)
    }

    /// What the beginning of a hidden word becomes (invariant 3).
    pub(super) fn beginning(&self, part: &str) -> Option<String> {
        let count = self.part(part)?;
        let (word, filler) = self.filler.range::<str, _>((Included(part), Unbounded)).next()?;
        word.starts_with(part).then(|| filler.chars().take(count).collect())
    }

    /// What the end of a hidden word becomes (invariant 3).
    pub(super) fn end(&self, part: &str) -> Option<String> {
        let count = self.part(part)?;
        let part: String = part.chars().rev().collect();
        let (letters, word) = self.reversed.range(part.clone()..).next()?;
        let filler = self.filler.get(word).filter(|_| letters.starts_with(&part))?;
        Some(filler.chars().skip(filler.chars().count() - count).collect())
    }

    /// How many letters a part has that does not stay.
    fn part(&self, part: &str) -> Option<usize> {
        let count = part.chars().count();
        (count >= PART && !self.kept.contains(part) && !is_ours(part)).then_some(count)
    }

    /// Learns a message as it is shown: as it is, or where the core shows the JSON around it, written anew
    /// or, if it cannot be read as text, as it came.
    pub(super) fn learn(&mut self, inside: &str) {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (old, came) = (text(inside), self.message(inside));
        let new = self.told(&old);
        let forms = BTreeSet::from([
            (legible(&old), legible(&new)),
            (legible(&quoted(&old)), legible(&quoted(&new))),
            (legible(inside), legible(&came)),
        ]);
        self.know(forms);
    }

    /// Learns a number, as it stands and as it is written anew.
    fn learn_number(&mut self, number: &str, seed: u64) {
        if runs(number).filter(|run| is_word(run)).all(|run| self.kept.contains(run)) {
            return;
        }
        let Some(new) = numbers::filler(number, seed) else { return };
        let written = |number: &str| legible(&numbers::written(number).unwrap_or_default());
        let forms = [(legible(number), legible(&new)), (written(number), written(&new))];
        self.know(BTreeSet::from(forms));
        self.numbers.insert(number.to_owned(), new);
    }

    fn know(&mut self, forms: BTreeSet<Legible>) {
        for (old, new) in forms.into_iter().filter(|(old, new)| old.len() > BEGINNING && old != new) {
            self.messages.entry(old[..BEGINNING].into()).or_default().push((old, new));
        }
    }

    /// JSON with other words in its messages.
    pub(super) fn json(&self, source: Source, json: &str) -> String {
        replace(source, json, &mut |part| match part {
            Part::Message(message) => Some(self.message(message)),
            Part::Number(number) => self.numbers.get(number).cloned(),
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

fn hash(run: &[char]) -> usize {
    let mixed = run.iter().fold(0_u32, |sum, char| (sum ^ u32::from(*char)).wrapping_mul(0x9e37_79b1));
    (mixed >> (u32::BITS - HASH)) as usize
}

/// The letters and digits of a text, without those of the brackets of pastes: `shown.rs` takes them away,
/// too. Filler makes and breaks none, because their digits stay.
fn legible(text: &str) -> Vec<char> {
    let mut parts = text.split('[');
    let first = parts.next();
    let behind = |part| BRACKETS.iter().find_map(|bracket| str::strip_prefix(part, bracket)).unwrap_or(part);
    let parts = first.into_iter().chain(parts.map(behind));
    parts.flat_map(str::chars).filter(|char| char.is_alphanumeric()).collect()
}

/// Whether the core writes this word itself.
fn is_ours(word: &str) -> bool {
    OURS.iter().any(|ours| ours.eq_ignore_ascii_case(word))
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

    impl Words {
        pub(in super::super) fn of_these(hidden: &[&str], kept: &[&str]) -> Self {
            let filler = hidden.iter().zip(27..).map(|(word, n)| ((*word).into(), filler(word, n))).collect();
            Self::hiding(filler, kept.iter().map(|word| (*word).into()).collect())
        }
    }

    #[test]
    fn words_are_replaced_in_messages() {
        let words = Words::of_these(&["secret", "plan"], &[]);
        let json =
            words.json(Source::Request, r#"{"text":"the secret\nplan \u00e9 secret","from":"secret"}"#);
        assert_eq!(json, r#"{"text":"the bbaaaa\ncbaa \u00e9 bbaaaa","from":"secret"}"#);
    }

    #[test]
    fn words_written_as_escapes_are_replaced_as_escapes() {
        let words = Words::of_these(&["Schlüssel", "漢字", "4711"], &[]);
        for (json, hidden) in [
            (r#"{"text":"Schl\u00fcssel \u6f22\u5B57!"}"#, r#"{"text":"bbaa\u00e9aaaa \u4e00\u4e00!"}"#),
            (r#"{"text":"\u0053chlüssel"}"#, r#"{"text":"\u0062baaéaaaa"}"#),
            (r#"{"text":4711,"note":"4711"}"#, r#"{"text":3411,"note":"3411"}"#),
        ] {
            assert_eq!(words.json(Source::Request, json), hidden);
        }
    }

    /// Half of a surrogate pair is no text: the core shows the JSON as it came.
    #[test]
    fn escapes_that_are_shown_are_replaced() {
        let mut words = Words::of_these(&["Schlüssel", "secret"], &[]);
        words.learn(r"Schl\u00fcssel\n\ud83d secret");
        let shown: Vec<char> = r"Schlu00fcsselnud83dsecret".chars().collect();
        let hidden = words.message_in(&shown).map(|new| new.iter().collect::<String>());
        assert_eq!(hidden.as_deref(), Some("bbaau00e9aaaanud83dcbaaaa"));
    }

    #[test]
    fn parts_of_words_become_the_same_parts_of_their_filler() {
        let words = Words::of_these(&["Grünspecht", "zwölf"], &["rünspecht"]);
        for (part, beginning, end) in [
            ("Grün", Some("bbéa"), None),
            ("Grünspech", Some("bbéaaaaaa"), None),
            ("specht", None, Some("aaaaaa")),
            ("wölf", None, Some("béaa")),
            ("Grü", None, None),
            ("cht", None, None),
            ("nspech", None, None),
            ("rünspecht", None, None),
            ("Zwölf", None, None),
        ] {
            assert_eq!(words.beginning(part).as_deref(), beginning, "{part}");
            assert_eq!(words.end(part).as_deref(), end, "{part}");
        }
    }

    /// A reader makes another text of them, which is what the core shows.
    #[test]
    fn numbers_that_are_written_otherwise_are_replaced_in_both_forms() {
        let mut words = Words::of_these(&[], &["4", "5e9"]);
        for (number, shown) in [
            ("12345678901234567890123", "1.2345678901234568e+22"),
            ("1.2345678901234567", "1.2345678901234567"),
        ] {
            words.learn_number(number, 3);
            let json = words.json(Source::Payload, &format!(r#"{{"data":{{"x":{number}}}}}"#));
            let new = &json[13..json.len() - 2];
            assert!(new.len() == number.len() && new != number, "{json}");
            for (old, new) in [(number, new), (shown, &*numbers::written(new).unwrap())] {
                assert_eq!(words.message_in(&legible(old)), Some(&*legible(new)));
            }
        }
        words.learn_number("4.5e9", 3);
        assert!(!words.numbers.contains_key("4.5e9"));
    }

    #[test]
    fn what_is_no_text_keeps_its_bytes() {
        let words = Words::of_these(&["secret"], &[]);
        let bytes = words.bytes(Source::Request, b"{\"text\":\"a\xffsecret\xc3\"}");
        assert_eq!(bytes, b"{\"text\":\"a\xffbbaaaa\xc3\"}");
    }
}
