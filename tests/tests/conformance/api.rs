//! The local API: who may ask, how much, how slowly, and who follows the events.

use crate::world::{OUTAGE, World};
use crate::{Scenario, scenarios};
use relay_tests::binary::Driver;
use relay_tests::http::Client;
use relay_tests::wait::{soon, within};
use relay_tests::websocket::{self, Reader, Received};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

pub(crate) const ALL: &[Scenario] = scenarios![
    nobody_without_the_key_learns_anything,
    a_web_page_is_refused,
    two_requests_on_one_connection_are_answered_in_order,
    half_a_request_delays_nobody,
    a_head_that_is_too_long_is_refused,
    a_client_that_goes_away_leaves_no_trace,
    what_has_no_route_or_another_method_is_told,
    a_plain_request_for_the_events_is_told_what_they_are,
    events_come_in_order_and_again_to_whoever_was_away,
    a_subscriber_that_does_not_read_costs_others_nothing,
    a_flood_of_requests_is_answered_or_refused_at_once,
    the_api_listens_before_the_engine_is_found,
];

fn raw(world: &World, text: &str) -> String {
    let mut tcp = TcpStream::connect(&world.broker.api.address).unwrap();
    tcp.set_read_timeout(Some(OUTAGE)).unwrap();
    let _ = tcp.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn follow(world: &World, since: u64) -> Reader {
    let api = &world.broker.api;
    let (reader, writer) =
        websocket::connect(&api.address, &format!("/ws?sinceSeq={since}"), &api.header).unwrap();
    // The writing half belongs to the socket; the test only listens.
    std::mem::forget(writer);
    reader
}

fn next(reader: &mut Reader, mut wanted: impl FnMut(&Value) -> bool) -> Value {
    std::iter::from_fn(|| reader.receive())
        .filter_map(|received| match received {
            Received::Text(text) => serde_json::from_str(&text).ok(),
            _ => None,
        })
        .find(|event| wanted(event))
        .expect("the event")
}

fn nobody_without_the_key_learns_anything(driver: &Driver) {
    let world = World::new(driver);
    for header in
        ["X-Nothing: here", "X-API-Key: br_ffffffffffffffffffffffffffffffff", "Authorization: Basic eDp5"]
    {
        let stranger = Client { header: header.into(), ..world.broker.api.clone() };
        assert_eq!(stranger.get("/health").status, 200);
        for path in ["/api/session", "/api/spawned", "/no/such/path"] {
            let answer = stranger.get(path);
            assert_eq!((answer.status, answer.json()["error"].is_object()), (401, true), "{}", answer.text);
        }
    }
    let bearer = world.broker.api.header.replace("X-API-Key: ", "Authorization: Bearer ");
    assert_eq!(Client { header: bearer, ..world.broker.api }.get("/api/session").status, 200);
}

fn a_web_page_is_refused(driver: &Driver) {
    let world = World::new(driver);
    let api = &world.broker.api;
    for header in ["origin: http://somewhere.test", "host: somewhere.test"] {
        let host =
            if header.starts_with("host") { String::new() } else { format!("host: {}\r\n", api.address) };
        let request = format!(
            "GET /api/session HTTP/1.1\r\n{host}{header}\r\n{}\r\nconnection: close\r\n\r\n",
            api.header
        );
        let answer = raw(&world, &request);
        assert!(answer.starts_with("HTTP/1.1 403"), "{header}: {answer}");
        assert!(!answer.contains("rk_live_"), "{answer}");
    }
}

fn two_requests_on_one_connection_are_answered_in_order(driver: &Driver) {
    let world = World::new(driver);
    let api = &world.broker.api;
    let request = |path: &str, end: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{}\r\n{end}\r\n", api.address, api.header)
    };
    let both = request("/api/spawned", "") + &request("/api/session", "connection: close\r\n");
    let answers = raw(&world, &both);
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    let (first, second) = (answers.find("\"agents\"").unwrap(), answers.find("broker_version").unwrap());
    assert!(first < second);
}

fn half_a_request_delays_nobody(driver: &Driver) {
    let world = World::new(driver);
    let api = &world.broker.api;
    let mut half = Vec::new();
    for start in ["POST /api/spawn HT", "POST /api/spawn HTTP/1.1\r\nhost: x\r\n"] {
        let mut tcp = TcpStream::connect(&api.address).unwrap();
        tcp.write_all(start.as_bytes()).unwrap();
        half.push(tcp);
    }
    let mut slow = TcpStream::connect(&api.address).unwrap();
    slow.set_read_timeout(Some(OUTAGE)).unwrap();
    let head = format!(
        "POST /api/spawn HTTP/1.1\r\nhost: {}\r\n{}\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{{",
        api.address, api.header
    );
    slow.write_all(head.as_bytes()).unwrap();
    assert_eq!(api.get("/api/status").status, 200);
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    drop(half);
}

fn a_head_that_is_too_long_is_refused(driver: &Driver) {
    let world = World::new(driver);
    let api = &world.broker.api;
    let long = "x".repeat(200 * 1024);
    let answer =
        raw(&world, &format!("GET /health HTTP/1.1\r\nhost: {}\r\nx-long: {long}\r\n\r\n", api.address));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(api.get("/health").status, 200);
}

fn a_client_that_goes_away_leaves_no_trace(driver: &Driver) {
    let world = World::new(driver);
    let api = &world.broker.api;
    // The answer to a spawn waits for the engine, which keeps its reply.
    world.rewrite(|text| if text.contains("at_live_") { vec![] } else { vec![text] });
    let body = json!({ "name": "worker", "cli": "cat" }).to_string();
    let mut tcp = TcpStream::connect(&api.address).unwrap();
    let head = format!(
        "POST /api/spawn HTTP/1.1\r\nhost: {}\r\n{}\r\ncontent-length: {}\r\n\r\n{body}",
        api.address,
        api.header,
        body.len()
    );
    tcp.write_all(head.as_bytes()).unwrap();
    world.engine.frame("agent.register");
    tcp.shutdown(Shutdown::Both).unwrap();
    drop(tcp);
    assert_eq!(api.get("/api/status").status, 200);
    let World { broker, .. } = world;
    assert!(broker.stop().success());
}

fn what_has_no_route_or_another_method_is_told(driver: &Driver) {
    let world = World::new(driver);
    let api = &world.broker.api;
    for (method, path, status, word) in [
        ("GET", "/api/no-such-thing", 404, "not_found"),
        ("DELETE", "/api/session", 405, "method_not_allowed"),
        ("GET", "/api/spawned/nobody/snapshot", 404, "nobody"),
    ] {
        let answer = api.ask(method, path, "");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        assert!(answer.text.contains(word), "{method} {path}: {}", answer.text);
    }
}

fn a_plain_request_for_the_events_is_told_what_they_are(driver: &Driver) {
    let world = World::new(driver);
    let answer = world.broker.api.get("/ws");
    assert_eq!(answer.status, 426, "{}", answer.text);
}

fn events_come_in_order_and_again_to_whoever_was_away(driver: &Driver) {
    let world = World::new(driver);
    let mut live = follow(&world, 0);
    let agent = world.agent("worker");
    world.alice.dm("worker", "an event");
    agent.read("an event");
    let mut last = 0;
    let mut kinds = Vec::new();
    next(&mut live, |event| {
        if let Some(seq) = event["seq"].as_u64() {
            assert!(seq > last, "{event}");
            last = seq;
            kinds.push(event["kind"].to_string());
        }
        event["kind"] == "delivery_ack"
    });
    let mut again = follow(&world, 0);
    let mut replayed = Vec::new();
    next(&mut again, |event| {
        if event["seq"].is_u64() {
            replayed.push(event["kind"].to_string());
        }
        event["seq"] == last
    });
    assert_eq!(replayed, kinds);
}

fn a_subscriber_that_does_not_read_costs_others_nothing(driver: &Driver) {
    let world = World::new(driver);
    let deaf = follow(&world, 0);
    let mut live = follow(&world, 0);
    // Terminal output is what makes streams grow.
    world.spawn("flood", "bash", &["-c", "head -c 30000000 /dev/zero | tr '\\0' x; exec cat"]);
    world.agent("worker");
    world.alice.dm("worker", "in the middle of it");
    within(OUTAGE, "the ack", || world.engine.acked_yet("worker", 1));
    next(&mut live, |event| event["kind"] == "delivery_ack");
    assert_eq!(world.broker.api.get("/api/status").status, 200);
    let memory = resident(world.broker.process.pid());
    assert!(memory < 100 * 1024, "{memory} KiB are resident");
    drop(deaf);
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn a_flood_of_requests_is_answered_or_refused_at_once(driver: &Driver) {
    let world = World::new(driver);
    let api = &world.broker.api;
    let begun = Instant::now();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let floods: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..100).map(|_| api.get("/api/spawned").status).collect::<Vec<_>>()))
            .collect();
        floods.into_iter().flat_map(|flood| flood.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| [200, 503].contains(status)));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

fn the_api_listens_before_the_engine_is_found(driver: &Driver) {
    let place = relay_tests::place::Place::of(driver);
    let broker = place.broker("http://127.0.0.1:9", "rk_live_0123456789abcdef0123456789abcdef");
    let health = soon("an answer", || {
        let health = broker.api.get("/health").json();
        (health["problems"].as_array().is_some_and(|problems| !problems.is_empty())).then_some(health)
    });
    assert_ne!(health["status"], "ok", "{health}");
    assert_eq!(broker.api.get("/api/spawned").status, 200);
    assert!(broker.stop().success());
}
