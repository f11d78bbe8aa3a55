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
use crate::inbox::{Event, Inbox, Watched};
use crate::ready;
use relay_core::ids::{OpId, ProcessId};
use relay_core::time::Mono;
use relay_core::{Child, ExitStatus, FaultKind, PtySignal};
use relay_driver::child::{self, CHUNKS, Launched, read_chunk};
use relay_driver::event::{Failure, Started};
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

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
            let mut start = tokio::task::spawn_blocking(move || child::start(child));
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
                    if let Ok(Ok(late)) = start.await {
                        tokio::task::spawn_blocking(move || child::kill(late.pid));
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
                    *status = child::reap(handle.get_ref());
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
        let state = self.tty(process).and_then(|tty| child::look(tty.master.get_ref()));
        self.inbox.put(Event::PtyState { process, op, state });
    }

    /// Changes the size of a terminal.
    pub(crate) fn resize(&self, process: ProcessId, rows: u16, cols: u16) {
        if let Some(tty) = self.tty(process) {
            child::resize(tty.master.get_ref(), rows, cols);
        }
    }

    /// Signals the process group of a child that is not reaped yet.
    pub(crate) fn signal(&self, process: ProcessId, signal: PtySignal) {
        if let Some(Process { pid, handle: Some(_), .. }) = self.table.get(&process) {
            child::signal(*pid, signal);
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

fn register(Launched { pid, master, handle }: Launched) -> Result<Started<(Watched, Watched)>, Failure> {
    match ready::watch(master).and_then(|master| Ok((master, ready::watch(handle)?))) {
        Ok((master, handle)) => Ok(Started { pid, handles: Some((Arc::new(master), Arc::new(handle))) }),
        Err(error) => {
            child::kill(pid);
            Err(error.into())
        }
    }
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

/// Carries out writes one after the other.
async fn write(process: ProcessId, master: Watched, inbox: Inbox, mut queue: mpsc::UnboundedReceiver<Write>) {
    while let Some(Write { op, bytes, deadline }) = queue.recv().await {
        let mut written = 0;
        let failure = match timeout_at(deadline, write_bytes(&master, &bytes, &mut written)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(child::gone(error)),
            Err(_) => Some(child::full()),
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
