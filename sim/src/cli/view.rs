//! `relay-sim view`: a case as a picture.
//!
//! Owns: what is made a picture of, and where the page goes. Must not know: what a page looks like.

use relay_core::trace::Trace;
use relay_sim::engine::ProfileName;
use relay_sim::plan::{self, Plan};
use relay_sim::replay;
use relay_sim::view::View;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace that was recorded, or a scenario file.
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    file: Option<PathBuf>,
    /// A seed: a number, or a git hash.
    #[arg(long)]
    seed: Option<String>,
    /// Engine release of the seed.
    #[arg(long, default_value = "6.0.3", requires = "seed")]
    profile: ProfileName,
    /// The page.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let result = picture(args).and_then(|view| {
        let page = view.page();
        std::fs::write(&args.output, page).map_err(|error| wrong(&args.output, &error))
    });
    match result {
        Ok(()) => {
            say!("{}", args.output.display());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn picture(args: &Args) -> Result<View, String> {
    let profile = args.profile;
    if let Some(seed) = &args.seed {
        let seed = super::seed::parse(seed).map_err(|why| format!("relay-sim: {why}"))?;
        let title = format!("seed {seed}, engine {profile}");
        return Ok(case(View::new(&title, &super::reproduction(seed, profile)), plan::draw(seed, profile)));
    }
    let file = args.file.as_deref().ok_or("name a file, or a seed with --seed")?;
    if is_trace(file)? {
        return trace(file);
    }
    let scenario = super::run::read(file)?;
    let reproduction = format!("cargo run --release -p relay-sim -- run {}", file.display());
    Ok(case(View::new(&scenario.about, &reproduction), scenario.plan))
}

/// The picture of a simulated case.
fn case(mut view: View, plan: Plan) -> View {
    match relay_sim::tell(plan, |moment| view.add(moment)) {
        Ok(report) => view.passed(&format!(
            "passed: {} events, messages taken: {}, lives of the broker: {}, virtual seconds: {}",
            report.events,
            report.taken,
            report.lives,
            report.time / plan::SECOND
        )),
        Err(failure) => view.failed(&failure),
    }
    view
}

/// Whether a file begins as traces do; an empty one would have to.
fn is_trace(path: &Path) -> Result<bool, String> {
    const BEGIN: &[u8] = b"{\"t\":";
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BEGIN.len() as u64).read_to_end(&mut begin));
    read.map_err(|error| wrong(path, &error))?;
    Ok(begin.is_empty() || begin == BEGIN)
}

/// The picture of a recorded life: it is lived again, so that commands are shown as well.
fn trace(path: &Path) -> Result<View, String> {
    let text = super::replay::read(path).map_err(|error| wrong(path, &error))?;
    let trace = Trace::read(&text).map_err(|error| wrong(path, &error))?;
    let reproduction = format!("cargo run --release -p relay-sim -- replay {}", path.display());
    let title = format!("{}, recorded by {} with core {}", path.display(), trace.driver, trace.core);
    let mut view = View::new(&title, &reproduction);
    match replay::narrate(&trace, |moment| view.add(moment)) {
        Ok(done) => view.passed(&format!(
            "replayed: {} inputs, {} commands; the trace ends with: {}",
            done.inputs, done.commands, trace.end
        )),
        Err(failure) => view.failed(&failure),
    }
    Ok(view)
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
