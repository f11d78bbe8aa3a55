//! The engine model's invocations: placement, dispatch, time-outs, rescheduling, results, releases.

use crate::support::{ALL, Bench, Node, WITH_CURSOR, releases, text};
use relay_sim::engine::{ConnectionId, ProfileName};
use serde_json::{Value, json};

fn spawn(bench: &mut Bench, body: Value) -> Value {
    let mut input = json!({ "name": "bob", "cli": "claude", "task": "t" });
    input.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    let key = bench.key.clone();
    bench.post("/v1/agents/spawn", &key, input)
}

fn refused_spawn(bench: &mut Bench, token: &str, body: &Value) -> (u16, String) {
    let mut input = json!({ "name": "bob", "cli": "claude", "task": "t" });
    input.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    bench.refused("POST", "/v1/agents/spawn", token, input)
}

fn invocation(bench: &mut Bench, id: &str) -> Value {
    let key = bench.key.clone();
    bench.get(&format!("/v1/actions/any/invocations/{id}"), &key)
}

fn status(bench: &mut Bench, id: &str) -> String {
    text(&invocation(bench, id)["status"])
}

fn result(bench: &mut Bench, connection: ConnectionId, id: &str, key: &str, value: Value) {
    let mut frame = json!({ "type": "action.result", "invocation_id": id });
    frame[key] = value;
    bench.send(connection, frame);
}

/// The invocation ids of the `action.invoke` frames since the last look.
fn invoked(bench: &mut Bench, connection: ConnectionId) -> Vec<String> {
    let frames = bench.frames(connection);
    let invokes = frames.iter().filter(|frame| frame["type"] == "action.invoke");
    invokes.map(|frame| text(&frame["invocation_id"])).collect()
}

/// Registers a node with a load and a limit.
fn loaded(bench: &mut Bench, name: &str, load: f64, limit: u64) -> (Node, ConnectionId) {
    let node = bench.node(name);
    let connection = bench.connect(&node);
    let mut frame = bench.registration(&node, "i1");
    frame["max_agents"] = json!(limit);
    bench.reply(connection, frame);
    let mut beat =
        json!({ "type": "node.heartbeat", "load": load, "active_agents": 0, "handlers_live": true });
    if bench.has_cursor() {
        beat["provider"] = json!({ "name": "broker", "instance_id": "i1" });
    }
    bench.send(connection, beat);
    (node, connection)
}

#[test]
fn a_spawn_names_its_capability_in_the_frame_and_itself_in_the_answer() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        for body in [
            json!({}),
            json!({ "capability": "spawn:claude" }),
            json!({ "cli": "codex", "capability": "claude" }),
        ] {
            let data = spawn(&mut bench, body);
            assert_eq!(
                (&data["action_name"], &data["status"], &data["dispatched_node_id"]),
                (&json!("spawn"), &json!("dispatched"), &json!(node.id)),
                "{profile}"
            );
            let frame = bench.frames(connection).remove(0);
            assert_eq!((&frame["action"], &frame["input"]["name"]), (&json!("spawn:claude"), &json!("bob")));
            assert!(text(&frame["invocation_id"]).starts_with("inv_"));
        }
    }
}

pub(crate) fn a_spawn_that_names_its_node_waits_until_that_is_online_and_its_handlers_are_live() {
    for profile in ALL {
        for away in ["closed", "stale", "handlers not live"] {
            let mut bench = Bench::new(profile);
            let (node, connection) = bench.broker("n");
            let (_, other) = bench.broker("other");
            match away {
                "closed" => bench.close(connection),
                "stale" => bench.pass(60_000),
                _ => bench.beat_with(connection, 0, false),
            }
            let id = text(&spawn(&mut bench, json!({ "target": "n" }))["invocation_id"]);
            assert_eq!(status(&mut bench, &id), "pending", "{profile} {away}");
            assert_eq!(invoked(&mut bench, connection), Vec::<String>::new(), "{profile} {away}");
            let back = if away == "closed" { bench.connect(&node) } else { connection };
            if away == "closed" {
                bench.register(back, &node);
            } else {
                bench.heartbeat(back);
            }
            assert_eq!(invoked(&mut bench, back), [&*id], "{profile} {away}");
            assert_eq!(status(&mut bench, &id), "dispatched", "{profile} {away}");
            assert_eq!(invoked(&mut bench, other), Vec::<String>::new(), "nobody else is asked");
        }
    }
}

#[test]
fn a_named_node_must_exist_and_offer_what_is_wanted() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        bench.broker("n");
        let key = bench.key.clone();
        let mut refused = |body| refused_spawn(&mut bench, &key, &body);
        assert_eq!(refused(json!({ "target_node": "none" })), (404, "node_not_found".into()), "{profile}");
        assert_eq!(refused(json!({ "node": "n", "cli": "codex" })), (409, "capability_mismatch".into()));
    }
}

#[test]
fn a_harness_that_is_not_on_the_list_is_refused_by_5_0_5() {
    let known = ["claude", "codex", "gemini", "aider", "goose", "opencode", "grok"];
    for (profile, listed) in releases([true, false, false, false, false]) {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let connection = bench.connect(&node);
        let mut frame = bench.registration(&node, "i1");
        let offers = known.iter().chain(&["cat"]).map(|name| json!({ "name": format!("spawn:{name}") }));
        frame["capabilities"] = offers.collect();
        bench.reply(connection, frame);
        for cli in known {
            spawn(&mut bench, json!({ "cli": cli }));
        }
        assert_eq!(invoked(&mut bench, connection).len(), known.len(), "{profile}");
        let (key, alice) = (bench.key.clone(), bench.agent("alice"));
        for cli in [json!("cat"), json!("Claude"), Value::Null] {
            let wish = json!({ "name": "bob", "cli": cli, "capability": "cat", "task": "t" });
            let (status, answer) = bench.call("POST", "/v1/agents/spawn", &key, wish);
            let expected = if listed { (400, json!("invalid_request")) } else { (201, Value::Null) };
            assert_eq!((status, answer["error"]["code"].clone()), expected, "{profile}: {cli}");
        }
        invoked(&mut bench, connection);
        let input = json!({ "input": { "name": "bob", "cli": "cat" } });
        bench.post("/v1/actions/spawn/invoke", &alice.token, input);
        assert_eq!(invoked(&mut bench, connection).len(), 1, "an action takes any: {profile}");
    }
}

#[test]
fn the_place_called_self_is_the_node_of_the_caller() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (_, connection) = bench.broker("n");
    let (key, alice, dave) = (bench.key.clone(), bench.worker(connection, "alice"), bench.agent("dave"));
    let body = json!({ "target_node": "self" });
    assert_eq!(refused_spawn(&mut bench, &key, &body), (400, "placement_self_requires_agent".into()));
    assert_eq!(refused_spawn(&mut bench, &dave.token, &body), (409, "placement_self_unavailable".into()));
    let spawn = json!({ "name": "bob", "cli": "claude", "task": "t", "target_node": "self" });
    bench.post("/v1/agents/spawn", &alice.token, spawn);
    assert_eq!(invoked(&mut bench, connection).len(), 1);
}

pub(crate) fn a_spawn_without_a_place_goes_to_the_least_loaded_live_node_with_room() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, busy) = loaded(&mut bench, "a", 0.9, 0);
        let (_, small) = loaded(&mut bench, "b", 0.1, 1);
        let (_, calm) = loaded(&mut bench, "c", 0.5, 0);
        for expected in [small, calm, calm] {
            spawn(&mut bench, json!({}));
            for connection in [busy, small, calm] {
                let count = usize::from(connection == expected);
                assert_eq!(invoked(&mut bench, connection).len(), count, "{profile}");
            }
        }
        let key = bench.key.clone();
        let full = refused_spawn(&mut bench, &key, &json!({ "target_node": "b" }));
        assert_eq!(full, (503, "handler_unavailable".into()), "its slot is reserved: {profile}");
        for connection in [busy, small, calm] {
            bench.close(connection);
        }
        let nobody = refused_spawn(&mut bench, &key, &json!({}));
        assert_eq!(nobody, (503, "handler_unavailable".into()));
    }
}

pub(crate) fn an_open_invocation_is_sent_again_after_30_s_with_the_same_id_to_the_same_node() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let id = text(&spawn(&mut bench, json!({}))["invocation_id"]);
        assert_eq!(invoked(&mut bench, connection), [&*id]);
        let beat = |bench: &mut Bench| {
            bench.pass(15_000);
            bench.heartbeat(connection);
        };
        beat(&mut bench);
        beat(&mut bench);
        assert_eq!(status(&mut bench, &id), "dispatched", "30 s are not over");
        beat(&mut bench);
        let back = invocation(&mut bench, &id);
        assert_eq!((&back["status"], &back["dispatched_node_id"]), (&json!("pending"), &Value::Null));
        result(&mut bench, connection, &id, "output", json!("late"));
        assert_eq!(status(&mut bench, &id), "pending", "the late result is dropped without a word");
        beat(&mut bench);
        assert_eq!(invoked(&mut bench, connection), [&*id], "{profile}");
        result(&mut bench, connection, &id, "output", json!("in time"));
        result(&mut bench, connection, &id, "error", json!("second thoughts"));
        let done = invocation(&mut bench, &id);
        assert_eq!(
            (&done["status"], &done["output"], &done["error"]),
            (&json!("completed"), &json!("in time"), &Value::Null)
        );
        assert_eq!(bench.frames(connection), Vec::<Value>::new());
    }
}

pub(crate) fn an_overdue_invocation_moves_to_another_node_whose_result_alone_counts() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let ((_, first), (_, second)) = (loaded(&mut bench, "a", 0.1, 0), loaded(&mut bench, "b", 0.5, 0));
        let id = text(&spawn(&mut bench, json!({}))["invocation_id"]);
        assert_eq!(invoked(&mut bench, first), [&*id]);
        for _ in 0..3 {
            bench.pass(15_000);
            bench.heartbeat(first);
            bench.heartbeat(second);
        }
        assert_eq!(invoked(&mut bench, second), [&*id], "{profile}");
        result(&mut bench, first, &id, "output", json!(1));
        assert_eq!(status(&mut bench, &id), "dispatched");
        result(&mut bench, second, &id, "output", json!(2));
        assert_eq!(invocation(&mut bench, &id)["output"], 2);
    }
}

pub(crate) fn losing_a_node_moves_its_open_invocations_at_once() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let ((_, first), (_, second)) = (loaded(&mut bench, "a", 0.1, 0), loaded(&mut bench, "b", 0.5, 0));
        let id = text(&spawn(&mut bench, json!({}))["invocation_id"]);
        bench.close(first);
        assert_eq!(invoked(&mut bench, second), [id], "{profile}");
    }
}

pub(crate) fn a_node_that_says_handler_unavailable_is_not_asked_again_until_it_recovers() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        let id = text(&spawn(&mut bench, json!({}))["invocation_id"]);
        invoked(&mut bench, connection);
        result(&mut bench, connection, &id, "error", json!("handler_unavailable"));
        assert_eq!(bench.node_view(&node)["handlers_live"], false);
        assert_eq!(status(&mut bench, &id), "pending");
        bench.pass(15_000);
        assert_eq!(invoked(&mut bench, connection), Vec::<String>::new());
        bench.heartbeat(connection);
        bench.pass(15_000);
        bench.heartbeat(connection);
        bench.pass(15_000);
        assert_eq!(invoked(&mut bench, connection), [id], "{profile}");
    }
}

pub(crate) fn older_engines_dispatch_a_release_again_and_newer_ones_once() {
    for (profile, drained) in releases([true, true, false, false, false]) {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        bench.worker(connection, "bob");
        let key = bench.key.clone();
        let release = bench.post("/v1/agents/release", &key, json!({ "name": "bob" }));
        let id = text(&release["invocation_id"]);
        assert_eq!(invoked(&mut bench, connection), [&*id]);
        for _ in 0..3 {
            bench.pass(15_000);
            bench.heartbeat(connection);
        }
        let expected = if drained { vec![&*id] } else { Vec::new() };
        assert_eq!(invoked(&mut bench, connection), expected, "{profile}");
        // Lost with its socket, it comes again on the next one; newer engines dispatch it once, and wait.
        let connection = bench.reconnect(&node, connection);
        bench.heartbeat(connection);
        assert_eq!(invoked(&mut bench, connection).contains(&id), drained, "{profile}");
        assert_eq!(status(&mut bench, &id), "dispatched");
        result(&mut bench, connection, &id, "output", json!({}));
        assert_eq!(status(&mut bench, &id), "completed");
        let connection = bench.reconnect(&node, connection);
        assert_eq!(invoked(&mut bench, connection), Vec::<String>::new(), "and not after its end: {profile}");
    }
}

#[test]
fn a_result_counts_only_from_the_provider_that_was_asked() {
    for profile in WITH_CURSOR {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        let id = text(&spawn(&mut bench, json!({}))["invocation_id"]);
        let bare = bench.connect(&node);
        result(&mut bench, bare, &id, "output", json!(1));
        assert_eq!(status(&mut bench, &id), "dispatched");
        result(&mut bench, connection, &id, "output", json!(1));
        assert_eq!(status(&mut bench, &id), "completed", "{profile}");
    }
}

#[test]
fn an_invocation_can_be_sent_again_by_hand_while_it_is_open() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (_, connection) = bench.broker("n");
    let id = text(&spawn(&mut bench, json!({}))["invocation_id"]);
    bench.engine.resend_invocation(bench.now, &id);
    assert_eq!(invoked(&mut bench, connection), [id.clone(), id.clone()]);
    result(&mut bench, connection, &id, "output", Value::Null);
    bench.engine.resend_invocation(bench.now, &id);
    assert_eq!(invoked(&mut bench, connection), Vec::<String>::new());
}

#[test]
fn a_release_goes_to_the_node_of_the_agent_and_takes_it_off() {
    for profile in ALL {
        for delete in [false, true] {
            let mut bench = Bench::new(profile);
            let (node, connection) = bench.broker("n");
            let (key, alice, bob) =
                (bench.key.clone(), bench.agent("alice"), bench.worker(connection, "bob"));
            assert_eq!(bench.node_view(&node)["active_agents"], 1);
            let body = json!({ "name": "bob", "reason": "done", "delete_agent": delete });
            let release = bench.post("/v1/agents/release", &key, body.clone());
            let frame = bench.frames(connection).remove(0);
            assert_eq!((&frame["action"], &frame["input"]), (&json!("release"), &body), "{profile}");
            let id = text(&release["invocation_id"]);
            result(&mut bench, connection, &id, "output", json!({}));
            assert_eq!(bench.node_view(&node)["active_agents"], 0);
            if delete {
                let gone = bench.refused("GET", "/v1/agents/bob", &key, Value::Null);
                assert_eq!(gone, (404, "agent_not_found".into()));
                let dead = bench.refused("GET", "/v1/agent", &bob.token, Value::Null);
                assert_eq!(dead, (401, "agent_token_invalid".into()));
                assert_ne!(bench.agent("bob").id, bob.id, "the name is free");
            } else {
                assert_eq!(bench.status_of("bob"), "offline");
                bench.dm(&alice, "bob", "x");
                assert_eq!(bench.frames(connection), Vec::<Value>::new(), "it is on no node");
                assert_eq!(bench.rows(&bob), [(1, "queued")]);
            }
        }
    }
}

#[test]
fn a_release_whose_agent_has_left_before_the_result_does_nothing_or_fails() {
    for (profile, ends) in releases(["completed", "completed", "completed", "completed", "failed"]) {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let (key, bob) = (bench.key.clone(), bench.worker(connection, "bob"));
        let body = json!({ "name": "bob", "delete_agent": true });
        let release = bench.post("/v1/agents/release", &key, body);
        let id = text(&release["invocation_id"]);
        bench.send(
            connection,
            json!({ "v": 1, "type": "agent.deregister", "agent_id": bob.id, "name": "bob" }),
        );
        result(&mut bench, connection, &id, "output", json!({}));
        assert_eq!(status(&mut bench, &id), ends, "{profile}");
        assert_eq!(bench.status_of("bob"), "offline", "it was to be deleted");
    }
}

#[test]
fn a_failed_release_changes_nothing_and_some_cannot_be_asked_for() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (_, connection) = bench.broker("n");
    let key = bench.key.clone();
    bench.worker(connection, "bob");
    bench.agent("dave");
    let release = bench.post("/v1/agents/release", &key, json!({ "name": "bob" }));
    result(&mut bench, connection, &text(&release["invocation_id"]), "error", json!("no"));
    assert_eq!(bench.status_of("bob"), "active");
    for (name, expected) in [("nobody", (404, "agent_not_found")), ("dave", (409, "agent_not_node_bound"))] {
        let refused = bench.refused("POST", "/v1/agents/release", &key, json!({ "name": name }));
        assert_eq!(refused, (expected.0, expected.1.to_owned()));
    }
}

#[test]
fn a_release_whose_node_is_away_waits_or_is_refused_or_deletes_at_once() {
    for (profile, expected) in releases(["pending", "pending", "completed", "completed", "completed"]) {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        bench.broker("other");
        let key = bench.key.clone();
        bench.worker(connection, "bob");
        bench.close(connection);
        if expected == "completed" {
            let refused = bench.refused("POST", "/v1/agents/release", &key, json!({ "name": "bob" }));
            assert_eq!(refused, (503, "agent_host_unavailable".to_owned()), "{profile}");
        }
        let release = bench.post("/v1/agents/release", &key, json!({ "name": "bob", "delete_agent": true }));
        bench.pass(120_000);
        assert_eq!(status(&mut bench, &text(&release["invocation_id"])), expected, "{profile}");
        let found = bench.call("GET", "/v1/agents/bob", &key, Value::Null).0;
        assert_eq!(found, if expected == "completed" { 404 } else { 200 }, "{profile}");
    }
}

#[test]
fn an_invocation_that_was_never_sent_fails_after_72_h_in_newer_releases() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        bench.close(connection);
        let id = text(&spawn(&mut bench, json!({ "target_node": "n" }))["invocation_id"]);
        bench.pass(72 * 60 * 60 * 1_000);
        assert_eq!(status(&mut bench, &id), "pending");
        bench.pass(15_000);
        let end = invocation(&mut bench, &id);
        if profile >= ProfileName::V8_2_2 {
            assert_eq!(
                (&end["status"], &end["error"]),
                (&json!("failed"), &json!("never_dispatched_expired"))
            );
        } else {
            assert_eq!(end["status"], "pending", "{profile}");
        }
    }
}

#[test]
fn invoking_honours_an_idempotency_key_in_newer_releases_only() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let alice = bench.agent("alice");
        for _ in 0..2 {
            let headers = [("idempotency-key", "k")];
            let body = json!({ "input": 1 });
            let path = "/v1/actions/echo/invoke";
            let response = bench.request("POST", path, Some(&alice.token), &headers, &body);
            assert_eq!(response.status, 201);
        }
        let sent = invoked(&mut bench, connection).len();
        assert_eq!(sent, if profile >= ProfileName::V8_2_2 { 1 } else { 2 }, "{profile}");
    }
}
