//! Measures redirectd side by side with what it replaces. See `--help`, and
//! docs on how the figures come about in each suite's file.

mod command;
mod contestant;
mod daemon;
mod deputy;
mod interrupt;
mod lan;
mod load;
mod machine;
mod measure;
mod netns;
mod pace;
mod pair;
mod pins;
mod processor;
mod profile;
mod progress;
mod recorder;
mod report;
mod result;
mod route;
mod scenario;
mod statistics;
mod stream;
mod suite;
mod topology;
mod track;
mod traffic;

use std::{fs, path::Path, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum as _};

use crate::{
    machine::Machine,
    pair::Pair,
    progress::Progress,
    recorder::Recorder,
    result::Run,
    suite::{Effort, Suite},
};

/// Measures redirectd side by side with what it replaces, in network namespaces
/// of its own. Needs root and a quiet machine.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// What to measure [default: everything]
    suites: Vec<Suite>,
    /// Only try that everything works, in minutes; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each contestant is measured [default: each suite has its own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Milliseconds that one measurement lasts [default: each suite has its own]
    #[arg(long, value_name = "MS")]
    duration: Option<u64>,
    /// The processor that does home's work [default: the last]
    #[arg(long, value_name = "N")]
    processor: Option<usize>,
    /// Measure only these contestants
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

/// What the bench's own processes in its namespaces are.
#[derive(Debug, Subcommand)]
enum Part {
    /// A client, a server or a deputy
    #[command(subcommand, hide = true)]
    Pair(Pair),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.part {
        Some(Part::Pair(pair)) => pair.run(),
        None => bench(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<()> {
    interrupt::install()?;
    let effort = effort(arguments)?;
    let mut run = Run {
        version: result::VERSION,
        quick: effort.quick,
        command: command_line(std::env::args().skip(1)),
        ended_early: None,
        machine: Machine::this(effort.processor),
        suites: Vec::new(),
    };
    let result = measure(&suites(arguments), &effort, &mut run);
    // What was measured before an error is worth as much.
    run.ended_early = result.as_ref().err().map(|error| format!("{error:#}"));
    print!("{}", report::terminal::text(&run));
    if let Some(path) = &arguments.json {
        write(path, &format!("{}\n", serde_json::to_string_pretty(&run)?))?;
    }
    result
}

/// Runs `suites` and puts their figures into `run`.
fn measure(suites: &[Suite], effort: &Effort, run: &mut Run) -> Result<()> {
    for (n, suite) in suites.iter().enumerate() {
        let later = suites[n + 1..].iter().map(|later| later.estimate(effort)).sum();
        let mut recorder = Recorder::new(&suite.name(), suite.title(), Progress::new(later));
        let result = suite.run(effort, &mut recorder);
        run.suites.push(recorder.finish());
        result.with_context(|| format!("suite {}", suite.name()))?;
    }
    Ok(())
}

/// Those asked for, in the order of reports, each once.
fn suites(arguments: &Arguments) -> Vec<Suite> {
    let wanted = |suite: &&Suite| arguments.suites.is_empty() || arguments.suites.contains(suite);
    Suite::value_variants().iter().filter(wanted).copied().collect()
}

fn effort(arguments: &Arguments) -> Result<Effort> {
    let effort = Effort {
        rounds: arguments.rounds.map(usize::from),
        duration: arguments.duration.map(Duration::from_millis),
        processor: arguments.processor.map_or_else(processor::last, Ok)?,
        quick: arguments.quick,
        only: arguments.only.clone(),
    };
    effort.check()?;
    Ok(effort)
}

/// As it was given to `cargo xtask bench`.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    std::iter::once("cargo xtask bench".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
