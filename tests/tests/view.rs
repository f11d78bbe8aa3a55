//! Pictures in a real browser: a page of ten thousand events must be there, be fluid, and answer.

use relay_sim::story::{Kind, Lane, Moment};
use relay_sim::view::View;
use relay_tests::npm;
use relay_tests::peer::or_skip;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a page is made for.
const EVENTS: u64 = 10_000;
/// Until it can be used, on a machine that does other things as well.
const READY_MS: u64 = 10_000;

fn moment(at: u64, from: Lane, to: Lane, kind: Kind, text: &str, detail: &str) -> Moment {
    let agent = None;
    Moment { at, from, to, kind, link: Some(1), agent, text: text.into(), detail: detail.into() }
}

/// Every third event is a frame, every third is typed, every third goes to the store; times are uneven.
fn page() -> String {
    let mut view = View::new("a test </script>", "relay-sim view");
    let mut at = 0;
    for number in 0..EVENTS - 2 {
        at += if number % 100 == 0 { 7_000_000 } else { 900 };
        let agent = || Lane::Agent(["alice", "bob"][(number % 2) as usize].into());
        let frame = format!(r#"{{"type":"deliver","seq":{number},"text":"</script><b>"}}"#);
        view.add(match number % 3 {
            0 => moment(at, Lane::Engine, Lane::Core, Kind::Frame, &format!("deliver {number}"), &frame),
            1 => moment(at, Lane::Core, agent(), Kind::Injection, "type hello", "hello"),
            _ => moment(at, Lane::Core, Lane::Store, Kind::Store, "append", ""),
        });
    }
    view.add(moment(at, Lane::Fault, Lane::Fault, Kind::Fault, "Cut, the needle", ""));
    let verdict = "Safety S1 is broken: row 7 was acked, and nobody took it";
    view.add(moment(at + 5, Lane::Oracle, Lane::Oracle, Kind::Verdict, verdict, verdict));
    view.page()
}

fn chromium() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|file| file.exists());
    found.ok_or_else(|| "there is no program chromium; Debian's package has that name".into())
}

/// What a reader sees, or none where there is no browser.
fn look() -> Option<Value> {
    let tools = chromium().and_then(|program| {
        let core = npm::installed("playwright-core", "1.65.1", "node_modules/playwright-core")?;
        Ok((program, core))
    });
    let (program, core) = or_skip("no look at a picture", tools)?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    std::fs::write(&file, page()).unwrap();
    // Screenshots that somebody wants to look at go where this says.
    let shots = std::env::var_os("RELAY_TESTS_SCREENSHOTS");
    let output = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/view.mjs"))
        .args([&core, &program])
        .arg(format!("file://{}", file.display()))
        .arg(shots.map_or_else(|| folder.path().to_owned(), PathBuf::from))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_picture_of_ten_thousand_events_shows_lanes_arrows_and_the_verdict_and_answers_its_reader() {
    let Some(seen) = look() else { return };
    assert_eq!((&seen["errors"], &seen["requests"]), (&json!([]), &json!([])), "a page needs nothing");
    assert!(seen["ready_ms"].as_u64().unwrap() < READY_MS, "{seen}");
    assert!(seen["modes_ms"].as_u64().unwrap() < READY_MS, "{seen}");
    assert_eq!(seen["count"], "10,000 of 10,000 events");
    let lanes = ["FAULT", "engine", "link", "core", "alice", "bob", "store", "api", "ORACLE"];
    assert_eq!(seen["lanes"], json!(lanes));
    let arrows = seen["arrows"].as_array().unwrap();
    for arrow in ["engine>core", "core>alice", "core>bob", "core>store"] {
        assert!(arrows.contains(&json!(arrow)), "{arrow} is missing: {arrows:?}");
    }
    // What stands on the canvas.
    assert_eq!(seen["ink"]["lanes"], json!(lanes.map(|lane| (lane, true))));
    assert_eq!((&seen["ink"]["between"], &seen["ink"]["arrow"]), (&json!(false), &json!(true)));
    for shot in
        ["colours", "verdict_colours", "colours_even", "colours_linear", "colours_gaps", "colours_dark"]
    {
        assert!(seen[shot].as_u64().unwrap() > 50, "{shot} is blank: {}", seen[shot]);
    }
    let narrow = &seen["narrow"];
    for (what, most) in [("text", 0.8), ("lanes", 0.8)] {
        assert!(narrow[what].as_f64().unwrap() < most, "{what}: {narrow}");
    }
    assert_eq!(narrow["named"], true, "{narrow}");
    assert_ne!(seen["dark"], "rgb(251, 251, 250)");
    // The rule that was broken.
    assert!(seen["verdict"].as_str().unwrap().contains("S1 is broken"), "{seen}");
    assert!(seen["verdict_detail"].as_str().unwrap().contains("nobody took it"));
    // Details.
    assert!(seen["detail"].as_str().unwrap().contains("\"text\": \"</script><b>\""), "{}", seen["detail"]);
    assert!(seen["facts"].as_str().unwrap().contains("engine → core"));
    assert!(seen["next_facts"].as_str().unwrap().contains("core → bob"), "{}", seen["next_facts"]);
    assert_eq!(seen["closed"], true);
    // Filters.
    let left = json!({ "count": "6,667 of 10,000 events", "left": 0 });
    assert_eq!(seen["without_frames"], left);
    assert_eq!(seen["without_store"], "6,668 of 10,000 events");
    assert_eq!(seen["searched"], "1 of 10,000 events");
}
