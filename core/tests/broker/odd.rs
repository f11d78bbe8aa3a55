//! Frames for nobody, frames that come early, and frames that are not as they should be.

use crate::support::{Agents, Rig, Spawned, deliver, with_agent};
use relay_core::time::Span;
use serde_json::{Value, json};

const SECOND: Span = Span::secs(1);

#[test]
fn an_unknown_agent_is_not_acked_and_deregistered_once_per_link() {
    let mut rig = Rig::online();
    let ghost = Spawned { process: relay_core::ids::ProcessId(0), id: "77".into(), name: "ghost".into() };
    rig.follow();
    for seq in 1..5 {
        rig.deliver(&ghost, seq, "boo");
    }
    assert_eq!(rig.types(), ["agent.deregister"]);
    assert_eq!(rig.last_sent("agent.deregister")["agent_id"], "77");
    assert_eq!(rig.events("worker_error").len(), 1);
    rig.reconnect();
    rig.deliver(&ghost, 1, "boo");
    rig.deliver(&ghost, 2, "boo");
    assert_eq!(rig.sent("agent.deregister").len(), 2);
    assert!(rig.sent("delivery.ack").is_empty());
}

#[test]
fn an_agent_that_was_unknown_and_is_started_then_is_listed_at_once() {
    let mut rig = Rig::online();
    let id = rig.identity("bob")["agent_id"].as_str().unwrap().to_string();
    let coming = Spawned { process: relay_core::ids::ProcessId(0), id, name: "bob".into() };
    rig.deliver(&coming, 1, "boo");
    assert_eq!(rig.types(), ["agent.deregister"]);
    rig.ask_spawn("bob");
    rig.advance(SECOND);
    let agents = rig.last_sent("inventory.sync")["agents"].clone();
    assert_eq!(agents[0]["name"], "bob", "the deregistration may have overtaken the registration");
}

/// An agent for which these frames come before the reply to its registration.
fn with_early_frames(cursor: Option<u64>, frames: &[(u64, &str)]) -> (Rig, Spawned) {
    let mut rig = Rig::online();
    rig.engine.cursor = cursor;
    rig.engine.agents = Agents::Hold;
    rig.ask_spawn("bob");
    let data = rig.identity("bob");
    let id = data["agent_id"].as_str().unwrap().to_string();
    let early = Spawned { process: relay_core::ids::ProcessId(0), id, name: "bob".into() };
    for (seq, text) in frames {
        rig.deliver(&early, *seq, text);
    }
    let request = rig.last_sent("agent.register");
    assert_eq!(rig.types(), ["agent.register"], "neither acked nor deregistered");
    rig.reply(&request["id"], data);
    let bob = Spawned { process: rig.children[0].0, ..early };
    (rig, bob)
}

#[test]
fn a_frame_that_comes_before_the_reply_to_the_registration_is_held() {
    let (mut rig, bob) = with_early_frames(Some(0), &[(1, "early")]);
    rig.advance(Span::secs(3));
    assert_eq!(rig.typed(&bob), ["early"]);
    assert_eq!(rig.last_ack(&bob), 1);
}

#[test]
fn a_row_that_comes_before_a_reply_without_a_cursor_is_left_to_the_replay_behind_it() {
    let (mut rig, bob) = with_early_frames(None, &[(0, "event"), (2, "two")]);
    rig.advance(Span::secs(30));
    assert_eq!(rig.typed(&bob), ["event"], "an event comes once, and row 1 may have come before it");
    assert!(rig.acks(&bob).is_empty());
    for (seq, text) in [(1, "one"), (2, "two")] {
        rig.deliver(&bob, seq, text);
    }
    rig.advance(Span::secs(3));
    assert_eq!(rig.typed(&bob), ["event", "one", "two"]);
    assert_eq!(rig.last_ack(&bob), 2);
}

#[test]
fn a_frame_with_the_right_name_and_another_identity_is_not_typed() {
    let (mut rig, bob) = with_agent(Some(0));
    let other = Spawned { id: "999".into(), ..bob.clone() };
    rig.deliver(&other, 1, "not for bob");
    rig.advance(Span::secs(3));
    assert!(rig.typed(&bob).is_empty());
    assert!(rig.acks(&bob).is_empty());
}

#[test]
fn a_name_that_was_used_again_does_not_get_the_mail_of_its_predecessor() {
    let (mut rig, old) = with_agent(Some(0));
    rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    rig.advance(Span::secs(3));
    rig.engine.ids.insert("bob".into(), "555".into());
    let new = rig.spawn("bob");
    rig.deliver(&old, 1, "for the old one");
    rig.deliver(&new, 1, "for the new one");
    rig.advance(Span::secs(3));
    assert_eq!(rig.typed(&new), ["for the new one"]);
    assert_eq!(rig.acks(&new), [1]);
}

#[test]
fn a_malformed_delivery_is_taken_all_the_same() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 14] = [
        ("integral float", |frame| frame["seq"] = json!(1.0)),
        ("unknown mode", |frame| frame["mode"] = json!("whenever")),
        ("null mode", |frame| frame["mode"] = Value::Null),
        ("no mode", |frame| remove(frame, "mode")),
        ("no version", |frame| remove(frame, "v")),
        ("other version", |frame| frame["v"] = json!(2)),
        ("no delivery id", |frame| remove(frame, "delivery_id")),
        ("no message id", |frame| remove(frame, "msg_id")),
        ("numeric message id", |frame| frame["msg_id"] = json!(901)),
        ("extra keys", |frame| frame["more"] = json!({ "deep": [1] })),
        ("no payload", |frame| remove(frame, "payload")),
        ("payload is a list", |frame| frame["payload"] = json!([1, 2])),
        ("no name", |frame| remove(frame, "agent")),
        ("no id", |frame| remove(frame, "agent_id")),
    ];
    for (case, change) in changes {
        let (mut rig, bob) = with_agent(Some(0));
        let mut frame = deliver(&bob, 1, "one");
        change(&mut frame);
        rig.frame(&frame);
        rig.advance(Span::secs(3));
        assert_eq!(rig.acks(&bob), [1], "{case}");
        assert_eq!(rig.typed(&bob).len(), 1, "{case}");
        rig.deliver(&bob, 2, "two");
        rig.advance(SECOND);
        assert_eq!(rig.last_ack(&bob), 2, "{case}");
    }
}

fn remove(frame: &mut Value, key: &str) {
    frame.as_object_mut().unwrap().remove(key);
}

#[test]
fn frames_without_identity_or_sequence_are_never_acked_and_change_nothing() {
    type Change = fn(&mut Value);
    let changes: [Change; 5] = [
        |frame| remove(frame, "seq"),
        |frame| frame["seq"] = json!("first"),
        |frame| frame["seq"] = json!(-1),
        |frame| frame["seq"] = json!(1.5),
        |frame| {
            remove(frame, "agent");
            remove(frame, "agent_id");
        },
    ];
    let (mut rig, bob) = with_agent(Some(0));
    for change in changes {
        let mut frame = deliver(&bob, 1, "one");
        change(&mut frame);
        rig.frame(&frame);
    }
    for text in ["", "nonsense", "[]", "{\"type\":7}", "{}"] {
        let link = rig.link();
        rig.handle(relay_core::Input::LinkText { link, text });
    }
    rig.advance(Span::secs(3));
    assert!(rig.acks(&bob).is_empty() && rig.typed(&bob).is_empty());
    assert_eq!(rig.delivery_state(), "ok");
}

#[test]
fn the_largest_numbers_do_no_harm() {
    for cursor in [None, Some(0), Some(u64::MAX - 1), Some(u64::MAX)] {
        let (mut rig, bob) = with_agent(cursor);
        for seq in [u64::MAX, u64::MAX - 1, 1, u64::MAX, 0] {
            let mut frame = deliver(&bob, 1, "large");
            frame["seq"] = json!(seq);
            frame["delivery_id"] = json!(format!("del_{seq}"));
            rig.frame(&frame);
        }
        rig.advance(Span::secs(5));
        rig.reconnect();
        rig.advance(Span::secs(5));
        assert_eq!(rig.delivery_state(), "ok");
    }
}

/// A frame that is only acked.
fn receipt(agent: &Spawned, seq: u64) -> Value {
    let mut frame = deliver(agent, seq, "read");
    frame["payload"] = json!({ "type": "message.read" });
    frame
}

#[test]
fn what_was_taken_while_the_socket_took_nothing_is_acked_in_steps_also_of_who_came_back() {
    let mut rig = Rig::online();
    rig.engine.cursor = Some(0);
    let (eve, bob) = (rig.spawn("eve"), rig.spawn("bob"));
    rig.hold_drains = true;
    (1..=20_000).for_each(|seq| rig.frame(&receipt(&eve, seq)));
    (1..=100).for_each(|seq| rig.frame(&receipt(&bob, seq)));
    assert!(rig.acks(&bob).is_empty(), "there is no credit");
    rig.exits(bob.process, 1);
    rig.ask_spawn("bob");
    let held: usize = rig.sent.iter().map(|frame| frame.to_string().len()).sum();
    rig.sent.clear();
    rig.hold_drains = false;
    rig.feed(crate::support::Event::Drained(rig.link(), held * 9 / 10));
    rig.advance(Span::secs(1));
    (1..=100).for_each(|seq| rig.frame(&receipt(&bob, seq)));
    let acks = rig.acks(&bob);
    assert_eq!((acks[..3].to_vec(), acks.last()), (vec![25, 50, 75], Some(&100)), "{acks:?}");
}

#[test]
fn while_the_socket_takes_nothing_acks_wait_and_then_go_in_steps() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.hold_drains = true;
    (1..=30_000).for_each(|seq| rig.frame(&receipt(&bob, seq)));
    let held: usize = rig.sent.iter().map(|frame| frame.to_string().len()).sum();
    assert!(held < 1024 * 1024 + 1024, "{held} bytes in the driver's queue");
    rig.sent.clear();
    rig.hold_drains = false;
    rig.feed(crate::support::Event::Drained(rig.link(), held / 2));
    let acks = rig.acks(&bob);
    assert_eq!(acks.last(), Some(&30_000));
    let steps: Vec<u64> = acks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.len() > 100 && steps.iter().all(|step| *step <= 25), "{steps:?}");
}
