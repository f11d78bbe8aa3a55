//! The engine model's `inventory.sync`: conflicts, missing agents, completed and rescheduled work.

use crate::support::{ALL, Agent, Bench, WITH_CURSOR, keys, numbered, pairs, releases, text};
use relay_sim::engine::{ConnectionId, ProfileName};
use serde_json::{Value, json};

fn isolated(profile: ProfileName) -> bool {
    profile >= ProfileName::V8_2_2
}

fn entry(agent: &Agent) -> Value {
    json!({ "agent_id": agent.id, "name": agent.name })
}

fn listing(entries: &[Value]) -> Value {
    json!({ "type": "inventory.sync", "agents": entries })
}

pub(crate) fn the_reply_counts_what_happened() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let bob = bench.worker(connection, "bob");
        let stranger = json!({ "agent_id": "1", "name": "stranger" });
        let data = bench.reply(connection, listing(&[entry(&bob), stranger]));
        let mut expected =
            vec!["completed_invocations", "open_invocations", "rebound_agents", "rescheduled_invocations"];
        if isolated(profile) {
            expected.insert(3, "rejected_agents");
            assert_eq!(data["rejected_agents"], 0);
        }
        assert_eq!(keys(&data), expected, "{profile}");
        let counted = if profile == ProfileName::V5_0_5 { 2 } else { 1 };
        assert_eq!(data["rebound_agents"], counted, "{profile}");
        let key = bench.key.clone();
        let refused = bench.refused("GET", "/v1/agents/stranger", &key, Value::Null);
        assert_eq!(refused, (404, "agent_not_found".into()), "unknown names are not created");
    }
}

pub(crate) fn unlisted_agents_are_offline_but_their_mail_still_comes() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let (alice, bob) = (bench.agent("alice"), bench.worker(connection, "bob"));
        bench.worker(connection, "carol");
        bench.sync(connection, &[&bob]);
        assert_eq!((bench.status_of("bob"), bench.status_of("carol")), ("active".into(), "offline".into()));
        bench.frames(connection);
        bench.dm(&alice, "carol", "x");
        assert_eq!(bench.delivered(connection), pairs(&[("carol", 1)]), "{profile}");
        bench.sync(connection, &[]);
        assert_eq!(bench.status_of("bob"), "offline", "an empty list means all");
    }
}

pub(crate) fn listing_revives_an_agent() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        let bob = bench.worker(connection, "bob");
        let connection = bench.reconnect(&node, connection);
        assert_eq!(bench.status_of("bob"), "offline");
        bench.pass(6 * 60 * 1_000);
        bench.heartbeat(connection);
        bench.sync(connection, &[&bob]);
        assert_eq!(bench.status_of("bob"), "active", "{profile}");
    }
}

/// A scene in which one entry of `here` is bad: the bench, the socket, the good agent, the bad entry.
fn conflict(profile: ProfileName, code: &str) -> (Bench, ConnectionId, Agent, Value) {
    let mut bench = Bench::new(profile);
    let (node, old) = bench.broker("here");
    let good = bench.worker(old, "good");
    let bad = match code {
        "agent_location_conflict" => {
            let (_, there) = bench.broker("there");
            entry(&bench.worker(there, "bad"))
        }
        "agent_provider_conflict" => entry(&bench.agent("bad")),
        "agent_identity_mismatch" => {
            bench.worker(old, "bad");
            json!({ "agent_id": "1", "name": "bad" })
        }
        other => panic!("no scene for {other}"),
    };
    let connection = bench.reconnect(&node, old);
    bench.frames(connection);
    (bench, connection, good, bad)
}

pub(crate) fn one_bad_entry_fails_the_whole_inventory_or_is_skipped_and_counted() {
    let codes = ["agent_location_conflict", "agent_provider_conflict", "agent_identity_mismatch"];
    for profile in ALL {
        for code in codes {
            let (mut bench, connection, good, bad) = conflict(profile, code);
            let alice = bench.agent("alice");
            bench.dm(&alice, "good", "x");
            bench.send(connection, listing(&[entry(&good), bad]));
            let frames = bench.frames(connection);
            let exists = profile != ProfileName::V5_0_5 || code == "agent_location_conflict";
            if !exists {
                assert!(frames.iter().any(|frame| frame["type"] == "reply"), "{profile} {code}");
            } else if isolated(profile) {
                assert_eq!(frames[0]["data"]["rejected_agents"], 1, "{profile} {code}");
                assert_eq!(numbered(&frames[1..]), pairs(&[("good", 1)]), "{profile} {code}");
                assert_eq!(bench.status_of("good"), "active");
            } else {
                let answer = frames.iter().find(|frame| frame["type"] == "error");
                assert_eq!(answer.map(|frame| text(&frame["code"])), Some(code.to_owned()), "{profile}");
                assert_eq!(bench.status_of("good"), "offline", "nothing changed: {profile} {code}");
                if bench.has_cursor() {
                    assert_eq!(frames.len(), 1, "nobody became ready");
                    assert_eq!(bench.rows(&good), [(1, "queued")]);
                }
            }
        }
    }
}

#[test]
fn an_agent_of_a_node_that_is_away_moves_to_the_node_that_lists_it() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let ((_, here), (_, there)) = (bench.broker("here"), bench.broker("there"));
        let (alice, bob) = (bench.agent("alice"), bench.worker(there, "bob"));
        bench.close(there);
        bench.sync(here, &[&bob]);
        bench.dm(&alice, "bob", "x");
        assert_eq!(bench.delivered(here), pairs(&[("bob", 1)]), "{profile}");
    }
}

pub(crate) fn listing_the_invocation_of_a_spawn_completes_it_and_tells_the_caller() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let alice = bench.worker(connection, "alice");
        let spawn = json!({ "name": "bob", "cli": "claude", "task": "t" });
        let id = text(&bench.post("/v1/agents/spawn", &alice.token, spawn)["invocation_id"]);
        let bob =
            bench.reply(connection, json!({ "type": "agent.register", "name": "bob", "invocation_id": id }));
        let open = bench.get(&format!("/v1/actions/spawn/invocations/{id}"), &alice.token);
        assert_eq!(open["status"], "dispatched", "registering does not complete it");
        bench.frames(connection);
        let listed =
            json!({ "agent_id": bob["agent_id"], "name": "bob", "invocation_id": id, "session_ref": "s1" });
        bench.send(connection, listing(&[entry(&alice), listed]));
        let frames = bench.frames(connection);
        let told: Vec<_> = frames.iter().filter(|frame| frame["type"] == "deliver").collect();
        let output =
            json!({ "agent_id": bob["agent_id"], "name": "bob", "invocation_id": id, "session_ref": "s1" });
        assert_eq!(told[0]["payload"]["type"], "action.completed");
        assert_eq!(told[0]["payload"]["data"]["output"], output, "{profile}");
        let reply = frames.iter().find(|frame| frame["type"] == "reply").unwrap();
        assert_eq!(
            (&reply["data"]["completed_invocations"], &reply["data"]["rescheduled_invocations"]),
            (&json!(1), &json!(0))
        );
        let late = json!({ "type": "action.result", "invocation_id": id, "output": "mine" });
        bench.send(connection, late);
        let done = bench.get(&format!("/v1/actions/spawn/invocations/{id}"), &alice.token);
        assert_eq!((&done["status"], &done["output"]), (&json!("completed"), &output));
    }
}

pub(crate) fn an_open_invocation_that_is_not_listed_is_sent_again_with_the_same_id() {
    for profile in ALL {
        for action in ["spawn", "echo"] {
            let mut bench = Bench::new(profile);
            let (_, connection) = bench.broker("n");
            let alice = bench.agent("alice");
            let data = if action == "spawn" {
                let spawn = json!({ "name": "bob", "cli": "claude", "task": "t" });
                bench.post("/v1/agents/spawn", &alice.token, spawn)
            } else {
                bench.post("/v1/actions/echo/invoke", &alice.token, json!({}))
            };
            let id = text(&data["invocation_id"]);
            let first = bench.frames(connection).remove(0);
            let data = bench.sync(connection, &[]);
            assert_eq!((&data["rescheduled_invocations"], &data["open_invocations"]), (&json!(1), &json!(0)));
            let late = json!({ "type": "action.result", "invocation_id": id, "output": 1 });
            bench.send(connection, late.clone());
            let path = format!("/v1/actions/{action}/invocations/{id}");
            let back = bench.get(&path, &alice.token);
            assert_eq!(
                (&back["status"], &back["dispatched_node_id"]),
                (&json!("pending"), &Value::Null),
                "the late result is dropped: {profile}"
            );
            bench.pass(15_000);
            assert_eq!(bench.frames(connection), [first], "{profile} {action}");
            bench.send(connection, late);
            assert_eq!(bench.get(&path, &alice.token)["status"], "completed");
        }
    }
}

pub(crate) fn the_agent_that_had_another_one_spawned_hears_of_its_end_in_newer_releases() {
    for (profile, told_of) in releases([false, false, true, true, true]) {
        for reason in ["deregistered", "missing_from_inventory", "released"] {
            let mut bench = Bench::new(profile);
            let (node, connection) = bench.broker("n");
            let alice = bench.worker(connection, "alice");
            let spawn = json!({ "name": "bob", "cli": "claude", "task": "t" });
            let id = text(&bench.post("/v1/agents/spawn", &alice.token, spawn)["invocation_id"]);
            let register = json!({ "type": "agent.register", "name": "bob", "invocation_id": id });
            let bob = bench.reply(connection, register)["agent_id"].clone();
            let done = json!({ "type": "action.result", "invocation_id": id, "output": null });
            bench.send(connection, done);
            match reason {
                "deregistered" => {
                    bench.send(connection, json!({ "type": "agent.deregister", "agent_id": bob }));
                }
                "released" => {
                    let key = bench.key.clone();
                    let release = bench.post("/v1/agents/release", &key, json!({ "name": "bob" }));
                    let id = &release["invocation_id"];
                    bench.send(
                        connection,
                        json!({ "type": "action.result", "invocation_id": id, "output": {} }),
                    );
                }
                _ => bench.send(connection, listing(&[entry(&alice)])),
            }
            let frames = bench.frames(connection);
            let told: Vec<_> =
                frames.iter().filter(|frame| frame["payload"]["type"] == "agent.exited").collect();
            if !told_of {
                assert!(told.is_empty(), "{profile}");
                continue;
            }
            let expected = json!({ "agent_id": bob, "agent_name": "bob", "node_id": node.id, "invocation_id": id,
                "reason": reason });
            assert_eq!(told.len(), 1, "{profile} {reason}");
            assert_eq!(told[0]["payload"]["data"], expected);
            assert_eq!((&told[0]["agent"], &told[0]["seq"]), (&json!("alice"), &json!(0)));
        }
    }
}

#[test]
fn an_inventory_of_another_provider_touches_nothing_of_this_one() {
    for profile in WITH_CURSOR {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        bench.worker(connection, "bob");
        let alice = bench.agent("alice");
        bench.post("/v1/actions/echo/invoke", &alice.token, json!({}));
        let second = bench.connect(&node);
        let mut frame = bench.registration(&node, "i9");
        frame["provider"]["name"] = json!("other");
        frame["capabilities"] = json!([]);
        bench.reply(second, frame);
        assert_eq!(bench.closes(), [], "providers live side by side");
        let data = bench.sync(second, &[]);
        assert_eq!(data["rescheduled_invocations"], 0);
        assert_eq!(bench.status_of("bob"), "active");
        bench.close(second);
        assert_eq!(
            (bench.status_of("bob"), &bench.node_view(&node)["status"]),
            ("active".into(), &json!("online")),
            "{profile}"
        );
    }
}
