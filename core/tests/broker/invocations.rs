//! Work that the engine asks for: spawn and release by invocation, once each, and their results.

use crate::support::{Agents, Event, Rig, Upgrade, invoke};
use relay_core::time::Span;
use relay_core::{FaultKind, Input};
use serde_json::{Value, json};

const SECOND: Span = Span::secs(1);

/// The only result that was sent for an invocation.
fn result(rig: &Rig, invocation: &str) -> Value {
    let results = results(rig, invocation);
    assert_eq!(results.len(), 1, "{results:?}");
    results[0].clone()
}

fn results(rig: &Rig, invocation: &str) -> Vec<Value> {
    let results = rig.sent("action.result");
    results.into_iter().filter(|result| result["invocation_id"] == invocation).collect()
}

fn bob() -> Value {
    json!({ "name": "bob", "cli": "cat" })
}

#[test]
fn a_spawn_is_answered_when_its_process_is_proven() {
    let mut rig = Rig::online();
    rig.invoke("inv_1", "spawn:cat", bob());
    assert!(rig.disk.journal.contains("inv_1"), "written down before anything happens");
    assert_eq!(rig.last_sent("agent.register")["invocation_id"], "inv_1");
    assert!(results(&rig, "inv_1").is_empty());
    rig.advance(SECOND);
    let result = result(&rig, "inv_1");
    assert_eq!(result["output"]["spawned"], true);
    assert_eq!(result["output"]["name"], "bob");
    assert!(result.get("error").is_none());
    assert_eq!(rig.get("/api/spawned").1["agents"][0]["name"], "bob");
}

#[test]
fn nothing_happens_before_the_start_is_on_disk() {
    let mut rig = Rig::online();
    rig.disk_fault = Some(FaultKind::NoSpace);
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.advance(SECOND);
    assert!(rig.sent("agent.register").is_empty() && rig.children.is_empty());
    assert!(result(&rig, "inv_1")["error"].is_string());
}

#[test]
fn names_and_programs_are_found_under_all_their_aliases() {
    let cases = [
        ("spawn:cat", json!({ "name": "bob" }), "cat"),
        ("spawn:cat", json!({ "name": "bob", "cli": "sh" }), "sh"),
        ("spawn", json!({ "agent_name": "bob", "command": "sh" }), "sh"),
        ("spawn", json!({ "agent": "bob", "provider": "sh" }), "sh"),
        ("spawn", json!({ "agent": { "name": "bob", "cli": "sh" } }), "sh"),
        ("spawn:claude", json!({ "name": " bob ", "cli": "  " }), "claude"),
    ];
    for (action, input, program) in cases {
        let mut rig = Rig::online();
        rig.invoke("inv_1", action, input.clone());
        assert_eq!(rig.children.len(), 1, "{action} {input}");
        assert_eq!(rig.children[0].1.argv, [program], "{action} {input}");
        assert_eq!(rig.last_sent("agent.register")["name"], "bob", "{action} {input}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_a_stable_error() {
    let cases = [
        ("spawn", json!({ "name": "bob" }), "spawn_missing_cli"),
        ("spawn:cat", json!({}), "spawn_missing_agent_name"),
        ("spawn:cat", Value::Null, "spawn_missing_agent_name"),
        ("spawn:cat", json!([1]), "spawn_missing_agent_name"),
        ("release", json!({}), "release_missing_agent_name"),
        ("deploy", json!({}), "handler_unavailable"),
        ("", json!({}), "handler_unavailable"),
    ];
    for (action, input, error) in cases {
        let mut rig = Rig::online();
        rig.invoke("inv_1", action, input);
        assert_eq!(result(&rig, "inv_1")["error"], error, "{action}");
        assert!(rig.children.is_empty());
    }
    let mut rig = Rig::online();
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "../../etc" }));
    assert!(result(&rig, "inv_1")["error"].is_string());
    assert!(rig.sent("agent.register").is_empty());
}

#[test]
fn what_an_agent_is_to_do_itself_is_refused_for_good_and_not_handed_back() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    rig.frame(&json!({
        "v": 1, "type": "action.invoke", "invocation_id": "inv_1", "action": "deploy", "input": {},
        "agent_id": "7", "agent_name": "bob",
    }));
    let error = result(&rig, "inv_1")["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.starts_with("agent_actions_unsupported: ")), "{error}");
}

#[test]
fn a_name_in_use_is_refused_before_any_frame() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    rig.invoke("inv_1", "spawn:cat", bob());
    assert_eq!(result(&rig, "inv_1")["error"], "spawn_agent_name_in_use");
    assert!(rig.sent("agent.register").is_empty(), "it would kill the token of the living");
}

#[test]
fn a_failure_names_its_reason() {
    let mut rig = Rig::online();
    rig.spawn_fault = Some(FaultKind::NotFound);
    rig.invoke("inv_1", "spawn:no-such-program", json!({ "name": "bob" }));
    let error = result(&rig, "inv_1")["error"].clone();
    assert!(error.as_str().unwrap().starts_with("spawn_failed"), "{error}");
    assert!(error.as_str().unwrap().contains("no-such-program"), "{error}");
    assert_eq!(rig.sent("agent.deregister").len(), 1);
}

#[test]
fn a_repeat_of_a_running_spawn_starts_nothing() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.invoke("inv_1", "spawn:cat", bob());
    let register = rig.last_sent("agent.register");
    assert_eq!(rig.sent("agent.register").len(), 1);
    let data = rig.identity("bob");
    rig.reply(&register["id"], data);
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.advance(SECOND);
    assert_eq!(rig.children.len(), 1);
    assert_eq!(result(&rig, "inv_1")["output"]["spawned"], true);
}

#[test]
fn a_repeat_after_a_reconnect_starts_nothing() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.engine.agents = Agents::Confirm;
    rig.reconnect();
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.advance(SECOND);
    assert_eq!(rig.children.len(), 1);
    assert!(!results(&rig, "inv_1").is_empty());
    assert!(results(&rig, "inv_1").iter().all(|result| result["output"]["spawned"] == true));
}

#[test]
fn a_repeat_of_a_finished_one_gets_the_stored_result() {
    let mut rig = Rig::online();
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.advance(SECOND);
    let first = result(&rig, "inv_1");
    let process = rig.children[0].0;
    rig.exits(process, 0);
    rig.sent.clear();
    rig.invoke("inv_1", "spawn:cat", bob());
    assert_eq!(rig.types(), ["action.result"]);
    assert_eq!(result(&rig, "inv_1"), first);
    assert_eq!(rig.children.len(), 1);
}

#[test]
fn a_repeat_after_a_restart_gets_the_stored_result_or_an_error() {
    let mut rig = Rig::online();
    rig.invoke("inv_done", "spawn:cat", bob());
    rig.advance(SECOND);
    let first = result(&rig, "inv_done");
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_open", "spawn:cat", json!({ "name": "eve" }));
    for _ in 0..2 {
        rig.engine.agents = Agents::Confirm;
        rig = rig.restarted().ready();
        rig.invoke("inv_done", "spawn:cat", bob());
        rig.invoke("inv_open", "spawn:cat", json!({ "name": "eve" }));
        rig.advance(SECOND);
        assert!(rig.children.is_empty(), "neither is started a second time");
        assert_eq!(result(&rig, "inv_done"), first);
        assert!(result(&rig, "inv_open")["error"].as_str().unwrap().contains("restarted"));
    }
}

#[test]
fn a_day_later_an_invocation_is_forgotten() {
    let mut rig = Rig::online();
    rig.invoke("inv_1", "release", json!({ "name": "nobody" }));
    let mut disk = rig.disk.clone();
    disk.journal = disk.journal.replace("1760000000", "1759900000");
    let mut next = Rig::start(rig.config.clone(), disk, crate::support::Engine::default()).ready();
    next.invoke("inv_1", "spawn:cat", bob());
    next.advance(SECOND);
    assert_eq!(next.children.len(), 1);
}

#[test]
fn a_result_is_sent_on_every_link_until_a_later_answer_proves_it() {
    let mut rig = Rig::online();
    rig.engine.inventories = false;
    rig.invoke("inv_1", "release", json!({ "name": "nobody" }));
    for links in 1..4 {
        assert_eq!(results(&rig, "inv_1").len(), links);
        rig.reconnect();
        rig.advance(SECOND);
    }
    rig.engine.inventories = true;
    rig.reconnect();
    rig.advance(Span::secs(61));
    let proven = results(&rig, "inv_1").len();
    rig.reconnect();
    rig.advance(SECOND);
    assert_eq!(results(&rig, "inv_1").len(), proven);
}

#[test]
fn a_result_waits_for_the_first_inventory_for_its_caller_may_live_here() {
    let mut rig = Rig::online();
    rig.spawn("ann");
    rig.just_confirmed();
    rig.invoke("inv_1", "release", json!({ "name": "nobody" }));
    rig.invoke("inv_2", "spawn:cat", json!({ "name": "joe" }));
    rig.advance(SECOND);
    let types = rig.types();
    let opening: Vec<_> =
        types.iter().filter(|kind| kind.starts_with("inv") || *kind == "action.result").collect();
    assert_eq!(opening, ["inventory.sync", "action.result", "action.result"]);
}

#[test]
fn the_result_of_what_an_inventory_would_give_to_another_node_goes_before_it() {
    let mut rig = Rig::online();
    rig.spawn("ann");
    rig.just_confirmed();
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "ann" }));
    assert_eq!(result(&rig, "inv_1")["error"], "spawn_agent_name_in_use");
    assert!(rig.sent("inventory.sync").is_empty());
    rig.advance(SECOND);
    assert_eq!(rig.sent("inventory.sync").len(), 1);
}

#[test]
fn a_result_does_not_wait_for_an_inventory_when_the_broker_stops() {
    let mut rig = Rig::online();
    rig.just_confirmed();
    rig.invoke("inv_1", "release", json!({ "name": "nobody" }));
    rig.handle(Input::Terminate);
    assert_eq!(results(&rig, "inv_1").len(), 1);
}

#[test]
fn an_engine_that_handles_frames_side_by_side_must_answer_twice() {
    let mut rig = Rig::with(|_, engine| engine.register_refusals.push_back("invalid_message")).ready();
    rig.invoke("inv_1", "release", json!({ "name": "nobody" }));
    rig.advance(Span::secs(61));
    assert_eq!(rig.sent("inventory.sync").len(), 1, "one answer");
    rig.reconnect();
    rig.advance(SECOND);
    assert_eq!(results(&rig, "inv_1").len(), 2, "one answer proves nothing");
    rig.advance(Span::secs(125));
    rig.reconnect();
    assert_eq!(results(&rig, "inv_1").len(), 2, "two do");
}

#[test]
fn a_release_is_answered_before_the_engine_is_told_that_the_agent_has_left() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    rig.invoke("inv_1", "release", json!({ "name": "bob", "reason": "done", "delete_agent": false }));
    rig.advance(SECOND);
    let at = |kind| rig.place_of(kind);
    assert!(at("action.result") < at("agent.deregister"), "else engines take the release for failed");
    assert_eq!(result(&rig, "inv_1")["output"], json!({ "released": true, "name": "bob" }));
    rig.invoke("inv_2", "release", json!({ "name": "bob" }));
    assert_eq!(result(&rig, "inv_2")["output"]["released"], true, "what is wanted is already so");
}

#[test]
fn a_release_on_a_link_that_is_given_up_counts_for_it_may_never_come_again() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    let given_up = rig.give_up();
    rig.feed(Event::Text(given_up, invoke("inv_1", "release", bob()).to_string()));
    rig.feed(Event::Text(given_up, invoke("inv_2", "spawn:cat", bob()).to_string()));
    while rig.health()["relaycastConnected"] != true {
        rig.advance(Span::millis(10));
    }
    rig.advance(Span::millis(300));
    assert_eq!(rig.sent("inventory.sync").len(), 1, "it does not wait for what came before");
    assert!(results(&rig, "inv_1").is_empty());
    rig.advance(Span::secs(10));
    assert_eq!(result(&rig, "inv_1")["output"]["released"], true);
    assert!(results(&rig, "inv_2").is_empty(), "a spawn comes again by itself, perhaps to another node");
    assert_eq!(rig.get("/api/spawned").1["agents"], json!([]));
}

#[test]
fn a_release_on_a_link_that_another_has_followed_may_be_of_who_had_the_name_before() {
    let mut rig = Rig::online();
    let first = rig.spawn("bob");
    let given_up = rig.give_up();
    rig.exits(first.process, 0);
    rig.advance(Span::secs(3));
    assert_eq!(rig.health()["relaycastConnected"], true);
    rig.spawn("bob");
    rig.feed(Event::Text(given_up, invoke("inv_1", "release", bob()).to_string()));
    rig.advance(Span::secs(5));
    assert_eq!(rig.get("/api/spawned").1["agents"][0]["name"], "bob");
}

#[test]
fn a_late_copy_of_a_release_is_not_answered_by_itself() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.advance(Span::secs(130));
    assert_eq!(results(&rig, "inv_1").len(), 1);
    let given_up = rig.give_up();
    rig.feed(Event::Text(given_up, invoke("inv_1", "release", bob()).to_string()));
    rig.advance(Span::secs(70));
    assert_eq!(results(&rig, "inv_1").len(), 0, "an answer has shown that the engine has the result");
}

#[test]
fn who_is_being_released_is_not_deregistered_for_a_message_that_comes_meanwhile() {
    let mut rig = Rig::online();
    let bob = rig.spawn_immortal("bob");
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.deliver(&bob, 1, "late");
    assert!(rig.sent("agent.deregister").is_empty());
    rig.advance(Span::secs(3));
    assert_eq!(rig.sent("agent.deregister").len(), 1);
    assert!(rig.acks(&bob).is_empty());
}

#[test]
fn a_name_that_was_released_while_the_link_was_down_is_registered_behind_the_result() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.engine.upgrade = Upgrade::Status(503);
    rig.cut();
    rig.advance(Span::secs(3));
    rig.ask_spawn("bob");
    rig.sent.clear();
    rig.engine.upgrade = Upgrade::Accept;
    rig.advance(Span::secs(31));
    let at = |kind| rig.place_of(kind);
    assert!(at("action.result") < at("agent.deregister"));
    assert!(at("agent.deregister") < at("agent.register"), "the release is of whoever lives there then");
}

#[test]
fn a_name_whose_release_waits_to_be_answered_is_not_registered_before_that() {
    let mut rig = Rig::online();
    rig.just_confirmed();
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.ask_spawn("bob");
    rig.advance(SECOND);
    let at = |kind| rig.place_of(kind);
    assert!(at("action.result") < at("agent.register"));
}

#[test]
fn a_spawn_of_a_name_whose_release_was_queued_with_it_does_not_wait_for_the_inventory_that_waits_for_it() {
    let mut rig = Rig::online();
    rig.just_confirmed();
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.invoke("inv_2", "spawn:cat", bob());
    rig.advance(SECOND);
    let at = |kind| rig.place_of(kind);
    assert!(at("action.result") < at("agent.register") && at("agent.register") < at("inventory.sync"));
    assert_eq!(result(&rig, "inv_1")["output"]["released"], true);
    assert_eq!(result(&rig, "inv_2")["output"]["spawned"], true);
}

#[test]
fn a_repeated_release_is_answered_before_its_name_is_registered_also_in_another_life() {
    let mut rig = Rig::online();
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    let mut rig = rig.restarted().ready();
    rig.just_confirmed();
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.ask_spawn("bob");
    rig.advance(SECOND);
    let at = |kind| rig.place_of(kind);
    assert!(at("action.result") < at("agent.register"));
}

#[test]
fn a_release_that_the_end_of_a_life_carried_out_is_answered_by_the_next_one() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    let mut rig = rig.restarted();
    rig.advance(SECOND);
    assert_eq!(result(&rig, "inv_1")["output"]["released"], true, "engines do not ask again");
    let at = |kind| rig.place_of(kind);
    assert!(at("action.result") < at("agent.deregister"));
}

#[test]
fn a_release_of_a_child_that_does_not_go_is_answered_when_it_is_killed() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    assert!(results(&rig, "inv_1").is_empty());
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.advance(Span::secs(3));
    assert_eq!(result(&rig, "inv_1")["output"]["released"], true);
}

#[test]
fn a_release_that_is_asked_for_again_makes_the_engine_told_who_lives_here() {
    let mut rig = Rig::online();
    rig.spawn("bob");
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.advance(SECOND);
    rig.spawn("bob");
    let listed = rig.sent("inventory.sync").len();
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    rig.advance(SECOND);
    // On the repeated result an engine may move the living agent of that name away.
    assert!(rig.sent("inventory.sync").len() > listed);
}

/// A broker whose engine speaks the older dialect and leaves `agent.register` unanswered.
fn silent_older_engine() -> Rig {
    let mut rig = Rig::with(|_, engine| engine.register_refusals.push_back("invalid_message")).ready();
    rig.engine.agents = Agents::Hold;
    rig
}

#[test]
fn an_older_engine_that_does_not_answer_is_asked_over_http_and_the_agent_bound() {
    let mut rig = silent_older_engine();
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.advance(Span::millis(10_100));
    let call = rig.calls_to("/v1/agents")[0];
    assert_eq!((&call.body["name"], &call.body["type"]), (&json!("bob"), &json!("agent")));
    let call = call.id;
    rig.answer(call, 201, json!({ "id": "300", "token": "at_live_300300300" }));
    let bind = rig.calls_to("/v1/nodes/node-one/agents")[0];
    assert_eq!(bind.body, json!({ "agent_name": "bob" }));
    let bind = bind.id;
    assert!(rig.children.is_empty(), "not before it is bound");
    rig.sent.clear();
    rig.answer(bind, 200, json!({}));
    rig.advance(SECOND);
    let listed = &rig.last_sent("inventory.sync")["agents"];
    assert_eq!(listed[0]["name"], "bob", "what was stored before it was bound comes only with a replay");
    assert_eq!(result(&rig, "inv_1")["output"]["spawned"], true);
    assert!(rig.children[0].1.env.iter().any(|(_, value)| value.expose() == "at_live_300300300"));
}

#[test]
fn a_failed_bind_fails_an_invocation_and_warns_a_client() {
    let bind = |rig: &mut Rig| {
        rig.advance(Span::millis(10_100));
        let call = rig.calls_to("/v1/agents")[0].id;
        rig.answer(call, 201, json!({ "id": "300", "token": "at_live_300300300" }));
        let call = rig.calls_to("/v1/nodes/node-one/agents")[0].id;
        rig.refuse(call, 409, "agent_location_conflict");
        rig.advance(SECOND);
    };
    let mut rig = silent_older_engine();
    rig.invoke("inv_1", "spawn:cat", bob());
    bind(&mut rig);
    let error = result(&rig, "inv_1")["error"].as_str().unwrap().to_string();
    assert!(error.contains("agent_location_conflict"), "{error}");
    assert!(rig.children.is_empty());
    assert_eq!(rig.sent("agent.deregister").len(), 1);

    let mut rig = silent_older_engine();
    rig.follow();
    let request = rig.ask_spawn("bob");
    bind(&mut rig);
    let (status, body) = rig.reply_to(request).expect("an answer");
    assert_eq!(status, 200);
    assert!(body["warning"].as_str().unwrap().contains("agent_location_conflict"), "{body}");
    assert_eq!(rig.events("registration_warning").len(), 1);
    assert_eq!(rig.health()["status"], "degraded");
}

#[test]
fn a_newer_engine_is_never_asked_over_http() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.advance(Span::secs(12));
    assert!(rig.calls.is_empty());
    assert!(result(&rig, "inv_1")["error"].as_str().unwrap().contains("agent_register_timeout"));
}

#[test]
fn an_invocation_that_comes_while_the_link_is_lost_is_answered_on_the_next() {
    let mut rig = Rig::online();
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.engine.upgrade = Upgrade::Status(503);
    rig.cut();
    rig.advance(Span::secs(3));
    assert!(results(&rig, "inv_1").is_empty());
    rig.engine.upgrade = Upgrade::Accept;
    rig.advance(Span::secs(31));
    assert_eq!(result(&rig, "inv_1")["output"]["spawned"], true);
}

#[test]
fn a_spawn_that_comes_while_the_broker_stops_is_left_to_its_next_life() {
    let mut rig = Rig::online();
    rig.spawn("ann");
    rig.handle(Input::Terminate);
    rig.invoke("inv_1", "spawn:cat", bob());
    assert!(results(&rig, "inv_1").is_empty());
    let mut rig = rig.restarted().ready();
    rig.invoke("inv_1", "spawn:cat", bob());
    rig.advance(SECOND);
    assert_eq!(result(&rig, "inv_1")["output"]["spawned"], true);
}

#[test]
fn a_release_that_comes_while_the_broker_stops_is_answered_by_its_next_life() {
    let mut rig = Rig::online();
    rig.spawn_immortal("bob");
    rig.handle(Input::Terminate);
    rig.invoke("inv_1", "release", json!({ "name": "bob" }));
    assert!(results(&rig, "inv_1").is_empty());
    let mut rig = rig.restarted();
    rig.advance(SECOND);
    assert_eq!(result(&rig, "inv_1")["output"]["released"], true, "engines do not ask again");
}
