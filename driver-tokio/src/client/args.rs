//! The command line of the client subcommands.
//!
//! Owns: flags, their help and their examples. Must not know: how a command is carried out.
//!
//! 1. [`Connection`] is the only definition of the flags that every client command has.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use relay_core::Secret;
use std::path::PathBuf;

/// Longest `--wait`, in seconds: a day.
const WAIT_MAX: u64 = 24 * 60 * 60;

/// What every client command prints about its ending.
macro_rules! exit_codes {
    () => {
        "Exit codes: 0 done · 1 the broker refused · 2 wrong usage · 3 no broker found or reachable · 4 timed out.\n\
         With --json a failure is {\"error\":{\"code\",\"message\",\"advice\"}} on stderr."
    };
}

/// The commands that talk to a running broker.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Start an agent: a program in a terminal of its own, reachable under NAME
    #[command(after_help = concat!(
        "Examples:\n  \
         relay-broker spawn alice -- claude\n  \
         relay-broker spawn bob --cwd ~/project -- codex --model gpt-5\n\n\
         JSON: {\"name\",\"runtime\",\"cli\",\"pid\",\"session_id\",\"warning\"}; pid, session_id and warning may be null.\n",
        exit_codes!()
    ))]
    Spawn(SpawnArgs),
    /// List the agents of the broker
    #[command(after_help = concat!(
        "JSON: {\"agents\":[…]}, each as GET /api/spawned gives it: name, runtime, cli, model, pid, channels, current_state, …\n",
        exit_codes!()
    ))]
    Ls(LsArgs),
    /// Show whether the broker is well, and what it is connected to
    #[command(after_help = concat!(
        "JSON: {\"url\",\"status\",\"connected\",\"version\",\"mode\",\"uptime_secs\",\"engine\",\"workspace_id\",\"node_id\",\"node_name\",\n      \
         \"agents\",\"pending_deliveries\",\"dead_letters\",\"delivery\",\"problems\"}; what the broker does not tell is null.\n\
         A degraded broker has answered, so the exit code is 0.\n",
        exit_codes!()
    ))]
    Status(StatusArgs),
    /// Send a message to an agent or a channel
    #[command(after_help = concat!(
        "Examples:\n  \
         relay-broker send bob 'please review the diff'\n  \
         relay-broker send '#general' 'build is green'      (quote the #: it starts a comment in most shells)\n  \
         git diff | relay-broker send bob - --wait=120\n\n",
        "Without --wait the command ends when the engine has accepted the message. With --wait it follows the deliveries\n\
         that this broker makes: for an agent of this broker until its program has taken the message and it was acked;\n\
         for a channel until all deliveries that begin here are acked and none began for two seconds. A recipient\n\
         elsewhere cannot be observed from here: the command says so and ends with 0 once the engine has accepted.\n\n\
         JSON: {\"message_id\",\"to\",\"observed\":bool,\"deliveries\":[{\"agent\",\"state\",\"verification\",\"reason\",\"ms\"}]};\n      \
         state is acked, failed (a dead letter), ended (the agent is gone) or open; without --wait observed is false and deliveries is empty.\n",
        exit_codes!()
    ))]
    Send(SendArgs),
    /// Stop an agent and give its name back
    #[command(after_help = concat!("JSON: {\"name\",\"released\":true}\n", exit_codes!()))]
    Release(ReleaseArgs),
}

impl ClientCommand {
    /// The flags that say where the broker is and how to print.
    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::Spawn(args) => &args.connection,
            Self::Ls(args) => &args.connection,
            Self::Status(args) => &args.connection,
            Self::Send(args) => &args.connection,
            Self::Release(args) => &args.connection,
        }
    }
}

/// Where the broker is, and how to print.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Finding the broker")]
pub(crate) struct Connection {
    /// Print JSON instead of text
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Address of the broker's local API [env: RELAY_BROKER_URL=]; without it, connection.json tells
    #[arg(long, conflicts_with_all = ["state_dir", "instance"])]
    pub(super) url: Option<String>,
    /// Key of the broker at that address [env: RELAY_BROKER_API_KEY=]; connection.json brings its own. Arguments
    /// can be read by every user of this machine: prefer the variable
    #[arg(long, value_parser = secret)]
    pub(super) key: Option<Secret>,
    /// Folder of connection.json [env: AGENT_RELAY_STATE_DIR=] [default: .agentworkforce/relay]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// Pick one of several brokers of that folder: reads connection-NAME.json
    #[arg(long, value_name = "NAME", value_parser = instance)]
    pub(super) instance: Option<String>,
}

/// `relay-broker spawn`.
#[derive(Args, Debug)]
pub(crate) struct SpawnArgs {
    /// Name of the agent in the workspace: 1 to 128 bytes
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) name: String,
    /// Folder to start in [default: the broker's own]
    #[arg(long, value_name = "DIR")]
    pub(super) cwd: Option<PathBuf>,
    /// First task, handed over when the program is ready
    #[arg(long, value_name = "TEXT")]
    pub(super) task: Option<String>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<String>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// `relay-broker ls`.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// `relay-broker status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// `relay-broker send`.
#[derive(Args, Debug)]
pub(crate) struct SendArgs {
    /// An agent's name, or '#channel'
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) to: String,
    /// The message; `-` reads all of stdin (at most 1 MiB)
    pub(super) text: String,
    /// Agent of this broker that speaks [default: the broker itself]
    #[arg(long, value_name = "AGENT", value_parser = NonEmptyStringValueParser::new())]
    pub(super) from: Option<String>,
    /// Message to answer in a thread
    #[arg(long, value_name = "MESSAGE", value_parser = NonEmptyStringValueParser::new())]
    pub(super) thread: Option<String>,
    /// wait: typed in turn; steer: ahead of all that waits, interrupting where the program can be
    #[arg(long, value_enum)]
    pub(super) mode: Option<Mode>,
    /// Return when the message was taken and acked, at the latest after SECS [default: 60]
    #[arg(
        long,
        value_name = "SECS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60",
        value_parser = clap::value_parser!(u64).range(1..=WAIT_MAX)
    )]
    pub(super) wait: Option<u64>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// When a message is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Wait,
    Steer,
}

impl Mode {
    /// The word that the API knows.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Steer => "steer",
        }
    }
}

/// `relay-broker release`.
#[derive(Args, Debug)]
pub(crate) struct ReleaseArgs {
    /// Name of the agent
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) connection: Connection,
}

fn secret(text: &str) -> Result<Secret, &'static str> {
    Secret::new(text).ok_or("the key is empty")
}

/// An instance name becomes part of a file name, so it must not lead out of the folder.
fn instance(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains(['/', '\\', '\0']) {
        return Err("an instance name is not empty and has no slash");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Whole {
        #[command(subcommand)]
        command: ClientCommand,
    }

    fn parse(line: &[&str]) -> Result<ClientCommand, clap::Error> {
        Whole::try_parse_from([&["relay-broker"], line].concat()).map(|whole| whole.command)
    }

    fn send(line: &[&str]) -> SendArgs {
        match parse(line) {
            Ok(ClientCommand::Send(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definitions_are_consistent() {
        Whole::command().debug_assert();
    }

    #[test]
    fn spawn_takes_everything_behind_the_dashes_as_the_program() {
        let Ok(ClientCommand::Spawn(args)) =
            parse(&["spawn", "w1", "--cwd", "/x", "--", "sh", "-c", "--json"])
        else {
            panic!("not parsed");
        };
        assert_eq!(args.command, ["sh", "-c", "--json"]);
        assert!(!args.connection.json);
        assert_eq!(parse(&["spawn", "w1"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn wait_has_a_default_and_takes_seconds_only_behind_an_equals_sign() {
        assert_eq!(send(&["send", "bob", "hi"]).wait, None);
        assert_eq!(send(&["send", "--wait", "bob", "hi"]).wait, Some(60));
        assert_eq!(send(&["send", "bob", "-", "--wait=5"]).wait, Some(5));
        assert_eq!(parse(&["send", "bob", "hi", "--wait=0"]).unwrap_err().exit_code(), 2);
        assert_eq!(parse(&["send", "", "hi"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn an_address_and_a_folder_exclude_each_other() {
        let error = parse(&["ls", "--url", "http://127.0.0.1:1", "--instance", "a"]).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict);
        assert_eq!(parse(&["ls", "--instance", "../a"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_key_is_not_in_the_debug_form() {
        let command = parse(&["ls", "--key", "br_0123456789abcdef"]).unwrap();
        assert!(!format!("{command:?}").contains("br_0123456789abcdef"));
    }
}
