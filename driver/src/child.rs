//! Children: programs on terminals of their own.
//!
//! Owns: starting, signalling and reaping a process, looking at its terminal, sizes of chunks.
//! Must not know: what is typed, when, or why; who waits for a terminal or a process.
//!
//! 1. Masters do not block. Only [`start`] and [`kill`] do, as their words say.

use crate::clock;
use crate::descriptors;
use crate::event::Failure;
use filedescriptor::FileDescriptor;
use portable_pty::{CommandBuilder, PtySize};
use relay_core::time::Mono;
use relay_core::{Child, ExitStatus, FaultKind, PtySignal, TtyState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Chunks of output that may wait for the core, over all terminals: half a mebibyte.
pub const CHUNKS: usize = 32;
/// Bytes of one chunk.
pub const CHUNK: usize = 16 * 1024;

/// A child that was started.
#[derive(Debug)]
pub struct Launched {
    /// Its process, and the leader of its group.
    pub pid: Pid,
    /// Its terminal.
    pub master: OwnedFd,
    /// Readable when the process is dead.
    pub handle: OwnedFd,
}

/// Opens a terminal and starts the child on it. Blocks: it forks.
///
/// # Errors
/// Why there is no child: in the system's words, or that its program or directory does not exist.
pub fn start(child: Child) -> Result<Launched, Failure> {
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
    match pid.ok_or(Errno::SRCH).and_then(|pid| Ok((pid, pidfd_open(pid, PidfdFlags::NONBLOCK)?))) {
        Ok((pid, handle)) => {
            descriptors::restore_limit(pid);
            Ok(Launched { pid, master, handle })
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

/// Ends a child that was not adopted. Blocks for the moment that the kernel takes.
pub fn kill(pid: Pid) {
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
}

/// Reaps a child that is dead; says how it ended.
pub fn reap(handle: &OwnedFd) -> ExitStatus {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(handle.as_fd()), options) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal(signal),
            (None, None) => ExitStatus::Unknown,
        },
        Ok(None) | Err(_) => ExitStatus::Unknown,
    }
}

/// Signals the process group of a child that is not reaped yet: until then its id cannot have passed
/// to a stranger.
pub fn signal(pid: Pid, signal: PtySignal) {
    let signals: &[Signal] = match signal {
        PtySignal::Terminate => &[Signal::HUP, Signal::TERM],
        PtySignal::Kill => &[Signal::KILL],
    };
    for &signal in signals {
        let _ = kill_process_group(pid, signal);
    }
}

/// Changes the size of a terminal.
pub fn resize(master: &OwnedFd, rows: u16, cols: u16) {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    let _ = tcsetwinsize(master, size);
}

/// Looks at a terminal; `None` when it is gone.
///
/// The slave is opened only for this moment: kept open, it would hide the end of the terminal.
pub fn look(master: &OwnedFd) -> Option<TtyState> {
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

/// Reads what there is, at most [`CHUNK`] bytes. Linux calls the end of a terminal EIO.
///
/// The chunk comes in a vector of its own size: the buffer is on the stack, not one per terminal.
///
/// # Errors
/// Those of the system, `WouldBlock` among them.
pub fn read_chunk(master: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut buffer = [0; CHUNK];
    let len = rustix::io::read(master, &mut buffer)?;
    Ok(buffer[..len].to_vec())
}

/// Writes as much as a terminal takes before the deadline, for drivers that have a thread to wait on:
/// how much, and why not all.
pub fn write_before(master: &OwnedFd, bytes: &[u8], deadline: Mono) -> (usize, Option<Failure>) {
    let mut written = 0;
    while written < bytes.len() {
        let left = clock::until(deadline);
        match rustix::io::write(master, &bytes[written..]) {
            Ok(len) => written += len,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if left.is_zero() => return (written, Some(full())),
            Err(Errno::AGAIN) => {
                let left = Timespec::try_from(left).ok();
                let _ = poll(&mut [PollFd::new(master, PollFlags::OUT)], left.as_ref());
            }
            Err(error) => return (written, Some(gone(error.into()))),
        }
    }
    (written, None)
}

/// Why a write was not finished by its deadline.
pub fn full() -> Failure {
    Failure::new(FaultKind::Deadline, "the terminal takes no more input")
}

/// Why a write broke off.
pub fn gone(error: io::Error) -> Failure {
    Failure::new(FaultKind::Broken, error.to_string())
}
