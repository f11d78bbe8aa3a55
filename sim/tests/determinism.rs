//! The first thing that must hold: a seed means the same in every process.

use relay_sim::PROFILES;
use std::collections::BTreeSet;
use std::process::Command;

const SEEDS: [&str; 3] = ["7", "4711", "539cdbd8a4c4"];

/// The digest that a process of its own computes.
fn digest(seed: &str, profile: &str) -> String {
    let process = Command::new(env!("CARGO_BIN_EXE_relay-sim"))
        .args(["seed", seed, "--profile", profile])
        .output()
        .expect("relay-sim runs");
    let told = String::from_utf8_lossy(&process.stdout).into_owned();
    assert!(process.status.success(), "seed {seed} on {profile}: {told}");
    let digest = told.lines().find_map(|line| line.strip_prefix("digest "));
    digest.unwrap_or_else(|| panic!("no digest in {told}")).to_owned()
}

#[test]
fn two_processes_agree_on_every_seed_and_profile() {
    for profile in PROFILES {
        let mut digests = BTreeSet::new();
        for seed in SEEDS {
            let first = digest(seed, profile.as_str());
            assert_eq!(first, digest(seed, profile.as_str()), "seed {seed} on {profile}");
            digests.insert(first);
        }
        // Two releases may well treat a seed alike.
        assert_eq!(digests.len(), SEEDS.len(), "digests do not tell seeds apart");
    }
}

#[test]
fn an_impossible_seed_is_refused_in_one_line() {
    for seed in ["18446744073709551616", "seed", ""] {
        let process = Command::new(env!("CARGO_BIN_EXE_relay-sim"))
            .args(["seed", seed])
            .output()
            .expect("relay-sim runs");
        let why = String::from_utf8_lossy(&process.stderr).into_owned();
        assert_eq!((process.status.code(), why.lines().count()), (Some(1), 1), "{why}");
    }
}

#[test]
fn a_swarm_comes_to_the_same_on_one_thread_and_on_three() {
    let sums = |jobs: &str| {
        let process = Command::new(env!("CARGO_BIN_EXE_relay-sim"))
            .args(["swarm", "--seeds", "40", "--json", "--jobs", jobs])
            .output()
            .expect("relay-sim runs");
        let told: serde_json::Value = serde_json::from_slice(&process.stdout).expect("one JSON object");
        (told["releases"].clone(), told["marks"].clone(), told["failures"].clone())
    };
    assert_eq!(sums("1"), sums("3"));
}
