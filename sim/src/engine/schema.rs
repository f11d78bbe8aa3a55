//! What a node may send: the strict schemas of all inbound frames.
//!
//! Owns: which keys a frame has, of which shape, in which profile.
//! Must not know: what frames mean. Shares nothing with the broker's own wire types on purpose: it
//! has to notice when those are wrong.
//!
//! 1. An unknown key, a missing key or a wrong shape refuses the whole frame.
//! 2. Numbers follow the engine's language: `3.0` is the integer 3.

use super::profile::FrameRules;
use serde_json::{Map, Value};

/// Greatest integer that the engine's number type keeps exact.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

#[derive(Clone, Copy)]
enum Shape {
    Version,
    Text,
    TextOrNull,
    Bool,
    Whole,
    NonNegative,
    Json,
    Object,
    Texts,
    Mode,
    Kind,
    Provider,
    Capabilities,
    Inventory,
}

/// Whether a key must or may be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
    /// Required until [`FrameRules::optional_load`].
    Load,
    /// Optional from [`FrameRules::optional_load`].
    LoadReported,
    /// Optional from [`FrameRules::providers`].
    Providers,
    /// Optional from [`FrameRules::repo_keys`].
    RepoKeys,
    /// Optional from [`FrameRules::auto_join`].
    AutoJoin,
}

type Field = (&'static str, Shape, Need);

use Need::{Optional, Required};

const NODE_REGISTER: &[Field] = &[
    ("name", Shape::Text, Required),
    ("node_id", Shape::Text, Required),
    ("capabilities", Shape::Capabilities, Required),
    ("max_agents", Shape::Whole, Required),
    ("tags", Shape::Texts, Required),
    ("version", Shape::Text, Required),
    ("resume_cursor", Shape::TextOrNull, Optional),
    ("provider", Shape::Provider, Need::Providers),
    ("machine_id", Shape::Text, Need::Providers),
    ("repo_keys", Shape::Texts, Need::RepoKeys),
];
const NODE_HEARTBEAT: &[Field] = &[
    ("load", Shape::NonNegative, Need::Load),
    ("active_agents", Shape::Whole, Required),
    ("handlers_live", Shape::Bool, Required),
    ("name", Shape::Text, Optional),
    ("node_id", Shape::Text, Optional),
    ("capabilities", Shape::Capabilities, Optional),
    ("max_agents", Shape::Whole, Optional),
    ("version", Shape::Text, Optional),
    ("provider", Shape::Provider, Need::Providers),
    ("load_reported", Shape::Bool, Need::LoadReported),
];
const NODE_DEREGISTER: &[Field] = &[("provider", Shape::Provider, Need::Providers)];
const AGENT_REGISTER: &[Field] = &[
    ("name", Shape::Text, Required),
    ("invocation_id", Shape::Text, Optional),
    ("session_ref", Shape::Text, Optional),
    ("resumable", Shape::Bool, Optional),
    ("auto_join_general", Shape::Bool, Need::AutoJoin),
];
const AGENT_RECOVER: &[Field] = &[
    ("name", Shape::Text, Required),
    ("expected_agent_id", Shape::Text, Required),
    ("invocation_id", Shape::Text, Optional),
    ("session_ref", Shape::Text, Optional),
    ("resumable", Shape::Bool, Optional),
];
const AGENT_DEREGISTER: &[Field] = &[("agent_id", Shape::Text, Required), ("name", Shape::Text, Optional)];
const DELIVERY_ACK: &[Field] = &[("agent", Shape::Text, Required), ("up_to_seq", Shape::Whole, Required)];
const ACTION_OUTPUT: &[Field] =
    &[("invocation_id", Shape::Text, Required), ("output", Shape::Json, Required)];
const ACTION_ERROR: &[Field] = &[("invocation_id", Shape::Text, Required), ("error", Shape::Text, Required)];
const INVENTORY_SYNC: &[Field] = &[("agents", Shape::Inventory, Required)];
const NODE_SPAWN: &[Field] = &[("input", Shape::Object, Required)];
const NODE_MESSAGE: &[Field] = &[
    ("to", Shape::Text, Required),
    ("from", Shape::Text, Required),
    ("text", Shape::Text, Required),
    ("thread_id", Shape::Text, Optional),
    ("mode", Shape::Mode, Optional),
    ("data", Shape::Object, Optional),
];
const PROVIDER: &[Field] = &[("name", Shape::Text, Required), ("instance_id", Shape::Text, Required)];
const CAPABILITY: &[Field] = &[
    ("name", Shape::Text, Required),
    ("kind", Shape::Kind, Optional),
    ("metadata", Shape::Object, Optional),
    ("global", Shape::Bool, Need::Providers),
    ("queue", Shape::Bool, Need::Providers),
];
const INVENTORY_AGENT: &[Field] = &[
    ("agent_id", Shape::Text, Required),
    ("name", Shape::Text, Required),
    ("invocation_id", Shape::Text, Optional),
    ("session_ref", Shape::Text, Optional),
];
const ENVELOPE: &[Field] =
    &[("v", Shape::Version, Required), ("type", Shape::Text, Required), ("id", Shape::Text, Optional)];

/// Checks one inbound message. Returns its type and keys.
///
/// # Errors
/// What is wrong, for the `invalid_message` error frame.
pub(super) fn check(text: &str, rules: &FrameRules) -> Result<(String, Map<String, Value>), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(frame) = value else {
        return Err("not an object".into());
    };
    let Some(kind) = frame.get("type").and_then(Value::as_str).map(str::to_owned) else {
        return Err("type: expected a string".into());
    };
    let fields = match kind.as_str() {
        "node.register" => NODE_REGISTER,
        "node.heartbeat" => NODE_HEARTBEAT,
        "node.deregister" => NODE_DEREGISTER,
        "agent.register" => AGENT_REGISTER,
        "agent.recover" if rules.recover => AGENT_RECOVER,
        "agent.deregister" => AGENT_DEREGISTER,
        "delivery.ack" => DELIVERY_ACK,
        "action.result" if frame.contains_key("error") => ACTION_ERROR,
        "action.result" => ACTION_OUTPUT,
        "inventory.sync" => INVENTORY_SYNC,
        "node.spawn" if rules.node_requests => NODE_SPAWN,
        "node.message" if rules.node_requests => NODE_MESSAGE,
        other => return Err(format!("type: {other:?} is not known")),
    };
    check_object(&frame, &[ENVELOPE, fields], rules).map_err(|why| format!("{kind}: {why}"))?;
    Ok((kind, frame))
}

fn check_object(object: &Map<String, Value>, tables: &[&[Field]], rules: &FrameRules) -> Result<(), String> {
    let known = || tables.iter().copied().flatten().filter(|(_, _, need)| exists(*need, rules));
    for (key, value) in object {
        let Some((_, shape, need)) = known().find(|(name, ..)| name == key) else {
            return Err(format!("{key}: unrecognized key"));
        };
        let absent = value.is_null() && *need == Need::Load && rules.optional_load;
        if !absent {
            check_value(value, *shape, rules).map_err(|why| format!("{key}: {why}"))?;
        }
    }
    for (name, _, need) in known() {
        let required = *need == Required || (*need == Need::Load && !rules.optional_load);
        if required && !object.contains_key(*name) {
            return Err(format!("{name}: required"));
        }
    }
    Ok(())
}

fn exists(need: Need, rules: &FrameRules) -> bool {
    match need {
        Required | Optional | Need::Load => true,
        Need::LoadReported => rules.optional_load,
        Need::Providers => rules.providers,
        Need::RepoKeys => rules.repo_keys,
        Need::AutoJoin => rules.auto_join,
    }
}

fn check_value(value: &Value, shape: Shape, rules: &FrameRules) -> Result<(), String> {
    let (fits, expected) = match shape {
        Shape::Version => (value.as_f64() == Some(1.0), "the number 1"),
        Shape::Text => (value.is_string(), "a string"),
        Shape::TextOrNull => (value.is_string() || value.is_null(), "a string or null"),
        Shape::Bool => (value.is_boolean(), "a boolean"),
        Shape::Whole => (whole(value).is_some(), "an integer of at least 0"),
        Shape::NonNegative => (value.as_f64().is_some_and(|number| number >= 0.0), "a number of at least 0"),
        Shape::Json => (true, "anything"),
        Shape::Object => (value.is_object(), "an object"),
        Shape::Texts => {
            (value.as_array().is_some_and(|list| list.iter().all(Value::is_string)), "an array of strings")
        }
        Shape::Mode => (matches!(value.as_str(), Some("wait" | "steer")), "\"wait\" or \"steer\""),
        Shape::Kind if rules.providers => {
            (matches!(value.as_str(), Some("action" | "capacity")), "\"action\" or \"capacity\"")
        }
        Shape::Kind => (value.is_string(), "a string"),
        Shape::Provider => return nested(value, PROVIDER, rules),
        Shape::Capabilities => return each(value, CAPABILITY, rules),
        Shape::Inventory => return each(value, INVENTORY_AGENT, rules),
    };
    if fits { Ok(()) } else { Err(format!("expected {expected}")) }
}

fn each(value: &Value, fields: &[Field], rules: &FrameRules) -> Result<(), String> {
    let list = value.as_array().ok_or("expected an array")?;
    for (index, item) in list.iter().enumerate() {
        nested(item, fields, rules).map_err(|why| format!("{index}: {why}"))?;
    }
    Ok(())
}

fn nested(value: &Value, fields: &[Field], rules: &FrameRules) -> Result<(), String> {
    check_object(value.as_object().ok_or("expected an object")?, &[fields], rules)
}

/// A non-negative integer, also when written as a float.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let number = match value.as_u64() {
        Some(number) => number,
        None => {
            let float = value.as_f64().filter(|float| float.fract() == 0.0 && *float >= 0.0)?;
            if float > MAX_SAFE_INTEGER as f64 {
                return None;
            }
            float as u64
        }
    };
    (number <= MAX_SAFE_INTEGER).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::super::profile::{Profile, ProfileName};
    use super::*;

    fn verdict(name: ProfileName, text: &str) -> Result<(), String> {
        check(text, &Profile::from(name).frames).map(|_| ())
    }

    const REGISTER_5: &str = r#"{"v":1,"type":"node.register","name":"n","node_id":"i","capabilities":[{"name":"release"}],"max_agents":0,"tags":[],"version":"1","resume_cursor":null}"#;
    const REGISTER_6: &str = r#"{"v":1,"type":"node.register","name":"n","node_id":"i","provider":{"name":"broker","instance_id":"x"},"capabilities":[],"max_agents":0,"tags":[],"version":"1"}"#;

    #[test]
    fn a_provider_is_unknown_to_5_and_known_to_6() {
        assert_eq!(verdict(ProfileName::V5_0_5, REGISTER_5), Ok(()));
        assert_eq!(verdict(ProfileName::V6_0_3, REGISTER_5), Ok(()));
        assert_eq!(verdict(ProfileName::V6_0_3, REGISTER_6), Ok(()));
        assert_eq!(
            verdict(ProfileName::V5_0_5, REGISTER_6),
            Err("node.register: provider: unrecognized key".into())
        );
    }

    #[test]
    fn capability_kinds_are_a_closed_set_from_6_on() {
        let text = REGISTER_5.replace(r#"{"name":"release"}"#, r#"{"name":"x","kind":"spawn"}"#);
        assert_eq!(verdict(ProfileName::V5_0_5, &text), Ok(()));
        assert!(verdict(ProfileName::V6_0_3, &text).is_err());
        let text = REGISTER_5.replace(r#"{"name":"release"}"#, r#"{"name":"x","queue":true}"#);
        assert!(verdict(ProfileName::V5_0_5, &text).is_err());
        assert_eq!(verdict(ProfileName::V6_0_3, &text), Ok(()));
    }

    #[test]
    fn load_is_required_until_it_becomes_optional() {
        let bare = r#"{"v":1,"type":"node.heartbeat","active_agents":0,"handlers_live":true}"#;
        let null = r#"{"v":1,"type":"node.heartbeat","active_agents":0,"handlers_live":true,"load":null,"load_reported":false}"#;
        for text in [bare, null] {
            assert!(verdict(ProfileName::V6_0_3, text).is_err());
            assert_eq!(verdict(ProfileName::V8_2_2, text), Ok(()));
        }
    }

    #[test]
    fn an_action_result_has_exactly_one_of_output_and_error() {
        let result = |rest: &str| {
            verdict(
                ProfileName::V5_0_5,
                &format!(r#"{{"v":1,"type":"action.result","invocation_id":"i"{rest}}}"#),
            )
        };
        assert_eq!(result(r#","output":null"#), Ok(()));
        assert_eq!(result(r#","error":"no""#), Ok(()));
        assert!(result("").is_err());
        assert!(result(r#","output":1,"error":"no""#).is_err());
        assert!(result(r#","output":1,"error":null"#).is_err());
    }

    #[test]
    fn integers_may_be_written_as_floats_but_not_be_fractions_or_negative() {
        let ack = |seq: &str| {
            verdict(
                ProfileName::V5_0_5,
                &format!(r#"{{"v":1,"type":"delivery.ack","agent":"a","up_to_seq":{seq}}}"#),
            )
        };
        assert_eq!(ack("3"), Ok(()));
        assert_eq!(ack("3.0"), Ok(()));
        assert!(
            ack("3.5").is_err()
                && ack("-1").is_err()
                && ack("\"3\"").is_err()
                && ack("9007199254740993").is_err()
        );
    }

    #[test]
    fn other_versions_and_types_are_refused() {
        assert!(verdict(ProfileName::V5_0_5, r#"{"v":2,"type":"node.deregister"}"#).is_err());
        assert!(
            verdict(
                ProfileName::V5_0_5,
                r#"{"v":1,"type":"agent.recover","name":"a","expected_agent_id":"1"}"#
            )
            .is_err()
        );
        assert!(verdict(ProfileName::V6_0_3, r#"{"v":1,"type":"node.spawn","input":{}}"#).is_ok());
        assert!(verdict(ProfileName::V5_0_5, "[]").is_err() && verdict(ProfileName::V5_0_5, "{").is_err());
    }
}
