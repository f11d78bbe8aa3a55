//! Traces that are written anew: what is redacted shows no message, and nothing that was recorded of a
//! failure gets lost.

use relay_core::Input;
use relay_core::trace::{Entry, Trace, last_line};
use relay_sim::agents::Kind;
use relay_sim::plan::{SECOND, Step};
use relay_sim::record;
use relay_sim::replay::{NotRedacted, bless, check, redact, replay};
use relay_sim::scenario::Scenario;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The first message of `direct.jsonl`, and where its payload begins and ends in the frame.
const TOLD: &str = "<m1.0> and so on and on it goes <m1.1!>";
const PAYLOAD: [&str; 2] = ["{\\\"data\\\":{\\\"attachments\\\"", "}\"}}}\n"];

/// An input that lets the core panic: more bytes left a link than went into it.
const WRONG: [&str; 2] = ["\"bytes\":593", "\"bytes\":594"];

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/traces");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// A text within a JSON string.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json[1..json.len() - 1].to_owned()
}

/// What the core does now is right.
fn blessed(text: &str) -> String {
    bless(&Trace::read(text).unwrap()).unwrap()
}

/// `direct.jsonl` with another first payload, of which the agent is shown `shown`.
fn told(payload: &str, shown: &str) -> String {
    assert_eq!(shown.len(), TOLD.len(), "the sizes of writes stand in the trace");
    let whole = fixture("direct.jsonl");
    let start = whole.find(PAYLOAD[0]).unwrap();
    let end = start + whole[start..].find(PAYLOAD[1]).unwrap();
    let edited = format!("{}{}{}", &whole[..start], quoted(payload), &whole[end..]);
    let text = blessed(&edited.replace(TOLD, &quoted(shown)));
    let acked = text.matches("\"bytes\":61").count();
    assert_eq!((acked, text.lines().count()), (whole.matches("\"bytes\":61").count(), whole.lines().count()));
    text
}

/// The redacted trace, which replays to its end.
fn without_messages(text: &str) -> String {
    let redacted = redact(&Trace::read(text).unwrap()).unwrap();
    assert_eq!(redacted.ends_before, None, "{}", redacted.text);
    replay(&Trace::read(&redacted.text).unwrap()).unwrap();
    assert_eq!(redacted.text.len(), text.len());
    redacted.text
}

#[test]
fn whatever_the_core_types_of_a_payload_is_redacted() {
    const OUTPUT: &str = "Das Passwort lautet: Heuschrecke zwoelf";
    const WHOLE: &str = r#"{"note":"Passwort Heuschrecke zwoelf."}"#;
    for (payload, shown) in [
        (
            r#"{"type":"action.completed","from":"alice","data":{"output":"#.to_owned()
                + &format!("{OUTPUT:?}}}}}"),
            OUTPUT,
        ),
        (
            r#"{"type":"action.failed","from":"alice","data":{"error":"#.to_owned()
                + &format!("{OUTPUT:?}}}}}"),
            OUTPUT,
        ),
        (r#"{"type":"action.completed","from":"alice","data":{"output":"#.to_owned() + WHOLE + "}}", WHOLE),
        (r#"{"type":"dm.received","from":"alice","data":"#.to_owned() + WHOLE + "}", WHOLE),
    ] {
        let plain = told(&payload, shown);
        let text = without_messages(&plain);
        for word in ["Passwort", "Heuschrecke", "zwoelf"] {
            assert!(plain.contains(word) && !text.contains(word), "{payload}: {word}");
        }
    }
}

#[test]
fn escapes_hide_no_message() {
    let shown = "Schlüssel: Grünspecht, zwölf, 漢字";
    let escaped = shown
        .chars()
        .map(|char| if char.is_ascii() { char.to_string() } else { format!("\\u{:04x}", u32::from(char)) })
        .collect::<String>();
    let payload = format!(r#"{{"type":"dm.received","from":"alice","data":{{"text":"{escaped}"}}}}"#);
    let plain = told(&payload, shown);
    let text = without_messages(&plain);
    for word in ["Schlüssel", "ssel", "nspecht", "zwölf", "u00f6", "漢", "u6f22"] {
        assert!(plain.contains(word) && !text.contains(word), "{word}");
    }
}

#[test]
fn tasks_environments_and_arguments_are_redacted() {
    let request = r#"{"cli":"goose","name":"agent-0","args":["--key=Heuschrecke"],"env":{"API_KEY":"Grashuepfer"},"harnessConfig":{"env":{"OTHER_KEY":"Laubfrosch"}}}"#;
    let direct = fixture("direct.jsonl");
    let (from, to) = (quoted(r#"{"cli":"goose","name":"agent-0","task":""}"#), quoted(request));
    let text = without_messages(&blessed(&direct.replace(&from, &to)));
    assert!(text.contains("API_KEY") && text.contains("goose"));
    let order = r#"{"cli":"goose","name":"agent-0","prompt":"Heuschrecke","agent":{"initial_task":"Grashuepfer"},"harness_config":{"command":"goose","env":{"API_KEY":"Laubfrosch"}}}"#;
    let invoked = fixture("spawn-by-invocation.jsonl");
    assert!(invoked.contains(&from));
    let ordered = without_messages(&blessed(&invoked.replace(&from, &quoted(order))));
    for word in ["Heuschrecke", "Grashuepfer", "Laubfrosch"] {
        assert!(!text.contains(word) && !ordered.contains(word), "{word}");
    }
}

/// A life in which nothing but these inputs happens.
fn living(inputs: impl IntoIterator<Item = String>) -> String {
    let mut text = fixture("direct.jsonl").lines().next().unwrap().to_owned() + "\n";
    let mut number = 0;
    for input in inputs {
        number += 1;
        text += &format!("{{\"n\":{number},\"now\":[{number},1790000000000],\"i\":{input}}}\n");
    }
    blessed(&(text + &last_line(number, "stopped")))
}

/// A request that types keys, as an input.
fn keys(request: usize, keys: &str) -> String {
    let body = quoted(&serde_json::json!({ "data": keys }).to_string());
    format!(
        r#"{{"api":{{"request":{request},"auth":"ok","method":"POST","target":"/api/input/agent-0","upgrade":false,"body":"{body}"}}}}"#
    )
}

/// What a program shows, as an input.
fn output(bytes: &str) -> String {
    format!(r#"{{"pty_output":{{"process":11,"bytes":"{}"}}}}"#, quoted(bytes))
}

/// All that programs show in a trace.
fn shown(text: &str) -> Vec<u8> {
    let trace = Trace::read(text).unwrap();
    let output = |entry: &Entry<'_>| match entry.input() {
        Input::PtyOutput { bytes, .. } => bytes.to_vec(),
        _ => Vec::new(),
    };
    trace.entries.iter().flat_map(output).collect()
}

/// The keys that somebody types into a terminal come one by one, and its program shows them.
#[test]
fn what_keys_spell_is_redacted() {
    let typed = "Heuschrecke".chars().zip(1..);
    let text =
        living(typed.flat_map(|(key, request)| [keys(request, &key.to_string()), output(&key.to_string())]));
    let redacted = without_messages(&text);
    let shown = shown(&redacted);
    assert!(shown.len() == 11 && !shown.starts_with(b"H") && !shown.ends_with(b"cke"), "{shown:?}");
    assert!(!redacted.contains("\"bytes\":\"H\"") && !redacted.contains("\"H\\"), "{redacted}");
}

/// Whatever stands between the words of a message and wherever chunks end, no word of four letters can be
/// read, and no sequence does anything else.
#[test]
fn however_a_program_shows_a_message_it_is_redacted() {
    for program in [
        "\x1b7tapioca\x1b8 \x1b7password\x1b8 \x1b7hunterzwei\x1b8",
        "\x1b(0x\x1b(Btapioca \x1b(Bpassword \x1b(Bhunterzwei",
        "\x1b]0;tapioca password\x07\x1b]8;;http://hunterzwei/8\x1b\\tapioca\x1b]8;;\x1b\\ 8",
        "\x1bPtapioca\x1b\\\x1bP1$qpassword\x1b\\\x1b_hunterzwei\x1b\\\x1b^tapioca\x1b\\\x1bXtapioca",
        "\u{9d}2;tapioca\u{9c}\u{9b}8mpassword \x1b[\x1b[8mhunterzwei\x1bMtapioca\x1b",
        "\x1b[1mt\x1b[0mapioca p\x1b[1massword",
        "x\r\nword hunt\r\nerzwei\x1b[8;8Hioca passw... hunter… …password",
        "\x1b]0;nothing ends this\r\ntapioca pass\r\nword",
    ] {
        for size in [1, 2, 3, 5, program.len()] {
            let chunks = program.chars().collect::<Vec<_>>();
            let chunks = chunks.chunks(size).map(|chunk| output(&chunk.iter().collect::<String>()));
            let plain = living([keys(1, "tapioca password hunterzwei 8")].into_iter().chain(chunks));
            let hidden = shown(&without_messages(&plain));
            let hidden = String::from_utf8(hidden).unwrap();
            for readable in ["tapi", "ioca", "pass", "word", "hunt", "zwei"] {
                assert!(!hidden.contains(readable), "{program:?}: {hidden:?}");
            }
            let signs = |text: &str| text.replace(|char: char| char.is_ascii_lowercase(), "a");
            let old = signs(program);
            // The only 8 that is a word.
            let old = old.replace("/8", "/1").replace(" 8", " 1");
            assert_eq!(signs(&hidden), old);
        }
    }
}

/// No number of so many digits is read as it stands, so the core types another text.
#[test]
fn numbers_that_are_typed_otherwise_are_redacted() {
    let payload = |numbers: &str| {
        format!(r#"{{"type":"action.completed","from":"alice","data":{{"output":{{"n":{numbers}}}}}}}"#)
    };
    let shown = r#"{"n":[1.2345678901234568e+22,123456.5]}"#;
    let plain = told(&payload("[12345678901234567890123,1234565e-1]"), shown);
    let text = without_messages(&plain);
    for number in ["12345678901", "1.23456789012", "123456"] {
        assert!(plain.contains(number) && !text.contains(number), "{number}");
    }
}

/// What a program shows of message 1 and of the end of its paste has the letters of message 102: `m1`, `0`,
/// `201` and `m102`, `0`.
#[test]
fn the_end_of_a_paste_that_a_program_shows_is_no_part_of_a_message() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/scenarios/direct.json");
    let mut plan = Scenario::parse(&fs::read_to_string(file).unwrap()).unwrap().plan;
    plan.agents[0].kind = Kind::Wrapped;
    let direct = |number| (number * SECOND / 2, Step::Direct { to: 0, steer: false, size: 1 });
    plan.steps = (10..112).map(direct).collect();
    plan.calm_at = 60 * SECOND;
    let mut text = String::new();
    record(plan, None, &mut |_, lines| text.push_str(lines)).unwrap();
    assert!(text.contains(r"<m1.0!>\r\n│  [201~") && text.contains("<m102.0!>"));
    assert!(text.contains(r" [\r\n│ 201~"), "a row may end within it");
    without_messages(&text);
}

/// `direct.jsonl`, whose second message tells the id of the first one and how it begins, as one word: on the
/// screen, the filler of that word stands in the header of the first message, which the broker misses then.
fn unredactable() -> String {
    let whole = fixture("direct.jsonl");
    let (text, id) = (quoted("\"text\":\"<m2.0>"), "360428307742720000");
    assert!(whole.contains(&text) && whole.contains(&format!("[{id}]: <m1.0> and")));
    let word = quoted(&format!("\"text\":\"{id}m1 0 and\",\"more\":\"<m2.0>"));
    blessed(&whole.replacen(&text, &word, 1))
}

#[test]
fn a_trace_that_is_redacted_in_part_says_how_much_is_left_and_what_to_do_and_fails() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (folder.path().join("life.jsonl"), folder.path().join("out.jsonl"));
    let plain = unredactable();
    fs::write(&file, &plain).unwrap();
    let run = |out: &str| {
        let args = ["redact", file.to_str().unwrap(), "-o", out];
        let output = Command::new(env!("CARGO_BIN_EXE_relay-sim")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (done, said) = run(out.to_str().unwrap());
    assert_eq!((done.lines().count(), said.lines().count()), (1, 1), "{done}{said}");
    let text = fs::read_to_string(&out).unwrap();
    let (kept, lines) = (text.lines().count() - 1, plain.lines().count() - 1);
    let told = format!("it ends before line {}: kept {kept} of {lines} lines", kept + 1);
    assert!(said.contains(&told) && said.contains("distill"), "{said}");
    assert!(said.contains(out.to_str().unwrap()), "{said}");
    replay(&Trace::read(&text).unwrap()).unwrap();
    // Nothing follows the trace where that goes to stdout.
    let (printed, said) = run("/dev/stdout");
    assert!(printed == text && said.contains(&told), "{said}");
}

#[test]
fn the_help_of_redact_says_how_it_ends_when_not_all_is_kept() {
    let args = ["redact", "--help"];
    let output = Command::new(env!("CARGO_BIN_EXE_relay-sim")).args(args).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("ends before that") && told.contains("with 1"), "{told}");
}

#[test]
fn a_redacted_trace_is_judged_as_the_trace_was() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/traces")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = fixture(&name);
        let redacted = without_messages(&text);
        let judged = |text: &str| check(&Trace::read(text).unwrap()).unwrap().violations;
        assert_eq!(judged(&redacted), judged(&text), "{name}");
    }
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
    let redacted = redact(&trace).unwrap();
    assert_eq!(redacted.ends_before, None);
    let again = Trace::read(&redacted.text).unwrap();
    assert!(replay(&again).unwrap().panicked);
    assert_eq!(again.end, trace.end);
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
    let out = folder.path().join("out.jsonl");
    let run = |text: &str, args: &[&str]| {
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_relay-sim"))
            .args([args[0], file.to_str().unwrap()])
            .args(&args[1..])
            .output()
            .unwrap();
        assert!(output.stdout.is_empty() && !out.exists());
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        (output.status.code(), said)
    };
    let whole = fixture("direct.jsonl");
    let (code, said) = run(&whole.replacen(WRONG[0], WRONG[1], 1), &["bless"]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("panics at line 9") && said.contains("mend"), "{said}");
    let different = whole.replacen("02b28ba1", "02b28ba2", 1);
    assert_ne!(different, whole);
    let (code, said) = run(&different, &["redact", "-o", out.to_str().unwrap()]);
    assert_eq!(code, Some(13), "{said}");
    assert!(said.contains("does not replay") && said.contains("bless it first"), "{said}");
    let refused = redact(&Trace::read(&different).unwrap());
    assert!(matches!(refused, Err(NotRedacted::Different(_))), "{refused:?}");
}
