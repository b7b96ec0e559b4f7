//! What the clients saw of the journey: the chart, the tables, and whether nothing
//! was lost.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{
    clients::{Answer, SIZE, Visits},
    plot::Plot,
};

/// One move that has been made.
pub(super) struct Leg {
    pub(super) to: &'static str,
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    /// What `redirect migrate --json` said.
    pub(super) report: Value,
}

/// What the clients saw.
pub(super) struct Seen {
    pub(super) answers: Vec<Answer>,
    pub(super) visits: Visits,
    /// The SHA-256 of the download, in hexadecimal.
    pub(super) hash: String,
}

impl Leg {
    /// How long the process was frozen, as `redirect migrate` says.
    pub(super) fn frozen(&self) -> String {
        let seconds = self.report["seconds"]["frozen"].as_f64().unwrap_or_default();
        format!("{:.0} ms", seconds * 1e3)
    }

    /// What came for it meanwhile.
    pub(super) fn held(&self) -> String {
        let traffic = &self.report["move"]["held"]["traffic"];
        let number = |unit: &str| traffic[unit].as_u64().unwrap_or_default();
        format!("{} packets ({:.1} kB)", number("packets"), number("bytes") as f64 / 1e3)
    }

    /// The answer that the echo session waited for longest.
    fn longest<'s>(&self, answers: &'s [Answer]) -> Option<&'s Answer> {
        // What came after the end may have been waited for since before it.
        let during =
            |answer: &&Answer| self.begun < answer.at && answer.at - answer.gap < self.ended;
        answers.iter().filter(during).max_by_key(|answer| answer.gap)
    }
}

impl Seen {
    /// The gaps of the echo session over time, with the moves marked.
    pub(super) fn chart(&self, legs: &[Leg]) -> Vec<String> {
        let Some(first) = self.answers.first() else { return Vec::new() };
        let since = |at: Instant| (at - first.at).as_secs_f64();
        let points: Vec<_> =
            self.answers.iter().map(|answer| (since(answer.at), millis(answer.gap))).collect();
        let marks: Vec<_> = legs
            .iter()
            .filter_map(|leg| Some((since(leg.longest(&self.answers)?.at), mark(leg.to))))
            .collect();
        let seconds = points.last().map_or(0.0, |&(at, _)| at).max(0.1);
        Plot { seconds, points: &points, marks: &marks }.lines()
    }

    /// One row for each move: where to, frozen, held, longest gap.
    pub(super) fn moves(&self, legs: &[Leg]) -> Vec<[String; 4]> {
        let gap = |leg: &Leg| leg.longest(&self.answers).map_or(0.0, |answer| millis(answer.gap));
        let row = |leg: &Leg| {
            [mark(leg.to).to_owned(), leg.frozen(), leg.held(), format!("{:.0} ms", gap(leg))]
        };
        legs.iter().map(row).collect()
    }

    /// One row for each client: which, and what it saw; the download's hash should
    /// be `hash`.
    pub(super) fn clients(&self, hash: &str) -> [[String; 2]; 3] {
        let Visits { opened, answered, .. } = &self.visits;
        let slowest = millis(answered.iter().max().copied().unwrap_or_default());
        let right = if self.hash == hash { "the same as before" } else { "WRONG" };
        [
            ("download", format!("{} MiB in one connection; SHA-256 {right}", SIZE >> 20)),
            (
                "echo session",
                format!("{0} lines in one connection, {0} right answers", self.answers.len()),
            ),
            (
                "new connections",
                format!(
                    "{opened} opened, {} answered; the slowest took {slowest:.0} ms",
                    answered.len()
                ),
            ),
        ]
        .map(|(client, saw)| [client.to_owned(), saw])
    }

    /// Sees that nothing was lost, and that the process was where it should be, which
    /// has those `addresses`.
    ///
    /// # Errors
    /// Something was lost.
    pub(super) fn judge(&self, hash: &str, addresses: &[&str]) -> Result<()> {
        let mut from: Vec<_> = self.answers.iter().map(|answer| answer.from.as_str()).collect();
        from.dedup();
        ensure!(from == addresses, "the echo session was answered from {from:?}");
        let failures = &self.visits.failures;
        ensure!(failures.is_empty(), "new connections failed: {}", failures.join("; "));
        ensure!(self.hash == hash, "the download's SHA-256 is {}, and was {hash}", self.hash);
        Ok(())
    }
}

fn mark(to: &str) -> &'static str {
    match to {
        "c" => "to c",
        "d" => "to d",
        _ => "home",
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [&str; 2] = ["10.0.0.2", "10.0.0.3"];

    /// Answers every 5 ms, but for 80 ms across the end of a move to c.
    fn seen(begun: Instant) -> (Vec<Leg>, Seen) {
        let at = |ms| begun + Duration::from_millis(ms);
        let answer = |ms, gap, from: &str| {
            let gap = Duration::from_millis(gap);
            Answer { at: at(ms), gap, from: from.to_owned() }
        };
        let answers = vec![
            answer(5, 5, ADDRESSES[0]),
            answer(10, 5, ADDRESSES[0]),
            answer(90, 80, ADDRESSES[1]),
            answer(95, 5, ADDRESSES[1]),
            // Nobody's fault.
            answer(295, 200, ADDRESSES[1]),
        ];
        let report = serde_json::json!({
            "seconds": { "frozen": 0.0784 },
            "move": { "held": { "traffic": { "packets": 3, "bytes": 1500 } } },
        });
        let legs = vec![Leg { to: "c", begun: at(7), ended: at(85), report }];
        let answered = vec![Duration::from_millis(4), Duration::from_millis(81)];
        let visits = Visits { opened: 2, answered, failures: Vec::new() };
        (legs, Seen { answers, visits, hash: "ab".to_owned() })
    }

    #[test]
    fn a_moves_longest_gap_is_the_one_across_it() {
        let (legs, seen) = seen(Instant::now());
        assert_eq!(seen.moves(&legs), [["to c", "78 ms", "3 packets (1.5 kB)", "80 ms"]]);
        let chart = seen.chart(&legs);
        let mark = chart.last().and_then(|marks| marks.find('▲'));
        // At 85 of 290 ms.
        assert_eq!(mark, Some(9 + 66 * 85 / 290), "{chart:#?}");
    }

    #[test]
    fn clients_tell_what_became_of_them() {
        let (_, seen) = seen(Instant::now());
        let [[_, download], [_, echo], [_, visits]] = seen.clients("ab");
        assert_eq!(download, "256 MiB in one connection; SHA-256 the same as before");
        assert_eq!(echo, "5 lines in one connection, 5 right answers");
        assert_eq!(visits, "2 opened, 2 answered; the slowest took 81 ms");
        assert!(seen.clients("ac")[0][1].ends_with("WRONG"));
    }

    #[test]
    fn whatever_is_lost_is_seen() {
        let (_, mut seen) = seen(Instant::now());
        assert!(seen.judge("ab", &ADDRESSES).is_ok());
        assert!(seen.judge("ac", &ADDRESSES).is_err());
        assert!(seen.judge("ab", &["10.0.0.2", "10.0.0.3", "10.0.0.2"]).is_err());
        seen.visits.failures.push("no answer".to_owned());
        assert!(seen.judge("ab", &ADDRESSES).is_err());
    }
}
