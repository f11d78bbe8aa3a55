use super::*;
use crate::ids::AgentName;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const A: SubscriberId = SubscriberId(1);
const B: SubscriberId = SubscriberId(2);

/// A small numbered event.
fn released(ring: &mut EventRing, times: usize) {
    for _ in 0..times {
        ring.push(&Event::AgentReleased { name: &AgentName::from("w1") });
    }
}

fn inbound(ring: &mut EventRing, body: &str) {
    ring.push(&Event::RelayInbound {
        event_id: &"m1".into(),
        from: "eve",
        target: "w1",
        body,
        thread_id: None,
        workspace_id: None,
        mode: "wait",
    });
}

fn chunk(ring: &mut EventRing, chunk: &str) {
    ring.push(&Event::WorkerStream { name: &AgentName::from("w1"), stream: "stdout", chunk });
}

fn pump(ring: &mut EventRing) -> Vec<(SubscriberId, String)> {
    let mut out = Vec::new();
    ring.pump(&mut out);
    out
}

/// What the subscriber gets now, and gives back as drained.
fn received(ring: &mut EventRing, subscriber: SubscriberId) -> Vec<Json> {
    let texts: Vec<String> =
        pump(ring).into_iter().filter(|(id, _)| *id == subscriber).map(|(_, text)| text).collect();
    ring.drained(subscriber, texts.iter().map(String::len).sum());
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn seqs(events: &[Json]) -> Vec<u64> {
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

fn gap_of(requested: u64, oldest: u64) -> Json {
    json!({
        "kind": "replay_gap", "requestedSinceSeq": requested, "oldestAvailable": oldest, "seq": oldest - 1,
    })
}

#[test]
fn events_are_numbered_from_one_and_reach_every_subscriber() {
    let mut ring = EventRing::default();
    ring.open(A, 0).unwrap();
    ring.open(B, 0).unwrap();
    released(&mut ring, 2);
    let out = pump(&mut ring);
    let ids: Vec<_> = out.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [A, A, B, B]);
    assert_eq!(out[0].1, r#"{"kind":"agent_released","name":"w1","seq":1}"#);
    assert_eq!(out[3].1, r#"{"kind":"agent_released","name":"w1","seq":2}"#);
    assert!(pump(&mut ring).is_empty(), "nothing is sent twice");
}

#[test]
fn a_subscriber_gets_what_it_has_not_seen_then_what_comes() {
    let mut ring = EventRing::default();
    released(&mut ring, 5);
    ring.open(A, 3).unwrap();
    assert_eq!(seqs(&received(&mut ring, A)), [4, 5]);
    released(&mut ring, 1);
    assert_eq!(seqs(&received(&mut ring, A)), [6]);
    ring.open(B, 6).unwrap();
    assert!(received(&mut ring, B).is_empty());
}

#[test]
fn no_gap_is_told_where_nothing_was_lost() {
    let mut ring = EventRing::default();
    ring.open(A, 0).unwrap();
    assert!(received(&mut ring, A).is_empty(), "an empty ring has lost nothing");
    released(&mut ring, limits::EVENT_RING);
    ring.open(B, 0).unwrap();
    assert_eq!(received(&mut ring, B).len(), limits::EVENT_RING);
}

#[test]
fn a_late_subscriber_is_told_of_the_gap_once() {
    let mut ring = EventRing::default();
    released(&mut ring, limits::EVENT_RING + 10);
    ring.open(A, 4).unwrap();
    let events = received(&mut ring, A);
    assert_eq!(events[0], gap_of(4, 11));
    assert_eq!(events.len(), 1 + limits::EVENT_RING);
    assert_eq!(seqs(&events[1..3]), [11, 12]);
    ring.open(B, 10).unwrap();
    assert_eq!(seqs(&received(&mut ring, B))[0], 11, "it has seen all that is gone");
}

#[test]
fn a_number_of_a_former_broker_is_a_gap_and_not_silence() {
    let mut ring = EventRing::default();
    released(&mut ring, 3);
    ring.open(A, 500).unwrap();
    let events = received(&mut ring, A);
    assert_eq!(events[0], gap_of(500, 1));
    assert_eq!(seqs(&events[1..]), [1, 2, 3]);
    released(&mut ring, 1);
    assert_eq!(seqs(&received(&mut ring, A)), [4]);
    ring.open(B, u64::MAX).unwrap();
    assert_eq!(received(&mut ring, B)[0], gap_of(u64::MAX, 1));
}

#[test]
fn a_slow_subscriber_holds_its_place_within_its_credit() {
    let mut ring = EventRing::default();
    ring.open(A, 0).unwrap();
    let body = "x".repeat(200_000);
    for _ in 0..8 {
        inbound(&mut ring, &body);
    }
    let out = pump(&mut ring);
    let sent: usize = out.iter().map(|(_, text)| text.len()).sum();
    assert_eq!(out.len(), 5);
    assert!(sent <= limits::STREAM_CREDIT);
    assert!(pump(&mut ring).is_empty(), "no credit, nothing sent");
    ring.drained(A, out[0].1.len());
    assert_eq!(seqs(&received(&mut ring, A)), [6]);
    ring.drained(A, sent - out[0].1.len());
    assert_eq!(seqs(&received(&mut ring, A)), [7, 8]);
}

#[test]
fn a_subscriber_that_falls_out_of_the_ring_is_told_once_and_goes_on() {
    let mut ring = EventRing::default();
    released(&mut ring, 1);
    ring.open(A, 0).unwrap();
    assert_eq!(seqs(&received(&mut ring, A)), [1]);
    chunk(&mut ring, &"x".repeat(limits::STREAM_CREDIT - 100));
    let stuck = pump(&mut ring);
    for _ in 0..3 {
        released(&mut ring, limits::EVENT_RING);
        assert!(pump(&mut ring).is_empty(), "its credit is used up");
    }
    ring.drained(A, stuck[0].1.len());
    let events = received(&mut ring, A);
    let newest = 1 + 3 * limits::EVENT_RING as u64;
    let oldest = newest + 1 - limits::EVENT_RING as u64;
    assert_eq!(events[0], gap_of(1, oldest));
    assert_eq!(seqs(&events[1..]), (oldest..=newest).collect::<Vec<_>>());
}

#[derive(Clone, Debug)]
enum Step {
    Small(usize),
    Large,
    Output,
    Drain(usize),
    Pump,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..600_usize).prop_map(Step::Small),
        Just(Step::Large),
        Just(Step::Output),
        (0..2_000_000_usize).prop_map(Step::Drain),
        Just(Step::Pump),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_number_is_seen_once_or_told_as_lost(since in 0..5_u64, steps in vec(step(), 1..60)) {
        let mut ring = EventRing::default();
        released(&mut ring, 3);
        ring.open(A, since).unwrap();
        let (mut seen, mut in_flight) = (since.min(3), 0);
        let large = "x".repeat(200_000);
        let finish = core::iter::repeat_n(Step::Drain(usize::MAX), 8);
        for step in steps.into_iter().chain(finish) {
            match step {
                Step::Small(times) => released(&mut ring, times),
                Step::Large => inbound(&mut ring, &large),
                Step::Output => chunk(&mut ring, &large),
                Step::Drain(bytes) => {
                    let bytes = bytes.min(in_flight);
                    ring.drained(A, bytes);
                    in_flight -= bytes;
                }
                Step::Pump => {}
            }
            for (_, text) in pump(&mut ring) {
                in_flight += text.len();
                let event: Json = serde_json::from_str(&text).unwrap();
                let Some(seq) = event["seq"].as_u64() else { continue };
                if event["kind"] == "replay_gap" {
                    let former = event["requestedSinceSeq"].as_u64().unwrap() > seq;
                    prop_assert!(former || event["requestedSinceSeq"] == seen);
                    prop_assert_eq!(event["oldestAvailable"].as_u64(), Some(seq + 1));
                } else {
                    prop_assert_eq!(seq, seen + 1);
                }
                seen = seq;
            }
            prop_assert!(in_flight <= limits::STREAM_CREDIT);
        }
        prop_assert_eq!(seen, ring.last);
    }
}

#[test]
fn the_ring_is_bounded_in_bytes_too() {
    let mut ring = EventRing::default();
    let body = "x".repeat(200_000);
    for _ in 0..100 {
        inbound(&mut ring, &body);
    }
    assert!(ring.bytes <= limits::EVENT_RING_BYTES);
    assert_eq!(ring.bytes, ring.events.iter().map(String::len).sum::<usize>());
    assert_eq!(ring.events.len(), 20);
    ring.open(A, 0).unwrap();
    assert_eq!(received(&mut ring, A)[0], gap_of(0, 81));
}

#[test]
fn an_event_that_is_too_large_is_replaced_by_its_kind_and_size() {
    let mut ring = EventRing::default();
    ring.open(A, 0).unwrap();
    inbound(&mut ring, &"x".repeat(limits::EVENT_BYTES));
    let events = received(&mut ring, A);
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["kind"], &events[0]["of"], &events[0]["seq"]),
        (&json!("event_omitted"), &json!("relay_inbound"), &json!(1))
    );
    assert!(events[0]["bytes"].as_u64().unwrap() > limits::EVENT_BYTES as u64);
}

#[test]
fn output_is_live_unnumbered_and_in_order_with_events() {
    let mut ring = EventRing::default();
    chunk(&mut ring, "nobody is there");
    ring.open(A, 0).unwrap();
    released(&mut ring, 1);
    chunk(&mut ring, "hello");
    released(&mut ring, 1);
    let events = received(&mut ring, A);
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["agent_released", "worker_stream", "agent_released"]);
    assert_eq!(events[1].get("seq"), None);
    assert_eq!(events[2]["seq"], 2, "output takes no number");
    ring.open(B, 0).unwrap();
    assert_eq!(seqs(&received(&mut ring, B)), [1, 2], "output is not replayed");
}

#[test]
fn output_is_dropped_where_credit_has_run_out() {
    let mut ring = EventRing::default();
    ring.open(A, 0).unwrap();
    let big = "x".repeat(600_000);
    chunk(&mut ring, &big);
    chunk(&mut ring, &big);
    ring.open(B, 0).unwrap();
    chunk(&mut ring, "small");
    let out = pump(&mut ring);
    let got: Vec<_> = out.iter().map(|(id, text)| (*id, text.len() > 600_000)).collect();
    assert_eq!(got, [(A, true), (A, false), (B, false)]);
}

#[test]
fn a_subscriber_that_is_gone_gets_nothing_and_may_drain_late() {
    let mut ring = EventRing::default();
    ring.open(A, 0).unwrap();
    released(&mut ring, 1);
    chunk(&mut ring, "x");
    ring.gone(A);
    assert!(pump(&mut ring).is_empty());
    ring.drained(A, 1_000);
    ring.gone(A);
    assert_eq!((ring.subscribers(), ring.close().count()), (0, 0));
}

#[test]
fn streams_are_bounded_and_the_refusal_says_so() {
    let mut ring = EventRing::default();
    for id in 0..limits::STREAMS as u64 {
        ring.open(SubscriberId(id), 0).unwrap();
    }
    let error = ring.open(SubscriberId(1_000), 0).unwrap_err();
    assert_eq!((error.status, &*error.code), (503, "too_many_streams"));
    ring.gone(SubscriberId(0));
    ring.open(SubscriberId(1_000), 0).unwrap();
}

#[test]
#[should_panic(expected = "more was drained than was sent")]
fn a_driver_that_drains_more_than_it_got_is_a_bug() {
    let mut ring = EventRing::default();
    ring.open(A, 0).unwrap();
    ring.drained(A, 1);
}
