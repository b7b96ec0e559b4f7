//! Runs with fixed figures, for tests of what is made of runs.

use super::{
    Absent, Better, Case, Metric, Plot, Run, Series, Suite, VERSION,
    target::{Bound, Figure, Target},
};
use crate::machine::Machine;

/// The paper whose figures are quoted.
pub(crate) const QUOTED: &str = "the paper's <MOSIX> & co.";

/// Why a target of [`run`] was missed.
pub(crate) const CAUSE: &str = "Its <wire> & its `switch` are near.";

/// Why others would have been.
const IF_MISSED: &str = "Nobody asks why.";

/// One that ended early, with lines, bars, quoted figures, an absent
/// contestant, notes, and texts that a format may take for its own.
pub(crate) fn run() -> Run {
    Run { ended_early: Some("interrupted <here> & now".into()), ..whole_run() }
}

/// As [`run`], to its end.
pub(crate) fn whole_run() -> Run {
    Run {
        version: VERSION,
        quick: false,
        command: "cargo xtask bench paper pps --rounds 4".into(),
        date: "2026-07-01".into(),
        ended_early: None,
        machine: machine(),
        suites: vec![paper(), pps()],
    }
}

fn machine() -> Machine {
    Machine {
        processor: "A Processor <3 GHz>".into(),
        processors: 2,
        used: 1,
        virtual_machine: true,
        memory: 24_105,
        kernel: "6.18.1".into(),
        distribution: "Debian GNU/Linux 12".into(),
        clock_source: "tsc".into(),
        mitigations: vec![("spectre_v9".into(), "Mitigation: hope".into())],
        versions: vec![("redirectd".into(), "0.1.0".into()), ("nft".into(), "1.0.6".into())],
    }
}

/// Figures over a number, with a paper's beside them.
fn paper() -> Suite {
    let series = |name: &str, rounds: &[f64]| Series {
        contestant: name.into(),
        quoted: name == QUOTED,
        rounds: rounds.into(),
    };
    let case = |connections: u32, scale: f64| Case {
        name: format!("{connections} connections"),
        x: Some(f64::from(connections)),
        series: vec![
            series("direct", &[100.0, 101.0, 99.0, 100.0].map(|s| s * scale)),
            series("bounce", &[102.0, 103.5, 101.0, 102.0].map(|s| s * scale)),
            series("deputy", &[133.0, 140.0, 131.0, 133.0].map(|s| s * scale)),
            series(QUOTED, &[203.73 * scale]),
        ],
    };
    let time = Metric {
        name: "execution time".into(),
        unit: "s".into(),
        better: Better::Lower,
        digits: 1,
        ratios_to: vec!["direct".into()],
        plot: Plot::Lines,
        cases: vec![case(3, 1.0), case(50, 17.0)],
    };
    let ratio = |what: &str, contestant: &str, bound| {
        let figure = |name| Figure::new("execution time", "3 connections", name);
        Target::ratio(what, figure(contestant), figure("direct"), bound)
    };
    Suite {
        name: "paper".into(),
        title: "the paper's first table".into(),
        about: "Three hosts & a switch.\n\nTimes are <real>.".into(),
        parameters: vec![("buffer | size".into(), "1,024 bytes".into())],
        metrics: vec![time],
        absent: vec![Absent {
            contestant: "haproxy".into(),
            case: Some("50 connections".into()),
            reason: "it is not installed".into(),
        }],
        targets: vec![
            ratio("bounce near direct", "bounce", Bound::AtMost(1.03)).because(IF_MISSED),
            ratio("the deputy <far> away", "deputy", Bound::AtLeast(1.5)).because(CAUSE),
            ratio("nobody measured it", "haproxy", Bound::AtMost(2.0)).because(IF_MISSED),
        ],
        notes: vec!["Amounts are scaled by 1/10 & rounded.".into()],
        seconds: 125.0,
    }
}

/// Bars far apart, without range in one case.
fn pps() -> Suite {
    let series = |name: &str, rounds: &[f64]| Series {
        contestant: name.into(),
        quoted: false,
        rounds: rounds.into(),
    };
    let case = |name: &str, factor: f64| Case {
        name: name.into(),
        x: None,
        series: vec![
            series("redirectd-xdp", &[1.5, 1.75, 1.25, 1.5].map(|mpps| mpps * factor)),
            series("iptables", &[0.5, 0.5, 0.5, 0.5].map(|mpps| mpps * factor)),
        ],
    };
    let rate = Metric {
        name: "rate".into(),
        unit: "Mpps".into(),
        better: Better::Higher,
        digits: 3,
        ratios_to: vec!["iptables".into()],
        plot: Plot::Bars,
        cases: vec![case("1 flow", 2.0), case("1,000 flows", 1.0)],
    };
    let memory = Metric {
        name: "memory".into(),
        unit: "KiB".into(),
        better: Better::Neither,
        digits: 0,
        ratios_to: Vec::new(),
        plot: Plot::Bars,
        cases: vec![Case {
            name: "all".into(),
            x: None,
            series: vec![series("redirectd-xdp", &[12.0]), series("iptables", &[123_456.0])],
        }],
    };
    Suite {
        name: "pps".into(),
        title: "packets a second".into(),
        metrics: vec![rate, memory],
        seconds: 59.0,
        ..Suite::default()
    }
}
