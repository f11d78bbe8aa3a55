//! The engine of this machine: the engine model on loopback sockets.
//!
//! Owns: starting it or joining one that runs, the `engine` command, what is said about it.
//! Must not know: workspaces, agents, messages; the model decides.
//!
//! 1. It is reached over loopback only, and keeps everything in memory only.
//! 2. It runs on a thread of its own to the end of the process, so it delays nothing else in it.

mod join;
mod model;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use model::{Host, Noted, now_ns};

use clap::Args;
use relay_core::Secret;
use relay_driver::settings::Fatal;
use relay_sim::engine::{Options, ProfileName};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// The release that brokers of this project get when nobody asks for another one: the oldest with
/// ack cursors, on which a broker that starts again takes its agents' names over.
pub(crate) const DEFAULT_PROFILE: ProfileName = ProfileName::V6_0_3;

/// Flags of `engine`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EngineArgs {
    /// Address and port to listen on; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value_t = crate::LOCAL_ENGINE)]
    listen: SocketAddr,
    /// The engine release to behave like: 5.0.5, 6.0.3, 8.2.2, 8.11.4 or 9.0.0
    #[arg(long, value_name = "RELEASE", default_value_t = DEFAULT_PROFILE)]
    profile: ProfileName,
    /// Messages that may wait for one agent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    mailbox_depth: Option<u32>,
    /// Say address, workspace and key as one JSON line on stdout
    #[arg(long)]
    json: bool,
}

/// What a broker needs to know of the engine that it was given.
#[derive(Clone, Debug)]
pub(crate) struct LocalEngine {
    /// Base URL.
    pub(crate) base_url: String,
    /// Key of its workspace.
    pub(crate) workspace_key: Secret,
}

/// Joins the engine that answers on `address`, or starts one there.
pub(crate) async fn start_or_join(address: SocketAddr) -> Result<LocalEngine, Fatal> {
    match bind(address) {
        Ok(listener) => {
            let host = Host::start(listener, options(DEFAULT_PROFILE, None)?, None)?;
            Ok(LocalEngine { base_url: host.base_url, workspace_key: host.workspace_key })
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => join::join(address).await,
        Err(error) => Err(unusable(address, &error)),
    }
}

/// Runs the `engine` command: an engine in the foreground, until a signal.
pub(crate) fn run(args: &EngineArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs only memory and descriptors");
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("relay-broker: {}", fatal.message);
            ExitCode::from(fatal.code)
        }
    }
}

async fn serve(args: &EngineArgs) -> Result<(), Fatal> {
    if !args.listen.ip().is_loopback() {
        return Err(Fatal::usage(format!(
            "--listen {}: this engine hands its key to whoever asks, so it serves this machine only; \
             choose an address like 127.0.0.1:7528",
            args.listen
        )));
    }
    let failed = |e: io::Error| Fatal::failed(format!("cannot handle signals: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    relay_driver::descriptors::raise_limit();

    let listener = bind(args.listen).map_err(|error| unusable(args.listen, &error))?;
    let host = Host::start(listener, options(args.profile, args.mailbox_depth)?, None)?;
    introduce(args, &host);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Says where the engine is. The key opens a workspace that dies with this process, and on this
/// machine only.
fn introduce(args: &EngineArgs, host: &Host) {
    let (profile, base_url, key) = (args.profile.as_str(), &host.base_url, host.workspace_key.expose());
    let mut banner = String::new();
    let _ = write!(
        banner,
        "relay-broker engine: like Relaycast {profile}, on {base_url}, until Ctrl-C\n\
         Everything is in memory only and gone when this process ends.\n\
         A workspace is ready. For a broker in another terminal:\n\n  \
         export RELAY_BASE_URL={base_url} RELAY_API_KEY={key}\n  relay-broker up\n\n"
    );
    // Whoever started us may not care.
    let _ = io::stderr().write_all(banner.as_bytes());
    if args.json {
        let line = json!({
            "base_url": base_url,
            "workspace_key": key,
            "workspace_id": host.workspace_id,
            "profile": profile,
        });
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }
}

/// A listener, without waiting.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn unusable(address: SocketAddr, error: &io::Error) -> Fatal {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => {
            "; another program, perhaps another engine, uses it: stop that, or choose another --listen"
        }
        ErrorKind::AddrNotAvailable => "; it must be an address of this machine",
        _ => "",
    };
    Fatal::failed(format!("the engine cannot listen on {address}: {error}{hint}"))
}

/// What the model gets. Its seed makes the keys, so it is a random one.
pub(crate) fn options(profile: ProfileName, mailbox_depth: Option<u32>) -> Result<Options, Fatal> {
    let seed =
        getrandom::u64().map_err(|e| Fatal::failed(format!("the system gives no random numbers: {e}")))?;
    let mut options = Options { profile: profile.into(), seed, ..Options::default() };
    if let Some(depth) = mailbox_depth {
        options.mailbox_depth = depth as usize;
    }
    Ok(options)
}
