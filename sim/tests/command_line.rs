//! The command line of the simulator: numbers that make no sense, several files, and what is shown of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Characters that are shown of one text, with some around it.
const SHOWN: usize = 1_300;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

fn relay_sim<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relay-sim")).args(args).output().unwrap()
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// One line for the reader, and exit code 1.
fn refused(args: &[&str], what: &str) {
    let output = relay_sim(args);
    let said = text_of(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{args:?}: {said}");
    assert!(said.contains(what) && output.stdout.is_empty(), "{args:?}: {said}");
}

#[test]
fn a_number_that_makes_no_sense_is_refused_in_one_line() {
    for minutes in ["inf", "1e300", "nan", "-1", "0"] {
        refused(&["swarm", "--minutes", minutes], "number of minutes");
        refused(&["swarm", &format!("--minutes={minutes}")], "number of minutes");
    }
    for command in ["swarm", "canary"] {
        for seeds in ["0", "-3", "1.5", "many", ""] {
            refused(&[command, "--seeds", seeds], "'--seeds <SEEDS>': give a whole number from 1 to ");
        }
        for jobs in ["0", "257", "18446744073709551615", "-1"] {
            refused(&[command, "--jobs", jobs], "'--jobs <JOBS>': give a whole number from 1 to 256");
        }
    }
    refused(&["swarm", "--start", "-1"], "give a whole number from 0 to 18446744073709551615");
    // The seed is run twice before anything is left out of it.
    for runs in ["0", "1", "-1", "4294967296"] {
        refused(&["shrink", "42", "--runs", runs], "give a whole number from 2 to 4294967295");
    }
    for life in ["0", "-1"] {
        let case = fixture("scenarios/direct.json");
        refused(&["record", case.to_str().unwrap(), "-o", "out", "--life", life], "whole number from 1 to");
    }
    let last = "18446744073709551615";
    refused(&["swarm", "--start", last, "--seeds", "5"], "no 5 seeds from 18446744073709551615 on");
    refused(&["swarm", "--start", last], "no 1000 seeds");
    refused(&["swarm", "--start", "1", "--seeds", last, "--jobs", "257"], "from 1 to 256");
}

#[test]
fn more_threads_than_the_system_gives_are_refused_in_one_line() {
    // With few seeds the first threads may be done, and make room, before the last one is started; with
    // stacks as small as usual there may be none left for what the threads do.
    let swarm = "swarm --seeds 1000000 --jobs 256";
    let swarm = format!("ulimit -v 2000000; exec {} {swarm}", env!("CARGO_BIN_EXE_relay-sim"));
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &swarm]).env("RUST_MIN_STACK", "268435456").output().unwrap();
    let said = text_of(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("threads could be started") && said.contains("lower --jobs"), "{said}");
}

#[test]
fn the_last_seed_is_one_too() {
    let output = relay_sim(["swarm", "--start", "18446744073709551615", "--seeds", "1", "--json"]);
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["interrupted"], false);
    let releases = told["releases"].as_array().unwrap();
    assert!(releases.len() > 1 && releases.iter().all(|release| release["cases"] == 1), "{told}");
}

#[test]
fn a_seed_on_every_release_is_so_many_cases() {
    let output = relay_sim(["swarm", "--seeds", "2"]);
    let told = text_of(&output.stdout);
    assert!(told.contains("cases/s") && !told.contains("seeds"), "{told}");
    let width = told.lines().map(|line| line.chars().count()).max();
    assert!(width <= Some(80), "{told}");
}

/// Names of marks differ in length, and some are long.
#[test]
fn the_hits_of_all_marks_stand_below_each_other() {
    let output = relay_sim(["swarm", "--seeds", "20"]);
    let told = text_of(&output.stdout);
    let marks = told.split_once("\nmarks: ").unwrap().1;
    let rows = marks.lines().skip(1).take_while(|line| line.starts_with("  ") && !line.contains("never hit"));
    // The last digit of the second number, which the last row may not have.
    let ends: BTreeSet<_> = rows.filter(|row| row.split_whitespace().count() == 4).map(str::len).collect();
    assert_eq!(ends.len(), 1, "{told}");
}

#[test]
fn the_help_tells_what_a_seed_is() {
    for command in ["seed", "shrink", "view"] {
        let output = relay_sim([command, "--help"]);
        let told = text_of(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("a git hash of at least 7 digits"), "{told}");
        assert!(told.contains("`0x`"), "{told}");
    }
}

#[test]
fn a_line_about_a_case_without_marks_ends_like_a_sentence() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("case.json");
    let text = fs::read_to_string(fixture("scenarios/direct.json")).unwrap();
    let (begin, rest) = text.split_once("\"agents\": [").unwrap();
    let calm = rest.split_once("\"calm_at\"").unwrap().1;
    fs::write(&file, format!("{begin}\"agents\": [], \"steps\": [], \"calm_at\"{calm}")).unwrap();
    let output = relay_sim(["run", file.to_str().unwrap()]);
    let told = text_of(&output.stdout);
    assert!(output.status.success() && !told.trim_end_matches('\n').ends_with([' ', ';']), "{told:?}");
    assert!(told.contains(" 1 life of the broker,"), "{told:?}");
}

#[test]
fn the_help_tells_the_exit_codes() {
    let output = relay_sim(["--help"]);
    let told = text_of(&output.stdout);
    for code in [10, 11, 12, 13, 14, 130] {
        assert!(told.contains(&format!("\n {code:>3}  ")), "{told}");
    }
    assert!(told.contains("a canary that was not found"), "{told}");
}

/// A trace with another print in one of its lines, where there is one.
fn with_another_print(text: &str, line: usize) -> Option<String> {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let (begin, print) = lines[line].split_once("\"po\":[\"")?;
    lines[line] = format!("{begin}\"po\":[\"00000000{}", &print[8..]);
    Some(lines.concat())
}

/// A trace that does not replay, one that does, and one that is not there.
fn traces(folder: &TempDir) -> [PathBuf; 3] {
    let text = fs::read_to_string(fixture("traces/direct.jsonl")).unwrap();
    let lines = text.lines().count();
    let bad = (0..lines).find_map(|line| with_another_print(&text, line)).unwrap();
    let paths = ["bad", "good", "missing"].map(|name| folder.path().join(name));
    fs::write(&paths[0], bad).unwrap();
    fs::write(&paths[1], text).unwrap();
    paths
}

#[test]
fn the_worst_of_several_files_counts_in_any_order_and_each_has_its_turn() {
    let folder = TempDir::new().unwrap();
    let [bad, good, missing] = traces(&folder);
    for order in [[&bad, &missing, &good], [&missing, &bad, &good], [&good, &missing, &bad]] {
        let output = relay_sim([Path::new("replay")].into_iter().chain(order.map(PathBuf::as_path)));
        assert_eq!(output.status.code(), Some(13), "{order:?}");
        let told = text_of(&output.stdout);
        assert!(told.contains("replayed: ") && told.contains("different: "), "{order:?}: {told}");
    }
    let [missing, bad] = [missing, bad].map(|file| file.to_str().unwrap().to_owned());
    let checked = relay_sim(["check", &missing, &bad, good.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(13));
    assert!(text_of(&checked.stdout).starts_with("held: "));
    let case = fixture("scenarios/direct.json");
    let run = relay_sim(["run", &missing, case.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(1));
    assert!(text_of(&run.stdout).starts_with("passed: "), "{}", text_of(&run.stdout));
}

#[test]
fn what_steers_a_terminal_does_not_reach_it_from_a_trace() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("life.trace");
    let text = fs::read_to_string(fixture("traces/direct.jsonl")).unwrap();
    let long = format!("\\u001b[31m\\u0007\\n{}", "x".repeat(100_000));
    let text = text.replacen("\"why\":\"the end of this life\"", &format!("\"why\":\"{long}\""), 1);
    fs::write(&file, text).unwrap();
    let output = relay_sim(["check", file.to_str().unwrap()]);
    let told = text_of(&output.stdout);
    assert_eq!((output.status.code(), told.lines().count()), (Some(0), 1), "{told}");
    assert!(told.contains("\\u{1b}[31m\\u{7}\\nxxx") && !told.contains(['\x1b', '\x07']), "{told}");
    assert!(told.len() < SHOWN + file.as_os_str().len(), "{} bytes", told.len());
}

#[test]
fn a_different_command_is_shown_in_part_when_it_is_long() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("life.trace");
    let text = fs::read_to_string(fixture("traces/steer.jsonl")).unwrap();
    let mut cut = 0;
    for changed in (0..text.lines().count()).filter_map(|line| with_another_print(&text, line)) {
        fs::write(&file, changed).unwrap();
        let output = relay_sim(["replay", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(13));
        let told = text_of(&output.stdout);
        assert!(told.lines().all(|line| line.len() < SHOWN + file.as_os_str().len()), "{told}");
        cut += usize::from(told.contains(" more characters"));
    }
    assert!(cut > 0, "no command was long");
}

#[test]
fn a_picture_is_made_of_what_can_be_read_only_once() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("page.html");
    for file in ["traces/direct.jsonl", "scenarios/direct.json"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_relay-sim"))
            .args(["view", "/dev/stdin", "-o"])
            .arg(&page)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&fs::read(fixture(file)).unwrap()).unwrap();
        assert!(child.wait().unwrap().success(), "{file}");
        assert!(fs::read_to_string(&page).unwrap().contains("passed") || file.ends_with('l'), "{file}");
    }
}

#[test]
fn what_an_editor_puts_before_a_trace_makes_no_scenario_of_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("life.trace");
    let text = fs::read_to_string(fixture("traces/direct.jsonl")).unwrap();
    for before in ["\n", " ", "\r\n\t", "\u{feff}", "\u{feff}\n"] {
        fs::write(&file, format!("{before}{text}")).unwrap();
        let said = |args: &[&str]| {
            let output = relay_sim(
                args.iter().map(|arg| if *arg == "FILE" { file.as_os_str() } else { arg.as_ref() }),
            );
            (output.status.code(), text_of(&output.stderr).to_owned())
        };
        let page = folder.path().join("page.html");
        let seen = said(&["view", "FILE", "-o", page.to_str().unwrap()]);
        assert_eq!(seen, said(&["replay", "FILE"]), "{before:?}");
    }
}

#[test]
fn a_release_is_for_seeds_only() {
    let folder = TempDir::new().unwrap();
    let (file, page) = (fixture("scenarios/direct.json"), folder.path().join("page.html"));
    let (file, page) = (file.to_str().unwrap(), page.to_str().unwrap());
    let output = relay_sim(["view", file, "--profile", "5.0.5", "-o", page]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text_of(&output.stderr).contains("cannot be used with"));
    assert!(!Path::new(page).exists());
}

#[test]
fn a_picture_of_a_life_on_which_the_core_panics_is_drawn_without_the_words_of_the_hook() {
    let folder = TempDir::new().unwrap();
    let (file, page) = (folder.path().join("life.trace"), folder.path().join("page.html"));
    let text = fs::read_to_string(fixture("traces/cached-token.jsonl")).unwrap();
    fs::write(&file, text.replacen("\"bytes\":83", "\"bytes\":9223372036854775807", 1)).unwrap();
    let output = relay_sim(["view", file.to_str().unwrap(), "-o", page.to_str().unwrap()]);
    let said = text_of(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(10), 1), "{said}");
    assert!(!said.contains("thread"), "{said}");
    assert!(fs::read_to_string(page).unwrap().contains("the core panics"));
}
