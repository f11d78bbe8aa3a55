//! The real binary and its deliveries: every message reaches its terminal, once, and only then is acked.

use crate::world::{SET_ASIDE, World};
use crate::{Scenario, scenarios};
use relay_sim::engine::Event;
use relay_tests::agent::Agent;
use relay_tests::binary::Driver;
use relay_tests::engine::What;
use relay_tests::wait::soon;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const ALL: &[Scenario] = scenarios![
    messages_of_all_kinds_are_read_before_they_are_acked,
    nothing_is_acked_while_the_agent_does_not_read,
    frames_that_overtake_each_other_are_read_in_order,
    a_hole_in_the_sequence_stops_nothing,
    a_result_that_comes_while_the_broker_closes_its_link_is_read,
    a_row_that_comes_twice_is_read_once,
    an_event_about_a_message_that_comes_before_it_does_not_swallow_it,
    a_payload_of_an_unknown_type_is_acked_and_stops_nothing,
    odd_frames_do_not_close_the_link_or_lose_a_row,
    what_was_not_acked_is_delivered_after_a_reconnect_and_read_once,
    a_message_of_64_kib_arrives_whole_line_by_line,
    a_message_of_64_kib_arrives_whole_as_one_paste,
    a_burst_is_read_whole_and_in_order_and_each_message_before_its_ack,
    an_agent_that_never_reads_delays_nobody,
    control_characters_of_a_message_do_not_reach_the_terminal,
];

fn deliver_of(text: &str, seq: u64) -> Option<Value> {
    let frame: Value = serde_json::from_str(text).unwrap();
    (frame["type"] == "deliver" && frame["seq"] == seq).then_some(frame)
}

fn messages_of_all_kinds_are_read_before_they_are_acked(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.alice.dm("worker", "one, directly");
    let root = world.alice.post("general", "two, to all");
    world.alice.call(
        &format!("/v1/messages/{root}/replies"),
        &json!({ "text": "three, in the thread" }),
        "id",
    );
    world.reads(&agent, &[(1, "one, directly"), (2, "two, to all"), (3, "three, in the thread")]);
    let steer = json!({ "to": "worker", "text": "four, now", "mode": "steer" });
    world.alice.call("/v1/dm", &steer, "id");
    world.reads(&agent, &[(4, "four, now")]);
    assert_eq!(
        agent.read("two, to all").text,
        format!("Relay message from alice in #general [{root}]: two, to all")
    );
}

fn nothing_is_acked_while_the_agent_does_not_read(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.gated("worker");
    world.alice.dm("worker", "please wait");
    world.screen("worker", "please wait");
    // The echo of the terminal is there; a broker that trusts it would ack within this time.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(world.engine.acked_yet("worker", 1), None);
    agent.open();
    world.reads(&agent, &[(1, "please wait")]);
}

fn frames_that_overtake_each_other_are_read_in_order(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.engine.act(|model, now| model.reorder_live_frames(now, true));
    world.alice.dm("worker", "first");
    world.alice.dm("worker", "second");
    world.reads(&agent, &[(1, "first"), (2, "second")]);
    let order = world.engine.all(|what| match what {
        What::Out(frame) if frame["type"] == "deliver" => frame["seq"].as_u64(),
        _ => None,
    });
    assert_eq!(order, [2, 1], "the engine has done what was asked");
}

fn a_hole_in_the_sequence_stops_nothing(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    // The second one is lost on its way and dies before it can be sent again.
    world.rewrite(|text| match deliver_of(&text, 2) {
        Some(_) => vec![],
        None => vec![text],
    });
    for text in ["first", "second", "third"] {
        world.alice.dm("worker", text);
    }
    let id = world.engine.agent_id("worker");
    assert!(world.engine.act(|model, now| model.expire_row(now, &id, 2)));
    agent.read("third");
    assert_eq!(world.engine.acked_yet("worker", 2), None, "the second one may still come");
    // Two replays without it prove that it is gone.
    for times in [2, 3] {
        world.engine.cut();
        soon("the third one again", || (world.sent(3) == times).then_some(()));
    }
    world.reads(&agent, &[(1, "first"), (3, "third")]);
    world.alice.dm("worker", "fourth");
    world.reads(&agent, &[(4, "fourth")]);
    assert_eq!(agent.count("second"), 0);
}

fn a_result_that_comes_while_the_broker_closes_its_link_is_read(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    let result = json!({
        "v": 1, "type": "deliver", "delivery_id": "evt_action_completed_1", "agent": "worker",
        "agent_id": world.engine.agent_id("worker"), "msg_id": "inv_1", "seq": 0, "mode": "wait",
        "payload": { "type": "action.completed", "data": { "invocation_id": "inv_1", "output": "it is done" } },
    });
    world.engine.script(|script| script.last_words = Some(result.to_string()));
    // Only a new link brings what is missing, so the broker closes this one.
    let mut lost = false;
    world.rewrite(move |text| match deliver_of(&text, 2) {
        Some(_) if !std::mem::replace(&mut lost, true) => vec![],
        _ => vec![text],
    });
    for text in ["first", "second", "third"] {
        world.alice.dm("worker", text);
    }
    world.engine.await_that("the close", |what| matches!(what, What::Closed(Some(1000))).then_some(()));
    for text in ["it is done", "second"] {
        agent.read(text);
        assert_eq!(agent.count(text), 1);
    }
}

fn a_row_that_comes_twice_is_read_once(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.rewrite(|text| match deliver_of(&text, 1) {
        Some(_) => vec![text.clone(), text.clone(), text],
        None => vec![text],
    });
    world.alice.dm("worker", "said once");
    world.alice.dm("worker", "and this");
    world.reads(&agent, &[(1, "said once"), (2, "and this")]);
}

fn an_event_about_a_message_that_comes_before_it_does_not_swallow_it(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    // A receipt has the id of its message, and no sequence.
    world.rewrite(|text| match deliver_of(&text, 1) {
        Some(row) => {
            let mut receipt = row.clone();
            receipt["seq"] = json!(0);
            receipt["delivery_id"] = json!("evt_message_read_1");
            receipt["payload"] = json!({ "type": "message.read", "data": { "message_id": row["msg_id"], "agent_name": "bob" } });
            vec![receipt.to_string(), text]
        }
        None => vec![text],
    });
    world.alice.dm("worker", "here all the same");
    world.reads(&agent, &[(1, "here all the same")]);
}

fn a_payload_of_an_unknown_type_is_acked_and_stops_nothing(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.rewrite(|text| match deliver_of(&text, 1) {
        Some(mut row) => {
            row["payload"] = json!({ "type": "no.such.event", "data": { "x": 1 } });
            vec![row.to_string()]
        }
        None => vec![text],
    });
    world.alice.dm("worker", "not of this world");
    world.alice.dm("worker", "of this world");
    world.reads(&agent, &[(2, "of this world")]);
    world.engine.acked("worker", 1);
}

fn odd_frames_do_not_close_the_link_or_lose_a_row(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    for frame in [
        json!({ "v": 1, "type": "no.such.frame", "x": 1 }),
        json!([1, 2]),
        json!({ "v": 1, "type": "deliver", "agent": "worker" }),
        json!({ "v": 1, "type": "context.update", "topic": "presence", "event": "x", "data": null }),
        json!({ "v": 1, "type": "ping" }),
    ] {
        world.engine.send_raw(&frame);
    }
    world.rewrite(|text| match deliver_of(&text, 1) {
        Some(mut row) => {
            row["mode"] = json!("urgent");
            row["more"] = json!({ "unknown": true });
            vec![row.to_string()]
        }
        None => vec![text],
    });
    world.alice.dm("worker", "oddly wrapped");
    world.reads(&agent, &[(1, "oddly wrapped")]);
    assert_eq!(world.engine.frames("node.register").len(), 1, "one link all the time");
}

fn what_was_not_acked_is_delivered_after_a_reconnect_and_read_once(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.gated("worker");
    world.alice.dm("worker", "typed before the cut");
    world.screen("worker", "before the cut");
    world.engine.cut();
    world.engine.await_that("the end of the socket", |what| matches!(what, What::Closed(_)).then_some(()));
    world.alice.dm("worker", "sent during the cut");
    soon("the second link", || (world.engine.frames("node.register").len() == 2).then_some(()));
    world.engine.await_that("the first one again", |what| {
        matches!(what, What::Model(Event::Delivered { seq: 1, replay: true, .. })).then_some(())
    });
    agent.open();
    world.reads(&agent, &[(1, "typed before the cut"), (2, "sent during the cut")]);
}

/// Lines with numbers, 64 KiB of them.
fn long_text() -> String {
    let mut text = String::new();
    for number in 0.. {
        text += &format!("line {number:05} of a long message, nothing of which may be lost\n");
        if text.len() >= 64 * 1024 {
            return text + "the end";
        }
    }
    unreachable!()
}

fn a_message_of_64_kib_arrives_whole_line_by_line(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    let text = long_text();
    let id = world.alice.dm("worker", &text);
    agent.read("the end");
    let acked = world.engine.acked("worker", 1);
    let reads = agent.reads();
    assert!(reads.last().unwrap().at_ns <= acked + SET_ASIDE);
    let whole: Vec<_> = reads.iter().map(|read| read.text.as_str()).collect();
    let expected = format!("Relay message from alice [{id}]: {text}");
    assert!(whole.join("\n") == expected, "{} lines of {}", whole.len(), expected.lines().count());
}

fn a_message_of_64_kib_arrives_whole_as_one_paste(driver: &Driver) {
    let world = World::new(driver);
    let agent = Agent::spawn_paste(&world.broker, &world.place, "worker");
    let text = long_text();
    let id = world.alice.dm("worker", &text);
    let read = agent.read("the end");
    let acked = world.engine.acked("worker", 1);
    assert!(read.at_ns <= acked + SET_ASIDE);
    let expected = format!("Relay message from alice [{id}]: {text}");
    let pasted = read.text.replace('\r', "\n");
    assert!(pasted == expected, "{} bytes of {}", pasted.len(), expected.len());
    world.alice.dm("worker", "and a short one");
    world.reads(&agent, &[(2, "and a short one")]);
}

fn a_burst_is_read_whole_and_in_order_and_each_message_before_its_ack(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    let messages: Vec<_> = (1..=900).map(|number| ("worker", format!("number {number}."))).collect();
    world.engine.dm_all(&world.alice, &messages);
    world.engine.acked("worker", 900);
    let reads = agent.reads();
    let texts: Vec<_> =
        reads.iter().filter_map(|read| read.text.rsplit_once("]: ")).map(|(_, text)| text).collect();
    let expected: Vec<_> = messages.iter().map(|(_, text)| text.as_str()).collect();
    assert!(texts == expected, "{} of {} in order", texts.len(), expected.len());
    for (seq, read) in (1..).zip(&reads) {
        let acked = world.engine.acked("worker", seq);
        assert!(read.at_ns <= acked + SET_ASIDE, "{} was acked before it was read", read.text);
    }
}

fn an_agent_that_never_reads_delays_nobody(driver: &Driver) {
    let world = World::new(driver);
    let body = json!({ "name": "stuck", "cli": "sleep", "args": ["1000"] });
    assert_eq!(world.broker.api.post("/api/spawn", &body).status, 200);
    let agent = world.agent("worker");
    for number in 0..20 {
        world.alice.dm("stuck", &format!("{} {number}", "x".repeat(1_000)));
    }
    let texts: Vec<String> = (1..=20).map(|number| format!("number {number}.")).collect();
    for text in &texts {
        world.alice.dm("worker", text);
    }
    let expected: Vec<_> = (1..).zip(texts.iter().map(String::as_str)).collect();
    world.reads(&agent, &expected);
    assert_eq!(world.engine.acked_yet("stuck", 1), None);
    assert_eq!(world.broker.api.get("/api/status").status, 200);
}

fn control_characters_of_a_message_do_not_reach_the_terminal(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.alice.dm("worker", "a\u{3}b\u{4}c\u{1b}[201~d\u{0}e");
    world.alice.dm("worker", "still alive");
    world.reads(&agent, &[(1, "abcde"), (2, "still alive")]);
}
