//! The engine model's nodes: enrolment, rotation, upgrades, socket replacement, liveness.

mod support;

use relay_sim::engine::ProfileName;
use serde_json::{Value, json};
use support::{ALL, Bench, Node, WITH_CURSOR, keys, pairs, text};

/// Enrols with the given header as proof.
fn enrol(bench: &mut Bench, proof: Option<&str>, body: &Value) -> (u16, Value) {
    let key = bench.key.clone();
    let headers: Vec<_> = proof.map(|token| ("x-relaycast-node-token", token)).into_iter().collect();
    let response = bench.request("POST", "/v1/nodes", Some(&key), &headers, body);
    (response.status, support::parsed(&response.body))
}

fn by_id(profile: ProfileName) -> bool {
    profile >= ProfileName::V8_2_2
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

#[test]
fn enrolling_again_rotates_the_token_and_forces_the_node_offline() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (node, connection) = bench.broker("n");
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
        bench.heartbeat(connection);
        assert_eq!(bench.node_view(&node)["status"], "online", "{profile}");
        let kept =
            enrol(&mut bench, Some(&text(&data["token"])), &json!({ "name": "n", "node_id": node.id }));
        assert_eq!(kept.1["data"]["version"], "2", "omitted fields are kept");
    }
}

#[test]
fn a_name_that_another_id_holds_is_rotated_or_a_conflict() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let (status, answer) =
            enrol(&mut bench, Some(&node.token), &json!({ "name": "n", "node_id": "node_other" }));
        if by_id(profile) {
            assert_eq!((status, &answer["error"]["code"]), (409, &json!("node_name_conflict")));
            continue;
        }
        assert_eq!((status, &answer["data"]["id"]), (201, &json!(node.id)), "{profile}");
        let taken = Node { id: "node_other".into(), token: text(&answer["data"]["token"]), ..node };
        let connection = bench.connect(&taken);
        let frame = bench.registration(&taken, "i1");
        assert_eq!(bench.error(connection, frame), "node_id_mismatch");
    }
}

#[test]
fn a_used_node_id_under_a_new_name_renames_or_fails_inside() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let body = json!({ "name": "renamed", "node_id": node.id });
        let (status, answer) = enrol(&mut bench, Some(&node.token), &body);
        if by_id(profile) {
            assert_eq!((status, &answer["data"]["name"]), (201, &json!("renamed")), "{profile}");
        } else {
            assert_eq!((status, &answer["error"]["code"]), (500, &json!("internal_error")), "{profile}");
        }
    }
}

#[test]
fn a_node_id_of_another_workspace_is_never_handed_over() {
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
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (status, answer) = enrol(&mut bench, None, &json!({ "name": "#n" }));
        if by_id(profile) {
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_node_name")));
        } else {
            assert_eq!(status, 201, "{profile}");
        }
        let (status, answer) = enrol(&mut bench, None, &json!({ "name": "" }));
        let code = if by_id(profile) { "invalid_node_name" } else { "invalid_request" };
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{profile}");
    }
}

#[test]
fn from_9_on_an_existing_node_is_touched_only_against_proof() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let node = bench.node("n");
        let body = json!({ "name": "n", "node_id": node.id });
        for proof in [None, Some("nt_live_wrong")] {
            let (status, answer) = enrol(&mut bench, proof, &body);
            if profile < ProfileName::V9_0_0 {
                assert_eq!(status, 201, "{profile}");
                continue;
            }
            assert_eq!((status, &answer["error"]["code"]), (409, &json!("node_token_proof_required")));
            bench.connect(&node);
        }
        if profile >= ProfileName::V9_0_0 {
            let (status, answer) = enrol(&mut bench, Some(&node.token), &body);
            assert_eq!(status, 201);
            assert_ne!(answer["data"]["token"], json!(node.token));
        }
    }
}

#[test]
fn a_machine_finds_its_own_dead_node_again_in_newer_releases() {
    for profile in ALL {
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
        assert_eq!(adopted, profile >= ProfileName::V8_11_4, "{profile}");
        if adopted {
            let token = text(&stale["data"]["token"]);
            let (_, again) = enrol(&mut bench, Some(&token), &body("five"));
            assert_ne!(again["data"]["id"], json!(node.id), "reuse clears the proof of life");
        }
    }
}

#[test]
fn the_upgrade_knows_only_101_401_and_426() {
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

#[test]
fn in_5_a_second_socket_replaces_the_first_at_the_upgrade() {
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

#[test]
fn from_6_on_sockets_coexist_until_one_registers() {
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

#[test]
fn another_instance_takes_over_only_when_the_incumbent_was_silent_for_the_window() {
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

#[test]
fn without_a_provider_every_connection_is_an_instance_of_its_own() {
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

#[test]
fn the_end_of_a_socket_takes_its_agents_offline_at_once() {
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

#[test]
fn a_silent_node_is_offline_after_45_s_but_its_socket_still_carries_frames() {
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

#[test]
fn heartbeats_acks_and_results_are_never_answered() {
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
    bench.engine.rotate_node_token(&node.id);
    assert_eq!(bench.engine.upgrade(bench.now, "/v1/node/ws", Some(&node.token)), Err(401));
    assert_eq!(bench.engine.connections().collect::<Vec<_>>(), [connection]);
    bench.engine.force_disconnect(bench.now, &node.id);
    assert_eq!(bench.closes(), [(connection, 1000, "force-disconnect")]);
    assert_eq!(bench.node_view(&node)["status"], "offline");
}

#[test]
fn a_full_node_refuses_agents_and_a_heartbeat_overwrites_its_count() {
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
