//! Terminals: starts children on PTYs and moves bytes in and out of them.
//!
//! Owns: masters, process handles, the queue of writes per terminal.
//! Must not know: what is typed, when, or why.
//!
//! 1. No thread per agent: the fork runs on the blocking pool, the master is non-blocking afterwards.
//! 2. A child is reaped only by [`Ptys::settle`], when the loop takes its exit from the inbox. Until
//!    then its process id cannot pass to another process, so a signal never hits a stranger.
//! 3. Exit and end of output are reported once each, independently: a grandchild may hold the
//!    terminal open long after the child's exit.
//! 4. Output waits in the kernel, not here, when the loop is behind ([`CHUNKS`]).

use crate::clock;
use crate::descriptors;
use crate::event::{Event, Failure, Inbox};
use crate::ready;
use filedescriptor::FileDescriptor;
use portable_pty::{CommandBuilder, PtySize};
use relay_core::ids::{OpId, ProcessId};
use relay_core::time::Mono;
use relay_core::{Child, ExitStatus, FaultKind, PtySignal, TtyState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// Chunks of output that may wait in the inbox, over all terminals: half a mebibyte.
const CHUNKS: usize = 32;
/// Bytes of one chunk.
const CHUNK: usize = 16 * 1024;

/// A master, or a pidfd: readable when the process is dead.
type Watched = Arc<AsyncFd<OwnedFd>>;

/// A child that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pid: Pid,
    /// Taken by [`Ptys::settle`].
    handles: Option<(Watched, Watched)>,
}

impl Started {
    /// Its operating system id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }
}

/// All children and their terminals.
#[derive(Debug)]
pub(crate) struct Ptys {
    inbox: Inbox,
    room: Arc<Semaphore>,
    table: BTreeMap<ProcessId, Process>,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    /// `None` once reaped.
    handle: Option<Watched>,
    /// `None` once forgotten.
    tty: Option<Tty>,
}

#[derive(Debug)]
struct Tty {
    master: Watched,
    writes: mpsc::UnboundedSender<Write>,
    /// Reader and writer.
    tasks: [AbortHandle; 2],
    /// Whether its end was reported.
    ended: bool,
}

#[derive(Debug)]
struct Write {
    op: OpId,
    bytes: Vec<u8>,
    deadline: Instant,
}

impl Ptys {
    /// No children yet.
    pub(crate) fn new(inbox: Inbox) -> Self {
        Self { inbox, room: Arc::new(Semaphore::new(CHUNKS)), table: BTreeMap::new() }
    }

    /// Starts a child; answered by `Spawned`.
    pub(crate) fn spawn(&self, process: ProcessId, child: Child, deadline: Mono) {
        let inbox = self.inbox.clone();
        let deadline = clock::instant(deadline);
        tokio::spawn(async move {
            let mut start = tokio::task::spawn_blocking(move || start(child));
            match timeout_at(deadline, &mut start).await {
                Ok(joined) => {
                    let result = joined.expect("starting a child does not panic");
                    let result = result.and_then(register);
                    inbox.put(Event::Spawned { process, result });
                }
                Err(_) => {
                    let failure = Failure::new(FaultKind::Deadline, "the program took too long to start");
                    inbox.put(Event::Spawned { process, result: Err(failure) });
                    // Nobody will ever ask for this child's end.
                    if let Ok(Ok((pid, ..))) = start.await {
                        tokio::task::spawn_blocking(move || kill(pid));
                    }
                }
            }
        });
    }

    /// Does what must be done in the loop before the core sees the event: adopts a started child,
    /// reaps a dead one, drops what has ended.
    pub(crate) fn settle(&mut self, event: &mut Event) {
        match event {
            Event::Spawned { process, result: Ok(started) } => {
                if let Some((master, handle)) = started.handles.take() {
                    self.adopt(*process, started.pid, master, handle);
                }
            }
            Event::PtyExited { process, status } => {
                if let Some(handle) = self.table.get_mut(process).and_then(|p| p.handle.take()) {
                    *status = reap(&handle);
                }
                self.prune(*process);
            }
            Event::PtyEof { process } => {
                if let Some(tty) = self.table.get_mut(process).and_then(|p| p.tty.as_mut()) {
                    tty.ended = true;
                }
                self.prune(*process);
            }
            _ => {}
        }
    }

    fn adopt(&mut self, process: ProcessId, pid: Pid, master: Watched, handle: Watched) {
        let (writes, queue) = mpsc::unbounded_channel();
        let reader = read(process, master.clone(), self.inbox.clone(), self.room.clone());
        let writer = write(process, master.clone(), self.inbox.clone(), queue);
        let tasks = [tokio::spawn(reader).abort_handle(), tokio::spawn(writer).abort_handle()];
        let (death, inbox) = (handle.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let _ = death.readable().await;
            inbox.put(Event::PtyExited { process, status: ExitStatus::Unknown });
        });
        let tty = Some(Tty { master, writes, tasks, ended: false });
        self.table.insert(process, Process { pid, handle: Some(handle), tty });
    }

    /// Writes to a terminal; answered by `PtyWritten`.
    pub(crate) fn write(&self, process: ProcessId, op: OpId, bytes: Vec<u8>, deadline: Mono) {
        let write = Write { op, bytes, deadline: clock::instant(deadline) };
        let refused = match self.tty(process) {
            Some(tty) => tty.writes.send(write).is_err(),
            None => true,
        };
        if refused {
            let failure = Some(Failure::new(FaultKind::Broken, "the terminal is gone"));
            self.inbox.put(Event::PtyWritten { process, op, written: 0, failure });
        }
    }

    /// Looks at a terminal; answered by `PtyState`.
    pub(crate) fn check(&self, process: ProcessId, op: OpId) {
        let state = self.tty(process).and_then(|tty| look(tty.master.get_ref()));
        self.inbox.put(Event::PtyState { process, op, state });
    }

    /// Changes the size of a terminal.
    pub(crate) fn resize(&self, process: ProcessId, rows: u16, cols: u16) {
        if let Some(tty) = self.tty(process) {
            let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = tcsetwinsize(tty.master.get_ref(), size);
        }
    }

    /// Signals the process group of a child that is not reaped yet.
    pub(crate) fn signal(&self, process: ProcessId, signal: PtySignal) {
        let Some(Process { pid, handle: Some(_), .. }) = self.table.get(&process) else {
            return;
        };
        let signals: &[Signal] = match signal {
            PtySignal::Terminate => &[Signal::HUP, Signal::TERM],
            PtySignal::Kill => &[Signal::KILL],
        };
        for &signal in signals {
            let _ = kill_process_group(*pid, signal);
        }
    }

    /// Drops a terminal. The master closes as soon as its tasks are gone.
    pub(crate) fn forget(&mut self, process: ProcessId) {
        if let Some(tty) = self.table.get_mut(&process).and_then(|p| p.tty.take()) {
            tty.tasks.iter().for_each(AbortHandle::abort);
        }
        self.prune(process);
    }

    fn tty(&self, process: ProcessId) -> Option<&Tty> {
        self.table.get(&process)?.tty.as_ref()
    }

    /// Drops a process of which nothing more can come. A write that is still queued is answered: its
    /// task ends with the queue.
    fn prune(&mut self, process: ProcessId) {
        let over = |p: &Process| p.handle.is_none() && p.tty.as_ref().is_none_or(|tty| tty.ended);
        if self.table.get(&process).is_some_and(over) {
            self.table.remove(&process);
        }
    }
}

/// Opens a terminal and starts the child on it. Blocks: it forks.
fn start(child: Child) -> Result<(Pid, OwnedFd, OwnedFd), Failure> {
    let other = |error: &dyn std::fmt::Display| Failure::new(FaultKind::Other, error.to_string());
    if child.argv.is_empty() {
        return Err(other(&"there is no program to start"));
    }
    let cwd = match &child.cwd {
        Some(cwd) => cwd.into(),
        None => std::env::current_dir()?,
    };
    if !Path::new(&cwd).is_dir() {
        let detail = format!("the working directory {} does not exist", cwd.display());
        return Err(Failure::new(FaultKind::NotFound, detail));
    }
    let mut command = CommandBuilder::from_argv(child.argv.into_iter().map(Into::into).collect());
    command.cwd(cwd);
    child.env_remove.iter().for_each(|key| command.env_remove(key));
    child.env.iter().for_each(|(key, value)| command.env(key, value.expose()));

    let size = PtySize { rows: child.rows, cols: child.cols, pixel_width: 0, pixel_height: 0 };
    let pair = portable_pty::native_pty_system().openpty(size).map_err(|e| other(&e))?;
    let raw = pair.master.as_raw_fd().ok_or_else(|| other(&"the terminal has no descriptor"))?;
    let mut master = FileDescriptor::dup(&raw).map_err(|e| other(&e))?;
    master.set_non_blocking(true).map_err(|e| other(&e))?;
    let master = master.as_fd().try_clone_to_owned()?;

    let mut running = pair.slave.spawn_command(command).map_err(not_started)?;
    let pid = running.process_id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    match pid.ok_or(rustix::io::Errno::SRCH).and_then(|pid| Ok((pid, pidfd_open(pid, PidfdFlags::NONBLOCK)?)))
    {
        Ok((pid, handle)) => {
            descriptors::restore_limit(pid);
            Ok((pid, master, handle))
        }
        Err(error) => {
            let _ = running.kill();
            let _ = running.wait();
            Err(io::Error::from(error).into())
        }
    }
}

fn not_started(error: impl std::fmt::Display + AsRef<dyn std::error::Error + Send + Sync>) -> Failure {
    let mut detail = error.to_string().replace('\n', " ");
    let system = error.as_ref().downcast_ref::<io::Error>();
    if system.is_none() && detail.contains("PATH") {
        // The library quotes the whole search path.
        detail = "there is no such program in PATH".into();
    }
    // What is not the system's word is the result of the search for the program.
    let kind = system.map_or(FaultKind::NotFound, |e| {
        Failure::from(e.raw_os_error().map_or_else(|| e.kind().into(), io::Error::from_raw_os_error)).kind
    });
    Failure::new(kind, detail)
}

fn register((pid, master, handle): (Pid, OwnedFd, OwnedFd)) -> Result<Started, Failure> {
    match ready::watch(master).and_then(|master| Ok((master, ready::watch(handle)?))) {
        Ok((master, handle)) => Ok(Started { pid, handles: Some((Arc::new(master), Arc::new(handle))) }),
        Err(error) => {
            kill(pid);
            Err(error.into())
        }
    }
}

/// Ends a child that was not adopted. Blocks for the moment that the kernel takes.
fn kill(pid: Pid) {
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
}

fn reap(handle: &AsyncFd<OwnedFd>) -> ExitStatus {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(handle.get_ref().as_fd()), options) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal(signal),
            (None, None) => ExitStatus::Unknown,
        },
        Ok(None) | Err(_) => ExitStatus::Unknown,
    }
}

/// The slave is opened only for this moment: kept open, it would hide the end of the terminal.
fn look(master: &OwnedFd) -> Option<TtyState> {
    let modes = tcgetattr(master).ok()?.local_modes;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(master, flags).ok()?;
    Some(TtyState {
        unread: unread(&slave).ok()?,
        canonical: modes.contains(LocalModes::ICANON),
        echo: modes.contains(LocalModes::ECHO),
    })
}

/// Bytes that were written and that the program has not read; at least one as long as there are any.
///
/// A write returns before the kernel has moved its bytes to the program's queue, which until then
/// looks as if the program had read it empty. A poll that finds nothing has waited for that move.
/// When it finds something, more may be on its way, so a queue that is empty a moment later is not.
fn unread(slave: &OwnedFd) -> io::Result<u32> {
    let mut found = [PollFd::new(slave, PollFlags::IN)];
    poll(&mut found, Some(&Timespec::default()))?;
    let least = u64::from(found[0].revents().contains(PollFlags::IN));
    let bytes = rustix::io::ioctl_fionread(slave)?;
    Ok(u32::try_from(bytes.max(least)).unwrap_or(u32::MAX))
}

/// Reads until the end of the terminal, which Linux calls EIO.
async fn read(process: ProcessId, master: Watched, inbox: Inbox, room: Arc<Semaphore>) {
    loop {
        // Readiness first, permit second: an idle terminal must not hold what a busy one needs.
        let Ok(mut ready) = master.readable().await else {
            break;
        };
        let Ok(room) = room.clone().acquire_owned().await else {
            break;
        };
        match ready.try_io(|master| read_chunk(master.get_ref())) {
            Ok(Ok(bytes)) if bytes.is_empty() => break,
            Ok(Ok(bytes)) => inbox.put(Event::PtyOutput { process, bytes, _room: room }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => break,
            Err(_would_block) => {}
        }
    }
    inbox.put(Event::PtyEof { process });
}

/// One chunk in a vector of its own size: the buffer is on the stack, not one per terminal.
fn read_chunk(master: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut buffer = [0; CHUNK];
    let len = rustix::io::read(master, &mut buffer)?;
    Ok(buffer[..len].to_vec())
}

/// Carries out writes one after the other.
async fn write(process: ProcessId, master: Watched, inbox: Inbox, mut queue: mpsc::UnboundedReceiver<Write>) {
    while let Some(Write { op, bytes, deadline }) = queue.recv().await {
        let mut written = 0;
        let failure = match timeout_at(deadline, write_bytes(&master, &bytes, &mut written)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Failure::new(FaultKind::Broken, error.to_string())),
            Err(_) => Some(Failure::new(FaultKind::Deadline, "the terminal takes no more input")),
        };
        inbox.put(Event::PtyWritten { process, op, written, failure });
    }
}

async fn write_bytes(master: &AsyncFd<OwnedFd>, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < bytes.len() {
        let mut ready = master.writable().await?;
        let rest = &bytes[*written..];
        match ready.try_io(|master| Ok(rustix::io::write(master, rest)?)) {
            Ok(Ok(len)) => *written += len,
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
