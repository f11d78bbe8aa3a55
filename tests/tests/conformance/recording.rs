//! Recording: what a broker under load records is the whole truth, and tells no credential.

use crate::world::{World, connected};
use crate::{Scenario, scenarios};
use relay_core::trace::Trace;
use relay_sim::distill::distill;
use relay_sim::engine::ProfileName;
use relay_sim::replay::replay;
use relay_tests::agent::Agent;
use relay_tests::binary::Driver;
use relay_tests::engine::ScriptedEngine;
use relay_tests::place::{LOCAL_KEY, Place};
use relay_tests::process::Process;
use relay_tests::wait::soon;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

pub(crate) const ALL: &[Scenario] = scenarios![
    a_recorded_life_replays_bit_for_bit_and_shows_no_credential,
    a_disk_that_is_full_ends_the_recording_and_nothing_else,
    a_file_that_cannot_be_made_is_an_error_at_the_start,
];

/// Messages to each agent.
const BURST: usize = 40;

fn a_recorded_life_replays_bit_for_bit_and_shows_no_credential(driver: &Driver) {
    let mut world = World::with(driver, |command| {
        command.args(["--record", "life.trace"]);
    });
    let node_id = world.engine.frame("node.register")["node_id"].as_str().unwrap().to_owned();
    let agents =
        [world.agent("lines"), world.agent("more"), Agent::spawn_paste(&world.broker, &world.place, "paste")];
    // A program that shows what must not be shown, in the worst pieces.
    let chatter = "for c in $(printf %s \"$RELAY_API_KEY $RELAY_BROKER_API_KEY\" | fold -w 7); \
                   do printf %s \"$c\"; sleep 0.01; done; echo shown; exec cat";
    world.spawn("chatter", "sh", &["-c", chatter]);
    let token = world.alice.token().to_owned();
    let burst = |tag: &str| {
        for number in 0..BURST {
            for agent in &agents {
                world
                    .alice
                    .dm(&agent.name, &format!("{tag} {number} with {token} inside, to {}.", agent.name));
            }
        }
        for agent in &agents {
            agent.read(&format!("{tag} {} with {token} inside, to {}.", BURST - 1, agent.name));
        }
    };
    burst("first");
    world.screen("chatter", "shown");
    world.engine.act(|model, now| model.rotate_node_token(now, &node_id));
    world.engine.cut();
    soon("another token", || (world.engine.frames("node.register").len() > 1).then_some(()));
    connected(&world.broker);
    burst("second");
    let answer = world.broker.api.post("/api/send", &json!({ "to": "lines", "text": "from the API" }));
    assert_eq!(answer.status, 200, "{}", answer.text);
    agents[0].read("from the API");

    let secrets = secrets(&world);
    world.broker.process.terminate();
    assert!(world.broker.process.exit(relay_tests::place::FAREWELL).success());
    let path = world.place.path("work/life.trace");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(path).unwrap();
    for secret in &secrets {
        assert!(!text.contains(secret.as_str()), "{secret} is in the trace");
    }
    let trace = Trace::read(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((&*trace.driver, &*trace.end), (driver.name.as_str(), "exit 0"));
    let done = replay(&trace).unwrap_or_else(|difference| panic!("{difference}"));
    assert!(done.inputs > 512 && done.checks > 1, "{done:?}");
    let scenario = distill(&trace);
    let report = scenario
        .run()
        .unwrap_or_else(|failure| panic!("{} {}\n{}", failure.rule, failure.message, scenario.to_text()));
    let names: Vec<_> = scenario.plan.agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, ["lines", "more", "paste", "chatter"]);
    assert_eq!(report.rows, 2 * (BURST * agents.len()) as u64 + 1, "{}", scenario.to_text());
    assert!(report.marks["Reminted"] > 0, "{}", scenario.to_text());
}

/// What makes credentials secret: all that stands behind their prefixes.
fn secrets(world: &World) -> Vec<String> {
    let mut secrets = vec![LOCAL_KEY["br_".len()..].to_owned()];
    let mut files = vec![world.place.path("work/.agentworkforce/relay/identity.json")];
    let tokens = world.place.path("home/.local/share/agent-relay/node-tokens");
    files.extend(std::fs::read_dir(tokens).unwrap().map(|entry| entry.unwrap().path()));
    let mut texts = vec![world.engine.workspace_key.clone(), world.alice.token().to_owned()];
    texts.extend(files.iter().map(|file| std::fs::read_to_string(file).unwrap()));
    for text in texts {
        let bodies = text.split("_live_").skip(1);
        secrets.extend(bodies.map(|body| body.chars().take_while(char::is_ascii_alphanumeric).collect()));
    }
    assert!(secrets.len() >= 5 && secrets.iter().all(|secret| secret.len() >= 32), "{secrets:?}");
    secrets
}

fn a_disk_that_is_full_ends_the_recording_and_nothing_else(driver: &Driver) {
    let world = World::with(driver, |command| {
        command.args(["--record", "/dev/full"]);
    });
    let told = soon("the end of the recording", || {
        let told = world.broker.process.stderr();
        told.contains("the recording ends").then_some(told)
    });
    assert_eq!(told.matches("the recording ends").count(), 1, "{told}");
    let agent = world.agent("lines");
    world.alice.dm("lines", "all the same");
    world.reads(&agent, &[(1, "all the same")]);
    assert!(world.broker.stop().success());
}

fn a_file_that_cannot_be_made_is_an_error_at_the_start(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    let mut command = place.broker_command(&engine.base_url(), &engine.workspace_key);
    command.args(["--record", "no/such/directory"]);
    let mut process = Process::start(&mut command, &place.path("tmp"), "broker");
    assert_eq!(process.exit(Duration::from_secs(20)).code(), Some(1));
    let told = process.stderr();
    assert!(told.contains("cannot record to no/such/directory"), "{told}");
}
