//! What the program writes: output files as a whole or not at all, and lines that are not lost in silence.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Commands that write a file, each with what it is made of; `OUT` is the file.
const WRITERS: [(&str, &[&str]); 4] = [
    ("traces/direct.jsonl", &["redact", "IN", "-o", "OUT"]),
    ("traces/direct.jsonl", &["distill", "IN", "-o", "OUT"]),
    ("traces/direct.jsonl", &["view", "IN", "-o", "OUT"]),
    ("scenarios/direct.json", &["record", "IN", "-o", "OUT"]),
];

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

fn relay_sim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_relay-sim"))
}

fn with_files<'a>(args: &'a [&str], input: &'a Path, output: &'a Path) -> impl Iterator<Item = &'a OsStr> {
    args.iter().map(move |arg| match *arg {
        "IN" => input.as_os_str(),
        "OUT" => output.as_os_str(),
        arg => OsStr::new(arg),
    })
}

fn write(args: &[&str], input: &Path, output: &Path) -> Output {
    relay_sim().args(with_files(args, input, output)).output().unwrap()
}

/// The one line on stderr.
fn complaint(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    said
}

/// All that lies in a folder.
fn names(folder: &TempDir) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().mode() & 0o777
}

/// A trace with a print that no core makes, for its owner only.
fn outdated(folder: &TempDir) -> PathBuf {
    let file = folder.path().join("life.trace");
    let text = fs::read_to_string(fixture("traces/direct.jsonl")).unwrap();
    let (begin, print) = text.split_once("\"po\":[\"").unwrap();
    fs::write(&file, format!("{begin}\"po\":[\"00000000{}", &print[8..])).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file
}

#[test]
fn a_blessed_trace_keeps_its_permissions_and_an_unchanged_one_is_not_touched() {
    let folder = TempDir::new().unwrap();
    let file = outdated(&folder);
    let neighbour = folder.path().join("life.trace.new");
    fs::write(&neighbour, "mine").unwrap();
    let bless = || {
        let output = relay_sim().arg("bless").arg(&file).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(bless().starts_with("blessed: "));
    assert_eq!(mode(&file), 0o600);
    let blessed = fs::metadata(&file).unwrap();
    assert!(bless().starts_with("unchanged: "));
    let after = fs::metadata(&file).unwrap();
    assert_eq!((blessed.ino(), blessed.modified().unwrap()), (after.ino(), after.modified().unwrap()));
    assert_eq!(names(&folder), ["life.trace", "life.trace.new"]);
    assert_eq!(fs::read_to_string(neighbour).unwrap(), "mine");
}

#[test]
fn what_comes_from_a_life_is_for_its_owner_and_what_is_replaced_keeps_its_permissions() {
    let folder = TempDir::new().unwrap();
    for (input, args) in WRITERS {
        let out = folder.path().join(args[0]);
        assert!(write(args, &fixture(input), &out).status.success(), "{args:?}");
        if args[0] != "distill" {
            assert_eq!(mode(&out), 0o600, "{args:?}");
        }
        fs::set_permissions(&out, Permissions::from_mode(0o640)).unwrap();
        assert!(write(args, &fixture(input), &out).status.success(), "{args:?}");
        assert_eq!(mode(&out), 0o640, "{args:?}");
    }
    assert_eq!(names(&folder), ["distill", "record", "redact", "view"]);
}

#[test]
fn a_folder_is_no_output_and_nothing_is_left_beside_it() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    for (input, args) in WRITERS {
        let said = complaint(&write(args, &fixture(input), &out));
        assert!(said.starts_with(&format!("cannot write {}: ", out.display())), "{said}");
        assert_eq!(names(&folder), ["out"]);
    }
}

/// A file that can be written, in a folder where nobody can make another one.
#[test]
fn where_no_file_can_be_made_the_folder_is_named() {
    let said =
        complaint(&relay_sim().args(["view", "--seed", "1", "-o", "/proc/self/comm"]).output().unwrap());
    let told = "cannot write /proc/self/comm: no new file can be made beside it, in /proc/self: ";
    assert!(said.starts_with(told), "{said}");
}

#[test]
fn where_no_more_can_be_written_the_old_file_stays_and_no_part_of_a_new_one() {
    // No file may have more than a block; what would be longer is refused like a full disk.
    const LIMITED: &str = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let folder = TempDir::new().unwrap();
    let old = folder.path().join("old");
    fs::write(&old, "old").unwrap();
    let write = |args: &[&str], input: &str, output: &Path| {
        let input = fixture(input);
        let args = with_files(args, &input, output);
        let mut shell = Command::new("sh");
        shell.args(["-c", LIMITED, "sh", env!("CARGO_BIN_EXE_relay-sim")]).args(args).output().unwrap()
    };
    for (input, args) in WRITERS {
        for out in [&old, &folder.path().join("new")] {
            let said = complaint(&write(args, input, out));
            assert!(said.starts_with(&format!("cannot write {}: ", out.display())), "{said}");
            assert!(!said.contains(".relay-sim-"), "{said}");
            assert_eq!(names(&folder), ["old"], "{args:?}");
            assert_eq!(fs::read_to_string(&old).unwrap(), "old", "{args:?}");
        }
    }
}

#[test]
fn a_link_stays_one_and_what_it_points_to_is_written() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("target");
    let link = folder.path().join("link");
    symlink("target", &link).unwrap();
    for (input, args) in WRITERS {
        // First there is nothing that it points to.
        for _ in 0..2 {
            assert!(write(args, &fixture(input), &link).status.success(), "{args:?}");
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{args:?}");
            assert!(fs::metadata(&target).unwrap().len() > 100, "{args:?}");
        }
        fs::remove_file(&target).unwrap();
    }
}

#[test]
fn what_is_no_regular_file_is_written_straight_into() {
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (input, args) in WRITERS {
        let mut child = relay_sim().args(with_files(args, &fixture(input), &pipe)).spawn().unwrap();
        // Where nobody writes, a reader would wait for ever.
        let read = Command::new("timeout").args(["60", "cat"]).arg(&pipe).output().unwrap();
        assert!(read.stdout.len() > 100 && child.wait().unwrap().success(), "{args:?}");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        let said = complaint(&write(args, &fixture(input), Path::new("/dev/full")));
        assert!(said.starts_with("cannot write /dev/full: "), "{said}");
    }
}

#[test]
fn what_goes_to_stdout_is_followed_by_nothing_else_there() {
    let folder = TempDir::new().unwrap();
    for (input, args) in WRITERS {
        let (file, other) = (folder.path().join("file"), folder.path().join("other"));
        assert!(write(args, &fixture(input), &file).status.success());
        let expected = fs::read(&file).unwrap();
        let piped = write(args, &fixture(input), Path::new("/dev/stdout"));
        assert!(piped.status.success() && piped.stdout == expected, "{args:?}");
        let mut command = relay_sim();
        command.args(with_files(args, &fixture(input), Path::new("/dev/stdout")));
        assert!(command.stdout(File::create(&other).unwrap()).output().unwrap().status.success());
        assert!(fs::read(&other).unwrap() == expected, "{args:?}");
    }
}

#[test]
fn an_input_is_not_written_over_by_what_is_made_of_it() {
    let folder = TempDir::new().unwrap();
    let (file, other) = (folder.path().join("file"), folder.path().join("other"));
    for (input, args) in WRITERS {
        fs::copy(fixture(input), &file).unwrap();
        fs::hard_link(&file, &other).unwrap();
        for out in [&file, &other] {
            let said = complaint(&write(args, &file, out));
            assert!(said.contains("it is the input"), "{said}");
        }
        assert!(fs::read(&file).unwrap() == fs::read(fixture(input)).unwrap());
        fs::remove_file(&other).unwrap();
    }
}

#[test]
fn a_line_that_stdout_does_not_take_is_told_and_fails() {
    let trace = fixture("traces/direct.jsonl");
    let trace = trace.to_str().unwrap();
    let commands: [&[&str]; 6] = [
        &["distill", trace],
        &["replay", trace],
        &["swarm", "--seeds", "1", "--json"],
        &["swarm", "--seeds", "1"],
        &["seed", "3", "--verbose"],
        &["--help"],
    ];
    for args in commands {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = relay_sim().args(args).stdout(full).output().unwrap();
        let said = complaint(&output);
        assert!(said.contains("cannot write to stdout: No space left"), "{args:?}: {said}");
    }
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    for args in [["seed", "3", "--verbose"], ["swarm", "--seeds", "1"]] {
        let mut child = relay_sim().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.is_empty(), "{args:?}: {said}");
    }
    // A file that is stdout, too; what was written is told as always.
    for (input, args) in WRITERS {
        let mut command = relay_sim();
        command.args(with_files(args, &fixture(input), Path::new("/dev/stdout")));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !said.contains("cannot write"), "{args:?}: {said}");
    }
}

#[test]
fn a_stderr_that_takes_nothing_changes_no_exit_code() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let code = |args: [&str; 2]| relay_sim().args(args).stderr(full()).output().unwrap().status.code();
    assert_eq!(code(["replay", "/nowhere"]), Some(1));
    assert_eq!(code(["seed", "no-seed"]), Some(1));
}
