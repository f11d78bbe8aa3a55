//! What a jump of the clock, as after a sleep of the machine, takes from nobody: the time to go on.

use crate::support::{Program, Rig, Spawned, deliver, just_started, with_agent, with_agent_of_older_engine};
use relay_core::time::Span;
use serde_json::{Value, json};

const SECOND: Span = Span::secs(1);

/// A program that starts, and a message for it.
fn starting(cli: &str) -> (Rig, Spawned) {
    let (mut rig, bob) = just_started(cli);
    rig.deliver(&bob, 1, "one");
    rig.prints(bob.process, "starting\r\n");
    (rig, bob)
}

/// The machine sleeps until long after the next wake, and the broker is the first to know.
fn sleep(rig: &mut Rig) {
    rig.jump(Span::secs(3_600));
    rig.tick();
}

#[test]
fn a_screen_that_is_not_recognised_is_given_its_minute_awake() {
    let (mut rig, bob) = starting("codex");
    rig.advance(Span::millis(1_500));
    sleep(&mut rig);
    rig.advance(Span::secs(57));
    assert!(rig.typed(&bob).is_empty(), "it may ask something yet");
    rig.advance(Span::secs(3));
    assert_eq!(rig.typed(&bob), ["one"], "but no longer than that");
}

#[test]
fn a_sleep_is_told_from_patience_by_a_wake_that_is_near() {
    let (mut rig, bob) = starting("codex");
    for _ in 0..5 {
        rig.advance(Span::millis(1_500));
        // Short enough not to be seen as a jump.
        let wake = rig.wake.unwrap().since(rig.now.mono);
        rig.jump(Span(wake.0 + 4_900_000));
        rig.tick();
    }
    rig.advance(SECOND);
    assert!(rig.typed(&bob).is_empty(), "it has run for 8.5 s, and slept for some 27 s");
}

#[test]
fn a_program_is_not_quiet_because_it_slept() {
    let (mut rig, bob) = starting("cat");
    rig.advance(Span::millis(100));
    sleep(&mut rig);
    rig.advance(Span::millis(200));
    assert!(rig.typed(&bob).is_empty());
    rig.advance(Span::millis(100));
    assert_eq!(rig.typed(&bob), ["one"]);
}

#[test]
fn a_program_does_not_find_its_interrupt_key_and_a_text_in_one_read() {
    let mut rig = Rig::online();
    rig.next_program = Program { banner: b"Welcome back\r\n> ".to_vec(), ..Program::raw() };
    let bob = rig.spawn_cli("bob", "claude");
    let mut frame = deliver(&bob, 1, "one");
    frame["mode"] = json!("steer");
    rig.frame(&frame);
    rig.advance(Span::millis(1));
    sleep(&mut rig);
    rig.advance(Span::millis(100));
    assert_eq!(rig.program(bob.process).pieces.len(), 1, "the key alone");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one"]);
}

#[test]
fn a_program_has_the_time_to_draw_a_text_before_its_submit() {
    let mut rig = Rig::online();
    rig.next_program = Program { echo: false, ..Program::raw() };
    let bob = rig.spawn("bob");
    rig.deliver(&bob, 1, "one");
    rig.advance(Span::millis(100));
    let pieces = rig.program(bob.process).pieces.len();
    sleep(&mut rig);
    rig.advance(Span::millis(300));
    assert_eq!(rig.program(bob.process).pieces.len(), pieces, "no submit yet");
    rig.advance(SECOND);
    assert_eq!(rig.acks(&bob), [1]);
}

#[test]
fn a_message_is_neither_given_up_nor_told_as_stuck_for_a_sleep() {
    let mut rig = Rig::online();
    rig.next_program = Program { reads: false, ..Program::cat() };
    let bob = rig.spawn("bob");
    rig.follow();
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    sleep(&mut rig);
    rig.advance(Span::secs(5));
    assert!(rig.events("worker_error").is_empty());
    rig.advance(Span::secs(28 * 60));
    assert_eq!(rig.events("worker_error").len(), 1);
    assert!(rig.acks(&bob).is_empty(), "no dead letter either");
    rig.advance(Span::secs(2 * 60));
    assert_eq!(rig.last_ack(&bob), 1, "a dead letter after 30 minutes that it was awake");
}

#[test]
fn a_program_that_has_run_for_a_moment_is_not_proven_by_a_sleep() {
    let mut rig = Rig::online();
    let request = rig.ask_spawn("bob");
    rig.advance(Span::millis(1));
    sleep(&mut rig);
    assert!(rig.reply_to(request).is_none());
    rig.advance(SECOND);
    assert_eq!(rig.reply_to(request).unwrap().0, 200);
}

#[test]
fn who_is_to_leave_has_its_grace_awake() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    rig.advance(Span::millis(1));
    let signals = rig.signals.len();
    sleep(&mut rig);
    assert_eq!(rig.signals.len(), signals);
    rig.advance(Span::secs(5));
    assert_eq!(rig.signals.len(), signals + 1);
}

#[test]
fn a_row_that_the_socket_held_through_a_sleep_comes_before_the_later_one() {
    let (mut rig, bob) = with_agent(Some(0));
    rig.deliver(&bob, 2, "two");
    rig.advance(Span::millis(100));
    sleep(&mut rig);
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one", "two"]);
}

#[test]
fn a_row_is_not_the_first_because_it_slept_before_the_answer_that_may_bring_lower_ones() {
    let (mut rig, bob) = with_agent_of_older_engine();
    rig.deliver(&bob, 2, "two");
    rig.advance(Span::millis(100));
    sleep(&mut rig);
    rig.accept_inventory();
    rig.advance(Span::secs(3));
    assert!(rig.acks(&bob).is_empty());
    rig.deliver(&bob, 1, "one");
    rig.deliver(&bob, 2, "two");
    rig.advance(Span::secs(200));
    assert_eq!(rig.typed(&bob), ["one", "two"]);
    assert_eq!(rig.last_ack(&bob), 2);
}
