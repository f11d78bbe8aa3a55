//! Frames and other JSON: what of it goes into one line.
//!
//! Owns: which keys tell the most. Must not know: what a frame means or whether it is right.
//!
//! 1. Every text has a line, also one that is no JSON or a frame that nobody knows.

use serde_json::Value;

/// Keys that are told, in this order, wherever a frame has them.
const TOLD: [&str; 17] = [
    "agent",
    "name",
    "agent_name",
    "seq",
    "up_to_seq",
    "mode",
    "action",
    "invocation_id",
    "id",
    "reply_to",
    "request_id",
    "status",
    "ok",
    "code",
    "error",
    "message",
    "reason",
];

/// Keys under which the text of a message may stand.
const TEXTS: [&str; 3] = ["/payload/data/text", "/payload/data/message/text", "/data/text"];

/// A frame in one line, and the agent that it names.
pub(super) fn told(text: &str) -> (String, Option<String>) {
    let Ok(frame) = serde_json::from_str::<Value>(text) else {
        return (format!("no JSON: {text}"), None);
    };
    let kind = frame["type"].as_str().or_else(|| frame["kind"].as_str()).unwrap_or("frame without type");
    let mut line = kind.to_owned();
    if let Some(inner) = frame["payload"]["type"].as_str() {
        line.push_str(&format!(" {inner}"));
    }
    for key in TOLD {
        if let Some(value) = ["", "/payload", "/data", "/error"]
            .iter()
            .find_map(|place| scalar(frame.pointer(place)?.get(key)?))
        {
            line.push_str(&format!(" {key}={value}"));
        }
    }
    if let Some(agents) = frame["agents"].as_array() {
        let names: Vec<_> = agents.iter().filter_map(|agent| agent["name"].as_str()).collect();
        line.push_str(&format!(" agents={}", names.join(",")));
    }
    let body = TEXTS.iter().find_map(|at| frame.pointer(at)?.as_str());
    if let Some(body) = body {
        line.push_str(&format!(" {body:?}"));
    }
    // Nodes have names as well.
    let name = frame["name"].as_str().filter(|_| kind.starts_with("agent"));
    let agent = frame["agent"].as_str().or_else(|| frame["agent_name"].as_str()).or(name);
    (line, agent.map(ToOwned::to_owned))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_told_by_what_matters() {
        let frame = r#"{"v":1,"type":"deliver","agent":"otto","seq":3,"mode":"steer","payload":{"type":"dm.received","data":{"text":"stop"}}}"#;
        let (line, agent) = told(frame);
        assert_eq!(line, r#"deliver dm.received agent=otto seq=3 mode=steer "stop""#);
        assert_eq!(agent.as_deref(), Some("otto"));
    }

    #[test]
    fn whatever_comes_has_a_line() {
        for text in ["", "{", "[]", "7", r#"{"type":7}"#, r#"{"type":"new","payload":[]}"#] {
            assert!(!told(text).0.is_empty());
        }
    }
}
