//! Files and seeds that nobody should have given: one line that says what is wrong, exit code 1.

use relay_core::trace::{LARGEST, SIZE, Trace, last_line};
use relay_sim::distill::distill;
use relay_sim::replay::{bless, check, narrate, redact, replay};
use relay_sim::scenario::Scenario;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Longest line for the reader, in bytes. A file's content is not repeated to him.
const LINE: usize = 400;

/// How a line begins that has no end.
const LONG: &str = "{\"n\":1,\"now\":[0,0],\"i\":{\"link_text\":{\"link\":1,\"text\":\"";

/// Commands that take a trace; `OUT` is a file that must not come to be.
const OF_TRACES: [&[&str]; 6] = [
    &["replay", "FILE"],
    &["check", "FILE"],
    &["bless", "FILE"],
    &["redact", "FILE", "-o", "OUT"],
    &["distill", "FILE", "-o", "OUT"],
    &["view", "FILE", "-o", "OUT"],
];
/// Commands that take a scenario.
const OF_SCENARIOS: [&[&str]; 3] =
    [&["run", "FILE"], &["record", "FILE", "-o", "OUT"], &["view", "FILE", "-o", "OUT"]];
/// Commands that take a seed.
const OF_SEEDS: [&[&str]; 3] =
    [&["seed", "FILE"], &["shrink", "FILE"], &["view", "-o", "OUT", "--seed", "FILE"]];

fn relay_sim(args: &[&str], file: &str, out: &Path) -> Output {
    let out = out.to_str().unwrap();
    let args = args.iter().map(|arg| arg.replace("FILE", file).replace("OUT", out));
    Command::new(env!("CARGO_BIN_EXE_relay-sim")).args(args).output().unwrap()
}

/// The one line that a command says of what it cannot use.
fn refusal(args: &[&str], file: &str, out: &Path) -> String {
    let output = relay_sim(args, file, out);
    let said = String::from_utf8(output.stderr).unwrap();
    let place = format!("{args:?} of {file}: {said}");
    assert_eq!(output.status.code(), Some(1), "{place}");
    assert_eq!(said.lines().count(), 1, "{place}");
    assert!(output.stdout.is_empty() && !out.exists(), "{place}");
    assert!(said.len() <= LINE + file.len(), "{place}");
    said
}

fn fixture(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)).unwrap()
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn of_size(&self, name: &str, bytes: u64) -> String {
        File::create(self.path(name)).unwrap().set_len(bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn a_file_that_is_no_trace_is_one_line_for_every_command_that_takes_one() {
    let files = Files::new();
    let whole = fixture("traces/direct.jsonl");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().concat();
    let cases: [(String, &str); 17] = [
        (files.path("none.jsonl").to_str().unwrap().to_owned(), "cannot be read: No such file"),
        (files.0.path().to_str().unwrap().to_owned(), "directory"),
        (files.write("empty.jsonl", ""), "empty"),
        (files.write("binary.jsonl", [0x7f, b'E', b'L', b'F', 0xff, 0xfe, 0]), "UTF-8"),
        (files.write("binary-inside.jsonl", [lines[0].as_bytes(), b"{\"n\":1,\xff\n"].concat()), "UTF-8"),
        (files.write("prose.jsonl", "{\"t\": it was a dark and stormy night\n"), "no trace"),
        (files.write("truncated.jsonl", &whole[..whole.len() / 2]), "cut off"),
        (files.write("endless.jsonl", lines[..lines.len() - 1].concat()), "no end"),
        (files.write("headless.jsonl", lines[1..].concat()), "no trace"),
        (files.write("gap.jsonl", without(7)), "line 8: lines are missing"),
        (files.write("edited.jsonl", whole.replacen("\"link_up\"", "\"link_upp\"", 1)), "unknown variant"),
        (
            files.write("spelled.jsonl", whole.replacen("\"subscriber\":2", "\"subscriber\":-2", 1)),
            "integer `-2`",
        ),
        (
            files.write("foreign.jsonl", whole.replacen("\"v\":1", "\"v\":7", 1)),
            "format 7, and only format 1 can be read: take the relay-sim",
        ),
        (files.write("twice.jsonl", format!("{whole}{whole}")), "behind the end"),
        (files.write("long.jsonl", format!("{}{LONG}{}", lines[0], "x".repeat(8 << 20))), "cut off"),
        (files.write("deep.jsonl", format!("{{\"t\":{}", "[".repeat(1 << 20))), "no trace"),
        (files.of_size("huge.jsonl", 3 * SIZE as u64), "768 MiB"),
    ];
    for (file, reason) in &cases {
        for args in OF_TRACES {
            let said = refusal(args, file, &files.path("out"));
            let views = args[0] == "view" && !said.contains(reason);
            assert!(said.contains(reason) || views && said.contains("scenario"), "{args:?}: {said}");
            assert!(said.contains(file), "{args:?}: {said}");
        }
    }
}

#[test]
fn a_file_that_is_no_scenario_is_one_line_for_every_command_that_takes_one() {
    let files = Files::new();
    let whole = fixture("scenarios/direct.json");
    let step = |what: &str| whole.replacen("\"steps\": [", &format!("\"steps\": [[5, {what}],"), 1);
    let cases: [(String, &str); 13] = [
        (files.path("none.json").to_str().unwrap().to_owned(), "cannot be read: No such file"),
        (files.0.path().to_str().unwrap().to_owned(), "directory"),
        (files.write("binary.json", [0x7f, b'E', b'L', b'F', 0xff, 0xfe, 0]), "UTF-8"),
        (files.write("truncated.json", &whole[..whole.len() / 2]), "EOF"),
        (files.write("foreign.json", whole.replacen("\"v\": 1", "\"v\": 7", 1)), "version 7"),
        (files.write("unknown-step.json", step("{\"dance\": {\"to\": 0}}")), "unknown variant `dance`"),
        (files.write("unknown-fault.json", step("{\"fault\": \"flood_the_house\"}")), "unknown variant"),
        (files.write("nobody.json", step("{\"novel\": {\"to\": 7}}")), "names agent 7"),
        (files.write("large.json", step("{\"group\": {\"size\": 99999999}}")), "99999999"),
        (files.write("long.json", format!("{{\"v\": 1, \"about\": \"{}\"", "x".repeat(1 << 20))), "EOF"),
        (files.write("long-word.json", step(&format!("\"{}\"", "x".repeat(1 << 20)))), "unknown variant"),
        (files.write("deep.json", format!("{{\"v\": 1, \"plan\": {}", "[".repeat(1 << 20))), "EOF"),
        (files.of_size("huge.json", 3 * SIZE as u64), "no scenario"),
    ];
    for (file, reason) in &cases {
        for args in OF_SCENARIOS {
            let said = refusal(args, file, &files.path("out"));
            assert!(said.contains(reason) && said.contains(file), "{args:?}: {said}");
        }
    }
    let empty = files.write("empty.json", "");
    for args in OF_SCENARIOS {
        assert!(refusal(args, &empty, &files.path("out")).contains(&empty));
    }
    let scenario = files.write("case.json", whole);
    let said = refusal(&["record", "FILE", "-o", "OUT", "--life", "9"], &scenario, &files.path("out"));
    assert!(said.contains("no life 9"), "{said}");
}

#[test]
fn whoever_gives_a_trace_for_a_scenario_is_told_which_command_takes_it_and_the_other_way_round() {
    let files = Files::new();
    let trace = files.write("trace.jsonl", fixture("traces/direct.jsonl"));
    let scenario = files.write("case.json", fixture("scenarios/direct.json"));
    for args in OF_SCENARIOS.iter().filter(|args| args[0] != "view") {
        let said = refusal(args, &trace, &files.path("out"));
        assert!(said.contains("not a scenario but a trace") && said.contains("`distill`"), "{said}");
    }
    for args in OF_TRACES.iter().filter(|args| args[0] != "view") {
        let said = refusal(args, &scenario, &files.path("out"));
        assert!(said.contains("no trace but a scenario") && said.contains("`run`"), "{said}");
    }
    // A frame has a `v` as well.
    let frame = files.write("frame.json", "{\"v\":1,\"type\":\"deliver\"}\n");
    assert!(refusal(OF_TRACES[0], &frame, &files.path("out")).contains("does not begin with a `boot` line"));
}

/// Each command says what it can say of its own kind of file, and `view` of both.
#[test]
fn a_file_of_no_kind_is_called_so() {
    let files = Files::new();
    let (out, view) = (files.path("out"), OF_SCENARIOS[2]);
    let program = files.write("program", [0x7f, b'E', b'L', b'F', 0xff, 0xfe, 0]);
    assert!(refusal(OF_SCENARIOS[0], &program, &out).contains("UTF-8), so it is no scenario"));
    let said = refusal(view, &program, &out);
    assert!(said.contains("so it is no scenario; nor is it a trace"), "{said}");
    let huge = files.of_size("huge", 600 << 20);
    let said = refusal(view, &huge, &out);
    assert!(said.contains("more than 4 MiB, and no scenario has; nor is it a trace"), "{said}");
    for args in OF_TRACES.iter().chain(&OF_SCENARIOS) {
        assert!(refusal(args, "/dev/null", &out).contains("the file is empty"));
    }
    // It has no end, and is not waited for.
    let said = refusal(OF_TRACES[0], "/dev/zero", &out);
    assert!(said.contains("this is no trace: it does not begin"), "{said}");
    let large = files.of_size("large", LARGEST + 1);
    let said = refusal(OF_TRACES[0], &large, &out);
    assert!(said.contains("has 513 MiB, and no trace has more than 512"), "{said}");
}

#[test]
fn a_first_line_that_cannot_be_read_is_not_said_to_be_missing() {
    let files = Files::new();
    let whole = fixture("traces/direct.jsonl");
    let first = whole.lines().next().unwrap();
    for (text, reason) in [
        (first[..200].to_owned(), "line 1: the line is cut off after 200 bytes"),
        (whole.replacen("\"v\":1", "\"v\":99999999999", 1), "format 99999999999, and only format 1"),
        (whole.replacen("\"v\":1", "\"v\":-1", 1), "format -1, and only format 1"),
        (whole.replacen("\"v\":1,", "", 1), "line 1: the `boot` line has no `v`"),
        (whole.replacen("\"v\":1", "\"v\" 1", 1), "line 1: this is no JSON from column"),
        (whole.replacen("\"pid\":", "\"pit\":", 1), "line 1: unknown field `pit`"),
        (whole.replacen("\"pid\":", "\"pid\":-", 1), "line 1: "),
    ] {
        let file = files.write("trace.jsonl", text);
        for args in OF_TRACES {
            let said = refusal(args, &file, &files.path("out"));
            assert!(said.contains(reason) && !said.contains("column 0"), "{args:?}: {said}");
        }
    }
}

/// What is left by a broker that was killed: whole lines, or one more in part, be it in the middle of a character.
#[test]
fn a_trace_that_was_cut_off_tells_how_it_becomes_whole() {
    let files = Files::new();
    let ticks = |n| format!("{{\"n\":{n},\"now\":[{n},1790000000000],\"i\":\"tick\"}}\n");
    let boot = fixture("traces/direct.jsonl").lines().next().unwrap().to_owned() + "\n";
    let whole = boot + &(1..=260).map(ticks).collect::<String>() + &last_line(260, "the end");
    let whole = bless(&Trace::read(&whole).unwrap()).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let check = lines.iter().position(|line| line.starts_with("{\"t\":\"check\"")).unwrap();
    for (kept, inputs) in [(1, 0), (40, 39), (check + 1, check - 1)] {
        let (there, next) = (lines[..kept].concat(), lines[kept]);
        let end = last_line(inputs as u64, "cut off");
        for torn in [
            &b""[..],
            b"{",
            b"\0\0\0",
            &next.as_bytes()[..20],
            b"{\"n\":\xe2\x80",
            next.trim_end().as_bytes(),
        ] {
            let file = files.write("cut.jsonl", [there.as_bytes(), torn].concat());
            for args in OF_TRACES {
                let said = refusal(args, &file, &files.path("out"));
                let cut = format!(
                    "line {}: the trace was cut off here: it has no end, after {inputs} inputs",
                    kept + 1
                );
                assert!(said.contains(&cut) && said.ends_with(&end), "{args:?}: {said}");
                assert_eq!(said.contains("remove this line"), !torn.is_empty(), "{args:?}: {said}");
                assert_eq!(said.contains("replayed"), args[0] == "replay", "{args:?}: {said}");
            }
        }
        let mended = files.write("mended.jsonl", there + &end);
        for args in OF_TRACES {
            let output = relay_sim(args, &mended, &files.path("out"));
            assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        }
        fs::remove_file(files.path("out")).unwrap();
    }
}

#[test]
fn an_impossible_seed_is_one_line_for_every_command_that_takes_one() {
    let files = Files::new();
    let long = "f".repeat(41);
    for seed in ["18446744073709551616", "-1", "1.5", "1e3", "beef", "0x", "seed", "\u{e9}", "", &long] {
        for args in OF_SEEDS {
            let said = refusal(args, seed, &files.path("out"));
            assert!(said.contains("seed"), "{said}");
        }
    }
}

#[test]
fn what_cannot_be_written_is_one_line() {
    let files = Files::new();
    let trace = files.write("trace.jsonl", fixture("traces/direct.jsonl"));
    let scenario = files.write("case.json", fixture("scenarios/direct.json"));
    let out = files.path("no/such/folder");
    for (args, file) in [
        (OF_TRACES[3], &trace),
        (OF_TRACES[4], &trace),
        (OF_TRACES[5], &trace),
        (OF_SCENARIOS[1], &scenario),
        (OF_SCENARIOS[2], &scenario),
    ] {
        let output = relay_sim(args, file, &out);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{args:?}: {said}");
        assert!(said.contains("no/such/folder"), "{args:?}: {said}");
    }
}

/// What an editor may do to a trace that still reads as one.
const EDITS: [(&str, &str); 16] = [
    ("\"process\":11", "\"process\":18446744073709551615"),
    ("\"link\":6", "\"link\":18446744073709551615"),
    ("\"link\":6", "\"link\":0"),
    ("\"op\":15", "\"op\":14"),
    ("\"written\":86", "\"written\":18446744073709551615"),
    ("\"bytes\":61", "\"bytes\":18446744073709551615"),
    ("\"now\":[5000094,", "\"now\":[18446744073709551615,"),
    ("\"now\":[5000094,", "\"now\":[0,"),
    (",1790000005000]", ",9223372036854775807]"),
    (",1790000005000]", ",-9223372036854775808]"),
    ("\"seq\\\":1,", "\"seq\\\":18446744073709551615,"),
    ("\"ok\":1}}}}", "\"ok\":4294967295}}}}"),
    ("\"unread\":0", "\"unread\":4294967295"),
    ("dm.received", "dm.deceived"),
    ("\"name\\\":\\\"agent-0", "\"name\\\":\\\"a\\nb"),
    ("\"/api/spawn\"", "\"/api/spawn?%00%ff\""),
];

#[test]
fn a_trace_that_was_edited_makes_nothing_panic() {
    let whole = fixture("traces/direct.jsonl");
    for (from, to) in EDITS {
        assert!(whole.contains(from), "{from}");
        for text in [whole.replace(from, to), whole.replacen(from, to, 1)] {
            let Ok(trace) = Trace::read(&text) else { continue };
            let _ = (replay(&trace), check(&trace), redact(&trace), narrate(&trace, drop));
            if let Ok(blessed) = bless(&trace) {
                Trace::read(&blessed).unwrap();
            }
            let scenario = distill(&trace);
            assert_eq!(
                Scenario::parse(&scenario.to_text()).unwrap_or_else(|e| panic!("{to}: {e}")),
                scenario
            );
        }
    }
}

#[test]
fn a_trace_without_any_agent_becomes_a_scenario_without_one() {
    let whole = fixture("traces/direct.jsonl");
    let beginning: String = whole.split_inclusive('\n').take(11).collect();
    let text = beginning + &last_line(10, "the end");
    let scenario = distill(&Trace::read(&text).unwrap());
    assert!(scenario.plan.agents.is_empty() && scenario.plan.steps.is_empty());
    scenario.run().unwrap_or_else(|failure| panic!("{} {}", failure.rule, failure.message));
}
