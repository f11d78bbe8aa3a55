//! The scenarios that are kept, and the reading of scenarios that nobody should have written.

use relay_sim::engine::ProfileName;
use relay_sim::scenario::Scenario;
use relay_sim::{plan, record};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn kept(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    files.sort();
    files
}

fn passes(folder: &str) {
    for file in kept(folder) {
        let text = fs::read_to_string(&file).unwrap();
        let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(scenario.to_text(), text, "{} is not laid out as it would be written", file.display());
        scenario.run().unwrap_or_else(|failure| {
            panic!(
                "{:?} {}: {}\nreproduce: cargo run --release -p relay-sim -- run {}",
                failure.class,
                failure.rule,
                failure.message,
                file.display()
            )
        });
    }
}

#[test]
fn what_once_failed_passes() {
    passes("regressions");
}

#[test]
fn what_traces_are_recorded_from_passes() {
    passes("scenarios");
}

fn text() -> String {
    include_str!("../../fixtures/regressions/early-frame-taken-as-base.json").to_owned()
}

#[test]
fn every_plan_reads_back_from_its_text() {
    for profile in ProfileName::ALL {
        for seed in 0..100 {
            let scenario = Scenario::new("A drawn case", plan::draw(seed, profile));
            assert_eq!(Scenario::parse(&scenario.to_text()).unwrap(), scenario);
        }
    }
}

/// The one line that is said about a kept scenario in which `from` is replaced.
fn refusal(from: &str, to: &str) -> String {
    let text = text();
    assert!(text.contains(from), "{from} is not in {text}");
    let message = Scenario::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn a_scenario_that_cannot_be_run_is_refused_with_the_reason() {
    let step = r#""steps": ["#;
    let add = |what: &str| format!(r#""steps": [ [5, {what}], "#);
    for (from, to, reason) in [
        ("\"v\": 1", "\"v\": 2", "version 2"),
        ("\"about\"", "\"aboot\"", "unknown field `aboot`"),
        ("\"5.0.5\"", "\"7.0.0\"", "unknown engine profile \"7.0.0\""),
        (step, &add(r#"{"dance": {"to": 0}}"#), "unknown variant `dance`"),
        (step, &add(r#"{"fault": {"kill": {"agent": 0, "hard": true}}}"#), "unknown field `hard`"),
        (step, &add(r#"{"fault": {"kill": {"agent": 99}}}"#), "step 0 names agent 99"),
        (step, &add(r#"{"input": {"to": 18446744073709551615}}"#), "names agent"),
        (step, &add(r#"{"channel": {"size": 99999999999}}"#), "\"size\" of step 0 is 99999999999"),
        (step, &add(r#"{"burst": {"to": 0, "count": 100000}}"#), "\"count\" of step 0"),
        (step, &add(r#"{"fault": {"suspend": {"lasts": 999999999999999}}}"#), "\"lasts\" of step 0"),
        (step, &add(r#"{"fault": {"refuse": {"lasts": 3600000000}}}"#), "step 0 lasts too long"),
        (step, &add(r#"{"fault": {"wall_step": {"by": -999999999999999}}}"#), "\"by\" of step 0"),
        ("\"name\": \"agent-0\"", "\"name\": \"a/b\"", "needs a name"),
        ("\"name\": \"agent-0\"", "\"name\": \"agent-1\"", "two agents are called"),
        ("\"calm_at\": ", "\"calm_at\": 9999", "calm_at is 9999"),
        ("\"network\": ", "\"network\": 864000", "network is 864000"),
        ("\"system\": ", "\"system\": 864000", "system is 864000"),
        ("\"from\": 0", "\"from\": 45000001", "\"from\" of agent \"agent-0\" is 45000001"),
        ("\"name\": \"agent-0\"", "\"name\": \"sim\"", "\"sim\" is no name"),
        ("\"name\": \"agent-0\"", "\"name\": \"alice\"", "\"alice\" is no name"),
        ("\n  ],\n  \"calm_at\"", ",[46000001, {\"channel\": {\"size\": 1}}]],\"calm_at\"", "is at 46000001"),
        ("\n  ],\n  \"calm_at\"", ",[45000000, {\"fault\": \"cut\"}]],\"calm_at\"", "is a fault at 45000000"),
    ] {
        let message = refusal(from, to);
        assert!(message.contains(reason), "{to}: {message}");
    }
}

#[test]
fn what_everybody_is_sent_counts_for_each_of_them() {
    let agent =
        |name: usize| format!(r#"{{"name":"a{name}","kind":"cat","invoked":false,"from":0,"task":false}}"#);
    let agents: Vec<_> = (0..100).map(agent).collect();
    let scenario = |step: &str, count: usize| {
        let steps = vec![format!("[1,{step}]"); count].join(",");
        format!(
            r#"{{"v":1,"about":"x","expect":"passes","plan":{{"seed":1,"profile":"6.0.3","agents":[{}],
            "steps":[{steps}],"calm_at":9,"network":1,"system":1,"dying":0,"patient":false}}}}"#,
            agents.join(",")
        )
    };
    for (step, most, reason) in [
        (r#"{"channel":{"size":65536}}"#, 10, "in bytes"),
        (r#"{"channel":{"size":1}}"#, 1_000, "the number of all messages"),
    ] {
        assert!(Scenario::parse(&scenario(step, most)).is_ok(), "{step}");
        let message = Scenario::parse(&scenario(step, most + 1)).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn a_scenario_cut_anywhere_is_refused() {
    let text = text();
    for end in (0..text.len() - 2).filter(|end| end % 7 == 0 && text.is_char_boundary(*end)) {
        assert!(Scenario::parse(&text[..end]).is_err(), "{end}");
    }
}

fn relay_sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relay-sim")).args(args).output().unwrap()
}

/// Runs the program where it must refuse its input; the one line that it says.
fn one_line(args: &[&str]) -> String {
    let output = relay_sim(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    said
}

#[test]
fn a_file_that_is_missing_or_no_scenario_is_one_line_and_exit_1() {
    assert!(one_line(&["run", "/nowhere/x.json"]).contains("/nowhere/x.json"));
    assert!(one_line(&["run", env!("CARGO_MANIFEST_DIR")]).contains("directory"));
    assert!(one_line(&["run", env!("CARGO_BIN_EXE_relay-sim")]).contains("relay-sim"));
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert!(one_line(&["run", manifest]).contains("not a scenario"));
}

#[test]
fn nobody_who_sends_messages_in_a_world_is_an_agent_of_a_scenario() {
    let mut senders = BTreeSet::new();
    for seed in 0..20 {
        let mut tape = |_: u64, lines: &str| {
            let named = lines.split("\\\"from_name\\\":\\\"").skip(1);
            senders.extend(named.filter_map(|rest| rest.split_once('\\')).map(|(name, _)| name.to_owned()));
        };
        record(plan::draw(seed, ProfileName::V6_0_3), None, &mut tape).unwrap();
    }
    assert!(senders.len() > 1, "{senders:?}");
    for sender in senders.iter().filter(|sender| !sender.starts_with("agent-")) {
        let said = refusal("\"name\": \"agent-0\"", &format!("\"name\": \"{sender}\""));
        assert!(said.contains("is no name for an agent"), "{said}");
    }
}
