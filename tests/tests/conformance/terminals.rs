//! Programs on terminals: how they start, end, flood, and hold on to what is theirs.

use crate::world::{OUTAGE, World, runs};
use crate::{Scenario, scenarios};
use relay_tests::agent::program;
use relay_tests::binary::Driver;
use relay_tests::wait::{soon, within};
use serde_json::json;
use std::time::{Duration, Instant};

pub(crate) const ALL: &[Scenario] = scenarios![
    a_grandchild_that_keeps_the_terminal_does_not_keep_the_agent,
    a_program_that_closes_its_terminal_and_lives_on_is_still_an_agent,
    a_program_that_floods_its_terminal_delays_nobody,
    output_in_pieces_of_characters_is_whole_on_the_screen,
    the_size_of_a_terminal_reaches_its_program,
    input_is_typed_as_it_is,
    a_program_that_ignores_every_kind_word_is_killed,
    a_signal_reaches_the_whole_group_of_a_program,
    an_exit_code_is_told_to_whoever_follows,
    a_directory_that_does_not_exist_is_named,
    a_file_that_is_no_program_is_named,
    a_program_finds_the_limit_of_descriptors_that_the_broker_was_started_with,
    a_program_has_a_terminal_a_group_and_no_descriptor_of_the_broker,
    two_hundred_programs_start_and_end,
    a_program_that_reads_a_byte_at_a_time_gets_everything,
];

fn a_grandchild_that_keeps_the_terminal_does_not_keep_the_agent(driver: &Driver) {
    let world = World::new(driver);
    let file = world.place.path("grandchild");
    let script =
        format!("(trap '' HUP TERM; echo $BASHPID > {}; exec sleep 60) & sleep 1; exit 0", file.display());
    world.spawn("worker", "bash", &["-c", &script]);
    soon("the end of the agent", || world.pids().is_empty().then_some(()));
    let grandchild: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    // The name is free again, whoever still holds the terminal.
    world.agent("worker");
    let pid = rustix::process::Pid::from_raw(grandchild).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

fn a_program_that_closes_its_terminal_and_lives_on_is_still_an_agent(driver: &Driver) {
    let world = World::new(driver);
    world.spawn("worker", "bash", &["-c", "exec </dev/null >/dev/null 2>&1; exec sleep 1000"]);
    let pid = world.pids()[0];
    assert!(runs(pid));
    assert_eq!(world.broker.api.delete("/api/spawned/worker").status, 200);
    soon("its end", || (!runs(pid)).then_some(()));
}

fn a_program_that_floods_its_terminal_delays_nobody(driver: &Driver) {
    let world = World::new(driver);
    for number in 0..3 {
        world.spawn(&format!("flood-{number}"), "yes", &["all work and no play"]);
    }
    let agent = world.agent("worker");
    let texts: Vec<String> = (1..=20).map(|number| format!("number {number}.")).collect();
    for text in &texts {
        world.alice.dm("worker", text);
    }
    let expected: Vec<_> = (1..).zip(texts.iter().map(String::as_str)).collect();
    world.reads(&agent, &expected);
    let asked = Instant::now();
    assert_eq!(world.broker.api.get("/api/status").status, 200);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

fn output_in_pieces_of_characters_is_whole_on_the_screen(driver: &Driver) {
    let world = World::new(driver);
    let script = "for byte in 'gr' '\\303' '\\274' 'n ' '\\360\\237' '\\246\\200'; do printf \"$byte\"; sleep 0.02; done; exec cat";
    world.spawn("worker", "bash", &["-c", script]);
    world.screen("worker", "gr\u{fc}n \u{1f980}");
}

fn the_size_of_a_terminal_reaches_its_program(driver: &Driver) {
    let world = World::new(driver);
    world.spawn("worker", "bash", &["-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done"]);
    world.screen("worker", "24 80");
    let answer = world.broker.api.post("/api/resize/worker", &json!({ "rows": 30, "cols": 100 }));
    assert_eq!(answer.status, 200, "{}", answer.text);
    world.screen("worker", "30 100");
    let snapshot = world.broker.api.get("/api/spawned/worker/snapshot?format=plain").json();
    assert_eq!((&snapshot["rows"], &snapshot["cols"]), (&json!(30), &json!(100)));
}

fn input_is_typed_as_it_is(driver: &Driver) {
    let world = World::new(driver);
    let agent = world.agent("worker");
    let answer = world.broker.api.post("/api/input/worker", &json!({ "data": "by hand\r" }));
    assert_eq!((answer.status, answer.json()["bytes_written"].as_u64()), (200, Some(8)), "{}", answer.text);
    assert_eq!(agent.read("by hand").text, "by hand");
}

fn a_program_that_ignores_every_kind_word_is_killed(driver: &Driver) {
    let world = World::new(driver);
    world.spawn("worker", "bash", &["-c", "trap '' HUP TERM INT; while :; do sleep 0.1; done"]);
    let pid = world.pids()[0];
    assert_eq!(world.broker.api.delete("/api/spawned/worker").status, 200);
    soon("its end", || (!runs(pid)).then_some(()));
}

fn a_signal_reaches_the_whole_group_of_a_program(driver: &Driver) {
    let world = World::new(driver);
    let file = world.place.path("child");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    world.spawn("worker", "bash", &["-c", &script]);
    let child: u64 = soon("its child", || std::fs::read_to_string(&file).ok()?.trim().parse().ok());
    assert!(runs(child));
    assert_eq!(world.broker.api.delete("/api/spawned/worker").status, 200);
    soon("the end of its child", || (!runs(child)).then_some(()));
}

fn an_exit_code_is_told_to_whoever_follows(driver: &Driver) {
    let world = World::new(driver);
    world.spawn("worker", "bash", &["-c", "sleep 0.6; exit 7"]);
    let api = &world.broker.api;
    let (mut reader, _writer) =
        relay_tests::websocket::connect(&api.address, "/ws?sinceSeq=0", &api.header).unwrap();
    let exited = std::iter::from_fn(|| reader.receive()).find_map(|received| match received {
        relay_tests::websocket::Received::Text(text) => {
            let event: serde_json::Value = serde_json::from_str(&text).unwrap();
            (event["kind"] == "agent_exited").then_some(event)
        }
        _ => None,
    });
    assert_eq!(exited.expect("an event")["code"], 7);
}

fn a_directory_that_does_not_exist_is_named(driver: &Driver) {
    let world = World::new(driver);
    let (status, answer) =
        world.try_spawn(&json!({ "name": "worker", "cli": "cat", "cwd": "/no/such/place" }));
    assert!(status >= 400, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("/no/such/place"), "{answer}");
}

fn a_file_that_is_no_program_is_named(driver: &Driver) {
    let world = World::new(driver);
    let file = world.place.path("bin/plain-file");
    std::fs::write(&file, "nothing to run").unwrap();
    let (status, answer) = world.try_spawn(&json!({ "name": "worker", "cli": file }));
    assert!(status >= 400, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("plain-file"), "{answer}");
    assert!(world.pids().is_empty());
}

fn a_program_finds_the_limit_of_descriptors_that_the_broker_was_started_with(driver: &Driver) {
    let world = World::new(driver);
    let ours = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let ours = ours.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    world.spawn("worker", "bash", &["-c", "echo limit=$(ulimit -Sn); exec cat"]);
    world.screen("worker", &format!("limit={ours}"));
}

fn a_program_has_a_terminal_a_group_and_no_descriptor_of_the_broker(driver: &Driver) {
    let world = World::new(driver);
    let script = "tty; echo leader=$(($(ps -o sid= -p $$) == $$)); echo open=$(ls /proc/$$/fd | tr '\\n' ' '); exec cat";
    world.spawn("worker", "sh", &["-c", script]);
    let screen = world.screen("worker", "open=");
    assert!(screen.contains("/dev/pts/") && screen.contains("leader=1"), "{screen}");
    let open: Vec<u32> = screen
        .split_once("open=")
        .map(|(_, rest)| rest.lines().next().unwrap_or_default())
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|descriptor| descriptor.parse().ok())
        .collect();
    // A shell may keep its script or terminal under a number of its own above them.
    assert!(open.starts_with(&[0, 1, 2]) && open.len() <= 4, "{screen}");
}

fn two_hundred_programs_start_and_end(driver: &Driver) {
    const MANY: usize = 200;
    let world = World::new(driver);
    for number in 0..MANY {
        world.spawn(&format!("worker-{number}"), "cat", &[]);
    }
    let pids = world.pids();
    assert_eq!(pids.len(), MANY);
    world.alice.dm("worker-199", "to the last one");
    world.engine.acked("worker-199", 1);
    let World { broker, .. } = world;
    assert!(broker.stop().success());
    within(OUTAGE, "the end of them all", || (!pids.iter().any(|pid| runs(*pid))).then_some(()));
}

fn a_program_that_reads_a_byte_at_a_time_gets_everything(driver: &Driver) {
    let world = World::new(driver);
    let log = world.place.path("bytes");
    let script = format!(
        "stty -echo; while IFS= read -r -n 1 c; do printf %s \"${{c:-|}}\" >> {}; done",
        log.display()
    );
    world.spawn("worker", "bash", &["-c", &script]);
    let text = "abc ".repeat(200) + "end";
    world.alice.dm("worker", &text);
    within(OUTAGE, "its ack", || world.engine.acked_yet("worker", 1));
    let read = std::fs::read_to_string(log).unwrap();
    assert!(read.contains(&text), "{} bytes", read.len());
    assert!(program().exists(), "programs are found by their path as well");
}
