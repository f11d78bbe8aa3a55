//! Places: where in what the broker is told people and agents speak.
//!
//! Owns: which values are messages, by who wrote the JSON and by the keys that lead to a value.
//! Must not know: what becomes of a message.
//!
//! 1. What a stranger may fill is a message but for the values that the core decides by, or shows in the
//!    header of a message: who, to whom, where, which. So whatever the core would type is one.
//! 2. What the engine says of itself (answers, refusals) is none but for what it repeats of a message.
//! 3. What is no JSON is a message as a whole.
//! 4. Keys are none: the core looks for them, and the order of keys decides how JSON is shown.

use super::json::{ELEMENT, is_json, leaves, text};
use relay_core::edge::MESSAGE_HEADER;
use std::borrow::Cow;
use std::ops::Range;

/// So many digits of a whole number, and so many characters of one with a fraction, are read exactly.
const WHOLE: usize = 18;
const FRACTION: usize = 16;

/// Who wrote a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The engine: a frame.
    Frame,
    /// The engine: the answer to a call.
    Answer,
    /// A client of the local API.
    Request,
    /// The broker: a line of its journal.
    Journal,
    /// Somebody who sent a message: the payload of a row.
    Payload,
}

/// One part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// The inside of a JSON string, or a number, that is a message.
    Message(&'t str),
    /// A number that is a message, and that its reader may write otherwise than it stands.
    Number(&'t str),
    /// Everything between messages.
    Other(&'t str),
}

type Way = &'static [&'static str];

/// What the core reads of frames, apart from payloads and the input of invocations.
const FRAME: &[Way] = &[
    &["v"],
    &["type"],
    &["id"],
    &["delivery_id"],
    &["agent_id"],
    &["agent"],
    &["msg_id"],
    &["seq"],
    &["mode"],
    &["invocation_id"],
    &["action"],
    &["agent_name"],
    &["topic"],
    &["event"],
    &["channel_id"],
    &["agent_ids", ELEMENT],
];
/// What of payloads is kept beside the header of a message: its kind, and which one it is.
const PAYLOAD: &[Way] = &[
    &["type"],
    &["data", "to"],
    &["id"],
    &["data", "id"],
    &["data", "agent_id"],
    &["data", "channel_id"],
    &["data", "conversation_id"],
    &["data", "from_agent_id"],
    &["data", "invocation_id"],
    &["data", "action_name"],
    &["data", "injection_mode"],
    &["data", "message", "id"],
    &["data", "message", "agent_id"],
    &["data", "message", "agent_name"],
    &["data", "message", "injection_mode"],
];
/// When a message was sent, which is told from other texts by how it is written.
const SENT: Way = &["data", "created_at"];
/// What the core decides by in the input of an invocation (`core/src/action/order.rs`).
const INPUT: &[Way] = &[
    &["name"],
    &["agent_name"],
    &["agent"],
    &["cli"],
    &["command"],
    &["provider"],
    &["cwd"],
    &["model"],
    &["channel"],
    &["channels", ELEMENT],
    &["session_ref"],
    &["sessionId"],
    &["session_id"],
];
/// What the core decides by in requests (`core/src/api/request.rs`).
const REQUEST: &[Way] = &[
    &["name"],
    &["cli"],
    &["cwd"],
    &["model"],
    &["channels", ELEMENT],
    &["transport"],
    &["runtime"],
    &["sessionId"],
    &["session_id"],
    &["sessionRef"],
    &["session_ref"],
    &["to"],
    &["from"],
    &["threadId"],
    &["thread_id"],
    &["thread"],
    &["mode"],
    &["injectionMode"],
    &["injection_mode"],
];
/// A configuration of a harness, and what the core decides by in it.
const HARNESS: [&str; 4] = ["harnessConfig", "harness_config", "harnessPlan", "harness_plan"];
const CONFIGURED: [&str; 4] = ["command", "cwd", "sessionId", "runtime"];

/// Under what the engine repeats messages in its answers.
const REPEATED: [&str; 8] = ["text", "body", "content", "task", "initial_task", "prompt", "data", "input"];

/// A text with its messages replaced by what `act` makes of them; it is shown the other parts, too.
pub(super) fn replace(source: Source, json: &str, act: &mut dyn FnMut(Part<'_>) -> Option<String>) -> String {
    if json.trim().is_empty() {
        return json.to_owned();
    }
    if source == Source::Journal {
        return json.split_inclusive('\n').map(|line| record(line, act)).collect();
    }
    if !is_json(json) {
        return act(Part::Message(json)).unwrap_or_else(|| json.to_owned());
    }
    let (mut kind, mut messages) = (Cow::Borrowed(""), Vec::new());
    leaves(json, |way, place| {
        if way == ["type"] {
            kind = text(&json[place]);
        }
    });
    leaves(json, |way, place| {
        let value = &json[place.clone()];
        if is_message(source, &kind, way, value) {
            messages.push(place);
        }
    });
    let (mut out, mut at) = (String::with_capacity(json.len()), 0);
    for Range { start, end } in messages {
        act(Part::Other(&json[at..start]));
        out += &json[at..start];
        let message = &json[start..end];
        let is_string = start > 0 && json.as_bytes()[start - 1] == b'"';
        let is_exact = is_string || is_exact(message);
        let part = if is_exact { Part::Message(message) } else { Part::Number(message) };
        out += &act(part).unwrap_or_else(|| message.to_owned());
        at = end;
    }
    act(Part::Other(&json[at..]));
    out + &json[at..]
}

/// A line of the journal: in that of a dead letter its payload is a string.
fn record(line: &str, act: &mut dyn FnMut(Part<'_>) -> Option<String>) -> String {
    if !is_json(line) {
        return replace(Source::Payload, line, act);
    }
    let mut payload = None;
    leaves(line, |way, place| {
        if way == ["payload"] {
            payload = Some(place);
        }
    });
    let Some(Range { start, end }) = payload else {
        act(Part::Other(line));
        return line.to_owned();
    };
    act(Part::Other(&line[..start]));
    act(Part::Other(&line[end..]));
    let new = serde_json::Value::from(replace(Source::Payload, &text(&line[start..end]), act)).to_string();
    format!("{}{}{}", &line[..start], &new[1..new.len() - 1], &line[end..])
}

/// Whether its reader writes a number as it stood, whatever its digits are.
fn is_exact(number: &str) -> bool {
    let value = number.trim_start_matches('-');
    let longest = if value.contains('.') { FRACTION } else { WHOLE };
    value.len() <= longest && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Whether the value that these keys lead to is a message. `kind` is the type of a frame.
fn is_message(source: Source, kind: &str, way: &[Cow<'_, str>], value: &str) -> bool {
    let is_in = |table: &[Way]| table.iter().any(|kept| way == *kept);
    match (source, way) {
        (Source::Answer, _) => is_repeated(way),
        (Source::Frame, _) if matches!(kind, "reply" | "error") => is_repeated(way),
        (Source::Frame, [first, rest @ ..]) if first == "payload" => {
            is_message(Source::Payload, kind, rest, value)
        }
        (Source::Frame, [first, rest @ ..]) if first == "input" => !is_order(rest),
        (Source::Frame, _) => !is_in(FRAME),
        (Source::Request, _) => !is_in(REQUEST) && !is_configured(way),
        (Source::Payload | Source::Journal, _) => {
            let is_header = MESSAGE_HEADER.into_iter().any(is_in);
            !(is_header || is_in(PAYLOAD) || way == SENT && is_time(value))
        }
    }
}

fn is_repeated(way: &[Cow<'_, str>]) -> bool {
    let key = way.iter().rfind(|key| *key != ELEMENT);
    key.is_some_and(|key| REPEATED.contains(&&**key)) || way.iter().any(|key| key == "input")
}

/// Whether an order is read from this place of an invocation's input.
fn is_order(way: &[Cow<'_, str>]) -> bool {
    let inner = match way {
        [first, rest @ ..] if first == "agent" && !rest.is_empty() => rest,
        _ => way,
    };
    INPUT.iter().any(|kept| inner == *kept) || is_configured(inner)
}

fn is_configured(way: &[Cow<'_, str>]) -> bool {
    matches!(way, [harness, key] if HARNESS.contains(&&**harness) && CONFIGURED.contains(&&**key))
}

/// As in `2026-09-21T14:13:25.000Z`.
fn is_time(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b'.' | b'+' | b'T' | b'Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: Source, json: &str) -> Vec<String> {
        let mut found = Vec::new();
        let same = replace(source, json, &mut |part| {
            if let Part::Message(text) | Part::Number(text) = part {
                found.push(text.to_owned());
            }
            None
        });
        assert_eq!(same, json);
        found
    }

    #[test]
    fn all_that_the_core_would_type_of_a_payload_is_a_message() {
        for (payload, messages) in [
            (r#"{"type":"dm.received","data":{"text":"a","from_name":"x","to":"y"}}"#, vec!["a"]),
            (r#"{"type":"action.completed","data":{"output":"a"}}"#, vec!["a"]),
            (
                r#"{"data":{"output":{"from":"a","type":"b","list":["c",{"id":7}]}}}"#,
                vec!["a", "b", "c", "7"],
            ),
            (r#"{"data":{"output":null,"error":"a"}}"#, vec!["a"]),
            (
                r#"{"type":"t","data":{"summary":"a","count":-3,"share":0.5,"many":1e9,"ok":true}}"#,
                vec!["a", "-3", "0.5", "1e9"],
            ),
            (r#"{"note":"a","from":"x","from":{"name":"b"}}"#, vec!["a", "b"]),
            (r#"{"data":{"created_at":"2026-09-21T14:13:25.000Z"},"created_at":"a"}"#, vec!["a"]),
            (r#"{"data":{"created_at":"long ago"}}"#, vec!["long ago"]),
            (r#"["a","b"]"#, vec!["a", "b"]),
            (r#""a b""#, vec!["a b"]),
            ("a \"b", vec!["a \"b"]),
            ("", vec![]),
        ] {
            assert_eq!(found(Source::Payload, payload), messages, "{payload}");
            if is_json(payload) {
                let frame =
                    format!(r#"{{"type":"deliver","agent":"x","msg_id":"5","seq":3,"payload":{payload}}}"#);
                assert_eq!(found(Source::Frame, &frame), messages, "{frame}");
            }
        }
    }

    #[test]
    fn an_invocation_keeps_what_it_is_ordered_by() {
        let frame = |input: &str| {
            format!(
                r#"{{"type":"action.invoke","invocation_id":"i","action":"spawn:x","agent_name":"n","input":{input}}}"#
            )
        };
        for (input, messages) in [
            (r#"{"name":"n","task":"a"}"#, vec!["a"]),
            (
                r#"{"agent":{"name":"n","cli":"c","initial_task":"a","args":["b"]},"prompt":"c"}"#,
                vec!["a", "b", "c"],
            ),
            (
                r#"{"harnessConfig":{"command":"c","args":["a"],"env":{"KEY":"b"}},"channels":["n"]}"#,
                vec!["a", "b"],
            ),
            (r#"{"agent":{"harness_config":{"command":"c","env":{"KEY":"a"}}}}"#, vec!["a"]),
            (r#"{"anything":{"name":"a"}}"#, vec!["a"]),
            (r#""a""#, vec!["a"]),
        ] {
            assert_eq!(found(Source::Frame, &frame(input)), messages, "{input}");
        }
    }

    #[test]
    fn requests_keep_whom_they_are_for() {
        for (body, messages) in [
            (
                r#"{"name":"n","cli":"c","args":["-x","a"],"env":{"KEY":"b"},"task":"c","channels":["n"]}"#,
                vec!["-x", "a", "b", "c"],
            ),
            (r#"{"harnessConfig":{"command":"c","args":["a"],"env":{"KEY":"b"}}}"#, vec!["a", "b"]),
            (r#"{"to":"n","from":"n","text":"a","mode":"wait","threadId":"1"}"#, vec!["a"]),
            (r#"{"data":"a\r"}"#, vec!["a\\r"]),
            (r#"{"reason":"a"}"#, vec!["a"]),
            ("no json", vec!["no json"]),
        ] {
            assert_eq!(found(Source::Request, body), messages, "{body}");
        }
    }

    #[test]
    fn the_engines_own_words_are_no_messages() {
        for (source, json, messages) in [
            (Source::Frame, r#"{"type":"error","id":"r","code":"agent_not_found","message":"none"}"#, vec![]),
            (Source::Frame, r#"{"type":"reply","ok":true,"data":{"token":"t","task":"a"}}"#, vec!["a"]),
            (
                Source::Frame,
                r#"{"type":"context.update","topic":"x","data":{"text":"a","n":[1]}}"#,
                vec!["a", "1"],
            ),
            (Source::Answer, r#"{"ok":false,"error":{"code":"c","message":"none"}}"#, vec![]),
            (
                Source::Answer,
                r#"{"ok":true,"data":{"id":"1","text":"a","message":{"text":"b"}}}"#,
                vec!["a", "b"],
            ),
            (Source::Answer, "<html>a", vec!["<html>a"]),
        ] {
            assert_eq!(found(source, json), messages, "{json}");
        }
    }

    #[test]
    fn a_dead_letter_is_a_message_in_the_journal() {
        let payload = r#"{"data":{"text":"say \"hi\"\n\u00e9"},"from":"x"}"#;
        let dead = serde_json::json!({ "record": "dead", "payload": payload, "reason": "not_taken" });
        let journal =
            format!("{{\"record\":\"agent\",\"name\":\"n\"}}\n{dead}\n{{\"record\":\"dead\",\"payl");
        assert_eq!(
            found(Source::Journal, &journal),
            [r#"say \"hi\"\n\u00e9"#, "{\"record\":\"dead\",\"payl"]
        );
    }
}
