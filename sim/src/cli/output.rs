//! Writing output files.
//!
//! Owns: how a file comes to be, or is replaced. Must not know: what stands in it.
//!
//! 1. A file is replaced as a whole or not at all: what is written goes to another one beside it, of a
//!    name that nobody else has, which takes its place or is removed.
//! 2. A file that is replaced keeps its permissions and its owner; a new one that comes from a recorded
//!    life is for its owner only.
//! 3. A link stays one: what it points to is written. What is no regular file is written straight into.
//! 4. What goes to stdout is followed by nothing else there.

use super::code::Code;
use super::terminal::{self, place};
use std::fmt::{self, Display};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use tempfile::Builder;

/// Links on the way to a file; the kernel follows no more.
const LINKS: usize = 40;
/// How the name of an unfinished file begins.
const UNFINISHED: &str = ".relay-sim-";
/// Permissions of the owner.
const OWNER: u32 = 0o700;

/// Who may read a new file.
#[derive(Clone, Copy)]
pub(super) enum Readers {
    /// Its owner: messages may stand in it.
    Owner,
    /// Whom the user's settings allow.
    Usual,
}

impl Readers {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Usual => 0o666,
        }
    }
}

/// Writes a file, or says why it cannot be written.
pub(super) fn write(file: &Path, text: &str, readers: Readers) -> Result<(), Code> {
    put(file, text.as_bytes(), readers).map_err(|error| refuse(file, &error))
}

/// Prints a line about a file that was written (invariant 4).
pub(super) fn note(file: &Path, line: fmt::Arguments<'_>) {
    if is_stdout(file) { terminal::complain(line) } else { terminal::say(line) }
}

/// Refuses to write over what was read: what is made of it does not have all that stands there.
pub(super) fn must_differ(output: &Path, input: &Path) -> Result<(), Code> {
    let of = |path| fs::metadata(path).ok().filter(Metadata::is_file);
    match of(output).zip(of(input)) {
        Some((output_is, input_is)) if same(&output_is, &input_is) => {
            Err(refuse(output, &"it is the input, so name another file"))
        }
        _ => Ok(()),
    }
}

fn refuse(file: &Path, why: &dyn Display) -> Code {
    complain!("cannot write {}: {why}", place(file));
    Code::REFUSED
}

fn put(file: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    if is_stdout(file) {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        return written.or_else(|error| match error.kind() {
            // Its reader has seen enough, as with every line that is printed.
            ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        });
    }
    // Whether it may be written: a rename would not ask.
    let old = match OpenOptions::new().write(true).open(file) {
        Ok(mut open) => {
            let old = open.metadata()?;
            if !old.is_file() {
                return open.write_all(bytes);
            }
            Some(old)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    replace(&followed(file)?, old.as_ref(), bytes, readers)
}

/// Puts a new file where an old one is, or none.
fn replace(file: &Path, old: Option<&Metadata>, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::metadata(folder)?;
    let fresh = Permissions::from_mode(readers.mode());
    let new = Builder::new().prefix(UNFINISHED).permissions(fresh).tempfile_in(folder);
    let mut new = new.map_err(|error| {
        // Its own words would tell the reader of a file that he has not named.
        let why = io::Error::from(error.kind());
        io::Error::other(format!("no new file can be made beside it, in {}: {why}", place(folder)))
    })?;
    new.as_file_mut().write_all(bytes)?;
    if let Some(old) = old {
        take_after(new.as_file(), old)?;
    }
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(())
}

/// The permissions and the owner of an old file; where the owner cannot be kept, nobody else's rights.
fn take_after(new: &File, old: &Metadata) -> io::Result<()> {
    let is_kept = fchown(new, Some(old.uid()), Some(old.gid())).is_ok();
    let mode = if is_kept { old.mode() } else { old.mode() & OWNER };
    new.set_permissions(Permissions::from_mode(mode & 0o777))
}

/// What a link points to in the end, there or not.
fn followed(file: &Path) -> io::Result<PathBuf> {
    let mut file = file.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&file) {
            Ok(to) => file = file.with_file_name("").join(to),
            Err(_) => return Ok(file),
        }
    }
    Err(io::Error::other("too many links"))
}

/// Whether it is the file that this program prints on.
fn is_stdout(file: &Path) -> bool {
    let stdout = fs::metadata("/dev/stdout").ok();
    fs::metadata(file).ok().zip(stdout).is_some_and(|(file, stdout)| same(&file, &stdout))
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
