//! The store: carries out the core's changes to files.
//!
//! Owns: the thread on which they happen, and which path each [`StoreFile`] has.
//! Must not know: what records mean.
//!
//! 1. One thread, so changes happen in the order of their commands.
//! 2. Every change is answered once, after it is on disk or has failed.

use crate::event::{Event, Inbox};
use crate::files::{self, Keep};
use relay_core::ids::StoreId;
use relay_core::{StoreAction, StoreFile};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Where the core's files lie.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// `identity.json`.
    pub(crate) identity: PathBuf,
    /// The journal of this instance.
    pub(crate) journal: PathBuf,
    /// Directory of the token cache.
    pub(crate) tokens: PathBuf,
}

impl Paths {
    fn of(&self, file: &StoreFile) -> PathBuf {
        match file {
            StoreFile::Identity => self.identity.clone(),
            StoreFile::Journal => self.journal.clone(),
            StoreFile::NodeToken { stem } => self.tokens.join(format!("{stem}.json")),
        }
    }
}

/// The queue of changes.
#[derive(Debug)]
pub(crate) struct Store {
    queue: mpsc::Sender<(StoreId, StoreAction)>,
    thread: JoinHandle<()>,
}

impl Store {
    /// Starts the thread.
    pub(crate) fn new(paths: Paths, inbox: Inbox) -> io::Result<Self> {
        let (queue, changes) = mpsc::channel();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            for (store, action) in changes {
                let result = change(&paths, action).map_err(Into::into);
                inbox.put(Event::Stored { store, result });
            }
        })?;
        Ok(Self { queue, thread })
    }

    /// Queues a change; answered by `Stored`.
    pub(crate) fn change(&self, store: StoreId, action: StoreAction) {
        self.queue.send((store, action)).expect("the store's thread does not panic");
    }

    /// Waits until all changes are done.
    pub(crate) fn finish(self) {
        drop(self.queue);
        drop(self.thread.join());
    }
}

fn change(paths: &Paths, action: StoreAction) -> io::Result<()> {
    match action {
        StoreAction::Replace { file, content } => {
            let path = paths.of(&file);
            if let Some(parent) = path.parent() {
                files::make_dir(parent)?;
            }
            files::replace(&path, content.expose().as_bytes(), Keep::Durable)
        }
        StoreAction::Append { lines } => files::append(&paths.journal, lines.as_bytes()),
        StoreAction::Remove { file } => files::remove(&paths.of(&file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Failure;
    use relay_core::{FaultKind, Secret};

    fn store(dir: &std::path::Path) -> (Store, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        let (inbox, events) = Inbox::new();
        let paths = Paths {
            identity: dir.join("identity.json"),
            journal: dir.join("journal-x.jsonl"),
            tokens: dir.join("data/node-tokens"),
        };
        (Store::new(paths, inbox).unwrap(), events)
    }

    fn replace(stem: &str, content: &str) -> StoreAction {
        let file = StoreFile::NodeToken { stem: stem.into() };
        StoreAction::Replace { file, content: Secret::new(content).unwrap() }
    }

    #[test]
    fn changes_happen_in_order_and_are_answered_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (store, mut events) = store(dir.path());
        store.change(StoreId(1), replace("node_a", "one"));
        store.change(StoreId(2), replace("node_a", "two"));
        store.change(StoreId(3), StoreAction::Append { lines: "x\n".into() });
        store.change(StoreId(4), StoreAction::Remove { file: StoreFile::Identity });
        store.finish();
        for id in 1..=4 {
            let Some(Event::Stored { store, result: Ok(()) }) = events.blocking_recv() else {
                panic!("change {id} failed");
            };
            assert_eq!(store, StoreId(id));
        }
        let token = dir.path().join("data/node-tokens/node_a.json");
        assert_eq!(std::fs::read_to_string(token).unwrap(), "two");
    }

    #[test]
    fn a_directory_that_is_a_file_is_an_error_and_not_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data"), "").unwrap();
        let (store, mut events) = store(dir.path());
        store.change(StoreId(1), replace("node_a", "one"));
        store.finish();
        let Some(Event::Stored { result: Err(Failure { kind, .. }), .. }) = events.blocking_recv() else {
            panic!("not an error");
        };
        assert!(matches!(kind, FaultKind::Other | FaultKind::Denied), "{kind:?}");
    }
}
