//! Agents without a broker: their own implicit node. Events that reach any agent that can be reached.

use crate::support::{ALL, Bench, Node, numbered, pairs, text};
use serde_json::{Value, json};

/// The implicit node of an agent.
fn direct(bench: &mut Bench, token: &str) -> Node {
    let data = bench.post("/v1/agent/node-token", token, json!({}));
    Node { id: text(&data["node_id"]), name: text(&data["node_name"]), token: text(&data["token"]) }
}

#[test]
fn an_agent_without_a_broker_is_reached_on_a_node_of_its_own() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (alice, bob) = (bench.agent("alice"), bench.agent("bob"));
        bench.dm(&alice, "bob", "early");
        let node = direct(&mut bench, &bob.token);
        assert_eq!(node.id, format!("node_direct_{}", bob.id));
        assert_eq!(node.name, format!("direct-{}", bob.id));
        let socket = bench.connect(&node);
        // As the engine's own clients say it: without provider and capabilities.
        let frame = json!({
            "type": "node.register", "name": node.name, "node_id": node.id, "capabilities": [], "max_agents": 1,
            "tags": ["direct"], "version": "1",
        });
        bench.send(socket, frame);
        bench.dm(&alice, "bob", "live");
        let frames = bench.frames(socket);
        assert_eq!(frames[0]["type"], "reply", "{profile}");
        assert_eq!(numbered(&frames[1..]), pairs(&[("bob", 1), ("bob", 2)]), "{profile}");
        bench.ack(socket, "bob", 2);
        assert_eq!(bench.engine.ack_cursor(&bob.id), 2);
    }
}

#[test]
fn an_agent_on_a_brokers_node_has_no_node_token() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, broker) = bench.broker("n");
        let bob = bench.worker(broker, "bob");
        let refused = bench.refused("POST", "/v1/agent/node-token", &bob.token, json!({}));
        assert_eq!(refused, (409, "agent_bound_to_node".to_owned()), "{profile}");
    }
}

#[test]
fn mail_of_a_deregistered_agent_goes_to_its_own_node_again() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let alice = bench.agent("alice");
        let (_, broker) = bench.broker("n");
        let bob = bench.worker(broker, "bob");
        bench.send(broker, json!({ "type": "agent.deregister", "agent_id": bob.id }));
        bench.frames(broker);
        bench.dm(&alice, "bob", "hi");
        assert_eq!(bench.frames(broker), [] as [Value; 0]);
        let node = direct(&mut bench, &bob.token);
        assert_eq!(bench.node_view(&node)["role"], "direct");
        assert_eq!(bench.rows(&bob), [(1, "queued")], "{profile}");
    }
}

pub(crate) fn a_denied_action_is_told_under_the_name_of_the_action() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, broker) = bench.broker("n");
        let bob = bench.worker(broker, "bob");
        bench.engine.deny_action(bench.now, &bob.id, "echo", "not authorized");
        let frames = bench.delivers(broker);
        assert_eq!((&frames[0]["msg_id"], &frames[0]["seq"]), (&json!("echo"), &json!(0)));
        assert_eq!(frames[0]["delivery_id"], format!("evt_action_denied_echo_{0}_{0}", bob.id));
        assert_eq!(frames[0]["payload"]["type"], "action.denied", "{profile}");
    }
}

#[test]
fn who_joins_and_leaves_is_told_to_the_members() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let (_, broker) = bench.broker("n");
        let bob = bench.worker(broker, "bob");
        let alice = bench.agent("alice");
        let key = bench.key.clone();
        bench.post("/v1/channels", &key, json!({ "name": "ops" }));
        bench.post("/v1/channels/ops/join", &bob.token, json!({}));
        bench.frames(broker);
        bench.post("/v1/channels/ops/join", &alice.token, json!({}));
        bench.post("/v1/channels/ops/join", &alice.token, json!({}));
        bench.post("/v1/channels/ops/leave", &alice.token, json!({}));
        let frames = bench.frames(broker);
        let told: Vec<_> =
            frames.iter().map(|frame| (&frame["event"], &frame["data"]["agent_name"])).collect();
        let expected = [(json!("member.joined"), json!("alice")), (json!("member.left"), json!("alice"))];
        assert_eq!(told, expected.each_ref().map(|(event, name)| (event, name)), "{profile}");
        assert_eq!(frames[0]["agent_ids"], json!([bob.id]));
    }
}

#[test]
fn a_frame_that_nothing_overtakes_leaves_with_the_next_sweep() {
    for profile in ALL {
        let mut bench = Bench::new(profile);
        let alice = bench.agent("alice");
        let (_, broker) = bench.broker("n");
        bench.worker(broker, "bob");
        bench.engine.reorder_live_frames(bench.now, true);
        bench.dm(&alice, "bob", "hi");
        assert_eq!(bench.delivered(broker), pairs(&[]));
        bench.pass(15_000);
        assert_eq!(bench.delivered(broker), pairs(&[("bob", 1)]), "{profile}");
    }
}
