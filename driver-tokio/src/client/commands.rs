//! `spawn`, `ls`, `status`, `release`: one or a few calls each.
//!
//! Owns: what these commands ask and how they show the answer. Must not know: connections.
//!
//! 1. The machine form has the members that the help promises, and never a credential that the API gives.

use super::args::{ClientCommand, ReleaseArgs, SpawnArgs};
use super::failure::Failure;
use super::http::{Api, Call, SHORT, SPAWN, segment};
use super::output::Output;
use super::send;
use super::table::{Style, cell, one_line, span, table};
use hyper::Method;
use serde_json::{Map, Value, json};
use std::path;

/// Carries out `command` against the broker behind `api`.
pub(super) async fn perform(command: &ClientCommand, api: &Api, output: &Output) -> Result<(), Failure> {
    match command {
        ClientCommand::Spawn(args) => spawn(args, api, output).await,
        ClientCommand::Ls(_) => ls(api, output).await,
        ClientCommand::Status(_) => status(api, output).await,
        ClientCommand::Send(args) => send::send(args, api, output).await,
        ClientCommand::Release(args) => release(args, api, output).await,
    }
}

async fn spawn(args: &SpawnArgs, api: &Api, output: &Output) -> Result<(), Failure> {
    let (cli, rest) = args.command.split_first().expect("the parser wants a program");
    let mut body = Map::new();
    body.insert("name".into(), json!(args.name));
    body.insert("cli".into(), json!(cli));
    body.insert("args".into(), json!(rest));
    if let Some(cwd) = &args.cwd {
        // The broker has another working directory than this process.
        let cwd = path::absolute(cwd)
            .map_err(|error| Failure::usage(format!("--cwd {}: {error}", cwd.display())))?;
        let cwd = cwd.to_str().ok_or_else(|| Failure::usage("--cwd: the path is not UTF-8"))?;
        body.insert("cwd".into(), json!(cwd));
    }
    if let Some(task) = &args.task {
        body.insert("task".into(), json!(task));
    }
    let what = format!("spawn {}", args.name);
    let body = Some(Value::Object(body));
    let call = Call { method: Method::POST, path: "/api/spawn", body, limit: SPAWN, what: &what };
    let answer = output.patiently(&what, api.call(call)).await?;
    if let Some(warning) = answer.get("warning").and_then(Value::as_str) {
        output.note(&format!("warning: {warning}"));
    }
    let machine = json!({
        "name": args.name,
        "runtime": answer.get("runtime"),
        "cli": cli,
        "pid": answer.get("pid"),
        "session_id": answer.get("sessionId"),
        "warning": answer.get("warning"),
    });
    output.result(&machine, |style| {
        let pid = answer.get("pid").and_then(Value::as_u64);
        let pid = pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
        format!("{} is running ({}{pid})\n", style.good(&one_line(&args.name)), one_line(cli))
    });
    Ok(())
}

/// What `ls` shows of an agent.
const AGENT_FACTS: [&str; 6] = ["name", "current_state", "pending_delivery_count", "cli", "pid", "channels"];

async fn ls(api: &Api, output: &Output) -> Result<(), Failure> {
    let agents = output.patiently("ls", agents(api)).await?;
    output.result(&json!({ "agents": agents }), |style| {
        if agents.is_empty() {
            return "no agents; start one with `relay-broker spawn NAME -- CMD`\n".to_owned();
        }
        let rows: Vec<_> = agents.iter().map(|agent| AGENT_FACTS.map(|name| cell(agent, name))).collect();
        table(style, ["NAME", "STATE", "PENDING", "CLI", "PID", "CHANNELS"], &rows)
    });
    Ok(())
}

/// The agents of the broker, as it lists them.
pub(super) async fn agents(api: &Api) -> Result<Vec<Value>, Failure> {
    let mut answer = api.call(Call::get("/api/spawned", "list of agents")).await?;
    match answer.get_mut("agents").map(Value::take) {
        Some(Value::Array(agents)) => Ok(agents),
        _ => Err(Failure::refused("bad_answer", "list of agents: the answer has no `agents`")),
    }
}

async fn release(args: &ReleaseArgs, api: &Api, output: &Output) -> Result<(), Failure> {
    let what = format!("release {}", args.name);
    let path = format!("/api/spawned/{}", segment(&args.name));
    let call = Call { method: Method::DELETE, path: &path, body: None, limit: SHORT, what: &what };
    output.patiently(&what, api.call(call)).await?;
    output.result(&json!({"name": args.name, "released": true}), |style| {
        format!("{} is released\n", style.good(&one_line(&args.name)))
    });
    Ok(())
}

async fn status(api: &Api, output: &Output) -> Result<(), Failure> {
    let calls = async {
        let health = api.call(Call::get("/health", "health")).await?;
        let session = api.call(Call::get("/api/session", "session")).await?;
        let status = api.call(Call::get("/api/status", "status")).await?;
        Ok::<_, Failure>((health, session, status))
    };
    let (health, session, status) = output.patiently("status", calls).await?;
    let machine = json!({
        "url": api.url(),
        "status": health.get("status"),
        "connected": health.get("relaycastConnected"),
        "version": session.get("broker_version").or_else(|| health.get("version")),
        "mode": session.get("mode"),
        "uptime_secs": session.get("uptime_secs"),
        "engine": session.get("relay_base_url"),
        "workspace_id": session.get("default_workspace_id"),
        "node_id": session.get("node_id"),
        "node_name": session.get("node_name"),
        "agents": status.get("agent_count"),
        "pending_deliveries": status.get("pending_delivery_count"),
        "dead_letters": health.get("deadLetterCount"),
        "delivery": health.get("nodeDelivery"),
        "problems": health.get("problems"),
    });
    output.result(&machine, |style| status_text(&machine, style));
    Ok(())
}

/// The facts of the machine form, one a line, and what is wrong.
fn status_text(machine: &Value, style: Style) -> String {
    let show = |name| cell(machine, name);
    let health = match machine["status"] == "ok" {
        true => style.good(&show("status")),
        false => style.bad(&show("status")),
    };
    let connected = match machine["connected"].as_bool() {
        Some(true) => style.good("connected"),
        Some(false) => style.bad("not connected"),
        None => "-".to_owned(),
    };
    let uptime = machine["uptime_secs"].as_u64().map_or_else(|| "-".to_owned(), span);
    let (version, url, mode) = (show("version"), show("url"), show("mode"));
    let (pending, dead) = (show("pending_deliveries"), show("dead_letters"));
    let mut facts = vec![
        ("health", health),
        ("broker", format!("{version} at {url}, {mode}, up {uptime}")),
        ("engine", format!("{connected}, {}", show("engine"))),
        ("workspace", show("workspace_id")),
        ("node", format!("{} ({})", show("node_name"), show("node_id"))),
        ("agents", show("agents")),
        ("deliveries", format!("{pending} pending, {dead} dead letters")),
    ];
    let problems = machine["problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
    facts.extend(problems.map(|problem| ("problem", style.bad(&one_line(problem)))));
    let line = |(name, fact): &(&str, String)| format!("{} {fact}\n", style.bold(&format!("{name:<10}")));
    facts.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::args::{Connection, LsArgs, StatusArgs};
    use super::super::failure::Class;
    use super::super::test_broker::{Reply, TestBroker};
    use super::*;

    fn spawn_args(cwd: Option<&str>) -> SpawnArgs {
        SpawnArgs {
            name: "w1".into(),
            cwd: cwd.map(Into::into),
            task: Some("read the README".into()),
            command: vec!["sh".into(), "-c".into(), "cat".into()],
            connection: Connection::default(),
        }
    }

    fn release_args(name: &str) -> ClientCommand {
        ClientCommand::Release(ReleaseArgs { name: name.into(), connection: Connection::default() })
    }

    #[tokio::test]
    async fn spawn_sends_program_arguments_and_an_absolute_folder() {
        let broker = TestBroker::start(vec![Reply::json(200, &json!({"success": true, "name": "w1"}))]).await;
        let command = ClientCommand::Spawn(spawn_args(Some("sub")));
        perform(&command, &broker.api(), &Output::of_test(true).0).await.unwrap();
        let cwd = std::env::current_dir().unwrap().join("sub");
        let expected = json!({
            "name": "w1", "cli": "sh", "args": ["-c", "cat"], "cwd": cwd, "task": "read the README"
        });
        assert_eq!(broker.body(0), expected);
        assert!(broker.requests()[0].starts_with("POST /api/spawn "));
    }

    #[tokio::test]
    async fn a_spawn_that_fails_gives_the_brokers_reason_and_says_what_to_do() {
        let refusal = json!({"success": false, "name": "w1", "error": "agent 'w1' already exists"});
        let broker = TestBroker::start(vec![Reply::json(500, &refusal)]).await;
        let command = ClientCommand::Spawn(spawn_args(None));
        let failure = perform(&command, &broker.api(), &Output::of_test(true).0).await.unwrap_err();
        assert_eq!(failure.class, Class::Refused);
        assert_eq!(failure.message, "spawn w1: agent 'w1' already exists");
        assert!(failure.advice.unwrap().contains("another name"));
    }

    #[tokio::test]
    async fn release_names_the_agent_in_the_path_whatever_it_is_called() {
        let broker =
            TestBroker::start(vec![Reply::json(200, &json!({"success": true, "name": "a b?"}))]).await;
        perform(&release_args("a b?"), &broker.api(), &Output::of_test(true).0).await.unwrap();
        assert!(broker.requests()[0].starts_with("DELETE /api/spawned/a%20b%3F "));
    }

    #[tokio::test]
    async fn release_of_an_unknown_agent_is_refused_with_advice() {
        let refusal = json!({"code": "agent_not_found", "message": "no agent \"x\""});
        let broker = TestBroker::start(vec![Reply::json(404, &refusal)]).await;
        let failure = perform(&release_args("x"), &broker.api(), &Output::of_test(true).0).await.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (Class::Refused, "agent_not_found"));
        assert!(failure.advice.unwrap().contains("relay-broker ls"));
    }

    #[tokio::test]
    async fn status_asks_three_questions_and_fails_while_the_broker_starts() {
        let broker = TestBroker::start(vec![
            Reply::json(200, &json!({"status": "ok"})),
            Reply::text(503, "Broker is starting, please retry"),
        ])
        .await;
        let command = ClientCommand::Status(StatusArgs { connection: Connection::default() });
        let failure = perform(&command, &broker.api(), &Output::of_test(true).0).await.unwrap_err();
        assert_eq!(failure.message, "session: Broker is starting, please retry");
        assert!(failure.advice.unwrap().contains("try again"));
    }

    #[tokio::test]
    async fn a_list_without_agents_is_a_bad_answer() {
        let broker = TestBroker::start(vec![Reply::json(200, &json!({}))]).await;
        let command = ClientCommand::Ls(LsArgs { connection: Connection::default() });
        let failure = perform(&command, &broker.api(), &Output::of_test(true).0).await.unwrap_err();
        assert_eq!(failure.code, "bad_answer");
    }

    #[tokio::test]
    async fn the_list_shows_each_agent_on_a_line() {
        let agents = json!({"agents": [
            {"name": "w1", "current_state": "idle", "pending_delivery_count": 2, "cli": "cat", "pid": 7, "channels": []}
        ]});
        let broker = TestBroker::start(vec![Reply::json(200, &agents)]).await;
        let command = ClientCommand::Ls(LsArgs { connection: Connection::default() });
        let (output, printed) = Output::of_test(false);
        perform(&command, &broker.api(), &output).await.unwrap();
        let expected = "NAME  STATE  PENDING  CLI  PID  CHANNELS\nw1    idle   2        cat  7    -\n";
        assert_eq!(printed.text(), expected);
    }

    #[tokio::test]
    async fn status_names_the_problems_and_no_key() {
        let script = || {
            let health =
                json!({"status": "degraded", "relaycastConnected": false, "problems": ["no engine"]});
            let session =
                json!({"broker_version": "0.1.0", "workspace_key": "rk_live_0123456789", "uptime_secs": 61});
            let status = json!({"agent_count": 1, "pending_delivery_count": 0});
            [health, session, status].iter().map(|body| Reply::json(200, body)).collect()
        };
        let command = ClientCommand::Status(StatusArgs { connection: Connection::default() });
        for json in [false, true] {
            let broker = TestBroker::start(script()).await;
            let (output, printed) = Output::of_test(json);
            perform(&command, &broker.api(), &output).await.unwrap();
            assert!(printed.text().contains("no engine"), "{}", printed.text());
            assert!(!printed.text().contains("rk_live_"), "{}", printed.text());
        }
    }
}
