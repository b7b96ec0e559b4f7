//! A colour and a mark for each contestant, the same all over a report.

use maud::{Markup, html};

use crate::result::Run;

/// Colours on a light and on a dark ground: Paul Tol's "muted" and "bright"
/// schemes, which people with colour blindness can tell apart, with the light
/// ones darkened and the dark ones lightened for the ground they are on.
const COLOURS: [(&str, &str); 12] = [
    ("#0077bb", "#4aa8e8"),
    ("#d9601a", "#ff8b4a"),
    ("#2f9384", "#54c4b2"),
    ("#882255", "#d9709f"),
    ("#c99a00", "#e8c34a"),
    ("#332288", "#9a8cf0"),
    ("#117733", "#4fb46c"),
    ("#c6586a", "#f08a99"),
    ("#3f9fd0", "#a5dcf5"),
    ("#777777", "#aaaaaa"),
    ("#8a8a2a", "#c6c65c"),
    ("#a23b9a", "#d487cf"),
];

/// Who has which.
pub(crate) struct Palette {
    contestants: Vec<String>,
}

impl Palette {
    /// For all contestants of `run`, in the order of their first appearance.
    pub(crate) fn new(run: &Run) -> Self {
        let mut contestants: Vec<String> = Vec::new();
        let metrics = run.suites.iter().flat_map(|suite| &suite.metrics);
        for name in metrics.flat_map(|metric| metric.contestants()) {
            if !contestants.iter().any(|known| known == name) {
                contestants.push(name.to_owned());
            }
        }
        Self { contestants }
    }

    fn index(&self, contestant: &str) -> usize {
        self.contestants.iter().position(|known| known == contestant).unwrap_or(0)
    }

    /// The class that has its colour.
    pub(super) fn class(&self, contestant: &str) -> String {
        format!("c{}", self.index(contestant) % COLOURS.len())
    }

    /// Its mark around a point.
    pub(super) fn mark(&self, contestant: &str, x: f64, y: f64) -> Markup {
        let path = match self.index(contestant) % 5 {
            0 => format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", x - 4.0),
            1 => format!("M{:.1} {:.1}h7v7h-7z", x - 3.5, y - 3.5),
            2 => format!("M{x:.1} {:.1}l5 5l-5 5l-5 -5z", y - 5.0),
            3 => format!("M{x:.1} {:.1}l4.8 8h-9.6z", y - 5.0),
            _ => format!("M{x:.1} {:.1}l4.8 -8h-9.6z", y + 5.0),
        };
        html! { path.mark d=(path) {} }
    }
}

/// The classes of all colours, for both grounds.
pub(super) fn css() -> String {
    let classes = |pick: fn(&(&str, &str)) -> String| -> String {
        COLOURS.iter().enumerate().map(|(n, pair)| format!(".c{n}{{{}}}", pick(pair))).collect()
    };
    let light = classes(|(light, _)| format!("color:{light}"));
    let dark = classes(|(_, dark)| format!("color:{dark}"));
    format!("{light}@media screen and (prefers-color-scheme:dark){{{dark}}}")
}
