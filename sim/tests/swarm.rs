//! The simulator as a test: the same case twice, and many cases.

use relay_sim::engine::ProfileName;
use relay_sim::plan::Step;
use relay_sim::world::Report;
use relay_sim::{PROFILES, plan, run};
use std::collections::BTreeMap;

/// Seeds per release, at least: some thirty seconds when optimised.
const SEEDS: u64 = 700;
/// So far is looked for what none of them has left a mark of.
const MOST_SEEDS: u64 = 8_000;

/// Messages of this size are so rare in a draw that cases which have them are looked for.
const BULK: usize = 400_000;
const BULKY_SEEDS: usize = 10;

fn pass(seed: u64, profile: ProfileName) -> Report {
    run(plan::draw(seed, profile), None).unwrap_or_else(|failure| {
        panic!(
            "{:?} {}: {}\nreproduce: cargo run --release -p relay-sim -- seed {seed} --profile {profile}",
            failure.class, failure.rule, failure.message
        )
    })
}

#[test]
fn the_same_seed_goes_the_same_way_twice() {
    for profile in PROFILES {
        for seed in 0..10 {
            assert_eq!(pass(seed, profile).digest, pass(seed, profile).digest, "seed {seed}");
        }
    }
}

#[test]
fn messages_are_read_before_they_are_acked_whatever_fails() {
    let mut marks = BTreeMap::<&str, u64>::new();
    let mut taken = 0;
    let has_bulk = |seed: &u64| {
        let steps = plan::draw(*seed, PROFILES[0]).steps.into_iter();
        steps.map(|(_, step)| step).any(|step| matches!(step, Step::Direct { size, .. } if size > BULK))
    };
    let bulky = (SEEDS..).filter(has_bulk).take(BULKY_SEEDS);
    for (number, seed) in (0..SEEDS).chain(bulky).chain(SEEDS..MOST_SEEDS).enumerate() {
        if number >= SEEDS as usize + BULKY_SEEDS && marks.values().all(|hits| *hits > 0) {
            break;
        }
        for profile in PROFILES {
            let report = pass(seed, profile);
            taken += report.taken;
            for (mark, hits) in report.marks {
                *marks.entry(mark).or_default() += hits;
            }
        }
    }
    assert!(taken > SEEDS * 10, "{taken} messages were read: the cases are empty");
    for (mark, hits) in marks {
        assert!(hits > 0, "{mark} was never hit: its fault, or its branch of the core, is tested by nothing");
    }
}
