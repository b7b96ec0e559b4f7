//! A bar for each contestant from left to right, under the case it belongs to.

use maud::{Markup, html};

use super::{Drawing, WIDTH, palette::Palette, scale::Scale, text_width};
use crate::{
    report::number::{number, with_range},
    result::{Case, Metric, Series},
    statistics::Summary,
};

/// Height of the name of a case, of a bar's row, and of the bar in it.
const HEAD: f64 = 24.0;
const ROW: f64 = 19.0;
const BAR: f64 = 11.0;
/// Between two cases.
const GAP: f64 = 8.0;
/// Under the last bar: ticks and what they count.
const FOOT: f64 = 42.0;

/// All figures of `metric`.
pub(super) fn draw(metric: &Metric, palette: &Palette, axis: &str) -> Drawing {
    let names = metric.contestants().into_iter();
    let left = names.map(text_width).fold(0.0, f64::max) + 14.0;
    let figures = metric.cases.iter().flat_map(|case| &case.series).filter_map(Series::summary);
    let label = |value: f64| text_width(&number(value, metric.digits));
    let right = figures.clone().map(|figure| label(figure.median)).fold(30.0, f64::max) + 14.0;
    let values = figures.flat_map(|figure| [figure.min, figure.max]);
    let scale = Scale::of_bars(values, (left, WIDTH - right));

    let mut top = 0.0;
    let mut parts = Vec::new();
    for case in &metric.cases {
        let rows = top + HEAD;
        parts.push(html! { text.head x="0" y=(px(top + 15.0)) { (case.name) } });
        top = rows + ROW * case.series.len() as f64;
        parts.push(grid(&scale, rows, top));
        for (n, series) in case.series.iter().enumerate() {
            parts.push(row(case, series, metric, palette, &scale, rows + ROW * n as f64));
        }
        top += GAP;
    }
    let body = html! { @for part in &parts { (part) } (foot(&scale, axis, top)) };
    Drawing { height: top + FOOT, body }
}

fn row(
    case: &Case,
    series: &Series,
    metric: &Metric,
    palette: &Palette,
    scale: &Scale,
    top: f64,
) -> Markup {
    let Some(figure) = series.summary().filter(is_finite) else { return html! {} };
    let (base, end) = (scale.base(), scale.at(figure.median));
    let middle = top + ROW / 2.0;
    let name = &series.contestant;
    let value = number(figure.median, metric.digits);
    let tip = format!("{name}, {}: {}", case.name, with_range(&figure, metric.digits));
    html! {
        g class=(classes(palette, series)) {
            title { (tip) }
            text text-anchor="end" x=(px(scale_left(scale) - 6.0)) y=(px(middle + 4.0)) { (name) }
            rect.bar x=(px(base.min(end))) y=(px(middle - BAR / 2.0))
                width=(px((end - base).abs())) height=(px(BAR)) {}
            @if figure.min < figure.max { (whisker(scale, &figure, middle)) }
            text x=(px(scale.at(figure.max).max(base) + 6.0)) y=(px(middle + 4.0)) { (value) }
        }
    }
}

fn whisker(scale: &Scale, figure: &Summary, y: f64) -> Markup {
    let (min, max) = (scale.at(figure.min), scale.at(figure.max));
    let (low, high) = (y - 3.0, y + 3.0);
    let path = format!(
        "M{min:.1} {low:.1}V{high:.1}M{min:.1} {y:.1}H{max:.1}M{max:.1} {low:.1}V{high:.1}"
    );
    html! { path.whisker d=(path) {} }
}

/// Behind the bars of a case, not behind its name.
fn grid(scale: &Scale, top: f64, bottom: f64) -> Markup {
    html! {
        @for (value, _) in scale.ticks() {
            @let x = px(scale.at(value));
            line.grid x1=(x) x2=(x) y1=(px(top)) y2=(px(bottom)) {}
        }
        line.axis x1=(px(scale.base())) x2=(px(scale.base())) y1=(px(top)) y2=(px(bottom)) {}
    }
}

fn foot(scale: &Scale, axis: &str, bottom: f64) -> Markup {
    let note = if scale.is_logarithmic() { " (logarithmic)" } else { "" };
    html! {
        @for (value, label) in scale.ticks() {
            text.tick text-anchor="middle" x=(px(scale.at(value))) y=(px(bottom + 14.0)) { (label) }
        }
        text.tick x=(px(scale_left(scale))) y=(px(bottom + 32.0)) { (axis) (note) }
    }
}

/// Where the scale begins, left of which are the names.
fn scale_left(scale: &Scale) -> f64 {
    scale.at(scale.ticks().first().map_or(0.0, |(value, _)| *value))
}

/// Colour, and whether it is a paper's figure.
pub(super) fn classes(palette: &Palette, series: &Series) -> String {
    let quoted = if series.quoted { " quoted" } else { "" };
    format!("{}{quoted}", palette.class(&series.contestant))
}

fn is_finite(figure: &Summary) -> bool {
    figure.min.is_finite() && figure.max.is_finite()
}

/// A length in the drawing's units.
pub(super) fn px(value: f64) -> String {
    format!("{value:.1}")
}
