//! The local API: who may ask, honest health, exactly one answer, publishing, and events.

use crate::support::{Event, KEY, Program, Registers, Rig, Upgrade};
use relay_core::time::Span;
use relay_core::{Auth, FaultKind, Input};
use serde_json::{Value, json};

const SECOND: Span = Span::secs(1);

fn answer(rig: &Rig, request: u64) -> (u16, Value) {
    rig.reply_to(request).expect("an answer")
}

const ROUTES: [(&str, &str); 13] = [
    ("GET", "/api/session"),
    ("POST", "/api/session/renew"),
    ("GET", "/api/status"),
    ("POST", "/api/spawn"),
    ("GET", "/api/spawned"),
    ("DELETE", "/api/spawned/bob"),
    ("GET", "/api/spawned/bob/snapshot"),
    ("POST", "/api/input/bob"),
    ("POST", "/api/resize/bob"),
    ("POST", "/api/send"),
    ("GET", "/api/dead-letters"),
    ("POST", "/api/shutdown"),
    ("GET", "/ws"),
];

#[test]
fn every_path_but_health_needs_the_key() {
    for auth in [Auth::Missing, Auth::Wrong] {
        let mut rig = Rig::online();
        rig.spawn("bob");
        for (method, path) in ROUTES.into_iter().chain([("GET", "/api/nothing"), ("GET", "/")]) {
            let request = rig.ask_as(auth, method, path, path == "/ws", b"{}");
            let (status, body) = answer(&rig, request);
            assert_eq!(status, 401, "{method} {path}");
            assert_eq!(body["error"]["code"], "unauthorized");
            assert_eq!(body["error"]["statusCode"], 401);
        }
        assert!(rig.streams.is_empty() && rig.sent.is_empty() && rig.exit.is_none());
        let request = rig.ask_as(auth, "GET", "/health", false, b"");
        assert_eq!(answer(&rig, request).0, 200);
    }
}

#[test]
fn health_says_what_is_so_in_each_state_of_the_link() {
    let mut rig = Rig::with(|_, engine| engine.upgrade = Upgrade::Status(503));
    rig.advance(SECOND);
    let health = rig.health();
    assert_eq!(health["status"], "starting");
    assert_eq!((&health["nodeConnected"], &health["relaycastConnected"]), (&json!(false), &json!(false)));
    assert_eq!(rig.delivery_state(), "connecting");
    assert!(health["nodeDelivery"]["reason"].as_str().unwrap().contains("503"));
    assert_eq!(health["workspaceId"], "ws_1");

    rig.engine.upgrade = Upgrade::Accept;
    rig.engine.registers = Registers::Hold;
    for _ in 0..40 {
        rig.advance(SECOND);
        if rig.health()["nodeConnected"] == true {
            break;
        }
    }
    let health = rig.health();
    assert_eq!((&health["nodeConnected"], &health["relaycastConnected"]), (&json!(true), &json!(false)));
    assert_ne!(health["status"], "ok", "a socket alone is no registration");

    rig.engine.registers = Registers::Confirm;
    rig.advance(Span::secs(45));
    let health = rig.health();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["relaycastConnected"], true);
    assert_eq!(rig.delivery_state(), "ok");
    assert!(health["nodeDelivery"].get("reason").is_none());

    rig.engine.upgrade = Upgrade::Status(503);
    rig.cut();
    let health = rig.health();
    assert_eq!((&health["status"], &health["relaycastConnected"]), (&json!("degraded"), &json!(false)));
    assert_eq!(rig.delivery_state(), "reconnecting");
}

#[test]
fn health_counts_what_is_there() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.program(bob.process).reads = false;
    for seq in 1..=3 {
        rig.deliver(&bob, seq, "hi");
    }
    rig.follow();
    rig.advance(SECOND);
    let health = rig.health();
    assert_eq!(health["agentCount"], 1);
    assert_eq!(health["pendingDeliveryCount"], 3);
    assert_eq!(health["wsConnections"], 1);
    assert_eq!(health["deadLetterCount"], 0);
    assert!(health["uptimeMs"].as_u64().unwrap() > 3_000);
    let (_, status) = rig.get("/api/status");
    assert_eq!((&status["agent_count"], &status["pending_delivery_count"]), (&json!(1), &json!(3)));
    let (_, session) = rig.get("/api/session");
    assert_eq!((&session["protocol_version"], &session["default_workspace_id"]), (&json!(2), &json!("ws_1")));
    assert_eq!(session["mode"], "persist");
}

#[test]
fn a_dead_engine_stalls_no_answer_that_does_not_need_it() {
    let mut rig = Rig::with(|_, engine| engine.upgrade = Upgrade::Hold);
    rig.advance(SECOND);
    for path in ["/health", "/api/session", "/api/status", "/api/spawned", "/api/dead-letters"] {
        assert_eq!(rig.get(path).0, 200, "{path}");
    }
    let request = rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    assert_eq!(answer(&rig, request).0, 404);
}

#[test]
fn every_request_gets_exactly_one_answer_in_time() {
    // Nothing that could be answered is: no engine, no start of children, no reading of terminals.
    let mut rig = Rig::online();
    rig.next_program = Program { manual: true, mortal: false, ..Program::cat() };
    rig.spawn("bob");
    rig.hold_spawns = true;
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"name\":\"eve\",\"cli\":\"cat\"}",
        "{\"name\":7}",
        "\u{0}",
        "{\"data\":\"x\"}",
        "{\"to\":\"eve\",\"text\":\"hi\"}",
        "{\"rows\":0,\"cols\":0}",
        "{\"rows\":5,\"cols\":5}",
    ];
    let mut requests = Vec::new();
    for (method, path) in ROUTES {
        if path == "/api/shutdown" || path == "/ws" {
            continue;
        }
        for body in bodies {
            requests.push(rig.ask_as(Auth::Ok, method, path, false, body.as_bytes()));
        }
        requests.push(rig.ask_as(Auth::Ok, "PATCH", path, false, b""));
        requests.push(rig.ask_as(Auth::Ok, method, &format!("{path}/more/%ff"), false, b""));
    }
    rig.advance(Span::secs(30));
    for request in requests {
        assert!(rig.reply_to(request).is_some(), "request {request} has no answer");
    }
}

#[test]
fn a_message_is_published_once_with_a_key_of_its_own() {
    let mut rig = Rig::online();
    let cases = [
        (json!({ "to": "eve", "text": "hi" }), "/v1/dm", json!({ "to": "eve", "text": "hi" })),
        (json!({ "to": "@eve", "body": "hi" }), "/v1/dm", json!({ "to": "eve", "text": "hi" })),
        (
            json!({ "to": "#general", "message": "hi" }),
            "/v1/channels/general/messages",
            json!({ "text": "hi" }),
        ),
        (
            json!({ "to": "eve", "text": "hi", "threadId": "77" }),
            "/v1/messages/77/replies",
            json!({ "text": "hi" }),
        ),
        (
            json!({ "to": "eve", "content": "hi", "mode": "steer" }),
            "/v1/dm",
            json!({ "to": "eve", "text": "hi", "mode": "steer" }),
        ),
    ];
    let mut keys = Vec::new();
    for (body, path, published) in cases {
        rig.calls.clear();
        let request = rig.ask("POST", "/api/send", &body);
        assert_eq!(rig.calls.len(), 1, "{body}");
        let call = &rig.calls[0];
        assert_eq!((call.method, call.path.as_str(), &call.body), ("POST", path, &published));
        assert_eq!(call.bearer, "at_live_00000000000000aa", "the broker's own agent speaks");
        keys.push(call.headers["idempotency-key"].clone());
        assert!(rig.reply_to(request).is_none(), "not before the engine has it");
        let call = call.id;
        rig.answer(call, 201, json!({ "id": "901" }));
        let (status, answer) = answer(&rig, request);
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
        assert!(answer["event_id"].is_string());
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5);
}

#[test]
fn a_local_agent_speaks_with_its_own_token() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    rig.ask("POST", "/api/send", &json!({ "to": "#general", "text": "hi", "from": "bob" }));
    rig.ask("POST", "/api/send", &json!({ "to": "#general", "text": "hi", "from": "stranger" }));
    let bearers: Vec<_> = rig.calls.iter().map(|call| call.bearer.as_str()).collect();
    assert_eq!(bearers, ["at_live_100100100", "at_live_00000000000000aa"]);
    assert!(rig.calls.iter().all(|call| call.bearer != KEY));
}

#[test]
fn a_message_to_a_local_agent_goes_through_the_engine_too() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.ask("POST", "/api/send", &json!({ "to": "bob", "text": "hi" }));
    rig.advance(SECOND);
    assert_eq!(rig.calls_to("/v1/dm").len(), 1);
    assert!(rig.typed(&bob).is_empty());
}

#[test]
fn refusals_of_the_engine_are_told_with_its_code() {
    for (status, code, expected) in [
        (404, "agent_not_found", 404),
        (404, "channel_not_found", 404),
        (400, "invalid_request", 400),
        (403, "not_a_member", 403),
        (429, "rate_limit_exceeded", 502),
        (500, "internal_error", 502),
        (503, "database_overloaded", 502),
    ] {
        let mut rig = Rig::online();
        let request = rig.ask("POST", "/api/send", &json!({ "to": "eve", "text": "hi" }));
        let call = rig.calls[0].id;
        rig.refuse(call, status, code);
        let (status, body) = answer(&rig, request);
        assert_eq!((status, &body["code"]), (expected, &json!(code)));
        if code == "agent_not_found" {
            assert!(body["message"].as_str().unwrap().contains("Agent \"eve\" not found"), "{body}");
        }
        rig.advance(Span::secs(120));
        assert_eq!(rig.calls.len(), 1, "never sent a second time");
    }
}

#[test]
fn a_message_that_is_not_confirmed_in_time_is_told_as_such() {
    // The driver's deadline, or the core's own, whichever comes first.
    for driver_answers in [true, false] {
        let mut rig = Rig::online();
        let request = rig.ask("POST", "/api/send", &json!({ "to": "eve", "text": "hi" }));
        let call = rig.calls[0].id;
        rig.advance(Span::millis(19_900));
        assert!(rig.reply_to(request).is_none());
        if driver_answers {
            rig.feed(Event::Answered(call, Err(FaultKind::Deadline)));
        }
        rig.advance(Span::millis(200));
        let (status, body) = answer(&rig, request);
        assert_eq!((status, &body["code"]), (504, &json!("publish_unconfirmed")));
        if !driver_answers {
            rig.answer(call, 201, json!({ "id": "901" }));
            assert_eq!(answer(&rig, request).0, 504, "a late answer changes nothing");
        }
    }
}

#[test]
fn an_unreachable_engine_is_a_502() {
    let mut rig = Rig::online();
    let request = rig.ask("POST", "/api/send", &json!({ "to": "eve", "text": "hi" }));
    let call = rig.calls[0].id;
    rig.feed(Event::Answered(call, Err(FaultKind::Broken)));
    assert_eq!(answer(&rig, request).0, 502);
}

#[test]
fn bad_messages_are_refused_before_any_call() {
    let mut rig = Rig::online();
    for body in [
        json!({}),
        json!({ "to": "eve" }),
        json!({ "text": "hi" }),
        json!({ "to": "", "text": "hi" }),
        json!({ "to": "a/b", "text": "hi" }),
        json!({ "to": "eve", "text": "  " }),
        json!({ "to": "eve", "text": "hi", "mode": "shout" }),
        json!({ "to": 7, "text": "hi" }),
    ] {
        let request = rig.ask("POST", "/api/send", &body);
        assert_eq!(answer(&rig, request).0, 400, "{body}");
    }
    assert!(rig.calls.is_empty());
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let mut rig = Rig::online();
    let body = format!("{{\"to\":\"eve\",\"text\":\"{}\"}}", "x".repeat(1024 * 1024));
    let request = rig.ask_as(Auth::Ok, "POST", "/api/send", false, body.as_bytes());
    assert_eq!(answer(&rig, request).0, 413);
    assert!(rig.calls.is_empty());
}

#[test]
fn the_event_stream_replays_what_a_client_missed() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    rig.follow();
    let seqs = |rig: &Rig| -> Vec<u64> {
        rig.stream_texts.iter().filter_map(|event| event["seq"].as_u64()).collect()
    };
    let all = seqs(&rig);
    assert!(all.len() >= 3, "{:?}", rig.stream_texts);
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(rig.events("agent_spawned")[0]["name"], "bob");
    rig.stream_texts.clear();
    let since = all.len() - 1;
    rig.ask_as(Auth::Ok, "GET", &format!("/ws?sinceSeq={since}"), true, b"");
    assert_eq!(seqs(&rig), [all.len() as u64]);
    assert_eq!(rig.streams.len(), 2);
    let request = rig.ask_as(Auth::Ok, "GET", "/ws", false, b"");
    assert_eq!(answer(&rig, request).0, 426);
    let request = rig.ask_as(Auth::Ok, "GET", "/ws?sinceSeq=x", true, b"");
    assert_eq!(answer(&rig, request).0, 400);
}

#[test]
fn a_delivery_is_told_step_by_step_with_its_evidence() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.follow();
    rig.stream_texts.clear();
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    let kinds: Vec<_> = rig
        .stream_texts
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .filter(|kind| *kind != "worker_stream")
        .collect();
    assert_eq!(
        kinds,
        ["delivery_queued", "relay_inbound", "delivery_injected", "delivery_verified", "delivery_ack"]
    );
    assert_eq!(rig.events("delivery_verified")[0]["verification"], "screen");
    assert_eq!(rig.events("relay_inbound")[0]["body"], "one");
}

#[test]
fn a_stream_that_is_gone_gets_nothing_more() {
    let mut rig = Rig::online();
    rig.follow();
    let (_, subscriber) = rig.streams[0];
    rig.handle(Input::StreamGone { subscriber });
    rig.stream_texts.clear();
    rig.spawn("bob");
    assert!(rig.stream_texts.is_empty());
    assert_eq!(rig.health()["wsConnections"], 0);
}

#[test]
fn a_snapshot_shows_the_screen() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.prints(bob.process, "\x1b[31mhello\x1b[0m\r\nworld");
    let (status, body) = rig.get("/api/spawned/bob/snapshot");
    assert_eq!(status, 200);
    assert!(body["screen"].as_str().unwrap().starts_with("hello\nworld"), "{body}");
    assert_eq!(body["cursor"], json!([2, 6]));
    assert_eq!(rig.get("/api/spawned/bob/snapshot?format=sixel").0, 400);
    let (status, body) = rig.get("/api/spawned/eve/snapshot");
    assert_eq!(status, 404);
    assert!(body.to_string().contains("Agent \\\"eve\\\" not found"), "{body}");
}

#[test]
fn no_answer_and_no_log_shows_a_credential_but_the_session() {
    let mut rig = Rig::online();
    rig.follow();
    rig.spawn("bob");
    rig.ask("POST", "/api/send", &json!({ "to": "eve", "text": "hi" }));
    let call = rig.calls[0].id;
    rig.feed(Event::Answered(
        call,
        Ok((500, format!("{{\"error\":{{\"code\":\"{KEY}\",\"message\":\"{KEY}\"}}}}"))),
    ));
    rig.get("/api/status");
    rig.get("/api/spawned");
    let shown = format!("{:?}{:?}{:?}", rig.replies, rig.logs, rig.stream_texts);
    for secret in [KEY, "at_live_0000", "at_live_100", "nt_live_0000"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    assert_eq!(rig.get("/api/session").1["workspace_key"], KEY);
}
