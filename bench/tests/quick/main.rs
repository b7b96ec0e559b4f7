//! The bench works, end to end: the real programs on real interfaces. Nothing
//! here judges speed.

mod control;
mod layers;
mod moves;
mod packets;
mod runs;
mod services;

use std::{
    ffi::OsStr,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

/// The bench, with redirectd's programs beside it: Cargo builds them for the
/// tests of the whole workspace, not for those of this package alone.
pub(crate) fn bench() -> Command {
    let bench = Path::new(env!("CARGO_BIN_EXE_redirectd-bench"));
    let folder = bench.parent().unwrap();
    if !folder.join("redirectd").is_file() {
        let profile = if folder.ends_with("release") { "release" } else { "dev" };
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--locked", "--package", "redirectd", "--profile", profile]);
        assert!(cargo.status().unwrap().success(), "redirectd does not build");
    }
    let mut command = Command::new(bench);
    // Where the report goes, if a test does not care: to each its own, as tests run
    // beside each other.
    static REPORTS: AtomicU32 = AtomicU32::new(0);
    let report = format!("report-{}", REPORTS.fetch_add(1, Ordering::Relaxed));
    command.env("REDIRECTD_BENCH_REPORT", Path::new(env!("CARGO_TARGET_TMPDIR")).join(report));
    command
}

/// Runs `suite`, quickly, and returns its results and what it printed.
pub(crate) fn quick(suite: &str, more: &[&OsStr]) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("results.json");
    let output = bench().args([suite, "--quick", "--json"]).arg(&json).args(more).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let run: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!((&run["version"], &run["quick"]), (&2.into(), &true.into()));
    let suites = run["suites"].as_array().unwrap();
    assert_eq!(suites.len(), 1);
    assert_eq!(suites[0]["name"], suite);
    (suites[0].clone(), text)
}

/// The cases of a metric of `suite`.
pub(crate) fn cases<'a>(suite: &'a Value, metric: &str) -> &'a [Value] {
    let metrics = suite["metrics"].as_array().unwrap();
    let found = metrics.iter().find(|known| known["name"] == metric);
    found.unwrap_or_else(|| panic!("no {metric}"))["cases"].as_array().unwrap()
}

/// The figures of each contestant in `case`.
pub(crate) fn figures(case: &Value) -> Vec<(&str, Vec<f64>)> {
    let series = case["series"].as_array().unwrap();
    let rounds =
        |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    series.iter().map(|one| (one["contestant"].as_str().unwrap(), rounds(&one["rounds"]))).collect()
}
