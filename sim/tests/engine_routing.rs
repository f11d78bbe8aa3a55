//! Where the engine model sends an agent's mail: bindings, the provider trap, homes, redrive.

mod support;

use relay_sim::engine::ProfileName;
use serde_json::{Value, json};
use support::{ALL, Bench, CURSOR, WITH_CURSOR, pairs, scene};

#[test]
fn an_agent_of_http_that_is_bound_is_never_pushed_until_binding_adopts() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, connection) = bench.broker("n");
        let (key, alice, bob) = (bench.key.clone(), bench.agent("alice"), bench.agent("bob"));
        let binding = bench.post("/v1/nodes/n/agents", &key, json!({ "agent_name": "bob" }));
        assert_eq!(
            (&binding["status"], &binding["agent_id"], &binding["node_name"]),
            (&json!("active"), &json!(bob.id), &json!("n"))
        );
        let adopts = profile >= ProfileName::V8_11_4;
        assert_eq!(binding.get("delivery_ack_seq").is_some(), adopts, "{profile}");
        bench.dm(&alice, "bob", "x");
        let pushed = adopts || profile == ProfileName::V5_0_5;
        assert_eq!(
            bench.delivered(connection),
            if pushed { pairs(&[("bob", 1)]) } else { Vec::new() },
            "{profile}"
        );
        let inventory = bench.inventory(&[&bob]);
        let answer = bench.ask(connection, inventory);
        match profile {
            ProfileName::V6_0_3 => assert_eq!(answer["code"], "agent_provider_conflict"),
            ProfileName::V8_2_2 => assert_eq!(
                (&answer["data"]["rebound_agents"], &answer["data"]["rejected_agents"]),
                (&json!(0), &json!(1))
            ),
            _ => assert_eq!(answer["data"]["rebound_agents"], 1, "{profile}"),
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
    for profile in ALL {
        let mut scene = scene(profile);
        let token = scene.bob.token.clone();
        scene.bench.post("/v1/agents/disconnect", &token, json!({}));
        assert_eq!(scene.bench.status_of("bob"), "offline");
        scene.dms(1);
        let routed = profile >= ProfileName::V8_2_2;
        let state = if routed { "delivered" } else { "queued" };
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
