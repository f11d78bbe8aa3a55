//! `send`: publish a message, and with `--wait` follow it to its end.
//!
//! Owns: the text from arguments or stdin, the publish, and how long to watch which deliveries.
//! Must not know: what an event means ([`super::follow`]).
//!
//! 1. The event stream is open before the publish, so no event of the message is missed.
//! 2. A publish is sent once.

use super::args::SendArgs;
use super::commands::agents;
use super::failure::Failure;
use super::follow::{Follow, State};
use super::http::{Api, Call, Events, PUBLISH};
use super::output::Output;
use super::table::{Style, one_line, table};
use hyper::Method;
use relay_core::limits::API_BODY;
use serde_json::{Map, Value, json};
use std::future::pending;
use std::io::{Read, stdin};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A channel's message is over when nothing is open and no delivery began or ended for this long.
const QUIET: Duration = Duration::from_secs(2);

/// Whose deliveries a waiting `send` can see from here.
#[derive(Debug, PartialEq, Eq)]
enum Scope {
    /// That of one agent of this broker, by its listed name.
    Agent(String),
    /// Those of the channel's members on this broker, whoever they are.
    Channel,
    /// None: the recipient is not an agent of this broker.
    Elsewhere,
}

/// Publishes the message and, with `--wait`, waits for its deliveries.
pub(super) async fn send(args: &SendArgs, api: &Api, output: &Output) -> Result<(), Failure> {
    let text = if args.text == "-" { read_text(stdin().lock())? } else { args.text.clone() };
    let body = body(args, &text)?;
    let Some(secs) = args.wait else {
        let message = output.patiently("send", publish(api, body)).await?;
        report(args, output, &message, None, "accepted by the engine");
        return Ok(());
    };
    let scope = scope(&args.to, &agents(api).await?);
    if scope == Scope::Elsewhere {
        let message = output.patiently("send", publish(api, body)).await?;
        let said = "accepted by the engine; the recipient is not an agent of this broker, so there is no ack to wait for";
        report(args, output, &message, None, said);
        return Ok(());
    }
    let waiting = format!("waiting for {} to take the message", args.to);
    let watch = publish_and_watch(api, body, &scope, Duration::from_secs(secs));
    let (message, follow, in_time) = output.patiently(&waiting, watch).await?;
    let said = if follow.deliveries().is_empty() && in_time {
        "accepted by the engine; no agent of this broker got it"
    } else {
        "accepted by the engine"
    };
    report(args, output, &message, Some(&follow), said);
    verdict(args, &follow, in_time, secs)
}

/// All of `input`, which must fit into a request.
fn read_text(input: impl Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    input
        .take(API_BODY as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("cannot read the message from stdin: {error}")))?;
    if bytes.len() > API_BODY {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format!("the message on stdin is not UTF-8 text (byte {at})"))
    })
}

fn too_long() -> Failure {
    Failure::usage("the message is over the limit of 1 MiB (1048576 bytes, as JSON)")
        .advise("write it to a file and send the file's path")
}

fn body(args: &SendArgs, text: &str) -> Result<Value, Failure> {
    if text.trim().is_empty() {
        return Err(Failure::usage("the message is empty"));
    }
    let mut body = Map::new();
    body.insert("to".into(), json!(args.to));
    body.insert("text".into(), json!(text));
    let options = [
        ("from", args.from.as_deref()),
        ("threadId", args.thread.as_deref()),
        ("mode", args.mode.map(|m| m.word())),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            body.insert(name.into(), json!(value));
        }
    }
    let body = Value::Object(body);
    if body.to_string().len() > API_BODY {
        return Err(too_long());
    }
    Ok(body)
}

/// Publishes and gives the message's id.
async fn publish(api: &Api, body: Value) -> Result<String, Failure> {
    let call =
        Call { method: Method::POST, path: "/api/send", body: Some(body), limit: PUBLISH, what: "send" };
    let answer = api.call(call).await?;
    // `event_id` names the publish; a broker that does not tell the engine's id has only that one.
    let id = answer
        .get("message_id")
        .filter(|id| id.is_string())
        .or_else(|| answer.get("event_id"))
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty());
    id.map(str::to_owned).ok_or_else(|| {
        Failure::refused("bad_answer", "send: the answer has no message id")
            .advise("the message was probably sent: look before you send it again")
    })
}

fn scope(to: &str, agents: &[Value]) -> Scope {
    if to.starts_with('#') {
        return Scope::Channel;
    }
    let wanted = to.strip_prefix('@').unwrap_or(to);
    let names = || agents.iter().filter_map(|agent| agent.get("name")?.as_str());
    let exact = names().find(|name| *name == wanted);
    match exact.or_else(|| names().find(|name| name.eq_ignore_ascii_case(wanted))) {
        Some(name) => Scope::Agent(name.to_owned()),
        None => Scope::Elsewhere,
    }
}

/// The message's id, what became of its deliveries, and whether they were over within `wait`.
async fn publish_and_watch(
    api: &Api,
    body: Value,
    scope: &Scope,
    wait: Duration,
) -> Result<(String, Follow, bool), Failure> {
    let mut events = Events::open(api).await?;
    let start = Instant::now();
    let mut early = Vec::new();
    let message = {
        let publish = publish(api, body);
        tokio::pin!(publish);
        loop {
            tokio::select! {
                message = &mut publish => break message?,
                event = events.next() => early.push((event?, start.elapsed())),
            }
        }
    };
    let mut follow = Follow::new(&message);
    for (event, took) in &early {
        follow.event(event, *took);
    }
    let limit = Instant::now() + wait;
    let mut changed = Instant::now();
    let is_over = |follow: &Follow| matches!(scope, Scope::Agent(agent) if follow.is_over(agent));
    while !is_over(&follow) {
        let settled = async {
            match scope {
                Scope::Channel if follow.all_over() => sleep_until(changed + QUIET).await,
                _ => pending().await,
            }
        };
        tokio::select! {
            event = events.next() => {
                if follow.event(&event?, start.elapsed()) {
                    changed = Instant::now();
                }
            }
            () = settled => break,
            () = sleep_until(limit) => return Ok((message, follow, false)),
        }
    }
    Ok((message, follow, true))
}

fn report(args: &SendArgs, output: &Output, message: &str, follow: Option<&Follow>, said: &str) {
    let machine = json!({
        "message_id": message,
        "to": args.to,
        "observed": follow.is_some(),
        "deliveries": follow.map_or_else(|| json!([]), Follow::to_json),
    });
    output.result(&machine, |style| {
        let head = format!("{}: {said}\n", one_line(message));
        let known = follow.filter(|follow| !follow.deliveries().is_empty());
        known.map_or_else(|| head.clone(), |follow| head.clone() + &delivery_table(style, follow))
    });
}

fn delivery_table(style: Style, follow: &Follow) -> String {
    let rows: Vec<_> = follow
        .deliveries()
        .iter()
        .map(|(agent, delivery)| {
            let took =
                delivery.took.map_or_else(|| "-".to_owned(), |took| format!("{} ms", took.as_millis()));
            let seen = delivery.verification.as_deref().map_or_else(|| "-".to_owned(), one_line);
            [one_line(agent), delivery.state.word().to_owned(), took, seen]
        })
        .collect();
    table(style, ["AGENT", "STATE", "AFTER", "SEEN BY"], &rows)
}

/// The ending of a command that waited: each delivery must be acked.
fn verdict(args: &SendArgs, follow: &Follow, in_time: bool, secs: u64) -> Result<(), Failure> {
    for (agent, delivery) in follow.deliveries() {
        match &delivery.state {
            State::Failed => {
                let reason = delivery.reason.as_deref().unwrap_or("no reason given");
                let message = format!("{agent} did not get the message: {reason}");
                return Err(Failure::refused("delivery_failed", message)
                    .advise("the broker keeps it as a dead letter"));
            }
            State::Ended => {
                return Err(Failure::refused(
                    "agent_ended",
                    format!("{agent} ended before it took the message"),
                )
                .advise(
                    "the engine keeps the message: an agent that is started again under this name may get it",
                ));
            }
            State::Open | State::Acked => {}
        }
    }
    if in_time {
        return Ok(());
    }
    let open: Vec<String> = follow
        .deliveries()
        .iter()
        .filter(|(_, delivery)| delivery.state == State::Open)
        .map(|(agent, delivery)| match &delivery.reason {
            Some(reason) => format!("{agent} (last attempt: {reason})"),
            None => agent.clone(),
        })
        .collect();
    let message = if open.is_empty() {
        format!("the engine accepted the message, but no delivery to {} began within {secs} s", args.to)
    } else {
        format!("not acked within {secs} s: {}", open.join(", "))
    };
    Err(Failure::timed_out("not_acked", message).advise(
        "the message is sent and stays queued: do not send it again, look with `relay-broker status`",
    ))
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
