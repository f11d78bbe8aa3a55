//! The engine model's payloads, key by key, and who is sent what.

use crate::support::{ALL, Agent, Bench, keys, numbered, pairs, text};
use relay_sim::engine::{ConnectionId, ProfileName};
use serde_json::{Value, json};

/// `alice` and `bob` on one node, `carol` only over HTTP.
struct Scene {
    bench: Bench,
    connection: ConnectionId,
    alice: Agent,
    bob: Agent,
    carol: Agent,
}

fn scene(profile: ProfileName) -> Scene {
    let mut bench = Bench::new(profile);
    let (_, connection) = bench.broker("n");
    let (alice, bob) = (bench.worker(connection, "alice"), bench.worker(connection, "bob"));
    let carol = bench.agent("carol");
    Scene { bench, connection, alice, bob, carol }
}

impl Scene {
    /// The frames that a call of an agent causes.
    fn caused(&mut self, by: &Agent, path: &str, body: Value) -> (Value, Vec<Value>) {
        let data = self.bench.post(path, &by.token, body);
        (data, self.bench.delivers(self.connection))
    }
}

/// The frame without its payload.
fn head(frame: &Value) -> Value {
    let mut head = frame.clone();
    head.as_object_mut().unwrap().remove("payload");
    head
}

fn general(bench: &mut Bench) -> Value {
    let key = bench.key.clone();
    bench.get("/v1/channels", &key)[0]["id"].clone()
}

pub(crate) fn a_channel_message_has_its_shape() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (alice, bob) = (scene.alice.clone(), scene.bob.clone());
        let (data, frames) =
            scene.caused(&alice, "/v1/channels/general/messages", json!({ "text": "hi @bob" }));
        let id = text(&data["id"]);
        let expected = json!({
            "v": 1, "type": "deliver", "delivery_id": format!("del_{id}_{}", bob.id), "agent_id": bob.id,
            "agent": "bob", "msg_id": id, "seq": 1, "mode": "wait",
        });
        assert_eq!(head(&frames[0]), expected, "{profile}");
        let channel = general(&mut scene.bench);
        let message = json!({
            "id": id, "channel_id": channel, "agent_id": alice.id, "agent_name": "alice", "text": "hi @bob",
            "blocks": null, "metadata": {}, "has_attachments": false, "thread_id": null,
            "created_at": "2026-07-01T00:00:00.000Z", "mentions": ["bob"], "attachments": [],
            "injection_mode": "wait",
        });
        assert_eq!(data, message, "the answer has neither channel_name nor from_name");
        let mut payload = message;
        payload["channel_name"] = json!("general");
        payload["from_name"] = json!("alice");
        assert_eq!(frames[0]["payload"], json!({ "type": "message.created", "data": payload }));
    }
}

pub(crate) fn a_thread_reply_has_its_shape_and_hangs_on_the_root() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (alice, bob) = (scene.alice.clone(), scene.bob.clone());
        let root = scene.bench.say(&alice, "root");
        scene.bench.delivers(scene.connection);
        let path = format!("/v1/messages/{root}/replies");
        let (first, frames) = scene.caused(&alice, &path, json!({ "text": "more", "mode": "steer" }));
        let id = text(&first["id"]);
        let channel = general(&mut scene.bench);
        let payload = json!({
            "id": id, "channel_id": channel, "channel_name": "general", "agent_id": alice.id,
            "agent_name": "alice", "thread_id": root, "text": "more", "blocks": null, "metadata": {},
            "has_attachments": false, "created_at": "2026-07-01T00:00:00.000Z", "from_name": "alice",
        });
        assert_eq!(frames[0]["payload"], json!({ "type": "thread.reply", "data": payload }));
        assert_eq!(
            (&frames[0]["mode"], &frames[0]["delivery_id"]),
            (&json!("wait"), &json!(format!("del_{id}_{}", bob.id)))
        );
        let path = format!("/v1/messages/{id}/replies");
        let (second, _) = scene.caused(&bob, &path, json!({ "text": "again" }));
        assert_eq!(second["thread_id"], json!(root), "{profile}");
    }
}

pub(crate) fn a_direct_message_has_its_shape_and_metadata_from_8_on() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (alice, bob) = (scene.alice.clone(), scene.bob.clone());
        let body = json!({ "to": "bob", "text": "now", "mode": "steer" });
        let (answer, frames) = scene.caused(&alice, "/v1/dm", body);
        let id = text(&answer["id"]);
        let conversation = text(&answer["conversation_id"]);
        let digest = conversation.strip_prefix("dm_").expect("a conversation id");
        assert!(digest.len() == 24 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let mut data = json!({
            "conversation_id": conversation,
            "message": { "id": id, "agent_id": alice.id, "agent_name": "alice", "text": "now",
                "injection_mode": "steer", "attachments": [] },
            "created_at": "2026-07-01T00:00:00.000Z", "id": id, "from_agent_id": alice.id, "to": "bob",
            "text": "now", "injection_mode": "steer", "attachments": [],
        });
        if profile >= ProfileName::V8_2_2 {
            data["metadata"] = json!({});
            data["message"]["metadata"] = json!({});
        }
        assert_eq!(answer, data, "{profile}");
        data["from_name"] = json!("alice");
        assert_eq!(frames[0]["payload"], json!({ "type": "dm.received", "data": data }), "{profile}");
        let head = head(&frames[0]);
        assert_eq!(
            (&head["mode"], &head["msg_id"], &head["agent_id"]),
            (&json!("steer"), &json!(id), &json!(bob.id))
        );
        let delivery = text(&head["delivery_id"]);
        let number = delivery.strip_prefix("del_").expect("a delivery id");
        assert!(number.bytes().all(|byte| byte.is_ascii_digit()) && number != id, "{delivery}");
        let (back, _) = scene.caused(&bob, "/v1/dm", json!({ "to": "alice", "text": "x" }));
        assert_eq!(back["conversation_id"], answer["conversation_id"], "one conversation for both");
    }
}

pub(crate) fn a_reply_in_a_direct_conversation_stays_a_thread_reply() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (alice, bob) = (scene.alice.clone(), scene.bob.clone());
        let (dm, _) = scene.caused(&alice, "/v1/dm", json!({ "to": "bob", "text": "x" }));
        let path = format!("/v1/messages/{}/replies", text(&dm["id"]));
        let (reply, frames) = scene.caused(&bob, &path, json!({ "text": "y" }));
        let frame = &frames[0];
        assert_eq!((&frame["agent"], &frame["payload"]["type"]), (&json!("alice"), &json!("thread.reply")));
        let digest = text(&dm["conversation_id"]).replace("dm_", "dmch_");
        assert_eq!(frame["payload"]["data"]["channel_id"], json!(digest));
        assert_eq!(
            frame["delivery_id"],
            json!(format!("del_{}_{}", text(&reply["id"]), alice.id)),
            "{profile}"
        );
    }
}

pub(crate) fn a_group_message_has_its_shape() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (alice, bob) = (scene.alice.clone(), scene.bob.clone());
        let (group, _) = scene.caused(&alice, "/v1/dm/group", json!({ "participants": ["bob", "carol"] }));
        let conversation = text(&group["conversation_id"]);
        let path = format!("/v1/dm/{conversation}/messages");
        let (answer, frames) = scene.caused(&alice, &path, json!({ "text": "all" }));
        let id = text(&answer["id"]);
        let data = json!({
            "conversation_id": conversation,
            "message": { "id": id, "agent_id": alice.id, "agent_name": "alice", "text": "all",
                "injection_mode": "wait", "attachments": [] },
            "created_at": "2026-07-01T00:00:00.000Z", "id": id, "agent_id": alice.id, "text": "all",
            "injection_mode": "wait", "attachments": [], "from_name": "alice",
        });
        assert_eq!(frames[0]["payload"], json!({ "type": "group_dm.received", "data": data }));
        assert_eq!(frames[0]["delivery_id"], json!(format!("del_{id}_{}", bob.id)), "{profile}");
    }
}

pub(crate) fn the_sender_and_strangers_get_nothing_and_muted_members_only_mentions() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (alice, bob, carol) = (scene.alice.clone(), scene.bob.clone(), scene.carol.clone());
        scene.caused(&alice, "/v1/channels", json!({ "name": "dev" }));
        scene.caused(&carol, "/v1/channels/dev/messages", json!({ "text": "from outside" }));
        assert_eq!(scene.bench.rows(&alice).len(), 1, "the sender need not be a member");
        assert_eq!((scene.bench.rows(&bob), scene.bench.rows(&carol)), (vec![], vec![]));
        scene.caused(&bob, "/v1/channels/general/mute", json!({}));
        for (words, seen) in
            [("plain", false), ("mail bob@bob.dev", false), ("hey @bob!", true), ("@bobby", false)]
        {
            let (_, frames) = scene.caused(&alice, "/v1/channels/general/messages", json!({ "text": words }));
            assert_eq!(!frames.is_empty(), seen, "{profile}: {words}");
        }
        scene.caused(&bob, "/v1/channels/general/unmute", json!({}));
        let (_, frames) = scene.caused(&alice, "/v1/channels/general/messages", json!({ "text": "x" }));
        assert_eq!(numbered(&frames), pairs(&[("bob", 2)]));
        for to in ["@self", "alice"] {
            let (_, frames) = scene.caused(&alice, "/v1/dm", json!({ "to": to, "text": "note" }));
            assert_eq!(frames, Vec::<Value>::new(), "a note to oneself is not delivered");
        }
    }
}

pub(crate) fn a_receipt_reuses_the_message_id_and_reaches_even_the_reader() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (alice, bob) = (scene.alice.clone(), scene.bob.clone());
        let message = scene.bench.say(&alice, "x");
        scene.bench.delivers(scene.connection);
        scene.bench.pass(4_000);
        let path = format!("/v1/messages/{message}/read");
        let (data, frames) = scene.caused(&bob, &path, json!({}));
        assert_eq!(keys(&data), ["agent_id", "message_id", "read_at"]);
        assert_eq!(numbered(&frames), pairs(&[("alice", 0), ("bob", 0)]));
        let expected = json!({
            "v": 1, "type": "deliver", "agent_id": alice.id, "agent": "alice", "msg_id": message, "seq": 0,
            "mode": "wait",
            "delivery_id": format!("evt_message_read_{message}_{}_2026_07_01T00_00_04_000Z_{}", bob.id, alice.id),
            "payload": { "type": "message.read", "data": { "message_id": message, "agent_id": bob.id,
                "read_at": "2026-07-01T00:00:04.000Z", "agent_name": "bob" } },
        });
        assert_eq!(frames[0], expected, "{profile}");
        let carol = scene.carol.clone();
        let (_, again) = scene.caused(&carol, &path, json!({}));
        assert_eq!(again[0]["msg_id"], frames[0]["msg_id"], "two readers, one msg_id");
        assert_ne!(again[0]["delivery_id"], frames[0]["delivery_id"]);
        assert_eq!(scene.bench.rows(&alice), [], "events are not stored");
    }
}

pub(crate) fn a_reaction_comes_and_goes_as_events_of_its_message() {
    let mut scene = scene(ProfileName::V6_0_3);
    let (alice, bob) = (scene.alice.clone(), scene.bob.clone());
    let message = scene.bench.say(&alice, "x");
    scene.bench.delivers(scene.connection);
    let path = format!("/v1/messages/{message}/reactions");
    let (data, frames) = scene.caused(&bob, &path, json!({ "emoji": "eyes" }));
    assert_eq!(numbered(&frames), pairs(&[("alice", 0), ("bob", 0)]));
    let id = text(&data["id"]);
    assert_eq!(
        frames[0]["payload"],
        json!({ "type": "message.reacted", "data": { "id": id, "message_id": message, "emoji": "eyes",
            "agent_id": bob.id, "channel_name": "general", "agent_name": "bob", "action": "added" } })
    );
    assert_eq!(
        (&frames[0]["msg_id"], &frames[0]["delivery_id"]),
        (&json!(message), &json!(format!("evt_message_reacted_{id}_{}", alice.id)))
    );
    let removal = format!("{path}/eyes");
    assert_eq!(scene.bench.call("DELETE", &removal, &bob.token, Value::Null).0, 204);
    let frames = scene.bench.delivers(scene.connection);
    assert_eq!(
        frames[0]["payload"]["data"],
        json!({ "message_id": message, "emoji": "eyes", "agent_id": bob.id, "agent_name": "bob",
            "channel_name": "general", "action": "removed" })
    );
    assert_eq!(frames[0]["msg_id"], json!(message));
}

pub(crate) fn an_event_can_reach_an_agent_before_the_message_that_it_is_about() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (alice, carol) = (scene.alice.clone(), scene.carol.clone());
        scene.bench.engine.reorder_live_frames(scene.bench.now, true);
        let message = scene.bench.say(&alice, "x");
        let path = format!("/v1/messages/{message}/read");
        scene.bench.post(&path, &carol.token, json!({}));
        scene.bench.engine.reorder_live_frames(scene.bench.now, false);
        let frames = scene.bench.delivers(scene.connection);
        let to_bob: Vec<_> = frames.iter().filter(|frame| frame["agent"] == "bob").collect();
        assert_eq!((&to_bob[0]["seq"], &to_bob[1]["seq"]), (&json!(0), &json!(1)), "{profile}");
        assert_eq!(to_bob[0]["msg_id"], to_bob[1]["msg_id"]);
    }
}

pub(crate) fn events_of_a_message_come_while_its_row_is_deferred() {
    for profile in ALL {
        let mut scene = scene(profile);
        let (alice, bob, carol) = (scene.alice.clone(), scene.bob.clone(), scene.carol.clone());
        let (message, frames) = scene.caused(&alice, "/v1/channels/general/messages", json!({ "text": "x" }));
        let message = text(&message["id"]);
        let delivery = text(&frames[0]["delivery_id"]);
        scene.caused(&bob, &format!("/v1/deliveries/{delivery}/defer"), json!({}));
        assert_eq!(scene.bench.rows(&bob), [(1, "queued")], "{profile}");
        let reactions = format!("/v1/messages/{message}/reactions");
        let (_, events) = scene.caused(&carol, &reactions, json!({ "emoji": "eyes" }));
        let to_bob = events.iter().find(|frame| frame["agent"] == "bob").expect("an event for bob");
        assert_eq!((&to_bob["seq"], &to_bob["msg_id"]), (&json!(0), &json!(message)), "{profile}");
        assert_eq!(scene.bench.rows(&bob), [(1, "queued")], "the row itself still waits: {profile}");
    }
}

pub(crate) fn the_end_of_an_action_is_told_to_its_caller() {
    for profile in ALL {
        for (result, kind, output, error) in [
            (
                json!({ "output": { "spawned": true } }),
                "action.completed",
                json!({ "spawned": true }),
                Value::Null,
            ),
            (json!({ "output": [1, "x"] }), "action.completed", json!([1, "x"]), Value::Null),
            (json!({ "output": null }), "action.completed", Value::Null, Value::Null),
            (json!({ "error": "" }), "action.completed", Value::Null, Value::Null),
            (json!({ "error": "boom" }), "action.failed", Value::Null, json!("boom")),
        ] {
            let mut scene = scene(profile);
            let alice = scene.alice.clone();
            let id = text(
                &scene.bench.post("/v1/actions/echo/invoke", &alice.token, json!({ "input": 7 }))["invocation_id"],
            );
            let invoke = scene.bench.frames(scene.connection).remove(0);
            assert_eq!(
                invoke,
                json!({ "v": 1, "type": "action.invoke", "invocation_id": id, "action": "echo", "input": 7 })
            );
            let mut frame = result;
            frame["type"] = json!("action.result");
            frame["invocation_id"] = json!(id);
            scene.bench.send(scene.connection, frame);
            let told = scene.bench.delivers(scene.connection);
            let status = kind.strip_prefix("action.").unwrap();
            let expected = json!({
                "v": 1, "type": "deliver", "agent_id": alice.id, "agent": "alice", "msg_id": id, "seq": 0,
                "mode": "wait",
                "delivery_id": format!("evt_{}_{id}_{}", kind.replace('.', "_"), alice.id),
                "payload": { "type": kind, "data": { "invocation_id": id, "action_name": "echo", "status": status,
                    "output": output, "error": error } },
            });
            assert_eq!(told, [expected], "{profile}");
        }
    }
}
