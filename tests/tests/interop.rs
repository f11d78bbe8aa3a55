//! Published brokers of other makers against our engine model: proof that the model speaks the real
//! protocol, with its strict schemas.

use relay_sim::engine::{Event, ProfileName};
use relay_tests::engine::{ScriptedEngine, What};
use relay_tests::hosted::HostedEngine;
use relay_tests::http::Client;
use relay_tests::peer::published_broker;
use relay_tests::place::{Broker, LOCAL_KEY, Place};
use relay_tests::sender::Sender;
use relay_tests::wait::{soon, within};
use relay_tests::websocket::{self, Received};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// 12.4.1 types its first message only after ten seconds.
const PATIENT: Duration = Duration::from_secs(60);

fn start(program: &Path, place: &Place, base_url: &str, key: &str) -> Broker {
    let mut command = place.command(program, base_url, key);
    command.args(["init", "--instance-name", "peer", "--channels", "general", "--persist"]);
    let broker = Broker::start(&mut command, place);
    soon("the peer's API", || (broker.api.get("/api/session").status == 200).then_some(()));
    broker
}

fn node(engine: &Client) -> Value {
    soon("a live node", || {
        let nodes = engine.get("/v1/nodes").json();
        nodes["data"].as_array()?.iter().find(|node| node["live"] == true).cloned()
    })
}

fn spawn_cat(broker: &Broker, name: &str) {
    let body = json!({ "name": name, "cli": "cat", "args": [], "channels": ["general"] });
    let answer = broker.api.post("/api/spawn", &body);
    assert_eq!((answer.status, &answer.json()["success"]), (200, &json!(true)), "{}", answer.text);
}

/// Once all these texts are on the agent's screen.
fn shows(broker: &Broker, agent: &str, texts: &[&str]) {
    within(PATIENT, "the texts on the screen", || {
        let path = format!("/api/spawned/{agent}/snapshot?format=plain");
        let screen = broker.api.get(&path).json()["screen"].as_str()?.replace('\n', "");
        texts.iter().all(|text| screen.contains(text)).then_some(())
    });
}

/// Once the engine counts nothing for this agent as unacked.
fn acked(engine: &Client, agent: &str) {
    within(PATIENT, "all acks", || {
        let answer = engine.get(&format!("/v1/agents/{agent}")).json();
        answer["data"]["pending_deliveries"].as_array()?.is_empty().then_some(())
    });
}

/// Offers `spawn:cat` through the peer's socket for capabilities, and lets the peer itself serve it.
fn offer_cat(broker: &Broker, node: &str) -> (websocket::Reader, websocket::Writer) {
    let header = format!("X-API-Key: {LOCAL_KEY}");
    let (mut reader, mut writer) = websocket::connect(&broker.api.address, "/api/fleet/ws", &header).unwrap();
    let requests = [
        ("hello", json!({ "client_name": "tests", "client_version": "1" })),
        (
            "register_node",
            json!({ "manifest": { "name": node, "capabilities": [{ "name": "spawn:cat", "kind": "spawn" }] } }),
        ),
        ("register_handlers", json!({ "names": [] })),
    ];
    for (kind, payload) in requests {
        let request =
            json!({ "v": 2, "type": kind, "request_id": format!("tests_{kind}"), "payload": payload });
        writer.text(&request.to_string()).unwrap();
        let answer = std::iter::from_fn(|| reader.receive()).find_map(|received| match received {
            Received::Text(text) => Some(text),
            _ => None,
        });
        assert!(answer.as_ref().is_some_and(|text| text.contains(r#""type":"ok""#)), "{kind}: {answer:?}");
    }
    (reader, writer)
}

#[test]
fn broker_9_1_6_enrols_spawns_receives_and_acks_at_the_engine_of_5_0_5() {
    let Some(program) = published_broker("9.1.6") else {
        return;
    };
    let engine = HostedEngine::start("5.0.5", &[]);
    let workspace = engine.client();
    let place = Place::new();
    let peer = start(&program, &place, &engine.base_url, &engine.workspace_key);
    let node = node(&workspace);
    assert_eq!(node["version"], "relay-broker/9.1.6");

    spawn_cat(&peer, "worker");
    let alice = Sender::join(&workspace, "alice");
    alice.dm("worker", "first, directly");
    alice.post("general", "second, to all");
    shows(&peer, "worker", &["first, directly", "second, to all"]);
    acked(&workspace, "worker");

    let name = node["name"].as_str().unwrap();
    let _offer = offer_cat(&peer, name);
    soon("the offer at the engine", || {
        let node = workspace.get(&format!("/v1/nodes/{name}")).json();
        node["data"]["capabilities"].to_string().contains("spawn:cat").then_some(())
    });
    let spawn = json!({ "name": "second", "cli": "cat", "target_node": name });
    let id = alice.invoke("spawn", &spawn);
    soon("the end of the spawn", || {
        let invocation = alice.invocation("spawn", &id);
        assert_ne!(invocation["status"], "failed", "{invocation}");
        (invocation["status"] == "completed").then_some(())
    });
    alice.dm("second", "third, to the other");
    shows(&peer, "second", &["third, to the other"]);
    acked(&workspace, "second");
    assert!(peer.stop().success());
}

#[test]
fn broker_12_4_1_enrols_spawns_receives_and_acks_at_the_engine_of_8_11_4() {
    let Some(program) = published_broker("12.4.1") else {
        return;
    };
    let engine = HostedEngine::start("8.11.4", &[]);
    let workspace = engine.client();
    let place = Place::new();
    let peer = start(&program, &place, &engine.base_url, &engine.workspace_key);
    assert_eq!(node(&workspace)["version"], "relay-broker/12.4.1");

    spawn_cat(&peer, "worker");
    let alice = Sender::join(&workspace, "alice");
    alice.dm("worker", "first, directly");
    alice.post("general", "second, to all");
    shows(&peer, "worker", &["first, directly", "second, to all"]);
    acked(&workspace, "worker");
    assert!(peer.stop().success());
}

#[test]
fn the_engine_of_5_0_5_refuses_the_registration_of_broker_12_4_1() {
    let Some(program) = published_broker("12.4.1") else {
        return;
    };
    let engine = ScriptedEngine::start(ProfileName::V5_0_5);
    let place = Place::new();
    let _peer = start(&program, &place, &engine.base_url(), &engine.workspace_key);
    let (code, reason) = engine.await_that("a refusal", |what| match what {
        What::Model(Event::Rejected { code, reason, .. }) => Some((*code, reason.clone())),
        _ => None,
    });
    assert_eq!((code, &*reason), ("invalid_message", "node.register: provider: unrecognized key"));
}

#[test]
fn the_engine_of_6_0_3_takes_broker_12_4_1_but_cannot_reach_agents_that_it_registers_over_http() {
    let Some(program) = published_broker("12.4.1") else {
        return;
    };
    let engine = ScriptedEngine::start(ProfileName::V6_0_3);
    let place = Place::new();
    let peer = start(&program, &place, &engine.base_url(), &engine.workspace_key);
    engine.await_that("the registration", |what| match what {
        What::Model(Event::NodeRegistered { .. }) => Some(()),
        _ => None,
    });
    spawn_cat(&peer, "worker");
    engine.sender("alice").dm("worker", "into the void");
    // Its agents are of another provider than its socket.
    engine.await_that("the refusal of its inventory", |what| match what {
        What::Model(Event::Rejected { code: "agent_provider_conflict", .. }) => Some(()),
        _ => None,
    });
    let sent = engine.all(|what| matches!(what, What::Model(Event::Delivered { .. })).then_some(()));
    assert!(sent.is_empty());
}
