//! Packets a second: figures from samples, and how they are shown.

use serde_json::{Map, Value, json};

use super::{table::Table, to_json};
use crate::{measure::Sample, scenario::Scenario, statistics::Summary};

/// Those the others are held against.
const BASES: [&str; 2] = ["nftables", "iptables"];
/// The one that forwards nothing.
const FLOOR: &str = "drop";

/// All measurements of one scenario.
pub(crate) struct Outcome {
    /// What was asked.
    pub(crate) scenario: Scenario,
    /// By contestant, in the order of the report.
    pub(crate) measured: Vec<Measured>,
}

/// All measurements of one contestant; the n-th of each was in the same round.
pub(crate) struct Measured {
    /// The contestant.
    pub(crate) name: &'static str,
    /// One for each round.
    pub(crate) samples: Vec<Sample>,
}

impl Measured {
    fn mpps(&self) -> Vec<f64> {
        self.samples.iter().map(Sample::mpps).collect()
    }

    /// Packets that were made and did not arrive, as a fraction of those made.
    fn loss(&self) -> f64 {
        let sent: u64 = self.samples.iter().map(|sample| sample.sent).sum();
        let arrived: u64 = self.samples.iter().map(|sample| sample.arrived).sum();
        1.0 - arrived as f64 / sent as f64
    }
}

impl Outcome {
    fn of(&self, name: &str) -> Option<Vec<f64>> {
        self.measured.iter().find(|measured| measured.name == name).map(Measured::mpps)
    }

    /// How many times as fast as `base` it is, round by round.
    fn ratio(&self, measured: &Measured, base: &str) -> Option<Summary> {
        Summary::of_ratios(&measured.mpps(), &self.of(base)?)
    }

    /// What a packet costs beyond making it and dropping it at home, ns.
    fn cost(&self, measured: &Measured) -> Option<Summary> {
        let floor = self.of(FLOOR)?;
        let mpps = measured.mpps();
        let costs: Vec<f64> = mpps.iter().zip(&floor).map(|(a, b)| 1e3 / a - 1e3 / b).collect();
        Summary::of(&costs)
    }

    pub(super) fn json(&self) -> Value {
        let contestants = self.measured.iter().map(|measured| {
            let ratios: Map<String, Value> = [FLOOR]
                .iter()
                .chain(&BASES)
                .filter_map(|&base| Some((base.into(), to_json(&self.ratio(measured, base)?))))
                .collect();
            json!({
                "name": measured.name,
                "mpps": Summary::of(&measured.mpps()),
                "samples_mpps": measured.mpps(),
                "ratio_to": ratios,
                "ns_beyond_drop": self.cost(measured),
                "loss": measured.loss(),
                "preempted": measured.samples.iter().map(|sample| sample.switches).sum::<u64>(),
            })
        });
        json!({
            "flows": self.scenario.flows,
            "redirects": self.scenario.redirects,
            "contestants": contestants.collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::new(&[
            "contestant",
            "Mpps",
            "range",
            "lost",
            "× nftables",
            "× iptables",
            "ns beyond drop",
        ]);
        let optional = |summary: Option<Summary>, digits: usize| {
            summary.map_or("–".into(), |s| format!("{:.digits$}", s.median))
        };
        for measured in &self.measured {
            let mpps = Summary::of(&measured.mpps());
            let range = mpps.map_or("–".into(), |s| format!("{:.3}–{:.3}", s.min, s.max));
            let [nftables, iptables] = BASES.map(|base| self.ratio(measured, base));
            table.row(vec![
                measured.name.into(),
                optional(mpps, 3),
                range,
                format!("{:.3} %", 100.0 * measured.loss()),
                optional(nftables, 2),
                optional(iptables, 2),
                optional(self.cost(measured), 0),
            ]);
        }
        let rounds = self.measured.iter().map(|m| m.samples.len()).max().unwrap_or(0);
        format!(
            "Packets a second through home, one processor, {}; medians of {rounds} rounds\n{}",
            self.scenario,
            table.text()
        )
    }

    /// Median in Mpps by contestant, for plots.
    pub(super) fn medians(&self) -> Vec<(&'static str, Summary)> {
        let summary = |m: &Measured| Some((m.name, Summary::of(&m.mpps())?));
        self.measured.iter().filter_map(summary).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn measured(name: &'static str, arrived: &[u64]) -> Measured {
        let sample = |&arrived| Sample {
            sent: 2_000_000,
            arrived,
            timed: 2_000_000,
            elapsed: Duration::from_secs(1),
            switches: 0,
        };
        Measured { name, samples: arrived.iter().map(sample).collect() }
    }

    fn outcome() -> Outcome {
        Outcome {
            scenario: Scenario { flows: 1, redirects: 1 },
            measured: vec![
                measured("drop", &[2_000_000, 1_000_000]),
                measured("x", &[1_000_000, 500_000]),
                measured("iptables", &[500_000, 250_000]),
            ],
        }
    }

    #[test]
    fn ratios_and_costs_follow_the_rounds() {
        let outcome = outcome();
        let x = &outcome.measured[1];
        assert_eq!(outcome.ratio(x, "iptables").unwrap().max, 2.0);
        assert_eq!(outcome.ratio(x, "nftables"), None);
        // 1,000 − 500 ns in the first round, 2,000 − 1,000 in the second.
        assert_eq!(outcome.cost(x).unwrap().median.round(), 750.0);
        assert_eq!(x.loss(), 1.0 - 1.5 / 4.0);
    }

    #[test]
    fn the_table_marks_what_was_not_measured() {
        let text = outcome().text();
        let line = text.lines().find(|line| line.starts_with('x')).unwrap();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["x", "0.750", "0.500–1.000", "62.500", "%", "–", "2.00", "750"]
        );
    }

    #[test]
    fn the_json_has_every_sample() {
        let json = outcome().json();
        assert_eq!(json["contestants"][1]["samples_mpps"], json!([1.0, 0.5]));
        assert_eq!(json["contestants"][1]["ratio_to"]["iptables"]["median"], json!(2.0));
    }
}
