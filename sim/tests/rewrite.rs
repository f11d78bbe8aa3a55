//! Traces that are written anew: nothing that was recorded of a failure gets lost.

use relay_core::trace::{Trace, last_line};
use relay_sim::replay::{bless, replay};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// An input that lets the core panic: more bytes left a link than went into it.
const WRONG: [&str; 2] = ["\"bytes\":593", "\"bytes\":594"];

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/traces");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// What the core does now is right.
fn blessed(text: &str) -> String {
    bless(&Trace::read(text).unwrap()).unwrap()
}

/// A trace up to the input at which the core panics, as a driver leaves it.
fn panicked() -> String {
    let whole = fixture("direct.jsonl").replacen(WRONG[0], WRONG[1], 1);
    let end = whole.find(WRONG[1]).unwrap();
    let lines: String = whole.split_inclusive('\n').take(1 + whole[..end].matches('\n').count()).collect();
    let inputs = lines.lines().count() as u64 - 1;
    lines + &last_line(inputs, "panic: recorded")
}

#[test]
fn a_trace_that_ends_with_a_panic_keeps_it() {
    let text = panicked();
    let trace = Trace::read(&text).unwrap();
    assert!(replay(&trace).unwrap().panicked);
    assert_eq!(bless(&trace).as_ref(), Ok(&text));
}

#[test]
fn a_panic_that_does_not_come_any_more_is_blessed_away() {
    let whole = fixture("direct.jsonl");
    let stale = whole.replace("the end of this life", "panic: boo");
    let text = blessed(&stale);
    let trace = Trace::read(&text).unwrap();
    assert!(!replay(&trace).unwrap().panicked);
    assert!(trace.end.contains("any more") && trace.end.contains("boo"), "{}", trace.end);
    assert_eq!(blessed(&text), text);
    let cut = panicked().replacen(WRONG[1], WRONG[0], 1);
    let mended = blessed(&cut);
    let mended = Trace::read(&mended).unwrap();
    assert!(mended.is_whole() && replay(&mended).is_ok());
}

#[test]
fn nothing_is_written_over_what_does_not_replay() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("life.jsonl");
    let run = |text: &str, args: &[&str]| {
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_relay-sim"))
            .args([args[0], file.to_str().unwrap()])
            .args(&args[1..])
            .output()
            .unwrap();
        assert!(output.stdout.is_empty());
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        (output.status.code(), said)
    };
    let whole = fixture("direct.jsonl");
    let (code, said) = run(&whole.replacen(WRONG[0], WRONG[1], 1), &["bless"]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("panics at line 9") && said.contains("mend"), "{said}");
}
