//! The wire against a naive model: a frame from the engine is written from a table of what each key means, in
//! every spelling that JSON has for it, and must be read as that table; a frame of ours is read back as a plain
//! JSON value.

use super::*;
use crate::ids::{AgentId, AgentName, FrameId, InvocationId};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A value as it is spelled in a frame, and what it means.
#[derive(Clone, Debug, Default)]
struct Spelled {
    json: String,
    text: Option<String>,
    whole: Option<u64>,
}

impl Spelled {
    fn id(&self) -> Option<&str> {
        self.text.as_deref().filter(|text| !text.is_empty())
    }

    fn starts_with(&self, first: char) -> bool {
        self.json.starts_with(first)
    }
}

/// A JSON string in which the characters that `bits` select are escapes of four digits.
fn quoted(text: &str, bits: u32) -> String {
    let mut out = "\"".to_owned();
    for (at, c) in text.chars().enumerate() {
        if bits >> (at % 32) & 1 == 1 || c < ' ' || c == '"' || c == '\\' {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &format!("\\u{unit:04X}"));
        } else {
            out.push(c);
        }
    }
    out + "\""
}

fn string(text: String, bits: u32) -> Spelled {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = text.parse().ok().filter(|_| digits);
    Spelled { json: quoted(&text, bits), text: Some(text), whole }
}

/// Text as people and machines write it, without what would make a number of more than digits.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_#-]{0,9}",
        "[0-9]{1,18}",
        "\\PC{0,9}",
        "[\u{0}-\u{20}\"\\\\{}:,]{1,6}",
        Just("null".into())
    ]
}

fn number(spelling: String, whole: Option<u64>) -> Spelled {
    Spelled { text: Some(spelling.clone()), json: spelling, whole }
}

/// A number, whole or not, in each spelling that keeps its value.
fn numeral() -> impl Strategy<Value = Spelled> {
    let small = 0..1_u64 << 50;
    prop_oneof![
        4 => prop_oneof![Just(0), Just(1), 0..100_u64, any::<u64>()].prop_map(|n| number(n.to_string(), Some(n))),
        1 => small.clone().prop_map(|n| number(format!("{n}.0"), Some(n))),
        1 => (0..1_000_000_u64, 0..6_u32).prop_map(|(n, e)| number(format!("{n}e{e}"), Some(n * 10_u64.pow(e)))),
        1 => (1..1_u64 << 50).prop_map(|n| number(format!("{n}0E-1"), Some(n))),
        1 => small.prop_map(|n| number(format!("{n}.5"), None)),
        1 => (1..u64::MAX).prop_map(|n| number(format!("-{n}"), None)),
        1 => (20..200_u32).prop_map(|e| number(format!("1e{e}"), None)),
    ]
}

fn nothing(json: impl Into<String>) -> Spelled {
    Spelled { json: json.into(), ..Spelled::default() }
}

/// Any value that a peer may put behind a key.
fn spelled() -> impl Strategy<Value = Spelled> {
    prop_oneof![
        6 => (text(), any::<u32>()).prop_map(|(text, bits)| string(text, bits)),
        3 => numeral(),
        1 => numeral().prop_map(|n| Spelled { json: quoted(&n.json, 0), ..n }),
        1 => Just(nothing("null")),
        1 => value().prop_map(|value| nothing(json!([value]).to_string())),
        1 => value().prop_map(|value| nothing(json!({ "type": value }).to_string())),
        1 => prop::sample::select(&["true", "false"][..]).prop_map(nothing),
    ]
}

/// Any JSON, with numbers that are exact in every reader.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..4)
                .prop_map(|entries| entries.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// What a frame says, by key; and its text, with the keys in any order, some of them twice, some unknown.
#[derive(Clone, Debug)]
struct Written {
    meant: BTreeMap<&'static str, Spelled>,
    text: String,
}

impl Written {
    /// Its value, where `null` is as good as nothing.
    fn of(&self, key: &str) -> Option<&Spelled> {
        self.meant.get(key).filter(|value| value.json != "null")
    }

    fn id(&self, key: &str) -> Option<&str> {
        self.of(key)?.id()
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.of(key)?.text.as_deref()
    }

    fn whole(&self, key: &str) -> Option<u64> {
        self.of(key)?.whole
    }

    fn json(&self, key: &str) -> &str {
        self.of(key).map_or("null", |value| &value.json)
    }
}

/// An object with a `type`, if one is given, and each of these keys, if chance will have it.
fn object(kind: Option<&'static str>, keys: &'static [&'static str]) -> impl Strategy<Value = Written> {
    let fields: Vec<_> =
        keys.iter().map(|key| (Just(*key), prop::option::weighted(0.85, spelled()))).collect();
    let kind = any::<u32>().prop_map(move |bits| kind.map(|kind| ("type", string(kind.to_owned(), bits))));
    let unknown = prop::collection::vec((prop::sample::select(UNKNOWN), spelled()), 0..4);
    let entries = (fields, kind, unknown).prop_map(|(fields, kind, unknown)| {
        let fields = fields.into_iter().filter_map(|(key, value)| Some((key, value?)));
        fields.chain(kind).chain(unknown).collect::<Vec<_>>()
    });
    let doubled = prop::collection::vec((any::<prop::sample::Index>(), spelled()), 0..2);
    (entries.prop_shuffle(), doubled, any::<u32>(), "[ \t\r\n]{0,2}").prop_map(
        |(mut entries, doubled, bits, space)| {
            let known = entries.iter().filter(|(key, _)| !UNKNOWN.contains(key));
            let meant = known.cloned().collect();
            // Of a doubled key the last one counts.
            for (at, value) in doubled {
                if !entries.is_empty() {
                    entries.insert(0, (entries[at.index(entries.len())].0, value));
                }
            }
            let entry = |(key, value): &(&str, Spelled)| {
                format!("{space}{}{space}:{space}{}{space}", quoted(key, bits), value.json)
            };
            let entries: Vec<String> = entries.iter().map(entry).collect();
            Written { meant, text: format!("{space}{{{}}}{space}", entries.join(",")) }
        },
    )
}

/// Keys that no frame has.
const UNKNOWN: &[&str] = &["", "TYPE", "extra", "agent_id2", "__proto__", "trace\u{0}id", "ключ"];

const DELIVER: &[&str] = &["v", "delivery_id", "agent_id", "agent", "msg_id", "seq", "mode", "payload"];

/// The first key of a `deliver` that is not as the engine's schema has it.
fn repaired(frame: &Written) -> Option<&'static str> {
    let is_usual = |key: &str| match key {
        "v" => frame.whole(key) == Some(1),
        "seq" => frame.of(key).is_some_and(|seq| seq.json.parse::<u64>().is_ok()),
        "mode" => matches!(frame.text(key), Some("wait" | "steer")),
        "payload" => frame.of(key).is_some_and(|payload| payload.starts_with('{')),
        _ => frame.of(key).is_some_and(|id| id.starts_with('"') && id.id().is_some()),
    };
    DELIVER.iter().find(|key| !is_usual(key)).copied()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn a_delivery_is_read_as_it_was_meant(
        mut frame in object(Some("deliver"), DELIVER),
        mode in prop::option::of(prop::sample::select(&["wait", "steer"][..])),
    ) {
        if let Some(mode) = mode {
            // Chance never writes one of the two words: the last key of that name does.
            frame.text = format!("{},\"mode\":\"{mode}\"}}", frame.text.trim_end().strip_suffix('}').unwrap());
            frame.meant.insert("mode", string(mode.to_owned(), 0));
        }
        let named = frame.id("agent_id").is_some() || frame.id("agent").is_some();
        let Ok(inbound) = decode(&frame.text) else {
            prop_assert!(!named || frame.whole("seq").is_none(), "refused: {}", frame.text);
            return Ok(());
        };
        let Inbound::Deliver(row) = inbound else { panic!("not a delivery: {}", frame.text) };
        prop_assert!(named);
        prop_assert_eq!(row.identity.agent_id(), frame.id("agent_id"));
        prop_assert_eq!(row.identity.name(), frame.id("agent"));
        prop_assert_eq!(row.delivery_id.as_deref(), frame.id("delivery_id"));
        prop_assert_eq!(row.msg_id.as_deref(), frame.id("msg_id"));
        prop_assert_eq!(Some(row.seq), frame.whole("seq"));
        prop_assert_eq!(row.mode == Mode::Steer, frame.text("mode") == Some("steer"));
        let payload = frame.of("payload").map(|payload| payload.json.as_str());
        prop_assert_eq!(row.payload.map(RawValue::get), payload);
        prop_assert_eq!(row.repaired, repaired(&frame), "{}", frame.text);
    }

    #[test]
    fn an_invocation_is_read_as_it_was_meant(
        frame in object(Some("action.invoke"), &["invocation_id", "action", "input", "agent_id", "agent_name"]),
    ) {
        let Ok(inbound) = decode(&frame.text) else {
            prop_assert_eq!(frame.id("invocation_id"), None, "refused: {}", frame.text);
            return Ok(());
        };
        let Inbound::Invoke(call) = inbound else { panic!("not an invocation: {}", frame.text) };
        prop_assert_eq!(Some(&*call.invocation_id), frame.id("invocation_id"));
        prop_assert_eq!(&*call.action, frame.text("action").unwrap_or_default());
        prop_assert_eq!(call.input.get(), frame.json("input"));
        prop_assert_eq!(call.agent_id.as_deref(), frame.id("agent_id"));
        prop_assert_eq!(call.agent_name.as_deref(), frame.id("agent_name"));
    }

    #[test]
    fn an_answer_is_read_as_it_was_meant(
        frame in prop_oneof![
            object(Some("reply"), &["id", "ok", "data", "code", "message"]),
            object(Some("error"), &["id", "ok", "data", "code", "message"]),
        ],
    ) {
        let good = frame.text("type") == Some("reply") && frame.json("ok") != "false";
        match decode(&frame.text) {
            Ok(Inbound::Reply(reply)) => {
                prop_assert!(good, "{}", frame.text);
                prop_assert_eq!(reply.id.as_deref(), frame.id("id"));
                prop_assert_eq!(reply.data.get(), frame.json("data"));
            }
            Ok(Inbound::Error(error)) => {
                prop_assert!(!good, "{}", frame.text);
                prop_assert_eq!(error.id.as_deref(), frame.id("id"));
                prop_assert_eq!(&*error.code, frame.id("code").unwrap_or("unknown_error"));
                prop_assert_eq!(&*error.message, frame.text("message").unwrap_or_default());
            }
            other => panic!("{other:?} for {}", frame.text),
        }
    }

    #[test]
    fn a_registration_is_read_as_it_was_meant(
        data in object(None, &["agent_id", "token", "name", "delivery_ack_seq"]),
    ) {
        let text = format!(r#"{{"type":"reply","id":"f1","data":{}}}"#, data.text);
        let Ok(Inbound::Reply(reply)) = decode(&text) else { panic!("not a reply: {text}") };
        let token = data.text("token").map(str::trim).filter(|token| !token.is_empty());
        let Some(agent) = reply.registered_agent() else {
            prop_assert!(data.id("agent_id").is_none() || token.is_none(), "refused: {}", text);
            return Ok(());
        };
        prop_assert_eq!(Some(agent.agent_id.0.as_str()), data.id("agent_id"));
        prop_assert_eq!(Some(agent.token.expose()), token);
        prop_assert_eq!(agent.name.as_ref().map(|name| name.0.as_str()), data.id("name"));
        prop_assert_eq!(agent.delivery_ack_seq, data.whole("delivery_ack_seq"));
    }

    #[test]
    fn a_type_decides_alone_what_a_frame_is(frame in object(None, &["type", "v", "id"])) {
        match (frame.text("type"), decode(&frame.text)) {
            (None, Err(refused)) => prop_assert_eq!(refused.reason, "it has no type"),
            (Some(meant), Ok(Inbound::Unknown { kind })) => prop_assert_eq!(&*kind, meant),
            (Some("ping"), Ok(Inbound::Ping)) => {}
            (meant, read) => panic!("{meant:?} was read as {read:?}"),
        }
    }

    #[test]
    fn no_json_and_no_bytes_panic(
        value in value(),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..14),
    ) {
        for text in [value.to_string(), String::from_utf8_lossy(&bytes).into_owned(), tokens.concat()] {
            if let Ok(Inbound::Reply(reply)) = decode(&text) {
                let _ = reply.registered_agent();
            }
        }
    }
}

/// Pieces of frames, which in any order are frames now and then.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\ud83d",
    "null",
    "-",
    "1e999",
    "0.0",
    "\"type\":",
    "\"deliver\"",
    "\"seq\":",
    "\"agent\":",
    "\"reply\"",
    "\"data\":{",
    "\"token\":\"x\"",
    "\"agent_id\":\"1\"",
    " ",
    "\u{feff}",
];

/// Any id or name of ours.
fn named<T: for<'a> From<&'a str> + core::fmt::Debug>() -> impl Strategy<Value = T> {
    text().prop_map(|text| T::from(&text))
}

fn node() -> impl Strategy<Value = Node> {
    let texts = || prop::collection::vec(text(), 0..4);
    (text(), named(), texts(), 0..9_u32, texts(), text(), text(), text()).prop_map(
        |(name, node_id, capabilities, max_agents, tags, version, provider, instance_id)| Node {
            name,
            node_id,
            capabilities,
            max_agents,
            tags,
            version,
            provider: Provider { name: provider, instance_id },
        },
    )
}

/// The frame as any reader of JSON has it.
fn read_back(frame: &str) -> Value {
    serde_json::from_str(frame).unwrap()
}

/// The object without keys whose value is absent.
fn present(mut object: Value) -> Value {
    object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

    #[test]
    fn what_a_node_says_of_itself_is_read_back(
        (node, id) in (node(), named::<FrameId>()),
        (newer, active, live) in (any::<bool>(), 0..20_u32, any::<bool>()),
    ) {
        let dialect = if newer { Dialect::Provider } else { Dialect::Legacy };
        let Provider { name, instance_id } = &node.provider;
        let provider = newer.then(|| json!({"name": name, "instance_id": instance_id}));
        let mut capabilities: Vec<&str> = node.capabilities.iter().map(String::as_str).collect();
        capabilities.extend(newer.then_some("relay:delivery-cursor-v1"));
        let capabilities: Vec<_> =
            capabilities.iter().map(|name| json!({"name": name, "kind": "capacity"})).collect();
        let expected = present(json!({
            "v": 1, "type": "node.register", "id": id.0, "name": node.name, "node_id": node.node_id.0,
            "provider": provider, "capabilities": capabilities, "max_agents": node.max_agents, "tags": node.tags,
            "version": node.version,
        }));
        prop_assert_eq!(read_back(&node.register(&id, dialect)), expected);

        let mut heartbeat = read_back(&node.heartbeat(active, live, dialect));
        let load = heartbeat["load"].take().as_f64().unwrap();
        let share = if node.max_agents == 0 { 0.0 } else { f64::from(active) / f64::from(node.max_agents) };
        prop_assert!((load - share.min(1.0)).abs() < 1e-9, "{} of {}: {}", active, node.max_agents, load);
        let expected = present(json!({
            "v": 1, "type": "node.heartbeat", "name": node.name, "node_id": node.node_id.0, "provider": provider,
            "max_agents": node.max_agents, "version": node.version, "active_agents": active,
            "handlers_live": live,
        }));
        prop_assert_eq!(present(heartbeat), expected);

        let expected = present(json!({"v": 1, "type": "node.deregister", "provider": provider}));
        prop_assert_eq!(read_back(&node.deregister(dialect)), expected);
    }

    #[test]
    fn what_is_said_of_an_agent_is_read_back(
        (id, name, agent) in (named::<FrameId>(), named::<AgentName>(), named::<AgentId>()),
        (invocation, session) in (prop::option::of(named::<InvocationId>()), prop::option::of(text())),
        (asked, called, seq) in (any::<bool>(), any::<bool>(), any::<u64>()),
    ) {
        let mut expected = json!({
            "v": 1, "type": "agent.register", "id": id.0, "name": name.0, "session_ref": session,
            "invocation_id": invocation.as_ref().map(|id| &id.0), "resumable": session.as_ref().map(|_| true),
        });
        let frame = agent_register(&id, &name, invocation.as_ref(), session.as_deref());
        prop_assert_eq!(read_back(&frame), present(expected.clone()));

        expected["type"] = "agent.recover".into();
        expected["expected_agent_id"] = agent.0.as_str().into();
        let frame = agent_recover(&id, &name, &agent, invocation.as_ref(), session.as_deref());
        prop_assert_eq!(read_back(&frame), present(expected));

        let frame = agent_deregister(asked.then_some(&id), &agent, called.then_some(&name));
        let expected = present(json!({
            "v": 1, "type": "agent.deregister", "agent_id": agent.0, "id": asked.then_some(&id.0),
            "name": called.then_some(&name.0),
        }));
        prop_assert_eq!(read_back(&frame), expected);

        let expected = json!({"v": 1, "type": "delivery.ack", "agent": name.0, "up_to_seq": seq});
        prop_assert_eq!(read_back(&delivery_ack(&name, seq)), expected);
    }

    #[test]
    fn a_result_is_read_back(id in named::<InvocationId>(), output in value(), error in text()) {
        let raw = serde_json::value::to_raw_value(&output).unwrap();
        let expected = json!({"v": 1, "type": "action.result", "invocation_id": id.0, "output": output});
        prop_assert_eq!(read_back(&action_result(&id, Outcome::Output(&raw))), expected);

        // An empty error would be a success.
        let told = if error.is_empty() { "failed without a reason" } else { &error };
        let expected = json!({"v": 1, "type": "action.result", "invocation_id": id.0, "error": told});
        prop_assert_eq!(read_back(&action_result(&id, Outcome::Error(&error))), expected);
    }

    #[test]
    fn an_inventory_is_read_back(
        id in named::<FrameId>(),
        agents in prop::collection::vec(
            (
                named::<AgentId>(),
                named::<AgentName>(),
                prop::option::of(named::<InvocationId>()),
                prop::option::of(text()),
            ),
            0..5,
        ),
    ) {
        let listed: Vec<_> = agents
            .iter()
            .map(|(agent_id, name, invocation, session)| InventoryAgent {
                agent_id,
                name,
                invocation_id: invocation.as_ref(),
                session_ref: session.as_deref(),
            })
            .collect();
        let expected = agents.iter().map(|(agent, name, invocation, session)| {
            let invocation = invocation.as_ref().map(|id| &id.0);
            present(json!({
                "agent_id": agent.0, "name": name.0, "invocation_id": invocation, "session_ref": session,
            }))
        });
        let expected = json!({
            "v": 1, "type": "inventory.sync", "id": id.0, "agents": expected.collect::<Vec<_>>(),
        });
        prop_assert_eq!(read_back(&inventory_sync(&id, &listed)), expected);
    }
}
