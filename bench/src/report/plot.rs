//! Bars of packets a second, as SVG.

use std::fmt::Write;

use super::pps::Outcome;

const WIDTH: f64 = 720.0;
const LABEL: f64 = 130.0;
const BAR: f64 = 18.0;
const GAP: f64 = 6.0;
const HEADING: f64 = 34.0;
/// Room to the right of the longest bar, for its figure.
const MARGIN: f64 = 90.0;

/// A picture of all outcomes on one scale; whiskers show the range.
pub(crate) fn svg(outcomes: &[Outcome]) -> String {
    let longest =
        outcomes.iter().flat_map(Outcome::medians).map(|(_, s)| s.max).fold(0.0, f64::max);
    let scale = (WIDTH - LABEL - MARGIN) / longest.max(f64::MIN_POSITIVE);
    let mut body = String::new();
    let mut y = 0.0;
    for outcome in outcomes {
        y += HEADING;
        let title = format!("Mpps, {}", outcome.scenario);
        let _ = writeln!(body, r#"<text x="0" y="{}" font-weight="bold">{title}</text>"#, y - 10.0);
        for (name, mpps) in outcome.medians() {
            let middle = y + BAR / 2.0;
            let _ = writeln!(
                body,
                r##"<text x="{}" y="{}" text-anchor="end">{name}</text>
<rect x="{LABEL}" y="{y}" width="{:.1}" height="{BAR}" fill="#4878a8"/>
<path d="M{:.1} {middle}H{:.1}" stroke="#222"/>
<text x="{:.1}" y="{}">{:.2}</text>"##,
                LABEL - 8.0,
                y + 14.0,
                mpps.median * scale,
                LABEL + mpps.min * scale,
                LABEL + mpps.max * scale,
                LABEL + mpps.max * scale + 8.0,
                y + 14.0,
                mpps.median,
            );
            y += BAR + GAP;
        }
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="white"/>
{body}</svg>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{measure::Sample, report::pps::Measured, scenario::Scenario};
    use std::time::Duration;

    #[test]
    fn the_longest_bar_fills_the_room_and_others_are_in_proportion() {
        let measured = |name, arrived| Measured {
            name,
            samples: vec![Sample {
                sent: 2_000_000,
                arrived,
                timed: 2_000_000,
                elapsed: Duration::from_secs(1),
                switches: 0,
            }],
        };
        let outcome = Outcome {
            scenario: Scenario { flows: 1, redirects: 1 },
            measured: vec![measured("drop", 2_000_000), measured("half", 1_000_000)],
        };
        let svg = svg(&[outcome]);
        assert!(svg.contains(r#"width="500.0""#) && svg.contains(r#"width="250.0""#), "{svg}");
    }
}
