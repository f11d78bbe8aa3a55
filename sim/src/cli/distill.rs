//! `relay-sim distill`: from a trace to a scenario that does about the same.
//!
//! Owns: where the scenario goes, and what is printed. Must not know: what a trace says.

use super::again;
use super::code::Code;
use super::output::{self, Readers};
use super::replay::each;
use super::terminal::place;
use relay_sim::distill::distill;
use std::path::PathBuf;
use std::slice;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace file, as `relay-broker up --record FILE` writes it.
    file: PathBuf,
    /// Where the scenario is written to; printed when left out.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Code {
    each(slice::from_ref(&args.file), |file, trace, _| {
        let scenario = distill(trace);
        let text = scenario.to_text();
        let Some(output) = &args.output else {
            say!("{}", text.trim_end());
            return Ok(());
        };
        output::must_differ(output, file)?;
        output::write(output, &text, Readers::Usual)?;
        let (plan, place) = (&scenario.plan, place(output));
        let (steps, agents) = (plan.steps.len(), plan.agents.len());
        output::note(output, format_args!("distilled: {place}: {steps} steps, {agents} agents"));
        output::note(output, format_args!("{}", again::file("run", output)));
        Ok(())
    })
}
