//! The build that has no canaries: it makes the one that has, and hands over to it.
//!
//! Owns: how that build is made. Must not know: any canary.

use super::Args;
use crate::cli::code::Code;
use crate::cli::terminal::place;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the canaries in.
const FLAG: &str = "--cfg canary";
/// Below the directory of the workspace: other flags would make every other build there start anew.
const TARGET: &str = "target/canary";

pub(crate) fn run(args: &Args) -> Code {
    match build() {
        Ok(program) => hand_over(&program, args),
        Err(why) => {
            complain!(
                "relay-sim: {why}; this build has no canaries: in the source tree, run \
                 RUSTFLAGS=\"{FLAG}\" cargo run --release -p relay-sim --target-dir {TARGET} -- canary"
            );
            Code::REFUSED
        }
    }
}

/// Makes the build with canaries. Cargo tells its progress.
fn build() -> Result<PathBuf, String> {
    let of_cargo = |name: &str| std::env::var_os(name).ok_or("not started by cargo");
    let (cargo, package) = (of_cargo("CARGO")?, of_cargo("CARGO_MANIFEST_DIR")?);
    let root = Path::new(&package).parent().ok_or("the package is in no workspace")?;
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.push(' ');
    flags.push_str(FLAG);
    complain!("building the simulator with canaries in {TARGET}");
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "relay-sim", "--bin", "relay-sim"])
        .args(["--target-dir", TARGET])
        .env("RUSTFLAGS", flags.trim())
        .current_dir(root)
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err("the build with canaries failed".into());
    }
    Ok(root.join(TARGET).join("release/relay-sim"))
}

fn hand_over(program: &Path, args: &Args) -> Code {
    let mut command = Command::new(program);
    command.arg("canary").args(&args.name);
    command.arg("--seeds").arg(args.seeds.to_string()).arg("--jobs").arg(args.jobs.to_string());
    match command.status() {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            code.map_or(Code::REFUSED, Code::of_other_build)
        }
        Err(error) => {
            complain!("relay-sim: cannot run {}: {error}", place(program));
            Code::REFUSED
        }
    }
}
