//! Every file of `fixtures/wire` against the wire: what comes in is read as `in-expected.txt` says, what goes
//! out is written byte for byte. A file that no table names, or a name without a file, fails.

extern crate std;

use super::*;
use crate::ids::{AgentId, AgentName};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::vec;

fn folder(direction: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/wire").join(direction)
}

/// The text of a fixture without the newline at its end.
fn fixture(direction: &str, name: &str) -> String {
    let path = folder(direction).join(name).with_added_extension("json");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim_end().to_owned()
}

fn assert_every_file_is_named(direction: &str, names: &[&str]) {
    let files: BTreeSet<String> = fs::read_dir(folder(direction))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let named: BTreeSet<String> = names.iter().map(|name| format!("{name}.json")).collect();
    assert_eq!(files, named, "files of fixtures/wire/{direction} and the table that checks them");
    assert_eq!(named.len(), names.len(), "a name stands twice in the table");
}

fn or_dash(text: Option<&str>) -> &str {
    text.unwrap_or("-")
}

/// Everything that was read of a frame, in one line.
fn describe(frame: &str) -> String {
    match decode(frame) {
        Ok(Inbound::Deliver(row)) => {
            let kind = row.payload.and_then(|payload| Object::parse(payload.get()));
            let kind = kind.and_then(|payload| payload.text("type"));
            format!(
                "deliver agent={}/{} delivery={} msg={} seq={} {} {} odd={}",
                or_dash(row.identity.agent_id()),
                or_dash(row.identity.name()),
                or_dash(row.delivery_id.as_deref()),
                or_dash(row.msg_id.as_deref()),
                row.seq,
                match row.mode {
                    Mode::Wait => "wait",
                    Mode::Steer => "steer",
                },
                kind.as_deref().or_else(|| row.payload.map(|raw| raw.get())).unwrap_or("-"),
                or_dash(row.repaired),
            )
        }
        Ok(Inbound::Invoke(call)) => format!(
            "invoke {} action={} input={} agent={}/{}",
            call.invocation_id,
            call.action,
            call.input.get(),
            or_dash(call.agent_id.as_deref()),
            or_dash(call.agent_name.as_deref()),
        ),
        Ok(Inbound::Reply(reply)) => format!("reply {} {}", or_dash(reply.id.as_deref()), data_of(&reply)),
        Ok(Inbound::Error(error)) => {
            format!("error {} {}: {}", or_dash(error.id.as_deref()), error.code, error.message)
        }
        Ok(Inbound::ContextUpdate) => "context".to_owned(),
        Ok(Inbound::Ping) => "ping".to_owned(),
        Ok(Inbound::Unknown { kind }) => format!("unknown {kind}"),
        Err(refused) => format!("REFUSED: {refused}"),
    }
}

/// The data of a reply as an agent's, else its size.
fn data_of(reply: &Reply<'_>) -> String {
    match reply.registered_agent() {
        Some(agent) => format!(
            "agent={}/{} token={} acked={:?}",
            agent.agent_id,
            or_dash(agent.name.as_ref().map(|name| name.0.as_str())),
            agent.token.expose(),
            agent.delivery_ack_seq,
        ),
        None => format!("{} bytes", reply.data.get().len()),
    }
}

/// `in-expected.txt`: for each file of `in`, its name and what [`describe`] makes of it.
fn expected() -> Vec<(String, String)> {
    let table = fs::read_to_string(folder("in-expected.txt")).unwrap();
    let row = |line: &str| line.split_once(": ").map(|(name, text)| (name.to_owned(), text.to_owned()));
    table.lines().map(|line| row(line).unwrap_or_else(|| panic!("no `name: text`: {line}"))).collect()
}

#[test]
fn every_inbound_fixture_is_read_as_the_table_says() {
    let table = expected();
    let names: Vec<&str> = table.iter().map(|(name, _)| name.as_str()).collect();
    assert_every_file_is_named("in", &names);
    for (name, expected) in &table {
        assert_eq!(describe(&fixture("in", name)).trim_end(), expected, "{name}");
        assert_eq!(name.ends_with(".refused"), refused(name, expected), "{name}: its name tells its outcome");
    }
}

/// Whether the line says that nothing, or of a registration not the needed part, could be used.
fn refused(name: &str, line: &str) -> bool {
    line.starts_with("REFUSED") || (name.contains("agent-register") && !line.contains("token="))
}

#[test]
fn no_cut_or_changed_frame_panics() {
    for (name, _) in expected() {
        let text = fixture("in", &name);
        for (at, _) in text.char_indices() {
            describe(&text[..at]);
            for other in ["\"", "{", "null", "\\u", "-"] {
                describe(&format!("{}{other}{}", &text[..at], &text[at..]));
            }
        }
    }
}

fn node() -> Node {
    Node {
        name: "bench".into(),
        node_id: "node_189961082a81a6f905cc4e5b8d65e3be".into(),
        capabilities: vec!["spawn:claude".into(), "release".into()],
        max_agents: 8,
        tags: vec!["linux".into(), "x86_64".into()],
        version: "relay-broker/0.1.0".into(),
        provider: Provider { name: "broker".into(), instance_id: "i-5f0c".into() },
    }
}

/// A node without limit or labels, which starts no agents.
fn small_node() -> Node {
    Node { capabilities: vec!["release".into()], max_agents: 0, tags: vec![], ..node() }
}

/// Every frame that this broker sends, by the name of its fixture.
fn outbound() -> Vec<(&'static str, String)> {
    let (f1, inv) = (&"f1".into(), &"inv_7003".into());
    let (id, name): (AgentId, AgentName) = ("4102".into(), "otto".into());
    let listed = |invocation_id, session_ref| InventoryAgent {
        agent_id: &id,
        name: &name,
        invocation_id,
        session_ref,
    };
    let raw = |text: &'static str| Outcome::Output(serde_json::from_str(text).unwrap());
    vec![
        ("node.register.provider", node().register(f1, Dialect::Provider)),
        ("node.register.legacy", node().register(f1, Dialect::Legacy)),
        ("node.register.no-limit.provider", small_node().register(f1, Dialect::Provider)),
        ("node.register.no-limit.legacy", small_node().register(f1, Dialect::Legacy)),
        ("node.heartbeat.provider", node().heartbeat(2, true, Dialect::Provider)),
        ("node.heartbeat.legacy", node().heartbeat(2, true, Dialect::Legacy)),
        ("node.heartbeat.over-full", node().heartbeat(9, true, Dialect::Provider)),
        ("node.heartbeat.no-limit", small_node().heartbeat(300, false, Dialect::Provider)),
        ("node.deregister.provider", node().deregister(Dialect::Provider)),
        ("node.deregister.legacy", node().deregister(Dialect::Legacy)),
        ("agent.register", agent_register(f1, &name, None, None)),
        ("agent.register.resumable", agent_register(f1, &name, Some(inv), Some("sess-9"))),
        ("agent.recover", agent_recover(f1, &name, &id, None, None)),
        ("agent.recover.resumable", agent_recover(f1, &name, &id, Some(inv), Some("sess-9"))),
        ("agent.deregister", agent_deregister(None, &id, None)),
        ("agent.deregister.answered", agent_deregister(Some(f1), &id, Some(&name))),
        ("delivery.ack", delivery_ack(&name, 42)),
        ("delivery.ack.odd-name", delivery_ack(&"a \"b\"\\\u{1}é\u{2028}".into(), 0)),
        ("action.result.output", action_result(inv, raw(r#"{"spawned":true,"name":"ines"}"#))),
        ("action.result.output-null", action_result(inv, raw("null"))),
        ("action.result.error", action_result(inv, Outcome::Error("spawn_agent_name_in_use"))),
        ("action.result.error-empty", action_result(inv, Outcome::Error(""))),
        ("inventory.sync", inventory_sync(f1, &[listed(None, None), listed(Some(inv), Some("sess-9"))])),
        ("inventory.sync.empty", inventory_sync(f1, &[])),
    ]
}

#[test]
fn every_outbound_fixture_is_written_byte_for_byte() {
    let frames = outbound();
    let names: Vec<&str> = frames.iter().map(|(name, _)| *name).collect();
    assert_every_file_is_named("out", &names);
    for (name, frame) in frames {
        assert_eq!(frame, fixture("out", name), "{name}");
    }
}

/// The keys beside `v` and `type` that an engine's schema asks for, and those that it allows, in the words of
/// its strictest version for the dialect (`core/PROTOCOL.md` §3).
fn schema(kind: &str, dialect: Dialect) -> (&'static [&'static str], Vec<&'static str>) {
    let (required, mut allowed): (&[_], Vec<_>) = match kind {
        "node.register" => (
            &["name", "node_id", "capabilities", "max_agents", "tags", "version"],
            vec!["id", "resume_cursor"],
        ),
        "node.heartbeat" => (
            &["load", "active_agents", "handlers_live"],
            vec!["id", "name", "node_id", "capabilities", "max_agents", "version"],
        ),
        "node.deregister" => (&[], vec!["id"]),
        "agent.register" => (&["name"], vec!["id", "invocation_id", "session_ref", "resumable"]),
        "agent.recover" => {
            (&["name", "expected_agent_id"], vec!["id", "invocation_id", "session_ref", "resumable"])
        }
        "agent.deregister" => (&["agent_id"], vec!["id", "name"]),
        "delivery.ack" => (&["agent", "up_to_seq"], vec!["id"]),
        "action.result" => (&["invocation_id"], vec!["id", "output", "error"]),
        "inventory.sync" => (&["agents"], vec!["id"]),
        other => panic!("no frame of ours: {other}"),
    };
    if kind.starts_with("node.") && dialect == Dialect::Provider {
        allowed.push("provider");
    }
    (required, allowed)
}

#[test]
fn no_frame_has_a_key_that_its_dialect_does_not_know() {
    for (name, frame) in outbound() {
        let dialect = if name.ends_with(".legacy") { Dialect::Legacy } else { Dialect::Provider };
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let keys: BTreeSet<&str> = frame.as_object().unwrap().keys().map(String::as_str).collect();
        let (required, allowed) = schema(frame["type"].as_str().unwrap(), dialect);
        assert_eq!(frame["v"], 1, "{name}");
        for key in required {
            assert!(keys.contains(key), "{name} lacks {key}");
        }
        for key in keys {
            let known = key == "v" || key == "type" || required.contains(&key) || allowed.contains(&key);
            assert!(known, "{name}: the engine does not know {key}");
            assert!(!frame[key].is_null() || key == "output", "{name}: {key} is null instead of absent");
        }
        let outcomes = usize::from(frame.get("output").is_some()) + usize::from(frame.get("error").is_some());
        assert_eq!(outcomes, usize::from(frame["type"] == "action.result"), "{name}");
    }
}

#[test]
fn the_debug_form_of_a_reply_shows_no_token() {
    for name in ["reply.agent-register.5.0", "reply.agent-register.cursor"] {
        let text = fixture("in", name);
        let Ok(Inbound::Reply(reply)) = decode(&text) else { panic!("{name} is a reply") };
        let shown = format!("{:?} {:?} {:?}", decode(&text), reply, reply.registered_agent().unwrap());
        assert!(!shown.contains("at_live_0f"), "{shown}");
    }
}
