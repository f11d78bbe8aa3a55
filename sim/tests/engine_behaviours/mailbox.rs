//! The engine model's mailbox limits: depth, time to live, and what senders are told.

use crate::support::{ALL, Bench, numbered, pairs, text};
use relay_sim::engine::{Options, ProfileName};
use serde_json::{Value, json};

fn small(profile: ProfileName) -> Bench {
    Bench::with(Options { profile: profile.into(), mailbox_depth: 2, ttl_ms: 60_000, ..Options::default() })
}

/// Expiry happens while the agent looks at its mail, not in the background.
fn expires_on_read(profile: ProfileName) -> bool {
    profile < ProfileName::V8_2_2
}

pub(crate) fn a_full_mailbox_skips_the_recipient_and_tells_the_sender_after_the_201() {
    for profile in ALL {
        let mut bench = small(profile);
        let (_, connection) = bench.broker("n");
        let (alice, bob) = (bench.worker(connection, "alice"), bench.worker(connection, "bob"));
        bench.dm(&alice, "bob", "one");
        bench.dm(&alice, "bob", "two");
        assert_eq!(bench.delivers(connection).len(), 2);
        let message = bench.dm(&alice, "bob", "three");
        let frames = bench.frames(connection);
        let expected = json!({
            "v": 1, "type": "context.update", "topic": "agent", "event": "delivery.failed", "agent_ids": [alice.id],
            "data": { "delivery_id": null, "message_id": message, "target_agent_id": bob.id,
                "target_agent_name": "bob", "reason": "depth_cap", "error": frames[0]["data"]["error"],
                "retryable": false },
        });
        assert_eq!(frames, [expected], "{profile}");
        assert!(frames[0]["data"]["error"].is_string());
        bench.ack(connection, "bob", 1);
        bench.dm(&alice, "bob", "four");
        assert_eq!(bench.delivered(connection), pairs(&[("bob", 3)]), "the refused one took no number");
    }
}

pub(crate) fn an_expired_row_is_dead_its_sender_is_told_and_the_cursor_stays() {
    for profile in ALL {
        let mut bench = small(profile);
        let (node, connection) = bench.broker("n");
        let (alice, bob) = (bench.worker(connection, "alice"), bench.worker(connection, "bob"));
        let message = bench.dm(&alice, "bob", "one");
        bench.delivers(connection);
        for _ in 0..7 {
            bench.pass(10_000);
            bench.heartbeat(connection);
        }
        if expires_on_read(profile) {
            assert_eq!(bench.rows(&bob), [(1, "delivered")], "nobody looked yet: {profile}");
            assert_eq!(bench.get("/v1/deliveries", &bob.token), json!([]));
        } else {
            bench.pass(15_000);
        }
        assert_eq!(bench.rows(&bob), [(1, "dead_lettered")], "{profile}");
        assert_eq!(bench.engine.ack_cursor(&bob.id), 0);
        let frames = bench.frames(connection);
        let data = &frames[0]["data"];
        assert_eq!(
            (&frames[0]["event"], &data["reason"], &data["error"]),
            (&json!("delivery.failed"), &json!("ttl_expired"), &json!("delivery TTL expired"))
        );
        assert_eq!((&data["message_id"], &data["retryable"]), (&json!(message), &json!(false)));
        assert!(text(&data["delivery_id"]).starts_with("del_"));
        bench.dm(&alice, "bob", "two");
        let connection = bench.reopen(&node, connection);
        let inventory = bench.inventory(&[&alice, &bob]);
        bench.send(connection, inventory);
        let frames: Vec<Value> = bench.frames(connection);
        let replayed: Vec<Value> = frames.into_iter().filter(|frame| frame["type"] == "deliver").collect();
        assert_eq!(numbered(&replayed)[0], ("bob".to_owned(), 2), "{profile}");
    }
}

#[test]
fn the_inbox_expires_rows_in_older_releases_too() {
    for profile in ALL.into_iter().filter(|name| expires_on_read(*name)) {
        let mut bench = small(profile);
        let (alice, bob) = (bench.agent("alice"), bench.agent("bob"));
        bench.dm(&alice, "bob", "one");
        bench.pass(90_000);
        bench.get("/v1/inbox", &bob.token);
        assert_eq!(bench.rows(&bob), [(1, "dead_lettered")], "{profile}");
    }
}

pub(crate) fn expired_rows_are_neither_replayed_nor_counted_even_before_anything_buried_them() {
    for profile in ALL {
        let mut bench = small(profile);
        let (node, connection) = bench.broker("n");
        let (alice, bob) = (bench.agent("alice"), bench.worker(connection, "bob"));
        bench.dm(&alice, "bob", "one");
        bench.dm(&alice, "bob", "two");
        bench.delivers(connection);
        bench.now += 60_000;
        let connection = bench.reopen(&node, connection);
        let inventory = bench.inventory(&[&bob]);
        bench.send(connection, inventory);
        let frames = bench.frames(connection);
        assert!(frames.iter().all(|frame| frame["type"] == "reply"), "{profile}: {frames:?}");
        bench.dm(&alice, "bob", "three");
        assert_eq!(bench.delivered(connection), pairs(&[("bob", 3)]), "there is room: {profile}");
    }
}

#[test]
fn the_defaults_are_a_thousand_rows_and_an_hour() {
    let options = Options::default();
    assert_eq!((options.mailbox_depth, options.ttl_ms), (1_000, 3_600_000));
    let mut bench = Bench::new(ProfileName::V8_2_2);
    let (alice, bob) = (bench.agent("alice"), bench.agent("bob"));
    for index in 0..1_001 {
        bench.dm(&alice, "bob", &index.to_string());
    }
    assert_eq!(bench.rows(&bob).len(), 1_000);
    bench.pass(3_599_000);
    assert_eq!(bench.rows(&bob)[0], (1, "queued"));
    bench.pass(16_000);
    assert_eq!(bench.rows(&bob)[999], (1_000, "dead_lettered"));
}
