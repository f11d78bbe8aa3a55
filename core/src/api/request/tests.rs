use super::*;
use alloc::string::ToString;
use alloc::vec;

fn spawn(body: &str) -> Result<SpawnRequest, ApiError> {
    SpawnRequest::parse(body.as_bytes())
}

fn send(body: &str) -> Result<SendRequest, ApiError> {
    SendRequest::parse(body.as_bytes())
}

#[test]
fn a_name_is_enough_to_spawn() {
    let request = spawn(r#"{"name":"w1","task":null,"args":null,"unknown":{"x":1},"model":""}"#).unwrap();
    assert_eq!(
        request,
        SpawnRequest {
            name: "w1".into(),
            cli: "claude".into(),
            args: vec![],
            cwd: None,
            task: None,
            model: None,
            channels: vec![],
            env: BTreeMap::new(),
            rows: 24,
            cols: 80,
            session_ref: None,
        }
    );
}

#[test]
fn every_field_of_a_spawn_is_kept() {
    let request = spawn(
        r##"{"name":"w1","cli":"cat","args":["-u"," "],"cwd":"/tmp","task":" do it\n","model":"m",
            "channels":["#a","b"],"env":{"K":"v=1"},"rows":40,"cols":120,"sessionId":"s","transport":"pty"}"##,
    )
    .unwrap();
    assert_eq!(request.cli, "cat");
    assert_eq!(request.args, ["-u", " "]);
    assert_eq!(request.cwd.as_deref(), Some("/tmp"));
    assert_eq!(request.task.as_deref(), Some(" do it\n"), "text is kept as it is");
    assert_eq!(request.model.as_deref(), Some("m"));
    assert_eq!(request.channels, ["a", "b"]);
    assert_eq!(request.env["K"], "v=1");
    assert_eq!((request.rows, request.cols), (40, 120));
    assert_eq!(request.session_ref.as_deref(), Some("s"));
}

#[test]
fn the_session_has_four_names() {
    for name in ["sessionId", "session_id", "sessionRef", "session_ref"] {
        let body = format!(r#"{{"name":"w1","{name}":"s"}}"#);
        assert_eq!(spawn(&body).unwrap().session_ref.as_deref(), Some("s"), "{name}");
    }
}

#[test]
fn a_harness_configuration_wins_over_the_plain_fields() {
    let request = spawn(
        r#"{"name":"w1","cli":"claude","args":["x"],"cwd":"/","harnessConfig":{"runtime":"pty",
            "command":"/bin/cat","args":["-u"],"env":{"A":"b"},"sessionId":"s","metadata":{}}}"#,
    )
    .unwrap();
    assert_eq!((request.cli.as_str(), request.args), ("/bin/cat", vec!["-u".to_string()]));
    assert_eq!(request.cwd.as_deref(), Some("/"), "what it does not say stays");
    assert_eq!(request.env["A"], "b");
    assert_eq!(request.session_ref.as_deref(), Some("s"));
}

#[test]
fn a_refused_spawn_names_the_field_and_says_why() {
    let long = format!(r#"{{"name":"{}"}}"#, "n".repeat(129));
    let cases = [
        ("", "invalid_json", "line 1 column 0"),
        ("{\"name\":\n }", "invalid_json", "line 2 column 2"),
        ("[]", "invalid_request", "a JSON object, not a list"),
        ("{}", "invalid_request", "Missing required field: name"),
        (r#"{"name":" "}"#, "invalid_request", "Missing required field: name"),
        (r#"{"name":7}"#, "invalid_request", "\"name\" must be a string, not a number"),
        (r#"{"name":"a/b"}"#, "invalid_name", "contains '/'"),
        (&long, "invalid_name", "129 bytes; use at most 128"),
        (r#"{"name":"w","args":"x"}"#, "invalid_request", "\"args\" must be a list of strings, not a string"),
        (r#"{"name":"w","args":[1]}"#, "invalid_request", "\"args\" must be a list of strings, not a number"),
        (r#"{"name":"w","env":{"A":1}}"#, "invalid_request", "\"env\" must be an object of strings"),
        (r#"{"name":"w","env":{"":"x"}}"#, "invalid_request", "the variable name \"\""),
        (r#"{"name":"w","env":{"A=B":"x"}}"#, "invalid_request", "the variable name \"A=B\""),
        (r#"{"name":"w","cli":"a\u0000b"}"#, "invalid_request", "\"cli\" contains a NUL"),
        (r#"{"name":"w","args":["\u0000"]}"#, "invalid_request", "\"args\" contains a NUL"),
        (r#"{"name":"w","cwd":"src"}"#, "invalid_request", "must be an absolute path, not \"src\""),
        (r#"{"name":"w","channels":["a/b"]}"#, "invalid_name", "\"channels\": the name contains"),
        (r#"{"name":"w","rows":0}"#, "invalid_size", "\"rows\" must be a whole number from 1 to 1000"),
        (r#"{"name":"w","cols":1001}"#, "invalid_size", "\"cols\""),
        (r#"{"name":"w","cols":80.5}"#, "invalid_size", "\"cols\""),
        (r#"{"name":"w","harness_id":"x"}"#, "invalid_request", "harnessId is not supported"),
        (r#"{"name":"w","transport":"headless"}"#, "unsupported_runtime", "\"headless\" is not supported"),
        (r#"{"name":"w","harnessConfig":"x"}"#, "invalid_request", "\"harnessConfig\" must be an object"),
        (r#"{"name":"w","harness_plan":{"runtime":"app_server"}}"#, "unsupported_runtime", "app_server"),
    ];
    for (body, code, words) in cases {
        let error = spawn(body).unwrap_err();
        assert_eq!((error.status, &*error.code), (400, code), "{body}");
        assert!(error.message.contains(words), "{body}: {}", error.message);
        let reply = error.reply().body;
        assert!(reply.starts_with(r#"{"success":false,"#), "{reply}");
        assert_eq!(reply.contains(r#""name":"w""#), body.contains(r#""name":"w""#), "{reply}");
    }
}

#[test]
fn a_message_goes_to_an_agent_or_a_channel() {
    let cases = [
        ("bob", Target::Agent("bob".into())),
        ("@bob", Target::Agent("bob".into())),
        ("#general", Target::Channel("general".into())),
    ];
    for (to, target) in cases {
        let request = send(&format!(r#"{{"to":"{to}","text":"hi"}}"#)).unwrap();
        assert_eq!(request.to, target);
        assert_eq!((request.from, request.thread_id, request.mode), (None, None, SendMode::Wait));
    }
}

#[test]
fn the_fields_of_a_message_have_several_names() {
    for name in ["text", "message", "body", "content"] {
        let request = send(&format!(r#"{{"to":"a","{name}":" hi\n"}}"#)).unwrap();
        assert_eq!(request.text, " hi\n", "{name}");
    }
    for name in ["thread", "thread_id", "threadId"] {
        let request = send(&format!(r#"{{"to":"a","text":"x","{name}":"t1","from":"eve"}}"#)).unwrap();
        assert_eq!(request.thread_id.as_deref(), Some("t1"), "{name}");
        assert_eq!(request.from.as_deref(), Some("eve"));
    }
    for name in ["mode", "injectionMode", "injection_mode"] {
        let request = send(&format!(r#"{{"to":"a","text":"x","{name}":"steer"}}"#)).unwrap();
        assert_eq!(request.mode.as_str(), "steer", "{name}");
    }
}

#[test]
fn a_refused_message_says_why() {
    let cases = [
        (r#"{"text":"x"}"#, "invalid_request", "Missing required field: to"),
        (r#"{"to":"a"}"#, "invalid_request", "Missing required field: text"),
        (r#"{"to":"a","text":" \n"}"#, "invalid_request", "Missing required field: text"),
        (r#"{"to":"a","text":{}}"#, "invalid_request", "\"text\" must be a string, not an object"),
        (r#"{"to":"a/b","text":"x"}"#, "invalid_name", "\"to\": the name contains '/'"),
        (r##"{"to":"#","text":"x"}"##, "invalid_name", "\"to\": the name is empty"),
        (r#"{"to":"@","text":"x"}"#, "invalid_name", "\"to\": the name is empty"),
        (r#"{"to":"a","text":"x","mode":"urgent"}"#, "invalid_mode", "use \"wait\" or \"steer\""),
    ];
    for (body, code, words) in cases {
        let error = send(body).unwrap_err();
        assert_eq!((error.status, &*error.code), (400, code), "{body}");
        assert!(error.message.contains(words), "{body}: {}", error.message);
        assert!(error.reply().body.starts_with(r#"{"code":"#));
    }
}
