//! The suites: what is measured, each in a file of its own.

pub(crate) mod control;
pub(crate) mod latency;
pub(crate) mod layers;
pub(crate) mod moving;
pub(crate) mod paper;
pub(crate) mod pps;
pub(crate) mod program;
pub(crate) mod stream;
pub(crate) mod swap;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::{contestant, recorder::Recorder};

/// What can be measured, in the order of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// The papers' table: 3 to 50 connections at 100 Mbit/s
    Paper,
    /// The papers' other table: 400 MB over one connection
    Swap,
    /// Packets a second through home
    Pps,
    /// Nanoseconds that redirectd's programs take for one packet
    Program,
    /// TCP throughput, and what it costs
    Stream,
    /// Latency at fixed rates, and connections a second
    Latency,
    /// How long changes of redirects and a restart take, and what memory they do
    Control,
    /// Where a packet's time goes at home, layer by layer
    Layers,
    /// How long peers wait for a process that moves
    Move,
}

impl Suite {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no suite is hidden");
        value.get_name().to_owned()
    }

    /// What it is about, in a few words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Paper => "3 to 50 connections at 100 Mbit/s, as in the papers",
            Self::Swap => "400 MB over one connection at 100 Mbit/s, as in the papers",
            Self::Pps => "packets a second through home, on one processor",
            Self::Program => "nanoseconds in redirectd's programs",
            Self::Stream => "TCP throughput from peer to host, and what it costs",
            Self::Latency => "latency at fixed rates, and connections a second",
            Self::Control => "how long changes and a restart take, and what memory",
            Self::Layers => "where a packet's time goes at home",
            Self::Move => "how long peers wait for a process that moves",
        }
    }

    /// How long it takes, roughly, on the machine of the committed report.
    pub(crate) fn estimate(self, effort: &Effort) -> Duration {
        let (whole, quick) = match self {
            Self::Paper => (560, 10),
            Self::Swap => (330, 10),
            Self::Pps => (280, 12),
            Self::Program => (100, 6),
            Self::Stream => (290, 30),
            Self::Latency => (260, 8),
            Self::Control => (240, 20),
            Self::Layers => (110, 8),
            Self::Move => (420, 12),
        };
        Duration::from_secs(if effort.quick { quick } else { whole })
    }

    /// Each of `suites`, and how long those after it will take.
    pub(crate) fn with_later<'a>(
        suites: &'a [Self],
        effort: &Effort,
    ) -> impl Iterator<Item = (Self, Duration)> + 'a {
        let mut later: Duration = suites.iter().map(|suite| suite.estimate(effort)).sum();
        let own: Vec<_> = suites.iter().map(|suite| suite.estimate(effort)).collect();
        suites.iter().zip(own).map(move |(&suite, own)| {
            later -= own;
            (suite, later)
        })
    }

    /// Runs it; what was measured is in `recorder`, after an error too.
    ///
    /// # Errors
    /// Those of the suite, or the run was interrupted.
    pub(crate) fn run(self, effort: &Effort, recorder: &mut Recorder) -> Result<()> {
        match self {
            Self::Paper => paper::run(effort, recorder),
            Self::Swap => swap::run(effort, recorder),
            Self::Pps => pps::run(effort, recorder),
            Self::Program => program::run(effort, recorder),
            Self::Stream => stream::run(effort, recorder),
            Self::Latency => latency::run(effort, recorder),
            Self::Control => control::run(effort, recorder),
            Self::Layers => layers::run(effort, recorder),
            Self::Move => moving::run(effort, recorder),
        }
    }
}

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Effort {
    /// Rounds and lengths other than the suites' own.
    pub(crate) rounds: Option<usize>,
    /// As [`Self::rounds`].
    pub(crate) duration: Option<Duration>,
    /// The processor that does home's work.
    pub(crate) processor: usize,
    /// A test that everything works, in seconds; its figures mean nothing.
    pub(crate) quick: bool,
    /// Contestants to measure; empty means all.
    pub(crate) only: Vec<String>,
}

impl Effort {
    /// How often each contestant is measured, where `usual` is the suite's own.
    pub(crate) fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { usual })
    }

    /// The least length of one measurement, where `usual` is the suite's own.
    pub(crate) fn duration(&self, usual: Duration) -> Duration {
        self.duration.unwrap_or(if self.quick { Duration::from_millis(20) } else { usual })
    }

    /// Whether `contestant` is to be measured.
    pub(crate) fn wants(&self, contestant: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == contestant)
    }

    /// Makes sure that those to be measured exist.
    ///
    /// # Errors
    /// One does not.
    pub(crate) fn check(&self) -> Result<()> {
        for name in &self.only {
            ensure!(
                contestant::NAMES.contains(&name.as_str()),
                "no contestant is called `{name}`; there are {}",
                contestant::NAMES.join(", ")
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_that_of_the_suites_that_come_after() {
        let effort =
            Effort { rounds: None, duration: None, processor: 0, quick: false, only: Vec::new() };
        let suites = [Suite::Paper, Suite::Pps, Suite::Control];
        let [paper, pps, control] = suites.map(|suite| suite.estimate(&effort));
        assert!(paper > Duration::ZERO && pps > Duration::ZERO && control > Duration::ZERO);
        let later: Vec<_> = Suite::with_later(&suites, &effort).collect();
        let expected = [
            (Suite::Paper, pps + control),
            (Suite::Pps, control),
            (Suite::Control, Duration::ZERO),
        ];
        assert_eq!(later, expected);
    }
}
