//! Interleavings that once lost a message, a link or the measure, and must not again.

use crate::support::{Agents, Event, Registers, Rig, Spawned, deliver, with_agent};
use relay_core::ids::ProcessId;
use relay_core::time::Span;
use serde_json::json;

const SECOND: Span = Span::secs(1);

fn mebibytes(count: usize) -> String {
    "x".repeat(count << 20)
}

#[test]
fn a_second_reply_to_the_registration_changes_nothing() {
    let mut rig = Rig::with(|_, engine| engine.registers = Registers::Hold);
    rig.advance(Span::millis(10));
    let register = rig.last_sent("node.register");
    rig.reply(&json!("minted"), json!({ "id": register["node_id"], "name": "x" }));
    assert_eq!(rig.health()["relaycastConnected"], true);
    rig.reply(&register["id"], json!({ "id": register["node_id"], "name": "x" }));
    rig.engine.registers = Registers::Confirm;
    rig.advance(Span::secs(1_800));
    assert_eq!(rig.health()["relaycastConnected"], true, "{:?}", rig.health());
}

#[test]
fn tokens_of_another_node_count_in_the_budget() {
    let refusals = (0..10_000).map(|_| "node_id_mismatch").collect();
    let mut rig = Rig::with(|_, engine| engine.register_refusals = refusals);
    rig.advance(Span::secs(300));
    let mints = rig.calls_to("/v1/nodes").len();
    assert!(mints <= 6, "the first mint and five more, not {mints}");
}

#[test]
fn a_row_that_found_no_room_is_never_proven_gone() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    rig.program(bob.process).manual = true;
    rig.deliver(&bob, 3, &mebibytes(5));
    rig.deliver(&bob, 4, &mebibytes(2));
    let two = deliver(&bob, 2, &mebibytes(2));
    rig.frame(&two);
    rig.advance(Span::secs(5));
    for _ in 0..2 {
        rig.reconnect();
        rig.frame(&two);
        rig.deliver(&bob, 3, &mebibytes(5));
        rig.deliver(&bob, 4, &mebibytes(2));
        rig.advance(SECOND);
    }
    assert_eq!(rig.last_ack(&bob), 1, "the second was never typed");
}

/// A large row that waits to be read, one that finds no room behind it, and a short one: what is typed
/// when there is room again.
fn with_full_window() -> (Rig, Spawned) {
    let (mut rig, bob) = with_agent(Some(0));
    rig.program(bob.process).reads = false;
    for (seq, text) in [(1, &*mebibytes(5)), (2, &*mebibytes(5)), (3, "three")] {
        rig.deliver(&bob, seq, text);
    }
    rig.advance(Span::secs(5));
    rig.reads(bob.process);
    rig.advance(Span::secs(30));
    assert_eq!(rig.typed(&bob).len(), 1, "the third waits for the second");
    rig.reconnect();
    (rig, bob)
}

#[test]
fn nothing_is_shown_before_a_row_that_found_no_room() {
    let (mut rig, bob) = with_full_window();
    rig.deliver(&bob, 2, &mebibytes(5));
    rig.deliver(&bob, 3, "three");
    rig.advance(Span::secs(30));
    assert_eq!((rig.typed(&bob).len(), &*rig.typed(&bob)[2]), (3, "three"));
    assert_eq!(rig.last_ack(&bob), 3);
}

#[test]
fn what_follows_a_row_that_found_no_room_and_is_gone_is_shown() {
    let (mut rig, bob) = with_full_window();
    rig.deliver(&bob, 3, "three");
    rig.advance(Span::secs(30));
    assert_eq!(rig.typed(&bob)[1..], ["three"], "the replay has passed over the second");
}

#[test]
fn a_full_window_takes_the_row_that_it_waits_for() {
    let (mut rig, bob) = with_agent(Some(0));
    for seq in 2..=16_385 {
        let mut receipt = deliver(&bob, seq, "x");
        receipt["payload"]["type"] = json!("message.read");
        rig.frame(&receipt);
    }
    rig.advance(Span::secs(3));
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one"]);
    assert_eq!(rig.last_ack(&bob), 16_385);
}

#[test]
fn a_refused_registration_does_not_spoil_the_next_of_its_name() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Refuse("node_capacity_exceeded");
    rig.ask_spawn("bob");
    rig.advance(SECOND);
    rig.engine.agents = Agents::Hold;
    let second = rig.ask_spawn("bob");
    let data = rig.identity("bob");
    rig.reply(&json!("minted"), data);
    rig.advance(Span::secs(3));
    assert_eq!(rig.reply_to(second).map(|reply| reply.0), Some(200));
}

#[test]
fn a_frame_between_registering_and_binding_over_http_waits() {
    let mut rig = Rig::with(|_, engine| {
        engine.register_refusals = ["invalid_message"].into();
        engine.cursor = None;
    })
    .ready();
    rig.engine.agents = Agents::Hold;
    rig.ask_spawn("bob");
    rig.advance(Span::millis(10_001));
    let call = rig.calls_to("/v1/agents").last().unwrap().id;
    rig.engine.ids.insert("bob".into(), "100".into());
    rig.answer(call, 201, json!({ "id": "100", "name": "bob", "token": "at_live_100100100100" }));
    let bind = rig.calls.last().unwrap().id;
    let bob = Spawned { process: ProcessId(0), id: "100".into(), name: "bob".into() };
    rig.deliver(&bob, 5, "five");
    rig.answer(bind, 200, json!({}));
    // Behind the answer to the snapshot that follows all that is open comes again.
    rig.deliver(&bob, 5, "five");
    rig.advance(Span::secs(5));
    assert!(rig.sent("agent.deregister").is_empty(), "it was known at once whose it is");
    let bob = Spawned { process: rig.children.last().unwrap().0, ..bob };
    assert_eq!(rig.typed(&bob), ["five"]);
}

#[test]
fn an_agent_that_is_starting_is_in_the_opening_inventory() {
    let mut rig = Rig::online();
    rig.hold_spawns = true;
    rig.ask_spawn("bob");
    let process = rig.children.last().unwrap().0;
    rig.sent.clear();
    rig.reconnect();
    rig.feed(Event::Spawned(process, Ok(7)));
    rig.advance(SECOND);
    let listed = rig.last_sent("inventory.sync")["agents"].as_array().unwrap().len();
    assert_eq!(listed, 1);
}

#[test]
fn a_refusal_of_the_inventory_ends_with_the_agent() {
    let mut rig = Rig::online();
    rig.engine.inventories = false;
    rig.spawn("bob");
    rig.advance(Span::secs(61));
    rig.refuse_inventory("agent \"bob\" is elsewhere");
    rig.engine.inventories = true;
    rig.accept_inventory();
    rig.ask("DELETE", "/api/spawned/bob", &json!(null));
    rig.advance(Span::secs(5));
    rig.spawn("bob");
    rig.advance(Span::secs(100));
    assert_eq!(rig.last_sent("inventory.sync")["agents"].as_array().unwrap().len(), 1);
}
