//! Names of files: none reaches a terminal with what steers it, and a command that is printed does what
//! it says, whatever the file is called.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// How a printed command begins.
const PROGRAM: &str = "cargo run --release -p relay-sim -- ";

/// Names that a shell takes for something else, unless they are quoted.
const NAMES: [&[u8]; 7] =
    [b"a b", b"it's", b"$(boo);`boo`&", b"-x", b"~", b"nope\x1b[31m\nfoo\\'", b"\xff\xe2\x80\xae\xe9"];

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

/// Runs the program in a folder.
fn relay_sim<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relay-sim")).args(args).current_dir(folder).output().unwrap()
}

/// All that was printed, which steers no terminal.
fn told(output: &Output) -> String {
    let told = [output.stdout.as_slice(), &output.stderr].concat();
    let told = String::from_utf8(told).unwrap();
    let steers = |char: char| char.is_control() && char != '\n' || char == '\u{202e}';
    assert!(!told.contains(steers), "{told:?}");
    told
}

/// Lets a shell run a printed command.
fn pasted(folder: &Path, command: &str) -> Output {
    let command = command.replacen(PROGRAM, &format!("{} ", env!("CARGO_BIN_EXE_relay-sim")), 1);
    Command::new("bash").args(["-c", &command]).current_dir(folder).output().unwrap()
}

#[test]
fn a_printed_command_does_what_it_says_whatever_the_file_is_called() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let trace = fixture("traces/direct.jsonl");
    for name in NAMES.map(OsStr::from_bytes) {
        let mut output = OsString::from("--output=");
        output.push(name);
        let distilled = relay_sim(folder, [OsStr::new("distill"), trace.as_os_str(), &output]);
        let told = told(&distilled);
        assert!(distilled.status.success(), "{told}");
        let command = told.lines().last().unwrap();
        let run = pasted(folder, command);
        assert!(run.status.success(), "{command}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn the_command_on_a_page_does_what_it_says_whatever_the_file_is_called() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    for (input, verb) in [("traces/direct.jsonl", "replay"), ("scenarios/direct.json", "run")] {
        for name in NAMES.map(OsStr::from_bytes) {
            fs::copy(fixture(input), folder.join(name)).unwrap();
            let view = [OsStr::new("view"), OsStr::new("-o"), OsStr::new("page"), OsStr::new("--"), name];
            let drawn = relay_sim(folder, view);
            assert!(drawn.status.success(), "{}", told(&drawn));
            let page = fs::read_to_string(folder.join("page")).unwrap();
            let json = page.split_once("\"reproduction\":").unwrap().1;
            let mut json = serde_json::Deserializer::from_str(json).into_iter::<String>();
            let command = json.next().unwrap().unwrap();
            assert!(command.starts_with(&format!("{PROGRAM}{verb} ")), "{command}");
            let again = pasted(folder, &command);
            assert!(again.status.success(), "{command}: {}", String::from_utf8_lossy(&again.stderr));
            told(&again);
        }
    }
}

#[test]
fn a_plain_name_is_printed_as_it_is() {
    let folder = TempDir::new().unwrap();
    let trace = fixture("traces/direct.jsonl");
    let output =
        relay_sim(folder.path(), [Path::new("distill"), &trace, Path::new("-o"), Path::new("a-b_1.json")]);
    assert!(told(&output).ends_with(&format!("\n{PROGRAM}run a-b_1.json\n")));
}

#[test]
fn what_steers_a_terminal_does_not_reach_it_from_a_name() {
    const NAME: &str = "nope\x1b[31m\nfoo";
    const SHOWN: &str = "nope\\u{1b}[31m\\nfoo";
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    // First nothing of that name is there, then a trace, then a scenario.
    for input in [None, Some("traces/direct.jsonl"), Some("scenarios/direct.json")] {
        if let Some(input) = input {
            fs::copy(fixture(input), folder.join(NAME)).unwrap();
        }
        let commands: [&[&str]; 9] = [
            &["replay", NAME],
            &["check", NAME],
            &["bless", NAME],
            &["run", NAME],
            &["redact", NAME, "-o", "out\x07"],
            &["distill", NAME, "-o", "out\x07"],
            &["record", NAME, "-o", "out\x07"],
            &["view", NAME, "-o", "out\x07"],
            &["view", NAME, "-o", NAME],
        ];
        for args in commands {
            let output = relay_sim(folder, args);
            let told = told(&output);
            let name = if told.contains("out") { "out\\u{7}" } else { SHOWN };
            assert!(told.contains(name), "{args:?}: {told}");
        }
    }
    for args in [["replay", "--\x1b[31m"], ["\x1b[31m", "x"], ["swarm", "--seeds=\x1b[31m"]] {
        told(&relay_sim(folder, args));
    }
}
