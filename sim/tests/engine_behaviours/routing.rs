//! Where the engine model sends an agent's mail: bindings, the provider trap, homes, redrive.

use crate::support::{ALL, Bench, CURSOR, WITH_CURSOR, pairs, releases, scene};
use relay_sim::engine::ProfileName;
use serde_json::{Value, json};

/// What an inventory of nobody else says to an agent that another provider has.
#[derive(Clone, Copy)]
enum Listing {
    Fails,
    Takes,
}

pub(crate) fn an_agent_of_http_that_is_bound_is_never_pushed_until_the_broker_is_let_have_it() {
    use Listing::{Fails, Takes};
    for (profile, expected) in releases([
        // Bound while the node is connected, and while it is not: what is pushed, and what listing does.
        // In 5.0.5 all of a node goes to its one socket.
        ((true, Takes), (true, Takes)),
        ((false, Fails), (false, Fails)),
        ((false, Fails), (false, Fails)),
        ((true, Takes), (false, Fails)),
        ((true, Takes), (false, Takes)),
    ]) {
        for (live, (pushed, listing)) in [(true, expected.0), (false, expected.1)] {
            let mut bench = Bench::new(profile);
            let (node, mut connection) = bench.broker("n");
            let (key, alice, bob) = (bench.key.clone(), bench.agent("alice"), bench.agent("bob"));
            if !live {
                bench.close(connection);
            }
            let binding = bench.post("/v1/nodes/n/agents", &key, json!({ "agent_name": "bob" }));
            assert_eq!(
                (&binding["status"], &binding["agent_id"], &binding["node_name"]),
                (&json!("active"), &json!(bob.id), &json!("n"))
            );
            let adopted = pushed && bench.has_cursor();
            assert_eq!(binding.get("delivery_ack_seq").is_some(), adopted, "{profile} {live}");
            if !live {
                connection = bench.connect(&node);
                bench.register(connection, &node);
            }
            bench.dm(&alice, "bob", "x");
            let expected = if pushed { pairs(&[("bob", 1)]) } else { Vec::new() };
            assert_eq!(bench.delivered(connection), expected, "{profile} {live}");
            let inventory = bench.inventory(&[&bob]);
            let answer = bench.ask(connection, inventory);
            match listing {
                Fails => assert_eq!(answer["code"], "agent_provider_conflict", "{profile}"),
                Takes => assert_eq!(answer["data"]["rebound_agents"], 1, "{profile} {live}"),
            }
        }
    }
}

#[test]
fn unbinding_takes_an_agent_home_and_keeps_its_mail() {
    let mut scene = scene(ProfileName::V6_0_3);
    let key = scene.bench.key.clone();
    let path = "/v1/nodes/n/agents/bob";
    assert_eq!(scene.bench.call("DELETE", path, &key, Value::Null).0, 204);
    assert_eq!(
        scene.bench.refused("DELETE", path, &key, Value::Null),
        (404, "node_agent_binding_not_found".into())
    );
    scene.dms(1);
    assert_eq!(scene.bench.rows(&scene.bob), [(1, "queued")]);
}

#[test]
fn disconnecting_over_http_takes_an_agent_home_in_older_releases_only() {
    for (profile, state) in releases(["queued", "queued", "delivered", "delivered", "delivered"]) {
        let mut scene = scene(profile);
        let token = scene.bob.token.clone();
        scene.bench.post("/v1/agents/disconnect", &token, json!({}));
        assert_eq!(scene.bench.status_of("bob"), "offline");
        scene.dms(1);
        assert_eq!(scene.bench.rows(&scene.bob), [(1, state)], "{profile}");
        scene.bench.post("/v1/agents/disconnect", &token, json!({ "deregister": true }));
        scene.dms(1);
        assert_eq!(scene.bench.rows(&scene.bob)[1], (2, "queued"), "{profile}");
    }
}

#[test]
fn what_could_not_be_sent_is_tried_again_by_the_sweep_of_newer_releases() {
    for profile in WITH_CURSOR {
        let mut scene = scene(profile);
        scene.bench.close(scene.connection);
        scene.dms(2);
        let connection = scene.bench.connect(&scene.node);
        let mut frame = scene.bench.registration(&scene.node, "i1");
        frame["capabilities"] = json!([{ "name": CURSOR, "kind": "capacity" }]);
        scene.bench.reply(connection, frame);
        scene.bench.heartbeat(connection);
        scene.bench.pass(20_000);
        assert_eq!(scene.bench.frames(connection), Vec::<Value>::new());
        let bob = json!({ "agent_name": "bob" });
        let key = scene.bench.key.clone();
        scene.bench.post("/v1/nodes/n/agents", &key, bob);
        scene.bench.pass(30_000);
        let ready = profile >= ProfileName::V8_11_4;
        let expected = if ready { pairs(&[("bob", 1), ("bob", 2)]) } else { Vec::new() };
        assert_eq!(scene.bench.delivered(connection), expected, "readiness still gates: {profile}");
    }
}

pub(crate) fn channels_have_no_mark_nodes_are_known_by_name_and_case_matters() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (key, alice, connection) = (scene.bench.key.clone(), scene.alice.clone(), scene.connection);
        let hello = json!({ "text": "hello @Bob" });
        for (path, body, expected) in [
            ("/v1/channels/%23general/messages", hello.clone(), (404, "channel_not_found")),
            ("/v1/channels/General/messages", hello.clone(), (404, "channel_not_found")),
            ("/v1/channels", json!({ "name": "#ops" }), (400, "invalid_channel_name")),
            ("/v1/dm", json!({ "to": "Bob", "text": "x" }), (404, "agent_not_found")),
        ] {
            let refused = scene.bench.refused("POST", path, &alice.token, body);
            assert_eq!(refused, (expected.0, expected.1.to_owned()), "{profile}: {path}");
        }
        for (path, known) in [("/v1/nodes/n", true), ("/v1/nodes/node_n", false), ("/v1/nodes/N", false)] {
            let (status, answer) = scene.bench.call("GET", path, &key, Value::Null);
            assert_eq!(status == 200, known, "{profile}: {path}: {answer}");
        }
        let capital = scene.bench.worker(connection, "Bob");
        assert_ne!(capital.id, scene.bob.id, "two agents: {profile}");
        let data = scene.bench.post("/v1/channels/general/messages", &alice.token, hello);
        assert_eq!(data["mentions"], json!(["Bob"]));
        let frames = scene.bench.delivers(connection);
        assert_eq!(frames[0]["payload"]["data"]["channel_name"], "general", "{profile}");
        scene.bench.ack(connection, "BOB", 1);
        scene.bench.ack(connection, "Bob", 1);
        let rows = (scene.bench.rows(&capital), scene.bench.rows(&scene.bob));
        assert_eq!(rows, (vec![(1, "acked")], vec![(1, "delivered")]), "{profile}");
    }
}
