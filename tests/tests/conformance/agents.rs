//! The real binary and its agents: how they come, how they go, and what is said when they cannot.

use crate::world::{World, runs};
use crate::{Scenario, scenarios};
use relay_tests::agent::{Agent, program};
use relay_tests::binary::Driver;
use relay_tests::engine::What;
use relay_tests::wait::soon;
use serde_json::json;

pub(crate) const ALL: &[Scenario] = scenarios![
    a_spawn_that_is_invoked_twice_starts_one_process_and_gives_one_result,
    a_release_through_the_api_ends_the_process_and_tells_the_engine,
    a_program_that_ends_at_once_is_a_failed_spawn_with_its_last_words,
    a_program_that_does_not_exist_is_named,
    a_name_in_use_is_refused_before_the_engine_hears_of_it,
    names_that_are_no_names_are_refused_by_a_sentence,
    bodies_that_are_no_json_or_too_long_are_refused,
    a_registration_that_is_answered_too_late_is_undone,
    the_environment_of_an_agent_has_its_own_token_and_none_of_the_brokers_keys,
];

/// A world whose engine may place the program of these tests.
fn placeable(driver: &Driver) -> World {
    World::with(driver, |command| {
        command.env("AGENT_RELAY_NODE_HARNESSES", "test-agent");
    })
}

fn a_spawn_that_is_invoked_twice_starts_one_process_and_gives_one_result(driver: &Driver) {
    let world = placeable(driver);
    let alice = &world.alice;
    // The program is found by the suffix of the capability.
    std::os::unix::fs::symlink(program(), world.place.path("bin/test-agent")).unwrap();
    let (agent, args) = Agent::lines(&world.place, "worker");
    let id = alice.invoke("spawn", &json!({ "name": "worker", "capability": "test-agent", "args": args }));
    let first = world.results(&id, 1).remove(0);
    assert!(first["output"].is_object() && first.get("error").is_none(), "{first}");
    let pids = world.pids();
    assert_eq!(pids.len(), 1);

    let invoke = world.engine.await_that("the invocation", |what| match what {
        What::Out(frame) if frame["type"] == "action.invoke" => Some(frame.clone()),
        _ => None,
    });
    world.engine.send_raw(&invoke);
    let again = world.results(&id, 2).remove(1);
    assert_eq!(again["output"], first["output"]);
    assert_eq!(world.pids(), pids);
    assert_eq!(world.engine.frames("agent.register").len(), 1, "a second one would end its token");
    assert_eq!(alice.invocation("spawn", &id)["status"], "completed");

    alice.dm("worker", "spawned by the engine");
    agent.read("spawned by the engine");

    let id = alice.call("/v1/agents/release", &json!({ "name": "worker" }), "invocation_id");
    let released = world.results(&id, 1).remove(0);
    assert!(released.get("error").is_none(), "{released}");
    soon("the end of the process", || (!runs(pids[0])).then_some(()));
    assert!(world.pids().is_empty());
}

fn a_release_through_the_api_ends_the_process_and_tells_the_engine(driver: &Driver) {
    let world = World::new(driver);
    Agent::spawn(&world.broker, &world.place, "worker");
    let pid = world.pids()[0];
    let answer = world.broker.api.delete("/api/spawned/worker");
    assert_eq!((answer.status, &answer.json()["success"]), (200, &json!(true)), "{}", answer.text);
    world.engine.frame("agent.deregister");
    soon("the end of the process", || (!runs(pid)).then_some(()));
    assert_eq!(world.broker.api.delete("/api/spawned/worker").status, 404);
}

fn a_program_that_ends_at_once_is_a_failed_spawn_with_its_last_words(driver: &Driver) {
    let world = World::new(driver);
    let script = "echo this went wrong; echo and this >&2; exit 3";
    let (status, answer) = world.try_spawn(&json!({ "name": "worker", "cli": "sh", "args": ["-c", script] }));
    let error = answer["error"].as_str().unwrap();
    assert_eq!((status, &answer["success"]), (500, &json!(false)));
    for part in ["3", "this went wrong", "and this"] {
        assert!(error.contains(part), "{error}");
    }
    // What was registered for it is undone.
    world.engine.frame("agent.deregister");
    assert!(world.pids().is_empty());
    Agent::spawn(&world.broker, &world.place, "worker");
}

fn a_program_that_does_not_exist_is_named(driver: &Driver) {
    let world = World::new(driver);
    let (status, answer) = world.try_spawn(&json!({ "name": "worker", "cli": "no-such-program" }));
    assert!(status >= 400, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("no-such-program"), "{answer}");
    assert!(world.pids().is_empty());
}

fn a_name_in_use_is_refused_before_the_engine_hears_of_it(driver: &Driver) {
    let world = World::new(driver);
    let agent = Agent::spawn(&world.broker, &world.place, "worker");
    let (status, answer) = world.try_spawn(&json!({ "name": "worker", "cli": "cat" }));
    assert_eq!((status, &answer["code"]), (409, &json!("spawn_agent_name_in_use")), "{answer}");
    assert_eq!(world.engine.frames("agent.register").len(), 1);
    world.alice.dm("worker", "still the same");
    agent.read("still the same");
}

fn names_that_are_no_names_are_refused_by_a_sentence(driver: &Driver) {
    let world = World::new(driver);
    let long = "x".repeat(129);
    for name in ["", "a/b", "a\\b", "..", "a\u{0}b", "a#b", "a\nb", &long] {
        let (status, answer) = world.try_spawn(&json!({ "name": name, "cli": "cat" }));
        assert_eq!(status, 400, "{name:?}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| error.len() > 10), "{name:?}: {answer}");
    }
    assert!(world.engine.frames("agent.register").is_empty());
}

fn bodies_that_are_no_json_or_too_long_are_refused(driver: &Driver) {
    let world = World::new(driver);
    let bad = world.broker.api.ask("POST", "/api/spawn", "{\"name\":");
    assert_eq!(bad.status, 400, "{}", bad.text);
    let long = json!({ "to": "worker", "text": "x".repeat(1024 * 1024) });
    let answer = world.broker.api.post("/api/send", &long);
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert_eq!(world.broker.api.get("/api/status").status, 200);
}

fn a_registration_that_is_answered_too_late_is_undone(driver: &Driver) {
    let world = placeable(driver);
    // Its answer would let the reply go.
    world.engine.frame("inventory.sync");
    // Holds the reply until the next frame to the node after the spawn has failed.
    let mut held = None;
    world.engine.script(|script| {
        script.out = Some(Box::new(move |text| {
            if text.contains("at_live_") && held.is_none() {
                held = Some(text);
                return vec![];
            }
            held.take().into_iter().chain([text]).collect()
        }));
    });
    let (status, answer) = world.try_spawn(&json!({ "name": "worker", "cli": "cat" }));
    assert!(status >= 500, "{answer}");
    world.engine.act(|_, _| ());
    let alice = &world.alice;
    // Anything that makes the engine speak to the node lets the reply go.
    alice.invoke("spawn", &json!({ "name": "other", "cli": "test-agent" }));
    let undone = world.engine.frame("agent.deregister");
    assert_eq!(undone["agent_id"], world.engine.agent_id("worker"));
}

fn the_environment_of_an_agent_has_its_own_token_and_none_of_the_brokers_keys(driver: &Driver) {
    let world = World::new(driver);
    let file = world.place.path("environment");
    let script = format!("env > {}; exec cat", file.display());
    let (status, answer) = world.try_spawn(&json!({ "name": "worker", "cli": "sh", "args": ["-c", script] }));
    assert_eq!(status, 200, "{answer}");
    let text =
        soon("the environment", || std::fs::read_to_string(&file).ok().filter(|text| text.contains("TERM=")));
    for wanted in [
        "RELAY_AGENT_NAME=worker\n",
        "RELAY_AGENT_TOKEN=at_live_",
        "RELAY_AGENT_TYPE=agent\n",
        "RELAY_STRICT_AGENT_NAME=1\n",
        "RELAY_WORKSPACE_ID=",
        &format!("RELAY_BASE_URL={}\n", world.engine.base_url()),
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    for secret in
        ["rk_live_", "nt_live_", "br_0123", "RELAY_API_KEY", "RELAY_BROKER_API_KEY", "RELAY_NODE_TOKEN"]
    {
        assert!(!text.contains(secret), "{secret}");
    }
}
