//! Processes that move, and freezes.

use serde_json::Value;

use crate::{cases, figures, quick};

/// The figures of each contestant in a case.
type InCase<'a> = (&'a str, Vec<(&'a str, Vec<f64>)>);

/// The figures of a metric of `suite`.
fn all<'a>(suite: &'a Value, metric: &str) -> Vec<InCase<'a>> {
    let name = |case: &'a Value| case["name"].as_str().unwrap();
    cases(suite, metric).iter().map(|case| (name(case), figures(case))).collect()
}

/// Each measurement itself makes sure that every request had its response and every
/// byte of a stream has arrived, and that the process is on the host alone.
#[test]
fn peers_wait_for_processes_that_freeze_and_move() {
    let (suite, _) = quick("move", &[]);
    assert_eq!(suite["absent"], Value::Array(Vec::new()));
    let freezes = (&["36 ms", "200 ms"], &["held", "dropped"][..]);
    let movers = &["redirectd-copy", "redirectd-lazy", "criu"][..];
    let moves = (&["small server", "20 MB"], movers);
    for (of, (cases, contestants)) in [("one request", freezes), ("bulk", freezes), ("move", moves)]
    {
        for what in ["worst gap", "freeze", "tail", "segments sent again"] {
            let figures = all(&suite, &format!("{of}: {what}"));
            let names: Vec<_> = figures.iter().map(|(case, _)| *case).collect();
            assert_eq!(names, cases, "{of}: {what}");
            for (case, series) in figures {
                let names: Vec<_> = series.iter().map(|(name, _)| *name).collect();
                assert_eq!(names, contestants, "{of}: {what}, {case}");
                assert!(series.iter().all(|(_, rounds)| rounds.len() == 1), "{series:?}");
            }
        }
    }
    // A freeze is as long as it was asked for, whatever else it contains.
    for of in ["one request", "bulk"] {
        let lengths = all(&suite, &format!("{of}: freeze"));
        for ((case, series), least) in lengths.into_iter().zip([36.0, 200.0]) {
            assert!(series.iter().all(|(_, rounds)| rounds[0] >= least), "{case}: {series:?}");
        }
    }
    // All memory goes over.
    for (_, bytes) in &all(&suite, "move: images")[1].1 {
        assert!(bytes[0] > 20.0, "{bytes:?}");
    }
}

#[test]
fn those_who_freeze_can_be_chosen() {
    let (suite, _) = quick("move", &["--only".as_ref(), "held".as_ref()]);
    assert_eq!(all(&suite, "bulk: worst gap")[0].1.len(), 1);
    assert_eq!(cases(&suite, "move: worst gap").len(), 0);
}
