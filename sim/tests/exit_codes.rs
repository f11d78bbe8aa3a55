//! The same finding ends every command in the same way: with the exit code that the help tells of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Parting, and a panic of the core.
const CODES: [i32; 2] = [13, 10];

/// Commands that let a recorded broker live again; `OUT` is a file.
const COMMANDS: [&[&str]; 4] = [
    &["replay", "FILE"],
    &["check", "FILE"],
    &["redact", "FILE", "-o", "OUT"],
    &["view", "FILE", "-o", "OUT"],
];

fn relay_sim(args: &[&str], file: &Path, out: &Path) -> Output {
    let args = args.iter().map(|arg| match *arg {
        "FILE" => file.as_os_str(),
        "OUT" => out.as_os_str(),
        other => other.as_ref(),
    });
    Command::new(env!("CARGO_BIN_EXE_relay-sim")).args(args).output().unwrap()
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn fixture(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)).unwrap()
}

/// A trace from which the core parts, and one on which it panics.
fn traces(folder: &TempDir) -> [PathBuf; 2] {
    let whole = fixture("traces/direct.jsonl");
    let mut lines: Vec<String> = whole.split_inclusive('\n').map(str::to_owned).collect();
    let at = lines.iter().position(|line| line.contains("\"po\":[\"")).unwrap();
    let (begin, print) = lines[at].split_once("\"po\":[\"").unwrap();
    lines[at] = format!("{begin}\"po\":[\"00000000{}", &print[8..]);
    let cached = fixture("traces/cached-token.jsonl");
    let panics = cached.replacen("\"bytes\":83", "\"bytes\":9223372036854775807", 1);
    assert_ne!(panics, cached);
    [("parts", lines.concat()), ("panics", panics)].map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    })
}

#[test]
fn every_command_ends_alike_where_the_core_parts_from_a_trace_or_panics_on_it() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    for (file, code) in traces(&folder).iter().zip(CODES) {
        for args in COMMANDS {
            let output = relay_sim(args, file, &out);
            let told = [text_of(&output.stdout), text_of(&output.stderr)].concat();
            assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
            assert!(told.contains(file.to_str().unwrap()) && told.contains("line "), "{args:?}: {told}");
            assert_eq!(told.contains("the core panics"), code == 10, "{args:?}: {told}");
            assert!(text_of(&output.stderr).lines().count() <= 1, "{args:?}: {told}");
        }
    }
}

#[test]
fn a_picture_of_a_trace_from_which_the_core_parts_is_drawn_and_says_so_in_one_line() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("page.html");
    for (file, what) in
        traces(&folder).iter().zip(["the replay parts from the trace at line ", "the core panics"])
    {
        let output = relay_sim(&["view", "FILE", "-o", "OUT"], file, &page);
        let said = text_of(&output.stderr);
        assert!(said.lines().count() == 1 && said.contains(what), "{said}");
        assert!(fs::read_to_string(&page).unwrap().contains(what));
        fs::remove_file(&page).unwrap();
    }
    let whole = folder.path().join("whole");
    fs::write(&whole, fixture("traces/direct.jsonl")).unwrap();
    let output = relay_sim(&["view", "FILE", "-o", "OUT"], &whole, &page);
    assert_eq!((output.status.code(), text_of(&output.stderr)), (Some(0), ""));
}

/// The end says that the core panicked, and its last input lets it panic: that is what was recorded. Who judges
/// finds it all the same.
#[test]
fn a_panic_that_was_recorded_is_no_finding_of_a_replay_but_one_of_a_judge() {
    let folder = TempDir::new().unwrap();
    let [_, file] = traces(&folder);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let at = lines.iter().position(|line| line.contains("9223372036854775807")).unwrap();
    let end = relay_core::trace::last_line(at as u64, "panic: recorded");
    fs::write(&file, lines[..=at].concat() + &end).unwrap();
    for args in COMMANDS {
        let output = relay_sim(args, &file, &folder.path().join("out"));
        let told = [text_of(&output.stdout), text_of(&output.stderr)].concat();
        let judges = ["check", "view"].contains(&args[0]);
        assert_eq!(output.status.code(), Some(if judges { 10 } else { 0 }), "{args:?}: {told}");
        assert_eq!(told.contains("panic: recorded"), judges, "{args:?}: {told}");
    }
}

/// A request that has waited for its answer for more than a minute when the record ends.
fn unanswered(folder: &TempDir) -> PathBuf {
    let whole = fixture("traces/cold-start.jsonl");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let asked = lines.iter().position(|line| line.contains("/api/spawn")).unwrap();
    let (caused, _) = lines[asked + 1].split_once("\"i\":").unwrap();
    let later = caused.replacen("\"now\":[2", "\"now\":[72", 1) + "\"i\":{\"link_pong\":{\"link\":6}}}\n";
    let end = relay_core::trace::last_line(asked as u64 + 1, "shutdown");
    let path = folder.path().join("unanswered");
    fs::write(&path, lines[..=asked].concat() + &later + &end).unwrap();
    path
}

#[test]
fn a_picture_of_a_trace_shows_what_a_check_of_it_finds() {
    let folder = TempDir::new().unwrap();
    let (file, page) = (unanswered(&folder), folder.path().join("page.html"));
    let rule = "S10";
    let checked = relay_sim(&["check", "FILE"], &file, &page);
    assert_eq!(checked.status.code(), Some(11), "{}", text_of(&checked.stderr));
    assert!(text_of(&checked.stdout).contains(rule), "{}", text_of(&checked.stdout));
    let drawn = relay_sim(&["view", "FILE", "-o", "OUT"], &file, &page);
    let said = text_of(&drawn.stderr);
    assert_eq!(drawn.status.code(), Some(11), "{said}");
    assert!(said.lines().count() == 1 && said.contains(rule), "{said}");
    assert!(fs::read_to_string(&page).unwrap().contains("S10 is broken"));
}

/// Both are wrong with this life: a request is not answered, and then the core panics.
#[test]
fn a_panic_counts_more_than_a_violation_and_hides_none() {
    let folder = TempDir::new().unwrap();
    let (file, page) = (unanswered(&folder), folder.path().join("page.html"));
    let text = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.pop();
    let inputs = lines.len() as u64;
    let (_, now) = lines.last().unwrap().split_once("\"now\":").unwrap();
    let (now, _) = now.split_once(']').unwrap();
    let drained = "{\"stream_drained\":{\"subscriber\":2,\"bytes\":9223372036854775807}}";
    let panics = format!("{{\"n\":{inputs},\"now\":{now}],\"i\":{drained}}}\n");
    let end = relay_core::trace::last_line(inputs, "panic: recorded");
    fs::write(&file, lines.concat() + &panics + &end).unwrap();
    // Only the core knows the prints of what it did before.
    assert_eq!(relay_sim(&["bless", "FILE"], &file, &page).status.code(), Some(0));
    let checked = relay_sim(&["check", "FILE"], &file, &page);
    let told = text_of(&checked.stdout);
    assert_eq!(checked.status.code(), Some(10), "{told}{}", text_of(&checked.stderr));
    assert!(told.contains("S10") && told.contains("panic: recorded"), "{told}");
    let drawn = relay_sim(&["view", "FILE", "-o", "OUT"], &file, &page);
    assert_eq!(drawn.status.code(), Some(10), "{}", text_of(&drawn.stderr));
    let drawn = fs::read_to_string(&page).unwrap();
    assert!(drawn.contains("S10 is broken") && drawn.contains("the core panicked"));
}

/// A broker that was killed leaves no end, and what it has done before can still be compared.
#[test]
fn what_is_different_before_a_trace_was_cut_off_counts_more_than_the_cut() {
    let folder = TempDir::new().unwrap();
    for (file, code) in traces(&folder).iter().zip(CODES) {
        let text = fs::read_to_string(file).unwrap();
        let end = text.trim_end().rfind('\n').unwrap() + 1;
        let whole = relay_sim(&["replay", "FILE"], file, file);
        for cut in [end, end + 9] {
            fs::write(file, &text[..cut]).unwrap();
            let output = relay_sim(&["replay", "FILE"], file, file);
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            assert!(output.stdout == whole.stdout && output.stderr.is_empty(), "{output:?}");
            let output = relay_sim(&["check", "FILE"], file, file);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
        }
    }
}

#[test]
fn a_trace_that_is_not_judged_says_what_to_do_about_it() {
    let folder = TempDir::new().unwrap();
    let [parts, panics] = traces(&folder);
    let said = |file: &Path| {
        let output = relay_sim(&["check", "FILE"], file, file);
        assert!(output.stdout.is_empty());
        text_of(&output.stderr).to_owned()
    };
    let told = said(&parts);
    for words in [
        "not judged",
        "the relay-sim of the version that recorded it (core 0.1.0)",
        "bless a copy",
        "differs",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let told = said(&panics);
    assert!(told.contains("not judged") && told.contains("mend the core, or the line"), "{told}");
}

#[test]
fn nobody_is_told_to_bless_a_panic_before_it_is_redacted() {
    let folder = TempDir::new().unwrap();
    for (file, blessable) in traces(&folder).iter().zip([true, false]) {
        let output = relay_sim(&["redact", "FILE", "-o", "OUT"], file, &folder.path().join("out"));
        let told = text_of(&output.stderr);
        assert!(told.contains("redact the original with the core that recorded it"), "{told}");
        assert_eq!(told.contains("bless it first"), blessable, "{told}");
    }
}

/// What `check` advises: the prints of a blessed trace are those of today's core, so it is judged.
#[test]
fn a_blessed_copy_is_judged() {
    let folder = TempDir::new().unwrap();
    let [parts, _] = traces(&folder);
    assert_eq!(relay_sim(&["bless", "FILE"], &parts, &parts).status.code(), Some(0));
    let output = relay_sim(&["check", "FILE"], &parts, &parts);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
}

#[test]
fn the_help_of_check_says_whom_it_judges() {
    let output = Command::new(env!("CARGO_BIN_EXE_relay-sim")).args(["check", "--help"]).output().unwrap();
    let told = text_of(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("A trace holds no commands") && told.contains("bless"), "{told}");
}
