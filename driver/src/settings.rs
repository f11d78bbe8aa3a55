//! Settings: flags and environment, made into what the core and the driver need.
//!
//! Owns: names, defaults and precedence of flags and variables.
//! Must not know: what the settings do.
//!
//! 1. A blank variable is an unset one.
//! 2. A credential that cannot work is an error at once, never replaced by another one.
//! 3. No error quotes a credential.

use crate::VERSION;
use crate::state::random_hex;
use clap::Args;
use relay_core::edge::{self, KeyShape};
use relay_core::{Access, Config, Secret};
use serde::Deserialize;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Why the process ends before the broker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// Exit code.
    pub code: u8,
    /// For the operator.
    pub message: String,
}

impl Fatal {
    /// Something did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The operator asked for something that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// A file operation failed.
    pub fn file(what: &str, path: &Path, error: &dyn Display) -> Self {
        Self::failed(format!("cannot {what} {}: {error}", path.display()))
    }
}

/// Flags of `up`.
#[derive(Args, Clone, Debug, Default)]
pub struct UpArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Use an engine on this machine, started if none runs yet. It keeps everything in memory only
    #[arg(long)]
    local: bool,
    /// Log one JSON object per line
    #[arg(long)]
    json_log: bool,
}

/// Flags of `init`.
#[derive(Args, Clone, Debug, Default)]
pub struct InitArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Workspace key. Other users can see it in the process list: prefer AGENT_RELAY_WORKSPACE_KEY
    #[arg(long, value_name = "KEY")]
    workspace_key: Option<String>,
    /// Keep state under the working directory, and live until told to stop
    #[arg(long)]
    persist: bool,
}

/// Flags of both.
#[derive(Args, Clone, Debug, Default)]
struct CommonArgs {
    /// Name of this node, and of this broker where no instance name is given
    #[arg(long, visible_alias = "broker-name", default_value = "", hide_default_value = true)]
    name: String,
    /// Name of this broker: of its own agent and of its files
    #[arg(long, value_name = "NAME")]
    instance_name: Option<String>,
    /// Channels to join, separated by commas
    #[arg(long, default_value = "general")]
    channels: String,
    /// Port of the local API; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    api_port: u16,
    /// Address of the local API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    api_bind: String,
    /// Where to keep state
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Record everything that comes in, for `relay-sim replay`. Credentials are masked, messages are not
    #[arg(long, value_name = "FILE", overrides_with = "record")]
    record: Option<PathBuf>,
    /// Record what goes out as text too, not only its hashes
    #[arg(long, requires = "record")]
    record_commands: bool,
}

/// What a broker needs to start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Instance name.
    pub instance: String,
    node_name: Option<String>,
    base_url: String,
    /// `None` until the engine of this machine has said it.
    access: Option<Access>,
    node_id: Option<String>,
    node_token: Option<Secret>,
    agent_type: String,
    harnesses: Vec<String>,
    max_agents: u32,
    channels: Vec<String>,
    persist: bool,
    /// Address of the local API.
    pub bind: String,
    /// Its port, or 0.
    pub port: u16,
    /// Its key.
    pub api_key: Secret,
    /// Canonical working directory.
    pub cwd: String,
    /// Where state lies.
    pub state_dir: PathBuf,
    /// Whether `state_dir` is removed at the end.
    pub ephemeral: bool,
    /// Where the machine's seed and tokens lie.
    pub data_dir: PathBuf,
    /// Where a trace is recorded to.
    pub record: Option<PathBuf>,
    /// Whether the trace holds commands as text.
    pub record_commands: bool,
    /// Whether logs are JSON.
    pub json_log: bool,
    /// Value of `AGENT_RELAY_BROKER_LOG`.
    pub log_target: Option<String>,
    /// Value of `RUST_LOG`.
    pub log_filter: Option<String>,
}

/// What the process finds around it; a value, so that tests need not change their own process.
#[derive(Debug)]
pub struct Surroundings<F> {
    /// Looks up an environment variable.
    pub env: F,
    /// The working directory as it is called.
    pub cwd: PathBuf,
    /// The working directory without links.
    pub canonical_cwd: PathBuf,
    /// Directory for temporary files.
    pub temporary: PathBuf,
}

impl<F: Fn(&str) -> Option<String>> Surroundings<F> {
    fn var(&self, name: &str) -> Option<String> {
        let value = (self.env)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn first(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        names.iter().find_map(|name| Some((*name, self.var(name)?)))
    }
}

/// The real surroundings.
pub fn surroundings() -> Result<Surroundings<impl Fn(&str) -> Option<String>>, Fatal> {
    let unreadable = |e: std::io::Error| Fatal::failed(format!("cannot read the working directory: {e}"));
    let cwd = std::env::current_dir().map_err(unreadable)?;
    let canonical_cwd = cwd.canonicalize().map_err(unreadable)?;
    let env = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    Ok(Surroundings { env, cwd, canonical_cwd, temporary: std::env::temp_dir() })
}

/// Where a workspace key may stand in the environment, the first one counts.
const KEY_VARIABLES: [&str; 3] = ["AGENT_RELAY_WORKSPACE_KEY", "RELAY_WORKSPACE_KEY", "RELAY_API_KEY"];
/// Programs that this node offers to start when nothing else is configured.
const HARNESSES: &str = "claude,codex,gemini,opencode";

impl Settings {
    /// For `up`: a broker for people. State is kept; without a key there is no workspace.
    pub fn up(args: UpArgs, around: &Surroundings<impl Fn(&str) -> Option<String>>) -> Result<Self, Fatal> {
        let mut settings = Self::common(args.common, around)?;
        settings.persist = true;
        settings.json_log = args.json_log;
        settings.access = match key(None, around)? {
            _ if args.local => None,
            Some(key) => Some(Access::Key(key)),
            None if settings.node_token.is_some() => Some(Access::TokenOnly),
            None => {
                return Err(Fatal::usage(
                    "no workspace key: set RELAY_API_KEY to your workspace's key (rk_...), \
                     or use --local for an engine on this machine",
                ));
            }
        };
        Ok(settings)
    }

    /// For `init`: a broker for programs, which may be as short-lived as they are.
    pub fn init(
        args: InitArgs,
        around: &Surroundings<impl Fn(&str) -> Option<String>>,
    ) -> Result<Self, Fatal> {
        let keep = args.persist || args.common.state_dir.is_some();
        let mut settings = Self::common(args.common, around)?;
        settings.persist = args.persist;
        if !keep {
            let safe = edge::safe_name(&settings.instance);
            let dir = format!("agent-relay-ephemeral-{}-{safe}-{}", std::process::id(), random_hex()?);
            settings.state_dir = around.temporary.join(dir);
            settings.ephemeral = true;
        }
        settings.access = Some(match key(args.workspace_key.as_deref(), around)? {
            Some(key) => Access::Key(key),
            None if settings.node_token.is_some() => Access::TokenOnly,
            None => {
                let user =
                    around.first(&["USER", "USERNAME"]).map_or_else(|| "unknown".into(), |(_, user)| user);
                Access::Create { name: edge::default_workspace_name(&user, &around.cwd.to_string_lossy()) }
            }
        });
        Ok(settings)
    }

    fn common(
        args: CommonArgs,
        around: &Surroundings<impl Fn(&str) -> Option<String>>,
    ) -> Result<Self, Fatal> {
        if (around.env)("AGENT_RELAY_DISABLE_RELAYCAST").is_some() {
            return Err(Fatal::failed("AGENT_RELAY_DISABLE_RELAYCAST is set: not starting a broker"));
        }
        let name = args.name.trim();
        let node_name = (!name.is_empty()).then(|| name.to_owned());
        let instance = args.instance_name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let instance = instance
            .or_else(|| node_name.clone())
            .or_else(|| around.var("AGENT_RELAY_BROKER_NAME"))
            .or_else(|| around.cwd.file_name().map(|name| name.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "project".into());
        let base_url = around.first(&["RELAYCAST_BASE_URL", "RELAY_BASE_URL"]);
        let base_url = match &base_url {
            Some((name, url)) => {
                edge::normalise_base_url(url).map_err(|e| Fatal::usage(format!("{name}: {e}")))?
            }
            None => edge::DEFAULT_BASE_URL.to_owned(),
        };
        let api_key = match around.var("RELAY_BROKER_API_KEY") {
            Some(key) => key,
            None => format!("br_{}", random_hex()?),
        };
        Ok(Self {
            instance,
            node_name,
            base_url,
            access: None,
            node_id: around.var("RELAY_NODE_ID"),
            node_token: around.var("RELAY_NODE_TOKEN").as_deref().and_then(Secret::new),
            agent_type: around.var("RELAY_AGENT_TYPE").unwrap_or_else(|| "human".into()),
            harnesses: list(&around.var("AGENT_RELAY_NODE_HARNESSES").unwrap_or_else(|| HARNESSES.into())),
            max_agents: number(around, "AGENT_RELAY_NODE_MAX_AGENTS")?.unwrap_or(0),
            channels: list(&args.channels),
            persist: false,
            bind: args.api_bind.trim().to_owned(),
            port: args.api_port,
            api_key: Secret::new(&api_key).expect("not blank"),
            state_dir: args.state_dir.unwrap_or_else(|| around.cwd.join(".agentworkforce/relay")),
            cwd: around.canonical_cwd.to_string_lossy().into_owned(),
            ephemeral: false,
            data_dir: data_dir(around)?,
            record: args.record,
            record_commands: args.record_commands,
            json_log: false,
            log_target: around.var("AGENT_RELAY_BROKER_LOG"),
            log_filter: around.var("RUST_LOG"),
        })
    }

    /// The host of [`Settings::bind`], without brackets.
    pub fn bind_host(&self) -> &str {
        self.bind.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether the engine of this machine is to be used.
    pub const fn local(&self) -> bool {
        self.access.is_none()
    }

    /// Sets what the engine of this machine has said.
    pub fn attach(&mut self, base_url: String, key: Secret) {
        self.base_url = base_url;
        self.access = Some(Access::Key(key));
    }

    /// What the core gets.
    pub fn config(&self) -> Config {
        Config {
            instance: self.instance.clone(),
            node_name: self.node_name.clone(),
            base_url: self.base_url.clone(),
            access: self.access.clone().expect("attached to an engine"),
            node_id: self.node_id.clone(),
            node_token: self.node_token.clone(),
            agent_type: self.agent_type.clone(),
            harnesses: self.harnesses.clone(),
            max_agents: self.max_agents,
            channels: self.channels.clone(),
            version: VERSION.to_owned(),
            persist: self.persist,
        }
    }
}

/// The workspace key: from the flag, the list of memberships, or a variable.
fn key(
    flag: Option<&str>,
    around: &Surroundings<impl Fn(&str) -> Option<String>>,
) -> Result<Option<Secret>, Fatal> {
    let flag = flag.filter(|key| !key.trim().is_empty()).map(|key| ("--workspace-key", key.to_owned()));
    let found = match flag {
        Some(found) => Some(found),
        None => match around.var("RELAY_WORKSPACES_JSON") {
            Some(json) => {
                let selector = around.var("RELAY_DEFAULT_WORKSPACE");
                Some(("RELAY_WORKSPACES_JSON", default_membership(&json, selector.as_deref())?))
            }
            None => around.first(&KEY_VARIABLES),
        },
    };
    let Some((source, key)) = found else {
        return Ok(None);
    };
    match edge::classify_key(&key) {
        KeyShape::Workspace => Ok(Secret::new(&key)),
        KeyShape::Malformed(why) => {
            Err(Fatal::usage(format!("{source} does not hold a workspace key (rk_...): {why}")))
        }
    }
}

#[derive(Deserialize)]
struct Membership {
    #[serde(alias = "apiKey")]
    api_key: String,
    #[serde(alias = "workspaceId")]
    workspace_id: Option<String>,
    #[serde(alias = "workspaceAlias")]
    workspace_alias: Option<String>,
}

#[derive(Deserialize)]
struct MembershipList {
    memberships: Vec<Membership>,
    #[serde(alias = "defaultWorkspaceId")]
    default_workspace_id: Option<String>,
}

/// The three forms that the variable may have.
#[derive(Deserialize)]
#[serde(untagged)]
enum Memberships {
    Array(Vec<Membership>),
    List(MembershipList),
    One(Membership),
}

/// The key of the membership that is selected, else of the first.
fn default_membership(json: &str, selector: Option<&str>) -> Result<String, Fatal> {
    let usage = |message: String| Fatal::usage(format!("RELAY_WORKSPACES_JSON: {message}"));
    let parsed =
        serde_json::from_str(json).map_err(|_| usage("not a list of {\"api_key\": ...} objects".into()))?;
    let (memberships, own_default) = match parsed {
        Memberships::Array(memberships) => (memberships, None),
        Memberships::List(list) => (list.memberships, list.default_workspace_id),
        Memberships::One(membership) => (vec![membership], None),
    };
    let wanted = selector.map(str::to_owned).or(own_default);
    let is_wanted = |m: &Membership, wanted: &str| {
        m.workspace_id.as_deref() == Some(wanted)
            || m.workspace_alias.as_deref().is_some_and(|alias| alias.eq_ignore_ascii_case(wanted))
    };
    let chosen = match &wanted {
        Some(wanted) => memberships.into_iter().find(|m| is_wanted(m, wanted)),
        None => memberships.into_iter().next(),
    };
    chosen.map(|membership| membership.api_key).ok_or_else(|| match wanted {
        Some(wanted) => usage(format!("no membership has the id or alias {wanted:?}")),
        None => usage("there is no membership in it".into()),
    })
}

fn list(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        if !items.iter().any(|known| known == item) {
            items.push(item.to_owned());
        }
    }
    items
}

fn number(around: &Surroundings<impl Fn(&str) -> Option<String>>, name: &str) -> Result<Option<u32>, Fatal> {
    let parse = |text: String| text.parse().map_err(|_| Fatal::usage(format!("{name}: not a number")));
    around.var(name).map(parse).transpose()
}

fn data_dir(around: &Surroundings<impl Fn(&str) -> Option<String>>) -> Result<PathBuf, Fatal> {
    let base = match (around.var("XDG_DATA_HOME"), around.var("HOME")) {
        (Some(data), _) => PathBuf::from(data),
        (None, Some(home)) => Path::new(&home).join(".local/share"),
        (None, None) => {
            return Err(Fatal::failed("neither HOME nor XDG_DATA_HOME is set: nowhere to keep identities"));
        }
    };
    Ok(base.join("agent-relay"))
}

/// The address under which clients of this machine reach a listener bound to `bind`.
pub fn reachable(bind: &str) -> String {
    match bind {
        "" | "0.0.0.0" => "127.0.0.1".into(),
        "::" | "[::]" => "[::1]".into(),
        host => bracketed(host),
    }
}

/// `host` as it stands in a URL.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests;
