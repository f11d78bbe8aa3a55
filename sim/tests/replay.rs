//! A case's own traces, replayed open loop: equal commands, equal digests, also after masking.

use relay_core::trace::Trace;
use relay_sim::distill::distill;
use relay_sim::engine::ProfileName;
use relay_sim::plan::SECOND;
use relay_sim::replay::{bless, check, redact, replay};
use relay_sim::scenario::Scenario;
use relay_sim::story::Fact;
use relay_sim::{PROFILES, plan, record, run};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Seeds per release.
const SEEDS: u64 = 20;

struct Recorded {
    digest: u64,
    /// A trace per life of the broker.
    traces: Vec<String>,
    /// What stood behind the prefixes of credentials in what the broker got.
    credentials: BTreeSet<String>,
}

fn recorded(seed: u64, profile: ProfileName) -> Recorded {
    let mut lives = BTreeMap::<u64, String>::new();
    let mut credentials = BTreeSet::new();
    let mut sink = |_: u64, fact: &Fact<'_>| {
        credentials.extend(format!("{fact:?}").split("_live_").skip(1).filter_map(body));
    };
    let mut tape = |life: u64, lines: &str| lives.entry(life).or_default().push_str(lines);
    let report = record(plan::draw(seed, profile), Some(&mut sink), &mut tape)
        .unwrap_or_else(|failure| panic!("seed {seed} of {profile}: {}: {}", failure.rule, failure.message));
    Recorded { digest: report.digest, traces: lives.into_values().collect(), credentials }
}

/// The body of a credential.
fn body(text: &str) -> Option<String> {
    let body: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
    (body.len() >= 32).then_some(body)
}

#[test]
fn what_a_case_records_replays_with_equal_digests_and_shows_no_credential() {
    let (mut checks, mut credentials) = (0, 0);
    for profile in PROFILES {
        for seed in 0..SEEDS {
            let case = recorded(seed, profile);
            let plain = run(plan::draw(seed, profile), None).expect("it passed before");
            assert_eq!(case.digest, plain.digest, "recording changed seed {seed} of {profile}");
            credentials += case.credentials.len();
            for (text, life) in case.traces.iter().zip(1..) {
                let place = format!("seed {seed} of {profile}, life {life}");
                let trace = Trace::read(text).unwrap_or_else(|e| panic!("{place}: {e}"));
                checks += replay(&trace).unwrap_or_else(|e| panic!("{place}: {e}")).checks;
                assert!(bless(&trace).as_ref() == Ok(text), "{place}: blessing changed the trace");
                let shown = case.credentials.iter().find(|body| text.contains(*body));
                assert_eq!(shown, None, "{place}");
            }
        }
    }
    assert!(checks > 50, "only {checks} digests were compared");
    assert!(credentials > 100, "only {credentials} credentials were looked for");
}

#[test]
fn without_its_messages_a_trace_replays_and_nearly_always_does_the_same() {
    let (mut redacted_traces, mut parted) = (0, 0);
    for profile in PROFILES {
        for seed in 0..SEEDS {
            for text in recorded(seed, profile).traces {
                let trace = Trace::read(&text).unwrap();
                let redacted = redact(&trace).unwrap();
                let again = Trace::read(&redacted.text).unwrap();
                replay(&again).unwrap_or_else(|e| panic!("seed {seed} of {profile}: {e}"));
                assert!(!redacted.text.contains("and so on and on it goes"), "seed {seed} of {profile}");
                redacted_traces += 1;
                // An id that a program breaks into rows may look like a word of a message.
                parted += usize::from(redacted.ends_before.is_some());
            }
        }
    }
    assert!(parted * 20 < redacted_traces, "{parted} of {redacted_traces} do something else");
}

/// The agent of this world is wanted only after all is over, so it is not there when it must be.
#[test]
fn the_record_of_a_case_that_fails_ends_with_the_rule() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/scenarios/direct.json");
    let mut plan = Scenario::parse(&fs::read_to_string(file).unwrap()).unwrap().plan;
    plan.agents[0].from = 24 * 3_600 * SECOND;
    let mut text = String::new();
    let failure = record(plan, None, &mut |_, lines| text.push_str(lines)).unwrap_err();
    let trace = Trace::read(&text).unwrap();
    assert_eq!(trace.end, format!("{} is broken: {}", failure.rule, failure.message));
    replay(&trace).unwrap();
    assert_eq!(check(&trace).unwrap().violations, []);
    redact(&trace).unwrap();
    Scenario::parse(&distill(&trace).to_text()).unwrap();
}
