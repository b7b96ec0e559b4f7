//! Changes and restarts under packets.

use serde_json::Value;

use crate::{cases, figures, quick};

/// The figures of all contestants in all cases of a metric of `suite`, as many
/// each as asked.
fn all_figures(suite: &Value, metric: &str, contestants: &[&str], rounds: usize) -> Vec<f64> {
    let mut all = Vec::new();
    for case in cases(suite, metric) {
        let figures = figures(case);
        let names: Vec<_> = figures.iter().map(|figure| figure.0).collect();
        assert_eq!(names, contestants, "{metric}, {case}");
        for (name, rounds_of) in figures {
            assert_eq!(rounds_of.len(), rounds, "{metric}, {name}");
            all.extend(rounds_of);
        }
    }
    assert!(!all.is_empty(), "no figures of {metric}");
    all
}

/// That packets leave one host and arrive at the other is what the times are
/// taken from, and each repetition waits for it.
#[test]
fn redirects_change_under_packets_and_the_daemon_restarts_under_them() {
    let (suite, _) = quick("control", &[]);
    let ways = ["API", "redirect"];
    for metric in [
        "add: first packet at the host",
        "flip: last packet at the old host",
        "flip: first packet at the new host",
        "remove: last packet at the host",
    ] {
        let times = all_figures(&suite, metric, &ways, 1);
        // Beside few and many; median, p99, longest; by both ways.
        assert_eq!(times.len(), 2 * 3 * 2, "{metric}");
        assert!(times.iter().all(|time| *time > 0.0), "{metric}: {times:?}");
    }
    // Some 100 pass between two changes, wherever they end.
    let lost = all_figures(&suite, "packets of the stream lost", &ways, 1);
    assert!(lost.iter().all(|packets| (0.0..100.0).contains(packets)), "{lost:?}");
    let between = all_figures(&suite, "flip: packets lost or at both hosts", &ways, 1);
    assert!(between.iter().all(|packets| *packets == 0.0), "{between:?}");

    for metric in ["many at once", "all removed at once"] {
        let times = all_figures(&suite, metric, &["redirect", "API", "nft"], 1);
        assert!(times.iter().all(|time| *time > 0.0), "{metric}");
    }

    let ends = ["killed", "stopped"];
    let lost = all_figures(&suite, "restart: flows lost", &ends, 1);
    assert!(lost.iter().all(|flows| *flows == 0.0), "{lost:?}");
    let passed = all_figures(&suite, "restart: packets that passed meanwhile", &ends, 1);
    // One of each flow at the least, after the restart.
    assert!(passed.iter().all(|packets| *packets >= 1_000.0), "{passed:?}");
    there_is_memory_for_each(&suite);
}

/// An entry is never smaller than its key and value, and a flow has two.
fn there_is_memory_for_each(suite: &Value) {
    let maps = |case: &str| {
        let case = cases(suite, "memory").iter().find(|known| known["name"] == case).unwrap();
        figures(case)[0].1[0]
    };
    assert!(maps("each established flow") >= 2.0 * 96.0);
    assert!(maps("each half-open flow there is room for") >= 2.0 * 96.0);
    assert!(maps("each redirect, just applied") >= 64.0);
}
