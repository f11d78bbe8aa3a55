//! Children: the process of an agent.
//!
//! Owns: its arguments, environment, directory and size.
//! Must not know: how a process is started.
//!
//! 1. A child gets its own agent token and never the workspace key, the broker's API key or the node
//!    token, whatever the broker itself inherited or the caller asks for.
//! 2. The broker's own variables win over the caller's.

use super::Registered;
use crate::action::SpawnOrder;
use crate::command::{Child, Text};
use crate::ids::WorkspaceId;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Credentials, and what would make a harness believe that it runs inside another one.
const REMOVED: &[&str] = &[
    "RELAY_API_KEY",
    "RELAY_WORKSPACE_KEY",
    "AGENT_RELAY_WORKSPACE_KEY",
    "RELAY_WORKSPACES_JSON",
    "RELAY_BROKER_API_KEY",
    "RELAY_NODE_TOKEN",
    "RELAY_AGENT_TOKEN",
    "CLAUDECODE",
];

/// A terminal type that every program knows; the emulator understands what it implies.
const TERM: &str = "xterm-256color";

/// The child of a registered agent.
pub(crate) fn child(
    order: &SpawnOrder,
    registered: Option<&Registered>,
    base_url: &str,
    workspace: Option<&WorkspaceId>,
) -> Child {
    let mut env: Vec<(String, Text)> = order
        .env
        .iter()
        .filter(|(name, _)| !REMOVED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), Text::Plain(value.clone())))
        .collect();
    let mut set = |name: &str, value: Text| env.push((name.to_string(), value));
    let plain = |text: &str| Text::Plain(text.to_string());
    set("RELAY_AGENT_NAME", plain(&order.name.0));
    set("RELAY_AGENT_TYPE", plain("agent"));
    set("RELAY_STRICT_AGENT_NAME", plain("1"));
    set("RELAY_BASE_URL", plain(base_url));
    if let Some(workspace) = workspace.filter(|workspace| !workspace.0.is_empty()) {
        set("RELAY_WORKSPACE_ID", plain(&workspace.0));
    }
    if let Some(registered) = registered {
        set("RELAY_AGENT_TOKEN", Text::Secret(registered.token.clone()));
    }
    if !order.env.contains_key("TERM") {
        set("TERM", plain(TERM));
    }
    let argv = core::iter::once(order.cli.clone()).chain(order.args.iter().cloned()).collect();
    Child {
        argv,
        env,
        env_remove: REMOVED.iter().filter(|_| !canary!(KeyInherited)).map(ToString::to_string).collect(),
        cwd: order.cwd.clone(),
        rows: order.rows,
        cols: order.cols,
    }
}
