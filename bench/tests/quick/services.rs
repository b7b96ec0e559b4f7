//! Servers and their clients, by every route.

use serde_json::Value;

use crate::{cases, figures, quick};

/// Bytes that came to home for each that was sent, by contestant; each case has
/// all of `contestants`. That every byte reached the server's program each
/// measurement makes sure of itself.
fn crossings_of_all(suite: &Value, contestants: &[&str]) {
    for case in cases(suite, "bytes into home for each byte sent") {
        let crossings = figures(case);
        let names: Vec<_> = crossings.iter().map(|one| one.0).collect();
        assert_eq!(names, contestants, "{case}");
        for (name, crossings) in crossings {
            let [crossings] = crossings[..] else { panic!("{name}: {crossings:?}") };
            if name == "direct" {
                assert!(crossings < 0.01, "{name}: {crossings}");
            } else {
                // The data once, with headers, and acknowledgements.
                assert!((1.02..1.3).contains(&crossings), "{name}: {crossings}");
            }
        }
    }
}

#[test]
fn the_papers_contestants_all_carry_every_byte_through_home() {
    let (suite, text) = quick("paper", &[]);
    let contestants =
        ["direct", "bounce-tc", "redirectd-tc", "iptables", "deputy", "deputy-gather"];
    crossings_of_all(&suite, &contestants);
    for (case, quoted) in [("3 connections", 203.73), ("12 connections", 513.64)] {
        let times = cases(&suite, "execution time");
        let times = times.iter().find(|known| known["name"] == case).unwrap();
        assert!(figures(times).contains(&("MOSIX (paper)", vec![quoted])), "{times}");
        assert!(text.contains(case));
    }
    assert_eq!(suite["absent"].as_array().unwrap().len(), 0, "{}", suite["absent"]);
}

#[test]
fn one_connection_carries_every_byte_through_home() {
    let (suite, _) = quick("swap", &[]);
    crossings_of_all(&suite, &["direct", "redirectd-tc", "deputy", "deputy-gather"]);
}

/// Each measurement itself makes sure that every byte has arrived.
#[test]
fn every_route_carries_every_byte() {
    let (suite, text) = quick("stream", &[]);
    let absent = suite["absent"].as_array().unwrap();
    let is_absent = |name: &str, case: &str| {
        let mut entries = absent.iter().filter(|entry| entry["contestant"] == name);
        entries.any(|entry| {
            assert!(!entry["reason"].as_str().unwrap().is_empty());
            entry["case"].is_null() || entry["case"] == case
        })
    };
    let routes = [
        "direct",
        "bounce-tc",
        "bounce-xdp",
        "redirectd-tc",
        "redirectd-xdp",
        "iptables",
        "nftables",
        "haproxy",
        "socat",
        "deputy",
        "deputy-gather",
    ];
    let cases = cases(&suite, "throughput");
    assert_eq!(cases.len(), 4);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let figures = figures(case);
        for route in routes {
            let figure = figures.iter().find(|figure| figure.0 == route);
            assert_eq!(figure.is_none(), is_absent(route, name), "{route}, {name}");
            let Some((_, rates)) = figure else { continue };
            assert!(rates.len() == 1 && rates[0] > 0.0, "{route}, {name}: {rates:?}");
            assert!(text.contains(route));
        }
        assert_eq!(is_absent("bounce-xdp", name), name.starts_with("GSO"), "{name}");
    }
}

/// Every request is answered, and every connection ends as it should.
#[test]
fn requests_and_connections_get_through_to_the_end_by_every_route() {
    let (suite, _) = quick("latency", &[]);
    assert_eq!(suite["absent"], Value::Array(Vec::new()));
    let in_all = |metric: &str, count: usize, right: fn(f64) -> bool| {
        let cases = cases(&suite, metric);
        assert_eq!(cases.len(), count);
        for case in cases {
            let figures = figures(case);
            let names: Vec<_> = figures.iter().map(|figure| figure.0).collect();
            let expected = [
                "direct",
                "bounce-tc",
                "bounce-xdp",
                "redirectd-tc",
                "redirectd-xdp",
                "iptables",
                "nftables",
                "haproxy",
                "socat",
                "deputy",
                "deputy-gather",
            ];
            assert_eq!(names, expected, "{metric}");
            for (name, values) in figures {
                assert_eq!(values.len(), 1, "{metric}, {name}");
                assert!(right(values[0]), "{metric}, {name}: {values:?}");
            }
        }
    };
    in_all("answered", 3, |percent| percent == 100.0);
    in_all("p50", 3, |us| us > 0.0);
    in_all("connections a second", 1, |rate| rate > 0.0);
    in_all("failed connections", 1, |failed| failed == 0.0);
}
