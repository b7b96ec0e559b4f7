//! Drawings of metrics, in SVG that follows the reader's light or dark ground.
//!
//! The crates that draw plots (plotters and its like) fix their colours, know
//! nothing of the width of SVG text and have no bars with whiskers; with them
//! most of this would be here all the same.

mod bars;
mod lines;
mod palette;
mod scale;

use std::collections::BTreeSet;

use maud::{Markup, PreEscaped, html};

pub(crate) use self::palette::Palette;
use super::grid::titled;
use crate::result::{Case, Metric, Plot as Kind, Suite};

/// Width of every drawing, in its own units; a page may scale it.
const WIDTH: f64 = 760.0;

/// A drawing of (a part of) a metric.
pub(crate) struct Plot {
    /// The name of its file.
    pub(crate) file: String,
    /// What it shows.
    pub(crate) title: String,
    drawing: Drawing,
}

/// What is in it, from y = 0 to `height`.
struct Drawing {
    height: f64,
    body: Markup,
}

impl Plot {
    /// As a part of a page that has [`css`].
    pub(crate) fn inline(&self) -> Markup {
        self.svg(&html! {})
    }

    /// As a file of its own.
    pub(crate) fn document(&self) -> String {
        self.svg(&html! { style { (PreEscaped(css())) } }).into_string() + "\n"
    }

    fn svg(&self, style: &Markup) -> Markup {
        let height = self.drawing.height.ceil();
        html! {
            svg.plot xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(self.title)
                viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH) height=(height) {
                (style)
                (self.drawing.body)
            }
        }
    }
}

/// What drawings need of a style sheet.
pub(crate) fn css() -> String {
    format!("{}{}", include_str!("plot.css"), palette::css())
}

/// The drawings of `metric`, in files whose names are not among `taken`.
pub(crate) fn of(
    suite: &Suite,
    metric: &Metric,
    palette: &Palette,
    taken: &mut BTreeSet<String>,
) -> Vec<Plot> {
    let axis = titled(&metric.name, &metric.unit);
    let mut plot = |along: &str, drawing| {
        let title = match along {
            "" => metric.name.clone(),
            along => format!("{} over {along}", metric.name),
        };
        Plot { file: file(&suite.name, &title, taken), title, drawing }
    };
    if metric.cases.iter().all(|case| case.series.is_empty()) {
        return Vec::new();
    }
    match metric.plot {
        Kind::None => Vec::new(),
        Kind::Lines if metric.cases.iter().any(|case| case.x.is_some()) => fields(metric)
            .into_iter()
            .map(|(along, cases)| plot(&along, lines::draw(metric, &cases, palette, &along, &axis)))
            .collect(),
        Kind::Bars | Kind::Lines => vec![plot("", bars::draw(metric, palette, &axis))],
    }
}

/// The cases that belong into one field: those that differ but in the number
/// that begins their name, such as `1 flow, 1 redirect` and `1,000 flows, 1
/// redirect`; with what that number counts.
fn fields(metric: &Metric) -> Vec<(String, Vec<&Case>)> {
    let mut fields: Vec<(String, Vec<&Case>)> = Vec::new();
    let placed = |case: &&Case| case.x.is_some();
    for case in metric.cases.iter().filter(placed) {
        let counted = counted(&case.name);
        match fields.iter_mut().find(|(known, _)| singular(known) == singular(counted)) {
            Some((known, cases)) => {
                counted.clone_into(known);
                cases.push(case);
            }
            None => fields.push((counted.to_owned(), vec![case])),
        }
    }
    fields
}

/// What `name` says after the number it begins with; nothing if it begins with none.
fn counted(name: &str) -> &str {
    let is_number = |word: &str| word.chars().all(|c| c.is_ascii_digit() || ",.".contains(c));
    name.split_once(' ').filter(|(word, _)| is_number(word)).map_or("", |(_, rest)| rest)
}

/// `flow, 1 redirect` of `flows, 1 redirect`.
fn singular(counted: &str) -> String {
    let (what, rest) = counted.split_at(counted.find(',').unwrap_or(counted.len()));
    format!("{}{rest}", what.trim_end_matches('s'))
}

/// A file name for `title` that is not yet `taken`.
fn file(suite: &str, title: &str, taken: &mut BTreeSet<String>) -> String {
    let words = format!("{suite} {title}").to_lowercase();
    let words: Vec<_> =
        words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let stem = words.join("-");
    let numbered = (2..).map(|n| format!("{stem}-{n}.svg"));
    let mut names = std::iter::once(format!("{stem}.svg")).chain(numbered);
    let name = names.find(|name| !taken.contains(name)).expect("numbers do not end");
    taken.insert(name.clone());
    name
}

/// About the width of `text` in the drawings' type; there is nothing here that
/// knows it exactly, so that it is rather too wide.
fn text_width(text: &str) -> f64 {
    6.8 * text.chars().count() as f64
}
