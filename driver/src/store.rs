//! The store: carries out the core's changes to files.
//!
//! Owns: the thread on which they happen, and which path each [`StoreFile`] has.
//! Must not know: what records mean.
//!
//! 1. One thread, so changes happen in the order of their commands.
//! 2. Every change is answered once, after it is on disk or has failed.

use crate::event::Failure;
use crate::files::{self, Keep};
use relay_core::ids::StoreId;
use relay_core::{StoreAction, StoreFile};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Where the core's files lie.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `identity.json`.
    pub identity: PathBuf,
    /// The journal of this instance.
    pub journal: PathBuf,
    /// Directory of the token cache.
    pub tokens: PathBuf,
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
pub struct Store {
    queue: mpsc::Sender<(StoreId, StoreAction)>,
    thread: JoinHandle<()>,
}

impl Store {
    /// Starts the thread, which tells the end of each change to `report`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn new(
        paths: Paths,
        report: impl Fn(StoreId, Result<(), Failure>) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, changes) = mpsc::channel();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            for (store, action) in changes {
                report(store, change(&paths, action).map_err(Into::into));
            }
        })?;
        Ok(Self { queue, thread })
    }

    /// Queues a change; answered by `Stored`.
    pub fn change(&self, store: StoreId, action: StoreAction) {
        self.queue.send((store, action)).expect("the store's thread does not panic");
    }

    /// Waits until all changes are done.
    pub fn finish(self) {
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
    use relay_core::{FaultKind, Secret};

    type Ends = mpsc::Receiver<(StoreId, Result<(), Failure>)>;

    fn store(dir: &std::path::Path) -> (Store, Ends) {
        let (sender, ends) = mpsc::channel();
        let paths = Paths {
            identity: dir.join("identity.json"),
            journal: dir.join("journal-x.jsonl"),
            tokens: dir.join("data/node-tokens"),
        };
        (Store::new(paths, move |store, result| drop(sender.send((store, result)))).unwrap(), ends)
    }

    fn replace(stem: &str, content: &str) -> StoreAction {
        let file = StoreFile::NodeToken { stem: stem.into() };
        StoreAction::Replace { file, content: Secret::new(content).unwrap() }
    }

    #[test]
    fn changes_happen_in_order_and_are_answered_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (store, ends) = store(dir.path());
        store.change(StoreId(1), replace("node_a", "one"));
        store.change(StoreId(2), replace("node_a", "two"));
        store.change(StoreId(3), StoreAction::Append { lines: "x\n".into() });
        store.change(StoreId(4), StoreAction::Remove { file: StoreFile::Identity });
        store.finish();
        let ends: Vec<_> = ends.iter().collect();
        assert_eq!(ends, [1, 2, 3, 4].map(|id| (StoreId(id), Ok(()))));
        let token = dir.path().join("data/node-tokens/node_a.json");
        assert_eq!(std::fs::read_to_string(token).unwrap(), "two");
    }

    #[test]
    fn a_directory_that_is_a_file_is_an_error_and_not_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data"), "").unwrap();
        let (store, ends) = store(dir.path());
        store.change(StoreId(1), replace("node_a", "one"));
        store.finish();
        let kind = ends.recv().unwrap().1.unwrap_err().kind;
        assert!(matches!(kind, FaultKind::Other | FaultKind::Denied), "{kind:?}");
    }
}
