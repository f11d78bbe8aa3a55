//! The steps of a life: what each byte stands for.
//!
//! Owns: the inputs that no command asked for, and the order of those that one did.
//! Must not know: rules of the broker.

use super::answers::{NAMES, agent_id};
use super::bytes::Bytes;
use super::life::Life;
use relay_core::ids::{CallId, LinkId, OpId, ProcessId, RequestId, StoreId, SubscriberId};
use relay_core::time::{Mono, Wall};
use relay_core::{Auth, CallReply, ExitStatus, Fault, FaultKind, Input, Refusal};
use serde_json::json;

/// After so many rounds a program that shows nothing is ready.
pub(super) const ROUNDS: u8 = 12;

const FAULTS: [FaultKind; 6] = [
    FaultKind::Deadline,
    FaultKind::NotFound,
    FaultKind::Denied,
    FaultKind::NoSpace,
    FaultKind::Broken,
    FaultKind::Other,
];

const STATUSES: [u16; 12] = [200, 201, 204, 301, 400, 401, 403, 404, 409, 429, 500, 599];

const METHODS: [&str; 5] = ["GET", "POST", "DELETE", "PUT", "get\u{7f}"];

/// Requests of the local API: method, target, body.
const REQUESTS: [(&str, &str, &str); 22] = [
    ("GET", "/health", ""),
    ("GET", "/ws?sinceSeq=0", ""),
    ("GET", "/api/spawned", ""),
    ("GET", "/api/status", ""),
    ("GET", "/api/session", ""),
    ("POST", "/api/session/renew", ""),
    ("POST", "/api/spawn", r#"{"name":"otto","cli":"cat","task":"go on"}"#),
    ("POST", "/api/spawn", r#"{"name":"ines","cli":"claude","args":["-x"],"cwd":"/"}"#),
    ("DELETE", "/api/spawned/otto", ""),
    ("DELETE", "/api/spawned/ines", r#"{"reason":"done"}"#),
    ("POST", "/api/send", r#"{"to":"otto","text":"hello","from":"ines"}"#),
    ("POST", "/api/send", r##"{"to":"#general","text":"all","mode":"steer"}"##),
    ("POST", "/api/input/otto", r#"{"data":"abc\r"}"#),
    ("POST", "/api/resize/otto", r#"{"rows":1,"cols":1000}"#),
    ("GET", "/api/spawned/otto/snapshot?format=ansi", ""),
    ("GET", "/api/spawned/otto/snapshot", ""),
    ("GET", "/api/spawned/otto/pending", ""),
    ("GET", "/api/dead-letters", ""),
    ("GET", "/api/metrics", ""),
    ("POST", "/api/preflight", "{}"),
    ("POST", "/api/shutdown", ""),
    ("GET", "/%ff%/..//?&=%", ""),
];

/// Types of payloads.
const TYPES: [&str; 10] = [
    "dm.received",
    "message.created",
    "thread.reply",
    "group_dm.received",
    "action.completed",
    "action.failed",
    "message.read",
    "message.reacted",
    "",
    "of.the.future",
];

const ACTIONS: [&str; 5] = ["spawn:claude", "spawn", "release", "spawn:", "lint"];

/// One step.
pub(super) fn take(life: &mut Life, step: u8, bytes: &mut Bytes<'_>) {
    match step % 24 {
        0 => life.wait(),
        1 => jump(life, bytes.byte(), bytes.byte()),
        2 => life.go_on(bytes.byte() % 32),
        3 => life.answer(0),
        4 => life.answer(bytes.byte().into()),
        5 => life.fail(bytes.byte().into(), bytes.one_of(&FAULTS)),
        6 => life.answer_oddly(bytes.byte().into(), bytes.one_of(&STATUSES), &bytes.text()),
        7 => life.answer_all(),
        8 => life.text(&bytes.text()),
        9 => deliver(life, bytes),
        10 => invoke(life, bytes),
        11 => {
            let (method, target, body) = bytes.one_of(&REQUESTS);
            ask(life, Auth::Ok, method, target, body.as_bytes());
        }
        12 => {
            let (auth, method) =
                (bytes.one_of(&[Auth::Ok, Auth::Missing, Auth::Wrong]), bytes.one_of(&METHODS));
            let (target, body) = (bytes.text(), bytes.raw());
            ask(life, auth, method, &target, body);
        }
        13 => {
            let (method, target, _) = bytes.one_of(&REQUESTS);
            ask(life, Auth::Ok, method, target, bytes.raw());
        }
        14 => life.feed(Input::ApiGone { request: RequestId(bytes.byte().into()) }),
        15 => of_process(life, bytes.byte(), |process| Input::PtyOutput { process, bytes: bytes.raw() }),
        16 => life.echo(),
        17 => life.unread = 1 << (bytes.byte() % 32) >> 1,
        18 => of_process(life, bytes.byte(), |process| Input::PtyEof { process }),
        19 => {
            let status = bytes.one_of(&[ExitStatus::Code(0), ExitStatus::Signal(9), ExitStatus::Unknown]);
            of_process(life, bytes.byte(), |process| Input::PtyExited { process, status });
        }
        20 => of_link(life, bytes.byte()),
        21 => late(life, bytes.byte(), bytes.byte()),
        22 => life.crash(&bytes.text()),
        _ => life.feed(Input::Terminate),
    }
}

/// The monotone clock goes on by a power of two µs, or seems to go back; the other one goes anywhere.
fn jump(life: &mut Life, by: u8, wall: u8) {
    let micros = 1_u64 << (by % 44);
    if by < 220 {
        life.pass(micros);
    } else {
        life.now.mono = Mono(life.now.mono.0.saturating_sub(micros));
    }
    let steps = i64::from(wall) - 128;
    if wall.is_multiple_of(3) {
        life.now.wall = Wall(life.now.wall.0.saturating_add(steps.saturating_pow(7)));
    }
}

fn deliver(life: &mut Life, bytes: &mut Bytes<'_>) {
    let (name, kind, seq, flags) = (bytes.one_of(&NAMES), bytes.one_of(&TYPES), bytes.byte(), bytes.byte());
    let data = json!({"from": "ines", "agent_name": "ines", "text": bytes.text(), "channel": "general"});
    let id = if flags & 1 == 0 { seq } else { flags };
    let frame = json!({
        "v": 1, "type": "deliver", "agent": name, "agent_id": agent_id(name), "delivery_id": format!("del_{id}"),
        "msg_id": format!("m{id}"), "seq": seq, "mode": if flags & 2 == 0 { "wait" } else { "steer" },
        "payload": {"type": kind, "data": data},
    });
    life.text(&frame.to_string());
}

fn invoke(life: &mut Life, bytes: &mut Bytes<'_>) {
    let (action, name, id) = (bytes.one_of(&ACTIONS), bytes.one_of(&NAMES), bytes.byte());
    let frame = json!({
        "v": 1, "type": "action.invoke", "invocation_id": format!("inv_{id}"), "action": action,
        "input": {"name": name, "cli": "cat", "task": bytes.text()},
    });
    life.text(&frame.to_string());
}

fn ask(life: &mut Life, auth: Auth, method: &str, target: &str, body: &[u8]) {
    let request = life.request();
    let upgrade = target.starts_with("/ws");
    life.feed(Input::Api { request, auth, method, target, upgrade, body });
}

/// Asks for an agent and waits until it is ready.
pub(super) fn spawn(life: &mut Life, name: usize) {
    let body = json!({"name": NAMES[name], "cli": "cat"}).to_string();
    ask(life, Auth::Ok, "POST", "/api/spawn", body.as_bytes());
    life.go_on(ROUNDS);
}

fn of_process<'a>(life: &mut Life, place: u8, input: impl FnOnce(ProcessId) -> Input<'a>) {
    if !life.processes.is_empty() {
        let process = life.processes[usize::from(place) % life.processes.len()];
        life.feed(input(process));
    }
}

fn of_link(life: &mut Life, what: u8) {
    let link = life.link;
    life.feed(match what % 4 {
        0 | 1 => Input::LinkDown { link, why: "cut" },
        2 => Input::LinkBinary { link, len: usize::from(what) << 20 },
        _ => Input::LinkPong { link },
    });
}

/// A completion that nobody waits for, or that somebody else waits for.
fn late(life: &mut Life, what: u8, id: u8) {
    let id = u64::from(id);
    let fault = Fault { kind: FaultKind::Other, detail: "late" };
    life.feed(match what % 12 {
        0 => Input::LinkRefused { link: LinkId(id), why: Refusal::Fault(fault) },
        1 => Input::LinkDown { link: LinkId(id), why: "late" },
        2 => Input::LinkText { link: LinkId(id), text: r#"{"type":"ping"}"# },
        3 => Input::LinkPong { link: LinkId(id) },
        4 => Input::CallDone { call: CallId(id), result: Ok(CallReply { status: 401, body: b"{}" }) },
        5 => Input::Spawned { process: ProcessId(id), result: Ok(78) },
        6 => Input::Spawned { process: ProcessId(id), result: Err(fault) },
        7 => Input::PtyWritten { process: ProcessId(id >> 4), op: OpId(id), written: 1, fault: None },
        8 => Input::PtyState { process: ProcessId(id >> 4), op: OpId(id), state: None },
        9 => Input::Stored { store: StoreId(id), result: Err(fault) },
        10 => Input::StreamGone { subscriber: SubscriberId(id) },
        _ => Input::PtyExited { process: ProcessId(id), status: ExitStatus::Unknown },
    });
}
