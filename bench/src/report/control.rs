//! Times of the control plane, and how they are shown.

use serde_json::{Value, json};

use super::table::Table;
use crate::{
    scenario::counted,
    statistics::{Summary, percentile},
};

/// All measurements.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many redirects were applied at once.
    pub(crate) redirects: u32,
    /// Seconds of the command that does it, for each round.
    pub(crate) apply: Vec<f64>,
    /// Seconds of the same request without the command, for each round.
    pub(crate) request: Vec<f64>,
    /// Times of adding one.
    pub(crate) add: Vec<Added>,
}

/// Times of adding one redirect to some.
#[derive(Debug)]
pub(crate) struct Added {
    /// How many there were.
    pub(crate) present: u32,
    /// Of each request.
    pub(crate) milliseconds: Vec<f64>,
}

/// The share of requests that are no slower than the figure shown as the worst.
const WORST: f64 = 0.99;

impl Outcome {
    pub(super) fn json(&self) -> Value {
        let added = self.add.iter().map(|added| {
            json!({
                "present": added.present,
                "times": added.milliseconds.len(),
                "ms": Summary::of(&added.milliseconds),
                "p99_ms": percentile(&added.milliseconds, WORST),
            })
        });
        json!({
            "redirects": self.redirects,
            "apply_s": Summary::of(&self.apply),
            "apply_request_s": Summary::of(&self.request),
            "add_one": added.collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::new(&["control plane", "times", "median", "99 % within", "range"]);
        let many = counted(self.redirects, "redirect");
        let mut row = |name: String, values: &[f64], unit: &str| {
            let (Some(all), Some(worst)) = (Summary::of(values), percentile(values, WORST)) else {
                return;
            };
            table.row(vec![
                name,
                values.len().to_string(),
                format!("{:.3} {unit}", all.median),
                format!("{worst:.3} {unit}"),
                format!("{:.3}–{:.3} {unit}", all.min, all.max),
            ]);
        };
        row(format!("{many} by `redirect apply -f`"), &self.apply, "s");
        row(format!("{many} by POST /v1/apply"), &self.request, "s");
        for added in &self.add {
            let name =
                format!("one more than {}, POST /v1/redirects", counted(added.present, "redirect"));
            row(name, &added.milliseconds, "ms");
        }
        table.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_hundredth_is_left_out_and_the_range_is_not() {
        let mut milliseconds = vec![0.5; 199];
        milliseconds.push(30.0);
        let add = vec![Added { present: 1, milliseconds }];
        let outcome = Outcome { redirects: 100_000, apply: vec![1.25], request: vec![1.0], add };
        let text = outcome.text();
        assert!(text.contains("100,000 redirects by `redirect apply -f`"), "{text}");
        let line = text.lines().find(|line| line.starts_with("one more")).unwrap();
        assert!(line.ends_with("200  0.500 ms     0.500 ms  0.500–30.000 ms"), "{line}");
        assert_eq!(outcome.json()["add_one"][0]["p99_ms"], 0.5);
    }
}
