//! What is said over HTTP for others: with which token, and how agents get into channels.

use crate::support::{Event, KEY, Rig};
use relay_core::FaultKind;
use relay_core::time::Span;
use serde_json::{Value, json};

const OWN: &str = "at_live_00000000000000aa";
const OTHER: &str = "at_live_00000000000000bb";
const ROTATE: &str = "/v1/agents/relay/rotate-token";

fn send(rig: &mut Rig) -> u64 {
    rig.ask("POST", "/api/send", &json!({ "to": "eve", "text": "hi" }))
}

/// The only call to a path since calls were last forgotten: id, bearer.
fn only(rig: &Rig, path: &str) -> (relay_core::ids::CallId, String) {
    let calls = rig.calls_to(path);
    assert_eq!(calls.len(), 1, "{path}");
    (calls[0].id, calls[0].bearer.clone())
}

#[test]
fn a_refused_token_of_the_own_agent_is_replaced_and_the_message_said_again() {
    let mut rig = Rig::online();
    let request = send(&mut rig);
    let (call, bearer) = only(&rig, "/v1/dm");
    assert_eq!(bearer, OWN);
    let key = rig.calls_to("/v1/dm")[0].headers["idempotency-key"].clone();
    rig.refuse(call, 401, "agent_token_invalid");
    let (rotation, bearer) = only(&rig, ROTATE);
    assert_eq!(bearer, KEY);
    // What was said with the old token meanwhile waits for the same answer.
    rig.calls.clear();
    let second = send(&mut rig);
    let (call, _) = only(&rig, "/v1/dm");
    rig.refuse(call, 401, "agent_token_invalid");
    assert!(rig.calls_to(ROTATE).is_empty(), "it is under way");
    rig.calls.clear();
    rig.answer(rotation, 200, json!({ "name": "relay", "token": OTHER }));
    let said: Vec<_> = rig
        .calls_to("/v1/dm")
        .iter()
        .map(|call| (call.id, call.bearer.clone(), call.headers.clone()))
        .collect();
    assert_eq!(said.len(), 2);
    assert!(said.iter().all(|(_, bearer, _)| bearer == OTHER));
    assert_eq!(said[0].2["idempotency-key"], key, "the engine takes it for the same message");
    for (request, (call, ..)) in [request, second].into_iter().zip(said) {
        rig.answer(call, 201, json!({ "id": "901" }));
        assert_eq!(rig.reply_to(request).unwrap().0, 200);
    }
    assert!(rig.disk.identity.as_ref().unwrap().contains(OTHER));
    let mut rig = rig.restarted().ready();
    send(&mut rig);
    assert_eq!(only(&rig, "/v1/dm").1, OTHER);
}

#[test]
fn a_token_is_replaced_once_per_message() {
    let mut rig = Rig::online();
    let request = send(&mut rig);
    let (call, _) = only(&rig, "/v1/dm");
    rig.refuse(call, 401, "agent_token_invalid");
    let (rotation, _) = only(&rig, ROTATE);
    rig.calls.clear();
    rig.answer(rotation, 200, json!({ "name": "relay", "token": OTHER }));
    let (call, _) = only(&rig, "/v1/dm");
    rig.refuse(call, 401, "agent_token_invalid");
    assert!(rig.calls_to(ROTATE).is_empty());
    let (status, body) = rig.reply_to(request).unwrap();
    assert_eq!((status, &body["code"]), (502, &json!("agent_token_invalid")), "{body}");
}

#[test]
fn without_another_token_the_client_is_told_why() {
    let mut rig = Rig::online();
    let request = send(&mut rig);
    let (call, _) = only(&rig, "/v1/dm");
    rig.refuse(call, 401, "agent_token_invalid");
    let (rotation, _) = only(&rig, ROTATE);
    rig.refuse(rotation, 404, "agent_not_found");
    assert_eq!(rig.reply_to(request).unwrap().0, 404);
    assert_eq!(rig.said("no other token for this broker's own agent: agent_not_found"), 1);
}

#[test]
fn the_token_of_a_local_agent_is_not_replaced() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    rig.calls.clear();
    let request = rig.ask("POST", "/api/send", &json!({ "to": "eve", "text": "hi", "from": "bob" }));
    let (call, _) = only(&rig, "/v1/dm");
    rig.refuse(call, 401, "agent_token_invalid");
    assert_eq!(rig.reply_to(request).unwrap().0, 502);
    assert_eq!(rig.calls.len(), 1);
}

/// A broker with a channel of its own, and its open call to make it.
fn with_channel() -> Rig {
    let mut rig = Rig::with(|config, _| config.channels = vec!["build".into()]);
    rig.advance(Span::millis(10));
    rig
}

#[test]
fn a_channel_is_made_then_joined_and_what_fails_is_tried_again() {
    let mut rig = with_channel();
    let (call, _) = only(&rig, "/v1/channels");
    rig.refuse(call, 503, "database_overloaded");
    rig.calls.clear();
    rig.advance(Span::secs(16));
    let (call, _) = only(&rig, "/v1/channels");
    assert!(rig.calls_to("/v1/channels/build/join").is_empty());
    rig.refuse(call, 409, "channel_already_exists");
    let (call, bearer) = only(&rig, "/v1/channels/build/join");
    assert_eq!(bearer, OWN);
    rig.calls.clear();
    rig.feed(Event::Answered(call, Err(FaultKind::Broken)));
    rig.advance(Span::secs(16));
    let (call, _) = only(&rig, "/v1/channels/build/join");
    rig.calls.clear();
    rig.answer(call, 200, json!({}));
    rig.reconnect();
    rig.advance(Span::secs(120));
    assert!(rig.calls.is_empty(), "it is a member");
}

#[test]
fn an_agent_joins_the_channels_of_its_order_unless_it_is_refused() {
    let mut rig = Rig::online();
    let order = json!({ "name": "bob", "cli": "cat", "channels": ["general", "build", "closed"] });
    rig.ask("POST", "/api/spawn", &order);
    rig.advance(Span::secs(1));
    assert!(rig.calls_to("/v1/channels/general/join").is_empty(), "every agent is in it");
    let (build, _) = only(&rig, "/v1/channels/build/join");
    let (closed, _) = only(&rig, "/v1/channels/closed/join");
    rig.calls.clear();
    rig.refuse(closed, 403, "forbidden");
    rig.refuse(build, 500, "internal_error");
    rig.cut();
    rig.advance(Span::secs(60));
    assert_eq!(rig.calls_to("/v1/channels/build/join").len(), 1, "once the link is back");
    assert!(rig.calls_to("/v1/channels/closed/join").is_empty());
    let (build, _) = only(&rig, "/v1/channels/build/join");
    let release = rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    rig.advance(Span::secs(1));
    assert_eq!(rig.reply_to(release).unwrap().0, 200);
    rig.calls.clear();
    rig.refuse(build, 500, "internal_error");
    rig.advance(Span::secs(60));
    assert!(rig.calls.is_empty(), "nobody is there to join");
}

#[test]
fn what_a_replica_of_the_engine_may_not_know_yet_is_asked_for_four_times() {
    for (status, code) in [(401, "agent_token_invalid"), (404, "channel_not_found")] {
        let mut rig = Rig::online();
        rig.ask("POST", "/api/spawn", &json!({ "name": "bob", "cli": "cat", "channels": ["build"] }));
        rig.advance(Span::secs(1));
        for _ in 0..4 {
            let (call, _) = only(&rig, "/v1/channels/build/join");
            rig.calls.clear();
            rig.refuse(call, status, code);
            rig.advance(Span::secs(16));
        }
        assert!(rig.calls.is_empty(), "{code}: it has been told often enough");
        assert_eq!(rig.said("#build"), 4);
    }
}

#[test]
fn a_refused_token_is_replaced_for_channels_too() {
    let mut rig = with_channel();
    let (call, _) = only(&rig, "/v1/channels");
    rig.refuse(call, 401, "agent_token_invalid");
    let (rotation, _) = only(&rig, ROTATE);
    rig.calls.clear();
    rig.answer(rotation, 200, json!({ "name": "relay", "token": OTHER }));
    assert_eq!(only(&rig, "/v1/channels").1, OTHER);
}
