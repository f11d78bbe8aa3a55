//! The base of a window: where the rows of an identity begin.

use crate::support::{Rig, Spawned, with_agent, with_agent_of_older_engine};
use relay_core::time::Span;

const SECOND: Span = Span::secs(1);

#[test]
fn a_stated_cursor_is_the_base() {
    let (mut rig, bob) = with_agent(Some(42));
    rig.deliver(&bob, 43, "next");
    rig.advance(SECOND);
    assert_eq!(rig.acks(&bob), [43]);
    rig.deliver(&bob, 41, "old");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["next"]);
    assert_eq!(rig.last_ack(&bob), 43);
}

#[test]
fn without_a_cursor_the_lowest_row_of_the_first_two_seconds_is_the_base() {
    let (mut rig, bob) = with_agent(None);
    rig.deliver(&bob, 17, "seventeen");
    rig.advance(SECOND);
    rig.deliver(&bob, 16, "sixteen");
    rig.advance(Span::millis(900));
    assert!(rig.typed(&bob).is_empty() && rig.acks(&bob).is_empty(), "the base is open");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["sixteen", "seventeen"]);
    assert_eq!(rig.last_ack(&bob), 17);
    rig.deliver(&bob, 18, "eighteen");
    rig.advance(Span::millis(100));
    assert_eq!(rig.last_ack(&bob), 18);
}

#[test]
fn the_first_row_of_all_fixes_the_base_at_once() {
    let (mut rig, bob) = with_agent(None);
    rig.deliver(&bob, 2, "two");
    rig.deliver(&bob, 1, "one");
    rig.advance(Span::millis(500));
    assert_eq!(rig.typed(&bob), ["one", "two"]);
    assert_eq!(rig.last_ack(&bob), 2);
}

/// What is open comes, and is read from its beginning.
fn rows_one_and_two_come(rig: &mut Rig, bob: &Spawned) {
    for (seq, text) in [(1, "one"), (2, "two")] {
        rig.deliver(bob, seq, text);
    }
    rig.advance(Span::secs(5));
    assert_eq!(rig.typed(bob), ["one", "two"]);
    assert_eq!(rig.last_ack(bob), 2);
}

#[test]
fn the_lowest_row_is_no_base_while_its_agent_is_left_out_of_the_inventory() {
    let (mut rig, bob) = with_agent(None);
    rig.engine.inventories = false;
    rig.reconnect();
    rig.deliver(&bob, 2, "two");
    rig.refuse_inventory("agent \"bob\" is active elsewhere");
    rig.accept_inventory();
    rig.advance(Span::secs(30));
    assert!(
        rig.acks(&bob).is_empty(),
        "the engine sends the older ones only with an inventory that lists it"
    );
    rig.advance(Span::secs(31));
    rig.accept_inventory();
    rows_one_and_two_come(&mut rig, &bob);
}

#[test]
fn the_lowest_row_is_no_base_until_what_is_open_comes_behind_the_answer_to_a_snapshot() {
    let (mut rig, bob) = with_agent_of_older_engine();
    rig.deliver(&bob, 2, "two");
    rig.advance(Span::millis(1_900));
    rig.accept_inventory();
    rig.deliver(&bob, 3, "three");
    rig.advance(Span::secs(10));
    assert!(rig.acks(&bob).is_empty(), "however late that is, and whatever is new before");
    for (seq, text) in [(1, "one"), (2, "two"), (3, "three")] {
        rig.deliver(&bob, seq, text);
    }
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one", "two", "three"]);
    assert_eq!(rig.last_ack(&bob), 3);
}

#[test]
fn an_older_engine_is_asked_for_what_is_open_before_a_live_row_is_taken_for_the_first() {
    let (mut rig, bob) = with_agent_of_older_engine();
    rig.accept_inventory();
    rig.sent.clear();
    rig.deliver(&bob, 2, "two");
    rig.advance(Span::millis(1_900));
    assert!(rig.sent("inventory.sync").is_empty(), "it may have been overtaken for a moment");
    rig.advance(Span::secs(15));
    assert_eq!(rig.sent("inventory.sync").len(), 1, "once, however late the answer");
    assert!(rig.acks(&bob).is_empty(), "the one before it may be under way on a slow link");
    rig.accept_inventory();
    rows_one_and_two_come(&mut rig, &bob);
}

#[test]
fn a_replay_that_repeats_one_row_proves_the_first_even_where_that_is_new() {
    let (mut rig, bob) = with_agent_of_older_engine();
    rig.accept_inventory();
    rig.deliver(&bob, 41, "live");
    rig.advance(Span::secs(3));
    rig.accept_inventory();
    rig.sent.clear();
    for (seq, text) in [(40, "older"), (41, "live")] {
        rig.deliver(&bob, seq, text);
    }
    rig.advance(Span::secs(3));
    assert_eq!(rig.typed(&bob), ["older", "live"]);
    assert!(rig.sent("inventory.sync").is_empty(), "nothing is left to ask");
}

#[test]
fn an_engine_that_refuses_every_snapshot_is_not_asked_every_two_seconds() {
    let (mut rig, bob) = with_agent_of_older_engine();
    rig.accept_inventory();
    rig.sent.clear();
    rig.deliver(&bob, 41, "live");
    let mut refused = 0;
    for _ in 0..50 {
        rig.advance(SECOND);
        let asked = rig.sent("inventory.sync").len();
        if asked > refused {
            refused = asked;
            rig.refuse_inventory("overloaded");
        }
    }
    assert!((1..=3).contains(&refused), "with the agent, and once more without it: {refused}");
}

#[test]
fn a_row_does_not_wait_for_ever_when_nothing_comes_behind_the_answers() {
    let (mut rig, bob) = with_agent_of_older_engine();
    rig.deliver(&bob, 2, "two");
    rig.accept_inventory();
    rig.advance(Span::secs(61));
    rig.accept_inventory();
    rig.advance(Span::secs(30));
    assert!(rig.typed(&bob).is_empty(), "it may still come");
    rig.advance(Span::secs(25));
    assert_eq!(rig.typed(&bob), ["two"]);
}

#[test]
fn the_wait_for_lower_rows_begins_anew_with_the_answer_that_brings_them() {
    let (mut rig, bob) = with_agent(None);
    rig.engine.inventories = false;
    rig.reconnect();
    rig.deliver(&bob, 2, "two");
    rig.advance(Span::millis(1_900));
    rig.accept_inventory();
    rig.advance(Span::millis(1_900));
    assert!(rig.acks(&bob).is_empty(), "what comes again comes behind the answer");
    rows_one_and_two_come(&mut rig, &bob);
}

#[test]
fn an_unknown_row_below_a_found_base_is_typed_once() {
    let (mut rig, bob) = with_agent(None);
    rig.deliver(&bob, 7, "seven");
    rig.advance(Span::secs(3));
    for _ in 0..3 {
        rig.deliver(&bob, 5, "five");
        rig.advance(SECOND);
    }
    assert_eq!(rig.typed(&bob), ["seven", "five"]);
    assert_eq!(rig.last_ack(&bob), 7);
}
