//! `relay-broker`: a Relaycast broker node for one machine and directory.
//!
//! Owns: the command line, the order of the start, signals, exit codes.
//! Must not know: anything about messages, agents or the wire; see `relay_core` for all decisions.
//!
//! 1. Signals are handled before anything is locked, bound or contacted.
//! 2. stdin is never read.
#![forbid(unsafe_code)]

mod calls;
mod client;
mod clock;
#[cfg(feature = "local-engine")]
mod demo;
#[cfg(feature = "local-engine")]
mod engine_host;
mod http;
mod inbox;
#[cfg(feature = "local-engine")]
mod loopback;
mod net;
mod pty;
mod ready;
mod run;
mod socket;

use clap::{Parser, Subcommand};
use inbox::{Event, Inbox};
use relay_core::Broker;
use relay_driver::descriptors;
use relay_driver::logs::{self, Form, Log};
use relay_driver::process::{self, EXIT_CODES};
use relay_driver::record::Recording;
use relay_driver::settings::{self, Fatal, InitArgs, Settings, UpArgs};
use relay_driver::state::{self, State};
use run::Io;
use std::io;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Where the engine of this machine listens.
#[cfg(feature = "local-engine")]
const LOCAL_ENGINE: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7528);
/// Threads for what blocks: forks, name lookups, reading files. More would only cost memory.
const BLOCKING_THREADS: usize = 8;
/// A blocking thread without work ends after this long: it would only hold memory.
const THREAD_IDLE: Duration = Duration::from_secs(2);

/// A broker node for Relaycast: hosts agents on this machine and brings them their messages
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
    /// Run a Relaycast engine for this machine, in the foreground and in memory only
    #[cfg(feature = "local-engine")]
    Engine(engine_host::EngineArgs),
    /// Show in seconds that a message is acked only after an agent has taken it; needs nothing else
    #[cfg(feature = "local-engine")]
    Demo(demo::DemoArgs),
    #[cfg(feature = "local-engine")]
    #[command(hide = true)]
    DemoAgent(demo::AgentArgs),
    #[command(flatten)]
    Client(client::ClientCommand),
}

fn main() -> ExitCode {
    process::end_on_panic("relay-broker");
    match Cli::parse().action {
        Action::Up(args) => host(settings::surroundings().and_then(|around| Settings::up(args, &around))),
        Action::Init(args) => host(settings::surroundings().and_then(|around| Settings::init(args, &around))),
        #[cfg(feature = "local-engine")]
        Action::Engine(args) => engine_host::run(&args),
        #[cfg(feature = "local-engine")]
        Action::Demo(args) => demo::run(&args),
        #[cfg(feature = "local-engine")]
        Action::DemoAgent(args) => demo::agent(&args),
        Action::Client(command) => client::run(command),
    }
}

/// Runs a broker, from its settings to the exit code of the process.
fn host(settings: Result<Settings, Fatal>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(THREAD_IDLE)
        .build()
        .expect("a runtime needs only memory and descriptors");
    descriptors::raise_limit();
    let ended = settings.and_then(|settings| runtime.block_on(serve(settings)));
    let code = process::end("relay-broker", ended);
    // Without waiting for blocking work that may hang.
    runtime.shutdown_background();
    code
}

/// Starts a broker and runs it to its end.
async fn serve(mut settings: Settings) -> Result<u8, Fatal> {
    let (inbox, events) = Inbox::new();
    handle_signals(inbox.clone())?;
    let threshold = logs::threshold(settings.log_target.as_deref(), settings.log_filter.as_deref());
    let log = Log::new(Form::detect(settings.json_log), threshold)
        .map_err(|e| Fatal::failed(format!("cannot start a thread: {e}")))?;

    let state = State::open(&settings)?;
    let (listener, port) = bind(&settings).await?;
    state.announce(&settings, port)?;
    process::say_listening(&settings, port);
    let api =
        http::Api::serve(listener, settings.bind.clone(), port, settings.api_key.clone(), inbox.clone());

    if settings.local() {
        join_local_engine(&mut settings, &log).await?;
    }
    let reports = inbox.clone();
    let store = state.store(move |store, result| reports.put(Event::Stored { store, result }))?;
    let (state, booted, log) = tokio::task::spawn_blocking(move || {
        let booted = state.boot(&log);
        (state, booted, log)
    })
    .await
    .expect("reading files does not panic");
    let (config, boot) = (settings.config(), booted?);
    let mut recording = Recording::begin(&settings, &config, &boot, "tokio", &log)?;
    let broker = Broker::new(config, boot);
    api.ready();

    let io = Io::new(&inbox, api, store, log);
    let (code, io) = run::run(broker, io, &mut recording, events)
        .await
        .map_err(|e| Fatal::failed(format!("cannot make a timer: {e}")))?;
    io.api.finish().await;
    // Not on this thread: while a disk hangs, a second signal must still end the process.
    let _ = tokio::task::spawn_blocking(move || {
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

#[cfg(feature = "local-engine")]
async fn join_local_engine(settings: &mut Settings, log: &Log) -> Result<(), Fatal> {
    let engine = engine_host::start_or_join(LOCAL_ENGINE).await?;
    let message = format!("using the engine at {}: it keeps everything in memory only", engine.base_url);
    log.say(relay_core::Level::Info, "broker", message);
    settings.attach(engine.base_url, engine.workspace_key);
    Ok(())
}

#[cfg(not(feature = "local-engine"))]
async fn join_local_engine(_settings: &mut Settings, _log: &Log) -> Result<(), Fatal> {
    Err(Fatal::usage("--local: this build contains no engine"))
}

/// The first signal asks the broker to stop; the second one ends the process at once.
fn handle_signals(inbox: Inbox) -> Result<(), Fatal> {
    let failed = |e: io::Error| Fatal::failed(format!("cannot handle signals: {e}"));
    // Whoever started us with nohup wants no end with the terminal.
    let mut hangup =
        if process::hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup()).map_err(failed)?) };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let code = tokio::select! {
                Some(_) = async { hangup.as_mut()?.recv().await } => 129,
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            if asked {
                process::end_by_signal(code);
            }
            asked = true;
            inbox.put(Event::Terminate);
        }
    });
    Ok(())
}
