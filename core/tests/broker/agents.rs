//! Agents of the local API: how they come, fail and go.

use crate::support::{Agents, Event, KEY, Registers, Rig, Spawned, Upgrade};
use relay_core::time::Span;
use relay_core::{ExitStatus, FaultKind, Input, PtySignal};
use serde_json::{Value, json};

const SECOND: Span = Span::secs(1);

/// The answer to a request that must have one by now.
fn answer(rig: &Rig, request: u64) -> (u16, Value) {
    rig.reply_to(request).expect("an answer")
}

#[test]
fn a_spawn_registers_starts_and_proves_before_it_is_answered() {
    let mut rig = Rig::online();
    rig.order.clear();
    let body = json!({
        "name": "bob", "cli": "/bin/cat", "args": ["-u"], "cwd": "/tmp", "model": "m1", "sessionId": "s1",
    });
    let request = rig.ask("POST", "/api/spawn", &body);
    assert_eq!(rig.order, ["agent.register", "spawn"]);
    let register = rig.last_sent("agent.register");
    assert_eq!((&register["name"], &register["session_ref"]), (&json!("bob"), &json!("s1")));
    let child = &rig.children[0].1;
    assert_eq!(child.argv, ["/bin/cat", "-u"]);
    assert_eq!((child.cwd.as_deref(), child.rows, child.cols), (Some("/tmp"), 24, 80));
    rig.advance(Span::millis(249));
    assert!(rig.reply_to(request).is_none(), "not proven yet");
    rig.advance(Span::millis(1));
    let (status, body) = answer(&rig, request);
    assert_eq!(status, 200);
    for (key, value) in [
        ("success", json!(true)),
        ("name", json!("bob")),
        ("runtime", json!("pty")),
        ("model", json!("m1")),
        ("sessionId", json!("s1")),
        ("pid", json!(1001)),
        ("pre_registered", json!(true)),
        ("warning", Value::Null),
    ] {
        assert_eq!(body.get(key), Some(&value), "{key} in {body}");
    }
    assert!(!body.to_string().contains("at_live_"));
    let (_, list) = rig.get("/api/spawned");
    assert_eq!(list["agents"][0]["name"], "bob");
}

#[test]
fn a_child_gets_its_own_identity_and_no_credentials_of_others() {
    let mut rig = Rig::online();
    let body = json!({ "name": "bob", "cli": "cat", "env": {
        "COLOR": "1", "RELAY_AGENT_TOKEN": "forged", "RELAY_API_KEY": KEY, "RELAY_NODE_TOKEN": "x",
        "RELAY_BROKER_API_KEY": "y", "RELAY_AGENT_NAME": "root",
    } });
    rig.ask("POST", "/api/spawn", &body);
    let child = &rig.children[0].1;
    // The last value of a variable counts.
    let last =
        |name: &str| child.env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.expose());
    for (name, value) in [
        ("RELAY_AGENT_NAME", "bob"),
        ("RELAY_AGENT_TOKEN", "at_live_100100100"),
        ("RELAY_AGENT_TYPE", "agent"),
        ("RELAY_STRICT_AGENT_NAME", "1"),
        ("RELAY_BASE_URL", "http://engine.test"),
        ("RELAY_WORKSPACE_ID", "ws_1"),
        ("COLOR", "1"),
    ] {
        assert_eq!(last(name), Some(value), "{name}");
    }
    assert!(last("TERM").is_some_and(|term| !term.is_empty()));
    for secret in ["RELAY_API_KEY", "RELAY_BROKER_API_KEY", "RELAY_NODE_TOKEN"] {
        assert_eq!(last(secret), None, "{secret}");
        assert!(child.env_remove.iter().any(|name| name == secret), "{secret} is not inherited");
    }
    assert!(!format!("{:?}{:?}", child.argv, child.env).contains("at_live_"), "not in a debug print");
}

#[test]
fn a_child_that_dies_at_once_is_a_failure_with_its_last_words() {
    for (status, words) in [(ExitStatus::Code(127), "127"), (ExitStatus::Signal(11), "11")] {
        for exit_first in [true, false] {
            let mut rig = Rig::online();
            let request = rig.ask_spawn("bob");
            let process = rig.children[0].0;
            rig.prints(process, "cannot open shared object\r\n");
            let (exit, eof) = (Event::Exited(process, status), Event::Eof(process));
            let (first, second) = if exit_first { (exit, eof) } else { (eof, exit) };
            rig.programs.clear();
            rig.feed(first);
            rig.feed(second);
            rig.advance(SECOND);
            let (status, body) = answer(&rig, request);
            assert_eq!((status, &body["success"]), (500, &json!(false)));
            let error = body["error"].as_str().unwrap();
            assert!(error.contains(words) && error.contains("cannot open shared object"), "{error}");
            assert_eq!(rig.sent("agent.deregister").len(), 1, "a failed spawn is deregistered");
            assert_eq!(rig.get("/api/spawned").1["agents"], json!([]));
        }
    }
}

#[test]
fn a_missing_executable_is_a_failure_that_names_it() {
    let mut rig = Rig::online();
    rig.spawn_fault = Some(FaultKind::NotFound);
    let request = rig.ask("POST", "/api/spawn", &json!({ "name": "bob", "cli": "no-such-program" }));
    let (status, body) = answer(&rig, request);
    assert_eq!(status, 500);
    assert!(body["error"].as_str().unwrap().contains("no-such-program"), "{body}");
    assert_eq!(rig.sent("agent.deregister").len(), 1);
    rig.spawn_fault = None;
    rig.spawn("bob");
}

#[test]
fn a_name_in_use_is_refused_before_any_frame() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    let request = rig.ask_spawn("bob");
    assert_eq!(answer(&rig, request).0, 409);
    // A spawn that is under way holds its name, too; and so does the broker itself.
    rig.engine.agents = Agents::Hold;
    rig.ask_spawn("eve");
    let sent = rig.sent.len();
    for name in ["eve", "relay"] {
        let request = rig.ask_spawn(name);
        let (status, body) = answer(&rig, request);
        assert_eq!((status, &body["code"]), (409, &json!("spawn_agent_name_in_use")), "{name}");
    }
    assert_eq!(rig.sent.len(), sent);
}

#[test]
fn names_that_are_empty_too_long_or_like_paths_are_refused_before_any_frame() {
    let long = "x".repeat(129);
    let names = ["", "  ", &long, "a/b", "a\\b", "..", "a..b", "a\0b", "#general", "a\nb", "\x1b[2J"];
    let mut rig = Rig::online();
    for name in names {
        let request = rig.ask_spawn(name);
        let (status, body) = answer(&rig, request);
        assert_eq!((status, &body["success"]), (400, &json!(false)), "{name:?}");
    }
    assert!(rig.sent.is_empty() && rig.children.is_empty());
    rig.spawn(&long[1..]);
    rig.spawn("Ünïcode 名前");
}

#[test]
fn a_spawn_without_a_registered_link_fails_with_the_reason() {
    let mut rig = Rig::with(|_, engine| engine.upgrade = Upgrade::Status(503));
    rig.advance(SECOND);
    let request = rig.ask_spawn("bob");
    rig.advance(Span::millis(10_100));
    let (status, body) = answer(&rig, request);
    assert_eq!(status, 503);
    assert!(body["error"].as_str().unwrap().contains("503"), "says why: {body}");
    assert!(rig.sent("agent.register").is_empty());
}

#[test]
fn a_spawn_waits_for_a_link_that_is_on_its_way() {
    let mut rig = Rig::with(|_, engine| engine.registers = Registers::Hold);
    rig.advance(SECOND);
    let request = rig.ask_spawn("bob");
    rig.advance(Span::secs(5));
    let register = rig.last_sent("node.register");
    rig.reply(&register["id"], json!({ "id": register["node_id"] }));
    rig.advance(SECOND);
    assert_eq!(answer(&rig, request).0, 200);
}

#[test]
fn a_spawn_is_answered_within_25_seconds_whatever_happens_and_then_undone() {
    let mut rig = Rig::with(|_, engine| engine.registers = Registers::Hold);
    rig.hold_spawns = true;
    rig.advance(SECOND);
    let request = rig.ask_spawn("bob");
    rig.engine.agents = Agents::Hold;
    rig.advance(Span::secs(8));
    let register = rig.last_sent("node.register");
    rig.reply(&register["id"], json!({ "id": register["node_id"] }));
    rig.advance(Span::secs(9));
    let register = rig.last_sent("agent.register");
    let data = rig.identity("bob");
    rig.reply(&register["id"], data);
    let process = rig.children[0].0;
    rig.advance(Span::millis(8_100));
    let (status, body) = answer(&rig, request);
    assert_eq!((status, &body["success"]), (504, &json!(false)), "{body}");
    assert_eq!(rig.sent("agent.deregister").len(), 1);
    rig.started(process);
    rig.advance(Span::secs(5));
    assert!(rig.programs.is_empty(), "what was started too late is ended");
    rig.hold_spawns = false;
    rig.engine.agents = Agents::Confirm;
    rig.spawn("bob");
}

#[test]
fn a_terminal_has_the_size_that_was_asked_for_last_however_early() {
    let mut rig = Rig::with(|_, engine| engine.agents = Agents::Hold).ready();
    rig.hold_spawns = true;
    rig.ask_spawn("bob");
    let resize = |rig: &mut Rig, rows: u16, cols: u16| {
        let request = rig.ask("POST", "/api/resize/bob", &json!({ "rows": rows, "cols": cols }));
        answer(rig, request)
    };
    assert_eq!(resize(&mut rig, 40, 120).0, 200);
    let register = rig.last_sent("agent.register");
    let data = rig.identity("bob");
    rig.reply(&register["id"], data);
    let (process, child) = &rig.children[0];
    let process = *process;
    assert_eq!((child.rows, child.cols), (40, 120), "before the start");
    assert_eq!(resize(&mut rig, 50, 130).1, json!({ "name": "bob", "rows": 50, "cols": 130 }));
    rig.started(process);
    rig.settle();
    assert_eq!(rig.resizes, [(process, 50, 130)], "while it was being started");
    let (_, answer) = resize(&mut rig, 700, 1_000);
    assert_eq!((&answer["rows"], &answer["cols"]), (&json!(500), &json!(1_000)), "what holds is told");
    assert_eq!(rig.resizes[1..], [(process, 500, 1_000)]);
}

#[test]
fn a_terminal_is_started_in_no_other_size_than_it_is_followed_in() {
    let mut rig = Rig::online();
    rig.ask("POST", "/api/spawn", &json!({ "name": "bob", "cli": "cat", "rows": 1, "cols": 1 }));
    rig.ask("POST", "/api/spawn", &json!({ "name": "eve", "cli": "cat", "rows": 900, "cols": 90 }));
    let sizes: Vec<_> = rig.children.iter().map(|(_, child)| (child.rows, child.cols)).collect();
    assert_eq!(sizes, [(16, 20), (500, 90)]);
}

#[test]
fn a_client_that_goes_away_does_not_stop_its_spawn() {
    let mut rig = Rig::online();
    let request = rig.ask_spawn("bob");
    rig.handle(Input::ApiGone { request: relay_core::ids::RequestId(request) });
    rig.advance(SECOND);
    assert!(rig.reply_to(request).is_none(), "nobody is there to be answered");
    assert_eq!(rig.get("/api/spawned").1["agents"][0]["name"], "bob");
}

#[test]
fn a_release_tells_the_engine_before_it_is_answered() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.order.clear();
    let request = rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    assert_eq!(answer(&rig, request), (200, json!({ "success": true, "name": "bob" })));
    let at = |what: &str| rig.order.iter().position(|entry| entry == what).expect("it happened");
    assert!(at("agent.deregister") < at("Terminate") && at("Terminate") < at("reply 200"));
    assert_eq!(rig.last_sent("agent.deregister")["agent_id"], bob.id.as_str());
    assert_eq!(rig.forgotten, [bob.process]);
}

#[test]
fn a_child_that_does_not_go_is_killed() {
    let mut rig = Rig::online();
    let bob = rig.spawn_immortal("bob");
    let request = rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    rig.advance(Span::millis(1_400));
    assert!(rig.reply_to(request).is_none());
    rig.advance(Span::millis(500));
    assert_eq!(rig.signals, [(bob.process, PtySignal::Terminate), (bob.process, PtySignal::Kill)]);
    assert_eq!(answer(&rig, request).0, 200);
}

#[test]
fn a_release_is_answered_though_a_grandchild_keeps_the_terminal() {
    let mut rig = Rig::online();
    let bob = rig.spawn_immortal("bob");
    let request = rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    rig.programs.clear();
    rig.feed(Event::Exited(bob.process, ExitStatus::Signal(15)));
    rig.advance(SECOND);
    assert_eq!(answer(&rig, request).0, 200);
    rig.spawn("bob");
}

#[test]
fn releasing_an_unknown_agent_is_an_error_that_clients_recognise() {
    let mut rig = Rig::online();
    let request = rig.ask("DELETE", "/api/spawned/nobody", &Value::Null);
    let (status, body) = answer(&rig, request);
    assert_eq!((status, &body["success"]), (404, &json!(false)), "{body}");
    assert!(body["error"].as_str().unwrap().contains("Agent \"nobody\" not found"));
    assert!(rig.sent.is_empty());
}

#[test]
fn a_release_of_a_spawn_under_way_ends_it_and_both_are_answered() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    let spawn = rig.ask_spawn("bob");
    let release = rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    rig.advance(SECOND);
    assert_ne!(answer(&rig, spawn).0, 200);
    assert_eq!(answer(&rig, release).0, 200);
    let register = rig.last_sent("agent.register");
    let data = rig.identity("bob");
    rig.reply(&register["id"], data);
    assert_eq!(rig.sent("agent.deregister").len(), 1, "the late success is undone");
    assert!(rig.children.is_empty());
}

#[test]
fn a_start_that_is_reported_again_changes_nothing() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.follow();
    for result in [Ok(77), Err(FaultKind::NotFound)] {
        rig.feed(Event::Spawned(bob.process, result));
    }
    rig.deliver(&bob, 1, "still there");
    rig.advance(Span::secs(3));
    assert_eq!(rig.typed(&bob), ["still there"]);
    assert_eq!(rig.stats().stale_completions, 2);
    assert!(rig.sent("agent.deregister").is_empty());
}

#[test]
fn an_end_that_is_reported_again_changes_nothing() {
    type End = fn(&Spawned) -> Event;
    let ends: [End; 2] =
        [|bob| Event::Exited(bob.process, ExitStatus::Signal(9)), |bob| Event::Eof(bob.process)];
    for end in ends {
        let mut rig = Rig::online();
        let bob = rig.spawn("bob");
        rig.advance(SECOND);
        rig.feed(end(&bob));
        let wake = rig.wake;
        rig.advance(Span::millis(100));
        rig.feed(end(&bob));
        assert_eq!(rig.wake, wake);
        assert_eq!(rig.stats().stale_completions, 1);
    }
}

#[test]
fn an_exit_is_told_and_frees_the_name() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.follow();
    rig.exits(bob.process, 3);
    rig.advance(SECOND);
    assert_eq!(rig.sent("agent.deregister").len(), 1);
    let exited = rig.events("agent_exited");
    assert_eq!((exited.len(), &exited[0]["code"]), (1, &json!(3)));
    rig.advance(Span::secs(61));
    assert_eq!(rig.last_sent("inventory.sync")["agents"], json!([]));
    rig.spawn("bob");
}

#[test]
fn a_deregistration_is_repeated_until_a_later_answer_proves_it() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.engine.inventories = false;
    rig.exits(bob.process, 0);
    for links in 1..4 {
        assert_eq!(rig.sent("agent.deregister").len(), links);
        rig.reconnect();
    }
    rig.engine.inventories = true;
    rig.reconnect();
    let proven = rig.sent("agent.deregister").len();
    rig.advance(SECOND);
    rig.reconnect();
    rig.reconnect();
    assert_eq!(rig.sent("agent.deregister").len(), proven);
}

#[test]
fn a_deregistration_that_was_owed_at_the_end_is_paid_by_the_next_life() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.engine.upgrade = Upgrade::Status(503);
    rig.cut();
    rig.exits(bob.process, 0);
    rig.engine.upgrade = Upgrade::Accept;
    let mut next = rig.restarted();
    next.advance(SECOND);
    assert_eq!(next.last_sent("agent.deregister")["agent_id"], bob.id.as_str());
    let mut third = next.restarted();
    third.advance(SECOND);
    assert!(third.sent("agent.deregister").is_empty());
}

#[test]
fn an_identity_that_came_back_is_never_deregistered_for_its_past() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.engine.inventories = false;
    rig.exits(bob.process, 0);
    let again = rig.spawn("bob");
    assert_eq!(again.id, bob.id, "an engine that hands the identity out again");
    rig.reconnect();
    assert!(rig.sent("agent.deregister").is_empty());
    assert_eq!(rig.last_sent("inventory.sync")["agents"][0]["agent_id"], bob.id.as_str());
}

#[test]
fn completions_of_a_process_that_is_gone_change_nothing() {
    let mut rig = Rig::online();
    let old: Spawned = rig.spawn("bob");
    rig.exits(old.process, 0);
    let new = rig.spawn("bob");
    let sent = rig.sent.len();
    rig.prints(old.process, "late output");
    rig.feed(Event::Eof(old.process));
    rig.feed(Event::Exited(old.process, ExitStatus::Code(0)));
    rig.feed(Event::Spawned(old.process, Err(FaultKind::NotFound)));
    rig.advance(SECOND);
    assert_eq!(rig.sent("agent.deregister").len(), 0);
    assert!(rig.sent.len() <= sent + 1, "{:?}", rig.types());
    rig.deliver(&new, 1, "one");
    rig.advance(SECOND);
    assert_eq!(rig.acks(&new), [1]);
}
