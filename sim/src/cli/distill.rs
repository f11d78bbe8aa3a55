//! `relay-sim distill`: from a trace to a scenario that does about the same.
//!
//! Owns: where the scenario goes, and what is printed. Must not know: what a trace says.

use super::replay::{self, each, wrong};
use relay_sim::distill::distill;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace file, as `relay-broker up --record FILE` writes it.
    file: PathBuf,
    /// Where the scenario is written to; printed when left out.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    each(&replay::Args::of(&args.file), |_, trace, _| {
        let scenario = distill(trace);
        let text = scenario.to_text();
        let Some(output) = &args.output else {
            say!("{}", text.trim_end());
            return Ok(());
        };
        std::fs::write(output, text).map_err(|error| wrong(output, &error))?;
        let plan = &scenario.plan;
        say!("distilled: {}: {} steps, {} agents", output.display(), plan.steps.len(), plan.agents.len());
        say!("cargo run --release -p relay-sim -- run {}", output.display());
        Ok(())
    })
}
