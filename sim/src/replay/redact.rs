//! Redacting: a trace without what people and agents said to each other.
//!
//! Owns: where messages stand in inputs, and what stands in for their words.
//! Must not know: files, or what a broker makes of a message.
//!
//! 1. A word becomes another of the same length, the same wherever it stands, so that a message is
//!    still recognised on the screen of its agent and the broker does what it did.
//! 2. Words that also stand outside of messages (names, ids, keys) stay: they would show anyway, and
//!    the header of a typed message consists of them. So do escapes and everything that is no letter
//!    or digit.

use super::bless::rewrite;
use relay_core::ids::ProcessId;
use relay_core::trace::{Entry, Mask, Print, ReadError, Recorder, Trace, last_line};
use relay_core::{CallReply, Input};
use std::collections::{BTreeMap, BTreeSet};

/// Keys whose texts are messages: in frames, in answers, in requests, in dead letters.
const BODIES: [&str; 7] = ["text", "body", "content", "message", "task", "data", "input"];
/// The words of a typed message's header that stand in no frame.
const HEADER: [&str; 5] = ["Relay", "message", "from", "in", "thread"];

/// So many letters and digits tell messages apart well enough to look closer.
const BEGINNING: usize = 4;

/// A trace without messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The trace; it replays.
    pub text: String,
    /// The line of the first input that is left out, because with other words it would make the broker
    /// want more or fewer things.
    pub ends_before: Option<usize>,
}

/// Takes the messages out of a trace.
///
/// # Errors
/// The trace holds a line that cannot be written again.
pub fn redact(trace: &Trace<'_>) -> Result<Redacted, ReadError> {
    let words = Words::of(trace);
    let mut boot = trace.boot.clone();
    boot.journal = words.json(&boot.journal);
    let mut recorder = Recorder::new(&trace.config, &boot, &trace.driver, Mask::off(), trace.detail);
    let mut screens = words.screens(trace);
    for entry in &trace.entries {
        let owned;
        let input = match entry.input() {
            Input::LinkText { link, text } => {
                owned = words.json(text);
                Input::LinkText { link, text: &owned }
            }
            Input::CallDone { call, result: Ok(CallReply { status, body }) } => {
                owned = words.json(&String::from_utf8_lossy(body));
                Input::CallDone { call, result: Ok(CallReply { status, body: owned.as_bytes() }) }
            }
            Input::Api { request, auth, method, target, upgrade, body } => {
                owned = words.json(&String::from_utf8_lossy(body));
                Input::Api { request, auth, method, target, upgrade, body: owned.as_bytes() }
            }
            Input::PtyOutput { process, bytes } => {
                let Some(screen) = screens.get_mut(&process) else { continue };
                let rest = screen.split_off(bytes.len());
                let chunk = std::mem::replace(screen, rest);
                recorder.input(entry.now, &Input::PtyOutput { process, bytes: &chunk });
                continue;
            }
            other => {
                recorder.input(entry.now, &other);
                continue;
            }
        };
        recorder.input(entry.now, &input);
    }
    recorder.end(&trace.end);
    let lines = recorder.take();
    let text = rewrite(&Trace::read(&lines)?, trace.is_whole()).text;
    let Some(same) = parting(trace, &Trace::read(&text)?) else {
        return Ok(Redacted { text, ends_before: None });
    };
    let kept: String = lines.split_inclusive('\n').take(1 + same).collect();
    let short = kept + &last_line(same as u64, "redacted: behind this the broker would do something else");
    let ends_before = trace.entries.get(same).map(|entry| entry.line);
    Ok(Redacted { text: rewrite(&Trace::read(&short)?, true).text, ends_before })
}

/// How many inputs lead to as many commands in both; `None` when all do.
fn parting(old: &Trace<'_>, new: &Trace<'_>) -> Option<usize> {
    let count = |caused: &Option<Vec<Print>>| caused.as_ref().map(Vec::len);
    let different = |(old, new): (&Entry<'_>, &Entry<'_>)| count(&old.caused) != count(&new.caused);
    let shorter = (new.entries.len() < old.entries.len()).then_some(new.entries.len());
    old.entries.iter().zip(&new.entries).position(different).or(shorter)
}

/// Letters and digits of a message, and what they become.
type Legible = (Vec<char>, Vec<char>);

/// What each word of a message becomes.
#[derive(Debug, Default)]
struct Words {
    filler: BTreeMap<String, String>,
    /// Letters and digits of each message, and what they become, by how they begin: a program may
    /// break a text into rows in the middle of a word.
    messages: BTreeMap<Vec<char>, Vec<Legible>>,
}

impl Words {
    fn of(trace: &Trace<'_>) -> Self {
        let (mut inside, mut outside, mut texts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        outside.extend(HEADER.map(str::to_owned));
        let mut sort = |json: &str| {
            let mut at = 0;
            for body in bodies(json) {
                outside.extend(words(&json[at..body.start]).map(|(_, word)| word.to_owned()));
                let text = &json[body.start..body.end];
                inside.extend(words_of_body(text).map(|(_, word)| word.to_owned()));
                texts.insert(text.to_owned());
                at = body.end;
            }
            outside.extend(words(&json[at..]).map(|(_, word)| word.to_owned()));
        };
        sort(&trace.boot.journal);
        for entry in &trace.entries {
            match entry.input() {
                Input::LinkText { text, .. } => sort(text),
                Input::CallDone { result: Ok(CallReply { body, .. }), .. } | Input::Api { body, .. } => {
                    sort(&String::from_utf8_lossy(body));
                }
                _ => {}
            }
        }
        let hidden = inside.difference(&outside);
        let filler = hidden.zip(0..).map(|(word, number)| (word.clone(), filler(word, number))).collect();
        let mut all = Self { filler, messages: BTreeMap::new() };
        for text in &texts {
            all.learn(text);
        }
        all
    }

    fn learn(&mut self, text: &str) {
        let legible = |replace: bool| -> Vec<char> {
            let filler = |word| self.filler.get(word).filter(|_| replace).map_or(word, String::as_str);
            words_of_body(text).flat_map(|(_, word)| filler(word).chars()).collect()
        };
        let (old, new) = (legible(false), legible(true));
        if old.len() > BEGINNING && old != new {
            let alike = self.messages.entry(old[..BEGINNING].into()).or_default();
            alike.push((old, new));
            // The longest first: one message may begin like another.
            alike.sort_by_key(|(old, _)| std::cmp::Reverse(old.len()));
        }
    }

    /// JSON with other words in its messages.
    fn json(&self, json: &str) -> String {
        let mut out = json.to_owned();
        for body in bodies(json) {
            for (at, word) in words_of_body(&json[body.start..body.end]) {
                if let Some(filler) = self.filler.get(word) {
                    let at = body.start + at;
                    out.replace_range(at..at + word.len(), filler);
                }
            }
        }
        out
    }

    /// All output of each terminal, as one.
    fn screens(&self, trace: &Trace<'_>) -> BTreeMap<ProcessId, Vec<u8>> {
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

/// Runs of letters and digits, with their places.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(|char: char| !char.is_alphanumeric()).filter_map(move |word| {
        // A word ends before the one character that split it off.
        let start = at + text[at..].find(word)?;
        at = start + word.len();
        (!word.is_empty()).then_some((start, word))
    })
}

/// The words of a JSON string's inside: escapes are none.
fn words_of_body(body: &str) -> impl Iterator<Item = (usize, &str)> {
    words(body).filter_map(move |(at, word)| {
        let escaped = body.as_bytes()[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        let skipped = match (escaped, word.as_bytes()[0]) {
            (false, _) => 0,
            (true, b'u') => word.len().min(5),
            (true, _) => 1,
        };
        let rest = word.get(skipped..)?;
        (!rest.is_empty()).then_some((at + skipped, rest))
    })
}

/// Another word of this length; different for different numbers, as far as the length allows.
fn filler(word: &str, number: usize) -> String {
    let mut rest = number;
    word.chars()
        .map(|char| match char.len_utf8() {
            1 => {
                let letter = char::from(b'a' + (rest % 26) as u8);
                rest /= 26;
                letter
            }
            2 => '\u{e9}',
            3 => '\u{4e00}',
            _ => '\u{20000}',
        })
        .collect()
}

/// A JSON string's inside, by its place in the text around it.
struct Body {
    start: usize,
    end: usize,
}

/// The messages in a JSON text, also in JSON that is a string in it.
fn bodies(json: &str) -> Vec<Body> {
    let mut bodies = Vec::new();
    find_bodies(json, 0, json.len(), &mut bodies);
    bodies
}

fn find_bodies(json: &str, from: usize, to: usize, bodies: &mut Vec<Body>) {
    let mut at = from;
    while let Some(quote) = json[at..to].find('"').map(|found| at + found) {
        let depth = backslashes(&json[..quote]);
        let Some(end) = closing(&json[..to], quote + 1, depth) else { return };
        at = end + depth + 1;
        let Some(value) = json[at..to].trim_start().strip_prefix(':') else {
            // No key: it may hold JSON.
            find_bodies(json, quote + 1, end, bodies);
            continue;
        };
        let value = value.trim_start();
        let opening = value.trim_start_matches('\\');
        let is_text = opening.starts_with('"') && value.len() - opening.len() == depth;
        if is_text && BODIES.contains(&&json[quote + 1..end]) {
            let start = to - opening.len() + 1;
            let Some(end) = closing(&json[..to], start, depth) else { return };
            bodies.push(Body { start, end });
            at = end + depth + 1;
        }
    }
}

/// Where the string that began at `start` ends: before the backslashes of its closing quote.
fn closing(json: &str, start: usize, depth: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let quote = at + json[at..].find('"')?;
        let before = backslashes(&json[start..quote]);
        if before % (2 * (depth + 1)) == depth {
            return Some(quote - depth);
        }
        at = quote + 1;
    }
}

fn backslashes(text: &str) -> usize {
    text.len() - text.trim_end_matches('\\').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Vec<&str> {
        bodies(json).into_iter().map(|body| &json[body.start..body.end]).collect()
    }

    #[test]
    fn messages_are_found_at_every_depth() {
        assert_eq!(found(r#"{"text":"a \"b\" \\","id":"x","data":{"body": "c"}}"#), [r#"a \"b\" \\"#, "c"]);
        let inner = r#"{"text":"say \"hi\"","n":1}"#;
        let outer = serde_json::json!({ "payload": inner, "reason": "text" }).to_string();
        assert_eq!(found(&outer), [r#"say \\\"hi\\\""#]);
        assert_eq!(found(r#"{"text":"open"#), [""; 0]);
        assert_eq!(found(r#"{"text":7,"message":null}"#), [""; 0]);
    }

    #[test]
    fn words_are_replaced_in_messages_and_on_screens_alike() {
        let filler =
            ["secret", "plan"].into_iter().zip(27..).map(|(w, n)| (w.into(), filler(w, n))).collect();
        let mut words = Words { filler, messages: BTreeMap::new() };
        words.learn("the secret\\nplan");
        let json = words.json(r#"{"text":"the secret\nplan \u00e9secret","from":"secret"}"#);
        assert_eq!(json, r#"{"text":"the bbaaaa\ncbaa \u00e9bbaaaa","from":"secret"}"#);
        for (shown, hidden) in [
            ("\x1b[1;31msecret\x1b[0m plan", "\x1b[1;31mbbaaaa\x1b[0m cbaa"),
            ("| the sec\r\n| ret pl\r\n|an", "| the bba\r\n| aaa cb\r\n|aa"),
        ] {
            let mut screen = [shown.as_bytes(), b"\xff"].concat();
            words.screen(&mut screen);
            assert_eq!(screen, [hidden.as_bytes(), b"\xff"].concat(), "{shown:?}");
        }
    }
}
