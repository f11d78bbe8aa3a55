use super::*;
use crate::api::{SendMode, Target};
use alloc::vec;

fn get(target: &str) -> Result<ApiCall, ApiError> {
    route("GET", target, false, Auth::Ok, b"")
}

fn post(target: &str, body: &str) -> Result<ApiCall, ApiError> {
    route("POST", target, false, Auth::Ok, body.as_bytes())
}

#[test]
fn every_route_leads_to_its_call() {
    assert_eq!(get("/health"), Ok(ApiCall::Health));
    assert_eq!(get("/api/session"), Ok(ApiCall::Session));
    assert_eq!(post("/api/session/renew", ""), Ok(ApiCall::RenewLease));
    assert_eq!(get("/api/status?x=1"), Ok(ApiCall::Status));
    assert_eq!(get("/api/spawned"), Ok(ApiCall::Agents));
    assert_eq!(get("/api/dead-letters"), Ok(ApiCall::DeadLetters));
    assert_eq!(post("/api/shutdown", ""), Ok(ApiCall::Shutdown));
    assert!(
        matches!(post("/api/spawn", r#"{"name":"w"}"#), Ok(ApiCall::Spawn(request)) if request.cli == "claude")
    );
    let Ok(ApiCall::Send(message)) = post("/api/send", r##"{"to":"#g","message":"hi","mode":"steer"}"##)
    else {
        panic!("no message");
    };
    assert_eq!((message.to, message.mode), (Target::Channel("g".into()), SendMode::Steer));
    assert_eq!(
        post("/api/input/w", r#"{"data":"ls\r"}"#),
        Ok(ApiCall::Input { name: "w".into(), data: "ls\r".into() })
    );
    assert_eq!(
        post("/api/resize/w", r#"{"rows":50,"cols":200}"#),
        Ok(ApiCall::Resize { name: "w".into(), rows: 50, cols: 200 })
    );
}

#[test]
fn a_snapshot_is_plain_unless_asked_otherwise() {
    for (query, format) in [
        ("", SnapshotFormat::Plain),
        ("?format=plain", SnapshotFormat::Plain),
        ("?format=text", SnapshotFormat::Plain),
        ("?x&format=ansi&format=plain", SnapshotFormat::Ansi),
        ("?format=%61nsi", SnapshotFormat::Ansi),
    ] {
        let call = get(&format!("/api/spawned/w/snapshot{query}"));
        assert_eq!(call, Ok(ApiCall::Snapshot { name: "w".into(), format }), "{query}");
    }
    let error = get("/api/spawned/w/snapshot?format=png").unwrap_err();
    assert_eq!((error.status, &*error.code), (400, "invalid_format"));
}

#[test]
fn a_release_may_carry_a_reason() {
    let delete = |target, body: &str| route("DELETE", target, false, Auth::Ok, body.as_bytes());
    let release =
        |reason: Option<&str>| Ok(ApiCall::Release { name: "w".into(), reason: reason.map(String::from) });
    assert_eq!(delete("/api/spawned/w", ""), release(None));
    assert_eq!(delete("/api/spawned/w", " \n"), release(None));
    assert_eq!(delete("/api/spawned/w", r#"{"reason":"done"}"#), release(Some("done")));
    let error = delete("/api/spawned/w", "{").unwrap_err();
    assert!(error.reply().body.starts_with(r#"{"success":false,"name":"w","#));
}

#[test]
fn names_in_paths_are_decoded_and_stay_one_segment() {
    let name = |target: &str| match post(target, r#"{"data":"x"}"#) {
        Ok(ApiCall::Input { name, .. }) => Ok(name.0),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err((error.status, error.code.into_owned())),
    };
    assert_eq!(name("/api/input/a%20b%2Fc"), Ok("a b/c".into()));
    assert_eq!(name("/api/input/m%C3%BCnchen"), Ok("münchen".into()));
    assert_eq!(name("/api/input/a+b"), Ok("a+b".into()));
    for broken in ["/api/input/%", "/api/input/%zz", "/api/input/%FF"] {
        assert_eq!(name(broken), Err((400, "invalid_path".into())), "{broken}");
    }
    for unknown in ["/api/input/", "/api/input/a/b", "/api/input"] {
        assert_eq!(name(unknown), Err((404, "not_found".into())), "{unknown}");
    }
}

#[test]
fn everything_but_health_needs_the_key() {
    for auth in [Auth::Missing, Auth::Wrong] {
        assert_eq!(route("GET", "/health", false, auth, b""), Ok(ApiCall::Health));
        let targets = ROUTES
            .iter()
            .map(|(method, pattern, _)| (*method, pattern.replace("{name}", "w")))
            .filter(|(_, target)| target != "/health")
            .chain([("GET", "/nowhere".into()), ("GET", "/health/".into())]);
        for (method, target) in targets {
            let error = route(method, &target, true, auth, b"").unwrap_err();
            assert_eq!(error, ApiError::unauthorized(), "{method} {target}");
        }
    }
}

#[test]
fn unknown_paths_and_wrong_methods_are_told_apart() {
    for path in ["/", "", "/api", "/api/spawned/", "/api//spawn", "/API/status", "/wss", "/health/"] {
        let error = get(path).unwrap_err();
        assert_eq!((error.status, &*error.code), (404, "not_found"), "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/health", "Allow: GET"),
        ("GET", "/api/spawn", "Allow: POST"),
        ("POST", "/api/spawned/w", "Allow: DELETE"),
        ("get", "/api/status", "Allow: GET"),
    ] {
        let error = route(method, path, false, Auth::Ok, b"").unwrap_err();
        assert_eq!((error.status, &*error.code), (405, "method_not_allowed"), "{path}");
        assert!(error.message.ends_with(allow), "{}", error.message);
    }
}

#[test]
fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let fits = vec![b' '; limits::API_BODY];
    let error = route("POST", "/api/send", false, Auth::Ok, &fits).unwrap_err();
    assert_eq!(&*error.code, "invalid_json");
    let over = vec![b' '; limits::API_BODY + 1];
    let error = route("POST", "/api/send", false, Auth::Ok, &over).unwrap_err();
    assert_eq!((error.status, &*error.code), (413, "body_too_large"));
    assert!(error.message.contains("1048577"), "{}", error.message);
}

#[test]
fn the_event_stream_wants_an_upgrade_and_takes_a_position() {
    let follow = |target| route("GET", target, true, Auth::Ok, b"");
    for (target, since) in [
        ("/ws", 0),
        ("/ws?sinceSeq=0", 0),
        ("/ws?sinceSeq=17", 17),
        ("/ws?x=1&since_seq=18446744073709551615", u64::MAX),
    ] {
        assert_eq!(follow(target), Ok(ApiCall::Events { since }), "{target}");
    }
    for target in ["/ws?sinceSeq=", "/ws?sinceSeq=-1", "/ws?sinceSeq=1.5", "/ws?sinceSeq=%"] {
        let error = follow(target).unwrap_err();
        assert_eq!((error.status, &*error.code), (400, "invalid_request"), "{target}");
    }
    let error = get("/ws").unwrap_err();
    assert_eq!((error.status, &*error.code), (426, "upgrade_required"));
}

#[test]
fn typing_and_resizing_say_what_is_missing() {
    for (target, body, code, words) in [
        ("/api/input/w", "{}", "invalid_request", "Missing required field: data"),
        ("/api/input/w", r#"{"data":""}"#, "invalid_request", "Missing required field: data"),
        ("/api/input/w", r#"{"data":[]}"#, "invalid_request", "\"data\" must be a string, not a list"),
        ("/api/resize/w", r#"{"rows":24}"#, "invalid_request", "Missing required field: cols"),
        ("/api/resize/w", r#"{"rows":"24","cols":80}"#, "invalid_size", "\"rows\""),
        ("/api/resize/w", r#"{"rows":24,"cols":65536}"#, "invalid_size", "\"cols\""),
    ] {
        let error = post(target, body).unwrap_err();
        assert_eq!((error.status, &*error.code), (400, code), "{body}");
        assert!(error.message.contains(words), "{}", error.message);
    }
}
