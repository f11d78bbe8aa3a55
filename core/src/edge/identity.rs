//! Names that are derived: the same machine, directory and workspace give the same name every time.
//!
//! Owns: node ids, file stems, the name of a fresh workspace (`core/PROTOCOL.md` §10), and whether a
//! machine has its seed.
//! Must not know: where seeds and directories come from.
//!
//! 1. What comes out is fit for a file name or a URL, whatever went in.

use crate::ids::{NodeId, WorkspaceId};
use crate::rng::hex;
use alloc::format;
use alloc::string::String;
use sha2::{Digest as _, Sha256};

/// The id of the node that serves `cwd` (canonical) of this machine in this workspace.
///
/// The parts are separated by a NUL, which none of them can contain.
pub(crate) fn node_id(seed: &str, cwd: &str, workspace: &WorkspaceId) -> NodeId {
    let digest = Sha256::new()
        .chain_update(seed)
        .chain_update([0])
        .chain_update(cwd)
        .chain_update([0])
        .chain_update(&workspace.0)
        .finalize();
    NodeId(format!("node_{}", hex(&digest[..16])))
}

/// The machine's seed, from what reading its file came to; `None` when one is to be made.
///
/// # Errors
/// When the file could not be read: another seed would make another node of this machine, and its
/// agents would wait for messages that go to the one before.
pub fn machine_seed<E>(read: Result<Option<String>, E>) -> Result<Option<String>, E> {
    let read = if canary!(SeedRotated) { Ok(read.unwrap_or_default()) } else { read };
    let text = read?.unwrap_or_default();
    Ok(Some(text.trim()).filter(|seed| !seed.is_empty()).map(Into::into))
}

/// Name, without extension, of the file that caches the token of `node`.
pub(crate) fn token_file_stem(node: &NodeId) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    or_default(replaced(&node.0, keep, '_'), "node")
}

/// The form of an instance name that is used in file names: letters and digits of any script.
pub fn safe_name(instance: &str) -> String {
    or_default(replaced(instance, |c| c.is_alphanumeric() || c == '-', '-'), "broker")
}

/// Name of the workspace that is created for `user` in `cwd` when there is no key.
pub fn default_workspace_name(user: &str, cwd: &str) -> String {
    let digest = Sha256::digest(format!("{user}:{cwd}"));
    format!("relay-{}", hex(&digest[..4]))
}

fn replaced(text: &str, keep: impl Fn(char) -> bool, with: char) -> String {
    text.chars().map(|c| if keep(c) { c } else { with }).collect()
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_id_depends_on_seed_directory_and_workspace() {
        let id = |seed, cwd, workspace| node_id(seed, cwd, &WorkspaceId::from(workspace));
        let base = id("node_seed123", "/Users/will/Projects/relay", "ws_1");
        assert_eq!(base.0, "node_189961082a81a6f905cc4e5b8d65e3be");
        assert_ne!(id("node_seed124", "/Users/will/Projects/relay", "ws_1"), base);
        assert_ne!(id("node_seed123", "/Users/will/Projects", "ws_1"), base);
        assert_ne!(id("node_seed123", "/Users/will/Projects/relay", "ws_2"), base);
        assert_ne!(id("a", "bc", "d"), id("ab", "c", "d"));
    }

    #[test]
    fn a_seed_is_made_only_where_there_is_none() {
        let read = |text: &str| machine_seed(Ok::<_, ()>(Some(text.into()))).unwrap();
        assert_eq!(read(" node_1\n").as_deref(), Some("node_1"));
        assert_eq!(read(" \n"), None);
        assert_eq!(machine_seed(Ok::<_, ()>(None)), Ok(None));
        assert_eq!(machine_seed(Err("no permission")), Err("no permission"));
    }

    #[test]
    fn a_token_file_stays_in_its_directory() {
        let cases = [
            ("node_0123abcd-XY", "node_0123abcd-XY"),
            ("../../etc/passwd", "______etc_passwd"),
            ("a/b\\c", "a_b_c"),
            ("", "node"),
        ];
        for (id, stem) in cases {
            assert_eq!(token_file_stem(&NodeId::from(id)), stem);
        }
    }

    #[test]
    fn an_instance_name_becomes_a_file_name() {
        let cases = [("relay", "relay"), ("my project/β_1", "my-project-β-1"), ("..", "--"), ("", "broker")];
        for (name, safe) in cases {
            assert_eq!(safe_name(name), safe);
        }
    }

    #[test]
    fn a_fresh_workspace_is_named_after_user_and_directory() {
        let name = default_workspace_name("one", "/srv/relay");
        assert_eq!(name.len(), "relay-".len() + 8);
        assert!(name.starts_with("relay-"));
        assert_eq!(name, default_workspace_name("one", "/srv/relay"));
        assert_ne!(name, default_workspace_name("other", "/srv/relay"));
        let digest = Sha256::digest("one:/srv/relay");
        assert!(hex(&digest).starts_with(&name["relay-".len()..]));
    }
}
