//! A case's own traces, replayed open loop: equal commands, equal digests, also after masking.

use relay_core::trace::Trace;
use relay_sim::engine::ProfileName;
use relay_sim::replay::{bless, replay};
use relay_sim::story::Fact;
use relay_sim::{PROFILES, plan, record, run};
use std::collections::{BTreeMap, BTreeSet};

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
                assert!(bless(&trace) == *text, "{place}: blessing changed the trace");
                let shown = case.credentials.iter().find(|body| text.contains(*body));
                assert_eq!(shown, None, "{place}");
            }
        }
    }
    assert!(checks > 50, "only {checks} digests were compared");
    assert!(credentials > 100, "only {credentials} credentials were looked for");
}
