//! Runs as a whole: their reports, and how they end early.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{bench, cases, figures, quick};

/// Where the bench makes namespaces.
const NAMESPACES: &str = "/run/netns";

/// Where its daemons pin programs and maps.
const PINS: &str = "/sys/fs/bpf";

/// What the bench with process `id` has in `folder`.
fn traces(folder: &str, id: u32) -> Vec<String> {
    let prefix = format!("rdbench-{id}-");
    let Ok(entries) = Path::new(folder).read_dir() else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

/// The process, ended and waited for when the test is over, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let mut bench =
        Running(bench().args(["pps", "--rounds", "1000"]).stderr(Stdio::piped()).spawn().unwrap());
    let id = bench.0.id();
    let deadline = Instant::now() + Duration::from_secs(60);
    // Two labs and a daemon, so that it is in the midst of it.
    while traces(NAMESPACES, id).len() < 4 || traces(PINS, id).is_empty() {
        assert!(bench.0.try_wait().unwrap().is_none(), "the bench ended by itself");
        assert!(Instant::now() < deadline, "the bench makes no lab");
        thread::sleep(Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(id.try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    while bench.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the bench does not stop");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(bench.0.wait().unwrap().code(), Some(1));
    for folder in [NAMESPACES, PINS] {
        assert_eq!(traces(folder, id), Vec::<String>::new(), "{folder}");
    }
}

#[test]
fn a_report_is_written_in_every_format_and_a_quick_one_is_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("made/for/it");
    quick("pps", &["--only".as_ref(), "drop".as_ref(), "--report".as_ref(), report.as_os_str()]);
    let read = |file: &str| std::fs::read_to_string(report.join(file)).unwrap();
    let json: Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(json["suites"][0]["name"], "pps");
    for file in ["report.md", "report.html"] {
        assert!(read(file).contains("This was a quick run"), "{file}");
    }
    let is_svg = |entry: std::fs::DirEntry| entry.path().extension() == Some("svg".as_ref());
    assert!(report.read_dir().unwrap().flatten().any(is_svg));

    let file = report.join("report.json");
    let output = bench().arg("compare").args([&file, &file]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let refusal = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(refusal.contains("quick") && refusal.contains("report.json"), "{refusal}");
}

#[test]
fn what_was_measured_before_an_interruption_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = bench();
    command.args(["pps", "--quick", "--only", "drop", "--rounds", "50", "--report"]);
    command.arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut bench = Running(command.spawn().unwrap());
    let pid = nix::unistd::Pid::from_raw(bench.0.id().try_into().unwrap());
    let lines = BufReader::new(bench.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    // A line for each case: the second begins when the first has its figures.
    let mut subjects = lines.filter(|line| line.starts_with('['));
    assert!(subjects.nth(1).expect("there are two cases").contains(" left"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    subjects.for_each(drop);
    assert_eq!(bench.0.wait().unwrap().code(), Some(1));
    let json = std::fs::read(folder.path().join("report.json")).unwrap();
    let run: Value = serde_json::from_slice(&json).unwrap();
    assert!(run["ended_early"].as_str().unwrap().contains("interrupted"));
    assert_eq!(figures(&cases(&run["suites"][0], "lost")[0])[0].1.len(), 50);
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("The run ended early"));
}

#[test]
fn an_unknown_contestant_is_an_error_that_names_it() {
    let output = bench().args(["pps", "--only", "ipvs"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("ipvs"));
}
