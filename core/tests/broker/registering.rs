//! Registrations of agents: late, refused, without our id, and on engines that only create.

use crate::support::{Agents, KEY, Rig};
use relay_core::ids::CallId;
use relay_core::time::Span;
use relay_core::{Access, Secret};
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
    for code in ["node_capacity_exceeded", "agent_location_conflict", "invalid_agent_name", "not known here"]
    {
        let mut rig = Rig::online();
        rig.engine.agents = Agents::Refuse(code);
        let request = rig.ask_spawn("bob");
        let (status, body) = answer(&rig, request);
        assert!((400..600).contains(&status));
        assert_eq!(body["code"], code);
        rig.advance(Span::secs(11));
        assert!(rig.children.is_empty());
        assert_eq!(rig.sent("agent.register").len(), 1, "no use in saying that again");
    }
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
}

#[test]
fn of_more_names_than_are_remembered_those_that_live_or_were_used_last_are_kept() {
    // As many as are remembered, all behind the new ones in the alphabet.
    let mut first = Rig::online();
    let old =
        |number| format!("{{\"record\":\"agent\",\"name\":\"z{number}\",\"agent_id\":\"old{number}\"}}\n");
    first.disk.journal.extend((0..4_096).map(old));
    let mut rig = first.restarted().ready();
    let agents = ["ann", "bob"].map(|name| rig.spawn(name));
    rig.exits(agents[1].process, 0);
    rig.engine.agents = Agents::Refuse("agent_already_exists");
    for name in ["bob", "z4095"] {
        let request = rig.ask_spawn(name);
        rig.advance(SECOND);
        assert_eq!(answer(&rig, request).0, 200, "{name} in the same life");
    }
    let mut next = rig.restarted().ready();
    for name in ["ann", "bob", "z4095", "z2"] {
        let request = next.ask_spawn(name);
        next.advance(SECOND);
        assert_eq!(answer(&next, request).0, 200, "{name} in the next life");
    }
    next.ask_spawn("z0");
    next.advance(SECOND);
    assert_eq!(next.calls_to("/v1/agents/z0").len(), 1, "nobody has used it for longest");
}

/// A broker whose engine knows the name `bob`, and which does not; with its question whose that is.
fn asked_whose() -> (Rig, u64, CallId) {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Refuse("agent_already_exists");
    let request = rig.ask_spawn("bob");
    let asked = rig.calls_to("/v1/agents/bob");
    let [call] = asked[..] else { panic!("one question, not {asked:?}") };
    assert_eq!((call.method, call.bearer.as_str()), ("GET", KEY));
    let call = call.id;
    (rig, request, call)
}

#[test]
fn a_name_that_a_lost_registration_took_is_recovered_with_the_identity_that_the_engine_tells() {
    let (mut rig, request, call) = asked_whose();
    rig.answer(call, 200, json!({ "id": "100", "name": "bob" }));
    rig.advance(SECOND);
    assert_eq!(rig.last_sent("agent.recover")["expected_agent_id"], "100");
    assert_eq!(answer(&rig, request).0, 200);
}

#[test]
fn a_name_that_the_engine_does_not_explain_stays_refused() {
    for answered in [404, 500] {
        let (mut rig, request, call) = asked_whose();
        rig.answer(call, answered, Value::Null);
        let (status, body) = answer(&rig, request);
        assert_eq!((status, &body["code"]), (409, &json!("agent_already_exists")), "{body}");
        assert!(rig.sent("agent.recover").is_empty());
    }
}

/// A broker that was refused, with this code, the identity that the engine had told; its request.
fn refused_what_it_was_told(code: &str) -> (Rig, u64) {
    let (mut rig, request, call) = asked_whose();
    rig.engine.agents = Agents::Hold;
    rig.answer(call, 200, json!({ "id": "100", "name": "bob" }));
    rig.error(&rig.last_sent("agent.recover")["id"], code);
    (rig, request)
}

#[test]
fn a_name_that_another_node_registered_stays_refused_with_the_reason() {
    let (rig, request) = refused_what_it_was_told("agent_recovery_not_authorized");
    let (status, body) = answer(&rig, request);
    assert_eq!((status, &body["code"]), (409, &json!("agent_recovery_not_authorized")), "{body}");
}

/// A broker that was refused, with this code, the identity that it remembers as `bob`; its request.
fn refused_what_it_remembers(code: &str) -> (Rig, u64) {
    refused_what_this_one_remembers(Rig::online(), code)
}

fn refused_what_this_one_remembers(mut rig: Rig, code: &str) -> (Rig, u64) {
    let bob = rig.spawn("bob");
    rig.exits(bob.process, 0);
    rig.engine.agents = Agents::Hold;
    let request = rig.ask_spawn("bob");
    rig.error(&rig.last_sent("agent.register")["id"], "agent_already_exists");
    rig.error(&rig.last_sent("agent.recover")["id"], code);
    (rig, request)
}

/// The engine tells whose the name is.
fn tell_whose(rig: &mut Rig, id: &str) {
    let call = rig.calls_to("/v1/agents/bob").last().expect("a question").id;
    rig.answer(call, 200, json!({ "id": id, "name": "bob" }));
}

#[test]
fn an_identity_that_is_remembered_and_outdated_is_asked_for_once() {
    for code in ["agent_recovery_not_authorized", "agent_identity_conflict"] {
        let (mut rig, request) = refused_what_it_remembers(code);
        tell_whose(&mut rig, "777");
        let recover = rig.last_sent("agent.recover");
        assert_eq!(recover["expected_agent_id"], "777");
        rig.error(&recover["id"], code);
        let (status, body) = answer(&rig, request);
        assert_eq!((status, &body["code"]), (409, &json!(code)), "{body}");
        assert_eq!(rig.calls_to("/v1/agents/bob").len(), 1);
        assert_eq!(rig.sent("agent.recover").len(), 2);
    }
}

#[test]
fn a_name_whose_agent_was_deleted_and_made_anew_is_recovered() {
    for code in ["agent_recovery_not_authorized", "agent_identity_conflict"] {
        let (mut rig, request) = refused_what_it_remembers(code);
        tell_whose(&mut rig, "777");
        rig.engine.ids.insert("bob".into(), "777".into());
        let data = rig.identity("bob");
        rig.reply(&rig.last_sent("agent.recover")["id"], data);
        rig.advance(SECOND);
        assert_eq!(answer(&rig, request).0, 200);
    }
}

#[test]
fn an_identity_that_this_node_may_not_have_is_not_tried_twice() {
    let (mut rig, request) = refused_what_it_remembers("agent_recovery_not_authorized");
    tell_whose(&mut rig, "100");
    let (status, body) = answer(&rig, request);
    assert_eq!((status, &body["code"]), (409, &json!("agent_recovery_not_authorized")), "{body}");
    assert!(
        body["error"].as_str().is_some_and(|error| error.contains("scripted")),
        "the engine's words: {body}"
    );
    assert_eq!(rig.sent("agent.recover").len(), 1);
}

#[test]
fn an_identity_that_somebody_changed_just_then_is_tried_once_more() {
    let (mut rig, _) = refused_what_it_remembers("agent_identity_conflict");
    tell_whose(&mut rig, "100");
    let tried = rig.sent("agent.recover");
    assert_eq!(tried.len(), 2);
    assert_eq!(tried[1]["expected_agent_id"], "100");
}

#[test]
fn who_has_no_key_to_ask_with_keeps_what_it_remembers() {
    let rig = Rig::with(|config, _| {
        config.access = Access::TokenOnly;
        config.node_token = Secret::new("nt_live_feedfeedfeedfeed");
    });
    let (mut rig, request) = refused_what_this_one_remembers(rig.ready(), "agent_identity_conflict");
    assert_eq!(answer(&rig, request).1["code"], "agent_identity_conflict");
    rig.ask_spawn("bob");
    rig.error(&rig.last_sent("agent.register")["id"], "agent_already_exists");
    assert_eq!(rig.sent("agent.recover").len(), 2);
}

#[test]
fn a_name_that_nobody_has_any_more_is_registered_afresh_once() {
    let (mut rig, request) = refused_what_it_remembers("agent_not_found");
    let afresh = rig.sent("agent.register");
    assert_eq!(afresh.len(), 2);
    // Somebody makes an agent of that name, and deletes it as it is being recovered.
    rig.error(&afresh[1]["id"], "agent_already_exists");
    tell_whose(&mut rig, "777");
    rig.error(&rig.last_sent("agent.recover")["id"], "agent_not_found");
    let (status, body) = answer(&rig, request);
    assert_eq!((status, &body["code"]), (409, &json!("agent_not_found")), "{body}");
    assert_eq!((rig.sent("agent.register").len(), rig.sent("agent.recover").len()), (2, 2));
}

#[test]
fn an_identity_that_the_engine_told_and_nobody_has_any_more_is_registered_afresh() {
    let (mut rig, request) = refused_what_it_was_told("agent_not_found");
    let data = rig.identity("bob");
    rig.reply(&rig.last_sent("agent.register")["id"], data);
    rig.advance(SECOND);
    assert_eq!(answer(&rig, request).0, 200);
}

/// A broker whose engine has just refused to register `bob` for trouble of its own; its request.
fn refused_in_trouble(code: &'static str) -> (Rig, u64) {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Refuse(code);
    let request = rig.ask_spawn("bob");
    (rig, request)
}

#[test]
fn a_refusal_that_passes_is_survived() {
    for code in ["node_control_failed", "internal_error", "database_overloaded", "SQLITE_BUSY"] {
        let (mut rig, request) = refused_in_trouble(code);
        rig.engine.agents = Agents::Confirm;
        rig.advance(Span::millis(499));
        assert_eq!(rig.sent("agent.register").len(), 1);
        rig.advance(Span::millis(2));
        assert_eq!(rig.sent("agent.register").len(), 2);
        rig.advance(SECOND);
        assert_eq!(answer(&rig, request).0, 200);
    }
}

#[test]
fn an_engine_that_stays_in_trouble_has_the_last_word_when_no_time_is_left() {
    let (mut rig, request) = refused_in_trouble("node_control_failed");
    rig.advance(Span::millis(7_400));
    assert_eq!(rig.sent("agent.register").len(), 4, "after 0, 0.5, 1.5 and 3.5 s");
    assert!(rig.reply_to(request).is_none());
    rig.advance(Span::millis(200));
    assert_eq!(rig.sent("agent.register").len(), 5);
    let (status, body) = answer(&rig, request);
    assert_eq!((status, &body["code"]), (409, &json!("node_control_failed")), "{body}");
    rig.advance(Span::secs(20));
    assert_eq!(rig.sent("agent.register").len(), 5);
    assert!(rig.sent("agent.deregister").is_empty() && rig.children.is_empty());
}

#[test]
fn an_engine_in_trouble_has_the_last_word_when_a_jump_of_the_clock_takes_the_time() {
    let (mut rig, request) = refused_in_trouble("node_control_failed");
    rig.jump(Span::secs(60));
    rig.tick();
    let (status, body) = answer(&rig, request);
    assert_eq!((status, &body["code"]), (409, &json!("node_control_failed")), "{body}");
    assert_eq!(rig.sent("agent.register").len(), 1);
}

#[test]
fn a_refusal_to_recover_that_passes_is_survived() {
    let (mut rig, request) = refused_what_it_remembers("SQLITE_BUSY");
    rig.advance(Span::millis(501));
    let tried = rig.sent("agent.recover");
    assert_eq!(tried.len(), 2);
    assert_eq!(tried[0]["expected_agent_id"], tried[1]["expected_agent_id"]);
    let data = rig.identity("bob");
    rig.reply(&tried[1]["id"], data);
    rig.advance(SECOND);
    assert_eq!(answer(&rig, request).0, 200);
}

#[test]
fn a_try_that_took_effect_although_it_was_refused_is_recovered() {
    let (mut rig, request) = refused_in_trouble("node_control_failed");
    rig.engine.agents = Agents::Refuse("agent_already_exists");
    rig.advance(Span::millis(501));
    tell_whose(&mut rig, "100");
    rig.advance(SECOND);
    assert_eq!(answer(&rig, request).0, 200);
}

#[test]
fn an_agent_that_is_released_while_its_next_try_waits_is_not_registered() {
    let (mut rig, request) = refused_in_trouble("node_control_failed");
    rig.engine.agents = Agents::Confirm;
    rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    assert_eq!(answer(&rig, request).1["code"], "spawn_released_before_ready");
    rig.advance(Span::secs(11));
    assert_eq!(rig.sent("agent.register").len(), 1);
    // Its successor is no successor of a refusal.
    rig.spawn("bob");
}

#[test]
fn a_new_link_does_not_wait_for_the_next_try() {
    let (mut rig, request) = refused_in_trouble("node_control_failed");
    rig.advance(Span::millis(3_600));
    rig.engine.agents = Agents::Confirm;
    rig.sent.clear();
    rig.reconnect();
    assert_eq!(rig.sent("agent.register").len(), 1, "at once");
    rig.advance(Span::secs(5));
    assert_eq!(rig.sent("agent.register").len(), 1, "and once");
    assert_eq!(answer(&rig, request).0, 200);
}

#[test]
fn an_inventory_does_not_wait_for_the_next_try() {
    let mut rig = Rig::online();
    rig.advance(Span::secs(55));
    rig.engine.agents = Agents::Refuse("node_control_failed");
    rig.sent.clear();
    let request = rig.ask_spawn("bob");
    rig.advance(Span::secs(7));
    assert_eq!(rig.sent("inventory.sync").len(), 1);
    assert!(rig.reply_to(request).is_none());
}

#[test]
fn tries_on_the_socket_do_not_put_off_the_one_over_http() {
    let mut rig = Rig::with(|_, engine| engine.register_refusals = ["invalid_message"].into()).ready();
    rig.engine.agents = Agents::Refuse("node_control_failed");
    rig.ask_spawn("bob");
    rig.engine.agents = Agents::Hold;
    rig.advance(Span::millis(9_900));
    assert_eq!(rig.sent("agent.register").len(), 2);
    let registrations = |rig: &Rig| {
        let calls = rig.calls_to("/v1/agents");
        calls.iter().filter(|call| call.body["name"] == "bob").count()
    };
    assert_eq!(registrations(&rig), 0);
    rig.advance(Span::millis(200));
    assert_eq!(registrations(&rig), 1);
}

#[test]
fn a_name_is_not_recovered_for_a_spawn_that_was_given_up_meanwhile() {
    let (mut rig, _, call) = asked_whose();
    rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    rig.answer(call, 200, json!({ "id": "100", "name": "bob" }));
    assert!(rig.sent("agent.recover").is_empty() && rig.children.is_empty());
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
