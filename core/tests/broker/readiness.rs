//! When a program that has just been started gets its first message.

use crate::support::just_started;
use relay_core::time::Span;
use serde_json::json;

const SECOND: Span = Span::secs(1);

#[test]
fn an_unknown_program_gets_its_first_message_when_it_has_been_quiet() {
    let (mut rig, bob) = just_started("cat");
    rig.deliver(&bob, 1, "one");
    rig.advance(Span::millis(200));
    rig.prints(bob.process, "starting up\r\n");
    rig.advance(Span::millis(200));
    assert!(rig.typed(&bob).is_empty(), "not while it draws");
    rig.advance(Span::millis(100));
    assert_eq!(rig.typed(&bob), ["one"]);
}

#[test]
fn a_program_that_never_falls_quiet_gets_its_first_message_after_two_seconds() {
    let (mut rig, bob) = just_started("cat");
    rig.deliver(&bob, 1, "one");
    for tenth in 0..19 {
        rig.advance(Span::millis(100));
        rig.prints(bob.process, ".");
        assert!(rig.typed(&bob).is_empty(), "after {tenth} tenths");
    }
    rig.advance(Span::millis(250));
    rig.prints(bob.process, ".");
    assert_eq!(rig.typed(&bob), ["one"]);
}

#[test]
fn a_known_harness_gets_nothing_while_a_dialog_is_up() {
    let (mut rig, bob) = just_started("claude");
    rig.deliver(&bob, 1, "one");
    rig.prints(bob.process, "Do you trust this folder?\r\n1. Yes, proceed\r\n2. No, exit\r\n");
    rig.advance(Span::secs(600));
    assert!(rig.program(bob.process).typed.is_empty());
    assert!(rig.acks(&bob).is_empty());
    rig.prints(bob.process, "\x1b[2J\x1b[HWelcome back\r\n> ");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one"]);
}

#[test]
fn no_screen_is_so_low_that_a_dialog_scrolls_its_question_away() {
    let (mut rig, bob) = just_started("codex");
    rig.deliver(&bob, 1, "one");
    let (status, answer) = {
        let request = rig.ask("POST", "/api/resize/bob", &json!({ "rows": 3, "cols": 9 }));
        rig.reply_to(request).expect("an answer at once")
    };
    assert_eq!((status, &answer["rows"], &answer["cols"]), (200, &json!(16), &json!(20)), "{answer}");
    rig.prints(
        bob.process,
        "Do you trust the contents of this directory?\r\n\u{203a} 1. Yes\r\n  2. No, quit\r\n",
    );
    rig.advance(Span::secs(600));
    assert!(rig.program(bob.process).typed.is_empty());
}

#[test]
fn a_dialog_that_is_drawn_in_pieces_is_no_prompt_before_its_last_piece() {
    let (mut rig, bob) = just_started("codex");
    rig.deliver(&bob, 1, "one");
    rig.prints(bob.process, "Do you trust the contents of this directory?\r\n\u{203a} 1. Yes");
    rig.advance(Span::millis(20));
    rig.prints(bob.process, ", continue\r\n  2. No, quit\r\n");
    rig.advance(Span::secs(600));
    assert!(rig.program(bob.process).typed.is_empty());
    rig.prints(bob.process, "\x1b[2J\x1b[Hmodel: x\r\n\u{203a} ");
    rig.advance(SECOND);
    assert_eq!(rig.typed(&bob), ["one"]);
}
