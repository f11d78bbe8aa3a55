//! A driver on plain threads and blocking calls, to show whoever ports the core how little is needed.
//!
//! Owns: a thread for each thing that waits, and the loop. Must not know: anything that the core decides.
//!
//! 1. Every thread reports through one bounded inbox: when the loop is behind, they wait.
//! 2. The loop waits for nothing else; what it has to say to itself goes past the inbox.
//!
//! It leaves out TLS, `up`, event streams, pings, pausing, recording, a second signal, most limits.

use clap::Parser;
use relay_core::ids::{LinkId, OpId, ProcessId, RequestId};
use relay_core::time::Mono;
use relay_core::{Broker, Command, ExitStatus, FaultKind, Input, Secret, Step};
use relay_driver::event::{Failure, Refused, Started};
use relay_driver::settings::{Fatal, InitArgs, Settings};
use relay_driver::{answer, child, clock, logs, process, settings, socket::Out, state, store};
use relay_tests::http::{Request, exchange, write_answer};
use relay_tests::websocket::{self, Reader, Received, Writer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufReader, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};

type Event = relay_driver::event::Event<(), (OwnedFd, OwnedFd)>;
type Inbox = SyncSender<Event>;
type Waiting = Arc<Mutex<BTreeMap<RequestId, Sender<(u16, String)>>>>;
type Order = (Out, Option<Mono>);
/// A terminal, and its queue of writes.
type Tty = (Arc<OwnedFd>, Sender<(OpId, Vec<u8>, Mono)>);
/// A process, its handle until it is reaped, and its terminal until it is forgotten.
type Process = (Pid, Option<Arc<OwnedFd>>, Option<Tty>);

struct Io {
    inbox: Inbox,
    own: VecDeque<Event>,
    links: BTreeMap<LinkId, Sender<Order>>,
    processes: BTreeMap<ProcessId, Process>,
    waiting: Waiting,
    store: store::Store,
    log: logs::Log,
}

struct Server {
    host: String,
    port: u16,
    key: Secret,
    waiting: Waiting,
    inbox: Inbox,
}

#[derive(Parser)]
enum Cli {
    Init(InitArgs),
}

fn main() -> std::process::ExitCode {
    process::end_on_panic("std-driver");
    let Cli::Init(args) = Cli::parse();
    let settings = settings::surroundings().and_then(|around| Settings::init(args, &around));
    process::end("std-driver", settings.and_then(|settings| serve(&settings)))
}

fn serve(settings: &Settings) -> Result<u8, Fatal> {
    let (inbox, events) = sync_channel(64);
    let (terminate, reports) = (inbox.clone(), inbox.clone());
    let mut signals = signal_hook::iterator::Signals::new([1, 2, 15]).expect("signals");
    spawn(move || signals.forever().try_for_each(|_| terminate.send(Event::Terminate)));
    let log = logs::Log::new(logs::Form::detect(false), logs::threshold(None, None)).expect("a thread");
    let state = state::State::open(settings)?;
    let listener = TcpListener::bind((settings.bind_host(), settings.port));
    let listener = listener.map_err(|error| process::not_bound(settings, &error))?;
    let port = listener.local_addr().expect("it is bound").port();
    state.announce(settings, port)?;
    process::say_listening(settings, port);
    let store = state.store(move |store, result| drop(reports.send(Event::Stored { store, result })))?;
    let broker = Broker::new(settings.config(), state.boot(&log)?);
    let waiting = Waiting::default();
    let (host, key) = (settings.bind.clone(), settings.api_key.clone());
    let server = Arc::new(Server { host, port, key, waiting: waiting.clone(), inbox: inbox.clone() });
    spawn(move || {
        for tcp in listener.incoming().flatten() {
            let server = server.clone();
            spawn(move || api(tcp, &server));
        }
    });
    let (own, links, processes) = Default::default();
    let mut io = Io { inbox, own, links, processes, waiting, store, log };
    let code = run(broker, &mut io, &events);
    io.store.finish();
    io.log.flush();
    Ok(code)
}

/// Ready events first, at most 64 in a row, then what is due.
fn run(mut broker: Broker, io: &mut Io, events: &Receiver<Event>) -> u8 {
    let mut row = 0;
    loop {
        let wake = loop {
            match broker.poll() {
                Step::Do(Command::Exit { code }) => return code,
                Step::Do(command) => io.execute(command),
                Step::Wait(wake) => break wake,
            }
        };
        row += 1;
        let ready = io.own.pop_front().or_else(|| (row <= 64).then(|| events.try_recv().ok()).flatten());
        let event = ready.or_else(|| {
            row = 0;
            events.recv_timeout(wake.at.map_or(std::time::Duration::from_secs(60), clock::until)).ok()
        });
        match event {
            None => broker.handle(clock::now(), Input::Tick),
            Some(mut event) => {
                io.settle(&mut event);
                broker.handle(clock::now(), event.input());
            }
        }
    }
}

impl Io {
    fn execute(&mut self, command: Command) {
        let inbox = self.inbox.clone();
        match command {
            Command::LinkOpen { link, url, token, .. } => {
                let (sender, orders) = channel();
                self.links.insert(link, sender);
                spawn(move || run_link(link, &url, &token, orders, inbox));
            }
            Command::LinkSend { link, text } => self.tell(link, Out::Text(text), None),
            Command::LinkPing { link } => self.tell(link, Out::Ping, None),
            Command::LinkClose { link, code, reason, deadline } => {
                self.tell(link, Out::Close { code, reason }, Some(deadline));
            }
            Command::Call { call, request, deadline } => {
                let deadline = clock::until(deadline);
                spawn(move || inbox.send(Event::CallDone { call, result: exchange(&request, deadline) }));
            }
            Command::Spawn { process, child, .. } => drop(spawn(move || {
                let started = child::start(child).map(|c| (c.pid, Some((c.master, c.handle))));
                let result = started.map(|(pid, handles)| Started { pid, handles });
                inbox.send(Event::Spawned { process, result })
            })),
            Command::PtyWrite { process, op, bytes, deadline } => {
                if self.tty(process).is_none_or(|tty| tty.1.send((op, bytes, deadline)).is_err()) {
                    let failure = Some(Failure::new(FaultKind::Broken, "the terminal is gone"));
                    self.own.push_back(Event::PtyWritten { process, op, written: 0, failure });
                }
            }
            Command::PtyCheck { process, op } => {
                let state = self.tty(process).and_then(|tty| child::look(&tty.0));
                self.own.push_back(Event::PtyState { process, op, state });
            }
            Command::PtyResize { process, rows, cols } => {
                self.tty(process).inspect(|tty| child::resize(&tty.0, rows, cols));
            }
            Command::PtySignal { process, signal } => {
                let unreaped = self.processes.get(&process).filter(|process| process.1.is_some());
                unreaped.inspect(|process| child::signal(process.0, signal));
            }
            Command::PtyForget { process } => drop(self.processes.get_mut(&process).map(|p| p.2.take())),
            Command::Store { store, action, .. } => self.store.change(store, action),
            Command::ApiReply { request, status, body, .. } => self.answer(request, status, body),
            Command::ApiStream { request, subscriber } => {
                self.answer(request, 501, String::new());
                self.own.push_back(Event::StreamGone { subscriber });
            }
            Command::Log(line) => self.log.write(clock::now().wall, &line),
            Command::LinkPause { .. } | Command::Exit { .. } => {}
            Command::StreamSend { .. } | Command::StreamClose { .. } => {}
        }
    }

    fn tty(&self, process: ProcessId) -> Option<&Tty> {
        self.processes.get(&process)?.2.as_ref()
    }

    fn tell(&self, link: LinkId, out: Out, deadline: Option<Mono>) {
        drop(self.links.get(&link).map(|orders| orders.send((out, deadline))));
    }

    fn answer(&self, request: RequestId, status: u16, body: String) {
        let asked = self.waiting.lock().expect("unpoisoned").remove(&request);
        drop(asked.map(|asked| asked.send((status, body))));
    }

    /// What must be done before the core sees an event.
    fn settle(&mut self, event: &mut Event) {
        match event {
            Event::LinkDown { link, .. } | Event::LinkRefused { link, .. } => drop(self.links.remove(link)),
            Event::Spawned { process, result: Ok(started) } => {
                let (master, handle) = started.handles.take().expect("a child comes once");
                self.adopt(*process, started.pid, Arc::new(master), Arc::new(handle));
            }
            // Reaped only now: until then its id cannot pass to a stranger.
            Event::PtyExited { process, status } => {
                let handle = self.processes.get_mut(process).and_then(|process| process.1.take());
                *status = handle.map_or(ExitStatus::Unknown, |handle| child::reap(&handle));
            }
            _ => {}
        }
    }

    fn adopt(&mut self, process: ProcessId, pid: Pid, master: Arc<OwnedFd>, handle: Arc<OwnedFd>) {
        let (writes, queue) = channel::<(OpId, Vec<u8>, Mono)>();
        let (out, back, death) = (self.inbox.clone(), self.inbox.clone(), self.inbox.clone());
        let (reading, writing, dying) = (master.clone(), master.clone(), handle.clone());
        spawn(move || read_tty(process, &reading, &out));
        spawn(move || {
            for (op, bytes, deadline) in queue {
                let (written, failure) = child::write_before(&writing, &bytes, deadline);
                let _ = back.send(Event::PtyWritten { process, op, written, failure });
            }
        });
        spawn(move || {
            let _ = poll(&mut [PollFd::new(&dying, PollFlags::IN)], None);
            death.send(Event::PtyExited { process, status: ExitStatus::Unknown })
        });
        self.processes.insert(process, (pid, Some(handle), Some((master, writes))));
    }
}

fn connect(url: &str, token: &Secret) -> Result<(Reader, Writer), Refused> {
    let to = relay_driver::socket::upgrade(url, token)?;
    let header = format!("authorization: Bearer {}", token.expose());
    websocket::connect(
        &format!("{}:{}", to.host, to.port),
        to.request.uri().path_and_query().map_or("/", |path| path.as_str()),
        &header,
    )
}

fn run_link(link: LinkId, url: &str, token: &Secret, orders: Receiver<Order>, inbox: Inbox) {
    let (mut reader, mut writer) = match connect(url, token) {
        Ok(socket) => socket,
        Err(why) => return drop(inbox.send(Event::LinkRefused { link, why })),
    };
    let _ = inbox.send(Event::LinkUp { link });
    let drained = inbox.clone();
    spawn(move || {
        for (out, doom) in orders {
            let bytes = if let Out::Text(text) = &out { text.len() } else { 0 };
            let _ = writer.out(out);
            let _ = drained.send(Event::LinkDrained { link, bytes });
            doom.inspect(|at| sleep(clock::until(*at))).inspect(|_| writer.cut());
        }
        writer.cut();
    });
    let why = loop {
        let _ = match reader.receive() {
            None => break "the connection ended".into(),
            Some(Received::Close(code)) => break format!("closed with {}", code.unwrap_or(1005)),
            Some(Received::Text(text)) => inbox.send(Event::LinkText { link, text: text.into(), _room: () }),
            Some(Received::Pong(_)) => inbox.send(Event::LinkPong { link }),
            Some(Received::Ping(_) | Received::Other) => Ok(()),
        };
    };
    let _ = inbox.send(Event::LinkDown { link, why });
}

/// Reads until the end of the terminal, which Linux calls EIO.
fn read_tty(process: ProcessId, master: &OwnedFd, inbox: &Inbox) {
    loop {
        let _ = poll(&mut [PollFd::new(master, PollFlags::IN)], None);
        match child::read_chunk(master) {
            Ok(bytes) if bytes.is_empty() => return drop(inbox.send(Event::PtyEof { process })),
            Ok(bytes) => drop(inbox.send(Event::PtyOutput { process, bytes, _room: () })),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return drop(inbox.send(Event::PtyEof { process })),
        }
    }
}

/// One connection, one request.
fn api(mut tcp: TcpStream, server: &Server) -> io::Result<()> {
    static LAST: AtomicU64 = AtomicU64::new(1);
    let Some(asked) = Request::read(&mut BufReader::new(tcp.try_clone()?))? else { return Ok(()) };
    let headers = asked.header_map();
    if let Some(refusal) = answer::screen(&headers, &server.host, server.port) {
        return write_answer(&mut tcp, refusal.status().as_u16(), "{}");
    }
    let (request, (sender, answered)) = (RequestId(LAST.fetch_add(1, Ordering::Relaxed)), channel());
    server.waiting.lock().expect("unpoisoned").insert(request, sender);
    let _ = server.inbox.send(Event::Api {
        request,
        auth: answer::authorize(&headers, &server.key),
        method: asked.method,
        target: asked.path,
        upgrade: answer::websocket_key(&headers).is_some(),
        body: asked.body.into(),
    });
    let (status, body) = answered.recv().unwrap_or_default();
    write_answer(&mut tcp, status, &body)
}
