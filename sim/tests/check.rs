//! Judging recorded lives: good ones hold, and each rule is broken by what breaks it.

use relay_core::ids::{LinkId, RequestId};
use relay_core::time::{Mono, Now, Wall};
use relay_core::trace::Trace;
use relay_core::{Auth, Command, Input, Level, LogLine};
use relay_sim::engine::ProfileName;
use relay_sim::oracles::Field;
use relay_sim::plan;
use relay_sim::replay::{Player, check};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

/// Worlds per release.
const WORLDS: u64 = 40;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/traces")
}

fn holds(plan: plan::Plan, what: &str) -> usize {
    let mut lives = BTreeMap::<u64, String>::new();
    let mut tape = |life: u64, lines: &str| lives.entry(life).or_default().push_str(lines);
    relay_sim::record(plan, None, &mut tape).unwrap();
    for (life, text) in &lives {
        let checked = check(&Trace::read(text).unwrap()).unwrap();
        assert_eq!(checked.violations, [], "{what}, life {life}");
    }
    lives.values().map(|text| text.matches(r#"\"type\":\"deliver\""#).count()).sum()
}

#[test]
fn every_life_of_a_world_with_faults_holds() {
    let worlds = ProfileName::ALL.into_iter().flat_map(|name| (0..WORLDS).map(move |seed| (name, seed)));
    let judge = |(name, seed)| holds(plan::draw(seed, name), &format!("seed {seed}, engine {name}"));
    let deliveries: usize = worlds.map(judge).sum();
    assert!(deliveries > 1_000, "only {deliveries} deliveries were judged");
}

#[test]
fn worlds_in_which_a_person_types_between_messages_or_rows_expire_hold() {
    for (seed, name) in [
        (1749, ProfileName::V5_0_5),
        (1759, ProfileName::V5_0_5),
        (1494, ProfileName::V6_0_3),
        (1749, ProfileName::V6_0_3),
    ] {
        holds(plan::draw(seed, name), &format!("seed {seed}, engine {name}"));
    }
}

/// The rules that are broken when a broker does what `doctor` makes of its commands. It sees the
/// commands of one input, and whether that is the last one.
fn broken(name: &str, mut doctor: impl FnMut(&mut Vec<Command>, bool)) -> Vec<&'static str> {
    let text = fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
    let trace = Trace::read(&text).unwrap();
    let mut field = Field::new(&trace.boot.journal);
    let mut player = Player::new(&trace);
    while let Some(mut moment) = player.step().unwrap() {
        field.input(moment.line, moment.now, moment.input.as_ref());
        doctor(&mut moment.commands, player.upcoming().is_none());
        moment.commands.iter().for_each(|command| field.command(command));
    }
    field.end();
    let mut rules: Vec<_> = field.violations().iter().map(|violation| violation.rule).collect();
    rules.dedup();
    rules
}

/// Changes the acks.
fn acks(change: impl Fn(&str) -> String) -> impl FnMut(&mut Vec<Command>, bool) {
    move |commands, _| {
        for command in commands {
            if let Command::LinkSend { text, .. } = command
                && text.contains("delivery.ack")
            {
                *text = change(text);
            }
        }
    }
}

/// Leaves out some writes to terminals.
fn without(left_out: impl Fn(&[u8]) -> bool) -> impl FnMut(&mut Vec<Command>, bool) {
    move |commands, _| {
        commands.retain(|command| !matches!(command, Command::PtyWrite { bytes, .. } if left_out(bytes)));
    }
}

/// Adds a command to those of the last input.
fn at_the_end(command: impl Fn() -> Command) -> impl FnMut(&mut Vec<Command>, bool) {
    move |commands, last| commands.extend(last.then(&command))
}

/// The link of the trace `direct`.
const LINK: LinkId = LinkId(6);

fn ack(seq: u64) -> Command {
    let text = format!(r#"{{"v":1,"type":"delivery.ack","agent":"agent-0","up_to_seq":{seq}}}"#);
    Command::LinkSend { link: LINK, text }
}

#[test]
fn nothing_is_broken_by_what_really_was_done() {
    for file in fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(broken(&name, |_, _| ()).is_empty(), "{name}");
    }
}

#[test]
fn an_ack_of_what_was_not_typed_submitted_and_read_breaks_s1() {
    assert_eq!(broken("direct", without(|bytes| bytes.len() > 1)), ["S1"]);
    assert_eq!(broken("direct", without(|bytes| bytes == b"\r")), ["S1"]);
    let mut acked = false;
    let as_soon_as_typed = |commands: &mut Vec<Command>, _| {
        let submits =
            |command: &Command| matches!(command, Command::PtyWrite { bytes, .. } if bytes == b"\r");
        if commands.iter().any(submits) && !acked {
            acked = true;
            commands.push(ack(1));
        }
    };
    assert_eq!(broken("direct", as_soon_as_typed), ["S1"]);
}

#[test]
fn an_ack_that_goes_back_or_beyond_what_was_sent_breaks_s2() {
    for seq in [1, 3] {
        assert_eq!(broken("direct", at_the_end(|| ack(seq))), ["S2"], "{seq}");
    }
}

#[test]
fn an_ack_for_somebody_else_breaks_s3() {
    assert_eq!(broken("direct", acks(|text| text.replace("agent-0", "agent-9"))), ["S3"]);
}

#[test]
fn more_than_the_credit_of_a_terminal_or_too_many_commands_break_s9() {
    let more = |commands: &mut Vec<Command>, _| {
        for command in commands {
            if let Command::PtyWrite { bytes, .. } = command {
                bytes.splice(0..0, vec![b' '; 64 * 1024]);
            }
        }
    };
    assert!(broken("direct", more).contains(&"S9"));
    let many = |commands: &mut Vec<Command>, last| {
        if last {
            commands.extend((0..40_000).map(|_| Command::LinkPing { link: LINK }));
        }
    };
    assert_eq!(broken("direct", many), ["S9"]);
}

#[test]
fn a_second_answer_breaks_s10() {
    let answer = || {
        let (content_type, body) = ("application/json", "{}".into());
        Command::ApiReply { request: RequestId(1), status: 200, content_type, body }
    };
    assert_eq!(broken("direct", at_the_end(answer)), ["S10"]);
}

#[test]
fn an_answer_that_never_comes_breaks_s10_where_it_was_asked_for() {
    let mut field = Field::new("");
    let now = |seconds: u64| Now { mono: Mono(seconds * 1_000_000), wall: Wall(0) };
    let (request, auth, target) = (RequestId(1), Auth::Ok, "/health");
    let asked = Input::Api { request, auth, method: "GET", target, upgrade: false, body: b"" };
    field.input(2, now(0), Some(&asked));
    field.input(3, now(100), Some(&Input::Tick));
    field.end();
    let told: Vec<_> = field.violations().iter().map(|broken| (broken.line, broken.rule)).collect();
    assert_eq!(told, [(2, "S10")]);
}

#[test]
fn a_frame_that_no_engine_of_the_dialect_takes_breaks_s11() {
    let odd = |text: &str| text.replace("\"up_to_seq\"", "\"odd\":1,\"up_to_seq\"");
    assert_eq!(broken("direct", acks(odd)), ["S11"]);
}

#[test]
fn an_engine_may_refuse_the_newer_registration_in_any_words() {
    let text = fs::read_to_string(folder().join("unknown-agent.jsonl")).unwrap();
    let told = text.replace("node.register: provider: unrecognized key", "Unrecognized key(s) in object");
    assert_ne!(text, told);
    let checked = check(&Trace::read(&told).unwrap()).unwrap();
    assert_eq!(checked.violations, []);
}

#[test]
fn a_credential_in_a_log_line_an_event_or_an_answer_breaks_s12() {
    let log = || {
        let message = "refused nt_live_0123456789abcdef".into();
        Command::Log(LogLine { level: Level::Warn, area: "link", message })
    };
    assert_eq!(broken("direct", at_the_end(log)), ["S12"]);
    let shown = |commands: &mut Vec<Command>, _| {
        for command in commands {
            if let Command::StreamSend { text, .. } | Command::ApiReply { body: text, .. } = command {
                text.push_str("at_live_0123456789abcdef");
            }
        }
    };
    assert_eq!(broken("direct", shown), ["S12"]);
}

#[test]
fn the_command_judges_files_and_tells_in_one_line_what_is_no_trace() {
    let relay_sim = |files: &[PathBuf]| {
        let output = Process::new(env!("CARGO_BIN_EXE_relay-sim")).arg("check").args(files).output().unwrap();
        let lines = |bytes| String::from_utf8(bytes).unwrap().lines().count();
        (output.status.code(), lines(output.stdout), lines(output.stderr))
    };
    let trace = |name: &str| folder().join(name);
    assert_eq!(relay_sim(&[trace("direct.jsonl"), trace("steer.jsonl")]), (Some(0), 2, 0));
    assert_eq!(relay_sim(&[trace("../README.md")]), (Some(1), 0, 1));
    assert_eq!(relay_sim(&[trace("none.jsonl")]), (Some(1), 0, 1));
}
