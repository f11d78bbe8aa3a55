//! The engine model's frames: schemas per release, errors, registration, the minimal session.

use crate::support::{ALL, Bench, CURSOR, WITH_CURSOR, keys, numbered, pairs, releases, text};
use relay_sim::engine::{Event, ProfileName};
use serde_json::{Value, json};

/// Whether a frame passes the schema of a release.
fn passes(profile: ProfileName, mut frame: Value) -> bool {
    let mut bench = Bench::new(profile);
    let (_, connection) = bench.broker("n");
    frame["id"] = json!("mine");
    bench.send(connection, frame);
    let frames = bench.frames(connection);
    !frames.iter().any(|frame| frame["code"] == "invalid_message")
}

fn with(mut frame: Value, key: &str, value: Value) -> Value {
    frame[key] = value;
    frame
}

pub(crate) fn each_release_knows_its_own_keys_and_frames_and_no_other() {
    let register = json!({
        "type": "node.register", "name": "n", "node_id": "node_n", "capabilities": [], "max_agents": 0, "tags": [],
        "version": "1", "resume_cursor": null,
    });
    let heartbeat = json!({ "type": "node.heartbeat", "load": 0, "active_agents": 0, "handlers_live": true });
    let without_load = json!({ "type": "node.heartbeat", "active_agents": 0, "handlers_live": true });
    let agent = json!({ "type": "agent.register", "name": "a", "session_ref": "s", "resumable": true });
    let recover = json!({ "type": "agent.recover", "name": "a", "expected_agent_id": "1" });
    let message = json!({ "type": "node.message", "to": "a", "from": "b", "text": "x", "mode": "steer" });
    let provider = json!({ "name": "broker", "instance_id": "i1" });
    let capability = |key: &str, value: Value| {
        let item = with(json!({ "name": "x" }), key, value);
        with(register.clone(), "capabilities", json!([item]))
    };
    let ever = [true; 5];
    let since_6 = [false, true, true, true, true];
    let since_8_2 = [false, false, true, true, true];
    let since_8_11 = [false, false, false, true, true];
    let cases = [
        (register.clone(), ever),
        (heartbeat.clone(), ever),
        (agent.clone(), ever),
        (capability("kind", json!("capacity")), ever),
        (capability("metadata", json!({})), ever),
        (with(heartbeat.clone(), "max_agents", json!(3)), ever),
        (with(register.clone(), "provider", provider.clone()), since_6),
        (with(register.clone(), "machine_id", json!("m")), since_6),
        (capability("global", json!(true)), since_6),
        (capability("queue", json!(true)), since_6),
        (with(heartbeat.clone(), "provider", provider.clone()), since_6),
        (with(json!({ "type": "node.deregister" }), "provider", provider), since_6),
        (json!({ "type": "node.spawn", "input": {} }), since_6),
        (message, since_6),
        (without_load, since_8_2),
        (with(heartbeat.clone(), "load", Value::Null), since_8_2),
        (with(heartbeat, "load_reported", json!(true)), since_8_2),
        (with(register, "repo_keys", json!(["k"])), since_8_2),
        (recover, since_8_2),
        (with(agent, "auto_join_general", json!(false)), since_8_11),
    ];
    for (frame, known) in cases {
        for (profile, known) in releases(known) {
            assert_eq!(passes(profile, frame.clone()), known, "{profile}: {frame}");
            assert!(!passes(profile, with(frame.clone(), "surprise", json!(1))), "{profile}: {frame}");
        }
    }
}

pub(crate) fn missing_keys_and_wrong_types_are_invalid_messages_in_every_release() {
    let wrong = [
        json!({ "type": "node.heartbeat", "load": 0, "handlers_live": true }),
        json!({ "type": "node.heartbeat", "load": -1, "active_agents": 0, "handlers_live": true }),
        json!({ "type": "node.heartbeat", "load": 0, "active_agents": 0.5, "handlers_live": true }),
        json!({ "type": "agent.register" }),
        json!({ "type": "agent.deregister", "name": "a" }),
        json!({ "type": "delivery.ack", "agent": "a", "up_to_seq": -1 }),
        json!({ "type": "delivery.ack", "agent": "a", "up_to_seq": null }),
        json!({ "type": "action.result", "invocation_id": "i" }),
        json!({ "type": "action.result", "invocation_id": "i", "output": 1, "error": "x" }),
        json!({ "type": "inventory.sync" }),
        json!({ "type": "inventory.sync", "agents": [{ "name": "a" }] }),
        json!({ "type": "inventory.sync", "agents": [{ "name": "a", "agent_id": "1", "state": "x" }] }),
        json!({ "type": "something.else" }),
    ];
    for profile in ALL {
        for frame in &wrong {
            assert!(!passes(profile, frame.clone()), "{profile}: {frame}");
        }
    }
}

pub(crate) fn an_invalid_message_has_a_foreign_id_and_leaves_the_socket_open() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let answer = bench.ask(connection, json!({ "type": "agent.register", "id": "mine", "nam": "bob" }));
        assert_eq!(keys(&answer), ["code", "id", "message", "ok", "type", "v"]);
        assert_eq!(answer["code"], "invalid_message");
        assert_ne!(answer["id"], "mine");
        assert_eq!((&answer["v"], &answer["ok"]), (&json!(1), &json!(false)));
        bench.engine.text(bench.now, connection, "{");
        bench.engine.text(bench.now, connection, r#"{"v":2,"type":"node.deregister"}"#);
        assert_eq!(bench.frames(connection).len(), 2);
        assert_eq!(bench.closes(), []);
        bench.worker(connection, "bob");
    }
}

#[test]
fn answers_echo_the_id_or_mint_one() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let named = bench.ask(connection, json!({ "type": "agent.register", "id": "r1", "name": "bob" }));
        assert_eq!(keys(&named), ["data", "id", "ok", "type", "v"]);
        assert_eq!((&named["id"], &named["ok"]), (&json!("r1"), &json!(true)));
        let unnamed = bench.ask(connection, json!({ "type": "inventory.sync", "agents": [] }));
        assert!(unnamed["id"].as_str().is_some_and(|id| !id.is_empty()), "{unnamed}");
        let frame = json!({ "type": "node.register", "id": "r2", "name": "n", "node_id": "other", "capabilities": [],
            "max_agents": 0, "tags": [], "version": "1" });
        let frame = if bench.has_cursor() {
            with(frame, "provider", json!({ "name": "broker", "instance_id": "i1" }))
        } else {
            frame
        };
        let refused = bench.ask(connection, frame);
        assert_eq!((&refused["id"], &refused["code"]), (&json!("r2"), &json!("node_id_mismatch")));
    }
}

#[test]
fn a_node_may_take_a_free_name_but_not_a_used_one() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        bench.node("taken");
        let (node, connection) = bench.broker("n");
        let frame = bench.registration(&node, "i1");
        let taken = with(frame.clone(), "name", json!("taken"));
        assert_eq!(bench.error(connection, taken), "node_name_conflict");
        let data = bench.reply(connection, with(frame, "name", json!("free")));
        assert_eq!(data["name"], "free", "{profile}");
    }
}

#[test]
fn the_reply_to_a_registration_describes_the_node_and_the_accepted_capabilities() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let connection = bench.connect(&node);
        let mut frame = bench.registration(&node, "i1");
        let explicit = json!({ "name": "quiet", "kind": "capacity" });
        frame["capabilities"].as_array_mut().unwrap().push(explicit);
        let data = bench.reply(connection, frame);
        assert_eq!(
            (&data["id"], &data["status"], &data["handlers_live"]),
            (&json!(node.id), &json!("online"), &json!(true))
        );
        assert!(data["capabilities"].as_array().unwrap().contains(&json!({ "name": "echo" })));
        assert_eq!(data.get("registration_contract").is_some(), profile >= ProfileName::V8_11_4);
        if !bench.has_cursor() {
            assert!(data.get("provider").is_none() && data.get("accepted_capabilities").is_none());
            continue;
        }
        assert_eq!(data["provider"]["name"], "broker");
        let accepted: Vec<_> = data["accepted_capabilities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (text(&entry["name"]), text(&entry["kind"]), entry["accepted"] == true))
            .collect();
        let expected = [
            ("spawn:claude", "capacity"),
            ("release", "capacity"),
            ("echo", "action"),
            (CURSOR, "capacity"),
            ("quiet", "capacity"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned(), true)).collect();
        assert_eq!(accepted, expected, "{profile}");
    }
}

#[test]
fn capabilities_are_replaced_by_every_registration() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (node, connection) = bench.broker("n");
    let frame = with(bench.registration(&node, "i1"), "capabilities", json!([]));
    let data = bench.reply(connection, frame);
    assert_eq!((&data["capabilities"], &data["handlers_live"]), (&json!([]), &json!(false)));
}

#[test]
fn the_minimal_session_runs_as_written() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (node, first) = bench.broker("n");
    let (alice, bob) = (bench.agent("alice"), bench.worker(first, "bob"));
    bench.close(first);
    bench.dm(&alice, "bob", "while away");

    let connection = bench.connect(&node);
    let frame = bench.registration(&node, "i2");
    bench.send(connection, frame);
    let frames = bench.frames(connection);
    assert_eq!(frames.len(), 1, "no deliver yet");
    assert!(frames[0]["type"] == "reply" && frames[0]["id"].is_string());

    let frame = bench.inventory(&[&bob]);
    bench.send(connection, frame);
    let frames = bench.frames(connection);
    assert_eq!(frames[0]["data"]["rebound_agents"], 1);
    assert_eq!(numbered(&frames[1..]), pairs(&[("bob", 1)]));

    bench.heartbeat(connection);
    assert_eq!(bench.frames(connection), Vec::<Value>::new());

    let carol = bench.ask(connection, json!({ "type": "agent.register", "id": "r1", "name": "carol" }));
    assert_eq!(carol["id"], "r1");
    assert_eq!(keys(&carol["data"]), ["agent_id", "delivery_ack_seq", "name", "token"]);
    assert_eq!(carol["data"]["delivery_ack_seq"], 0);

    bench.dm(&alice, "bob", "now");
    assert_eq!(bench.delivered(connection), pairs(&[("bob", 2)]));
    bench.ack(connection, "bob", 2);
    assert_eq!(bench.frames(connection), Vec::<Value>::new());
    assert_eq!(bench.rows(&bob), [(1, "acked"), (2, "acked")]);

    let key = bench.key.clone();
    let spawn = json!({ "name": "dave", "cli": "claude", "task": "t" });
    let id = text(&bench.post("/v1/agents/spawn", &key, spawn)["invocation_id"]);
    let invoke = bench.frames(connection).remove(0);
    assert_eq!(
        (&invoke["type"], &invoke["invocation_id"], &invoke["action"]),
        (&json!("action.invoke"), &json!(id), &json!("spawn:claude"))
    );
    bench.worker(connection, "dave");
    bench.send(connection, json!({ "type": "action.result", "invocation_id": id, "output": { "ok": 1 } }));
    assert_eq!(bench.frames(connection), Vec::<Value>::new());
    let done = bench.get(&format!("/v1/actions/spawn/invocations/{id}"), &key);
    assert_eq!((&done["status"], &done["output"]), (&json!("completed"), &json!({ "ok": 1 })));
}

pub(crate) fn the_reply_to_agent_register_has_exactly_its_keys() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        let data = bench.reply(connection, json!({ "type": "agent.register", "name": "bob" }));
        let expected: &[_] = if bench.has_cursor() {
            &["agent_id", "delivery_ack_seq", "name", "token"]
        } else {
            &["agent_id", "name", "token"]
        };
        assert_eq!(keys(&data), expected, "{profile}");
        assert_eq!(bench.get("/v1/agent", &text(&data["token"]))["id"], data["agent_id"]);
        let mut plain = bench.registration(&node, "i1");
        plain["capabilities"] = json!([{ "name": "release" }]);
        bench.reply(connection, plain);
        let data = bench.reply(connection, json!({ "type": "agent.register", "name": "eve" }));
        assert_eq!(keys(&data), ["agent_id", "name", "token"], "not advertised: {profile}");
    }
}

/// `(known to this node, active elsewhere, inactive elsewhere, only over HTTP)`: codes, or none when
/// it is taken over.
fn second_registrations(profile: ProfileName) -> [Option<String>; 4] {
    let mut bench = Bench::new(profile);
    let ((_, here), (_, there)) = (bench.broker("here"), bench.broker("there"));
    let own = bench.worker(here, "own");
    let idle = bench.worker(there, "idle");
    bench.sync(there, &[]);
    bench.worker(there, "busy");
    let direct = bench.agent("direct");
    [("own", Some(&own)), ("busy", None), ("idle", Some(&idle)), ("direct", Some(&direct))].map(
        |(name, before)| {
            let answer = bench.ask(here, json!({ "type": "agent.register", "name": name }));
            if answer["type"] == "error" {
                if let Some(before) = before {
                    bench.get("/v1/agent", &before.token);
                }
                return Some(text(&answer["code"]));
            }
            let before = before.expect("busy elsewhere is never taken over");
            assert_eq!(answer["data"]["agent_id"], json!(before.id));
            let old = bench.refused("GET", "/v1/agent", &before.token, Value::Null);
            assert_eq!(old, (401, "agent_token_invalid".into()), "the old token dies at once");
            bench.get("/v1/agent", &text(&answer["data"]["token"]));
            None
        },
    )
}

pub(crate) fn a_known_name_is_taken_over_with_a_new_token_or_refused() {
    let upsert = [None, Some("agent_location_conflict"), None, None];
    let create_only = [Some("agent_already_exists"); 4];
    for (profile, expected) in releases([upsert, upsert, create_only, create_only, create_only]) {
        let expected = expected.map(|code| code.map(str::to_owned));
        assert_eq!(second_registrations(profile), expected, "{profile}");
    }
}

pub(crate) fn a_node_recovers_its_own_agents_only() {
    for profile in ALL.into_iter().filter(|name| *name >= ProfileName::V8_2_2) {
        let mut bench = Bench::new(profile);
        let ((node, home), (_, other)) = (bench.broker("home"), bench.broker("other"));
        let (alice, bob) = (bench.agent("alice"), bench.worker(home, "bob"));
        bench.dm(&alice, "bob", "one");
        bench.frames(home);
        let home = bench.reconnect(&node, home);
        let recover =
            |name: &str, id: &str| json!({ "type": "agent.recover", "name": name, "expected_agent_id": id });
        assert_eq!(bench.error(home, recover("nobody", "1")), "agent_not_found");
        let others = [(home, "bob", "1"), (other, "bob", &bob.id), (home, "alice", &alice.id)];
        for (asking, name, id) in others {
            assert_eq!(bench.error(asking, recover(name, id)), "agent_recovery_not_authorized");
        }
        bench.send(home, recover("bob", &bob.id));
        let frames = bench.frames(home);
        assert_eq!(keys(&frames[0]["data"]), ["agent_id", "delivery_ack_seq", "name", "token"]);
        assert_eq!(frames[0]["data"]["agent_id"], json!(bob.id));
        assert_eq!(numbered(&frames[1..]), pairs(&[("bob", 1)]), "replay after the reply");
        bench.get("/v1/agent", &bob.token);
        bench.get("/v1/agent", &text(&frames[0]["data"]["token"]));
    }
}

#[test]
fn a_deregistered_agent_is_offline_on_its_direct_node_and_keeps_its_mail() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let (alice, bob) = (bench.agent("alice"), bench.worker(connection, "bob"));
        bench.send(connection, json!({ "type": "agent.deregister", "agent_id": bob.id }));
        bench.send(connection, json!({ "type": "agent.deregister", "agent_id": alice.id }));
        assert_eq!(bench.frames(connection), Vec::<Value>::new(), "never answered without an id");
        assert_eq!(bench.status_of("bob"), "offline");
        assert_eq!(bench.status_of("alice"), "active");
        bench.dm(&alice, "bob", "x");
        assert_eq!(bench.frames(connection), Vec::<Value>::new());
        assert_eq!(bench.rows(&bob), [(1, "queued")]);
        bench.send(connection, json!({ "type": "agent.deregister", "id": "d", "agent_id": bob.id }));
        assert_eq!(bench.frames(connection).len(), usize::from(profile >= ProfileName::V8_11_4), "{profile}");
    }
}

pub(crate) fn in_5_a_refused_registration_leaves_a_socket_that_is_served_all_the_same() {
    let mut bench = Bench::new(ProfileName::V5_0_5);
    let node = bench.node("n");
    let connection = bench.connect(&node);
    let frame = with(bench.registration(&node, "i1"), "node_id", json!("other"));
    assert_eq!(bench.error(connection, frame), "node_id_mismatch");
    assert_eq!(bench.closes(), []);
    let (alice, bob) = (bench.agent("alice"), bench.worker(connection, "bob"));
    bench.dm(&alice, "bob", "x");
    assert_eq!(bench.delivered(connection), pairs(&[("bob", 1)]));
    bench.ack(connection, "bob", 1);
    assert_eq!(bench.rows(&bob), [(1, "acked")]);
}

pub(crate) fn a_refused_registration_leaves_a_connection_that_acts_as_the_default_provider() {
    for profile in WITH_CURSOR {
        let mut bench = Bench::new(profile);
        let (node, old) = bench.broker("n");
        let (alice, bob) = (bench.agent("alice"), bench.worker(old, "bob"));
        bench.dm(&alice, "bob", "x");
        bench.frames(old);
        let half = bench.connect(&node);
        let frame = bench.registration(&node, "i2");
        assert_eq!(bench.error(half, frame), "provider_instance_conflict");
        bench.ack(half, "bob", 1);
        assert_eq!(bench.rows(&bob), [(1, "delivered")], "its ack is ignored: {profile}");
        let lost = bench.worker(half, "lost");
        bench.dm(&alice, "lost", "y");
        assert_eq!(bench.rows(&lost), [(1, "queued")]);
        assert_eq!(bench.frames(half), Vec::<Value>::new());
        bench.pass(40_000);
        bench.heartbeat(half);
        bench.pass(30_000);
        assert_eq!(bench.node_view(&node)["status"], "online", "its heartbeats count");
        let matched = bench.engine.journal().iter().any(
            |record| matches!(&record.event, Event::Acked { connection, matched, .. } if *connection == half && matched.is_some()),
        );
        assert!(!matched);
    }
}
