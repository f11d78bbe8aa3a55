//! The simulator's pictures and timelines, by its command line.

use relay_sim::engine::ProfileName;
use relay_sim::{plan, record};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn simulator(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relay-sim")).args(args).output().unwrap()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One line for the reader, and exit code 1.
fn refused(args: &[&str], what: &str) {
    let output = simulator(args);
    let said = text_of(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().count() == 1 && said.contains(what), "{said}");
}

#[test]
fn a_world_is_told_in_fixed_columns_and_without_colours_in_a_pipe() {
    let output = simulator(&["seed", "42", "--verbose"]);
    assert!(output.status.success());
    let told = text_of(&output.stdout);
    assert!(!told.contains('\x1b'), "a pipe gets no colours");
    let lines: Vec<_> = told.lines().skip(2).take_while(|line| !line.starts_with("passed")).collect();
    assert!(lines.len() > 100, "{} lines", lines.len());
    for line in lines {
        let columns: Vec<char> = line.chars().collect();
        let is_time = columns[..12].iter().all(|c| c.is_ascii_digit() || [' ', '.'].contains(c));
        assert!(is_time && columns[12..14] == [' ', ' '] && columns[14] != ' ', "{line}");
        assert!(columns[18..20] == [' ', ' '] && columns[20] != ' ', "{line}");
    }
}

/// Where the event begins in the lines of a world whose only agent is called this, and the lines.
fn told_of(name: &str) -> (usize, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("case.json");
    let text = include_str!("../../fixtures/scenarios/direct.json");
    std::fs::write(&file, text.replace("\"agent-0\"", &format!("\"{name}\""))).unwrap();
    let output = simulator(&["run", "--verbose", file.to_str().unwrap()]);
    let told = text_of(&output.stdout);
    assert!(output.status.success(), "{told}");
    let (head, lines) = told.split_once('\n').unwrap();
    let column = head.find("event").unwrap();
    for line in lines.lines().take_while(|line| !line.starts_with("passed")) {
        let chars: Vec<char> = line.chars().collect();
        assert!(chars[column - 2..column] == [' ', ' '] && chars[column] != ' ', "{line}");
        let terminal = line.find(" \u{2192} ").is_some() && line.contains("type ");
        assert!(
            !terminal || chars[column..].iter().collect::<String>().starts_with("core \u{2192} "),
            "{line}"
        );
    }
    (column, told)
}

#[test]
fn the_columns_of_a_timeline_are_as_wide_as_the_longest_name_and_no_wider_than_24() {
    let column = |name: &str| told_of(name).0;
    assert_eq!(column("a"), column("ten-long-x"));
    assert_eq!(column("eleven-long"), column("a") + 1);
    let longest = "a-name-of-64-characters-that-nobody-would-give-to-any-agent-ever";
    assert_eq!(column(longest), column("a") + 14);
    let told = told_of(longest).1;
    assert!(told.contains("core \u{2192} a-name-of-64-characters\u{2026}  type "), "{told}");
}

#[test]
fn what_the_engine_does_is_told_in_words() {
    for seed in ["1", "42", "43"] {
        let told = text_of(&simulator(&["seed", seed, "--verbose"]).stdout);
        for words in ["Id#", "Id(", "NodeRegistered", "InventorySynced", "Some(", "Code(", "Signal("] {
            let line = told.lines().find(|line| line.contains(words));
            assert_eq!(line, None, "seed {seed}: {words}");
        }
    }
}

#[test]
fn a_picture_of_a_seed_is_one_page_that_holds_its_story_and_no_credential() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("42.html");
    let output = simulator(&["view", "--seed", "42", "-o", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("delivery.ack") && page.contains("passed"));
    for prefix in ["rk_live_", "at_live_", "nt_live_", "ot_live_"] {
        let shown = page.split(prefix).skip(1).filter(|rest| !rest.starts_with("***")).count();
        assert_eq!(shown, 0, "{prefix}");
    }
}

#[test]
fn a_picture_that_cannot_be_written_is_told_in_one_line() {
    let missing = Path::new("/nonexistent/folder/out.html").to_str().unwrap();
    refused(&["view", "--seed", "1", "-o", missing], missing);
}

#[test]
fn a_picture_of_a_trace_shows_what_was_recorded_and_what_the_broker_did() {
    let mut lives = BTreeMap::<u64, String>::new();
    let mut tape = |life: u64, lines: &str| lives.entry(life).or_default().push_str(lines);
    record(plan::draw(42, ProfileName::V6_0_3), None, &mut tape).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (folder.path().join("1.trace"), folder.path().join("1.html"));
    let (file, page) = (file.to_str().unwrap(), page.to_str().unwrap());
    let text = &lives[&1];
    std::fs::write(file, text).unwrap();
    let output = simulator(&["view", file, "-o", page]);
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    let shown = std::fs::read_to_string(page).unwrap();
    for word in ["replayed:", "delivery.ack", "POST /v1/nodes", "recorded by sim"] {
        assert!(shown.contains(word), "{word}");
    }
    std::fs::write(file, &text[..text.len() / 2]).unwrap();
    refused(&["view", file, "-o", page], "line ");
    std::fs::write(file, "").unwrap();
    refused(&["view", file, "-o", page], "the file is empty");
    std::fs::write(file, "no trace and no scenario").unwrap();
    refused(&["view", file, "-o", page], file);
}

#[test]
fn a_file_that_is_missing_is_told_in_one_line() {
    refused(&["view", "/nonexistent.trace", "-o", "/nonexistent.html"], "/nonexistent.trace");
}
