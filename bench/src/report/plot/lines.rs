//! A line for each contestant over what the cases count.

use maud::{Markup, html};

use super::{
    Drawing, WIDTH,
    bars::{classes, px},
    palette::Palette,
    scale::Scale,
    text_width,
};
use crate::{
    report::number::{number, with_range},
    result::{Case, Metric, Series},
    statistics::Summary,
};

/// Height of the field with the lines, and what is over and under it.
const FIELD: f64 = 320.0;
const TOP: f64 = 28.0;
const FOOT: f64 = 44.0;
/// Height of a line of the legend.
const ROW: f64 = 20.0;

/// One contestant's line: its figures by place on the axis.
struct Line<'a> {
    series: &'a Series,
    points: Vec<(f64, Summary, &'a Case)>,
}

/// The figures of `cases` of `metric`, of which each has its place on the axis;
/// `along` and `axis` are what the axes count.
pub(super) fn draw(
    metric: &Metric,
    cases: &[&Case],
    palette: &Palette,
    along: &str,
    axis: &str,
) -> Drawing {
    let lines = lines(metric, cases);
    let legend = lines.iter().map(|line| text_width(&line.series.contestant)).fold(0.0, f64::max);
    let points = || lines.iter().flat_map(|line| &line.points);
    let y = Scale::showing(
        points().flat_map(|(_, figure, _)| [figure.min, figure.max]),
        (TOP + FIELD, TOP),
    );
    let widest = y.ticks().iter().map(|(_, label)| text_width(label)).fold(0.0, f64::max);
    let (left, right) = (widest + 10.0, WIDTH - legend - 44.0);
    let x = Scale::showing(points().map(|(x, ..)| *x), (left, right));
    let height = (TOP + FIELD + FOOT).max(TOP + ROW * lines.len() as f64);
    let note = if y.is_logarithmic() { " (logarithmic)" } else { "" };
    let body = html! {
        text.tick x="0" y="12" { (axis) (note) }
        (grid(&y, left, right))
        (below(&x, cases, along))
        @for line in &lines { (band(line, &x, &y, palette)) }
        @for line in &lines { (one(line, &x, &y, palette, metric.digits)) }
        @for (n, line) in lines.iter().enumerate() {
            (entry(line, right + 18.0, TOP + ROW * (n as f64 + 0.5), palette))
        }
    };
    Drawing { height, body }
}

/// Those with the highest ends first, as they are on the paper.
fn lines<'a>(metric: &'a Metric, cases: &[&'a Case]) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for name in metric.contestants() {
        let mut line: Option<Line<'a>> = None;
        for case in cases {
            let series = case.series.iter().find(|series| series.contestant == name);
            let Some((series, figure)) = series.and_then(|s| Some((s, s.summary()?))) else {
                continue;
            };
            let line = line.get_or_insert(Line { series, points: Vec::new() });
            line.points.push((case.x.unwrap_or(0.0), figure, case));
        }
        lines.extend(line);
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let end = |line: &Line<'_>| line.points.last().map_or(0.0, |(_, figure, _)| figure.median);
    lines.sort_by(|a, b| end(b).total_cmp(&end(a)));
    lines
}

fn grid(y: &Scale, left: f64, right: f64) -> Markup {
    html! {
        @for (value, label) in y.ticks() {
            @let at = y.at(value);
            line.grid x1=(px(left)) x2=(px(right)) y1=(px(at)) y2=(px(at)) {}
            text.tick text-anchor="end" x=(px(left - 6.0)) y=(px(at + 4.0)) { (label) }
        }
    }
}

/// The axis below, with a tick for each case for which there is room.
fn below(x: &Scale, cases: &[&Case], along: &str) -> Markup {
    let mut places: Vec<f64> = cases.iter().filter_map(|case| case.x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let mut free = 0.0;
    let bottom = TOP + FIELD;
    let note = if x.is_logarithmic() { " (logarithmic)" } else { "" };
    let mut ticks = Vec::new();
    for place in places {
        let digits = if place.fract() == 0.0 { 0 } else { 2 };
        let (label, at) = (number(place, digits), x.at(place));
        let half = text_width(&label) / 2.0;
        ticks.push(html! {
            line.axis x1=(px(at)) x2=(px(at)) y1=(px(bottom)) y2=(px(bottom + 4.0)) {}
            @if at - half >= free {
                text.tick text-anchor="middle" x=(px(at)) y=(px(bottom + 17.0)) { (label) }
            }
        });
        if at - half >= free {
            free = at + half + 4.0;
        }
    }
    let (first, last) = (x.base(), x.ticks().last().map_or(0.0, |(value, _)| x.at(*value)));
    html! {
        line.axis x1=(px(first)) x2=(px(last)) y1=(px(bottom)) y2=(px(bottom)) {}
        @for tick in &ticks { (tick) }
        text.tick text-anchor="middle" x=(px(f64::midpoint(first, last))) y=(px(bottom + 36.0)) {
            (along) (note)
        }
    }
}

/// From the least to the most of each case.
fn band(line: &Line<'_>, x: &Scale, y: &Scale, palette: &Palette) -> Markup {
    if line.points.iter().all(|(_, figure, _)| figure.min == figure.max) {
        return html! {};
    }
    let over = line.points.iter().map(|(at, figure, _)| (x.at(*at), y.at(figure.max)));
    let under = line.points.iter().rev().map(|(at, figure, _)| (x.at(*at), y.at(figure.min)));
    let outline: Vec<_> = over.chain(under).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    html! { polygon class={ "band " (palette.class(&line.series.contestant)) }
    points=(outline.join(" ")) {} }
}

fn one(line: &Line<'_>, x: &Scale, y: &Scale, palette: &Palette, digits: usize) -> Markup {
    let at = |(place, figure, _): &(f64, Summary, &Case)| (x.at(*place), y.at(figure.median));
    let path: Vec<_> = line.points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let name = &line.series.contestant;
    html! {
        g class=(classes(palette, line.series)) {
            polyline.line points=(path.join(" ")) {}
            @for point in &line.points {
                @let (x, y) = at(point);
                g {
                    title { (name) ", " (point.2.name) ": " (with_range(&point.1, digits)) }
                    (palette.mark(name, x, y))
                }
            }
        }
    }
}

fn entry(line: &Line<'_>, x: f64, y: f64, palette: &Palette) -> Markup {
    let name = &line.series.contestant;
    html! {
        g class=(classes(palette, line.series)) {
            line.line x1=(px(x - 10.0)) x2=(px(x + 10.0)) y1=(px(y)) y2=(px(y)) {}
            (palette.mark(name, x, y))
            text x=(px(x + 16.0)) y=(px(y + 4.0)) { (name) }
        }
    }
}
