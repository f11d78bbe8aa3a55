//! The engine model's nodes: enrolment, rotation, upgrades, socket replacement, liveness.

use crate::support::{ALL, Bench, Node, WITH_CURSOR, keys, pairs, releases, text};
use relay_sim::engine::ProfileName;
use serde_json::{Value, json};

/// Enrols with the given header as proof.
fn enrol(bench: &mut Bench, proof: Option<&str>, body: &Value) -> (u16, Value) {
    let key = bench.key.clone();
    let headers: Vec<_> = proof.map(|token| ("x-relaycast-node-token", token)).into_iter().collect();
    let response = bench.request("POST", "/v1/nodes", Some(&key), &headers, body);
    (response.status, crate::support::parsed(&response.body))
}

#[test]
fn enrolling_answers_a_descriptor_and_a_token() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (status, answer) = enrol(&mut bench, None, &json!({ "name": "n", "node_id": "node_1" }));
        assert_eq!(status, 201);
        let data = &answer["data"];
        assert_eq!(
            keys(data),
            [
                "active_agents",
                "capabilities",
                "created_at",
                "delivery",
                "delivery_adapter",
                "handlers_live",
                "id",
                "kind",
                "last_heartbeat_at",
                "live",
                "load",
                "max_agents",
                "name",
                "role",
                "status",
                "tags",
                "token",
                "version"
            ]
        );
        for (key, expected) in [
            ("id", json!("node_1")),
            ("name", json!("n")),
            ("kind", json!("ws")),
            ("role", json!("broker")),
            ("delivery_adapter", json!("ws.node.v1")),
            ("status", json!("offline")),
            ("live", json!(false)),
            ("handlers_live", json!(false)),
            ("max_agents", json!(0)),
        ] {
            assert_eq!(data[key], expected, "{key}");
        }
    }
}

pub(crate) fn enrolling_again_rotates_the_token_and_forces_the_node_offline() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        let (alice, _) = (bench.agent("alice"), bench.worker(connection, "bob"));
        assert_eq!(bench.node_view(&node)["status"], "online");
        let body = json!({ "name": "n", "node_id": node.id, "version": "2" });
        let (status, answer) = enrol(&mut bench, Some(&node.token), &body);
        assert_eq!(status, 201, "{answer}");
        let data = &answer["data"];
        assert_ne!(data["token"], json!(node.token));
        assert_eq!(
            (&data["id"], &data["status"], &data["handlers_live"], &data["version"]),
            (&json!(node.id), &json!("offline"), &json!(false), &json!("2"))
        );
        assert_eq!(bench.engine.upgrade(bench.now, "/v1/node/ws", Some(&node.token)), Err(401));
        assert_eq!(bench.closes(), [], "the open socket lives on");
        bench.dm(&alice, "bob", "x");
        assert_eq!(bench.delivered(connection), pairs(&[("bob", 1)]), "{profile}");
        bench.heartbeat(connection);
        assert_eq!(bench.node_view(&node)["status"], "online", "{profile}");
        let kept =
            enrol(&mut bench, Some(&text(&data["token"])), &json!({ "name": "n", "node_id": node.id }));
        assert_eq!(kept.1["data"]["version"], "2", "omitted fields are kept");
    }
}

/// A node is enrolled; then again under the same name with another id, and under another name with its id.
pub(crate) fn a_clash_of_names_and_ids_rotates_renames_or_is_refused() {
    let by_name = [(201, Value::Null), (500, json!("internal_error"))];
    let by_id = [(409, json!("node_name_conflict")), (201, Value::Null)];
    for (profile, expected) in releases([by_name.clone(), by_name, by_id.clone(), by_id.clone(), by_id]) {
        let wishes = [("n", "node_other"), ("renamed", "node_n")];
        for ((name, id), expected) in wishes.into_iter().zip(expected) {
            let mut bench = Bench::new(profile);
            let node = bench.node("n");
            let (status, answer) =
                enrol(&mut bench, Some(&node.token), &json!({ "name": name, "node_id": id }));
            assert_eq!((status, answer["error"]["code"].clone()), expected, "{profile}: {name} {id}");
            if status != 201 {
                bench.connect(&node);
                continue;
            }
            let data = &answer["data"];
            assert_eq!((&data["id"], &data["name"]), (&json!(node.id), &json!(name)), "{profile}");
            // Who wanted another id is told only now that this one is not its own.
            let enrolled = Node { id: id.into(), name: name.into(), token: text(&data["token"]) };
            let connection = bench.connect(&enrolled);
            let frame = bench.registration(&enrolled, "i1");
            let answer = bench.ask(connection, frame);
            let code = if id == node.id { Value::Null } else { json!("node_id_mismatch") };
            assert_eq!(answer["code"], code, "{profile}: {answer}");
        }
    }
}

pub(crate) fn a_node_id_of_another_workspace_is_never_handed_over() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let (_, other) = bench.engine.create_workspace(bench.now, "other");
        let body = json!({ "name": "n", "node_id": node.id });
        assert_eq!(
            bench.refused("POST", "/v1/nodes", &other, body),
            (500, "internal_error".into()),
            "{profile}"
        );
        bench.connect(&node);
    }
}

#[test]
fn empty_and_marked_node_names_are_refused_by_newer_releases() {
    for (profile, refused) in releases([false, false, true, true, true]) {
        let mut bench = Bench::new(profile);
        let (status, answer) = enrol(&mut bench, None, &json!({ "name": "#n" }));
        if refused {
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_node_name")));
        } else {
            assert_eq!(status, 201, "{profile}");
        }
        let (status, answer) = enrol(&mut bench, None, &json!({ "name": "" }));
        let code = if refused { "invalid_node_name" } else { "invalid_request" };
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{profile}");
    }
}

pub(crate) fn from_9_on_an_existing_node_is_touched_only_against_proof() {
    for (profile, wanted) in releases([false, false, false, false, true]) {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let body = json!({ "name": "n", "node_id": node.id });
        for proof in [None, Some("nt_live_wrong")] {
            let (status, answer) = enrol(&mut bench, proof, &body);
            if !wanted {
                assert_eq!(status, 201, "{profile}");
                continue;
            }
            assert_eq!((status, &answer["error"]["code"]), (409, &json!("node_token_proof_required")));
            bench.connect(&node);
        }
        if wanted {
            let (status, answer) = enrol(&mut bench, Some(&node.token), &body);
            assert_eq!(status, 201);
            assert_ne!(answer["data"]["token"], json!(node.token));
        }
    }
}

/// The only way back after an answer that was lost: its token is nobody's proof but the engine's.
pub(crate) fn a_lost_answer_to_an_enrolment_is_recovered_by_its_key_from_9_on() {
    for (profile, recovered) in releases([false, false, false, false, true]) {
        let mut bench = Bench::new(profile);
        let (key, node) = (bench.key.clone(), bench.node("n"));
        let body = json!({ "name": "n", "node_id": node.id });
        let headers = [("x-relaycast-node-token", &*node.token), ("idempotency-key", "k")];
        let mut mint = || bench.request("POST", "/v1/nodes", Some(&key), &headers, &body);
        let (lost, again) = (mint(), mint());
        assert_eq!((lost.status, again.status), (201, 201), "{profile}");
        assert_eq!(lost.body == again.body, recovered, "{profile}");
        let token = text(&crate::support::parsed(&again.body)["data"]["token"]);
        bench.connect(&Node { token, ..node });
    }
}

pub(crate) fn a_machine_finds_its_own_dead_node_again_in_newer_releases() {
    for (profile, found) in releases([false, false, false, true, true]) {
        let mut bench = Bench::new(profile);
        let body = |name: &str| json!({ "name": name, "machine_id": "m1" });
        let (_, first) = enrol(&mut bench, None, &body("one"));
        let node =
            Node { id: text(&first["data"]["id"]), name: "one".into(), token: text(&first["data"]["token"]) };
        let (_, never_lived) = enrol(&mut bench, Some(&node.token), &body("two"));
        assert_ne!(never_lived["data"]["id"], json!(node.id), "{profile}");
        let connection = bench.connect(&node);
        bench.register(connection, &node);
        bench.heartbeat(connection);
        let (_, live) = enrol(&mut bench, Some(&node.token), &body("three"));
        assert_ne!(live["data"]["id"], json!(node.id), "{profile}");
        bench.close(connection);
        bench.pass(60_000);
        let (_, stale) = enrol(&mut bench, Some(&node.token), &body("four"));
        let adopted = stale["data"]["id"] == json!(node.id);
        assert_eq!(adopted, found, "{profile}");
        if adopted {
            let token = text(&stale["data"]["token"]);
            let (_, again) = enrol(&mut bench, Some(&token), &body("five"));
            assert_ne!(again["data"]["id"], json!(node.id), "reuse clears the proof of life");
        }
    }
}

pub(crate) fn the_upgrade_knows_only_101_401_and_426() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (node, ann) = (bench.node("n"), bench.agent("ann"));
    let mut upgrade = |path: &str, bearer: Option<&str>| bench.engine.upgrade(bench.now, path, bearer).err();
    let query = format!("/v1/node/ws?token={}", node.token);
    assert_eq!(upgrade("/v1/node/ws", Some(&node.token)), None);
    assert_eq!(upgrade(&query, None), None);
    assert_eq!(upgrade(&query, Some("nt_live_wrong")), None, "the query wins");
    assert_eq!(upgrade("/v1/node/ws?token=", Some(&node.token)), None, "an empty query falls back");
    assert_eq!(upgrade("/v1/node/ws?token=nt_live_wrong", Some(&node.token)), Some(401));
    assert_eq!(upgrade("/v1/node/ws", None), Some(401));
    assert_eq!(upgrade("/v1/node/ws", Some(&ann.token)), Some(401));
    assert_eq!(upgrade("/v1/ws/other", Some(&node.token)), Some(426));
}

#[test]
fn an_upgrade_sends_nothing_and_does_not_make_the_node_online() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let connection = bench.connect(&node);
        assert_eq!(bench.frames(connection), Vec::<Value>::new());
        assert_eq!(bench.node_view(&node)["status"], "offline", "{profile}");
    }
}

pub(crate) fn in_5_a_second_socket_replaces_the_first_at_the_upgrade() {
    let mut bench = Bench::new(ProfileName::V5_0_5);
    let (node, old) = bench.broker("n");
    let (ann, bob) = (bench.agent("ann"), bench.worker(old, "bob"));
    let new = bench.connect(&node);
    assert_eq!(bench.closes(), [(old, 1000, "superseded")]);
    bench.close(old);
    assert_eq!(bench.node_view(&node)["status"], "online");
    assert_eq!(bench.status_of("bob"), "active");
    bench.dm(&ann, "bob", "before any frame");
    assert_eq!(bench.delivered(new), pairs(&[("bob", 1)]));
    assert_eq!(bench.rows(&bob), [(1, "delivered")]);
}

pub(crate) fn from_6_on_sockets_coexist_until_one_registers() {
    for profile in WITH_CURSOR {
        let mut bench = Bench::new(profile);
        let (node, old) = bench.broker("n");
        bench.worker(old, "bob");
        let new = bench.connect(&node);
        assert_eq!(bench.closes(), []);
        let frame = bench.registration(&node, "i1");
        bench.reply(new, frame);
        assert_eq!(bench.closes(), [(old, 1000, "superseded")], "the same instance takes over");
        bench.close(old);
        assert_eq!(bench.node_view(&node)["status"], "online");
        assert_eq!(bench.status_of("bob"), "active", "{profile}");
    }
}

pub(crate) fn another_instance_takes_over_only_when_the_incumbent_was_silent_for_the_window() {
    for profile in WITH_CURSOR {
        let mut bench = Bench::new(profile);
        let (node, old) = bench.broker("n");
        let new = bench.connect(&node);
        let frame = bench.registration(&node, "i2");
        bench.pass(34_000);
        assert_eq!(bench.error(new, frame.clone()), "provider_instance_conflict");
        assert_eq!(bench.closes(), [], "both stay open");
        bench.heartbeat(new);
        bench.pass(2_000);
        bench.reply(new, frame.clone());
        assert_eq!(bench.closes(), [(old, 1000, "superseded")], "{profile}");
    }
}

pub(crate) fn without_a_provider_every_connection_is_an_instance_of_its_own() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let node = bench.node("n");
    let (old, new) = (bench.connect(&node), bench.connect(&node));
    let mut frame = bench.registration(&node, "i1");
    frame.as_object_mut().unwrap().remove("provider");
    let data = bench.reply(old, frame.clone());
    assert_eq!(data["provider"]["name"], "default");
    assert_eq!(bench.error(new, frame.clone()), "provider_instance_conflict");
    bench.reply(old, frame.clone());
    bench.close(old);
    bench.reply(new, frame);
}

pub(crate) fn the_end_of_a_socket_takes_its_agents_offline_at_once() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        bench.worker(connection, "bob");
        bench.close(connection);
        assert_eq!(bench.node_view(&node)["status"], "offline");
        assert_eq!(bench.status_of("bob"), "offline");
        let back = bench.connect(&node);
        bench.register(back, &node);
        bench.heartbeat(back);
        assert_eq!(bench.node_view(&node)["status"], "online");
        assert_eq!(bench.status_of("bob"), "offline", "a heartbeat revives no agent: {profile}");
    }
}

pub(crate) fn a_silent_node_is_offline_after_45_s_but_its_socket_still_carries_frames() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
        let ann = bench.agent("ann");
        bench.worker(connection, "bob");
        bench.pass(44_000);
        bench.heartbeat(connection);
        bench.pass(44_000);
        assert_eq!(bench.node_view(&node)["status"], "online");
        bench.pass(16_000);
        let view = bench.node_view(&node);
        assert_eq!((&view["status"], &view["active_agents"]), (&json!("offline"), &json!(0)));
        assert_eq!(bench.status_of("bob"), "offline");
        assert_eq!(bench.closes(), []);
        bench.dm(&ann, "bob", "still routed");
        assert_eq!(bench.delivered(connection), pairs(&[("bob", 1)]));
        bench.heartbeat(connection);
        assert_eq!(bench.node_view(&node)["status"], "online");
        assert_eq!(bench.status_of("bob"), "offline", "{profile}");
    }
}

pub(crate) fn heartbeats_acks_and_results_are_never_answered() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        bench.worker(connection, "bob");
        bench.heartbeat(connection);
        bench.ack(connection, "bob", 99);
        bench.ack(connection, "bob", 1);
        bench.ack(connection, "stranger", 5);
        bench.send(
            connection,
            json!({ "type": "action.result", "id": "x", "invocation_id": "inv_1", "output": null }),
        );
        bench.send(connection, json!({ "type": "node.deregister", "id": "y" }));
        assert_eq!(bench.frames(connection), Vec::<Value>::new(), "{profile}");
    }
}

#[test]
fn a_forced_disconnect_and_a_rotation_by_hand_behave_as_the_engine_does() {
    let mut bench = Bench::new(ProfileName::V6_0_3);
    let (node, connection) = bench.broker("n");
    bench.engine.rotate_node_token(bench.now, &node.id);
    assert_eq!(bench.engine.upgrade(bench.now, "/v1/node/ws", Some(&node.token)), Err(401));
    assert_eq!(bench.engine.connections().collect::<Vec<_>>(), [connection]);
    bench.engine.force_disconnect(bench.now, &node.id);
    assert_eq!(bench.closes(), [(connection, 1000, "force-disconnect")]);
    assert_eq!(bench.node_view(&node)["status"], "offline");
}

pub(crate) fn a_full_node_refuses_agents_and_a_heartbeat_overwrites_its_count() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let connection = bench.connect(&node);
        let mut frame = bench.registration(&node, "i1");
        frame["max_agents"] = json!(1);
        assert_eq!(bench.reply(connection, frame)["max_agents"], 1);
        bench.worker(connection, "bob");
        assert_eq!(bench.node_view(&node)["active_agents"], 1);
        let register = json!({ "type": "agent.register", "name": "carol" });
        assert_eq!(bench.error(connection, register.clone()), "node_capacity_exceeded", "{profile}");
        let (key, _) = (bench.key.clone(), bench.agent("dave"));
        let refused = bench.refused("POST", "/v1/nodes/n/agents", &key, json!({ "agent_name": "dave" }));
        assert_eq!(refused, (409, "node_capacity_exceeded".into()));
        bench.beat(connection, 0);
        bench.reply(connection, register);
    }
}

pub(crate) fn an_agent_that_has_its_slot_needs_no_other_and_0_is_no_limit() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let connection = bench.connect(&node);
        let mut frame = bench.registration(&node, "i1");
        frame["max_agents"] = json!(1);
        bench.reply(connection, frame.clone());
        let bob = bench.worker(connection, "bob");
        let again = match bench.engine.profile().name {
            ProfileName::V5_0_5 | ProfileName::V6_0_3 => json!({ "type": "agent.register", "name": "bob" }),
            _ => json!({ "type": "agent.recover", "name": "bob", "expected_agent_id": bob.id }),
        };
        bench.reply(connection, again);
        frame["max_agents"] = json!(0);
        assert_eq!(bench.reply(connection, frame)["max_agents"], 0, "{profile}");
        for name in ["carol", "dave", "eve"] {
            bench.worker(connection, name);
        }
        assert_eq!(bench.node_view(&node)["active_agents"], 4, "{profile}");
    }
}

pub(crate) fn the_limits_of_providers_add_up_until_one_without_limit_means_none() {
    // In 5.0.5 a node has one provider.
    for (profile, expected) in releases([None, Some(3), Some(0), Some(0), Some(0)]) {
        let Some(expected) = expected else { continue };
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        for (name, limit) in [("broker", 0), ("other", 1), ("third", 2)] {
            let connection = bench.connect(&node);
            let mut frame = bench.registration(&node, "i1");
            (frame["provider"]["name"], frame["max_agents"]) = (json!(name), json!(limit));
            bench.reply(connection, frame);
        }
        assert_eq!(bench.node_view(&node)["max_agents"], expected, "{profile}");
    }
}
