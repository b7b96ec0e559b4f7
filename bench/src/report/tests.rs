//! Reports of a fixed run.

use std::collections::BTreeSet;

use roxmltree::{Document, Node};

use super::*;
use crate::result::{fixture, target::Target};

/// The run in all formats that are for people.
fn texts(run: &Run) -> [(&'static str, String); 3] {
    let plots = draw(run);
    [
        ("terminal", terminal::text(run)),
        ("Markdown", markdown::text(run, &plots)),
        ("HTML", read_as_text(&html::page(run, &plots))),
    ]
}

/// The page as a tree; the only tags in it that are not closed are those in the
/// head, which XML does not know.
fn parsed(page: &str) -> String {
    let page = page.strip_prefix("<!DOCTYPE html>").expect("the page says that it is HTML");
    let mut parts = page.split("<meta");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |all, part| all + part.split_once('>').unwrap().1)
}

/// What a reader of the page sees.
fn read_as_text(page: &str) -> String {
    let page = parsed(page);
    let document = Document::parse(&page).expect("the page is well-formed");
    let texts = document.descendants().filter(Node::is_text);
    texts.filter_map(|node| node.text()).collect::<Vec<_>>().concat()
}

#[test]
fn every_figure_is_in_every_format() {
    for (format, text) in texts(&fixture::run()) {
        // Three figures and a quoted one in two cases; then bars; then facts.
        for figure in [
            "100.0", "102.0", "133.0", "203.7", "1,700.0", "1,734.0", "2,261.0", "3,463.4",
            "3.000", "1.000", "1.500", "0.500", "12", "123,456",
        ] {
            assert!(text.contains(figure), "{format}: no {figure} in\n{text}");
        }
        for range in ["99.0–101.0", "1,683.0–1,717.0", "131.0–140.0", "2.500–3.500"] {
            assert!(text.contains(range), "{format}: no {range} in\n{text}");
        }
    }
}

#[test]
fn ratios_are_round_by_round_and_of_measured_figures_only() {
    for (format, text) in texts(&fixture::run()) {
        for ratio in ["1.020", "1.330", "3.000"] {
            assert!(text.contains(ratio), "{format}: no {ratio} in\n{text}");
        }
        // The paper's figure over ours has no meaning.
        assert!(!text.contains("2.037"), "{format}");
    }
}

#[test]
fn every_target_has_its_verdict() {
    let run = fixture::run();
    let expected = [
        ("bounce near direct", "at most 1.03 ×", "1.020", "reached"),
        ("away", "at least 1.5 ×", "1.33", "not reached"),
        ("nobody measured it", "at most 2 ×", "–", "not measured"),
    ];
    for (format, text) in texts(&run) {
        assert!(text.contains("1 of 3 targets reached, 1 not reached, 1 not measured"), "{format}");
        for (what, asked, measured, outcome) in expected {
            let at = text.find(what).unwrap_or_else(|| panic!("{format}: no {what}"));
            // What follows, up to the next target.
            let mut rest = &text[at..];
            for part in [asked, measured, outcome] {
                let found = rest.find(part);
                assert!(found.is_some_and(|n| n < 80), "{format}, {what}: no {part} in {rest}");
                rest = &rest[found.unwrap() + part.len()..];
            }
        }
    }
}

/// The numbers of causes in the table of targets of `run`, in the Markdown report.
fn lines_of_causes(run: &Run) -> Vec<String> {
    let text = markdown::text(run, &draw(run));
    let targets = text.split("## ").nth(1).expect("there are targets");
    let lines = targets.lines().filter(|line| line.contains("(1)") || line.contains("(2)"));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_cause_is_told_of_what_was_missed_and_of_nothing_else() {
    for (format, text) in texts(&fixture::run()) {
        let text = text.replace(['\\', '`'], "");
        assert!(text.contains("not reached (1)"), "{format}: {text}");
        let cause = format!("(1) {}", fixture::CAUSE.replace('`', ""));
        assert_eq!(text.matches(&cause).count(), 1, "{format}: {text}");
        // Of what was reached, and of what was not measured.
        assert!(!text.contains("Nobody asks why"), "{format}: {text}");
        assert!(!text.contains("known cause"), "{format}: {text}");
    }
    let run = Run { quick: true, ..fixture::run() };
    for (format, text) in texts(&run) {
        assert!(!text.contains("are near"), "{format}: {text}");
    }
}

#[test]
fn a_cause_is_told_once_for_all_that_a_suite_has_missed_by_it() {
    let mut run = fixture::run();
    let missed = run.suites[0].targets[1].clone();
    let other = |cause: &str| Target { what: "another".into(), ..missed.clone() }.because(cause);
    run.suites[0].targets.push(other(fixture::CAUSE));
    run.suites[0].targets.push(other("It <rains>."));
    let lines = lines_of_causes(&run);
    let ends: Vec<_> = lines.iter().map(|line| line.trim_end_matches([' ', '|'])).collect();
    assert_eq!(ends.len(), 5, "{lines:?}");
    assert!(ends[0].contains("away") && ends[0].ends_with("not reached (1)"), "{lines:?}");
    assert!(ends[1].ends_with("not reached (1)") && ends[2].ends_with("not reached (2)"));
    assert!(ends[3].contains("| (1) Its ") && ends[4].contains("| (2) It "), "{lines:?}");
}

#[test]
fn what_was_missed_without_a_known_cause_is_told() {
    let mut run = fixture::run();
    run.suites[0].targets[1].cause = None;
    for (format, text) in texts(&run) {
        assert!(
            text.contains("1 not reached (1 without a known cause), 1 not measured"),
            "{format}: {text}"
        );
    }
}

#[test]
fn what_is_not_a_figure_is_told_too() {
    let run = fixture::run();
    for (format, text) in texts(&run) {
        let text = text.replace('\\', "");
        for part in [
            "The run ended early",
            "interrupted <here> & now",
            "haproxy was not measured with 50 connections: it is not installed",
            "Amounts are scaled by 1/10 & rounded.",
            "the paper's first table",
            "packets a second",
            "2 min 05 s",
            "2026-07-01",
            "A Processor <3 GHz>",
            "Linux 6.18.1",
        ] {
            assert!(text.contains(part), "{format}: no {part} in\n{text}");
        }
        if format != "terminal" {
            let parts = [
                "Three hosts & a switch.",
                "buffer | size",
                "1,024 bytes",
                "cargo xtask bench paper pps --rounds 4",
                "spectre_v9",
                "nft",
            ];
            parts.iter().for_each(|part| assert!(text.contains(part), "{format}: no {part}"));
        }
    }
}

#[test]
fn a_run_without_figures_tells_whom_it_lacks() {
    let told = "haproxy was not measured with 50 connections: it is not installed";
    assert_eq!(absences(&fixture::run()).as_deref(), Some(told));
    assert_eq!(absences(&Run { suites: Vec::new(), ..fixture::run() }), None);
}

#[test]
fn a_quick_run_is_marked_and_not_judged() {
    let run = Run { quick: true, ..fixture::whole_run() };
    for (format, text) in texts(&run) {
        assert!(text.contains("This was a quick run"), "{format}");
        assert!(!text.contains("The run ended early"), "{format}");
        assert!(text.matches("not judged").count() >= 3, "{format}: {text}");
        assert!(!text.contains("not measured\n"), "{format}");
        assert!(!text.contains("not reached"), "{format}");
    }
}

#[test]
fn the_page_needs_nothing_else_and_takes_no_text_for_tags() {
    let run = fixture::run();
    let page = html::page(&run, &draw(&run));
    let tree = parsed(&page);
    let document = Document::parse(&tree).unwrap();
    let ids: BTreeSet<_> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        assert!(
            !["script", "link", "img", "MOSIX", "here", "real", "far"].contains(&name),
            "{name}"
        );
        assert_eq!(node.attribute("src"), None);
        if let Some(link) = node.attribute("href") {
            assert!(ids.contains(link.strip_prefix('#').unwrap()), "{link}");
        }
    }
    assert!(!page.contains("url(") && !page.contains("@import"));
    assert_eq!(document.descendants().filter(|node| node.has_tag_name(SVG)).count(), 3);
}

/// The name of an element of a drawing.
const SVG: (&str, &str) = ("http://www.w3.org/2000/svg", "svg");

/// The numbers of an attribute of all elements of a class in the drawing of
/// the `n`-th metric of the fixture.
fn numbers(n: usize, class: &str, attribute: &str) -> Vec<Vec<f64>> {
    let run = fixture::run();
    let text = draw(&run)[n].plot.document();
    let document = Document::parse(&text).expect("the drawing is well-formed");
    let nodes = document.descendants().filter(|node| node.attribute("class") == Some(class));
    let values = nodes.filter_map(|node| node.attribute(attribute));
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    values
        .map(|value| {
            let parts = value.split(|c| !is_part(c)).filter(|part| !part.is_empty());
            parts.map(|part| part.parse().unwrap()).collect()
        })
        .collect()
}

/// Drawings are exact to a tenth of a unit.
fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 0.2
}

#[test]
fn lines_are_in_proportion() {
    let lines = numbers(0, "line", "points");
    // The highest first, each with two points: x, y, x, y.
    let height = |line: usize, point: usize| 348.0 - lines[line][2 * point + 1];
    assert_eq!(lines.len(), 4);
    let (quoted, direct) = (0, 3);
    assert!(near(height(direct, 1) / 1_700.0, height(quoted, 1) / 3_463.41), "{lines:?}");
    assert!(near(height(direct, 1) / 17.0, height(direct, 0)), "{lines:?}");
    // 3 and 50 connections on an axis that begins at 0.
    let (left, right) = (lines[0][0], lines[0][2]);
    let zero = left - 3.0 * (right - left) / 47.0;
    assert!(near((right - zero) / 50.0 * 3.0, left - zero), "{lines:?}");
}

#[test]
fn bars_and_whiskers_are_in_proportion() {
    let widths: Vec<f64> = numbers(1, "bar", "width").concat();
    let unit = widths[1];
    assert_eq!(widths.len(), 4);
    for (width, expected) in widths.iter().zip([3.0, 1.0, 1.5, 0.5]) {
        assert!(near(*width, expected * unit), "{widths:?}");
    }
    let base = numbers(1, "bar", "x")[0][0];
    let whiskers = numbers(1, "whisker", "d");
    // Only two of the four have a range: M min y V y M min y H max ...
    assert_eq!(whiskers.len(), 2);
    let (min, max) = (whiskers[0][0], whiskers[0][5]);
    assert!(near(min - base, 2.5 * unit) && near(max - base, 3.5 * unit), "{whiskers:?}");
}

#[test]
fn bars_far_apart_are_drawn_by_ratio() {
    let widths: Vec<f64> = numbers(2, "bar", "width").concat();
    let (few, many) = (12_f64.log10() - 1.0, 123_456_f64.log10() - 1.0);
    assert!(near(widths[0], widths[1] * few / many), "{widths:?}");
}

#[test]
fn a_written_run_can_be_shown_again() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let page = write(&fixture::run(), first.path()).unwrap();
    let again = Run::read(&first.path().join("report.json")).unwrap();
    assert_eq!(fs::read(page).unwrap(), fs::read(write(&again, second.path()).unwrap()).unwrap());
    let mut files: Vec<_> = fs::read_dir(first.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected = [
        "paper-execution-time-over-connections.svg",
        "pps-memory.svg",
        "pps-rate.svg",
        "report.html",
        "report.json",
        "report.md",
    ];
    assert_eq!(files, expected);
    let markdown = fs::read_to_string(first.path().join("report.md")).unwrap();
    assert!(expected[..3].iter().all(|file| markdown.contains(&format!("]({file})"))));
}

#[test]
fn the_terminal_shows_all_at_a_glance() {
    let text = terminal::text(&fixture::run());
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    insta::assert_snapshot!(text);
}
