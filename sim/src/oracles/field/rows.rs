//! S1 and S2 on a recorded life: what an ack covers, and how acks move.
//!
//! Would catch: ack on receipt; ack of a text that is typed and unread; ack of a dead letter whose
//! record is not on disk; acks that go back, or beyond what was ever sent.
//!
//! 1. S1: each row that an ack covers and that has come since its agent was last registered was typed,
//!    with its id, into a process of its agent, whole and submitted, and the terminal had nothing
//!    unread after that; or its dead letter is on disk; or its type is not shown.
//! 2. S2: on one link and for one process the acks of an agent do not decrease, and none exceeds what
//!    the engine has sent or stated.
//! 3. A row that did not come is not judged: it may have ended in the engine, or have been read in a
//!    life before.

use super::super::Broken;
use super::super::facts::Frame;
use super::super::scene::Scene;
use relay_core::ids::{LinkId, OpId, ProcessId, StoreId};
use relay_core::{Command, Input, StoreAction, StoreFile};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Longest id of a message that is looked for in what is typed, in bytes.
const ID: usize = 64;

#[derive(Debug)]
struct Row {
    shown: bool,
    delivery_id: Option<String>,
    /// `None` if it does not stand in the typed text as it is.
    msg_id: Option<String>,
    /// How many texts its agent had taken when it came.
    taken_before: u64,
}

#[derive(Debug, Default)]
struct Identity {
    rows: BTreeMap<u64, Row>,
    /// The greatest sequence that the engine has sent or stated.
    most: u64,
    /// Up to here it is judged, or settled by what the engine states.
    judged: u64,
}

#[derive(Debug, Default)]
struct Process {
    /// The end of what was written: an id may stand in two writes.
    tail: Vec<u8>,
    /// Ids of messages that are typed and not known to be read.
    typed: BTreeSet<String>,
    /// Writes under way: bytes, and whether the last one submits.
    writes: BTreeMap<OpId, (usize, bool)>,
    /// The write that the latest message began with.
    header: Option<OpId>,
    submitted: bool,
}

/// What the processes of one agent have read.
#[derive(Debug, Default)]
struct Reader {
    taken: BTreeSet<String>,
    texts: u64,
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    identities: BTreeMap<String, Identity>,
    ids: BTreeMap<String, String>,
    readers: BTreeMap<String, Reader>,
    processes: BTreeMap<ProcessId, Process>,
    /// Dead letters on their way to the disk.
    burying: BTreeMap<StoreId, Vec<String>>,
    buried: BTreeSet<String>,
    latest: BTreeMap<(LinkId, String), u64>,
}

impl Rows {
    /// Dead letters of an earlier life.
    pub(super) fn journal(&mut self, journal: &str) {
        self.buried.extend(dead_letters(journal));
    }

    /// After the scene has learnt of it.
    pub(super) fn input(&mut self, scene: &Scene, input: &Input<'_>, frame: Option<&Frame<'_>>) {
        match input {
            Input::LinkText { text, .. } => match frame.map(|frame| (frame.kind(), frame)) {
                Some(("deliver", frame)) => self.delivered(frame, text),
                Some(("reply", frame)) => self.stated(frame, text),
                _ => {}
            },
            Input::PtyWritten { process, op, written, fault } => {
                if let Some(process) = self.processes.get_mut(process) {
                    process.written(*op, *written, fault.is_none());
                }
            }
            Input::PtyState { process, state: Some(state), .. } if state.unread == 0 => {
                self.read(scene, *process);
            }
            Input::PtyExited { process, .. } => {
                self.processes.remove(process);
            }
            Input::Stored { store, result } => {
                let ids = self.burying.remove(store).filter(|_| result.is_ok());
                self.buried.extend(ids.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn delivered(&mut self, frame: &Frame<'_>, text: &str) {
        let Some(seq) = frame.seq.filter(|seq| *seq > 0) else { return };
        let name = frame.agent.as_deref().unwrap_or_default();
        let known = || self.ids.get(name).cloned();
        let Some(id) = frame.agent_id.as_deref().map(str::to_owned).or_else(known) else { return };
        let taken_before = self.readers.get(name).map_or(0, |reader| reader.texts);
        self.ids.entry(name.to_owned()).or_insert_with(|| id.clone());
        let identity = self.identities.entry(id).or_default();
        identity.most = identity.most.max(seq);
        if seq > identity.judged {
            identity.rows.entry(seq).or_insert_with(|| Row::read(frame, text, taken_before));
        }
    }

    fn stated(&mut self, frame: &Frame<'_>, text: &str) {
        let Some(data) = &frame.data else { return };
        let Some(id) = data.agent_id.as_deref() else { return };
        if let Some(name) = data.name.as_deref() {
            self.ids.insert(name.to_owned(), id.to_owned());
        }
        let reply: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some(cursor) = reply["data"]["delivery_ack_seq"].as_u64() {
            let identity = self.identities.entry(id.to_owned()).or_default();
            identity.most = identity.most.max(cursor);
            identity.settle(cursor);
        }
    }

    fn read(&mut self, scene: &Scene, process: ProcessId) {
        let name = scene.process(process).unwrap_or_default();
        let Some(process) = self.processes.get_mut(&process) else { return };
        if process.submitted {
            process.submitted = false;
            let reader = self.readers.entry(name.to_owned()).or_default();
            reader.taken.append(&mut process.typed);
            reader.texts += 1;
        }
    }

    /// Before the scene learns of it.
    pub(super) fn command(
        &mut self,
        scene: &Scene,
        command: &Command,
        frame: Option<&Frame<'_>>,
    ) -> Result<(), Broken> {
        match command {
            Command::Spawn { process, .. } => {
                self.processes.insert(*process, Process::default());
            }
            Command::PtyWrite { process, op, bytes, .. } => {
                if let Some(process) = self.processes.get_mut(process) {
                    process.write(*op, bytes);
                }
            }
            Command::Store { store, action, .. } => {
                let ids = match action {
                    StoreAction::Append { lines } => dead_letters(lines),
                    StoreAction::Replace { file: StoreFile::Journal, content } => {
                        dead_letters(content.expose())
                    }
                    _ => return Ok(()),
                };
                self.burying.insert(*store, ids);
            }
            Command::LinkSend { link, .. } => {
                let Some(frame) = frame else { return Ok(()) };
                match frame.kind() {
                    "delivery.ack" => return self.acked(scene, *link, frame),
                    "agent.register" | "agent.recover" => self.asks_anew(frame.name.as_deref()),
                    _ => {}
                }
            }
            Command::Call { request, .. } if request.url.ends_with("/v1/agents") => {
                let body = request.body.as_deref().unwrap_or_default();
                let body: Value = serde_json::from_str(body).unwrap_or_default();
                self.asks_anew(body["name"].as_str());
            }
            _ => {}
        }
        Ok(())
    }

    /// An agent is registered: whatever the engine still has for it will come again.
    fn asks_anew(&mut self, name: Option<&str>) {
        let id = name.and_then(|name| self.ids.get(name));
        if let Some(identity) = id.and_then(|id| self.identities.get_mut(id)) {
            identity.rows.clear();
        }
    }

    fn acked(&mut self, scene: &Scene, link: LinkId, frame: &Frame<'_>) -> Result<(), Broken> {
        let (Some(name), Some(seq)) = (frame.agent.as_deref(), frame.up_to_seq) else { return Ok(()) };
        let Some(id) = self.ids.get(name).filter(|_| scene.hosts(name)) else {
            // Whether it may be acked at all is the rule of hosting.
            return Ok(());
        };
        let broken = |why: String| format!("ack of {name:?} up to {seq}: {why}");
        let latest = self.latest.insert((link, id.clone()), seq).unwrap_or(0);
        let identity = self.identities.entry(id.clone()).or_default();
        if seq < latest {
            return Err(("S2", broken(format!("it was {latest} before on this link"))));
        }
        if seq > identity.most {
            let most = identity.most;
            return Err(("S2", broken(format!("the engine has sent or stated no more than {most}"))));
        }
        let reader = self.readers.get(name);
        let settled = |row: &Row| {
            let buried = row.delivery_id.as_ref().is_some_and(|id| self.buried.contains(id));
            !row.shown || buried || reader.is_some_and(|reader| reader.has_taken(row))
        };
        let open = identity.rows.range(..=seq).find(|(_, row)| !settled(row)).map(|(number, _)| *number);
        identity.settle(seq);
        match open {
            Some(number) => Err(("S1", broken(format!("row {number} was not seen to be read")))),
            None => Ok(()),
        }
    }
}

impl Identity {
    fn settle(&mut self, seq: u64) {
        self.judged = self.judged.max(seq);
        self.rows = self.rows.split_off(&self.judged.saturating_add(1));
    }
}

impl Row {
    fn read(frame: &Frame<'_>, text: &str, taken_before: u64) -> Self {
        let whole: Value = serde_json::from_str(text).unwrap_or_default();
        let id = |key: &str| match &whole[key] {
            Value::String(id) => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        };
        let plain = |id: &String| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            (1..=ID).contains(&id.len()) && id.bytes().all(good)
        };
        let shown = frame.is_shown();
        Self { shown, delivery_id: id("delivery_id"), msg_id: id("msg_id").filter(plain), taken_before }
    }
}

impl Reader {
    fn has_taken(&self, row: &Row) -> bool {
        match &row.msg_id {
            Some(id) => self.taken.contains(id),
            None => self.texts > row.taken_before,
        }
    }
}

impl Process {
    fn write(&mut self, op: OpId, bytes: &[u8]) {
        self.writes.insert(op, (bytes.len(), bytes.ends_with(b"\r")));
        self.tail.extend_from_slice(bytes);
        let mut typed = false;
        for part in self.tail.split(|byte| *byte == b'[').skip(1) {
            let end = part.iter().position(|byte| *byte == b']').filter(|end| (1..=ID).contains(end));
            if let Some(id) = end.and_then(|end| std::str::from_utf8(&part[..end]).ok()) {
                typed |= self.typed.insert(id.to_owned());
            }
        }
        if typed {
            self.header = Some(op);
            self.submitted = false;
        }
        let open = self
            .tail
            .iter()
            .rposition(|byte| *byte == b'[')
            .filter(|at| self.tail.len() - at <= ID + 1 && !self.tail[*at..].contains(&b']'));
        self.tail.drain(..open.unwrap_or(self.tail.len()));
    }

    fn written(&mut self, op: OpId, bytes: usize, good: bool) {
        let Some((wanted, submits)) = self.writes.remove(&op) else { return };
        // What somebody types before or behind it is not part of the message.
        let whole = |header: OpId| header <= op && self.writes.range(header..op).next().is_none();
        self.submitted |= good && bytes == wanted && submits && self.header.is_some_and(whole);
    }
}

/// The deliveries whose dead letters are among these records.
fn dead_letters(lines: &str) -> Vec<String> {
    let dead = |line| {
        let record: Value = serde_json::from_str(line).ok()?;
        let id = record["delivery_id"].as_str().filter(|_| record["record"] == "dead")?;
        Some(id.to_owned())
    };
    lines.lines().filter_map(dead).collect()
}
