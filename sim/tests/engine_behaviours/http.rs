//! The engine model over HTTP: envelopes, credentials, accounts, channels, idempotency.

use crate::support::{ALL, Bench, keys, releases, text};
use relay_sim::engine::ProfileName;
use serde_json::{Value, json};

#[test]
fn success_and_failure_have_their_envelopes() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let key = bench.key.clone();
        let (status, answer) = bench.call("POST", "/v1/agents", &key, json!({ "name": "ann" }));
        assert_eq!((status, keys(&answer)), (201, vec!["data", "ok"]));
        assert_eq!(
            keys(&answer["data"]),
            ["capabilities", "created_at", "handle", "id", "name", "status", "token", "workspace_id"]
        );
        assert_eq!(answer["data"]["handle"], "@ann");
        let (status, answer) = bench.call("POST", "/v1/agents", &key, json!({ "name": "ann" }));
        assert_eq!((status, keys(&answer)), (409, vec!["error", "ok"]));
        assert_eq!(keys(&answer["error"]), ["code", "message"]);
        assert_eq!(answer["error"]["code"], "agent_already_exists");
    }
}

#[test]
fn presence_calls_answer_without_data_and_deletions_without_body() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (key, ann) = (bench.key.clone(), bench.agent("ann"));
    for path in ["/v1/agents/heartbeat", "/v1/agents/disconnect"] {
        let answer = bench.call("POST", path, &ann.token, json!({}));
        assert_eq!(answer, (200, json!({ "ok": true })));
    }
    let response = bench.request("DELETE", "/v1/agents/ann", Some(&key), &[], &Value::Null);
    assert_eq!((response.status, response.body.as_str()), (204, ""));
    let again = bench.refused("DELETE", "/v1/agents/ann", &key, Value::Null);
    assert_eq!(again, (404, "agent_not_found".into()));
}

#[test]
fn every_wrong_credential_is_a_401_with_its_code() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (ann, node) = (bench.agent("ann"), bench.node("n"));
    let missing = bench.request("GET", "/v1/agent", None, &[], &Value::Null);
    assert_eq!(missing.status, 401);
    assert!(missing.body.contains("\"unauthorized\""), "{}", missing.body);
    for (token, code) in [
        ("sesame", "unauthorized"),
        ("rk_live_00000000000000000000000000000000", "unauthorized"),
        ("at_live_00000000000000000000000000000000", "agent_token_invalid"),
        (node.token.as_str(), "node_token_forbidden"),
        ("ot_live_000000000000000000000000000000000000000000000000", "observer_token_forbidden"),
    ] {
        let refused = bench.refused("GET", "/v1/agent", token, Value::Null);
        assert_eq!(refused, (401, code.to_owned()), "{token}");
    }
    for (path, body) in [
        ("/v1/agents", json!({ "name": "x" })),
        ("/v1/agents/ann/rotate-token", json!({})),
        ("/v1/nodes", json!({ "name": "x" })),
        ("/v1/nodes/n/agents", json!({ "agent_name": "ann" })),
    ] {
        let refused = bench.refused("POST", path, &ann.token, body);
        assert_eq!(refused, (401, "unauthorized".to_owned()), "{path} with an agent token");
    }
}

#[test]
fn a_workspace_key_cannot_speak_where_an_agent_has_to() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (key, ann) = (bench.key.clone(), bench.agent("ann"));
    let message = bench.say(&ann, "first");
    let reply = format!("/v1/messages/{message}/replies");
    for path in ["/v1/channels/general/messages", &reply, "/v1/actions/echo/invoke"] {
        let refused = bench.refused("POST", path, &key, json!({ "text": "x" }));
        assert_eq!(refused, (403, "agent_token_required".to_owned()), "{path}");
    }
}

#[test]
fn unknown_routes_and_bad_bodies_have_codes() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (key, ann) = (bench.key.clone(), bench.agent("ann"));
    assert_eq!(bench.refused("GET", "/v1/nothing", &key, Value::Null), (404, "not_found".into()));
    let (status, answer) = bench.call("POST", "/v1/dm", &ann.token, json!({ "to": "ann" }));
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_request")));
    assert!(text(&answer["error"]["message"]).contains("text"), "{answer}");
    for (path, body, expected) in [
        ("/v1/dm", json!({ "to": "nobody", "text": "x" }), (404, "agent_not_found")),
        ("/v1/dm", json!({ "to": "ann", "text": "x", "mode": "now" }), (400, "invalid_request")),
        ("/v1/channels/none/messages", json!({ "text": "x" }), (404, "channel_not_found")),
        ("/v1/channels/none/join", json!({}), (404, "channel_not_found")),
        ("/v1/channels", json!({ "name": "No Spaces" }), (400, "invalid_channel_name")),
        ("/v1/channels", json!({ "name": "general" }), (409, "channel_already_exists")),
        ("/v1/messages/1/replies", json!({ "text": "x" }), (404, "message_not_found")),
        ("/v1/messages/1/read", json!({}), (404, "message_not_found")),
        ("/v1/deliveries/del_1/ack", json!({}), (404, "delivery_not_found")),
    ] {
        let refused = bench.refused("POST", path, &ann.token, body);
        assert_eq!(refused, (expected.0, expected.1.to_owned()), "{path}");
    }
}

#[test]
fn tokens_and_ids_have_the_form_of_their_kind() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (ann, node) = (bench.agent("ann"), bench.node("n"));
    let hex = |token: &str, prefix: &str, digits| {
        let body = token.strip_prefix(prefix).expect("the prefix of its kind");
        assert!(body.len() == digits && body.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    };
    hex(&bench.key, "rk_live_", 32);
    hex(&ann.token, "at_live_", 32);
    hex(&node.token, "nt_live_", 48);
    assert!(ann.id.bytes().all(|byte| byte.is_ascii_digit()));
    let key = bench.key.clone();
    let unnamed = bench.post("/v1/nodes", &key, json!({ "name": "other" }));
    assert!(text(&unnamed["id"]).starts_with("node_"));
}

#[test]
fn a_repeated_workspace_is_the_same_one_for_its_key_only() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let key = bench.key.clone();
    let (status, again) = bench.call("POST", "/v1/workspaces", &key, json!({ "name": "lab" }));
    assert_eq!((status, &again["data"]["api_key"]), (200, &json!(key)));
    assert_eq!(keys(&again["data"]), ["api_key", "created_at", "workspace_id"]);
    let other = bench.request("POST", "/v1/workspaces", None, &[], &json!({ "name": "lab" }));
    assert_eq!(other.status, 201);
    assert!(!other.body.contains(&key));
    let nameless = bench.request("POST", "/v1/workspaces", None, &[], &json!({}));
    assert!(nameless.status == 400 && nameless.body.contains("invalid_request"));
}

pub(crate) fn a_rotated_agent_token_dies_at_once_or_after_a_grace() {
    for (profile, in_grace) in releases([401, 401, 200, 200, 200]) {
        let mut bench = Bench::new(profile);
        let (key, ann) = (bench.key.clone(), bench.agent("ann"));
        let mut tokens = vec![ann.token];
        for _ in 0..2 {
            let data = bench.post("/v1/agents/ann/rotate-token", &key, json!({}));
            assert_eq!(keys(&data), ["name", "token"]);
            tokens.push(text(&data["token"]));
            let accepted: Vec<u16> =
                tokens.iter().map(|token| bench.call("GET", "/v1/agent", token, Value::Null).0).collect();
            let expected = [401, in_grace, 200];
            assert_eq!(accepted, expected[3 - accepted.len()..], "the last one at most lives on: {profile}");
        }
        bench.pass(60 * 60 * 1_000);
        let late = bench.refused("GET", "/v1/agent", &tokens[1], Value::Null);
        assert_eq!(late, (401, "agent_token_invalid".into()), "{profile}");
        let none = bench.refused("POST", "/v1/agents/bob/rotate-token", &key, json!({}));
        assert_eq!(none, (404, "agent_not_found".into()));
    }
}

#[test]
fn names_of_released_agents_are_reserved_in_newer_releases() {
    for (profile, expected) in releases([201, 201, 400, 400, 400]) {
        let mut bench = Bench::new(profile);
        let key = bench.key.clone();
        let (status, answer) = bench.call("POST", "/v1/agents", &key, json!({ "name": "a#released-1" }));
        assert_eq!(status, expected, "{profile}");
        assert!(status == 201 || answer["error"]["code"] == "invalid_agent_name", "{answer}");
    }
}

#[test]
fn an_agent_reads_as_offline_five_minutes_after_it_was_seen() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let ann = bench.agent("ann");
    bench.pass(4 * 60 * 1_000);
    assert_eq!(bench.status_of("ann"), "active");
    bench.pass(60 * 1_000 + 1);
    assert_eq!(bench.status_of("ann"), "offline");
    bench.post("/v1/agents/heartbeat", &ann.token, json!({}));
    assert_eq!(bench.status_of("ann"), "active");
}

#[test]
fn an_agent_view_shows_what_waits_for_the_agent() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (key, ann, _bob) = (bench.key.clone(), bench.agent("ann"), bench.agent("bob"));
    bench.dm(&ann, "bob", "one");
    let bob = bench.get("/v1/agents/bob", &key);
    assert_eq!(bob["pending_deliveries"].as_array().map(Vec::len), Some(1), "{bob}");
    let offline = bench.get("/v1/agents?status=offline", &key);
    assert_eq!(offline, json!([]));
    assert_eq!(bench.get("/v1/agents?status=active", &key).as_array().map(Vec::len), Some(2));
}

#[test]
fn joining_twice_is_no_error_and_creators_are_members() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (ann, bob) = (bench.agent("ann"), bench.agent("bob"));
    bench.post("/v1/channels", &ann.token, json!({ "name": "dev" }));
    for (agent, already) in [(&ann, true), (&bob, false), (&bob, true)] {
        let data = bench.post("/v1/channels/dev/join", &agent.token, json!({}));
        assert_eq!(data, json!({ "channel": "dev", "agent_id": agent.id, "already_member": already }));
    }
    assert_eq!(bench.call("POST", "/v1/channels/dev/leave", &bob.token, json!({})).0, 204);
    bench.post("/v1/channels/dev/messages", &ann.token, json!({ "text": "x" }));
    assert_eq!(bench.rows(&bob), []);
}

fn keyed(bench: &mut Bench, path: &str, token: &str, key: &str, body: &Value) -> (u16, Value, bool) {
    let headers = [("idempotency-key", key)];
    let response = bench.request("POST", path, Some(token), &headers, body);
    let replayed = response.headers.contains(&("idempotency-replayed", "true".to_owned()));
    (response.status, crate::support::parsed(&response.body), replayed)
}

pub(crate) fn a_repeated_key_gets_the_stored_answer_and_causes_no_second_delivery() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (ann, bob) = (bench.agent("ann"), bench.agent("bob"));
        let root = bench.say(&ann, "root");
        let reply = format!("/v1/messages/{root}/replies");
        let dm = json!({ "to": "bob", "text": "x" });
        let body = json!({ "text": "x" });
        for (path, body) in [("/v1/dm", &dm), ("/v1/channels/general/messages", &body), (&reply, &body)] {
            let before = bench.rows(&bob).len();
            let first = keyed(&mut bench, path, &ann.token, "k1", body);
            let second = keyed(&mut bench, path, &ann.token, "k1", body);
            assert_eq!((first.0, first.2), (201, false), "{path} {profile}");
            assert_eq!((second.0, &second.1, second.2), (201, &first.1, true), "{path} {profile}");
            assert_eq!(bench.rows(&bob).len(), before + 1, "{path} {profile}");
        }
    }
}

pub(crate) fn a_key_is_refused_for_another_payload_and_free_again_after_a_day() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (ann, bob) = (bench.agent("ann"), bench.agent("bob"));
    let body = json!({ "to": "bob", "text": "x" });
    keyed(&mut bench, "/v1/dm", &ann.token, "k", &body);
    let other = keyed(&mut bench, "/v1/dm", &ann.token, "k", &json!({ "to": "bob", "text": "y" }));
    assert_eq!((other.0, &other.1["error"]["code"]), (409, &json!("idempotency_key_reused")));
    let waiting = json!({ "to": "bob", "text": "x", "mode": "wait" });
    assert!(keyed(&mut bench, "/v1/dm", &ann.token, "k", &waiting).2, "wait is no part of the fingerprint");
    let others = keyed(&mut bench, "/v1/dm", &bob.token, "k", &json!({ "to": "ann", "text": "z" }));
    assert_eq!(others.0, 201, "keys are the actor's own");
    let long = "k".repeat(256);
    for bad in ["", "with space", &long] {
        let answer = keyed(&mut bench, "/v1/dm", &ann.token, bad, &body);
        assert_eq!((answer.0, &answer.1["error"]["code"]), (400, &json!("invalid_idempotency_key")));
    }
    bench.now += 24 * 60 * 60 * 1_000;
    assert!(!keyed(&mut bench, "/v1/dm", &ann.token, "k", &body).2);
}
