//! The end of a recording, by its size and by a panic. The form of traces is tested where it is made.

use super::*;
use relay_core::ids::LinkId;
use relay_core::time::{Mono, Wall};
use relay_core::trace::Trace;
use relay_core::{Access, Secret};
use std::path::PathBuf;
use std::process::Command as Process;

/// Where the process that is to panic records to.
const PLACE: &str = "RELAY_TEST_RECORD_A_PANIC";
const KEY: &str = "rk_live_0123456789abcdef0123456789abcdef";

fn now(number: u64) -> Now {
    Now { mono: Mono(number * 1_000), wall: Wall(1_760_000_000_000 + number as i64) }
}

/// A recording under way that ends after so many bytes, and its queue.
fn recording(path: &Path, size: usize) -> (Recording, Arc<Queue>) {
    let config = Config {
        instance: "project".into(),
        node_name: None,
        base_url: "https://engine.example".into(),
        access: Access::Key(Secret::new(KEY).unwrap()),
        node_id: None,
        node_token: None,
        agent_type: "human".into(),
        harnesses: Vec::new(),
        max_agents: 0,
        channels: Vec::new(),
        version: "0.1.0".into(),
        persist: true,
    };
    let boot = Boot {
        now: now(0),
        seed: [7; 32],
        machine_seed: "node_seed".into(),
        cwd: "/project".into(),
        pid: 1,
        identity: None,
        tokens: Vec::new(),
        journal: String::new(),
    };
    let recorder = Recorder::new(&config, &boot, "test", Mask::new([3; 32]), Detail::Prints);
    let file = create(path).unwrap();
    let tape = Tape::start(recorder.of_size(size), file, |error| panic!("{error}")).unwrap();
    let queue = tape.queue.clone();
    (Recording(Some(tape)), queue)
}

fn pong(recording: &mut Recording, number: u64) {
    recording.input(now(number), &Input::LinkPong { link: LinkId(number) });
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("life.trace");
    (folder, path)
}

#[test]
fn a_recording_that_has_its_size_ends_and_is_whole_on_the_disk() {
    let (_folder, path) = file();
    let (mut recording, queue) = recording(&path, 4_000);
    let taken = (1..=1_000).take_while(|number| {
        pong(&mut recording, *number);
        recording.0.is_some()
    });
    let taken = taken.count();
    assert!((10..999).contains(&taken), "{taken} inputs");
    pong(&mut recording, 1_001);
    queue.end(None);
    recording.finish(0);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.len() < 5_000, "{} bytes", text.len());
    let trace = Trace::read(&text).unwrap();
    assert_eq!((trace.entries.len(), &*trace.end), (taken, "the trace has reached its largest size"));
}

#[test]
fn a_panic_is_the_last_word_behind_all_inputs_before_it() {
    if let Some(path) = std::env::var_os(PLACE) {
        crate::process::end_on_panic("test");
        let (mut recording, _) = recording(Path::new(&path), 1 << 20);
        (1..=300).for_each(|number| pong(&mut recording, number));
        panic!("assertion failed: the token is {KEY}");
    }
    let (_folder, path) = file();
    let mut process = Process::new(std::env::current_exe().unwrap());
    process.args(["--exact", "record::tests::a_panic_is_the_last_word_behind_all_inputs_before_it"]);
    let status = process.env(PLACE, &path).output().unwrap().status;
    assert_eq!(status.code(), Some(101));
    let text = std::fs::read_to_string(&path).unwrap();
    let trace = Trace::read(&text).unwrap();
    assert_eq!(trace.entries.len(), 300);
    assert!(trace.end.starts_with("panic: ") && trace.end.contains("assertion failed"), "{}", trace.end);
    assert!(!text.contains(KEY), "{}", trace.end);
    // What the last input caused is not known.
    assert!(!trace.is_whole());
}
