//! Tests of `send` against a scripted broker.

use super::super::args::{Connection, Mode};
use super::super::failure::Class;
use super::super::test_broker::{Reply, TestBroker};
use super::*;

fn args(to: &str, text: &str, wait: Option<u64>) -> SendArgs {
    let connection = Connection::default();
    SendArgs { to: to.into(), text: text.into(), from: None, thread: None, mode: None, wait, connection }
}

fn accepted() -> Reply {
    Reply::json(200, &json!({"success": true, "event_id": "m1", "relaycast_published": true, "local": false}))
}

fn agents_are(names: &[&str]) -> Reply {
    let agents: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    Reply::json(200, &json!({ "agents": agents }))
}

fn event(seq: u64, kind: &str, name: &str, message: &str) -> Value {
    json!({"seq": seq, "kind": kind, "name": name, "delivery_id": "d", "event_id": message})
}

async fn run(script: Vec<Reply>, args: &SendArgs) -> (TestBroker, Result<(), Failure>) {
    let broker = TestBroker::start(script).await;
    let result = send(args, &broker.api(), &Output::of_test(true).0).await;
    (broker, result)
}

#[tokio::test]
async fn without_wait_one_publish_is_all() {
    let mut args = args("#general", "hi", None);
    args.from = Some("alice".into());
    args.thread = Some("m0".into());
    args.mode = Some(Mode::Steer);
    let (broker, result) = run(vec![accepted()], &args).await;
    result.unwrap();
    let expected =
        json!({"to": "#general", "text": "hi", "from": "alice", "threadId": "m0", "mode": "steer"});
    assert_eq!(broker.body(0), expected);
    assert!(broker.requests()[0].starts_with("POST /api/send "));
}

#[tokio::test]
async fn with_wait_the_stream_is_open_before_the_publish_and_the_ack_ends_it() {
    let old = event(1, "delivery_ack", "Bob", "m0");
    let events = [old, event(2, "delivery_queued", "Bob", "m1"), event(3, "delivery_ack", "Bob", "m1")];
    let script = vec![agents_are(&["eve", "Bob"]), Reply::open_events(&events), accepted()];
    let (broker, result) = run(script, &args("@bob", "hi", Some(30))).await;
    result.unwrap();
    let first: Vec<String> =
        broker.requests().iter().map(|request| request.split(" HTTP").next().unwrap().to_owned()).collect();
    assert_eq!(first, ["GET /api/spawned", "GET /ws?sinceSeq=0", "POST /api/send"]);
}

#[tokio::test]
async fn a_stream_that_breaks_between_publish_and_ack_is_resumed() {
    let script = vec![
        agents_are(&["bob"]),
        Reply::events(&[event(2, "delivery_queued", "bob", "m1")]),
        accepted(),
        Reply::open_events(&[event(3, "delivery_ack", "bob", "m1")]),
    ];
    let (broker, result) = run(script, &args("bob", "hi", Some(30))).await;
    result.unwrap();
    assert!(broker.requests()[3].starts_with("GET /ws?sinceSeq=2 "));
}

#[tokio::test]
async fn a_delivery_that_is_not_acked_in_time_is_named_with_its_last_attempt() {
    let mut attempt = event(2, "delivery_failed", "bob", "m1");
    attempt["reason"] = json!("queue still full");
    let script = vec![agents_are(&["bob"]), Reply::open_events(&[attempt]), accepted()];
    let failure = run(script, &args("bob", "hi", Some(1))).await.1.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::TimedOut, "not_acked"));
    assert_eq!(failure.message, "not acked within 1 s: bob (last attempt: queue still full)");
}

#[tokio::test]
async fn the_engines_message_id_wins_over_the_name_of_the_publish() {
    let both = json!({"success": true, "event_id": "http_1", "message_id": "m1"});
    let broker = TestBroker::start(vec![Reply::json(200, &both)]).await;
    let (output, printed) = Output::of_test(true);
    send(&args("bob", "hi", None), &broker.api(), &output).await.unwrap();
    let expected = json!({"message_id": "m1", "to": "bob", "observed": false, "deliveries": []});
    assert_eq!(printed.json(), expected);
}

#[tokio::test]
async fn a_delivery_that_never_begins_times_out_and_warns_of_sending_twice() {
    let script = vec![agents_are(&["bob"]), Reply::open_events(&[]), accepted()];
    let failure = run(script, &args("bob", "hi", Some(1))).await.1.unwrap_err();
    assert_eq!(failure.class, Class::TimedOut);
    assert!(failure.message.contains("no delivery to bob began within 1 s"), "{}", failure.message);
    assert!(failure.advice.unwrap().contains("do not send it again"));
}

#[tokio::test]
async fn a_recipient_elsewhere_has_no_ack_to_wait_for() {
    let (broker, result) = run(vec![agents_are(&["bob"]), accepted()], &args("carol", "hi", Some(30))).await;
    result.unwrap();
    assert_eq!(broker.requests().len(), 2);
}

#[tokio::test]
async fn a_channel_is_over_when_its_deliveries_are_and_it_is_quiet() {
    let events = [
        event(1, "delivery_queued", "bob", "m1"),
        event(2, "delivery_queued", "eve", "m1"),
        event(3, "delivery_ack", "eve", "m1"),
        event(4, "delivery_ack", "bob", "m1"),
    ];
    let script = vec![agents_are(&[]), Reply::open_events(&events), accepted()];
    run(script, &args("#general", "hi", Some(30))).await.1.unwrap();
}

#[tokio::test]
async fn a_dead_letter_is_a_refusal_with_its_reason() {
    let mut failed = event(1, "dead_letter_added", "bob", "m1");
    failed["reason"] = json!("never taken");
    let script = vec![agents_are(&["bob"]), Reply::open_events(&[failed]), accepted()];
    let failure = run(script, &args("bob", "hi", Some(30))).await.1.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Refused, "delivery_failed"));
    assert_eq!(failure.message, "bob did not get the message: never taken");
}

#[tokio::test]
async fn an_unconfirmed_publish_is_a_time_out() {
    let unsure = json!({"code": "publish_unconfirmed", "message": "the engine did not answer"});
    let failure = run(vec![Reply::json(504, &unsure)], &args("bob", "hi", None)).await.1.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::TimedOut, "publish_unconfirmed"));
}

#[tokio::test]
async fn nothing_and_too_much_are_refused_before_any_call() {
    for text in [" \n".to_owned(), "x".repeat(API_BODY)] {
        let (broker, result) = run(Vec::new(), &args("bob", &text, None)).await;
        assert_eq!(result.unwrap_err().class, Class::Usage);
        assert!(broker.requests().is_empty());
    }
}

#[test]
fn stdin_is_taken_whole_up_to_the_limit() {
    assert_eq!(read_text(&b" a\n b\n"[..]).unwrap(), " a\n b\n");
    assert_eq!(
        read_text(&b"ok\xff"[..]).unwrap_err().message,
        "the message on stdin is not UTF-8 text (byte 2)"
    );
    let failure = read_text(std::io::repeat(b'x')).unwrap_err();
    assert!(failure.message.contains("1 MiB"), "{}", failure.message);
}

#[test]
fn an_exact_name_wins_over_one_that_differs_in_case() {
    let agents = [json!({"name": "BOB"}), json!({"name": "bob"})];
    assert_eq!(scope("bob", &agents), Scope::Agent("bob".into()));
    assert_eq!(scope("@Bob", &agents), Scope::Agent("BOB".into()));
    assert_eq!(scope("#bob", &agents), Scope::Channel);
    assert_eq!(scope("eve", &agents), Scope::Elsewhere);
}
