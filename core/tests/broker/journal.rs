//! What is kept across a restart, however the disk behaves and however long the journal has grown.

use crate::support::{Agents, Rig, with_agent};
use relay_core::time::Span;
use relay_core::{FaultKind, Input};
use serde_json::{Value, json};

/// So many records are appended before the journal is written anew.
const APPENDS: usize = 16_384;

fn results(rig: &Rig, invocation: &str) -> Vec<Value> {
    let results = rig.sent("action.result").into_iter();
    results.filter(|result| result["invocation_id"] == invocation).collect()
}

#[test]
fn a_result_that_could_not_be_written_is_written_when_the_disk_takes_it() {
    let spawn = || json!({ "name": "bob", "cli": "cat" });
    let mut rig = Rig::online();
    rig.invoke("inv_1", "spawn:cat", spawn());
    rig.disk_fault = Some(FaultKind::NoSpace);
    rig.advance(Span::secs(3));
    let first = results(&rig, "inv_1").remove(0);
    assert_eq!(first["output"]["spawned"], true);
    rig.advance(Span::secs(120));
    let before = rig.stats().store_faults;
    rig.advance(Span::secs(60));
    assert!((1..=3).contains(&(rig.stats().store_faults - before)), "it is tried, and not all the time");
    rig.disk_fault = None;
    rig.advance(Span::secs(31));
    let mut next = rig.restarted().ready();
    next.invoke("inv_1", "spawn:cat", spawn());
    next.advance(Span::secs(3));
    assert_eq!(results(&next, "inv_1"), [first]);
}

#[test]
fn what_could_not_be_written_is_written_before_the_end() {
    let spawn = || json!({ "name": "bob", "cli": "cat" });
    let mut rig = Rig::online();
    rig.invoke("inv_1", "spawn:cat", spawn());
    rig.disk_fault = Some(FaultKind::NoSpace);
    rig.advance(Span::secs(3));
    let first = results(&rig, "inv_1").remove(0);
    rig.disk_fault = None;
    rig.handle(Input::Terminate);
    rig.settle();
    rig.advance(Span::secs(10));
    let mut next = rig.restarted().ready();
    next.invoke("inv_1", "spawn:cat", spawn());
    next.advance(Span::secs(3));
    assert_eq!(results(&next, "inv_1"), [first]);
}

#[test]
fn a_later_failure_does_not_put_off_the_writing() {
    let mut rig = Rig::online();
    for number in 0..4 {
        rig.disk_fault = Some(FaultKind::NoSpace);
        rig.invoke(&format!("inv_{number}"), "release", json!({ "name": "nobody" }));
        rig.disk_fault = None;
        rig.advance(Span::secs(20));
    }
    assert!(rig.disk.journal.contains("inv_0"), "{}", rig.disk.journal);
}

#[test]
fn a_dead_letter_is_kept_although_the_journal_is_written_anew_at_that_moment() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.program(bob.process).reads = false;
    let mut asked = 0;
    while rig.disk.journal.lines().count() < APPENDS - 1 {
        rig.invoke(&format!("inv_{asked}"), "release", json!({ "name": "nobody" }));
        rig.sent.clear();
        asked += 1;
    }
    rig.deliver(&bob, 1, "lost");
    rig.advance(Span::secs(31 * 60));
    assert!(rig.disk.journal.lines().count() < APPENDS / 2, "it was written anew");
    assert_eq!(rig.last_ack(&bob), 1);
    assert_eq!(rig.health()["deadLetterCount"], 1);
    assert_eq!(rig.restarted().health()["deadLetterCount"], 1);
}

/// In the next life of this broker, what it answers releases with; engines ask for one only once.
fn answers_of_the_next_life(rig: Rig) -> Vec<Value> {
    let mut rig = rig.restarted();
    rig.advance(Span::secs(1));
    rig.sent("action.result")
}

/// A broker with a release under way that the disk had no room for.
fn with_an_unwritten_release() -> Rig {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    rig.disk_fault = Some(FaultKind::NoSpace);
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.disk_fault = None;
    rig
}

#[test]
fn a_release_under_way_is_released_by_the_next_life_also_when_the_journal_is_written_anew() {
    let mut rig = with_an_unwritten_release();
    rig.handle(Input::Terminate);
    assert!(rig.disk.journal.contains("\"releases\":\"bob\""), "{}", rig.disk.journal);
    assert_eq!(answers_of_the_next_life(rig).last().expect("one")["output"]["released"], true);
}

#[test]
fn a_release_of_whom_nobody_knows_is_answered_by_the_next_life_if_that_was_not_proven() {
    let mut rig = Rig::online();
    rig.invoke("inv_1", "release", json!({ "name": "eve" }));
    let answers = answers_of_the_next_life(rig);
    assert_eq!(answers[0]["invocation_id"], "inv_1");
    assert_eq!(answers[0]["output"], json!({ "released": true, "name": "eve" }));
}

#[test]
fn a_release_of_a_spawn_that_is_being_given_up_is_answered_by_the_next_life() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    rig.ask_spawn("bob");
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    assert_eq!(answers_of_the_next_life(rig)[0]["output"]["released"], true);
}

#[test]
fn every_release_of_the_same_agent_is_answered_by_the_next_life() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.invoke("inv_2", "release", json!({ "name": "bob" }));
    let answers = answers_of_the_next_life(rig);
    let ids: Vec<&str> = answers.iter().map(|answer| answer["invocation_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["inv_1", "inv_2"]);
}

#[test]
fn a_release_whose_beginning_could_not_be_written_is_told_by_its_end() {
    let mut rig = with_an_unwritten_release();
    rig.advance(Span::secs(3));
    assert!(!rig.disk.journal.contains("started"), "{}", rig.disk.journal);
    assert_eq!(answers_of_the_next_life(rig)[0]["invocation_id"], "inv_1");
}

#[test]
fn a_release_that_may_not_be_answered_is_remembered_longer_than_what_is() {
    let mut rig = Rig::online();
    rig.invoke("inv_1", "release", json!({ "name": "eve" }));
    for number in 0..5_000 {
        rig.invoke(&format!("other_{number}"), "nonsense", json!({}));
    }
    rig.sent.clear();
    rig.reconnect();
    rig.advance(Span::secs(1));
    assert!(rig.sent("action.result").iter().any(|result| result["invocation_id"] == "inv_1"));
}

#[test]
fn a_release_whose_result_has_surely_arrived_is_not_answered_again() {
    let mut rig = Rig::online();
    rig.invoke("inv_1", "release", json!({ "name": "eve" }));
    rig.advance(Span::secs(61));
    assert!(!rig.sent("inventory.sync").is_empty(), "its reply proves it");
    assert_eq!(answers_of_the_next_life(rig), [Value::Null; 0]);
}
