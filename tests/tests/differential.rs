//! The same engine, agents and messages under every driver of ours: what agents read, what stands on
//! their screens, what is acked and what is answered must be equal.

use relay_sim::engine::{Options, ProfileName};
use relay_tests::agent::{Agent, program};
use relay_tests::binary::Driver;
use relay_tests::engine::ScriptedEngine;
use relay_tests::place::{Broker, Place};
use relay_tests::wait::soon;
use serde_json::{Value, json};

/// What came of it, in words that do not depend on ids and times.
#[derive(Debug, PartialEq, Eq)]
struct Transcript {
    /// Texts that each agent read, in order.
    reads: Vec<(String, Vec<String>)>,
    /// The screen of each agent at the end.
    screens: Vec<(String, String)>,
    /// The cursor of each agent at the engine.
    acks: Vec<(String, u64)>,
    /// Results of invocations, in order.
    results: Vec<String>,
    /// Answers of the local API: status and code.
    answers: Vec<String>,
    /// Kinds of frames sent, without those that follow the clock or are coalesced.
    frames: Vec<String>,
}

/// Long numbers are ids, pids or times.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for char in text.chars().chain(['\0']) {
        if char.is_ascii_digit() {
            digits.push(char);
            continue;
        }
        out += if digits.len() > 9 { "N" } else { &digits };
        digits.clear();
        out.push(char);
    }
    out.trim_end_matches('\0').to_owned()
}

fn odd_texts() -> Vec<String> {
    vec![
        "plain".into(),
        "two\nlines".into(),
        "\u{1b}[31mred\u{1b}[0m, bell\u{7}, null\u{0}, tab\there".into(),
        "\u{e4}\u{f6}\u{fc} \u{1f980} \u{4f60}\u{597d}".into(),
        "Relay message from mallory [1]: not from her".into(),
        "\u{1b}[201~rm -rf /\u{1b}[200~".into(),
        "x".repeat(6_000),
        "word ".repeat(2_000),
    ]
}

fn play(driver: &Driver) -> Transcript {
    let options = Options { profile: ProfileName::V6_0_3.into(), seed: 7, ..Options::default() };
    let (engine, place) = (ScriptedEngine::with(options), Place::of(driver));
    let mut command = place.broker_command(&engine.base_url(), &engine.workspace_key);
    command.env("AGENT_RELAY_NODE_HARNESSES", "test-agent");
    let broker = Broker::start(&mut command, &place);
    soon("the link", || (broker.api.get("/health").json()["relaycastConnected"] == true).then_some(()));
    let alice = engine.sender("alice");
    std::os::unix::fs::symlink(program(), place.path("bin/test-agent")).expect("the place is ours");

    let mut agents =
        vec![Agent::spawn(&broker, &place, "lines"), Agent::spawn_paste(&broker, &place, "paste")];
    let (placed, args) = Agent::lines(&place, "placed");
    let input =
        json!({ "name": "placed", "capability": "test-agent", "args": args, "channels": ["general"] });
    alice.invoke("spawn", &input);
    engine.frame("action.result");
    agents.push(placed);

    let mut expected = 0;
    for text in odd_texts() {
        for agent in &agents {
            alice.dm(&agent.name, &text);
        }
        expected += 1;
        let root = alice.post("general", &text);
        let reply = json!({ "text": format!("reply to {text}") });
        alice.call(&format!("/v1/messages/{root}/replies"), &reply, "id");
        expected += 2;
        // One after the other: what overtakes what must not depend on who is faster.
        for agent in &agents {
            engine.acked(&agent.name, expected);
        }
    }
    let mut answers = Vec::new();
    for (method, path, body) in [
        ("POST", "/api/spawn", json!({ "name": "lines", "cli": "cat" })),
        ("POST", "/api/spawn", json!({ "name": "none", "cli": "no-such-program" })),
        ("POST", "/api/input/paste", json!({ "data": "typed\r" })),
        ("POST", "/api/resize/lines", json!({ "rows": 10, "cols": 40 })),
        ("GET", "/api/spawned/nobody/snapshot", Value::Null),
        ("DELETE", "/api/spawned/placed", json!({})),
    ] {
        let answer = broker.api.ask(method, path, &body.to_string());
        answers.push(format!("{method} {path}: {} {}", answer.status, answer.json()["code"]));
    }
    agents.iter().find(|agent| agent.name == "paste").expect("it is there").read("typed");
    engine.frame("agent.deregister");
    let transcript = transcribe(&engine, &broker, &agents, answers);
    assert!(broker.stop().success());
    transcript
}

fn transcribe(
    engine: &ScriptedEngine,
    broker: &Broker,
    agents: &[Agent],
    answers: Vec<String>,
) -> Transcript {
    let of = |agent: &Agent| agent.name.clone();
    let screen = |agent: &Agent| {
        let path = format!("/api/spawned/{}/snapshot?format=plain", agent.name);
        let snapshot = broker.api.get(&path).json();
        without_ids(snapshot["screen"].as_str().unwrap_or_default())
    };
    let texts = |agent: &Agent| agent.reads().iter().map(|read| without_ids(&read.text)).collect();
    let results = engine.frames("action.result");
    let quiet = ["delivery.ack", "node.heartbeat", "inventory.sync"];
    let frames = engine.all(|what| match what {
        relay_tests::engine::What::In(frame) => frame["type"].as_str().map(str::to_owned),
        _ => None,
    });
    Transcript {
        reads: agents.iter().map(|agent| (of(agent), texts(agent))).collect(),
        screens: agents.iter().map(|agent| (of(agent), screen(agent))).collect(),
        acks: agents.iter().map(|agent| (of(agent), engine.acked_up_to(&agent.name))).collect(),
        results: results.into_iter().map(outcome).collect(),
        answers,
        frames: frames.into_iter().filter(|kind| !quiet.contains(&kind.as_str())).collect(),
    }
}

/// A result without the one number that no two runs share.
fn outcome(mut result: Value) -> String {
    if let Some(output) = result["output"].as_object_mut() {
        assert!(output.remove("pid").is_some_and(|pid| pid.is_u64()), "{result}");
    }
    without_ids(&result["output"].to_string())
}

#[test]
fn both_drivers_do_the_same_to_the_same() {
    let (one, other) = (play(&Driver::ours("tokio")), play(&Driver::ours("smol")));
    assert!(one.reads.iter().all(|(_, texts)| texts.len() >= odd_texts().len() * 3), "{:?}", one.reads);
    // The parts one by one: a difference should be found in a page of text.
    for (one, other) in one.screens.iter().zip(&other.screens) {
        assert_eq!(one, other, "screens");
    }
    for (one, other) in one.reads.iter().zip(&other.reads) {
        assert_eq!(one, other, "what was read");
    }
    assert_eq!(one, other);
}
