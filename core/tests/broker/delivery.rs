//! From a frame to an ack: order, gaps, duplicates, and what is never acked.

use crate::support::{
    Agents, Event, Program, Registers, Rig, Spawned, Upgrade, deliver, fan_out, with_agent,
};
use relay_core::FaultKind;
use relay_core::time::Span;
use serde_json::{Value, json};

const SECOND: Span = Span::secs(1);
const MINUTE: Span = Span::secs(60);

/// The agent does not read, so whatever is typed stays in its terminal.
pub(crate) fn stuck(rig: &mut Rig, agent: &Spawned) {
    rig.program(agent.process).reads = false;
}

#[test]
fn a_message_is_acked_only_after_the_program_has_read_it() {
    let (mut rig, bob) = with_agent(Some(0));
    stuck(&mut rig, &bob);
    rig.deliver(&bob, 1, "one");
    rig.advance(MINUTE);
    assert_eq!(rig.typed(&bob), ["one"], "the kernel echoes what nobody has read");
    assert!(rig.acks(&bob).is_empty());
    rig.reads(bob.process);
    rig.advance(Span::secs(3));
    assert_eq!(rig.acks(&bob), [1]);
}

#[test]
fn rows_that_overtake_each_other_are_typed_in_order() {
    let (mut rig, bob) = with_agent(Some(0));
    for (seq, text) in [(3, "three"), (2, "two")] {
        rig.deliver(&bob, seq, text);
        rig.advance(Span::millis(900));
    }
    assert!(rig.typed(&bob).is_empty() && rig.acks(&bob).is_empty());
    rig.deliver(&bob, 1, "one");
    rig.advance(Span::millis(500));
    assert_eq!(rig.typed(&bob), ["one", "two", "three"]);
    assert_eq!(rig.last_ack(&bob), 3);
}

#[test]
fn a_row_behind_a_gap_is_typed_after_two_seconds_and_not_acked_past_the_gap() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.deliver(&bob, 1, "one");
    rig.deliver(&bob, 3, "three");
    rig.advance(Span::millis(1_900));
    assert_eq!(rig.typed(&bob), ["one"]);
    rig.advance(Span::millis(500));
    assert_eq!(rig.typed(&bob), ["one", "three"]);
    rig.advance(Span::secs(30));
    assert_eq!(rig.last_ack(&bob), 1);
    rig.deliver(&bob, 2, "two");
    rig.advance(Span::millis(500));
    assert_eq!(rig.typed(&bob), ["one", "three", "two"]);
    assert_eq!(rig.last_ack(&bob), 3);
}

#[test]
fn what_fills_a_gap_goes_before_later_rows_that_are_not_typed_yet() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.program(bob.process).reads = false;
    for (seq, text) in [(1, "one"), (3, "three"), (4, "four")] {
        rig.deliver(&bob, seq, text);
    }
    rig.advance(Span::secs(5));
    rig.deliver(&bob, 2, "two");
    rig.reads(bob.process);
    rig.advance(Span::secs(9));
    assert_eq!(rig.typed(&bob), ["one", "two", "three", "four"]);
    assert_eq!(rig.last_ack(&bob), 4);
}

/// Rows 1 and 3 are here, 2 is not, and the engine has been asked once for a replay.
fn with_gap() -> (Rig, Spawned) {
    let (mut rig, bob) = with_agent(Some(0));
    rig.deliver(&bob, 1, "one");
    rig.deliver(&bob, 3, "three");
    rig.advance(Span::millis(2_100));
    assert_eq!(rig.sent("inventory.sync").len(), 1, "asks for a replay");
    (rig, bob)
}

#[test]
fn two_replays_without_a_row_prove_that_it_is_gone() {
    let (mut rig, bob) = with_gap();
    for _ in 0..5 {
        rig.deliver(&bob, 3, "three");
    }
    assert_eq!(rig.last_ack(&bob), 1, "one replay proves too little, however often it repeats");
    rig.advance(MINUTE);
    assert_eq!(rig.last_ack(&bob), 1);
    assert!(rig.sent("inventory.sync").len() >= 2, "asked again after a minute");
    rig.deliver(&bob, 3, "three");
    assert_eq!(rig.last_ack(&bob), 3);
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one", "three"]);
}

#[test]
fn a_replay_that_brings_the_missing_row_ends_the_gap() {
    let (mut rig, bob) = with_gap();
    rig.deliver(&bob, 2, "two");
    rig.deliver(&bob, 3, "three");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one", "three", "two"]);
    assert_eq!(rig.last_ack(&bob), 3);
}

#[test]
fn repeated_live_frames_prove_nothing() {
    let (mut rig, bob) = with_agent(Some(0));
    for _ in 0..5 {
        rig.deliver(&bob, 3, "three");
    }
    rig.deliver(&bob, 4, "four");
    rig.engine.inventories = false;
    rig.advance(Span::secs(30));
    assert!(rig.acks(&bob).is_empty());
}

#[test]
fn an_engine_that_does_not_replay_on_an_inventory_is_asked_by_a_new_connection() {
    let (mut rig, bob) = with_gap();
    let opens = rig.opens.len();
    rig.advance(Span::secs(5));
    assert_eq!(rig.opens.len(), opens + 1);
    rig.deliver(&bob, 3, "three");
    assert_eq!(rig.last_ack(&bob), 1);
    rig.advance(Span::secs(90));
    assert_eq!(rig.opens.len(), opens + 2, "at most once a minute");
    rig.deliver(&bob, 3, "three");
    assert_eq!(rig.last_ack(&bob), 3);
}

#[test]
fn a_connection_that_brings_nothing_behind_the_cursor_is_not_given_up_for_what_is_missing() {
    let (mut rig, bob) = with_gap();
    let opens = rig.opens.len();
    rig.advance(Span::secs(5));
    assert_eq!(rig.opens.len(), opens + 1);
    // Neither the missing row nor the one above it comes again: the engine has given both up.
    rig.advance(Span::secs(3_600));
    assert_eq!(rig.opens.len(), opens + 1, "another connection would bring nothing either");
    assert_eq!(rig.last_ack(&bob), 1, "that nothing came proves nothing");
    for (more, ack) in [(2, 1), (3, 5)] {
        rig.deliver(&bob, 5, "five");
        rig.advance(Span::secs(1_000));
        assert_eq!(rig.opens.len(), opens + more, "another row can come again, and prove the gap");
        rig.deliver(&bob, 5, "five");
        assert_eq!(rig.last_ack(&bob), ack);
    }
    assert_eq!(rig.typed(&bob), ["one", "three", "five"]);
}

#[test]
fn no_replay_is_asked_for_by_reconnecting_while_an_invocation_is_open() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "carol" }));
    rig.deliver(&bob, 2, "two");
    let opens = rig.opens.len();
    rig.advance(Span::secs(9));
    assert_eq!(rig.opens.len(), opens);
    assert!(rig.sent("inventory.sync").is_empty(), "a snapshot would reschedule it");
}

#[test]
fn replays_are_asked_for_less_and_less_often() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.deliver(&bob, 2, "two");
    // The engine always repeats the row, but it stays the same replay for the proof.
    rig.engine.inventories = false;
    rig.advance(Span::secs(3));
    let asked = rig.sent("inventory.sync").len();
    assert_eq!(asked, 1);
    rig.advance(Span::secs(55));
    assert_eq!(rig.sent("inventory.sync").len(), asked, "not within a minute");
}

#[test]
fn a_row_that_turns_up_after_its_hole_was_proven_is_typed_once() {
    let (mut rig, bob) = with_gap();
    rig.deliver(&bob, 3, "three");
    rig.advance(MINUTE);
    rig.deliver(&bob, 3, "three");
    assert_eq!(rig.last_ack(&bob), 3);
    for _ in 0..3 {
        rig.deliver(&bob, 2, "two");
        rig.advance(SECOND);
    }
    assert_eq!(rig.typed(&bob), ["one", "three", "two"]);
    assert_eq!(rig.last_ack(&bob), 3, "the cursor stays");
}

#[test]
fn duplicates_are_acked_again_and_not_typed_again() {
    let (mut rig, bob) = with_agent(Some(0));
    for _ in 0..3 {
        rig.deliver(&bob, 1, "one");
        rig.advance(SECOND);
    }
    assert_eq!(rig.typed(&bob), ["one"]);
    assert_eq!(rig.acks(&bob), [1, 1, 1]);
}

#[test]
fn a_row_that_comes_again_while_it_waits_asks_for_no_ack_of_those_before_it() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    stuck(&mut rig, &bob);
    for _ in 0..3 {
        rig.deliver(&bob, 2, "two");
        rig.deliver(&bob, 3, "three");
    }
    rig.advance(SECOND);
    assert_eq!(rig.acks(&bob), [1], "the engine repeats what is open, and says nothing about row 1 by it");
}

#[test]
fn a_duplicate_of_a_row_under_way_is_neither_typed_nor_acked() {
    let (mut rig, bob) = with_agent(Some(0));
    stuck(&mut rig, &bob);
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    rig.deliver(&bob, 1, "one");
    rig.reconnect();
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one"]);
    assert!(rig.acks(&bob).is_empty());
}

#[test]
fn an_event_outside_of_the_sequence_does_not_hide_the_row_of_its_message() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.frame(&fan_out(&bob, "evt_1", "901", "message.reacted"));
    rig.frame(&fan_out(&bob, "evt_2", "901", "action.completed"));
    rig.frame(&fan_out(&bob, "evt_2", "901", "action.completed"));
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["result"], "a reaction is not shown, a repeated event once");
    assert!(rig.acks(&bob).is_empty(), "no ack for what has no sequence");
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["result", "one"]);
    assert_eq!(rig.acks(&bob), [1]);
}

#[test]
fn each_refusal_of_an_action_is_told_although_all_have_the_same_id() {
    let (mut rig, bob) = with_agent(Some(0));
    for _ in 0..2 {
        rig.frame(&fan_out(&bob, "evt_action_denied_deploy_1_1", "deploy", "action.denied"));
        rig.advance(SECOND);
    }
    assert_eq!(rig.typed(&bob), ["result", "result"]);
}

#[test]
fn a_gap_is_not_given_up_before_the_first_inventory_with_which_an_engine_fills_it() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.deliver(&bob, 1, "one");
    rig.deliver(&bob, 3, "three");
    rig.just_confirmed();
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
    rig.advance(Span::secs(5));
    assert_eq!(rig.typed(&bob), ["one"]);
    let (register, data) = (rig.last_sent("agent.register"), rig.identity("joe"));
    rig.reply(&register["id"], data);
    rig.advance(SECOND);
    rig.deliver(&bob, 2, "two");
    rig.deliver(&bob, 3, "three");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one", "two", "three"]);
}

#[test]
fn an_event_that_comes_while_its_link_is_given_up_counts_until_that_ends_or_another_is_confirmed() {
    for ends in [true, false] {
        let (mut rig, bob) = with_agent(Some(0));
        let given_up = rig.give_up();
        let send = |rig: &mut Rig, frame: Value| rig.feed(Event::Text(given_up, frame.to_string()));
        for _ in 0..2 {
            send(&mut rig, fan_out(&bob, "evt_1", "901", "action.completed"));
        }
        send(&mut rig, deliver(&bob, 1, "one"));
        rig.advance(Span::millis(300));
        assert_eq!(rig.typed(&bob), ["result"], "a row comes again by itself");
        if ends {
            rig.feed(Event::Down(given_up));
        } else {
            rig.advance(Span::secs(3));
            assert_eq!(rig.health()["relaycastConnected"], true);
        }
        send(&mut rig, fan_out(&bob, "evt_2", "902", "action.completed"));
        rig.advance(SECOND);
        assert_eq!(rig.typed(&bob), ["result"]);
        assert!(rig.acks(&bob).is_empty());
    }
}

#[test]
fn an_event_on_a_link_that_is_given_up_before_its_confirmation_counts_too() {
    let (mut rig, bob) = with_agent(Some(0));
    (rig.engine.registers, rig.hold_downs) = (Registers::Hold, true);
    rig.cut();
    while rig.closes.is_empty() {
        rig.advance(Span::millis(100));
    }
    let (given_up, _) = rig.closes[0];
    let event = fan_out(&bob, "evt_1", "901", "action.completed");
    rig.feed(Event::Text(given_up, event.to_string()));
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["result"], "engines send it on every socket of the node, and only once");
}

#[test]
fn classes_that_are_not_shown_are_acked_at_once() {
    for kind in ["message.read", "message.reacted", "something.new", "agent.exited"] {
        let (mut rig, bob) = with_agent(Some(0));
        let mut frame = deliver(&bob, 1, "one");
        frame["payload"]["type"] = json!(kind);
        rig.frame(&frame);
        assert_eq!(rig.acks(&bob), [1], "{kind}");
        rig.advance(SECOND);
        assert!(rig.typed(&bob).is_empty(), "{kind}");
    }
}

#[test]
fn every_shown_class_is_typed() {
    let kinds = [
        "",
        "action.completed",
        "action.failed",
        "action.denied",
        "message.created",
        "message.received",
        "message.new",
        "message.sent",
        "message.delivered",
        "thread.reply",
        "thread.message.created",
        "thread.message.sent",
        "dm.received",
        "dm.created",
        "dm.new",
        "dm.sent",
        "dm.message.created",
        "direct_message.received",
        "direct_message.created",
        "direct_message.new",
        "direct_message.sent",
        "group_dm.received",
        "group_dm.created",
        "group_dm.new",
        "group_dm.sent",
        "group_dm.message.created",
    ];
    let (mut rig, bob) = with_agent(Some(0));
    for (seq, kind) in (1..).zip(kinds) {
        let mut frame = deliver(&bob, seq, &format!("text{seq}"));
        frame["payload"]["type"] = json!(kind);
        rig.frame(&frame);
    }
    rig.advance(Span::secs(5));
    let expected: Vec<String> = (1..=kinds.len()).map(|seq| format!("text{seq}")).collect();
    assert_eq!(rig.typed(&bob), expected);
    assert_eq!(rig.last_ack(&bob), 26);
}

#[test]
fn many_rows_that_are_done_at_once_are_acked_by_one_frame() {
    let (mut rig, bob) = with_agent(Some(0));
    for seq in (1..=5).rev() {
        let mut frame = deliver(&bob, seq, "read");
        frame["payload"]["type"] = json!("message.read");
        rig.frame(&frame);
    }
    assert_eq!(rig.acks(&bob), [5]);
}

#[test]
fn what_was_read_while_the_link_was_down_is_acked_in_steps() {
    let (mut rig, bob) = with_agent(Some(0));
    for seq in 1..=60 {
        rig.deliver(&bob, seq, "hi");
    }
    rig.sent.clear();
    rig.engine.upgrade = Upgrade::Status(503);
    rig.cut();
    rig.advance(Span::secs(40));
    assert!(rig.acks(&bob).is_empty());
    rig.engine.upgrade = Upgrade::Accept;
    rig.advance(Span::secs(31));
    let acks = rig.acks(&bob);
    assert_eq!(acks[..3], [25, 50, 60], "an engine may end no more rows by one frame");
    assert!(acks[3..].iter().all(|ack| *ack == 60), "{acks:?}");
}

#[test]
fn every_cursor_is_acked_again_after_a_registration_and_after_a_snapshot() {
    let mut rig = Rig::online();
    let agents = ["ann", "bob", "eve"].map(|name| rig.spawn(name));
    for (seq, agent) in (1..).zip(&agents[..2]) {
        for seq in 1..=seq {
            rig.deliver(agent, seq, "hi");
            rig.advance(SECOND);
        }
    }
    rig.sent.clear();
    rig.reconnect();
    assert_eq!(rig.acks(&agents[0]), [1, 1]);
    assert_eq!(rig.acks(&agents[1]), [2, 2]);
    rig.sent.clear();
    rig.advance(Span::secs(61));
    assert_eq!(rig.acks(&agents[1]), [2], "the refresh is a snapshot too");
    assert!(rig.acks(&agents[2]).is_empty(), "nothing to say for who got nothing");
}

#[test]
fn a_dead_letter_is_acked_only_after_its_record_is_stored() {
    let (mut rig, bob) = with_agent(Some(0));
    stuck(&mut rig, &bob);
    rig.disk_fault = Some(FaultKind::NoSpace);
    rig.deliver(&bob, 1, "lost");
    rig.deliver(&bob, 2, "next");
    rig.advance(Span::secs(29 * 60));
    assert!(rig.get("/api/dead-letters").1.to_string().find("lost").is_none());
    rig.advance(Span::secs(3 * 60));
    assert!(rig.acks(&bob).is_empty(), "no space: no record, no ack");
    assert_eq!(rig.health()["status"], "degraded");
    rig.disk_fault = None;
    rig.advance(MINUTE);
    assert_eq!(rig.last_ack(&bob), 1);
    assert!(rig.disk.journal.contains("lost"));
    assert!(rig.get("/api/dead-letters").1.to_string().contains("lost"));
    assert_eq!(rig.health()["deadLetterCount"], 1);
    let mut next = rig.restarted();
    assert_eq!(next.health()["deadLetterCount"], 1, "also after a restart");
}

#[test]
fn every_dead_letter_is_written_once() {
    let mut rig = Rig::online();
    let agents = ["ann", "bob", "eve"].map(|name| rig.spawn(name));
    for agent in &agents {
        stuck(&mut rig, agent);
        rig.deliver(agent, 1, "lost");
    }
    rig.advance(Span::secs(31 * 60));
    assert_eq!(rig.health()["deadLetterCount"], 3);
    assert_eq!(rig.restarted().health()["deadLetterCount"], 3);
}

#[test]
fn a_letter_that_could_not_be_written_does_not_settle_rows_of_a_later_life() {
    let (mut rig, bob) = with_agent(Some(0));
    stuck(&mut rig, &bob);
    rig.frame(&fan_out(&bob, "evt_1", "55", "action.completed"));
    rig.disk_fault = Some(FaultKind::NoSpace);
    rig.advance(Span::secs(31 * 60));
    rig.exits(bob.process, 0);
    rig.disk_fault = None;
    rig.next_program = Program { reads: false, ..Program::cat() };
    let again = rig.spawn("bob");
    assert_eq!(again.id, bob.id);
    for event in ["evt_2", "evt_3"] {
        rig.frame(&fan_out(&again, event, "55", "action.completed"));
    }
    rig.advance(MINUTE);
    rig.reads(again.process);
    rig.advance(Span::secs(3));
    assert_eq!(rig.typed(&again).len(), 2);
    assert_eq!(rig.health()["deadLetterCount"], 0, "an exit makes no dead letters");
}
