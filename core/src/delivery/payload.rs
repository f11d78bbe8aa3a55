//! Payloads: what a delivered row says, and whether an agent is shown it at all.
//!
//! Owns: the classes of payload types, and where in a payload text, sender, target and thread stand.
//! Must not know: cursors, acks, and how a message is written to a terminal.
//!
//! 1. Every payload that is injected yields a message with a body: what is not understood is shown
//!    as JSON, never swallowed.
//! 2. The body keeps its white space; all other fields are trimmed.
//!
//! The types and places are those of `core/PROTOCOL.md §11`.

use crate::ids::MessageId;
use crate::wire::Object;
use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use serde_json::Value;
use serde_json::value::RawValue;

/// An action that an agent asked for, and may not.
const DENIED: &str = "action.denied";

/// What becomes of a row, by the type of its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// It is shown to the agent and acked once the agent has taken it.
    Inject(Family),
    /// A receipt or a reaction: acked, never shown.
    AckOnly,
    /// A type that this broker does not know: acked and counted, never shown.
    Unknown,
}

/// What kind of message an injected row carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    /// The outcome of an action that the agent asked for.
    ActionResult,
    /// A message in a channel, or one without a type.
    Channel,
    /// A reply in a thread, be it in a channel or among a few.
    Thread,
    /// A message to the agent alone.
    Direct,
    /// A message to a group of agents.
    Group,
}

/// The class of a payload type. Types are compared exactly; the empty type is a plain message.
pub(crate) fn classify(payload_type: &str) -> Class {
    match payload_type {
        "action.completed" | "action.failed" | DENIED => Class::Inject(Family::ActionResult),
        "" | "message.created" | "message.received" | "message.new" | "message.sent"
        | "message.delivered" => Class::Inject(Family::Channel),
        "thread.reply" | "thread.message.created" | "thread.message.sent" => Class::Inject(Family::Thread),
        "dm.received"
        | "dm.created"
        | "dm.new"
        | "dm.sent"
        | "dm.message.created"
        | "direct_message.received"
        | "direct_message.created"
        | "direct_message.new"
        | "direct_message.sent" => Class::Inject(Family::Direct),
        "group_dm.received"
        | "group_dm.created"
        | "group_dm.new"
        | "group_dm.sent"
        | "group_dm.message.created" => Class::Inject(Family::Group),
        "message.reacted" | "message.read" => Class::AckOnly,
        _ => Class::Unknown,
    }
}

/// The class of a raw JSON payload, read without building a tree of it. A payload that is no
/// object, or has no type that is a string, counts as the empty type.
pub(crate) fn classify_payload(payload: &str) -> Class {
    classify(&payload_type(payload))
}

/// Whether a row with this raw JSON payload is shown to its agent, and so acked only once the agent has
/// taken it. Whoever judges a trace asks this, too.
pub fn is_shown(payload: &str) -> bool {
    matches!(classify_payload(payload), Class::Inject(_))
}

/// Whether a payload of this type comes under an id that names what it is about: a refusal under that of the
/// action, whenever the agent asks for it again (`core/PROTOCOL.md` §5).
pub(crate) fn recurs(payload_type: &str) -> bool {
    payload_type == DENIED
}

/// The `type` of a raw JSON payload, or the empty text.
pub(crate) fn payload_type(payload: &str) -> Cow<'_, str> {
    let object = Object::parse(payload);
    let is_string = |object: &Object<'_>| object.get("type").is_some_and(|kind| kind.get().starts_with('"'));
    object.filter(is_string).and_then(|object| object.text("type")).unwrap_or_default()
}

/// Where a message was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A channel, with its leading `#`.
    Channel(String),
    /// One agent, or a group that has no name.
    Direct(String),
}

impl Target {
    /// The channel with its `#`, or the name.
    pub(crate) fn as_str(&self) -> &str {
        let (Self::Channel(name) | Self::Direct(name)) = self;
        name
    }
}

/// A message as it is shown to an agent, before it is made safe for a terminal.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The text, with its white space (invariant 2).
    pub body: String,
    /// The sender's name; `relaycast` where the payload has none.
    pub from: String,
    /// Where it was sent.
    pub target: Target,
    /// The message that it answers, if it stands in a thread.
    pub thread: Option<String>,
    /// The id to answer to.
    pub message_id: MessageId,
}

impl fmt::Debug for Message {
    /// Free text shows as its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body, from, target, thread, message_id } = self;
        write!(f, "Message({message_id}, {from:?}, {target:?}, {thread:?}, {} bytes)", body.len())
    }
}

/// The sender of messages that name none: the service itself.
const SERVICE: &str = "relaycast";

/// The keys that lead to a value.
type Path = &'static [&'static str];

const BODY: &[Path] =
    &[&["data", "text"], &["text"], &["body"], &["content"], &["message", "text"], &["payload", "text"]];
const RESULT: &[Path] = &[&["data", "output"], &["data", "error"]];
const FROM: &[Path] = &[
    &["data", "agent_name"],
    &["data", "from_name"],
    &["from"],
    &["sender"],
    &["author"],
    &["message", "agent_name"],
    &["message", "from"],
    &["payload", "from"],
];
const TARGET: &[Path] = &[&["target"], &["to"], &["recipient"], &["message", "target"]];
const CHANNEL: &[Path] = &[&["data", "channel_name"], &["channel"], &["message", "channel"]];
const THREAD: &[Path] = &[&["data", "thread_id"], &["thread_id"], &["threadId"], &["data", "parent_id"]];

/// Where a payload says who sent a message, and where to: what is shown of it beside its text. Whoever hides
/// messages asks this, too.
pub const HEADER: [&[&[&str]]; 4] = [FROM, TARGET, CHANNEL, THREAD];

/// Reads the message that a raw JSON payload carries for `recipient`. Never fails (invariant 1).
pub(crate) fn extract(payload: &str, recipient: &str, message_id: MessageId) -> Message {
    let envelope = Envelope::read(payload);
    let trimmed = |places| envelope.first_text(places).map(|text| text.trim().to_owned());
    Message {
        body: envelope.body(payload),
        from: trimmed(FROM).unwrap_or_else(|| SERVICE.to_owned()),
        target: match (trimmed(TARGET), trimmed(CHANNEL)) {
            (Some(target), _) if target.starts_with('#') => Target::Channel(target),
            (Some(target), _) => Target::Direct(target),
            (None, Some(channel)) if channel.starts_with('#') => Target::Channel(channel),
            (None, Some(channel)) => Target::Channel(format!("#{channel}")),
            (None, None) => Target::Direct(recipient.to_owned()),
        },
        thread: trimmed(THREAD),
        message_id,
    }
}

/// A payload, read as far as texts are looked for in it.
struct Envelope<'a> {
    top: Option<Object<'a>>,
    /// What stands in the objects at [`NESTED`].
    nested: [Option<Object<'a>>; NESTED.len()],
}

/// The objects within a payload that places lead into.
const NESTED: [&str; 3] = ["data", "message", "payload"];

impl<'a> Envelope<'a> {
    fn read(payload: &'a str) -> Self {
        let top = Object::parse(payload);
        let nested = NESTED.map(|key| top.as_ref()?.object(key));
        Self { top, nested }
    }

    /// The object that a place leads into, and the last key of the place.
    fn at(&self, place: Path) -> Option<(&Object<'a>, &'static str)> {
        match *place {
            [key] => Some((self.top.as_ref()?, key)),
            [outer, key] => {
                let number = NESTED.iter().position(|name| *name == outer)?;
                Some((self.nested[number].as_ref()?, key))
            }
            _ => None,
        }
    }

    /// A string that is more than white space, or a number; nothing else is text.
    fn text(&self, place: Path) -> Option<Cow<'a, str>> {
        let (object, key) = self.at(place)?;
        object.text(key).filter(|text| !text.trim().is_empty())
    }

    fn first_text(&self, places: &[Path]) -> Option<Cow<'a, str>> {
        places.iter().find_map(|place| self.text(place))
    }

    /// The text of a message, else the result it reports, else its data, else all of it.
    fn body(&self, payload: &str) -> String {
        if let Some(text) = self.first_text(BODY) {
            return text.into_owned();
        }
        if canary!(WholeEnvelope) {
            return compact(payload);
        }
        for place in RESULT {
            if let Some(text) = self.text(place) {
                return text.into_owned();
            }
            // A string is no result if it is no text.
            let found = self.at(place).and_then(|(object, key)| object.get(key));
            if let Some(found) = found.filter(|found| !found.get().starts_with('"')) {
                return compact(found.get());
            }
        }
        let data = self.top.as_ref().and_then(|top| top.get("data"));
        let data = data.filter(|data| data.get().starts_with(['{', '[']));
        match data.map(|data| compact(data.get())) {
            Some(data) if data.len() > "{}".len() => data,
            _ => compact(payload),
        }
    }
}

/// JSON without white space; as it stands if it is nested too deeply, or was cut within an emoji. What is no
/// JSON is shown as one string.
fn compact(json: &str) -> String {
    match serde_json::from_str::<Value>(json) {
        Ok(value) => value.to_string(),
        Err(_) if serde_json::from_str::<&RawValue>(json).is_ok() => json.to_owned(),
        Err(_) => Value::String(json.to_owned()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn read(payload: &str) -> Message {
        extract(payload, "bob", MessageId::from("901"))
    }

    fn channel(name: &str) -> Target {
        Target::Channel(name.into())
    }

    fn direct(name: &str) -> Target {
        Target::Direct(name.into())
    }

    #[test]
    fn every_type_has_its_class() {
        let families: [(Family, &[&str]); 5] = [
            (Family::ActionResult, &["action.completed", "action.failed", "action.denied"]),
            (
                Family::Channel,
                &[
                    "message.created",
                    "message.received",
                    "message.new",
                    "message.sent",
                    "message.delivered",
                    "",
                ],
            ),
            (Family::Thread, &["thread.reply", "thread.message.created", "thread.message.sent"]),
            (
                Family::Direct,
                &[
                    "dm.received",
                    "dm.created",
                    "dm.new",
                    "dm.sent",
                    "dm.message.created",
                    "direct_message.received",
                    "direct_message.created",
                    "direct_message.new",
                    "direct_message.sent",
                ],
            ),
            (
                Family::Group,
                &[
                    "group_dm.received",
                    "group_dm.created",
                    "group_dm.new",
                    "group_dm.sent",
                    "group_dm.message.created",
                ],
            ),
        ];
        let mut injected = Vec::new();
        for (family, types) in families {
            for kind in types {
                assert_eq!(classify(kind), Class::Inject(family), "{kind}");
                injected.push(kind);
            }
        }
        assert_eq!(injected.len(), 26);
        for kind in ["message.reacted", "message.read"] {
            assert_eq!(classify(kind), Class::AckOnly, "{kind}");
        }
        for kind in ["agent.exited", "Message.created", " message.created", "message.updated"] {
            assert_eq!(classify(kind), Class::Unknown, "{kind}");
        }
    }

    #[test]
    fn a_class_is_read_from_raw_json_whatever_its_shape() {
        let plain = Class::Inject(Family::Channel);
        for (payload, class) in [
            (r#"{"data":{"type":"dm.new"},"type":"message.read"}"#, Class::AckOnly),
            (r#"{"type":"message\u002eread"}"#, Class::AckOnly),
            (r#"{"type":7,"data":{}}"#, plain),
            (r#"{"type":"x","\ud83d":1,"type":"message.read"}"#, Class::AckOnly),
            (r#"{"type":null}"#, plain),
            (r#"{"data":{}}"#, plain),
            (r#"["message.read"]"#, plain),
            (r#""message.read""#, plain),
            ("null", plain),
            ("", plain),
        ] {
            assert_eq!(classify_payload(payload), class, "{payload}");
        }
    }

    #[test]
    fn a_channel_message_names_sender_and_channel() {
        let message = read(
            r#"{"type":"message.created","data":{"id":"901","channel_id":"12","agent_id":"76",
            "agent_name":"alice","text":"hi @bob","blocks":null,"metadata":{},"thread_id":null,
            "mentions":["bob"],"injection_mode":"wait","channel_name":"general","from_name":"x"}}"#,
        );
        assert_eq!(
            message,
            Message {
                body: "hi @bob".into(),
                from: "alice".into(),
                target: channel("#general"),
                thread: None,
                message_id: MessageId::from("901"),
            }
        );
    }

    #[test]
    fn a_thread_reply_names_its_thread() {
        let message = read(
            r#"{"type":"thread.reply","data":{"id":"902","channel_id":"12","channel_name":"general",
            "agent_name":"alice","thread_id":"901","text":"more","from_name":"alice"}}"#,
        );
        assert_eq!(message.target, channel("#general"));
        assert_eq!(message.thread.as_deref(), Some("901"));
        let by_parent = read(r#"{"data":{"text":"a","parent_id":17}}"#);
        assert_eq!(by_parent.thread.as_deref(), Some("17"));
    }

    #[test]
    fn direct_and_group_messages_go_to_the_recipient() {
        let alone = read(
            r#"{"type":"dm.received","data":{"conversation_id":"dm_01","message":{"id":"903",
            "agent_id":"76","agent_name":"alice","text":"now"},"id":"903","from_agent_id":"76",
            "to":"bob","text":"now","from_name":"alice"}}"#,
        );
        let group = read(
            r#"{"type":"group_dm.received","data":{"conversation_id":"905","message":{"id":"904",
            "agent_name":"alice","text":"all"},"agent_id":"76","text":"all","from_name":"alice"}}"#,
        );
        for (message, body) in [(alone, "now"), (group, "all")] {
            assert_eq!((message.body.as_str(), message.from.as_str()), (body, "alice"));
            assert_eq!((message.target, message.thread), (direct("bob"), None));
        }
    }

    #[test]
    fn fields_at_the_top_level_are_found() {
        let message = read(r##"{"text":"b","from":" carol ","channel":"#ops"}"##);
        assert_eq!((message.from.as_str(), message.target), ("carol", channel("#ops")));
        assert_eq!(read(r##"{"to":"#ops","channel":"dev"}"##).target, channel("#ops"));
        assert_eq!(read(r#"{"to":"dan","channel":"dev"}"#).target, direct("dan"));
    }

    #[test]
    fn no_place_leads_into_an_object_that_is_not_read() {
        for place in [BODY, RESULT, FROM, TARGET, CHANNEL, THREAD].concat() {
            assert!(place.len() == 1 || (place.len() == 2 && NESTED.contains(&place[0])), "{place:?}");
        }
    }

    #[test]
    fn a_body_keeps_its_white_space() {
        assert_eq!(read(r#"{"data":{"text":"  a\n\n\tb \n"}}"#).body, "  a\n\n\tb \n");
        assert_eq!(read(r#"{"data":{"text":"  "},"text":" x"}"#).body, " x");
    }

    #[test]
    fn a_text_that_was_cut_in_the_middle_of_an_emoji_is_shown_as_far_as_it_goes() {
        let message = read(r#"{"data":{"text":"fine \ud83d","agent_name":"alice","x":"\ud83d"}}"#);
        assert!(message.body.starts_with("fine \u{fffd}"), "{}", message.body);
        assert_eq!(message.from, "alice");
        for (payload, body) in [
            (r#"{"data":{"output":{"text":"fine \ud83d"}}}"#, r#"{"text":"fine \ud83d"}"#),
            (r#"{"type":"t","data":{"x":"\ud83d"}}"#, r#"{"x":"\ud83d"}"#),
        ] {
            assert_eq!(read(payload).body, body);
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(read(&format!(r#"{{"text":"fine","blocks":{deep}}}"#)).body, "fine");
    }

    #[test]
    fn an_action_result_shows_what_it_reports() {
        for (payload, body) in [
            (r#"{"data":{"output":{"spawned":true},"error":null}}"#, r#"{"spawned":true}"#),
            (r#"{"data":{"output":null,"error":"boom"}}"#, "boom"),
            (r#"{"data":{"output":[1, 2]}}"#, "[1,2]"),
            (r#"{"data":{"output":false}}"#, "false"),
            (r#"{"data":{"output":4}}"#, "4"),
            (r#"{"data":{"output":" ","error":{"code":"x"}}}"#, r#"{"code":"x"}"#),
            (r#"{"type":"t","data":{"action_name":"spawn"}}"#, r#"{"action_name":"spawn"}"#),
        ] {
            let message = read(payload);
            assert_eq!((message.body.as_str(), message.from.as_str()), (body, "relaycast"));
            assert_eq!(message.target, direct("bob"));
        }
    }

    #[test]
    fn a_payload_of_any_shape_is_shown() {
        for (payload, body) in [
            (r#""hello""#, r#""hello""#),
            ("null", "null"),
            ("7", "7"),
            (r#"{ "data": {} }"#, r#"{"data":{}}"#),
            (r#"{"data":true}"#, r#"{"data":true}"#),
            (r#"{"type":"message.created"}"#, r#"{"type":"message.created"}"#),
        ] {
            assert_eq!(read(payload).body, body);
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(read(&deep).body.contains(&deep), "too deep to parse, and shown all the same");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn no_text_whatever_breaks_reading(payload in any::<String>()) {
            classify_payload(&payload);
            prop_assert!(!read(&payload).body.is_empty());
        }
    }
}
