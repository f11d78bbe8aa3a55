//! Agents that the engine does not know any more, though their programs run.
//!
//! Rules: `core/PROTOCOL.md` §8; in the reply to an inventory the engine counts whom it knows.

use crate::support::*;
use relay_core::ids::CallId;
use relay_core::time::Span;
use serde_json::{Value, json};

const ASKED: &str = "/v1/nodes/node-one/agents";

/// A broker with three agents, and the latest snapshot unanswered.
fn with_three() -> (Rig, Vec<Spawned>) {
    let mut rig = Rig::online();
    let agents = ["ann", "bob", "eve"].map(|name| rig.spawn(name)).to_vec();
    rig.follow();
    rig.engine.inventories = false;
    rig.reconnect();
    (rig, agents)
}

/// The engine knows so many of those that the latest snapshot lists.
fn knows(rig: &mut Rig, known: u64) {
    let id = rig.last_sent("inventory.sync")["id"].clone();
    rig.reply(&id, json!({ "rebound_agents": known, "rejected_agents": 0 }));
}

/// The one question about this node that has been asked behind the latest answer.
fn question(rig: &Rig, number: usize) -> CallId {
    let asked = rig.calls_to(ASKED);
    assert_eq!(asked.len(), number, "{asked:?}");
    assert_eq!((asked[number - 1].method, asked[number - 1].bearer.as_str()), ("GET", KEY));
    asked[number - 1].id
}

fn bindings<'a>(agents: impl IntoIterator<Item = &'a Spawned>) -> Value {
    let binding = |agent: &Spawned| json!({ "agent_id": agent.id.as_str(), "agent_name": agent.name, "status": "active" });
    agents.into_iter().map(binding).collect()
}

#[test]
fn an_agent_that_the_engine_does_not_know_degrades_health_and_is_named() {
    let (mut rig, agents) = with_three();
    knows(&mut rig, 2);
    let health = rig.health();
    assert_eq!(health["status"], "degraded", "before it is known who that is: {health}");
    let call = question(&rig, 1);
    rig.answer(call, 200, bindings([&agents[0], &agents[2]]));
    let health = rig.health();
    assert_eq!(health["status"], "degraded");
    assert!(health["problems"].to_string().contains("bob"), "{health}");
    let errors = rig.events("worker_error");
    assert_eq!(
        (errors.len(), &errors[0]["name"], &errors[0]["code"]),
        (1, &json!("bob"), &json!("not_at_engine"))
    );

    rig.advance(Span::secs(61));
    knows(&mut rig, 2);
    let call = question(&rig, 2);
    rig.answer(call, 200, bindings([&agents[0], &agents[2]]));
    assert_eq!(rig.events("worker_error").len(), 1, "it is no news");

    rig.advance(Span::secs(61));
    knows(&mut rig, 3);
    assert_eq!(rig.health()["status"], "ok");
    assert_eq!(rig.calls_to(ASKED).len(), 2, "all are known");
}

#[test]
fn an_inactive_binding_or_one_of_what_is_left_of_a_deleted_agent_is_none() {
    for (key, value) in [("status", "inactive"), ("agent_name", "bob#released-102")] {
        let (mut rig, agents) = with_three();
        knows(&mut rig, 2);
        let mut told = bindings(&agents);
        told[1][key] = json!(value);
        let call = question(&rig, 1);
        rig.answer(call, 200, told);
        assert!(rig.health()["problems"].to_string().contains("bob"), "{key}");
    }
}

#[test]
fn a_list_that_lacks_more_than_were_counted_names_nobody() {
    let (mut rig, agents) = with_three();
    knows(&mut rig, 2);
    let call = question(&rig, 1);
    rig.answer(call, 200, bindings([&agents[0]]));
    let health = rig.health();
    assert!(health["problems"].to_string().contains("1 agents"), "{health}");
    assert!(rig.events("worker_error").is_empty());
}

#[test]
fn health_is_well_again_when_the_unknown_agent_is_released() {
    let (mut rig, agents) = with_three();
    knows(&mut rig, 2);
    let call = question(&rig, 1);
    rig.answer(call, 200, bindings([&agents[0], &agents[2]]));
    rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    rig.exits(agents[1].process, 0);
    rig.advance(Span::secs(1));
    assert_eq!(rig.health()["status"], "ok");
}

#[test]
fn an_engine_that_does_not_say_who_is_unknown_is_asked_again_at_the_next_refresh() {
    for (status, told) in [(500, Value::Null), (200, json!({ "agents": [] }))] {
        let (mut rig, _) = with_three();
        knows(&mut rig, 1);
        let call = question(&rig, 1);
        rig.answer(call, status, told);
        let health = rig.health();
        assert_eq!(health["status"], "degraded");
        assert!(health["problems"].to_string().contains("2 agents"), "{health}");
        rig.advance(Span::secs(61));
        knows(&mut rig, 1);
        question(&rig, 2);
    }
}

#[test]
fn who_comes_or_leaves_between_an_inventory_and_its_answer_is_nobody_unknown() {
    let (mut rig, agents) = with_three();
    let id = rig.last_sent("inventory.sync")["id"].clone();
    rig.exits(agents[1].process, 0);
    rig.spawn("joe");
    rig.reply(&id, json!({ "rebound_agents": 2, "rejected_agents": 0 }));
    assert_eq!(rig.health()["status"], "ok", "the one that left may be counted or not");
    assert!(rig.calls_to(ASKED).is_empty());
}

#[test]
fn an_engine_that_counts_nobody_is_not_asked() {
    let (mut rig, _) = with_three();
    rig.accept_inventory();
    assert_eq!(rig.health()["status"], "ok");
    assert!(rig.calls_to(ASKED).is_empty());
}
