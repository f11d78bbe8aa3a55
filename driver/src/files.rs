//! Files: the few operations that the broker's state needs, done so that a crash cannot tear them.
//!
//! Owns: modes, atomic replacement, the repair of a torn tail. Must not know: what is in a file.
//!
//! 1. Files are 0600 and directories 0700, also those that were found looser.
//! 2. What is written to be [`Keep::Durable`] is on disk when the call returns `Ok`.

use relay_core::{edge, hex};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const DIR_MODE: u32 = 0o700;

/// How long a file's content must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Beyond a power failure.
    Durable,
    /// As long as this system runs: what it says is void afterwards anyway.
    ThisRun,
}

/// Makes a directory with its parents.
pub fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)
}

/// Takes the rights of group and others away; says whether there were any. A missing file has none.
pub fn tighten(path: &Path) -> io::Result<bool> {
    let meta = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        meta => meta?,
    };
    if meta.is_symlink() || meta.permissions().mode() & 0o077 == 0 {
        return Ok(false);
    }
    let mode = if meta.is_dir() { DIR_MODE } else { edge::file_mode() };
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(true)
}

/// The content of a file, or `None` if there is none. Bytes that are not UTF-8 become U+FFFD.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a whole file: it has the old content or the new one, never a part.
pub fn replace(path: &Path, content: &[u8], keep: Keep) -> io::Result<()> {
    let temporary = write_temporary(path, content, keep)?;
    std::fs::rename(&temporary, path).inspect_err(|_| drop(std::fs::remove_file(&temporary)))?;
    sync_parent(path, keep)
}

/// Creates a file with this content, all at once; fails with `AlreadyExists` if there is one.
pub fn create(path: &Path, content: &[u8], keep: Keep) -> io::Result<()> {
    let temporary = write_temporary(path, content, keep)?;
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    linked?;
    sync_parent(path, keep)
}

/// Appends lines. A torn line at the end, from a crash or a full disk, gets its newline first, so it
/// stays alone in its unreadability.
pub fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let existed = path.exists();
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(edge::file_mode()).open(path)?;
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    file.write_all(lines)?;
    file.sync_data()?;
    if existed { Ok(()) } else { sync_parent(path, Keep::Durable) }
}

/// Removes a file; a missing one is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_parent(path, Keep::Durable),
    }
}

fn write_temporary(path: &Path, content: &[u8], keep: Keep) -> io::Result<std::path::PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Random, because brokers in different containers may share a directory and a process id.
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", hex(&nonce)));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(edge::file_mode()).open(&temporary)?;
    let written = file.write_all(content).and_then(|()| match keep {
        Keep::Durable => file.sync_all(),
        Keep::ThisRun => Ok(()),
    });
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))?;
    Ok(temporary)
}

fn sync_parent(path: &Path, keep: Keep) -> io::Result<()> {
    match path.parent() {
        Some(parent) if keep == Keep::Durable && !parent.as_os_str().is_empty() => {
            File::open(parent)?.sync_all()
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn replacing_leaves_one_private_file_and_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.json");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"new", Keep::Durable).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("new"));
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_keeps_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        make_dir(&path.join("by-a-directory")).unwrap();
        assert!(replace(&path, b"new", Keep::Durable).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary is left");
    }

    #[test]
    fn only_the_first_creation_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("machine-id");
        create(&path, b"first", Keep::Durable).unwrap();
        assert_eq!(create(&path, b"second", Keep::Durable).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap().as_deref(), Some("first"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn lines_after_a_torn_tail_start_on_a_line_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        append(&path, b"{\"a\":1}\n").unwrap();
        assert_eq!(mode(&path), 0o600);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"to").unwrap();
        append(&path, b"{\"b\":2}\n").unwrap();
        let content = read(&path).unwrap().unwrap();
        assert_eq!(content.lines().collect::<Vec<_>>(), ["{\"a\":1}", "{\"to", "{\"b\":2}"]);
    }

    #[test]
    fn loose_modes_are_found_and_tightened_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loose");
        assert!(!tighten(&path).unwrap(), "a missing file is not loose");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        assert!(tighten(&path).unwrap());
        assert_eq!(mode(&path), 0o600);
        assert!(!tighten(&path).unwrap());
    }

    #[test]
    fn removing_a_missing_file_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        remove(&dir.path().join("none")).unwrap();
    }
}
