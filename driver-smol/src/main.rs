//! `relay-broker-smol`: a Relaycast broker node for one machine and directory, on smol.
//!
//! Owns: the command line, the order of the start, signals, exit codes.
//! Must not know: anything about messages, agents or the wire; see `relay_core` for all decisions.
//!
//! 1. Signals are handled before anything is locked, bound or contacted.
//! 2. stdin is never read.
#![forbid(unsafe_code)]

mod alarm;
mod calls;
mod credit;
mod flag;
mod http;
mod inbox;
mod net;
mod pty;
mod run;
mod socket;
mod stream;
mod task;

use async_signal::{Signal, Signals};
use clap::{Parser, Subcommand};
use futures_util::StreamExt;
use inbox::{Event, Inbox};
use relay_core::Broker;
use relay_driver::descriptors;
use relay_driver::logs::{self, Form, Log};
use relay_driver::process::{self, EXIT_CODES};
use relay_driver::record::Recording;
use relay_driver::settings::{self, Fatal, InitArgs, Settings, UpArgs};
use relay_driver::state::{self, State};
use run::Io;
use smol::net::TcpListener;
use smol::unblock;
use std::process::ExitCode;

/// A broker node for Relaycast: hosts agents on this machine and brings them their messages.
/// `relay-broker` has the commands that talk to it
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a broker in this directory, in the foreground
    Up(UpArgs),
    /// Run a broker for another program, with flags and output as existing clients expect
    Init(InitArgs),
}

fn main() -> ExitCode {
    process::end_on_panic("relay-broker-smol");
    let settings = match Cli::parse().action {
        Action::Up(args) => settings::surroundings().and_then(|around| Settings::up(args, &around)),
        Action::Init(args) => settings::surroundings().and_then(|around| Settings::init(args, &around)),
    };
    descriptors::raise_limit();
    process::end("relay-broker-smol", settings.and_then(|settings| task::run(serve(settings))))
}

/// Starts a broker and runs it to its end.
async fn serve(settings: Settings) -> Result<u8, Fatal> {
    let (inbox, events) = Inbox::new();
    handle_signals(inbox.clone())?;
    let threshold = logs::threshold(settings.log_target.as_deref(), settings.log_filter.as_deref());
    let log = Log::new(Form::detect(settings.json_log), threshold)
        .map_err(|e| Fatal::failed(format!("cannot start a thread: {e}")))?;
    if settings.local() {
        return Err(Fatal::usage("--local: this program contains no engine; run `relay-broker up --local`"));
    }

    let state = State::open(&settings)?;
    let (listener, port) = bind(&settings).await?;
    state.announce(&settings, port)?;
    process::say_listening(&settings, port);
    let api =
        http::Api::serve(listener, settings.bind.clone(), port, settings.api_key.clone(), inbox.clone());

    let reports = inbox.clone();
    let store = state.store(move |store, result| reports.put(Event::Stored { store, result }))?;
    let (state, booted, log) = unblock(move || {
        let booted = state.boot(&log);
        (state, booted, log)
    })
    .await;
    let (config, boot) = (settings.config(), booted?);
    let mut recording = Recording::begin(&settings, &config, &boot, "smol", &log)?;
    let broker = Broker::new(config, boot);
    api.ready();

    let io = Io::new(&inbox, api, store, log);
    let (code, io) = run::run(broker, io, &mut recording, events)
        .await
        .map_err(|e| Fatal::failed(format!("cannot make a timer: {e}")))?;
    io.api.finish().await;
    // Not on this thread: while a disk hangs, a second signal must still end the process.
    unblock(move || {
        recording.finish(code);
        io.store.finish();
    })
    .await;
    state::leave();
    drop(state);
    io.log.flush();
    Ok(code)
}

async fn bind(settings: &Settings) -> Result<(TcpListener, u16), Fatal> {
    let failed = |error| process::not_bound(settings, &error);
    let listener = TcpListener::bind((settings.bind_host(), settings.port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// The first signal asks the broker to stop; the second one ends the process at once.
fn handle_signals(inbox: Inbox) -> Result<(), Fatal> {
    // Whoever started us with nohup wants no end with the terminal.
    let hangup = (!process::hangup_is_ignored()).then_some(Signal::Hup);
    let wanted = [Signal::Int, Signal::Term].into_iter().chain(hangup);
    let mut signals =
        Signals::new(wanted).map_err(|e| Fatal::failed(format!("cannot handle signals: {e}")))?;
    let handling = async move {
        let mut asked = false;
        while let Some(signal) = signals.next().await {
            if asked {
                process::end_by_signal(signal.map_or(1, |signal| 128 + signal as i32));
            }
            asked = true;
            inbox.put(Event::Terminate);
        }
    };
    task::spawn(handling).detach();
    Ok(())
}
