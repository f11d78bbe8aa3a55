//! The socket to the engine: handshakes, frames, breaks, back-pressure in both directions.

use crate::world::{OUTAGE, World, connected, health};
use crate::{Scenario, scenarios};
use relay_sim::engine::ProfileName;
use relay_tests::binary::Driver;
use relay_tests::engine::{Refuse, ScriptedEngine, What};
use relay_tests::place::{Broker, Place};
use relay_tests::wait::{soon, within};
use relay_tests::websocket::Odd;
use serde_json::json;
use std::net::TcpListener;

pub(crate) const ALL: &[Scenario] = scenarios![
    an_upgrade_that_is_answered_with_garbage_is_tried_again,
    an_upgrade_that_is_never_answered_is_given_up_and_tried_again,
    an_upgrade_that_is_redirected_sends_no_token_there,
    an_engine_that_comes_later_is_found,
    a_socket_that_falls_silent_is_replaced,
    a_socket_that_is_closed_with_a_code_is_replaced,
    a_socket_that_is_cut_again_and_again_loses_nothing,
    pings_are_answered_with_their_payload,
    a_binary_message_changes_nothing,
    a_message_in_pieces_is_one_message,
    a_message_beyond_every_limit_costs_the_socket_and_no_row,
    megabytes_for_an_agent_that_does_not_read_wait_and_delay_nobody,
    acks_wait_while_the_engine_does_not_read,
    an_answer_to_a_call_that_is_too_long_is_not_taken,
    a_given_token_is_used_without_any_call,
];

fn refuse_first(engine: &ScriptedEngine, refuse: Refuse) {
    let mut first = Some(refuse);
    engine.script(|script| script.upgrade = Some(Box::new(move || first.take())));
}

fn start(driver: &Driver, engine: &ScriptedEngine) -> (Place, Broker) {
    let place = Place::of(driver);
    let broker = place.broker(&engine.base_url(), &engine.workspace_key);
    (place, broker)
}

fn registrations(world: &World) -> usize {
    world.engine.frames("node.register").len()
}

fn an_upgrade_that_is_answered_with_garbage_is_tried_again(driver: &Driver) {
    let engine = ScriptedEngine::start(ProfileName::V6_0_3);
    refuse_first(&engine, Refuse::Garbage);
    let (_place, broker) = start(driver, &engine);
    connected(&broker);
}

fn an_upgrade_that_is_never_answered_is_given_up_and_tried_again(driver: &Driver) {
    let engine = ScriptedEngine::start(ProfileName::V6_0_3);
    refuse_first(&engine, Refuse::Silence);
    let (_place, broker) = start(driver, &engine);
    engine.await_that("the first upgrade", |what| matches!(what, What::Upgrade(0)).then_some(()));
    assert_eq!(broker.api.get("/api/session").status, 200, "the local API does not wait for it");
    connected(&broker);
}

fn an_upgrade_that_is_redirected_sends_no_token_there(driver: &Driver) {
    let engine = ScriptedEngine::start(ProfileName::V6_0_3);
    refuse_first(&engine, Refuse::Status(302));
    let (_place, broker) = start(driver, &engine);
    connected(&broker);
    let said = broker.process.stderr();
    assert!(said.contains("302"), "{said}");
}

fn an_engine_that_comes_later_is_found(driver: &Driver) {
    let engine = ScriptedEngine::start(ProfileName::V6_0_3);
    // A port at which nobody listens, until somebody does.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::of(driver);
    let broker = place.broker(&format!("http://{port}"), &engine.workspace_key);
    soon("word of it", || {
        let problems = health(&broker)["problems"].to_string();
        (problems != "[]").then_some(())
    });
    let listener = TcpListener::bind(port).expect("the port is still free");
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = std::net::TcpStream::connect(engine.address).unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    to.shutdown(std::net::Shutdown::Both)
                });
            }
        }
    });
    connected(&broker);
}

fn a_socket_that_falls_silent_is_replaced(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.engine.script(|script| script.deaf = true);
    within(OUTAGE, "the end of the silent socket", || {
        world.engine.all(|what| matches!(what, What::Closed(_)).then_some(())).pop()
    });
    world.engine.script(|script| script.deaf = false);
    within(OUTAGE, "another one", || (registrations(&world) == 2).then_some(()));
    world.alice.dm("worker", "after the silence");
    world.reads(&agent, &[(1, "after the silence")]);
}

fn a_socket_that_is_closed_with_a_code_is_replaced(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.engine.send_odd(&Odd::Close(1001));
    soon("another socket", || (registrations(&world) == 2).then_some(()));
    world.alice.dm("worker", "after the close");
    world.reads(&agent, &[(1, "after the close")]);
    let said = world.broker.process.stderr();
    assert!(said.contains("1001"), "{said}");
}

fn a_socket_that_is_cut_again_and_again_loses_nothing(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    let mut texts = Vec::new();
    for number in 1..=5 {
        let text = format!("message {number}.");
        world.alice.dm("worker", &text);
        texts.push((number, text));
        world.engine.cut();
        let links = usize::try_from(number).unwrap() + 1;
        within(OUTAGE, "another socket", || (registrations(&world) == links).then_some(()));
    }
    let texts: Vec<_> = texts.iter().map(|(seq, text)| (*seq, text.as_str())).collect();
    world.reads(&agent, &texts);
}

fn pings_are_answered_with_their_payload(driver: &Driver) {
    let world = World::new(driver);
    world.engine.send_odd(&Odd::Ping(b"are you there".to_vec()));
    let payload = world.engine.await_that("the pong", |what| match what {
        What::Pong(payload) => Some(payload.clone()),
        _ => None,
    });
    assert_eq!(payload, b"are you there");
}

fn a_binary_message_changes_nothing(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.engine.send_odd(&Odd::Binary(70_000));
    world.alice.dm("worker", "in words");
    world.reads(&agent, &[(1, "in words")]);
    assert_eq!(registrations(&world), 1);
}

fn a_message_in_pieces_is_one_message(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    let mut kept = None;
    let (sender, row) = std::sync::mpsc::channel();
    world.rewrite(move |text| {
        if kept.is_none() && text.contains("piecemeal") {
            kept = Some(());
            sender.send(text).unwrap();
            return vec![];
        }
        vec![text]
    });
    world.alice.dm("worker", "piecemeal, with \u{e4}\u{1f980} inside");
    let row = row.recv().unwrap();
    world.engine.send_odd(&Odd::Pieces(row, 7));
    world.reads(&agent, &[(1, "piecemeal, with \u{e4}\u{1f980} inside")]);
}

fn a_message_beyond_every_limit_costs_the_socket_and_no_row(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.engine.send_odd(&Odd::Giant(17 * 1024 * 1024));
    soon("another socket", || (registrations(&world) == 2).then_some(()));
    world.alice.dm("worker", "of ordinary size");
    world.reads(&agent, &[(1, "of ordinary size")]);
}

fn megabytes_for_an_agent_that_does_not_read_wait_and_delay_nobody(driver: &Driver) {
    let world = World::new(driver);
    let (deaf, agent) = (world.gated("deaf"), world.agent("worker"));
    let long = "x".repeat(100_000);
    let messages: Vec<_> = (1..=60).map(|number| ("deaf", format!("{long} number {number}."))).collect();
    world.engine.dm_all(&world.alice, &messages);
    world.alice.dm("worker", "right away");
    world.reads(&agent, &[(1, "right away")]);
    assert_eq!(world.engine.acked_yet("deaf", 1), None);
    deaf.open();
    within(OUTAGE, "all of them", || world.engine.acked_yet("deaf", 60));
    let ends = deaf.reads().iter().filter(|read| read.text.contains(" number ")).count();
    assert_eq!(ends, 60);
}

fn acks_wait_while_the_engine_does_not_read(driver: &Driver) {
    let world = World::new(driver);
    let agents: Vec<_> = (0..5).map(|number| world.agent(&format!("worker-{number}"))).collect();
    world.engine.script(|script| script.stalled = true);
    for agent in &agents {
        let messages: Vec<_> =
            (1..=100).map(|number| (agent.name.as_str(), format!("number {number}."))).collect();
        world.engine.dm_all(&world.alice, &messages);
    }
    for agent in &agents {
        agent.read("number 100.");
    }
    assert_eq!(world.broker.api.get("/api/status").status, 200);
    world.engine.script(|script| script.stalled = false);
    for agent in &agents {
        world.engine.acked(&agent.name, 100);
        assert_eq!(agent.reads().len(), 100);
    }
}

fn an_answer_to_a_call_that_is_too_long_is_not_taken(driver: &Driver) {
    let engine = ScriptedEngine::start(ProfileName::V6_0_3);
    let mut first = true;
    engine.script(|script| {
        script.http =
            Some(Box::new(move |_| std::mem::take(&mut first).then(|| (201, "x".repeat(300 * 1024)))));
    });
    let (_place, broker) = start(driver, &engine);
    connected(&broker);
    let said = broker.process.stderr();
    assert!(said.contains("262144"), "{said}");
}

fn a_given_token_is_used_without_any_call(driver: &Driver) {
    let engine = ScriptedEngine::start(ProfileName::V6_0_3);
    let wish =
        json!({ "node_id": "node_given", "name": "given", "kind": "ws", "role": "broker", "version": "x" });
    let minted = engine.client().post("/v1/nodes", &wish).json();
    let token = minted["data"]["token"].as_str().unwrap();
    let before = engine.seen().len();
    let place = Place::of(driver);
    let mut command = place.broker_command(&engine.base_url(), &engine.workspace_key);
    command.env("RELAY_NODE_TOKEN", token).env("RELAY_NODE_ID", "node_given").env_remove("RELAY_API_KEY");
    let broker = Broker::start(&mut command, &place);
    connected(&broker);
    let calls = engine.seen().into_iter().skip(before).filter(|seen| matches!(seen.what, What::Http { .. }));
    assert_eq!(calls.count(), 0);
    assert_eq!(engine.frame("node.register")["node_id"], "node_given");
}
