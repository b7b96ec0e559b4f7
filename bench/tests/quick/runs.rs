//! Runs as a whole: their reports, and how they end early.

use std::{
    io::{BufRead as _, BufReader},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::PermissionsExt as _,
            net::{SocketAddr, UnixListener},
            process::CommandExt as _,
        },
    },
    path::Path,
    process::{Child, Command, Stdio},
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
    let mut bench = Running(
        bench()
            .args(["pps", "--quick", "--rounds", "1000"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
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
    let command = json["command"].as_str().unwrap();
    assert!(command.starts_with("cargo xtask bench pps --quick --json"), "{command}");
    assert!(command.ends_with("made/for/it"), "{command}");
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

/// As with `2>&1 | head`, or a terminal that is gone.
#[test]
fn nobody_who_reads_the_progress_costs_no_figure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = bench();
    command.args(["pps", "--quick", "--only", "drop", "--report"]).arg(folder.path());
    let mut bench = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    // Closed before the first line.
    drop(bench.0.stderr.take());
    assert_eq!(bench.0.wait().unwrap().code(), Some(0));
    let json = std::fs::read(folder.path().join("report.json")).unwrap();
    let run: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(cases(&run["suites"][0], "lost").len(), 3);
}

/// What a run complains of that ends with exit code 1.
fn complaint(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

/// Not after half an hour.
#[test]
fn a_report_that_cannot_be_written_is_told_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("missing/results.json");
    let text = complaint(bench().args(["pps", "--json"]).arg(&file));
    assert!(text.contains("cannot write") && text.contains("missing/results.json"), "{text}");
    assert!(!text.contains("setting up"), "{text}");
    // Nobody can make files there, root included.
    let text = complaint(bench().args(["pps", "--report", "/proc/self"]));
    assert!(text.contains("cannot write /proc/self/report.json"), "{text}");
    assert!(!text.contains("setting up"), "{text}");
}

#[test]
fn what_cannot_be_measured_is_told_before_anything_is_set_up() {
    for (arguments, parts) in [
        (&["swap", "--processor", "4000"][..], &["no processor 4000", "--processor"][..]),
        (&["pps", "--only", ""], &["no contestant is called ``", "socat"]),
    ] {
        let text = complaint(bench().args(arguments));
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.contains("setting up"), "{text}");
    }
    let output = bench().args(["pps", "--duration", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// The report of the run before stays as it is until there is another.
#[test]
fn to_look_whether_files_can_be_written_leaves_none_and_changes_none() {
    let folder = tempfile::tempdir().unwrap();
    let (json, report) = (folder.path().join("results.json"), folder.path().join("report"));
    std::fs::create_dir(&report).unwrap();
    std::fs::write(report.join("report.json"), "before").unwrap();
    let arguments = ["swap", "--quick", "--only", "drop"];
    let text =
        complaint(bench().args(arguments).arg("--json").arg(&json).arg("--report").arg(&report));
    assert!(text.contains("nothing was measured") && text.contains("--only"), "{text}");
    assert!(!json.exists());
    assert_eq!(std::fs::read_to_string(report.join("report.json")).unwrap(), "before");
}

#[test]
fn whoever_is_not_root_is_told_so_first() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("bench");
    // By another process: what is open for writing here cannot be run while a test
    // beside this one starts a program, which inherits it for a moment.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_redirectd-bench")).arg(&copy).status();
    assert!(copied.unwrap().success());
    for path in [folder.path(), &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    // Nobody's own number on most systems, and at least not root's.
    let mut command = Command::new(&copy);
    let text = complaint(command.args(["pps", "--report", "/tmp"]).uid(65_534));
    assert!(text.contains("must be root") && text.contains("sudo"), "{text}");
}

/// Two that measure at once would measure each other, and put back each other's
/// settings of the kernel.
#[test]
fn a_second_run_at_once_is_refused() {
    let name = SocketAddr::from_abstract_name("redirectd-bench").unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    // Unless somebody does measure here.
    let _first = loop {
        match UnixListener::bind_addr(&name) {
            Ok(listener) => break listener,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    let text = complaint(bench().arg("pps"));
    let own = format!("process {}", std::process::id());
    assert!(text.contains("measures already") && text.contains(&own), "{text}");
}

#[test]
fn runs_without_a_common_figure_are_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, suite: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, RUN.replace("SUITE", suite)).unwrap();
        path
    };
    let (before, after) = (file("a.json", "paper"), file("b.json", "pps"));
    let text = complaint(bench().arg("compare").args([&before, &after]));
    assert!(text.contains("no figure in common"), "{text}");
    assert!(text.contains("paper") && text.contains("pps"), "{text}");
}

/// What got worse is an exit code for scripts, and a file for programs.
#[test]
fn a_comparison_is_written_as_json_and_says_by_its_exit_code_what_got_worse() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("a.json"), RUN).unwrap();
    std::fs::write(file("b.json"), RUN.replace("1.0, 2.0, 3.0, 4.0", "11, 12, 13, 14")).unwrap();
    for (before, after, verdict, code) in
        [("a.json", "b.json", "worse", 3), ("b.json", "a.json", "better", 0)]
    {
        let mut command = bench();
        command.arg("compare").args([file(before), file(after)]).arg("--json").arg(file("c.json"));
        assert_eq!(command.output().unwrap().status.code(), Some(0));
        let output = command.arg("--fail-if-worse").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{verdict}");
        let json: Value = serde_json::from_slice(&std::fs::read(file("c.json")).unwrap()).unwrap();
        let [change] = &json["changes"].as_array().unwrap()[..] else { panic!("{json}") };
        assert_eq!(change["verdict"], verdict);
        assert_eq!(change["contestant"], "tc");
    }
}

/// The least that is a run: one figure, of four rounds.
const RUN: &str = r#"{
    "version": 2, "quick": false, "command": "", "date": "2026-07-01", "ended_early": null,
    "machine": {
        "processor": "p", "processors": 2, "used": 1, "virtual_machine": true, "memory": 1,
        "kernel": "6.18", "distribution": "d", "clock_source": "tsc", "mitigations": [],
        "versions": []
    },
    "suites": [{
        "name": "SUITE", "title": "", "about": "", "parameters": [], "absent": [], "targets": [],
        "notes": [], "seconds": 1.0,
        "metrics": [{
            "name": "time", "unit": "s", "better": "lower", "digits": 1, "ratios_to": [],
            "plot": "none",
            "cases": [{ "name": "all", "x": null, "series": [
                { "contestant": "tc", "quoted": false, "rounds": [1.0, 2.0, 3.0, 4.0] }
            ] }]
        }]
    }]
}"#;

#[test]
fn an_unknown_contestant_is_an_error_that_names_it() {
    let output = bench().args(["pps", "--only", "ipvs"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("ipvs"));
}
