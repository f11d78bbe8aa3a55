//! The traces that are kept: each replays bit for bit, and contains what its name says.

use relay_core::Mark;
use relay_core::trace::{Mask, Trace, tell};
use relay_sim::replay::{Player, replay};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of a trace that is kept.
const SIZE: usize = 200 * 1024;

struct Kept {
    name: &'static str,
    /// What must be in it, in this order: inputs begin with `>`, commands with `<`.
    shows: &'static [&'static str],
    /// Rare branches that the core must take.
    marks: &'static [Mark],
}

const KEPT: &[Kept] = &[
    Kept {
        name: "cold-start",
        shows: &["/v1/nodes", "> LinkUp", "/api/spawn", "agent.register", "< Spawn"],
        marks: &[],
    },
    Kept {
        name: "cached-token",
        shows: &["< LinkOpen", "> LinkUp", "agent.register", "< Spawn"],
        marks: &[],
    },
    Kept {
        name: "rejected-token",
        shows: &["> LinkUp", "Status(401)", "/v1/nodes", "> LinkUp"],
        marks: &[Mark::Reminted],
    },
    Kept {
        name: "rejected-for-ever",
        shows: &["Status(401)", "Status(401)", "Status(401)"],
        marks: &[Mark::DeliveryDisabled],
    },
    Kept { name: "spawn-by-invocation", shows: &["action.invoke", "< Spawn", "action.result"], marks: &[] },
    Kept {
        name: "direct",
        shows: &["dm.received", "< PtyWrite", "delivery.ack", "dm.received", "delivery.ack"],
        marks: &[],
    },
    Kept { name: "channel", shows: &["message.created", "in #general", "delivery.ack"], marks: &[] },
    Kept { name: "thread", shows: &["thread.reply", "in #general thread", "delivery.ack"], marks: &[] },
    Kept { name: "steer", shows: &["\"wait", "\"steer", "<m3.", "<m2.", "delivery.ack"], marks: &[] },
    Kept { name: "release", shows: &["DELETE", "agent.deregister", "< PtySignal"], marks: &[] },
    Kept {
        name: "link-lost-in-injection",
        shows: &["dm.received", "< PtyWrite", "> LinkDown", "> LinkUp", "delivery.ack"],
        marks: &[],
    },
    Kept { name: "restart", shows: &["> LinkUp", "< Spawn", "dm.received", "delivery.ack"], marks: &[] },
    Kept {
        name: "shutdown",
        shows: &["> Terminate", "< PtySignal", "node.deregister", "< Exit"],
        marks: &[],
    },
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/traces")
}

/// Every input and command as a line, and how often the core took the marked branches.
fn transcript(trace: &Trace<'_>, marks: &[Mark]) -> (Vec<String>, Vec<u32>) {
    let mut lines = Vec::new();
    let mut player = Player::new(trace);
    while let Some(moment) = player.step().unwrap() {
        lines.extend(moment.input.iter().map(|input| format!("> {input:?}")));
        lines.extend(moment.commands.iter().map(|command| format!("< {}", tell(command, &Mask::off()))));
    }
    let broker = player.broker().unwrap();
    (lines, marks.iter().map(|mark| broker.marks().hits(*mark)).collect())
}

#[test]
fn every_kept_trace_replays_and_contains_what_its_name_says() {
    for Kept { name, shows, marks } in KEPT {
        let text = fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
        assert!(text.len() <= SIZE, "{name} has {} bytes", text.len());
        let trace = Trace::read(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = format!("after an intended change: relay-sim bless fixtures/traces/{name}.jsonl");
        replay(&trace).unwrap_or_else(|difference| panic!("{name}: {difference}\n{again}"));
        let (lines, hits) = transcript(&trace, marks);
        let mut left = lines.iter();
        for wanted in *shows {
            assert!(left.any(|line| line.contains(wanted)), "{name} shows no {wanted} where it should");
        }
        assert!(hits.iter().all(|hits| *hits > 0), "{name}: {marks:?} were hit {hits:?} times");
    }
}

#[test]
fn every_kept_trace_is_looked_at() {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let found: BTreeSet<_> =
        fs::read_dir(folder()).unwrap().map(|entry| stem(entry.unwrap().path())).collect();
    assert_eq!(found, KEPT.iter().map(|kept| kept.name.to_owned()).collect());
}

#[test]
fn a_second_start_mints_nothing() {
    let text = fs::read_to_string(folder().join("cached-token.jsonl")).unwrap();
    let trace = Trace::read(&text).unwrap();
    assert!(!trace.boot.tokens.is_empty() && trace.boot.identity.is_some());
    let (lines, _) = transcript(&trace, &[]);
    assert!(lines.iter().all(|line| !line.contains("\"/v1/nodes\"")));
}
