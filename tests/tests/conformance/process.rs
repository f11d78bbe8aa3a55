//! The process: signals, its end with work in flight, its files, and what stands in the way of a start.

use crate::world::{OUTAGE, World, connected, runs};
use crate::{Scenario, scenarios};
use relay_sim::engine::ProfileName;
use relay_tests::binary::Driver;
use relay_tests::engine::{ScriptedEngine, What};
use relay_tests::place::Place;
use relay_tests::process::Process;
use relay_tests::wait::{soon, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) const ALL: &[Scenario] = scenarios![
    an_end_with_an_injection_in_flight_comes_in_time,
    an_end_while_a_spawn_waits_answers_it,
    a_second_signal_ends_it_at_once,
    every_kind_of_signal_ends_it_well,
    the_api_can_end_it,
    a_stopped_process_goes_on_where_it_was,
    a_killed_broker_leaves_nothing_in_the_way,
    a_second_broker_in_the_same_place_is_refused,
    a_port_in_use_is_named,
    a_directory_that_cannot_be_written_is_named,
    a_missing_key_is_asked_for,
    files_are_private,
    files_that_say_nothing_are_survived,
    an_identity_is_kept_and_needs_no_call,
    a_journal_that_cannot_be_written_degrades_health_and_stops_nothing,
];

fn signal(process: &Process, signal: Signal) {
    let pid = Pid::from_raw(process.pid().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn state_dir(place: &Place) -> PathBuf {
    place.path("work/.agentworkforce/relay")
}

fn an_end_with_an_injection_in_flight_comes_in_time(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.gated("worker");
    world.alice.dm("worker", "never read");
    world.screen("worker", "never read");
    let pids = world.pids();
    let World { engine, broker, .. } = world;
    let begun = Instant::now();
    assert!(broker.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(pids.iter().all(|pid| !runs(*pid)));
    assert!(agent.reads().is_empty());
    assert_eq!(engine.acked_yet("worker", 1), None, "nobody has read it");
}

fn an_end_while_a_spawn_waits_answers_it(driver: &Driver) {
    let world = World::new(driver);
    world.rewrite(|text| if text.contains("at_live_") { vec![] } else { vec![text] });
    let api = world.broker.api.clone();
    let spawn =
        std::thread::spawn(move || api.post("/api/spawn", &json!({ "name": "worker", "cli": "cat" })));
    world.engine.frame("agent.register");
    let World { broker, .. } = world;
    assert!(broker.stop().success());
    let answer = spawn.join().unwrap();
    assert!(answer.status >= 500, "{} {}", answer.status, answer.text);
}

fn a_second_signal_ends_it_at_once(driver: &Driver) {
    let mut world = World::new(driver);
    // Something that makes the end take its time.
    world.spawn("stubborn", "bash", &["-c", "trap '' HUP TERM; while :; do sleep 0.1; done"]);
    let pid = world.pids()[0];
    signal(&world.broker.process, Signal::TERM);
    soon("the beginning of the end", || {
        let frames = world.engine.frames("agent.deregister");
        (!frames.is_empty()).then_some(())
    });
    signal(&world.broker.process, Signal::TERM);
    let status = world.broker.process.exit(Duration::from_secs(3));
    assert_eq!(status.code(), Some(143));
    assert!(!state_dir(&world.place).join("connection.json").exists());
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
}

fn every_kind_of_signal_ends_it_well(driver: &Driver) {
    for kind in [Signal::INT, Signal::HUP] {
        let mut world = World::new(driver);
        world.spawn("worker", "cat", &[]);
        signal(&world.broker.process, kind);
        assert!(world.broker.process.exit(OUTAGE).success(), "{kind:?}");
        assert_eq!(world.engine.frames("node.deregister").len(), 1, "{kind:?}");
    }
}

fn the_api_can_end_it(driver: &Driver) {
    let mut world = World::new(driver);
    let answer = world.broker.api.post("/api/shutdown", &json!({}));
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("shutting_down")));
    assert!(world.broker.process.exit(OUTAGE).success());
    assert!(!state_dir(&world.place).join("connection.json").exists());
}

fn a_stopped_process_goes_on_where_it_was(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    world.alice.dm("worker", "before");
    world.reads(&agent, &[(1, "before")]);
    signal(&world.broker.process, Signal::STOP);
    let stopped = Instant::now();
    for text in ["meanwhile one", "meanwhile two"] {
        world.alice.dm("worker", text);
    }
    // Longer than what the core takes for a jump of the clock.
    within(OUTAGE, "time to pass", || (stopped.elapsed() > Duration::from_secs(6)).then_some(()));
    signal(&world.broker.process, Signal::CONT);
    world.reads(&agent, &[(2, "meanwhile one"), (3, "meanwhile two")]);
    assert_eq!(world.engine.frames("node.register").len(), 1, "it is the same link");
}

fn a_killed_broker_leaves_nothing_in_the_way(driver: &Driver) {
    let mut world = World::new(driver);
    let agent = world.gated("worker");
    world.alice.dm("worker", "for whoever comes after");
    world.screen("worker", "for whoever comes after");
    signal(&world.broker.process, Signal::KILL);
    world.broker.process.exit(OUTAGE);
    assert!(state_dir(&world.place).join("connection.json").exists(), "it had no time to tidy up");
    world.restart();
    drop(agent);
    let agent = world.agent("worker");
    world.reads(&agent, &[(1, "for whoever comes after")]);
}

fn a_second_broker_in_the_same_place_is_refused(driver: &Driver) {
    let world = World::new(driver);
    let mut command = world.place.broker_command(&world.engine.base_url(), &world.engine.workspace_key);
    let mut second = Process::start(&mut command, &world.place.path("tmp"), "second");
    assert_eq!(second.exit(OUTAGE).code(), Some(1));
    let said = second.stderr();
    let pid = world.broker.process.pid().to_string();
    assert!(said.contains("another broker instance is already running") && said.contains(&pid), "{said}");
    assert_eq!(world.broker.api.get("/health").status, 200);
}

fn a_port_in_use_is_named(driver: &Driver) {
    let world = World::new(driver);
    let port = world.broker.api.address.rsplit_once(':').unwrap().1.to_owned();
    let place = Place::of(driver);
    let mut command = place.broker_command(&world.engine.base_url(), &world.engine.workspace_key);
    command.args(["--api-port", &port]);
    let mut second = Process::start(&mut command, &place.path("tmp"), "second");
    assert_eq!(second.exit(OUTAGE).code(), Some(1));
    let said = second.stderr();
    assert!(said.contains(&port) && said.contains("--api-port"), "{said}");
}

fn a_directory_that_cannot_be_written_is_named(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    std::fs::write(place.path("work/.agentworkforce"), "in the way").unwrap();
    let mut command = place.broker_command(&engine.base_url(), &engine.workspace_key);
    let mut broker = Process::start(&mut command, &place.path("tmp"), "broker");
    assert_eq!(broker.exit(OUTAGE).code(), Some(1));
    assert!(broker.stderr().contains(".agentworkforce"), "{}", broker.stderr());
}

fn a_missing_key_is_asked_for(driver: &Driver) {
    let place = Place::of(driver);
    let mut command = place.command(&driver.program, "http://127.0.0.1:9", "");
    command.arg("up");
    let mut broker = Process::start(&mut command, &place.path("tmp"), "broker");
    assert_eq!(broker.exit(OUTAGE).code(), Some(2));
    assert!(broker.stderr().contains("RELAY_API_KEY"), "{}", broker.stderr());
}

fn files_are_private(driver: &Driver) {
    let world = World::new(driver);
    world.agent("worker");
    let mut found = 0;
    let mut folders = vec![state_dir(&world.place), world.place.path("home/.local/share/agent-relay")];
    while let Some(folder) = folders.pop() {
        let mode = |path: &PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found += 1;
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
    assert!(found >= 6, "identity, journal, lock, two connections, seed and token: {found}");
}

fn files_that_say_nothing_are_survived(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    let dir = state_dir(&place);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("identity.json"), "{\"torn\": ").unwrap();
    std::fs::write(dir.join("journal-broker.jsonl"), "{\"record\":\"agent\",\"na\n\u{0}\u{0}\n{\"reco")
        .unwrap();
    std::fs::write(dir.join("connection.json"), "").unwrap();
    std::fs::write(dir.join("broker-broker.lock"), "4294967295").unwrap();
    let broker = place.broker(&engine.base_url(), &engine.workspace_key);
    connected(&broker);
    assert!(broker.process.stderr().contains("journal"), "{}", broker.process.stderr());
}

fn an_identity_is_kept_and_needs_no_call(driver: &Driver) {
    let mut world = World::new(driver);
    let first = world.engine.frame("node.register");
    signal(&world.broker.process, Signal::TERM);
    assert!(world.broker.process.exit(OUTAGE).success());
    let before = world.engine.seen().len();
    world.restart();
    let seen: Vec<_> = world.engine.seen().into_iter().skip(before).map(|seen| seen.what).collect();
    let up = seen.iter().position(|what| matches!(what, What::Upgrade(101))).unwrap();
    assert!(
        !seen[..up].iter().any(|what| matches!(what, What::Http { .. })),
        "no call comes before the socket"
    );
    let second = world.engine.frames("node.register").pop().unwrap();
    assert_eq!(second["node_id"], first["node_id"]);
}

fn a_journal_that_cannot_be_written_degrades_health_and_stops_nothing(driver: &Driver) {
    let world = World::new(driver);
    let journal = state_dir(&world.place).join("journal-broker.jsonl");
    let _ = std::fs::remove_file(&journal);
    std::fs::create_dir(&journal).unwrap();
    let agent = world.agent("worker");
    let health = soon("word of it", || {
        let health = world.broker.api.get("/health").json();
        (health["status"] == "degraded").then_some(health)
    });
    assert!(!health["problems"].as_array().unwrap().is_empty(), "{health}");
    world.alice.dm("worker", "all the same");
    world.reads(&agent, &[(1, "all the same")]);
}
