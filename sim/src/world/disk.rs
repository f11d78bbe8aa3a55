//! The disk: the broker's files, changes on their way to them, and what a crash makes of both.
//!
//! Owns: the content of the files, and which changes are on disk.
//! Must not know: what is in a file.
//!
//! 1. Changes reach the disk one after the other, in the order of their commands.
//! 2. A change is on disk before the broker is told so. A crash keeps any number of the changes under
//!    way, in their order, and of the next one, if it appends, any beginning.
//! 3. A file is replaced as a whole or not at all.
//! 4. An append behind a torn line ends that line first, as drivers do.

use super::World;
use super::event::{Completion, Event};
use super::marks::FaultMark;
use crate::plan::SECOND;
use crate::rng::{Stream, key};
use relay_core::ids::StoreId;
use relay_core::time::Mono;
use relay_core::{FaultKind, StoreAction, StoreFile, edge};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};

/// A slow disk takes up to this long for a change.
const SLOW: u64 = 25 * SECOND;

/// The token of another node of this machine, with another engine.
pub(super) const FOREIGN_TOKEN: &str = "nt_live_of_another_node";

#[derive(Debug)]
struct Change {
    store: StoreId,
    action: StoreAction,
    /// After this the broker counts it as failed.
    deadline: u64,
}

/// The files of the broker.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) identity: Option<String>,
    pub(super) tokens: BTreeMap<String, String>,
    /// The machine's seed, once it has one.
    seed: Option<String>,
    journal: Vec<u8>,
    /// Changes that are not on disk yet.
    queue: VecDeque<Change>,
    busy_until: u64,
    /// Changes so far: a key for draws.
    changes: u64,
}

impl Disk {
    /// Changes are under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The journal as a driver reads it.
    pub(super) fn journal(&self) -> String {
        String::from_utf8_lossy(&self.journal).into_owned()
    }

    fn append(&mut self, lines: &[u8]) {
        if self.journal.last().is_some_and(|last| *last != b'\n') {
            self.journal.push(b'\n');
        }
        self.journal.extend(lines);
    }

    fn change(&mut self, action: StoreAction) {
        match action {
            StoreAction::Replace { file, content } => {
                let content = content.expose().to_owned();
                match file {
                    StoreFile::Identity => self.identity = Some(content),
                    StoreFile::Journal => self.journal = content.into(),
                    StoreFile::NodeToken { stem } => {
                        self.tokens.insert(stem, content);
                    }
                }
            }
            StoreAction::Append { lines } => self.append(lines.as_bytes()),
            StoreAction::Remove { file } => match file {
                StoreFile::Identity => self.identity = None,
                StoreFile::Journal => self.journal.clear(),
                StoreFile::NodeToken { stem } => {
                    self.tokens.remove(&stem);
                }
            },
        }
    }
}

impl World<'_> {
    /// A change is commanded.
    pub(super) fn store(&mut self, life: u64, store: StoreId, action: StoreAction, deadline: Mono) {
        if std::mem::take(&mut self.faults.deadly_store)
            && let Some(life) = &mut self.life
        {
            life.fuse = Some(0);
            self.fault_marks.hit(FaultMark::CrashOnStore);
        }
        let mut delay = self.system_delay();
        self.disk.changes += 1;
        if self.faults.disk_is_slow(self.now) {
            delay += self.rng.between(Stream::Fault, key(self.disk.changes, 71), 0, SLOW);
        }
        self.disk.busy_until = self.disk.busy_until.max(self.now) + delay;
        let deadline = self.virtual_time(deadline);
        self.disk.queue.push_back(Change { store, action, deadline });
        self.heap.put(self.disk.busy_until, Event::Store(life));
    }

    /// A change is on disk; a file that was written has the permissions that drivers give it.
    fn keep(&mut self, action: StoreAction) {
        if !matches!(action, StoreAction::Remove { .. }) {
            self.oracles.permitted(edge::file_mode());
        }
        self.disk.change(action);
    }

    /// The seed of the machine as a driver comes by it; `None` when the broker cannot start.
    pub(super) fn machine_seed(&mut self) -> Option<String> {
        let unreadable = self.now < self.faults.unreadable;
        let read = if unreadable { Err(FaultKind::Denied) } else { Ok(self.disk.seed.clone()) };
        if unreadable {
            self.mark(FaultMark::SeedUnreadable);
        }
        let seed = match edge::machine_seed(read).ok()? {
            Some(seed) => seed,
            None => format!("node_{:032x}", self.rng.word(Stream::Boot, self.lives)),
        };
        self.disk.seed = Some(seed.clone());
        Some(seed)
    }

    /// The token cache as a driver reads it. The machine keeps those of all directories in one place.
    pub(super) fn cached_tokens(&self) -> Vec<String> {
        let other = json!({
            "node_id": "node_00000000000000000000000000000000", "workspace_id": "1", "token": FOREIGN_TOKEN,
            "base_url": "http://other.test",
        });
        std::iter::once(other.to_string()).chain(self.disk.tokens.values().cloned()).collect()
    }

    /// The next change reaches the disk.
    pub(super) fn on_store(&mut self, life: u64) {
        if self.life.as_ref().is_none_or(|current| current.number != life) {
            return;
        }
        let Some(Change { store, action, deadline }) = self.disk.queue.pop_front() else {
            return;
        };
        if self.now > deadline {
            self.mark(FaultMark::SlowDisk);
        }
        let result = if self.faults.store_fails(self.now) {
            self.mark(FaultMark::NoSpace);
            self.tear(&action);
            Err(FaultKind::NoSpace)
        } else {
            self.oracles.stored(&action);
            self.keep(action);
            Ok(())
        };
        let done = self.now + self.system_delay();
        // A crash may come in between: on disk, but never told.
        self.heap.put(done, Event::Input(life, Completion::Stored(store, result)));
    }

    /// The beginning of what was to be appended stays behind.
    fn tear(&mut self, action: &StoreAction) {
        let StoreAction::Append { lines } = action else {
            return;
        };
        self.disk.changes += 1;
        let kept = self.rng.word(Stream::Fault, key(self.disk.changes, 72)) as usize % lines.len();
        if kept > 0 {
            self.mark(FaultMark::TornTail);
            self.disk.append(&lines.as_bytes()[..kept]);
        }
    }

    /// The broker died: what was under way is kept up to some point (invariant 2).
    pub(super) fn crash_disk(&mut self) {
        let mut queue = std::mem::take(&mut self.disk.queue);
        self.disk.changes += 1;
        let kept = self.rng.word(Stream::Fault, key(self.disk.changes, 73)) as usize % (queue.len() + 1);
        for change in queue.drain(..kept) {
            self.mark(FaultMark::UntoldChange);
            self.oracles.stored(&change.action);
            self.keep(change.action);
        }
        if let Some(next) = queue.pop_front() {
            self.mark(FaultMark::LostTail);
            self.tear(&next.action);
        }
        self.disk.busy_until = self.now;
    }

    /// The broker left by itself: its driver finishes what is under way.
    pub(super) fn flush_disk(&mut self) {
        for Change { action, .. } in std::mem::take(&mut self.disk.queue) {
            if !self.faults.store_fails(self.now) {
                self.oracles.stored(&action);
                self.keep(action);
            }
        }
        self.disk.busy_until = self.now;
    }
}
