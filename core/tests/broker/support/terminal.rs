//! Terminals with programs in them, as far as a broker can see one.

use super::{Event, Rig};
use relay_core::ids::{OpId, ProcessId};
use relay_core::{ExitStatus, FaultKind, PtySignal, TtyState};

/// A program on a terminal.
#[derive(Clone)]
pub(crate) struct Program {
    /// What it prints at its start.
    pub(crate) banner: Vec<u8>,
    /// Whether the kernel collects lines for it.
    pub(crate) canonical: bool,
    /// Whether what is typed shows.
    pub(crate) echo: bool,
    /// Whether it reads what is typed.
    pub(crate) reads: bool,
    /// The most that one write is taken of.
    pub(crate) accepts: usize,
    /// Writes and checks wait in `writes` and `checks` until the test answers them.
    pub(crate) manual: bool,
    /// Whether it ends when it is asked to.
    pub(crate) mortal: bool,
    /// All bytes that the terminal has accepted.
    pub(crate) typed: Vec<u8>,
    /// Every accepted write by itself.
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) unread: u32,
    pub(crate) writes: Vec<(OpId, Vec<u8>)>,
    pub(crate) checks: Vec<OpId>,
}

impl Program {
    /// Reads lines and shows them, as `cat` does.
    pub(crate) fn cat() -> Self {
        Self {
            banner: Vec::new(),
            canonical: true,
            echo: true,
            reads: true,
            accepts: usize::MAX,
            manual: false,
            mortal: true,
            typed: Vec::new(),
            pieces: Vec::new(),
            unread: 0,
            writes: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Reads keys and draws them itself.
    pub(crate) fn raw() -> Self {
        Self { canonical: false, ..Self::cat() }
    }

    pub(crate) fn state(&self) -> TtyState {
        TtyState { unread: self.unread, canonical: self.canonical, echo: self.echo }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.typed.clone()).unwrap()
    }
}

impl Rig {
    pub(crate) fn on_write(&mut self, process: ProcessId, op: OpId, bytes: Vec<u8>) {
        let Some(program) = self.programs.get_mut(&process) else {
            return;
        };
        if program.manual {
            program.writes.push((op, bytes));
            return;
        }
        let take = bytes.len().min(program.accepts);
        self.accept(process, op, &bytes, take);
    }

    /// The terminal takes the first `take` bytes of a write.
    pub(crate) fn accept(&mut self, process: ProcessId, op: OpId, bytes: &[u8], take: usize) {
        let program = self.programs.get_mut(&process).unwrap();
        let taken = &bytes[..take];
        program.typed.extend_from_slice(taken);
        program.pieces.push(taken.to_vec());
        if !program.reads {
            program.unread += u32::try_from(take).unwrap();
        }
        let fault = (take < bytes.len()).then_some(FaultKind::Deadline);
        self.due.push_back(Event::Written(process, op, take, fault));
        if program.echo {
            let shown = String::from_utf8_lossy(taken)
                .replace("\x1b[200~", "")
                .replace("\x1b[201~", "")
                .replace(['\r', '\n'], "\r\n");
            self.due.push_back(Event::Output(process, shown.into_bytes()));
        }
    }

    pub(crate) fn on_check(&mut self, process: ProcessId, op: OpId) {
        let Some(program) = self.programs.get_mut(&process) else {
            return;
        };
        if program.manual {
            program.checks.push(op);
            return;
        }
        let state = program.state();
        self.due.push_back(Event::State(process, op, state));
    }

    pub(crate) fn on_signal(&mut self, process: ProcessId, signal: PtySignal) {
        let mortal = self.programs.get(&process).is_some_and(|program| program.mortal);
        let status = match signal {
            PtySignal::Kill => ExitStatus::Signal(9),
            PtySignal::Terminate if mortal => ExitStatus::Signal(15),
            PtySignal::Terminate => return,
        };
        if self.programs.remove(&process).is_some() {
            self.due.push_back(Event::Eof(process));
            self.due.push_back(Event::Exited(process, status));
        }
    }

    /// The program ends by itself.
    pub(crate) fn exits(&mut self, process: ProcessId, code: i32) {
        self.programs.remove(&process);
        self.feed(Event::Exited(process, ExitStatus::Code(code)));
        self.feed(Event::Eof(process));
    }

    pub(crate) fn program(&mut self, process: ProcessId) -> &mut Program {
        self.programs.get_mut(&process).expect("the program runs")
    }

    /// The program has read everything that is there.
    pub(crate) fn reads(&mut self, process: ProcessId) {
        let program = self.program(process);
        program.reads = true;
        program.unread = 0;
    }

    pub(crate) fn prints(&mut self, process: ProcessId, text: &str) {
        self.feed(Event::Output(process, text.as_bytes().to_vec()));
    }
}
