//! The end of a broker: in order, and in time.

use crate::support::{Agents, Engine, Event, Mints, Program, Registers, Rig, Upgrade};
use relay_core::time::{Mono, Span};
use relay_core::{Input, PtySignal};
use serde_json::{Value, json};

const SECOND: Span = Span::secs(1);

/// Waits for the exit; how long it took.
fn until_exit(rig: &mut Rig, since: Mono) -> Span {
    for _ in 0..100 {
        if rig.exit.is_some() {
            return rig.now.mono.since(since);
        }
        rig.advance(Span::millis(50));
    }
    panic!("no exit within five seconds");
}

fn stop(rig: &mut Rig) -> Span {
    let since = rig.now.mono;
    rig.order.clear();
    rig.handle(Input::Terminate);
    rig.settle();
    until_exit(rig, since)
}

#[test]
fn agents_and_node_say_goodbye_before_the_link_closes_and_children_end() {
    let mut rig = Rig::online();
    for name in ["ann", "bob"] {
        rig.spawn(name);
    }
    let took = stop(&mut rig);
    assert_eq!(rig.exit, Some(0));
    assert!(took < SECOND, "{took:?}");
    assert_eq!(rig.sent("agent.deregister").len(), 2);
    assert_eq!(rig.types().last().unwrap(), "node.deregister");
    assert_eq!(rig.closes.last().unwrap().1, 1000);
    let at = |what: &str| rig.order.iter().position(|entry| entry == what).expect("it happened");
    assert!(at("node.deregister") < at("close"));
    assert_eq!(rig.signals.iter().filter(|(_, signal)| *signal == PtySignal::Terminate).count(), 2);
    assert!(rig.programs.is_empty());
}

#[test]
fn children_that_do_not_go_are_killed_and_the_whole_takes_four_seconds_at_most() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    let took = stop(&mut rig);
    assert_eq!(rig.exit, Some(0));
    assert!(took <= Span::secs(4), "{took:?}");
    assert_eq!(rig.signals.last().unwrap().1, PtySignal::Kill);
}

#[test]
fn nothing_follows_the_exit_when_a_child_is_due_to_be_killed_at_the_same_tick() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    // Its end is never reported: it hangs in the kernel.
    rig.programs.clear();
    rig.handle(Input::Terminate);
    rig.advance(Span::millis(3_500));
    assert_eq!(rig.exit, None);
    rig.jump(Span::secs(2));
    // The rig takes no command behind the exit.
    rig.tick();
    assert_eq!(rig.exit, Some(0));
}

#[test]
fn nothing_that_hangs_delays_the_end_beyond_four_seconds() {
    // A start that is never reported, a publish without answer, a terminal that never reads.
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.program(bob.process).reads = false;
    rig.deliver(&bob, 1, "one");
    rig.hold_spawns = true;
    let spawn = rig.ask_spawn("eve");
    let send = rig.ask("POST", "/api/send", &json!({ "to": "eve", "text": "hi" }));
    rig.advance(Span::millis(100));
    let took = stop(&mut rig);
    assert!(took <= Span::secs(4), "{took:?}");
    assert_eq!(rig.exit, Some(0));
    assert_eq!(rig.reply_to(spawn).expect("an answer").0, 503);
    assert_eq!(rig.reply_to(send).expect("an answer").0, 504);
    assert!(rig.acks(&bob).is_empty(), "held rows stay unacked");
}

#[test]
fn an_injection_that_has_begun_may_end_and_is_acked() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.program(bob.process).reads = false;
    rig.deliver(&bob, 1, "one");
    rig.deliver(&bob, 2, "two");
    rig.advance(Span::millis(100));
    let since = rig.now.mono;
    rig.handle(Input::Terminate);
    rig.advance(Span::millis(100));
    assert!(rig.sent("node.deregister").is_empty());
    rig.reads(bob.process);
    until_exit(&mut rig, since);
    assert_eq!(rig.acks(&bob), [1], "the second was not begun");
    let at = |kind| rig.place_of(kind);
    assert!(at("delivery.ack") < at("agent.deregister"));
}

#[test]
fn a_second_wish_ends_at_once() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    rig.handle(Input::Terminate);
    rig.settle();
    assert_eq!(rig.exit, None);
    rig.handle(Input::Terminate);
    assert!(rig.exit.is_some());
}

#[test]
fn it_ends_from_every_state_of_the_link() {
    type Prepare = fn(&mut Engine);
    let states: [(&str, Prepare); 4] = [
        ("calling", |engine| engine.mints = Mints::Hold),
        ("opening", |engine| engine.upgrade = Upgrade::Hold),
        ("waiting", |engine| engine.upgrade = Upgrade::Status(503)),
        ("registering", |engine| engine.registers = Registers::Hold),
    ];
    for (state, prepare) in states {
        let mut rig = Rig::with(|_, engine| prepare(engine));
        rig.advance(SECOND);
        let took = stop(&mut rig);
        assert!(took <= Span::secs(4), "{state}: {took:?}");
        assert_eq!(rig.exit, Some(0), "{state}");
        assert!(rig.sent("node.deregister").is_empty(), "{state}: nothing to take back");
    }
}

#[test]
fn new_work_is_refused_while_it_stops() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    rig.handle(Input::Terminate);
    rig.settle();
    for (method, path) in [("POST", "/api/spawn"), ("POST", "/api/send")] {
        let body = json!({ "name": "eve", "cli": "cat", "to": "eve", "text": "hi" });
        let request = rig.ask(method, path, &body);
        assert_eq!(rig.reply_to(request).expect("an answer").0, 503, "{path}");
    }
    assert_eq!(rig.get("/health").0, 200);
    assert_eq!(rig.children.len(), 1);
}

#[test]
fn a_client_can_ask_for_the_end() {
    let mut rig = Rig::online();
    rig.follow();
    let since = rig.now.mono;
    let request = rig.ask("POST", "/api/shutdown", &Value::Null);
    assert_eq!(rig.reply_to(request).unwrap(), (200, json!({ "status": "shutting_down" })));
    until_exit(&mut rig, since);
    assert_eq!(rig.stream_closes, 1);
}

#[test]
fn a_spawn_that_was_refused_because_of_the_end_is_not_started() {
    let mut rig = Rig::online();
    // Another agent has a message half typed, which the stop waits for.
    rig.next_program = Program { reads: false, ..Program::cat() };
    let eve = rig.spawn("eve");
    rig.deliver(&eve, 1, "hi");
    rig.engine.agents = Agents::Hold;
    let spawn = rig.ask_spawn("bob");
    let register = rig.last_sent("agent.register");
    let children = rig.children.len();
    rig.handle(Input::Terminate);
    rig.settle();
    assert_eq!(rig.reply_to(spawn).expect("an answer").0, 503);
    let data = rig.identity("bob");
    rig.reply(&register["id"], data);
    rig.advance(Span::secs(1));
    assert_eq!(rig.children.len(), children);
}

#[test]
fn what_a_stop_drops_is_told_at_once() {
    let mut rig = Rig::online();
    rig.follow();
    let bob = rig.spawn("bob");
    rig.deliver(&bob, 3, "behind a gap");
    rig.handle(Input::Terminate);
    assert_eq!(rig.events("delivery_dropped").len(), 1);
}

#[test]
fn followers_see_the_last_agent_go_before_their_stream_is_closed() {
    let mut rig = Rig::online();
    rig.follow();
    rig.spawn_immortal("bob");
    rig.handle(Input::Terminate);
    let since = rig.now.mono;
    until_exit(&mut rig, since);
    assert_eq!(rig.events("agent_exited").len(), 1);
    assert_eq!(rig.stream_closes, 1);
}

#[test]
fn a_broker_without_lasting_state_ends_when_nobody_renews_its_lease() {
    let mut rig = Rig::with(|config, _| config.persist = false).ready();
    for _ in 0..3 {
        rig.advance(Span::secs(100));
        rig.ask("POST", "/api/session/renew", &Value::Null);
    }
    assert_eq!(rig.exit, None);
    rig.advance(Span::secs(125));
    assert_eq!(rig.exit, Some(0));
    let mut rig = Rig::online();
    rig.advance(Span::secs(300));
    assert_eq!(rig.exit, None);
}

#[test]
fn the_end_tells_no_inventory_because_it_would_reschedule_what_is_left_to_the_next_life() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.program(bob.process).reads = false;
    rig.deliver(&bob, 1, "one");
    rig.sent.clear();
    while rig.sent("inventory.sync").is_empty() {
        rig.advance(Span::millis(100));
    }
    rig.advance(Span::millis(59_400));
    rig.sent.clear();
    rig.handle(Input::Terminate);
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
    rig.advance(Span::millis(900));
    assert_eq!(rig.exit, None, "a message is being typed");
    assert!(rig.sent("inventory.sync").is_empty() && rig.sent("action.result").is_empty());
}

#[test]
fn the_first_inventory_of_a_link_is_told_also_at_the_end_for_it_brings_the_agents_back() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.program(bob.process).reads = false;
    rig.deliver(&bob, 1, "one");
    rig.advance(SECOND);
    let confirm = rig.unconfirmed();
    rig.handle(Input::Terminate);
    confirm(&mut rig);
    rig.advance(Span::millis(210));
    assert_eq!(rig.exit, None, "a message is being typed");
    assert_eq!(rig.sent("inventory.sync").len(), 1);
}

#[test]
fn an_invocation_under_way_at_the_end_is_answered() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "bob" }));
    stop(&mut rig);
    let results = rig.sent("action.result");
    assert_eq!(results.len(), 1);
    assert!(results[0]["error"].is_string());
    let at = |kind| rig.place_of(kind);
    assert!(at("action.result") < at("node.deregister"));
}

#[test]
fn a_link_that_breaks_while_it_stops_does_not_come_back() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    let (since, opens) = (rig.now.mono, rig.opens.len());
    rig.handle(Input::Terminate);
    let link = rig.link();
    rig.feed(Event::Down(link));
    until_exit(&mut rig, since);
    assert_eq!(rig.opens.len(), opens);
}
