//! Commands that do something again, as they are printed.
//!
//! Owns: their words, and file names in the form that a shell takes them in.
//! Must not know: what a command does.
//!
//! 1. A printed command can be pasted into a shell, whatever a file is called.
//! 2. It steers no terminal, and is one line.

use super::terminal::steers;
use relay_sim::engine::ProfileName;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// How this program is started in the source tree.
const PROGRAM: &str = "cargo run --release -p relay-sim --";

/// Runs a seed.
pub(super) fn seed(seed: u64, profile: ProfileName) -> String {
    format!("{PROGRAM} seed {seed} --profile {profile}")
}

/// Makes a scenario of a seed that fails.
pub(super) fn shrink(seed: u64, profile: ProfileName) -> String {
    format!("to make it small: {PROGRAM} shrink {seed} --profile {profile}")
}

/// Does this with a file.
pub(super) fn file(what: &str, file: &Path) -> String {
    format!("{PROGRAM} {what} {}", quoted(file))
}

/// A file's name as one word of a shell.
fn quoted(file: &Path) -> String {
    let name = file.as_os_str().as_bytes();
    // A program would take it for an option.
    let before = if name.starts_with(b"-") { "./" } else { "" };
    let quoted = match file.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) if !text.chars().any(steers) => format!("'{}'", text.replace('\'', "'\\''")),
        _ => escaped(name),
    };
    format!("{before}{quoted}")
}

/// Whether no shell takes it for anything but itself, wherever it stands.
fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || "_-./+,:@%=".contains(char)
}

/// The form for what is no text, or steers a terminal: `$'…'`, which shells have had long before POSIX.
fn escaped(name: &[u8]) -> String {
    let mut told = String::from("$'");
    for chunk in name.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\'' | '\\' => told.extend(['\\', char]),
                _ if steers(char) => told.push_str(&bytes(char.encode_utf8(&mut [0; 4]).as_bytes())),
                _ => told.push(char),
            }
        }
        told.push_str(&bytes(chunk.invalid()));
    }
    told.push('\'');
    told
}

fn bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_name_is_quoted_only_where_a_shell_would_take_it_for_something_else() {
        for (name, word) in [
            (&b"fixtures/a-b_1.json"[..], "fixtures/a-b_1.json"),
            (b"a b/di st.json", "'a b/di st.json'"),
            (b"it's", r"'it'\''s'"),
            (b"$(boo)", "'$(boo)'"),
            (b"~", "'~'"),
            (b"", "''"),
            (b"-x", "./-x"),
            (b"- x", "./'- x'"),
            ("Gr\u{fc}n".as_bytes(), "'Gr\u{fc}n'"),
            (b"a\x1b\n'\\b", r"$'a\x1b\x0a\'\\b'"),
            (b"\xff\xe2\x80\xaea", r"$'\xff\xe2\x80\xaea'"),
        ] {
            assert_eq!(quoted(Path::new(OsStr::from_bytes(name))), word);
        }
    }
}
