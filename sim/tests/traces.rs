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
    /// Rare branches that are another trace's subject.
    never: &'static [Mark],
}

const PLAIN: Kept = Kept { name: "", shows: &[], marks: &[], never: &[] };

const KEPT: &[Kept] = &[
    Kept {
        name: "cold-start",
        shows: &["/v1/nodes", "> LinkUp", "/api/spawn", "agent.register", "< Spawn"],
        ..PLAIN
    },
    Kept { name: "cached-token", shows: &["< LinkOpen", "> LinkUp", "agent.register", "< Spawn"], ..PLAIN },
    Kept {
        name: "rejected-token",
        shows: &["> LinkUp", "Status(401)", "/v1/nodes", "> LinkUp"],
        marks: &[Mark::Reminted],
        never: &[Mark::DeliveryDisabled],
    },
    Kept {
        name: "rejected-for-ever",
        shows: &["Status(401)", "Status(401)", "Status(401)"],
        marks: &[Mark::DeliveryDisabled],
        ..PLAIN
    },
    Kept { name: "spawn-by-invocation", shows: &["action.invoke", "< Spawn", "action.result"], ..PLAIN },
    Kept {
        name: "direct",
        shows: &["dm.received", "< PtyWrite", "delivery.ack", "dm.received", "delivery.ack"],
        ..PLAIN
    },
    Kept { name: "channel", shows: &["message.created", "in #general", "delivery.ack"], ..PLAIN },
    Kept { name: "thread", shows: &["thread.reply", "in #general thread", "delivery.ack"], ..PLAIN },
    Kept {
        name: "group",
        shows: &["group_dm.received", "group_dm.received", "< PtyWrite", "delivery.ack", "delivery.ack"],
        ..PLAIN
    },
    Kept { name: "steer", shows: &["\"wait", "\"steer", "<m3.", "<m2.", "delivery.ack"], ..PLAIN },
    Kept {
        name: "sequence-zero",
        shows: &[
            "message.reacted",
            "message.read",
            "action.completed",
            "< PtyWrite",
            "action.denied",
            "< PtyWrite",
        ],
        marks: &[Mark::DuplicateFanOut],
        never: &[Mark::DuplicateRow, Mark::GapHeld],
    },
    Kept {
        name: "unknown-type",
        shows: &["canvas.painted", "\\\"up_to_seq\\\":2", "agent.dreams", "\\\"up_to_seq\\\":3"],
        never: &[Mark::GapHeld, Mark::DeadLetter],
        ..PLAIN
    },
    Kept {
        name: "hole",
        shows: &["> LinkDown", "> LinkUp", "dm.received", "dm.received", "delivery.ack"],
        marks: &[Mark::GapHeld, Mark::GapReleased, Mark::ReplayAsked, Mark::HoleProven],
        ..PLAIN
    },
    Kept {
        name: "overtaking",
        shows: &["\\\"seq\\\":3", "\\\"seq\\\":2", "<m2.", "<m3.", "\\\"up_to_seq\\\":3"],
        marks: &[Mark::GapHeld],
        never: &[Mark::GapReleased, Mark::ReplayAsked, Mark::HoleProven],
    },
    Kept {
        name: "duplicate",
        shows: &["\\\"seq\\\":1", "\\\"seq\\\":1", "\\\"up_to_seq\\\":1"],
        marks: &[Mark::DuplicateRow],
        never: &[Mark::GapHeld],
    },
    Kept {
        name: "unknown-agent",
        shows: &["dm.received", "agent.deregister", "agent.register", "< Spawn"],
        marks: &[Mark::UnknownAgent],
        ..PLAIN
    },
    Kept { name: "release", shows: &["DELETE", "agent.deregister", "< PtySignal"], ..PLAIN },
    Kept {
        name: "link-lost-in-injection",
        shows: &["dm.received", "< PtyWrite", "> LinkDown", "> LinkUp", "delivery.ack"],
        ..PLAIN
    },
    Kept { name: "restart", shows: &["> LinkUp", "< Spawn", "dm.received", "delivery.ack"], ..PLAIN },
    Kept { name: "shutdown", shows: &["> Terminate", "< PtySignal", "node.deregister", "< Exit"], ..PLAIN },
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
    for Kept { name, shows, marks, never } in KEPT {
        let text = kept(name);
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
        let (_, hits) = transcript(&trace, never);
        assert!(hits.iter().all(|hits| *hits == 0), "{name}: {never:?} were hit {hits:?} times");
    }
}

#[test]
fn every_kept_trace_is_looked_at() {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let found: BTreeSet<_> =
        fs::read_dir(folder()).unwrap().map(|entry| stem(entry.unwrap().path())).collect();
    assert_eq!(found, KEPT.iter().map(|kept| kept.name.to_owned()).collect());
}

fn kept(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap()
}

#[test]
fn what_comes_outside_of_the_sequence_is_shown_once_and_never_acked() {
    let text = kept("sequence-zero");
    let (lines, _) = transcript(&Trace::read(&text).unwrap(), &[]);
    let first = lines.iter().position(|line| line.contains("\\\"seq\\\":0,")).unwrap();
    let times = |what: &str| lines[first..].iter().filter(|line| line.contains(what)).count();
    assert!(times("\\\"seq\\\":0,") >= 6);
    // The rows of the two messages are acked, once more with an inventory.
    assert_eq!(times("delivery.ack"), times("\\\"up_to_seq\\\":2"));
    for shown in ["outcome", "not authorized"] {
        let typed = |line: &&String| line.starts_with("< PtyWrite") && line.contains(shown);
        assert_eq!(lines.iter().filter(typed).count(), 1, "{shown}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("< PtyWrite") && line.contains("emoji")));
}

#[test]
fn a_row_of_an_unknown_type_is_acked_and_not_shown() {
    let text = kept("unknown-type");
    let (lines, _) = transcript(&Trace::read(&text).unwrap(), &[]);
    assert!(!lines.iter().any(|line| line.starts_with("< PtyWrite") && line.contains("strokes")));
}

#[test]
fn a_message_for_an_agent_that_is_not_here_is_acked_only_when_it_is_and_has_read_it() {
    let text = kept("unknown-agent");
    let (lines, _) = transcript(&Trace::read(&text).unwrap(), &[]);
    let at =
        |what: &str| lines.iter().position(|line| line.starts_with("< ") && line.contains(what)).unwrap();
    assert!(at("agent.deregister") < at("Spawn"));
    assert!(lines[..at("Spawn")].iter().all(|line| !line.contains("delivery.ack")));
}

#[test]
fn a_second_start_mints_nothing() {
    let text = kept("cached-token");
    let trace = Trace::read(&text).unwrap();
    assert!(!trace.boot.tokens.is_empty() && trace.boot.identity.is_some());
    let (lines, _) = transcript(&trace, &[]);
    assert!(lines.iter().all(|line| !line.contains("\"/v1/nodes\"")));
}

#[test]
fn a_broker_that_was_restarted_takes_up_what_its_last_life_has_left() {
    let makes = |name: &str, what: &str| {
        let text = kept(name);
        let (lines, _) = transcript(&Trace::read(&text).unwrap(), &[]);
        lines.iter().any(|line| line.starts_with("< Call") && line.contains(what))
    };
    for made in ["/v1/agents\"", "/v1/nodes\""] {
        assert!(makes("cold-start", made) && !makes("restart", made), "{made}");
    }
    let text = kept("restart");
    let trace = Trace::read(&text).unwrap();
    let boot = &trace.boot;
    assert!(boot.identity.is_some() && !boot.tokens.is_empty() && boot.journal.contains("agent-0"));
    let (lines, _) = transcript(&trace, &[]);
    let row = |line: &String| line.contains("dm.received") && line.contains("\\\"seq\\\":1,");
    assert!(lines.iter().any(row), "what was not acked comes again");
}

#[test]
fn a_link_that_is_lost_in_an_injection_changes_nothing_of_it() {
    let text = kept("link-lost-in-injection");
    let (lines, _) = transcript(&Trace::read(&text).unwrap(), &[]);
    let first = |what: &str| lines.iter().position(|line| line.contains(what)).unwrap();
    let typed = |line: &&String| line.starts_with("< PtyWrite") && line.contains("<m1.0>");
    assert_eq!(lines.iter().filter(typed).count(), 1, "the row that comes again is not typed again");
    let begun = lines.iter().position(|line| typed(&line)).unwrap();
    assert!(begun < first("> LinkDown") && first("> LinkDown") < first("delivery.ack"));
}
