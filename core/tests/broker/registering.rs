//! Registrations of agents: late, refused, without our id, and on engines that only create.

use crate::support::{Agents, Rig};
use relay_core::time::Span;
use serde_json::{Value, json};

const SECOND: Span = Span::secs(1);

/// The answer to a request that must have one by now.
fn answer(rig: &Rig, request: u64) -> (u16, Value) {
    rig.reply_to(request).expect("an answer")
}

#[test]
fn a_registration_without_answer_fails_after_ten_seconds_and_is_undone_when_it_comes_late() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    let request = rig.ask_spawn("bob");
    rig.advance(Span::millis(9_900));
    assert!(rig.reply_to(request).is_none());
    rig.advance(Span::millis(200));
    let (status, body) = answer(&rig, request);
    assert_eq!((status, &body["success"]), (504, &json!(false)), "{body}");
    assert!(rig.children.is_empty());
    let register = rig.last_sent("agent.register");
    let data = rig.identity("bob");
    rig.reply(&register["id"], data);
    let deregister = rig.last_sent("agent.deregister");
    assert_eq!((&deregister["agent_id"], &deregister["name"]), (&json!("100"), &json!("bob")));
    assert!(rig.children.is_empty());
}

#[test]
fn a_refusal_of_the_engine_is_passed_on_with_its_code() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Refuse("node_capacity_exceeded");
    let request = rig.ask_spawn("bob");
    let (status, body) = answer(&rig, request);
    assert!((400..600).contains(&status));
    assert_eq!(body["code"], "node_capacity_exceeded");
    assert!(rig.children.is_empty());
}

#[test]
fn a_create_only_engine_is_asked_to_recover_an_identity_that_was_ours() {
    let mut rig = Rig::online();
    let bob = rig.spawn("bob");
    rig.exits(bob.process, 0);
    let mut next = rig.restarted().ready();
    next.engine.agents = Agents::Refuse("agent_already_exists");
    let known = next.ask_spawn("bob");
    next.advance(SECOND);
    assert_eq!(answer(&next, known).0, 200);
    assert_eq!(next.last_sent("agent.recover")["expected_agent_id"], bob.id.as_str());
    let unknown = next.ask_spawn("eve");
    next.advance(SECOND);
    let (status, body) = answer(&next, unknown);
    assert_eq!((status, &body["code"]), (409, &json!("agent_already_exists")));
    assert_eq!(next.sent("agent.recover").len(), 1, "nothing of ours to recover");
}

#[test]
fn a_reply_without_our_id_counts_only_for_the_one_registration_of_its_name() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    rig.ask_spawn("bob");
    rig.ask_spawn("eve");
    let data = rig.identity("bob");
    rig.reply(&json!("of the engine's making"), data.clone());
    assert_eq!(rig.children.len(), 1);
    assert_eq!(rig.children[0].1.env[0].1.expose(), "bob");
    // Two registrations of one name are outstanding: the reply could be for either.
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    rig.ask_spawn("bob");
    rig.advance(Span::secs(11));
    rig.ask_spawn("bob");
    rig.reply(&json!("of the engine's making"), data);
    assert!(rig.children.is_empty());
}

/// Two spawns of one name: the first was given up, and both replies are outstanding.
fn given_up_and_tried_again() -> (Rig, u64, Vec<Value>) {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    rig.ask_spawn("bob");
    rig.advance(Span::secs(11));
    let second = rig.ask_spawn("bob");
    let ids = rig.sent("agent.register").iter().map(|frame| frame["id"].clone()).collect();
    (rig, second, ids)
}

#[test]
fn a_late_registration_is_not_undone_under_the_feet_of_its_successor() {
    // An engine that takes names over has given both the same identity.
    let (mut rig, second, ids) = given_up_and_tried_again();
    for id in &ids {
        let data = rig.identity("bob");
        rig.reply(id, data);
    }
    rig.advance(SECOND);
    assert_eq!(answer(&rig, second).0, 200);
    assert!(rig.sent("agent.deregister").is_empty(), "it would make the running one deaf");
}

#[test]
fn a_late_registration_on_a_create_only_engine_is_recovered_by_its_successor() {
    let (mut rig, second, ids) = given_up_and_tried_again();
    let data = rig.identity("bob");
    rig.reply(&ids[0], data.clone());
    rig.error(&ids[1], "agent_already_exists");
    let recover = rig.last_sent("agent.recover");
    assert_eq!(recover["expected_agent_id"], data["agent_id"]);
    rig.reply(&recover["id"], data);
    rig.advance(SECOND);
    assert_eq!(answer(&rig, second).0, 200);
    assert!(rig.sent("agent.deregister").is_empty());
}
