//! Agents that leave and come back: what they are shown, and how far it is acked.

use crate::delivery::stuck;
use crate::support::{Program, with_agent};
use relay_core::time::Span;
use serde_json::Value;

const SECOND: Span = Span::secs(1);

#[test]
fn rows_of_an_agent_that_leaves_stay_unacked_and_are_no_dead_letters() {
    for by_itself in [true, false] {
        let (mut rig, bob) = with_agent(Some(0));
        stuck(&mut rig, &bob);
        rig.deliver(&bob, 1, "one");
        rig.deliver(&bob, 2, "two");
        rig.advance(SECOND);
        if by_itself {
            rig.exits(bob.process, 0);
        } else {
            rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
        }
        rig.advance(Span::secs(5));
        assert!(rig.acks(&bob).is_empty());
        assert_eq!(rig.sent("agent.deregister").len(), 1);
        assert_eq!(rig.health()["deadLetterCount"], 0);
    }
}

#[test]
fn an_agent_that_comes_back_gets_what_it_had_not_taken() {
    let (mut rig, bob) = with_agent(Some(0));
    stuck(&mut rig, &bob);
    rig.deliver(&bob, 1, "one");
    rig.exits(bob.process, 1);
    rig.next_program = Program::cat();
    let again = rig.spawn("bob");
    assert_eq!(again.id, bob.id);
    rig.deliver(&again, 1, "one");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&again), ["one"]);
    assert_eq!(rig.last_ack(&again), 1);
}

#[test]
fn an_agent_that_comes_back_on_the_link_goes_on_behind_what_was_acked_there() {
    // What the engine sent and stated before it took the last ack may arrive late.
    for stated in [None, Some(0), Some(1)] {
        let (mut rig, bob) = with_agent(stated);
        for seq in [2, 3] {
            rig.deliver(&bob, seq, "read");
        }
        rig.deliver(&bob, 1, "read");
        rig.advance(Span::secs(3));
        assert_eq!(rig.last_ack(&bob), 3);
        stuck(&mut rig, &bob);
        rig.deliver(&bob, 4, "unread");
        rig.advance(SECOND);
        rig.exits(bob.process, 1);
        rig.next_program = Program::cat();
        let again = rig.spawn("bob");
        for (seq, text) in [(2, "read"), (3, "read"), (4, "unread")] {
            rig.deliver(&again, seq, text);
        }
        rig.advance(Span::secs(3));
        assert_eq!(rig.typed(&again), ["unread"], "{stated:?}");
        assert_eq!(rig.last_ack(&again), 4);
        assert!(rig.acks(&again).iter().all(|seq| *seq >= 3), "{stated:?}: {:?}", rig.acks(&again));
    }
}

#[test]
fn an_agent_that_comes_back_on_the_link_is_not_shown_again_what_was_let_past_a_gap() {
    // The row is not acked, so the engine sends it again, wherever its cursor stands.
    for (first, stated) in [(1, None), (1, Some(0)), (1, Some(1)), (0, Some(0))] {
        let (mut rig, bob) = with_agent(stated.map(|_| 0));
        if first == 1 {
            rig.deliver(&bob, 1, "one");
        }
        rig.deliver(&bob, first + 2, "let past");
        rig.advance(Span::secs(3));
        assert_eq!((rig.last_ack(&bob), rig.typed(&bob).pop().as_deref()), (first, Some("let past")));
        rig.exits(bob.process, 1);
        rig.engine.cursor = stated;
        let again = rig.spawn("bob");
        rig.deliver(&again, first + 2, "let past");
        rig.deliver(&again, first + 3, "new");
        rig.advance(Span::secs(3));
        assert_eq!(rig.typed(&again), ["new"], "{stated:?}");
        assert!(rig.acks(&again).iter().all(|seq| *seq == first), "{:?}", rig.acks(&again));
        rig.deliver(&again, first + 1, "missing");
        rig.advance(SECOND);
        assert_eq!((rig.typed(&again).len(), rig.last_ack(&again)), (2, first + 3), "{stated:?}");
    }
}

#[test]
fn an_agent_that_comes_back_on_another_link_goes_on_where_the_engine_says() {
    for while_down in [false, true] {
        let (mut rig, bob) = with_agent(Some(0));
        rig.deliver(&bob, 1, "lost ack");
        rig.advance(SECOND);
        if while_down {
            rig.cut();
        }
        rig.exits(bob.process, 1);
        rig.reconnect();
        let again = rig.spawn("bob");
        rig.deliver(&again, 1, "lost ack");
        rig.advance(SECOND);
        assert_eq!(rig.typed(&again), ["lost ack"], "while down: {while_down}");
        assert_eq!(rig.last_ack(&again), 1);
    }
}
