//! What the engine is told of who lives here.

use crate::support::{Agents, Rig, Spawned};
use relay_core::time::Span;
use serde_json::{Value, json};

const SECOND: Span = Span::secs(1);

/// Names of the last snapshot.
fn listed(rig: &Rig) -> Vec<String> {
    let snapshot = rig.last_sent("inventory.sync");
    let agents = snapshot["agents"].as_array().unwrap();
    agents.iter().map(|agent| agent["name"].as_str().unwrap().to_string()).collect()
}

fn three(rig: &mut Rig) -> Vec<Spawned> {
    ["ann", "bob", "eve"].map(|name| rig.spawn(name)).to_vec()
}

#[test]
fn every_running_agent_is_listed_and_none_that_left() {
    let mut rig = Rig::online();
    three(&mut rig);
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe", "session_ref": "s1" }));
    rig.advance(SECOND);
    rig.ask("DELETE", "/api/spawned/bob", &Value::Null);
    rig.reconnect();
    let mut names = listed(&rig);
    names.sort();
    assert_eq!(names, ["ann", "eve", "joe"]);
    let snapshot = rig.last_sent("inventory.sync");
    let joe = snapshot["agents"].as_array().unwrap().iter().find(|agent| agent["name"] == "joe").unwrap();
    assert_eq!((&joe["invocation_id"], &joe["session_ref"]), (&json!("inv_1"), &json!("s1")));
}

#[test]
fn an_invocation_is_named_only_once_its_process_is_proven() {
    let mut rig = Rig::online();
    rig.hold_spawns = true;
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
    rig.reconnect();
    assert!(!rig.last_sent("inventory.sync").to_string().contains("inv_1"), "listing it would complete it");
}

/// A broker 55 s behind its first snapshot, whose spawns do not end.
fn shortly_before_a_refresh() -> Rig {
    let mut rig = Rig::online();
    rig.advance(Span::secs(55));
    rig.sent.clear();
    rig.hold_spawns = true;
    rig
}

#[test]
fn a_refresh_waits_at_most_25_seconds_for_an_open_invocation() {
    let mut rig = shortly_before_a_refresh();
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
    rig.advance(Span::secs(9));
    assert!(rig.sent("inventory.sync").is_empty(), "a snapshot would reschedule the invocation");
    let register = rig.last_sent("agent.register");
    let data = rig.identity("joe");
    rig.reply(&register["id"], data);
    rig.advance(Span::secs(15));
    assert!(rig.sent("inventory.sync").is_empty());
    rig.advance(Span::secs(2));
    assert_eq!(rig.sent("inventory.sync").len(), 1, "but not for ever");
}

#[test]
fn a_refresh_that_has_waited_for_an_invocation_waits_for_a_younger_one_too() {
    let mut rig = shortly_before_a_refresh();
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
    rig.advance(Span::secs(20));
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_2", "spawn:cat", json!({ "name": "eve" }));
    rig.advance(Span::secs(9));
    assert!(rig.sent("inventory.sync").is_empty(), "it would reschedule the younger one");
    let register = rig.last_sent("agent.register");
    rig.error(&register["id"], "name_taken");
    assert_eq!(rig.sent("inventory.sync").len(), 1, "the older one was waited for");
}

#[test]
fn a_refresh_is_at_most_50_seconds_late_however_many_invocations_overlap() {
    let mut rig = shortly_before_a_refresh();
    for turn in 0..3 {
        rig.invoke(&format!("inv_{turn}"), "spawn:cat", json!({ "name": format!("a{turn}") }));
        rig.advance(Span::secs(18));
        assert!(rig.sent("inventory.sync").is_empty(), "turn {turn}");
    }
    rig.advance(Span::secs(2));
    assert_eq!(rig.sent("inventory.sync").len(), 1);
}

#[test]
fn the_first_snapshot_of_a_link_waits_for_an_invocation_that_came_on_it_before_its_confirmation() {
    let mut rig = Rig::online();
    let confirm = rig.unconfirmed();
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
    confirm(&mut rig);
    rig.advance(Span::secs(5));
    assert!(rig.sent("inventory.sync").is_empty(), "a snapshot would reschedule the invocation");
    let (register, data) = (rig.last_sent("agent.register"), rig.identity("joe"));
    rig.reply(&register["id"], data);
    rig.advance(SECOND);
    assert_eq!(rig.last_sent("inventory.sync")["agents"][0]["invocation_id"], "inv_1");
}

#[test]
fn the_first_snapshot_of_a_link_waits_for_what_the_engine_had_queued() {
    let mut rig = Rig::online();
    rig.spawn("ann");
    rig.just_confirmed();
    rig.engine.agents = Agents::Hold;
    rig.advance(Span::millis(100));
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
    rig.advance(Span::secs(5));
    assert!(rig.sent("inventory.sync").is_empty(), "a snapshot would reschedule the invocation");
    let (register, data) = (rig.last_sent("agent.register"), rig.identity("joe"));
    rig.reply(&register["id"], data);
    rig.advance(SECOND);
    assert_eq!(listed(&rig), ["ann", "joe"]);
    assert_eq!(rig.last_sent("inventory.sync")["agents"][1]["invocation_id"], "inv_1");
}

#[test]
fn the_first_snapshot_of_a_link_does_not_wait_for_what_came_on_an_earlier_one() {
    let mut rig = Rig::online();
    rig.hold_spawns = true;
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
    rig.just_confirmed();
    rig.advance(Span::millis(190));
    assert!(rig.sent("inventory.sync").is_empty(), "the engine may have something queued");
    rig.invoke("inv_2", "release", json!({ "name": "nobody" }));
    rig.advance(Span::millis(20));
    assert_eq!(rig.sent("inventory.sync").len(), 1, "what was open before is rescheduled anyway");
}

#[test]
fn a_snapshot_waits_for_a_registration_that_is_unanswered() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    let confirm = rig.unconfirmed();
    rig.ask_spawn("joe");
    confirm(&mut rig);
    rig.advance(Span::secs(5));
    assert!(rig.sent("inventory.sync").is_empty(), "the engine would take the agent for gone");
    let (register, data) = (rig.last_sent("agent.register"), rig.identity("joe"));
    rig.reply(&register["id"], data);
    assert_eq!(listed(&rig), ["joe"]);
}

#[test]
fn a_snapshot_waits_for_a_registration_until_that_is_given_up() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    rig.ask_spawn("joe");
    rig.reconnect();
    rig.sent.clear();
    rig.advance(Span::secs(11));
    assert_eq!(rig.sent("inventory.sync").len(), 1);
}

#[test]
fn a_refusal_that_is_about_no_entry_is_met_with_the_same_snapshot_later_and_later() {
    let mut rig = Rig::online();
    three(&mut rig);
    rig.engine.inventories = false;
    let mut wait = SECOND;
    for _ in 0..4 {
        let snapshots = rig.sent("inventory.sync").len();
        while rig.sent("inventory.sync").len() == snapshots {
            rig.advance(SECOND);
        }
        assert_eq!(listed(&rig).len(), 3);
        rig.error(&rig.last_sent("inventory.sync")["id"], "node_control_failed");
        rig.advance(Span(wait.0 - 1));
        assert_eq!(rig.sent("inventory.sync").len(), snapshots + 1, "an engine in trouble is not pressed");
        wait = Span(wait.0 * 2);
    }
    rig.engine.inventories = true;
    rig.advance(Span::secs(2));
    assert_eq!(listed(&rig).len(), 3);
    assert_eq!(rig.health()["problems"], json!([]));
}

#[test]
fn a_refresh_follows_as_soon_as_the_invocation_is_over() {
    let mut rig = Rig::online();
    rig.advance(Span::secs(55));
    rig.sent.clear();
    rig.engine.agents = Agents::Hold;
    rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
    rig.advance(Span::secs(8));
    let register = rig.last_sent("agent.register");
    let data = rig.identity("joe");
    rig.reply(&register["id"], data);
    rig.advance(SECOND);
    let at = |kind| rig.place_of(kind);
    assert!(at("action.result") < at("inventory.sync"));
    assert_eq!(rig.last_sent("inventory.sync")["agents"][0]["invocation_id"], "inv_1");
}

#[test]
fn a_refused_snapshot_is_mended_as_soon_as_no_invocation_is_open_and_after_25_seconds_at_the_latest() {
    for ends in [true, false] {
        let mut rig = Rig::online();
        three(&mut rig);
        rig.engine.inventories = false;
        rig.reconnect();
        rig.engine.agents = Agents::Hold;
        rig.invoke("inv_1", "spawn:cat", json!({ "name": "joe" }));
        rig.sent.retain(|frame| frame["type"] != "delivery.ack");
        let snapshots = rig.sent("inventory.sync");
        rig.error(&snapshots.last().unwrap()["id"], "node_control_failed");
        rig.advance(Span::secs(5));
        assert_eq!(rig.sent("inventory.sync").len(), snapshots.len(), "it would reschedule the invocation");
        if ends {
            let (register, data) = (rig.last_sent("agent.register"), rig.identity("joe"));
            rig.reply(&register["id"], data);
            rig.advance(SECOND);
        } else {
            rig.advance(Span::secs(21));
        }
        assert_eq!(rig.sent("inventory.sync").len(), snapshots.len() + 1, "ends: {ends}");
    }
}

#[test]
fn an_entry_that_the_engine_names_is_left_out_and_degrades_health() {
    let mut rig = Rig::online();
    three(&mut rig);
    rig.follow();
    rig.engine.inventories = false;
    rig.reconnect();
    assert_eq!(listed(&rig).len(), 3);
    rig.refuse_inventory("agent \"bob\" is active on another node");
    assert_eq!(listed(&rig), ["ann", "eve"]);
    rig.accept_inventory();
    let errors = rig.events("worker_error");
    assert_eq!((errors.len(), &errors[0]["name"]), (1, &json!("bob")));
    let health = rig.health();
    assert_eq!(health["status"], "degraded");
    assert!(health["problems"].to_string().contains("inventory"), "{health}");
    rig.engine.inventories = true;
    rig.reconnect();
    assert_eq!(listed(&rig).len(), 3, "a new link is a new chance");
    assert_eq!(rig.health()["status"], "ok");
}

#[test]
fn the_refusal_of_an_older_snapshot_costs_nobody_a_place() {
    for named in [true, false] {
        let mut rig = Rig::online();
        three(&mut rig);
        let release = json!({ "name": "nobody" });
        rig.invoke("inv_1", "release", release.clone());
        rig.engine.inventories = false;
        rig.reconnect();
        rig.invoke("inv_1", "release", release);
        rig.advance(SECOND);
        let sent = rig.sent("inventory.sync");
        assert_eq!((sent.len(), listed(&rig).len()), (2, 3), "two are under way");
        let message = if named { "agent \"bob\" is active on another node" } else { "no" };
        for snapshot in &sent {
            rig.frame(&json!({
                "v": 1, "type": "error", "id": snapshot["id"], "ok": false, "code": "agent_location_conflict",
                "message": message,
            }));
        }
        rig.accept_inventory();
        assert_eq!(listed(&rig), if named { ["ann", "eve"] } else { ["ann", "bob"] });
        assert_eq!(rig.health()["status"], "degraded");
    }
}

#[test]
fn a_suspect_is_listed_again_at_the_next_refresh_when_no_answer_comes() {
    let mut rig = Rig::online();
    three(&mut rig);
    rig.engine.inventories = false;
    rig.reconnect();
    rig.refuse_inventory("somebody is in the way");
    assert_eq!(listed(&rig).len(), 2, "one of them is suspected");
    rig.advance(Span::secs(61));
    assert_eq!(listed(&rig).len(), 3);
}

#[test]
fn an_entry_left_out_is_listed_again_at_each_refresh_until_it_is_accepted() {
    let mut rig = Rig::online();
    three(&mut rig);
    rig.follow();
    rig.engine.inventories = false;
    rig.reconnect();
    for _ in 0..3 {
        assert_eq!(listed(&rig).len(), 3, "the other node may have let it go");
        rig.refuse_inventory("agent \"bob\" is active on another node");
        assert_eq!(listed(&rig), ["ann", "eve"]);
        rig.accept_inventory();
        assert_eq!(rig.health()["status"], "degraded");
        rig.advance(Span::secs(61));
        assert_eq!(rig.health()["status"], "degraded", "nobody has said that it is well");
    }
    assert_eq!(rig.events("worker_error").len(), 1, "it was no news after the first time");
    rig.accept_inventory();
    assert_eq!(listed(&rig).len(), 3);
    assert_eq!(rig.health()["status"], "ok");
}

/// Refuses snapshots that list `culprit`, without its name, and takes others, until none comes any more.
/// How many followed the first.
fn refuse_with(rig: &mut Rig, culprit: &str) -> usize {
    let before = rig.sent("inventory.sync").len();
    for _ in 0..12 {
        let answered = rig.sent("inventory.sync").len();
        let id = rig.last_sent("inventory.sync")["id"].clone();
        if listed(rig).iter().any(|name| name == culprit) {
            rig.error(&id, "agent_provider_conflict");
        } else {
            rig.reply(&id, json!({}));
        }
        if rig.sent("inventory.sync").len() == answered {
            return answered - before;
        }
    }
    panic!("snapshots without end");
}

#[test]
fn an_entry_that_is_refused_again_without_its_name_is_suspected_first() {
    let mut rig = Rig::online();
    three(&mut rig);
    rig.engine.inventories = false;
    rig.reconnect();
    assert!(refuse_with(&mut rig, "ann") > 1);
    rig.advance(Span::secs(61));
    assert_eq!(refuse_with(&mut rig, "ann"), 1);
    assert_eq!(listed(&rig), ["bob", "eve"]);
}

#[test]
fn entries_that_the_engine_passes_over_degrade_health_until_it_takes_them() {
    let mut rig = Rig::online();
    three(&mut rig);
    rig.engine.inventories = false;
    rig.reconnect();
    for (passed_over, status) in [(1, "degraded"), (2, "degraded"), (0, "ok")] {
        let id = rig.last_sent("inventory.sync")["id"].clone();
        rig.reply(&id, json!({ "rebound_agents": 3 - passed_over, "rejected_agents": passed_over }));
        assert_eq!(rig.health()["status"], status);
        rig.advance(Span::secs(61));
        assert_eq!(listed(&rig).len(), 3);
    }
}

#[test]
fn an_older_snapshot_tells_who_is_passed_over_until_the_latest_is_answered() {
    let mut rig = Rig::online();
    three(&mut rig);
    rig.engine.inventories = false;
    rig.reconnect();
    rig.advance(Span::secs(61));
    let asked: Vec<Value> = rig.sent("inventory.sync").iter().map(|frame| frame["id"].clone()).collect();
    let [.., older, latest] = &asked[..] else { panic!("two snapshots are under way: {asked:?}") };
    let passes_over = json!({ "rebound_agents": 2, "rejected_agents": 1 });
    rig.reply(older, passes_over.clone());
    assert_eq!(rig.health()["status"], "degraded");
    rig.reply(latest, json!({ "rebound_agents": 3, "rejected_agents": 0 }));
    assert_eq!(rig.health()["status"], "ok");
    rig.reply(older, passes_over);
    assert_eq!(rig.health()["status"], "ok");
}

#[test]
fn an_entry_that_the_engine_does_not_name_is_found() {
    for culprit in ["ann", "bob", "eve"] {
        let mut rig = Rig::online();
        three(&mut rig);
        rig.engine.inventories = false;
        rig.reconnect();
        refuse_with(&mut rig, culprit);
        let mut names = listed(&rig);
        names.push(culprit.into());
        names.sort();
        assert_eq!(names, ["ann", "bob", "eve"], "only {culprit} is left out");
        assert_eq!(rig.delivery_state(), "ok");
        assert_eq!(rig.health()["status"], "degraded");
    }
}

#[test]
fn an_engine_that_refuses_every_inventory_is_not_flooded() {
    let mut rig = Rig::online();
    three(&mut rig);
    rig.engine.inventories = false;
    rig.reconnect();
    let mut answered = 0;
    for _ in 0..50 {
        let snapshots = rig.sent("inventory.sync");
        if snapshots.len() == answered {
            break;
        }
        answered = snapshots.len();
        let id = snapshots.last().unwrap()["id"].clone();
        rig.error(&id, "node_control_failed");
    }
    assert!(answered <= 6, "{answered} snapshots at once");
    rig.engine.inventories = true;
    rig.advance(Span::secs(61));
    assert_eq!(listed(&rig).len(), 3, "when the engine is well again all are listed");
}
