//! Messages for which there is no room: what becomes of them, and of those behind them.

use crate::delivery::stuck;
use crate::support::{Rig, Spawned, deliver, with_agent, with_agent_of_older_engine};
use relay_core::time::Span;
use serde_json::json;

const SECOND: Span = Span::secs(1);

#[test]
fn what_did_not_fit_is_asked_for_again() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.program(bob.process).echo = false;
    stuck(&mut rig, &bob);
    let big = "x".repeat(2 * 1024 * 1024);
    for seq in 1..=6 {
        rig.deliver(&bob, seq, &big);
    }
    rig.advance(SECOND);
    assert!(rig.acks(&bob).is_empty());
    rig.sent.clear();
    rig.reads(bob.process);
    rig.advance(Span::secs(20));
    let taken = rig.last_ack(&bob);
    assert!((2..6).contains(&taken), "{taken} fitted");
    assert!(!rig.sent("inventory.sync").is_empty(), "asks for the rest");
    for seq in taken + 1..=6 {
        rig.deliver(&bob, seq, &big);
    }
    rig.advance(Span::secs(5));
    assert_eq!(rig.last_ack(&bob), 6);
    assert_eq!(rig.typed(&bob).len(), 6);
}

#[test]
fn a_second_message_under_one_number_that_did_not_fit_is_asked_for_and_not_acked_unread() {
    let (mut rig, bob) = with_agent(None);
    rig.program(bob.process).echo = false;
    stuck(&mut rig, &bob);
    rig.deliver(&bob, 1, &"x".repeat(8 * 1024 * 1024 - 4096));
    rig.deliver(&bob, 2, "two");
    let mut other = deliver(&bob, 1, &"y".repeat(8192));
    (other["delivery_id"], other["msg_id"]) = (json!("del_other"), json!("999"));
    rig.frame(&other);
    rig.sent.clear();
    rig.reads(bob.process);
    rig.advance(Span::secs(10));
    assert_eq!((rig.typed(&bob).len(), rig.acks(&bob)), (2, Vec::new()));
    assert!(!rig.sent("inventory.sync").is_empty(), "asks for the other one");
    rig.frame(&other);
    rig.advance(SECOND);
    assert_eq!((rig.typed(&bob).len(), rig.last_ack(&bob)), (3, 2));
}

/// A broker that has dropped three messages, which the engine has given up meanwhile.
fn dropped_for_good(mut rig: Rig, bob: &Spawned) -> Rig {
    rig.engine.inventories = true;
    rig.program(bob.process).echo = false;
    stuck(&mut rig, bob);
    let big = "x".repeat(2 * 1024 * 1024);
    for seq in 1..=6 {
        rig.deliver(bob, seq, &big);
    }
    rig.reads(bob.process);
    rig.advance(Span::secs(20));
    assert_eq!((rig.typed(bob).len(), rig.last_ack(bob)), (3, 3));
    rig
}

#[test]
fn what_did_not_fit_and_was_given_up_is_not_asked_for_by_connections_for_ever() {
    let (rig, bob) = with_agent(Some(0));
    let mut rig = dropped_for_good(rig, &bob);
    rig.advance(Span::secs(100));
    let opens = rig.opens.len();
    rig.advance(Span::secs(7_200));
    assert_eq!(rig.opens.len(), opens, "another connection would bring nothing either");
    rig.deliver(&bob, 7, "seven");
    rig.advance(Span::secs(3));
    assert_eq!((rig.typed(&bob).len(), rig.last_ack(&bob)), (4, 3), "behind a gap like any other");
}

#[test]
fn what_did_not_fit_and_was_given_up_is_not_asked_for_for_ever_by_snapshots_either() {
    let (rig, bob) = with_agent_of_older_engine();
    let mut rig = dropped_for_good(rig, &bob);
    rig.advance(Span::secs(100));
    let asked = rig.said("asking for a replay");
    assert!(asked > 0);
    rig.advance(Span::secs(7_200));
    assert_eq!(rig.said("asking for a replay"), asked);
}
