//! The command line.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum as _};

use crate::{
    pair::Pair,
    processor,
    suite::{Effort, Suite},
};

/// Measures redirectd side by side with what it replaces, in network namespaces
/// of its own.
///
/// All contestants of a suite are measured in turns, round by round. It ends in a
/// table on the terminal and a report with plots in a folder (report.html,
/// report.md, report.json and SVG files). Ctrl-C ends it early: what was measured
/// until then is reported. Needs root and a quiet machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", version)]
#[command(max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
}

/// What can be done beside measuring.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What the bench's own processes in its namespaces do
    #[command(subcommand, hide = true)]
    Pair(Pair),
    /// Tell what changed between two runs, and whether it exceeds the noise
    Compare(Compare),
    /// Show a run and make its report again, from its report.json
    Report {
        /// The report.json of a run
        file: PathBuf,
        /// The folder for the report; made if missing
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The report.json of the run before
    pub(crate) before: PathBuf,
    /// The report.json of the run after
    pub(crate) after: PathBuf,
    /// Write the comparison as JSON, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// End with exit code 3 if a figure got worse beyond the noise
    #[arg(long)]
    pub(crate) fail_if_worse: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Measuring {
    /// What to measure [default: everything]
    suites: Vec<Suite>,
    /// Only try that everything works, in minutes; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// The folder for the report; made if missing, files in it are overwritten
    #[arg(long, value_name = "FOLDER", env = "REDIRECTD_BENCH_REPORT", hide_env_values = true)]
    #[arg(default_value = "bench-report")]
    pub(crate) report: PathBuf,
    /// Write the report's report.json here, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// How often each contestant is measured [default: each suite has its own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Milliseconds that one measurement lasts [default: each suite has its own]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    duration: Option<u64>,
    /// The processor that does home's work [default: the last]
    #[arg(long, value_name = "N")]
    processor: Option<usize>,
    /// Measure only these contestants
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

impl Measuring {
    /// The suites asked for, in the order of reports, each once.
    pub(crate) fn suites(&self) -> Vec<Suite> {
        let wanted = |suite: &&Suite| self.suites.is_empty() || self.suites.contains(suite);
        Suite::value_variants().iter().filter(wanted).copied().collect()
    }

    /// How much is to be measured.
    ///
    /// # Errors
    /// A contestant is unknown, or no processor can be had.
    pub(crate) fn effort(&self) -> Result<Effort> {
        let effort = Effort {
            rounds: self.rounds.map(usize::from),
            duration: self.duration.map(Duration::from_millis),
            processor: self.processor.map_or_else(processor::last, processor::usable)?,
            quick: self.quick,
            only: self.only.clone(),
        };
        effort.check()?;
        Ok(effort)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("bench").chain(words.split(' ')))
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn suites_and_commands_live_together() {
        let measuring = parse("control pps control --quick").unwrap();
        assert!(measuring.command.is_none());
        assert_eq!(measuring.measuring.suites(), [Suite::Pps, Suite::Control]);
        let Some(Command::Compare(compare)) = parse("compare a b --json c").unwrap().command else {
            panic!("no comparison");
        };
        assert_eq!((compare.before, compare.after), ("a".into(), "b".into()));
        assert_eq!(compare.json, Some("c".into()));
        assert!(parse("pps compare a b").is_err());
        assert!(parse("--quick compare a b").is_err());
    }
}
