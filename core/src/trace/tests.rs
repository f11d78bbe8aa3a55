use super::mask::shape;
use super::*;
use crate::ids::*;
use crate::input::{Auth, CallReply, ExitStatus, Fault, FaultKind, Input, Refusal, TtyState};
use crate::secret::Secret;
use crate::time::{Mono, Now, Wall};
use crate::{Access, Boot, Broker, Command, Config, Step};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;

const KEY: &str = "rk_live_0123456789abcdef0123456789abcdef";
const TOKEN: &str = "at_live_fedcba9876543210fedcba9876543210";
const LOCAL: &str = "br_00112233445566778899aabbccddeeff";
const ODD: &str = "a-token/of another form";

fn now(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000), wall: Wall(1_760_000_000_000 + ms as i64) }
}

fn config() -> Config {
    Config {
        instance: "project".into(),
        node_name: None,
        base_url: "https://engine.example".into(),
        access: Access::Key(Secret::new(KEY).unwrap()),
        node_id: None,
        node_token: Secret::new(ODD),
        agent_type: "human".into(),
        harnesses: ["claude".into()].into(),
        max_agents: 3,
        channels: ["general".into()].into(),
        version: "0.1.0".into(),
        persist: true,
    }
}

fn boot() -> Boot {
    Boot {
        now: now(0),
        seed: [7; 32],
        machine_seed: "node_seed".into(),
        cwd: "/project".into(),
        pid: 1,
        identity: None,
        tokens: Vec::new(),
        journal: String::new(),
    }
}

fn mask() -> Mask {
    Mask::new([3; 32])
}

/// A trace of these inputs, of a broker that does nothing.
fn trace_of(inputs: &[Input<'_>], mask: Mask) -> String {
    let mut recorder = Recorder::new(&config(), &boot(), "test", mask, Detail::Prints);
    recorder.settled(|| unreachable!("no check before an input"));
    for (number, input) in (1..).zip(inputs) {
        recorder.input(now(number), input);
        recorder.settled(|| unreachable!("no check so early"));
    }
    recorder.end("test over");
    recorder.take()
}

fn every_input() -> Vec<Input<'static>> {
    let fault = Fault { kind: FaultKind::NoSpace, detail: "no space" };
    let state = TtyState { unread: 3, canonical: true, echo: false };
    let (link, process, op) = (LinkId(1), ProcessId(2), OpId(3));
    [
        Input::Tick,
        Input::LinkUp { link },
        Input::LinkRefused { link, why: Refusal::Status(401) },
        Input::LinkRefused { link, why: Refusal::Fault(fault) },
        Input::LinkText { link, text: "{\"a\":\"\u{e9}\\n\"}" },
        Input::LinkBinary { link, len: 4 },
        Input::LinkPong { link },
        Input::LinkDrained { link, bytes: 5 },
        Input::LinkDown { link, why: "1006" },
        Input::CallDone { call: CallId(6), result: Ok(CallReply { status: 201, body: b"{}" }) },
        Input::CallDone { call: CallId(6), result: Err(fault) },
        Input::Spawned { process, result: Ok(7) },
        Input::Spawned { process, result: Err(fault) },
        Input::PtyOutput { process, bytes: b"text\x1b[0m\x00" },
        Input::PtyOutput { process, bytes: b"\xff\xfe not text" },
        Input::PtyWritten { process, op, written: 8, fault: None },
        Input::PtyWritten { process, op, written: 8, fault: Some(fault) },
        Input::PtyState { process, op, state: Some(state) },
        Input::PtyState { process, op, state: None },
        Input::PtyEof { process },
        Input::PtyExited { process, status: ExitStatus::Code(9) },
        Input::PtyExited { process, status: ExitStatus::Signal(15) },
        Input::PtyExited { process, status: ExitStatus::Unknown },
        Input::Api {
            request: RequestId(10),
            auth: Auth::Missing,
            method: "POST",
            target: "/api/send?x=1",
            upgrade: true,
            body: b"{}",
        },
        Input::ApiGone { request: RequestId(10) },
        Input::StreamDrained { subscriber: SubscriberId(11), bytes: 12 },
        Input::StreamGone { subscriber: SubscriberId(11) },
        Input::Stored { store: StoreId(13), result: Ok(()) },
        Input::Stored { store: StoreId(13), result: Err(fault) },
        Input::Terminate,
    ]
    .into()
}

#[test]
fn what_is_written_is_read_again() {
    let inputs = every_input();
    let text = trace_of(&inputs, Mask::off());
    let trace = Trace::read(&text).unwrap();
    assert_eq!(trace.entries.len(), inputs.len());
    for (entry, (number, input)) in trace.entries.iter().zip((1..).zip(&inputs)) {
        assert_eq!((entry.number, entry.now, entry.line), (number, now(number), number as usize + 1));
        assert_eq!(format!("{:?}", entry.input()), format!("{input:?}"));
    }
    assert_eq!((&*trace.driver, &*trace.end), ("test", "test over"));
    let (read, given) = (&trace.config, config());
    assert_eq!(format!("{read:?}"), format!("{given:?}"));
    assert_eq!((trace.boot.seed, trace.boot.now), (boot().seed, boot().now));
}

#[test]
fn a_text_that_is_no_whole_trace_is_refused_with_its_line() {
    let whole = trace_of(&[Input::Tick, Input::Terminate], mask());
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let cases: [(String, &str); 14] = [
        (String::new(), "line 1: the file is empty"),
        ("hello\n".into(), "line 1: this is no trace"),
        ("{\"t\":\"end\",\"v\":1}\n".into(), "line 1: this is no trace"),
        (whole.replacen("\"v\":1", "\"v\":2", 1), "line 1: this trace has format 2, and only format 1"),
        (lines[..3].concat(), "line 4: the trace was cut off here: it has no end, after 2 inputs"),
        (lines[..3].concat() + "{\"t\":\"end\",\"n\"", "line 4: the line is cut off after 14 bytes"),
        ([lines[0], lines[2], lines[3]].concat(), "line 2: lines are missing or out of order"),
        ([lines[0], lines[1], lines[3]].concat(), "line 3: lines are missing or out of order"),
        (whole.replacen("\"now\":[", "\"now\":[9999", 1), "line 2: the monotonic clock is behind"),
        (whole.clone() + lines[1], "line 5: there is more behind the end"),
        ([lines[0], lines[0]].concat(), "line 2: a second trace begins here"),
        (whole.replacen("tick", "tock", 1), "line 2: unknown variant `tock`"),
        (whole.replacen("{\"n\":1,", "{\"n\":1,\"x\":0,", 1), "line 2: unknown field `x`"),
        (whole.replacen("\"seed\":\"07", "\"seed\":\"7", 1), "line 1: boot.seed is not 64 hex digits"),
    ];
    for (text, wanted) in cases {
        let error = Trace::read(&text).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}\nwanted: {wanted}");
        assert!(!error.contains('\n'), "{error}");
    }
    for cut in 0..whole.len() - 1 {
        Trace::read(&whole[..cut]).unwrap_err();
    }
    assert!(check_size(1 << 20).is_ok());
    assert!(check_size(1 << 40).unwrap_err().starts_with("the file has 1048576 MiB"));
}

#[test]
fn an_input_that_is_not_known_is_told_in_whole_words() {
    let whole = trace_of(&[Input::Tick], mask());
    let told = |kind: &str| Trace::read(&whole.replacen("tick", kind, 1)).unwrap_err().to_string();
    let error = told("tock");
    let (words, place) = error.split_once(" \u{2026}, at column ").unwrap();
    assert!(place.parse::<usize>().is_ok(), "{error}");
    let known = trace_of(&every_input(), mask());
    let named: Vec<&str> = words.split('`').skip(3).step_by(2).collect();
    assert!(named.len() > 3 && named.iter().all(|name| known.contains(&format!("\"{name}\""))), "{error}");
    // A word without an end is the one thing that is cut.
    let endless = told(&"t".repeat(100_000));
    assert!(endless.len() < 300 && endless.contains("ttt \u{2026}, at column "), "{endless}");
}

#[test]
fn a_trace_ends_with_its_size_whole_and_nothing_is_behind_the_end() {
    for size in [0, 2_000, 4_000, 6_000] {
        let recorder = Recorder::new(&config(), &boot(), "test", mask(), Detail::Prints);
        let mut recorder = recorder.of_size(size);
        recorder.settled(|| unreachable!("no check before an input"));
        let mut lines = String::new();
        for number in 1..=100 {
            recorder.input(now(number), &Input::LinkPong { link: LinkId(number) });
            recorder.command(&Command::LinkPing { link: LinkId(number) });
            recorder.settled(|| unreachable!("no check so early"));
            recorder.take_into(&mut lines);
            assert_eq!(recorder.has_ended(), lines.contains("largest size"));
        }
        recorder.end("never said");
        assert!(recorder.take().is_empty() && recorder.has_ended());
        let line = lines.lines().map(str::len).max().unwrap();
        assert!(lines.len() <= size + 2 * (line + 1), "{} bytes", lines.len());
        let trace = Trace::read(&lines).unwrap();
        assert_eq!(&*trace.end, "the trace has reached its largest size");
        assert!(trace.is_whole() && trace.entries.len() < 100);
        assert_eq!(trace.entries.is_empty(), size == 0);
        let caused = |entry: &Entry<'_>| entry.caused.as_ref().is_some_and(|prints| prints.len() == 1);
        assert!(trace.entries.iter().all(caused));
    }
}

#[test]
fn what_is_wrong_with_a_long_line_is_told_in_few_words() {
    let whole = trace_of(&[Input::Tick], mask());
    let text = whole.replacen("tick", &"x".repeat(100_000), 1);
    let error = Trace::read(&text).unwrap_err().to_string();
    assert!(error.len() < 300 && error.contains("at column"), "{error}");
}

#[test]
fn credentials_become_filler_of_equal_length_wherever_they_stand() {
    let mut mask = mask();
    mask.register(ODD);
    let text = format!("{KEY} {TOKEN}\"{TOKEN}x{LOCAL}0 br_anch at_live_ [{ODD}]");
    let masked = mask.text(&text);
    assert_eq!(masked.len(), text.len());
    for secret in [&KEY[8..], &TOKEN[8..], &LOCAL[3..], "token", "another"] {
        assert!(!masked.contains(secret), "{masked}");
    }
    assert!(masked.starts_with("rk_live_") && masked.contains(" br_anch at_live_ ["), "{masked}");
    let filler = mask.text(TOKEN);
    assert_eq!(masked.matches(&*filler).count(), 2, "{masked}");
    assert_ne!(filler, mask.text(&TOKEN.replacen('f', "e", 1)));
    assert_ne!(filler, Mask::new([4; 32]).text(TOKEN));
}

#[test]
fn neither_the_key_nor_an_odd_token_is_in_the_first_line() {
    let text = trace_of(&[], mask());
    assert!(!text.contains(&KEY[8..]) && !text.contains("another"), "{text}");
    let trace = Trace::read(&text).unwrap();
    assert_eq!(trace.config.node_token.unwrap().expose().len(), ODD.len());
}

/// The first command of a broker.
fn first_command(config: Config, boot: Boot) -> Command {
    match Broker::new(config, boot).poll() {
        Step::Do(command) => command,
        Step::Wait(_) => panic!("it wants nothing"),
    }
}

#[test]
fn a_saved_identity_is_found_again_under_the_filler_of_its_key() {
    let config = Config { node_token: None, ..config() };
    let scope = crate::link::identity::fingerprint(Secret::new(KEY).as_ref(), &config.base_url);
    let identity = format!(
        "{{\"instance_id\":\"i\",\"identities\":[{{\"scope\":\"{}\",\"workspace_id\":\"ws\",\
         \"agent_id\":\"1\",\"agent_name\":\"project\",\"agent_token\":\"{TOKEN}\"}}]}}",
        scope.expose()
    );
    let boot = Boot { identity: Some(identity), ..boot() };
    let mut recorder = Recorder::new(&config, &boot, "test", mask(), Detail::Full);
    let real = first_command(config, boot);
    recorder.command(&real);
    recorder.settled(|| unreachable!("no check before an input"));
    recorder.end("test over");
    let text = recorder.take();
    assert!(!text.contains(scope.expose()) && !text.contains(&TOKEN[8..]), "{text}");
    let trace = Trace::read(&text).unwrap();
    let again = first_command(trace.config, trace.boot);
    assert!(
        matches!(&again, Command::Call { request, .. } if request.url.ends_with("/v1/nodes")),
        "{again:?}"
    );
    assert_eq!(trace.caused, Some([Print::of(&again, &Mask::off())].into()));
}

/// Words among which credentials stand, whole and in part.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(KEY.to_string()),
        Just(TOKEN.to_string()),
        Just(LOCAL.to_string()),
        Just("at_live_".to_string()),
        "(rk|at|nt|ot)_live_[0-9a-zA-Z]{0,9}",
        "[ -~]{0,12}",
        "[abrtk_live\n\u{1b}é]{0,6}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn masking_changes_no_shape_and_no_length(text in text()) {
        let masked = mask().text(&text).into_owned();
        prop_assert_eq!(masked.len(), text.len());
        prop_assert_eq!(shape(masked.as_bytes()), shape(text.as_bytes()));
        for secret in [KEY, TOKEN] {
            prop_assert!(!masked.contains(&secret[8..]));
        }
    }

    #[test]
    fn output_is_masked_alike_however_it_is_cut(text in text(), cuts in proptest::collection::vec(0..40_usize, 0..30)) {
        // A key that never becomes whole is masked only where it is cut.
        prop_assume!(!text.replace(LOCAL, "").contains("br_"));
        let whole = mask().text(&text).into_owned();
        let (mut mask, mut rest, mut out) = (mask(), text.as_bytes(), Vec::new());
        for cut in cuts {
            let (chunk, others) = rest.split_at(cut.min(rest.len()));
            out.extend_from_slice(&mask.output(ProcessId(1), chunk));
            mask.output(ProcessId(2), b"at_live_");
            rest = others;
        }
        out.extend_from_slice(&mask.output(ProcessId(1), rest));
        prop_assert_eq!(String::from_utf8(out).unwrap(), whole);
    }
}

/// So few bytes of a registered secret, before the end of a chunk, may be a word.
const WORD: usize = 5;

/// Secrets of any form but the fabric's. Behind what may be a word each has a letter that no filler has, so
/// that none can become itself.
fn secrets() -> impl Strategy<Value = Vec<String>> {
    let secret = prop_oneof![
        4 => "[ab1.=-]{5,7}[gh][ab1g.=-]{0,7}",
        2 => "[!-~]{5,12}[g-zG-Z][!-~]{0,12}",
        1 => "[!-~][ -~é]{4,9}[g-zG-Z][ -~é]{0,5}[!-~]",
        1 => "[!-~]{100,290}[g-z]",
    ];
    prop::collection::vec(secret, 1..4)
}

/// Output in which these secrets stand, whole and in part.
fn output_with(secrets: &[String]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let secret = || prop::sample::select(secrets.to_vec()).prop_map(String::into_bytes);
    let at = any::<prop::sample::Index>;
    let piece = prop_oneof![
        3 => secret(),
        2 => (secret(), at()).prop_map(|(secret, at)| secret[..at.index(secret.len())].to_vec()),
        1 => (secret(), at()).prop_map(|(secret, at)| secret[at.index(secret.len())..].to_vec()),
        2 => "[ab1g.=-]{0,6}|[ -~\n\u{1b}é]{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    let has_form = |text: &Vec<u8>| {
        text.windows(3).any(|part| part == b"br_") || text.windows(6).any(|part| part == b"_live_")
    };
    prop::collection::vec(piece, 0..8)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("a form of the fabric is masked by other rules", move |text| !has_form(text))
}

fn secrets_and_output() -> impl Strategy<Value = (Vec<String>, Vec<u8>)> {
    secrets().prop_flat_map(|secrets| (Just(secrets.clone()), output_with(&secrets)))
}

/// What becomes of a byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    Stays,
    /// What was before the end of its chunk could have become a secret, or was too little of one.
    MayBeFiller,
    IsFiller,
}

/// The fate of the byte at `at`, whose chunk ends before `end`.
fn fate(text: &[u8], at: usize, end: usize, secrets: &[String]) -> Fate {
    let in_secret = |secret: &String| {
        let secret = secret.as_bytes();
        let begun_at = |start: usize| {
            let is_whole = text[start..].starts_with(secret);
            let seen = &text[start..end];
            match (is_whole, seen.len() > WORD) {
                (true, true) => Fate::IsFiller,
                (true, false) => Fate::MayBeFiller,
                (false, true) if secret.starts_with(seen) => Fate::MayBeFiller,
                (false, _) => Fate::Stays,
            }
        };
        ((at + 1).saturating_sub(secret.len())..=at).map(begun_at).max()
    };
    secrets.iter().filter_map(in_secret).max().unwrap_or(Fate::Stays)
}

/// Whether `masked` is what the rules say of `text`, whose chunks end before `ends`.
fn check_masked(masked: &[u8], text: &[u8], ends: &[usize], secrets: &[String]) {
    assert_eq!(masked.len(), ends.last().map_or(0, |end| text.len().min(*end)));
    for secret in secrets.iter().map(String::as_bytes) {
        // Where there was none, filler behind a piece of one may make it whole by chance.
        let mut places = text.windows(secret.len()).zip(masked.windows(secret.len()));
        assert!(!places.any(|(was, is)| was == secret && is == secret), "a secret is there");
    }
    for (at, (was, is)) in text.iter().zip(masked).enumerate() {
        let end = ends.iter().find(|end| **end > at).expect("every byte is in a chunk");
        let is_filler = !was.is_ascii_alphanumeric() || b"0123456789abcdef".contains(is);
        let stays = is == was;
        let is_right = match fate(text, at, *end, secrets) {
            Fate::Stays => stays,
            Fate::MayBeFiller => stays || was.is_ascii_alphanumeric() && is_filler,
            Fate::IsFiller => is_filler && (stays || was.is_ascii_alphanumeric()),
        };
        assert!(is_right, "byte {at}, {:?}, became {:?}", char::from(*was), char::from(*is));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn no_output_shows_a_registered_secret_however_it_is_cut(
        (secrets, text) in secrets_and_output(),
        cuts in prop::collection::vec(prop_oneof![0..9_usize, 0..200_usize], 0..40),
    ) {
        let mut mask = mask();
        secrets.iter().for_each(|secret| mask.register(secret));
        let (mut masked, mut ends) = (Vec::new(), Vec::new());
        for cut in cuts.into_iter().chain([text.len()]) {
            let start = masked.len();
            let chunk = &text[start..text.len().min(start + cut)];
            masked.extend_from_slice(&mask.output(ProcessId(1), chunk));
            prop_assert_eq!(masked.len(), start + chunk.len());
            ends.push(masked.len());
            mask.output(ProcessId(2), &secrets[0].as_bytes()[..WORD]);
        }
        check_masked(&masked, &text, &ends, &secrets);
    }

    #[test]
    fn no_text_shows_a_registered_secret((secrets, text) in secrets_and_output()) {
        let mut mask = mask();
        secrets.iter().for_each(|secret| mask.register(secret));
        // Nothing goes on behind it: no secret has a newline.
        let line = [&text[..], b"\n"].concat();
        check_masked(&[&mask.bytes(&text), &b"\n"[..]].concat(), &line, &[line.len()], &secrets);
    }
}

#[test]
fn a_long_secret_stays_hidden_when_it_comes_in_many_chunks() {
    let secret: String = (0..300).map(|at| char::from(b'g' + (at % 19) as u8)).collect();
    let mut mask = mask();
    mask.register(&secret);
    let chunks = secret.as_bytes().chunks(140).map(|chunk| mask.output(ProcessId(1), chunk).into_owned());
    let masked = chunks.collect::<Vec<_>>().concat();
    assert_eq!(String::from_utf8_lossy(&masked), mask.text(&secret));
}

#[test]
fn secrets_that_share_a_mark_are_both_hidden() {
    let mut mask = mask();
    ["ghijkl==", "==mnopqr"].iter().for_each(|secret| mask.register(secret));
    let masked = mask.text("ghijkl==mnopqr").into_owned();
    assert!(masked.bytes().all(|byte| b"=0123456789abcdef".contains(&byte)), "{masked}");
}
