//! Measures redirectd side by side with what it replaces. See `--help`, and
//! docs on how the figures come about in each suite's file.

mod command;
mod contestant;
mod daemon;
mod interrupt;
mod measure;
mod netns;
mod pace;
mod pins;
mod processor;
mod progress;
mod report;
mod scenario;
mod statistics;
mod stream;
mod suite;
mod topology;
mod track;
mod traffic;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::{
    report::{Report, machine::Machine},
    suite::{Effort, control, pps, program},
};

/// Measures redirectd side by side with what it replaces, on one processor and
/// in network namespaces of its own. Needs root and a quiet machine.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// What to measure [default: everything]
    suites: Vec<Suite>,
    /// Only try that everything works, in seconds; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw packets a second as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// How often each contestant is measured
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Milliseconds that one measurement of packets lasts
    #[arg(long, value_name = "MS", default_value_t = 500)]
    duration: u64,
    /// The processor that does the work [default: the last]
    #[arg(long, value_name = "N")]
    processor: Option<usize>,
    /// Measure only these contestants
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Packets a second through home
    Pps,
    /// How long redirects take to be in force
    Control,
    /// Nanoseconds that redirectd's programs take for one packet
    Program,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    interrupt::install()?;
    let effort = effort(arguments)?;
    let mut report = Report::new(Machine::this(effort.processor), effort.quick);
    let result = measure(arguments, &effort, &mut report);
    // What was measured before an error is worth as much.
    print!("{}", report.text());
    if let Some(path) = &arguments.json {
        write(path, &format!("{:#}\n", report.json()))?;
    }
    if let Some(path) = &arguments.svg {
        write(path, &report::plot::svg(&report.pps))?;
    }
    result
}

/// Runs the suites that are asked for and puts their results into `report`.
fn measure(arguments: &Arguments, effort: &Effort, report: &mut Report) -> Result<()> {
    let wanted = |suite| arguments.suites.is_empty() || arguments.suites.contains(&suite);
    if wanted(Suite::Pps) {
        pps::run(effort, &mut report.pps)?;
    }
    if wanted(Suite::Control) {
        report.control = Some(control::run(effort)?);
    }
    if wanted(Suite::Program) {
        report.program = program::run(effort)?;
    }
    Ok(())
}

fn effort(arguments: &Arguments) -> Result<Effort> {
    let processor = arguments.processor.map_or_else(processor::last, Ok)?;
    let only = arguments.only.clone();
    Ok(if arguments.quick {
        Effort { rounds: 2, duration: Duration::from_millis(20), processor, quick: true, only }
    } else {
        let duration = Duration::from_millis(arguments.duration);
        Effort { rounds: arguments.rounds.into(), duration, processor, quick: false, only }
    })
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
