//! The engine model's deliveries: replay, holes, order, cursor gating, acks, the provider trap.

use crate::support::{ALL, Bench, Scene, WITH_CURSOR, numbered, pairs, parsed, releases, scene};
use relay_sim::engine::{Options, Output, ProfileName};
use serde_json::{Value, json};

impl Scene {
    /// Closes the socket and opens another one; what bob is sent until his inventory is answered.
    fn replayed(&mut self) -> Vec<Value> {
        self.connection = self.bench.reopen(&self.node, self.connection);
        let inventory = self.bench.inventory(&[&self.bob]);
        self.bench.send(self.connection, inventory);
        let frames = self.bench.frames(self.connection);
        frames.into_iter().filter(|frame| frame["type"] == "deliver").collect()
    }
}

pub(crate) fn a_delivered_frame_is_not_sent_again_by_any_timer() {
    for profile in ALL {
        let mut scene = scene(profile);
        scene.dms(2);
        let connection = scene.connection;
        assert_eq!(scene.bench.delivered(connection), pairs(&[("bob", 1), ("bob", 2)]));
        for _ in 0..200 {
            scene.bench.pass(10_000);
            scene.bench.heartbeat(connection);
        }
        assert_eq!(scene.bench.frames(connection), Vec::<Value>::new(), "{profile}: starved until reconnect");
        assert_eq!(scene.bench.rows(&scene.bob), [(1, "delivered"), (2, "delivered")]);
        assert_eq!(numbered(&scene.replayed())[..2], pairs(&[("bob", 1), ("bob", 2)]));
    }
}

pub(crate) fn a_replayed_frame_is_identical_to_the_live_one() {
    for profile in ALL {
        let mut scene = scene(profile);
        let root = scene.bench.say(&scene.alice, "hi @bob");
        let token = scene.alice.token.clone();
        scene.bench.post(&format!("/v1/messages/{root}/replies"), &token, json!({ "text": "more" }));
        scene.bench.post("/v1/dm", &token, json!({ "to": "bob", "text": "now", "mode": "steer" }));
        let connection = scene.connection;
        let live = scene.bench.delivers(connection);
        assert_eq!(live.len(), 3);
        scene.bench.pass(5_000);
        let replayed = scene.replayed();
        let once = if profile == ProfileName::V5_0_5 {
            // The registration and the inventory replay everything each.
            assert_eq!(replayed[..3], replayed[3..]);
            &replayed[..3]
        } else {
            &replayed[..]
        };
        assert_eq!(once, live, "{profile}");
    }
}

pub(crate) fn live_frames_overtake_a_replay_that_is_read_from_the_store_first() {
    let mut scene = scene(ProfileName::V5_0_5);
    let connection = scene.connection;
    scene.dms(2);
    assert_eq!(scene.bench.delivered(connection), pairs(&[("bob", 1), ("bob", 2)]));
    scene.bench.engine.reorder_live_frames(scene.bench.now, true);
    let bob = scene.bob.clone();
    scene.bench.sync(connection, &[&bob]);
    scene.dms(2);
    assert_eq!(scene.bench.delivered(connection), pairs(&[("bob", 4), ("bob", 3)]));
    scene.bench.engine.expire_row(scene.bench.now, &bob.id, 1);
    scene.bench.engine.release_held_back(scene.bench.now);
    assert_eq!(scene.bench.delivered(connection), pairs(&[("bob", 2)]), "what has ended is left out");
    scene.bench.sync(connection, &[&bob]);
    let connection = scene.bench.reconnect(&scene.node.clone(), connection);
    scene.bench.engine.release_held_back(scene.bench.now);
    let rest = pairs(&[("bob", 2), ("bob", 3), ("bob", 4)]);
    assert_eq!(scene.bench.delivered(connection), rest, "a replay ends with its socket");
}

/// A scene in which six rows of bob are open, and a replay of them has begun to leave in pieces.
fn in_pieces(profile: ProfileName) -> Scene {
    let mut scene = scene(profile);
    scene.dms(6);
    scene.connection = scene.bench.reopen(&scene.node, scene.connection);
    scene.bench.frames(scene.connection);
    let end = scene.bench.now + 60_000;
    scene.bench.engine.replay_in_pieces_until(scene.bench.now, end);
    let inventory = scene.bench.inventory(&[&scene.bob]);
    scene.bench.send(scene.connection, inventory);
    while !scene.bench.engine.is_in_replay(scene.connection) {
        let next = scene.bench.engine.next_deadline().expect("a replay is under way");
        scene.bench.pass(next - scene.bench.now);
    }
    scene
}

/// Bob's rows among what came since the last look.
fn rows_of(frames: &[Value]) -> Vec<u64> {
    let deliver = |frame: &&Value| frame["type"] == "deliver";
    frames.iter().filter(deliver).filter_map(|frame| frame["seq"].as_u64()).collect()
}

pub(crate) fn a_replay_may_leave_in_pieces_with_other_frames_between_them() {
    for profile in ALL {
        let mut scene = in_pieces(profile);
        let connection = scene.connection;
        let begun = rows_of(&scene.bench.frames(connection));
        assert!((1..6).contains(&begun.len()), "{profile}: {begun:?}");
        scene.dms(1);
        assert_eq!(rows_of(&scene.bench.frames(connection)), [7], "{profile}: live rows do not wait");
        assert!(scene.bench.engine.expire_row(scene.bench.now, &scene.bob.id, 6));
        scene.bench.pass(12_000);
        let whole: Vec<u64> = begun.into_iter().chain(rows_of(&scene.bench.frames(connection))).collect();
        assert_eq!(whole, [1, 2, 3, 4, 5], "{profile}: in order, without what has ended");
    }
}

pub(crate) fn a_replay_in_pieces_ends_with_its_socket_or_its_time() {
    for profile in ALL {
        let mut scene = in_pieces(profile);
        let old = scene.connection;
        scene.bench.frames(old);
        scene.bench.close(old);
        scene.bench.pass(12_000);
        assert_eq!(rows_of(&scene.bench.frames(old)), [] as [u64; 0], "{profile}");
        let mut scene = in_pieces(profile);
        let mut rows = rows_of(&scene.bench.frames(scene.connection));
        scene.bench.engine.replay_in_pieces_until(scene.bench.now, 0);
        rows.extend(rows_of(&scene.bench.frames(scene.connection)));
        assert_eq!(rows, [1, 2, 3, 4, 5, 6], "{profile}");
    }
}

pub(crate) fn replays_come_in_turn_but_in_5() {
    // What two more inventories in the middle of a replay bring, with the rest of that: in 5 each one of its own, at
    // the same time; from 8.11.4 on one for both, behind it.
    for (profile, (count, in_turn)) in releases([(18, false), (6, true), (6, true), (12, true), (12, true)]) {
        let mut scene = in_pieces(profile);
        let connection = scene.connection;
        for _ in 0..2 {
            let inventory = scene.bench.inventory(&[&scene.bob]);
            scene.bench.send(connection, inventory);
        }
        scene.bench.pass(30_000);
        let frames = scene.bench.frames(connection);
        let last_reply = frames.iter().rposition(|frame| frame["type"] == "reply");
        assert!(last_reply.is_some_and(|at| (3..8).contains(&at)), "{profile}: answered in the middle");
        let rows = rows_of(&frames);
        let ascents = 1 + rows.windows(2).filter(|pair| pair[0] >= pair[1]).count();
        assert_eq!((rows.len(), rows.len() == 6 * ascents), (count, in_turn), "{profile}: {rows:?}");
    }
}

pub(crate) fn a_middle_row_that_ended_leaves_a_hole_and_the_cursor_below_it() {
    for profile in ALL {
        for end in ["expire", "ack", "fail"] {
            let mut scene = scene(profile);
            scene.dms(3);
            let middle = scene.bench.engine.rows(&scene.bob.id).nth(1).unwrap().delivery_id.clone();
            if end == "expire" {
                assert!(scene.bench.engine.expire_row(scene.bench.now, &scene.bob.id, 2));
            } else {
                let token = scene.bob.token.clone();
                let path = format!("/v1/deliveries/{middle}/{end}");
                scene.bench.post(&path, &token, json!({}));
            }
            assert_eq!(scene.bench.engine.ack_cursor(&scene.bob.id), 0, "{end}");
            let replayed = numbered(&scene.replayed());
            assert_eq!(replayed[..2], pairs(&[("bob", 1), ("bob", 3)]), "{profile} {end}");
            let connection = scene.connection;
            scene.bench.ack(connection, "bob", 1);
            assert_eq!(scene.bench.engine.ack_cursor(&scene.bob.id), 1, "it stays below the hole");
            assert_eq!(numbered(&scene.replayed())[0], ("bob".to_owned(), 3), "{profile} {end}");
            scene.dms(1);
            assert_eq!(scene.bench.rows(&scene.bob)[3], (4, "delivered"), "the hole is never filled");
            assert_eq!(scene.bench.engine.ack_cursor(&scene.bob.id), 1, "{profile} {end}");
        }
    }
}

pub(crate) fn reordered_live_frames_swap_in_pairs_and_are_all_delivered() {
    for profile in ALL {
        let mut scene = scene(profile);
        scene.bench.engine.reorder_live_frames(scene.bench.now, true);
        scene.dms(4);
        let connection = scene.connection;
        assert_eq!(
            scene.bench.delivered(connection),
            pairs(&[("bob", 2), ("bob", 1), ("bob", 4), ("bob", 3)])
        );
        scene.dms(1);
        assert_eq!(scene.bench.rows(&scene.bob)[4], (5, "delivered"), "marked before it left");
        assert_eq!(scene.bench.delivered(connection), []);
        scene.bench.engine.release_held_back(scene.bench.now);
        assert_eq!(scene.bench.delivered(connection), pairs(&[("bob", 5)]));
        scene.bench.engine.reorder_live_frames(scene.bench.now, false);
        scene.dms(2);
        assert_eq!(scene.bench.delivered(connection), pairs(&[("bob", 6), ("bob", 7)]));
    }
}

pub(crate) fn an_upserting_registration_replays_what_is_unacked_with_the_same_sequences() {
    let mut scene = scene(ProfileName::V6_0_3);
    scene.dms(3);
    let connection = scene.connection;
    scene.bench.ack(connection, "bob", 1);
    scene.bench.delivers(connection);
    scene.bench.send(connection, json!({ "type": "agent.register", "name": "bob" }));
    let frames = scene.bench.frames(connection);
    assert_eq!(frames[0]["data"]["delivery_ack_seq"], 1);
    assert_eq!(numbered(&frames[1..]), pairs(&[("bob", 2), ("bob", 3)]), "it starts mid-stream");
}

/// What is sent behind the reply to each kind of frame, while two rows of bob are unacked.
pub(crate) fn each_release_replays_after_frames_of_its_own() {
    for (profile, expected) in releases([
        // node.register, another agent.register, the first inventory.sync, every later one
        [true, true, true, true],
        [false, false, true, false],
        [false, false, true, false],
        [false, false, true, true],
        [false, false, true, true],
    ]) {
        let mut scene = scene(profile);
        scene.dms(2);
        let node_register = scene.bench.registration(&scene.node, "i1");
        let agent_register = json!({ "type": "agent.register", "name": "carol" });
        let inventory = scene.bench.inventory(&[&scene.bob]);
        scene.bench.close(scene.connection);
        let connection = scene.bench.connect(&scene.node);
        let frames = [node_register, agent_register, inventory.clone(), inventory.clone()];
        let replays = frames.map(|frame| {
            scene.bench.pass(10_000);
            scene.bench.send(connection, frame);
            let answers = scene.bench.frames(connection);
            assert_eq!(answers[0]["type"], "reply", "the reply comes first: {profile}");
            let sent = numbered(&answers[1..]);
            assert!(sent.is_empty() || sent == pairs(&[("bob", 1), ("bob", 2)]), "{profile}: {sent:?}");
            !sent.is_empty()
        });
        assert_eq!(replays, expected, "{profile}");
        scene.bench.ack(connection, "bob", 1);
        scene.bench.pass(60_000);
        scene.bench.send(connection, inventory);
        let sent = numbered(&scene.bench.frames(connection)[1..]);
        let unacked = if expected[3] { pairs(&[("bob", 2)]) } else { Vec::new() };
        assert_eq!(sent, unacked, "a refresh repeats what is unacked, no more: {profile}");
    }
}

pub(crate) fn a_new_cursor_connection_is_sent_nothing_for_an_agent_that_is_not_ready() {
    for profile in WITH_CURSOR {
        let mut scene = scene(profile);
        let carol = scene.bench.worker(scene.connection, "carol");
        scene.dms(1);
        let connection = scene.bench.reconnect(&scene.node, scene.connection);
        let message = scene.bench.dm(&scene.alice, "bob", "queued");
        let read = format!("/v1/messages/{message}/read");
        scene.bench.post(&read, &scene.alice.token.clone(), json!({}));
        assert_eq!(scene.bench.frames(connection), Vec::<Value>::new(), "neither rows nor events");
        assert_eq!(scene.bench.rows(&scene.bob), [(1, "delivered"), (2, "queued")]);
        scene.bench.sync(connection, &[&carol]);
        assert_eq!(scene.bench.frames(connection), Vec::<Value>::new(), "not listed, not ready: {profile}");
        let inventory = scene.bench.inventory(&[&carol, &scene.bob]);
        scene.bench.send(connection, inventory);
        let frames = scene.bench.frames(connection);
        assert_eq!(
            (&frames[0]["type"], numbered(&frames[1..])),
            (&json!("reply"), pairs(&[("bob", 1), ("bob", 2)]))
        );
    }
}

pub(crate) fn a_connection_without_the_cursor_is_replayed_at_its_registration() {
    for profile in ALL {
        let mut scene = scene(profile);
        scene.dms(2);
        scene.bench.close(scene.connection);
        let connection = scene.bench.connect(&scene.node);
        let mut frame = scene.bench.registration(&scene.node, "i1");
        frame["capabilities"] = json!([{ "name": "release" }]);
        scene.bench.send(connection, frame);
        let frames = scene.bench.frames(connection);
        assert_eq!(frames[0]["type"], "reply");
        assert_eq!(numbered(&frames[1..]), pairs(&[("bob", 1), ("bob", 2)]), "{profile}");
        scene.dms(1);
        assert_eq!(scene.bench.delivered(connection), pairs(&[("bob", 3)]), "all are ready");
    }
}

pub(crate) fn a_socket_that_did_not_register_is_sent_nothing_but_in_5() {
    for (profile, sent) in releases([true, false, false, false, false]) {
        let mut scene = scene(profile);
        scene.bench.close(scene.connection);
        let connection = scene.bench.connect(&scene.node);
        scene.dms(1);
        let expected = if sent { pairs(&[("bob", 1)]) } else { Vec::new() };
        assert_eq!(scene.bench.delivered(connection), expected, "{profile}");
    }
}

pub(crate) fn registering_the_node_again_on_its_socket_gates_its_agents_in_6_0_3() {
    for (profile, sent) in releases([true, false, true, true, true]) {
        let mut scene = scene(profile);
        let connection = scene.connection;
        scene.bench.register(connection, &scene.node);
        scene.dms(1);
        let expected = if sent { pairs(&[("bob", 1)]) } else { Vec::new() };
        assert_eq!(scene.bench.delivered(connection), expected, "{profile}");
    }
}

pub(crate) fn the_sequence_goes_on_over_connections_and_tokens_and_rooms() {
    for profile in ALL {
        let mut scene = scene(profile);
        let key = scene.bench.key.clone();
        scene.dms(1);
        scene.bench.say(&scene.alice, "in general");
        let renewed = scene.bench.post("/v1/agents/bob/rotate-token", &key, json!({}));
        assert!(renewed["token"].is_string());
        scene.replayed();
        scene.dms(1);
        let connection = scene.connection;
        assert_eq!(scene.bench.delivered(connection), pairs(&[("bob", 3)]), "{profile}");
    }
}

pub(crate) fn an_ack_from_the_future_hides_nothing_new_from_6_0_3_on() {
    for profile in ALL {
        let mut scene = scene(profile);
        let connection = scene.connection;
        scene.bench.ack(connection, "bob", 50);
        assert_eq!(scene.bench.engine.ack_cursor(&scene.bob.id), 50);
        scene.bench.ack(connection, "bob", 2);
        assert_eq!(scene.bench.engine.ack_cursor(&scene.bob.id), 50, "never back");
        scene.dms(1);
        let replayed = numbered(&scene.replayed());
        if profile == ProfileName::V5_0_5 {
            assert_eq!(
                (scene.bench.rows(&scene.bob), replayed),
                (vec![(1, "delivered")], vec![]),
                "it cannot be replayed"
            );
        } else {
            assert_eq!(replayed, pairs(&[("bob", 51)]), "{profile}");
        }
    }
}

pub(crate) fn pruned_numbers_come_back_in_5_only() {
    for (profile, next) in releases([1, 3, 3, 3, 3]) {
        let mut scene = scene(profile);
        let connection = scene.connection;
        scene.dms(2);
        scene.bench.ack(connection, "bob", 2);
        scene.bench.engine.prune_mailbox(&scene.bob.id);
        scene.dms(1);
        assert_eq!(scene.bench.rows(&scene.bob), [(next, "delivered")], "{profile}");
    }
}

pub(crate) fn an_ack_needs_the_name_and_the_place_of_the_agent() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (_, other) = scene.bench.broker("other");
        scene.dms(2);
        for (connection, name) in [(other, "bob"), (scene.connection, "Bob"), (scene.connection, "alice")] {
            scene.bench.ack(connection, name, 2);
            assert_eq!(scene.bench.engine.ack_cursor(&scene.bob.id), 0, "{profile} {name}");
        }
        scene.bench.ack(scene.connection, "bob", 1);
        assert_eq!(scene.bench.rows(&scene.bob), [(1, "acked"), (2, "delivered")]);
    }
}

#[test]
fn a_deferred_row_is_queued_again_and_replayed() {
    let mut scene = scene(ProfileName::V6_0_3);
    scene.dms(1);
    let id = scene.bench.engine.rows(&scene.bob.id).next().unwrap().delivery_id.clone();
    let token = scene.bob.token.clone();
    scene.bench.post(&format!("/v1/deliveries/{id}/defer"), &token, json!({}));
    assert_eq!(scene.bench.rows(&scene.bob), [(1, "queued")]);
    assert_eq!(numbered(&scene.replayed()), pairs(&[("bob", 1)]));
}

#[test]
fn the_same_seed_and_the_same_calls_give_the_same_outputs() {
    let run = |profile: ProfileName, seed| {
        let mut bench = Bench::with(Options { profile: profile.into(), seed, ..Options::default() });
        let (node, connection) = bench.broker("n");
        let (alice, bob) = (bench.agent("alice"), bench.worker(connection, "bob"));
        bench.say(&alice, "one");
        bench.dm(&alice, "bob", "two");
        bench.pass(60_000);
        let connection = bench.reconnect(&node, connection);
        bench.sync(connection, &[&bob]);
        let frames = bench.frames(connection);
        (alice.token, node.token, frames, bench.engine.drain_journal())
    };
    for profile in ALL {
        assert_eq!(run(profile, 1), run(profile, 1), "{profile}");
        assert_ne!(run(profile, 1).0, run(profile, 2).0, "{profile}");
    }
}

/// A sender that never sees its answer asks again: by then the message may be read and acked.
pub(crate) fn what_a_request_sends_may_be_acked_before_its_answer_arrives() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (token, connection) = (scene.alice.token.clone(), scene.connection);
        let body = json!({ "to": "bob", "text": "x" });
        let headers = [("idempotency-key", "k")];
        assert_eq!(scene.bench.frames(connection), Vec::<Value>::new());
        let on_its_way = scene.bench.request("POST", "/v1/dm", Some(&token), &headers, &body);
        assert_eq!(scene.bench.delivered(connection), pairs(&[("bob", 1)]), "{profile}");
        scene.bench.ack(connection, "bob", 1);
        assert_eq!(scene.bench.rows(&scene.bob), [(1, "acked")]);
        let again = scene.bench.request("POST", "/v1/dm", Some(&token), &headers, &body);
        assert_eq!((on_its_way.status, again.status, &again.body), (201, 201, &on_its_way.body), "{profile}");
        assert_eq!(scene.bench.frames(connection), Vec::<Value>::new(), "no second delivery: {profile}");
    }
}

/// The other order: the answer is there, and what the request caused has not left yet.
pub(crate) fn a_request_is_answered_before_anything_of_it_is_sent() {
    for profile in ALL {
        let mut scene = scene(profile);
        let message = scene.bench.dm(&scene.alice, "bob", "x");
        let Some(Output::Send { connection, text }) = scene.bench.engine.poll() else {
            panic!("nothing was sent: {profile}");
        };
        assert_eq!((connection, parsed(&text)["msg_id"].clone()), (scene.connection, json!(message)));
        assert_eq!(scene.bench.engine.poll(), None, "{profile}");
    }
}
