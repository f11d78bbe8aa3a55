//! Precedence, defaults and refusals, without touching this process's environment.

use super::*;
use clap::Parser;

#[derive(Parser)]
enum Line {
    Up(UpArgs),
    Init(InitArgs),
}

/// The settings for a command line and an environment.
fn settings(line: &str, env: &[(&str, &str)]) -> Result<Settings, Fatal> {
    let env: Vec<(String, String)> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let around = Surroundings {
        env: move |name: &str| {
            let found = env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            found.or_else(|| (name == "HOME").then(|| "/home/me".into()))
        },
        cwd: "/link/my project".into(),
        canonical_cwd: "/real/my project".into(),
        temporary: "/tmp".into(),
    };
    match Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).unwrap() {
        Line::Up(args) => Settings::up(args, &around),
        Line::Init(args) => Settings::init(args, &around),
    }
}

fn config(line: &str, env: &[(&str, &str)]) -> Config {
    settings(line, env).unwrap().config()
}

fn key_of(config: &Config) -> &str {
    match &config.access {
        Access::Key(key) => key.expose(),
        other => panic!("{other:?}"),
    }
}

fn refusal(line: &str, env: &[(&str, &str)]) -> Fatal {
    settings(line, env).map(|settings| settings.access).unwrap_err()
}

const KEY: (&str, &str) = ("RELAY_API_KEY", "rk_live_api");

#[test]
fn up_keeps_its_state_under_the_working_directory() {
    let settings = settings("up", &[KEY]).unwrap();
    assert_eq!(settings.state_dir, Path::new("/link/my project/.agentworkforce/relay"));
    assert_eq!(settings.data_dir, Path::new("/home/me/.local/share/agent-relay"));
    assert_eq!(settings.cwd, "/real/my project");
    assert!(!settings.ephemeral && settings.persist && !settings.local());
    let config = settings.config();
    assert_eq!(config.instance, "my project");
    assert_eq!((config.node_name, config.base_url.as_str()), (None, "https://cast.agentrelay.com"));
    assert_eq!((config.agent_type.as_str(), config.max_agents), ("human", 0));
    assert_eq!(config.channels, ["general"]);
    assert_eq!(config.harnesses, ["claude", "codex", "gemini", "opencode"]);
}

#[test]
fn up_without_a_key_says_what_to_do() {
    let fatal = refusal("up", &[("RELAY_API_KEY", "  ")]);
    assert_eq!(fatal.code, 2);
    assert!(fatal.message.contains("RELAY_API_KEY") && fatal.message.contains("--local"), "{fatal:?}");
    assert!(settings("up --local", &[]).unwrap().local());
    let token_only = config("up", &[("RELAY_NODE_TOKEN", "nt_live_1")]);
    assert!(matches!(token_only.access, Access::TokenOnly));
}

#[test]
fn a_key_that_is_none_is_refused_and_not_quoted() {
    for line in ["up", "init"] {
        for (name, value) in [("RELAY_API_KEY", "at_live_12345678"), ("RELAY_WORKSPACE_KEY", "hunter2")] {
            let fatal = refusal(line, &[(name, value)]);
            assert_eq!(fatal.code, 2);
            assert!(fatal.message.contains(name) && fatal.message.contains("rk_"), "{fatal:?}");
            assert!(!fatal.message.contains(value), "{fatal:?}");
        }
    }
    assert_eq!(refusal("init --workspace-key nope", &[KEY]).code, 2);
}

#[test]
fn the_first_key_in_order_counts() {
    let all = [
        KEY,
        ("RELAY_WORKSPACE_KEY", "rk_live_ws"),
        ("AGENT_RELAY_WORKSPACE_KEY", "rk_live_first"),
        ("RELAY_WORKSPACES_JSON", r#"[{"api_key":"rk_live_list"}]"#),
    ];
    assert_eq!(key_of(&config("init", &all[..1])), "rk_live_api");
    assert_eq!(key_of(&config("init", &all[..2])), "rk_live_ws");
    assert_eq!(key_of(&config("init", &all[..3])), "rk_live_first");
    assert_eq!(key_of(&config("init", &all)), "rk_live_list");
    assert_eq!(key_of(&config("init --workspace-key rk_live_flag", &all)), "rk_live_flag");
}

#[test]
fn the_default_membership_is_found_by_id_alias_or_position() {
    let list = r#"{"memberships":[
        {"api_key":"rk_live_a","workspace_id":"ws_a","workspace_alias":"Alpha"},
        {"api_key":"rk_live_b","workspaceId":"ws_b"}],"default_workspace_id":"ws_b"}"#;
    let array = r#"[{"api_key":"rk_live_a","workspace_id":"ws_a"},{"api_key":"rk_live_b"}]"#;
    let cases = [
        (list, "", "rk_live_b"),
        (list, "alpha", "rk_live_a"),
        (list, "ws_a", "rk_live_a"),
        (array, "", "rk_live_a"),
        (r#"{"api_key":"rk_live_c"}"#, "", "rk_live_c"),
    ];
    for (json, selector, key) in cases {
        let env = [("RELAY_WORKSPACES_JSON", json), ("RELAY_DEFAULT_WORKSPACE", selector)];
        assert_eq!(key_of(&config("init", &env)), key, "{selector:?}");
    }
    let refused = [("[]", ""), ("{", ""), (array, "ws_other"), (array, "WS_A")];
    for (json, selector) in refused {
        let env = [("RELAY_WORKSPACES_JSON", json), ("RELAY_DEFAULT_WORKSPACE", selector)];
        assert_eq!(refusal("init", &env).code, 2, "{json} {selector:?}");
    }
}

#[test]
fn init_without_a_key_creates_a_workspace_of_a_stable_name() {
    let name = |user: &str| match config("init", &[("USER", user)]).access {
        Access::Create { name } => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(name("me"), edge::default_workspace_name("me", "/link/my project"));
    assert_eq!(name(""), edge::default_workspace_name("unknown", "/link/my project"));
}

#[test]
fn init_is_ephemeral_unless_told_where_to_keep_state() {
    let fleeting = settings("init", &[KEY]).unwrap();
    let dir = fleeting.state_dir.to_string_lossy().into_owned();
    let prefix = format!("/tmp/agent-relay-ephemeral-{}-my-project-", std::process::id());
    assert!(fleeting.ephemeral && dir.starts_with(&prefix), "{dir}");
    assert_eq!(dir.len(), prefix.len() + 32);
    let kept = settings("init --persist", &[KEY]).unwrap();
    assert!(!kept.ephemeral && kept.config().persist);
    let placed = settings("init --state-dir /var/x", &[KEY]).unwrap();
    assert_eq!(placed.state_dir, Path::new("/var/x"));
    assert!(!placed.ephemeral && !placed.config().persist, "its owner must still renew the lease");
}

#[test]
fn names_come_from_flags_environment_and_directory_in_this_order() {
    let env = [KEY, ("AGENT_RELAY_BROKER_NAME", "by-env")];
    let names = |line| {
        let config = config(line, &env);
        (config.instance, config.node_name)
    };
    assert_eq!(names("init"), ("by-env".into(), None));
    assert_eq!(names("init --name n"), ("n".into(), Some("n".into())));
    assert_eq!(names("init --broker-name n"), ("n".into(), Some("n".into())));
    assert_eq!(names("init --instance-name i --name n"), ("i".into(), Some("n".into())));
}

#[test]
fn a_blank_base_url_is_an_unset_one_and_a_broken_one_is_refused() {
    let url = |env: &[(&str, &str)]| config("init", &[&[KEY], env].concat()).base_url;
    assert_eq!(url(&[("RELAYCAST_BASE_URL", " "), ("RELAY_BASE_URL", "http://h:1/")]), "http://h:1");
    assert_eq!(url(&[("RELAYCAST_BASE_URL", "http://a"), ("RELAY_BASE_URL", "http://b")]), "http://a");
    let fatal = refusal("init", &[KEY, ("RELAY_BASE_URL", "localhost:1")]);
    assert!(fatal.code == 2 && fatal.message.contains("RELAY_BASE_URL"), "{fatal:?}");
}

#[test]
fn the_node_is_described_by_the_environment() {
    let env = [
        KEY,
        ("AGENT_RELAY_NODE_HARNESSES", "claude, aider,claude,"),
        ("AGENT_RELAY_NODE_MAX_AGENTS", "8"),
        ("RELAY_NODE_ID", "node_x"),
        ("RELAY_NODE_TOKEN", " nt_live_1 "),
        ("RELAY_AGENT_TYPE", "agent"),
    ];
    let config = config("init --channels a,,b", &env);
    assert_eq!(config.harnesses, ["claude", "aider"]);
    assert_eq!((config.max_agents, config.node_id.as_deref()), (8, Some("node_x")));
    assert_eq!(config.node_token.unwrap().expose(), "nt_live_1");
    assert_eq!((config.agent_type.as_str(), config.channels.len()), ("agent", 2));
    assert_eq!(refusal("init", &[KEY, ("AGENT_RELAY_NODE_MAX_AGENTS", "many")]).code, 2);
}

#[test]
fn a_broker_that_is_switched_off_or_has_no_home_does_not_start() {
    assert_eq!(refusal("init", &[KEY, ("AGENT_RELAY_DISABLE_RELAYCAST", "")]).code, 1);
    assert_eq!(refusal("init", &[KEY, ("HOME", "")]).code, 1);
    let data = settings("init", &[KEY, ("HOME", ""), ("XDG_DATA_HOME", "/data")]).unwrap().data_dir;
    assert_eq!(data, Path::new("/data/agent-relay"));
}

#[test]
fn the_local_key_is_given_or_random() {
    let given = settings("init", &[KEY, ("RELAY_BROKER_API_KEY", "br_given")]).unwrap();
    assert_eq!(given.api_key.expose(), "br_given");
    let random = settings("init", &[KEY]).unwrap().api_key;
    assert!(random.expose().starts_with("br_") && random.expose().len() == 35);
    assert_ne!(random, settings("init", &[KEY]).unwrap().api_key);
}

#[test]
fn addresses_are_written_as_urls_want_them() {
    let reached = [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("fe80::1", "[fe80::1]"),
        ("host", "host"),
    ];
    for (bind, host) in reached {
        assert_eq!(reachable(bind), host);
    }
}
