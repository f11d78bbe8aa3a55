//! What the world adds to the engine model: links that swallow frames, calls that fail.

use crate::support::ALL;
use relay_sim::agents::Kind as Program;
use relay_sim::engine::ProfileName;
use relay_sim::plan::{AgentPlan, Fault, Plan, SECOND, Step};
use relay_sim::story::{Kind, Lane, Moment};

/// When a link goes bad, long after everything is set up.
const AT: u64 = 60 * SECOND;

/// The story of one worker, one message to it and one fault: all oracles hold, and it ends well.
fn story(seed: u64, profile: ProfileName, at: u64, fault: Fault) -> Vec<Moment> {
    let worker =
        AgentPlan { name: "worker".into(), kind: Program::Cat, invoked: false, from: 0, task: false };
    let direct = Step::Direct { to: 0, steer: false, size: 10 };
    let plan = Plan {
        seed,
        profile: profile.into(),
        agents: vec![worker],
        steps: vec![(at, Step::Fault(fault)), (AT + SECOND, direct)],
        calm_at: 5 * AT,
        network: 1_000,
        system: 100,
        dying: 0,
        patient: false,
    };
    let mut moments = Vec::new();
    let end = relay_sim::tell(plan, |moment| moments.push(moment));
    end.unwrap_or_else(|failure| panic!("{profile}: {failure:?}"));
    moments
}

/// What is seen on a link from the moment on at which it goes bad, with a message for the worker under way.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// The broker's frames leave it.
    left: bool,
    pongs: bool,
    /// The engine sends of its own accord.
    pushed: bool,
    replies: bool,
}

fn seen(profile: ProfileName, fault: Fault) -> Seen {
    let moments = story(1, profile, AT, fault);
    let bad = moments.iter().rfind(|moment| moment.at < AT && moment.link.is_some());
    let bad = bad.and_then(|moment| moment.link).expect("a link before the fault");
    let delivers = |moment: &&Moment| moment.kind == Kind::Frame && moment.text.starts_with("deliver");
    let last = moments.iter().rfind(delivers).expect("the message comes");
    assert_ne!(last.link, Some(bad), "the next link brings it: {profile}");
    let after = || moments.iter().filter(move |moment| moment.at > AT && moment.link == Some(bad));
    let written = |moment: &Moment| moment.kind == Kind::Frame && moment.from == Lane::Core;
    assert!(after().any(written), "nothing was written: {profile}");
    Seen {
        left: after().any(|moment| moment.kind == Kind::Flow && moment.text.ends_with("have left")),
        pongs: after().any(|moment| moment.text == "pong"),
        pushed: after().any(|moment| delivers(&moment)),
        replies: after().any(|moment| moment.kind == Kind::Frame && moment.text.starts_with("reply")),
    }
}

pub(crate) fn a_black_hole_takes_what_is_written_and_says_nothing() {
    for profile in ALL {
        let silent = Seen { left: true, pongs: false, pushed: false, replies: false };
        assert_eq!(seen(profile, Fault::HalfOpen { lasts: 2 * AT }), silent, "{profile}");
    }
}

pub(crate) fn a_half_dead_engine_answers_pings_but_no_frame() {
    for profile in ALL {
        let deaf = Seen { left: true, pongs: true, pushed: true, replies: false };
        assert_eq!(seen(profile, Fault::HalfDead { lasts: 2 * AT }), deaf, "{profile}");
    }
}

pub(crate) fn calls_fail_in_bursts_with_and_without_effect() {
    for profile in ALL {
        let told: Vec<String> = (0..8)
            .flat_map(|seed| story(seed, profile, 0, Fault::Calls { lasts: AT }))
            .filter(|moment| moment.kind == Kind::Call && moment.from == Lane::Engine)
            .map(|moment| moment.text)
            .collect();
        for answer in ["429 to", "500 to", "502 to", "503 to", "no answer to"] {
            assert!(told.iter().any(|text| text.starts_with(answer)), "{profile}: {answer}");
        }
        // The first try had its effect, whatever its answer said.
        assert!(told.iter().any(|text| text == "409 to POST /v1/agents"), "{profile}");
    }
}

/// What a link loses although it lives on comes again, at the latest by the next one.
pub(crate) fn frames_are_lost_on_links_that_live_on() {
    for profile in ALL {
        let (mut failed, mut unnoticed) = (0, 0);
        for seed in 0..12 {
            let told = story(seed, profile, AT, Fault::Lose { lasts: 2 * SECOND });
            let at = |text: &str| told.iter().position(|moment| moment.text.starts_with(text));
            let delivered = at("deliver dm.received");
            let lost = [at("cannot send row 1"), at("loses row 1")];
            failed += u32::from(lost[0].is_some());
            unnoticed += u32::from(lost[1].is_some());
            assert!(lost.into_iter().flatten().all(|lost| Some(lost) < delivered), "{profile} {seed}");
        }
        assert!(failed > 0 && unnoticed > 0, "{profile}: {failed} and {unnoticed}");
    }
}

/// An engine that is busy, or in trouble, is no reason for another token.
pub(crate) fn upgrades_are_refused_for_a_while() {
    for profile in ALL {
        let told = story(1, profile, AT, Fault::Unavailable { lasts: 20 * SECOND });
        let of = |text: &str| told.iter().filter(|moment| moment.text.starts_with(text)).count();
        let refused: usize =
            [429, 500, 502, 503].map(|status| of(&format!("refused with {status}"))).iter().sum();
        assert!((2..20).contains(&refused), "{profile}: {refused}");
        // Asked for and answered, once.
        assert_eq!((of("POST /v1/nodes"), of("refused with 401")), (2, 0), "{profile}");
    }
}

/// What was just made is not seen by a replica that is behind.
pub(crate) fn a_replica_refuses_a_fresh_token() {
    for profile in ALL {
        let told = story(1, profile, 0, Fault::Lag { lasts: AT, behind: 3 * SECOND });
        let at = |text: &str| told.iter().rposition(|moment| moment.text.starts_with(text));
        let unseen = at("does not see a node's token yet");
        assert!(unseen.is_some() && unseen < at("takes socket"), "{profile}: {unseen:?}");
    }
}

/// Older engines take a node for the one of its name; newer ones say that the name is another's.
pub(crate) fn a_name_may_be_taken_before_its_owner_comes() {
    for profile in ALL {
        let told = story(1, profile, 0, Fault::NameTaken);
        let of = |text: &str| told.iter().filter(|moment| moment.text.starts_with(text)).count();
        let old = matches!(profile, ProfileName::V5_0_5 | ProfileName::V6_0_3);
        assert_eq!(of("409 to POST /v1/nodes"), usize::from(!old), "{profile}");
        assert!(of("takes socket") > 0, "{profile}");
    }
}
