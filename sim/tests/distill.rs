//! Distilling: a scenario of a trace does about what the trace tells.

use relay_core::trace::Trace;
use relay_core::{Command, Input, Refusal};
use relay_sim::distill::distill;
use relay_sim::replay::Player;
use relay_sim::scenario::Scenario;
use relay_sim::{PROFILES, plan, record};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What is counted of lives.
#[derive(Debug, Default, PartialEq, Eq)]
struct Numbers {
    /// Rows that came, each once.
    messages: BTreeSet<(String, u64)>,
    /// Events outside of the sequence, each once.
    events: BTreeSet<String>,
    agents: BTreeSet<String>,
    links: u32,
    unauthorized: u32,
    ends: u32,
}

impl Numbers {
    fn of<'t>(traces: impl IntoIterator<Item = &'t String>) -> Self {
        let mut numbers = Self::default();
        for text in traces {
            let trace = Trace::read(text).unwrap();
            let mut player = Player::new(&trace);
            while let Some(moment) = player.step().unwrap() {
                moment.input.iter().for_each(|input| numbers.input(input));
                moment.commands.iter().for_each(|command| numbers.command(command));
            }
        }
        numbers
    }

    fn input(&mut self, input: &Input<'_>) {
        match input {
            Input::LinkUp { .. } => self.links += 1,
            Input::LinkRefused { why: Refusal::Status(401), .. } => self.unauthorized += 1,
            Input::Terminate => self.ends += 1,
            Input::LinkText { text, .. } => {
                let frame: Value = serde_json::from_str(text).unwrap_or_default();
                let word = |key: &str| frame[key].as_str().unwrap_or_default().to_owned();
                match frame["seq"].as_u64().filter(|_| frame["type"] == "deliver") {
                    None => {}
                    Some(0) => drop(self.events.insert(word("delivery_id"))),
                    Some(seq) => drop(self.messages.insert((word("agent"), seq))),
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, command: &Command) {
        if let Command::Spawn { child, .. } = command {
            let name = child.env.iter().find(|(name, _)| name == "RELAY_AGENT_NAME");
            self.agents.extend(name.map(|(_, name)| name.expose().to_owned()));
        }
    }
}

/// The traces of all lives of a scenario's broker.
fn lives(scenario: &Scenario, what: &str) -> Vec<String> {
    let mut lives = Vec::new();
    let mut tape = |life: u64, lines: &str| {
        lives.resize(lives.len().max(life as usize), String::new());
        lives[life as usize - 1].push_str(lines);
    };
    record(scenario.plan.clone(), None, &mut tape).unwrap_or_else(|failure| {
        panic!("{what}: {} {}\n{}", failure.rule, failure.message, scenario.to_text())
    });
    lives
}

/// The scenario of a trace, read back from its text.
fn distilled(text: &str, what: &str) -> Scenario {
    let scenario = distill(&Trace::read(text).unwrap());
    let text = scenario.to_text();
    assert_eq!(Scenario::parse(&text).unwrap_or_else(|error| panic!("{what}: {error}")), scenario);
    scenario
}

fn kept() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/traces");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_scenario_of_each_kept_trace_has_its_messages_agents_links_and_refusals() {
    for file in kept() {
        let what = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let scenario = distilled(&text, &what);
        let (old, new) = (Numbers::of([&text]), Numbers::of(&lives(&scenario, &what)));
        let shown = format!("{what}: recorded {old:?}\nin the world {new:?}\n{}", scenario.to_text());
        assert_eq!(new.messages.len(), old.messages.len(), "{shown}");
        assert_eq!(new.agents, old.agents, "{shown}");
        // What the engine lost is not lost again, and so not looked for on one link after the other.
        assert!(new.links >= old.links || what == "hole", "{shown}");
        assert_eq!(new.unauthorized > 0, old.unauthorized > 0, "{shown}");
        assert!(new.unauthorized * 2 >= old.unauthorized, "{shown}");
        assert_eq!(new.ends, old.ends, "{shown}");
        assert!(new.events.len() >= old.events.len(), "{shown}");
    }
}

#[test]
fn no_text_of_a_trace_but_names_gets_into_its_scenario() {
    for file in kept() {
        let text = fs::read_to_string(&file).unwrap();
        let scenario = distill(&Trace::read(&text).unwrap()).to_text();
        for secret in ["and so on", "_live_", "alice", "<m1"] {
            assert!(!scenario.contains(secret), "{}: {secret} is in {scenario}", file.display());
        }
    }
}

#[test]
fn a_scenario_of_any_first_life_can_be_run_and_does_nearly_all_of_it() {
    let (mut recorded, mut again) = (0, 0);
    for profile in PROFILES {
        for seed in 0..14 {
            let what = format!("seed {seed} of {profile}");
            let case = Scenario::new(what.clone(), plan::draw(seed, profile));
            let first = lives(&case, &what).swap_remove(0);
            let scenario = distilled(&first, &what);
            let old = Numbers::of([&first]);
            let new = Numbers::of(&lives(&scenario, &what));
            assert_eq!(new.agents, old.agents, "{what}");
            recorded += old.messages.len();
            again += new.messages.len();
        }
    }
    println!("{again} of {recorded} messages");
    assert!(again * 10 > recorded * 7, "{again} of {recorded} messages");
    assert!(recorded > 500, "{recorded} messages");
}

#[test]
fn an_agent_that_is_called_as_a_sender_of_the_world_gets_another_name() {
    let mut plan = plan::calm(1, PROFILES[0], 2, 2);
    plan.agents[0].name = "alice".into();
    let case = Scenario::new("An agent with a sender's name", plan);
    let scenario = distilled(&lives(&case, "recorded")[0], "distilled");
    let names: BTreeSet<_> = scenario.plan.agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["agent-0", "agent-1"]));
}
