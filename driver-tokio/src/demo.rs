//! `relay-broker demo`: shows in seconds, and judges by an independent record, that a message is
//! acked only after an agent has taken it.
//!
//! Owns: the order of start, play, verdict and end.
//! Must not know: how the broker works; it is the same binary in a process of its own, and talked to
//! like any other.
//!
//! 1. It ends within [`LIMIT`] and a stop, and leaves nothing behind.
//! 2. It succeeds only if the agents' own records and the engine's journal agree that every message
//!    was taken exactly once and not after its ack.

mod agent;
mod judge;
mod play;
mod stage;
mod timeline;

pub(crate) use agent::{AgentArgs, run as agent};

use crate::client::http::Api;
use crate::engine_host::{self, Host};
use clap::Args;
use judge::Verdict;
use play::{AGENTS, Play};
use relay_driver::settings::Fatal;
use stage::{Broker, Folder};
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;
use timeline::{Colour, Facts};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// For everything up to the verdict.
const LIMIT: Duration = Duration::from_secs(15);

/// For the event stream to end after the broker has.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Flags of `demo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Say the result as one JSON object on stdout, instead of timeline and table
    #[arg(long)]
    json: bool,
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs only memory and descriptors");
    let ended = runtime.block_on(demo());
    runtime.shutdown_background();
    match ended {
        Ok((facts, verdict)) => {
            show(args, &facts, &verdict);
            ExitCode::from(u8::from(!verdict.problems.is_empty()))
        }
        Err(fatal) => {
            eprintln!("relay-broker: demo: {}", fatal.message);
            ExitCode::from(fatal.code)
        }
    }
}

async fn demo() -> Result<(Facts, Verdict), Fatal> {
    let colour = colour(&io::stderr());
    let say = |what: &str| eprintln!("{} {what}", colour.paint("36", "demo:"));
    let folder = Folder::new()?;
    let mut facts = Facts::default();

    let (noted, journal) = mpsc::unbounded_channel();
    let listener = engine_host::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listener = listener.map_err(|e| Fatal::failed(format!("cannot listen on 127.0.0.1: {e}")))?;
    let engine = listener.local_addr().map_err(|e| Fatal::failed(e.to_string()))?;
    let options = engine_host::options(engine_host::DEFAULT_PROFILE, None)?;
    let host = Host::start(listener, options, Some(noted))?;
    say(&format!("an engine in this process, on {}", host.base_url));

    facts.start_ns = engine_host::now_ns();
    let (mut broker, address) = Broker::start(&folder, &host.base_url, &host.workspace_key)?;
    let mut following = None;
    let mut play = Play { host: &host, engine, journal, facts: &mut facts, say: &say };
    let playing = async {
        let target = address.read().await?;
        play.registered().await?;
        following = Some(tokio::spawn(play::follow(target.clone())));
        say("a broker in a process of its own is registered; it starts two agents in terminals");
        play.start_agents(&Api::new(target), &folder).await?;
        play.perform().await
    };
    tokio::select! {
        done = playing => done?,
        fatal = broker.failure() => return Err(fatal),
        fatal = interrupted() => return Err(fatal),
        () = sleep(LIMIT) => {
            let message = format!("not done after {} s; the broker's last words:\n{}", LIMIT.as_secs(), broker.last_words());
            return Err(Fatal::failed(message));
        }
    }
    // What is typed or acked in the last moments counts, too.
    let end = broker.stop().await;
    play.read_on();
    if let Some(typed) = following {
        facts.typed = timeout(LAST_WORDS, typed).await.map_or_else(|_| Vec::new(), Result::unwrap_or_default);
    }
    let verdict = conclude(&mut facts, &folder, end)?;
    Ok((facts, verdict))
}

fn conclude(facts: &mut Facts, folder: &Folder, end: Option<String>) -> Result<Verdict, Fatal> {
    for agent in AGENTS {
        let entries = agent::read_record(&folder.join(agent)).map_err(Fatal::failed)?;
        facts.records.insert(agent, entries);
    }
    let mut verdict = judge::judge(&facts.sent, &facts.records, &facts.journal);
    verdict.problems.extend(end);
    Ok(verdict)
}

fn show(args: &DemoArgs, facts: &Facts, verdict: &Verdict) {
    let mut stdout = io::stdout().lock();
    let text = if args.json {
        format!("{}\n", timeline::report(facts, verdict))
    } else {
        let colour = colour(&stdout);
        [
            String::new(),
            timeline::timeline(facts, colour),
            timeline::table(facts, verdict, colour),
            timeline::verdict(verdict, colour),
        ]
        .join("\n")
    };
    // A reader that goes away misses the rest; the exit code stays.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn colour(stream: &impl IsTerminal) -> Colour {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && stream.is_terminal() { Colour::On } else { Colour::Off }
}

/// Waits for a signal that asks the demo to end.
async fn interrupted() -> Fatal {
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        match signal(kind) {
            Ok(signal) => signals.push(signal),
            Err(error) => return Fatal::failed(format!("cannot handle signals: {error}")),
        }
    }
    std::future::poll_fn(|cx| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
        if came { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    Fatal::failed("interrupted")
}
