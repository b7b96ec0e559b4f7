//! The bench works, end to end: the real programs on real interfaces. Nothing
//! here judges speed.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// The bench, with redirectd's programs beside it: Cargo builds them for the
/// tests of the whole workspace, not for those of this package alone.
fn bench() -> Command {
    let bench = Path::new(env!("CARGO_BIN_EXE_redirectd-bench"));
    let folder = bench.parent().unwrap();
    if !folder.join("redirectd").is_file() {
        let profile = if folder.ends_with("release") { "release" } else { "dev" };
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--locked", "--package", "redirectd", "--profile", profile]);
        assert!(cargo.status().unwrap().success(), "redirectd does not build");
    }
    let mut command = Command::new(bench);
    // Where the report goes, if a test does not care.
    command.env("REDIRECTD_BENCH_REPORT", Path::new(env!("CARGO_TARGET_TMPDIR")).join("report"));
    command
}

/// Runs `suite`, quickly, and returns its results and what it printed.
fn quick(suite: &str, more: &[&OsStr]) -> (Value, String) {
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
fn cases<'a>(suite: &'a Value, metric: &str) -> &'a [Value] {
    let metrics = suite["metrics"].as_array().unwrap();
    let found = metrics.iter().find(|known| known["name"] == metric);
    found.unwrap_or_else(|| panic!("no {metric}"))["cases"].as_array().unwrap()
}

/// The figures of each contestant in `case`.
fn figures(case: &Value) -> Vec<(&str, Vec<f64>)> {
    let series = case["series"].as_array().unwrap();
    let rounds =
        |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    series.iter().map(|one| (one["contestant"].as_str().unwrap(), rounds(&one["rounds"]))).collect()
}

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

/// Where the bench makes namespaces.
const NAMESPACES: &str = "/run/netns";
/// Where its daemons pin programs and maps.
const PINS: &str = "/sys/fs/bpf";

/// The process, ended and waited for when the test is over, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every packet of a measurement is counted where it arrives, and every
/// contestant's flows are counted before.
#[test]
fn every_contestant_forwards_what_is_sent() {
    let (suite, text) = quick("pps", &["--rounds".as_ref(), "2".as_ref()]);
    let losses = cases(&suite, "lost");
    assert_eq!(losses.len(), 3);
    for case in losses {
        let figures = figures(case);
        let names: Vec<_> = figures.iter().map(|figure| figure.0).collect();
        let mut expected =
            vec!["drop", "bounce-xdp", "bounce-tc", "redirectd-xdp", "redirectd-tc", "nftables"];
        if case["name"].as_str().unwrap().ends_with(" 1 redirect") {
            expected.push("iptables");
        }
        assert_eq!(names, expected);
        for (name, percent) in figures {
            assert_eq!(percent.len(), 2, "{name}");
            assert!(
                percent.iter().all(|percent| (0.0..1.0).contains(percent)),
                "{name}: {percent:?}"
            );
            assert!(text.contains(name));
        }
    }
    let absent = suite["absent"].as_array().unwrap();
    assert_eq!(absent.len(), 1);
    assert_eq!(absent[0]["contestant"], "iptables");
    for metric in ["marginal cost of a packet", "packets a second by wall clock"] {
        for case in cases(&suite, metric) {
            for (name, rounds) in figures(case) {
                assert_eq!(rounds.len(), 2, "{metric}, {name}");
            }
        }
    }
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

/// Each measurement itself holds redirectd's counters against what it sent.
#[test]
fn the_programs_take_the_way_they_are_timed_on() {
    let (suite, _) = quick("program", &[]);
    let times = cases(&suite, "times the empty program");
    let names: Vec<_> = times.iter().map(|case| case["name"].as_str().unwrap()).collect();
    let expected = [
        "empty program",
        "MAC swap",
        "bare redirect, 1 flow",
        "bare redirect, 1,024 flows",
        "flow-hit, TCP over IPv4, 1 flow",
        "flow-hit, TCP over IPv4, 1,024 flows",
        "flow-hit, TCP over IPv4, 2,000 flows",
        "flow-hit, TCP over IPv6, 1 flow",
        "flow-hit, TCP over IPv6, 1,024 flows",
        "flow-hit, UDP over IPv4, 1 flow",
        "no redirect",
        "no redirect, but for another address",
        "new flow, TCP over IPv4",
        "ICMP error, IPv4",
    ];
    assert_eq!(names, expected);
    for case in times {
        let at_tc_only = ["new flow, TCP over IPv4", "ICMP error, IPv4"];
        let is_at_tc_only = at_tc_only.contains(&case["name"].as_str().unwrap());
        let figures = figures(case);
        let entries: Vec<_> = figures.iter().map(|figure| figure.0).collect();
        assert_eq!(entries, if is_at_tc_only { vec!["tc"] } else { vec!["XDP", "tc"] });
        assert!(figures.iter().all(|(_, rounds)| rounds.len() == 1), "{case}");
    }
    assert_eq!(suite["absent"][0]["contestant"], "parked");
    let memory = cases(&suite, "memory of the maps");
    assert!(memory.iter().any(|case| case["name"] == "FLOWS4" && figures(case)[0].1[0] > 0.0));
    let sizes = cases(&suite, "size of the programs");
    for program in ["redirectd_xdp", "redirectd_tc"] {
        assert!(sizes.iter().any(|case| case["name"] == program), "{program}");
    }
    // Names that the kernel cuts off are told apart.
    assert!(sizes.iter().all(|case| figures(case)[0].1.len() == 1), "{sizes:?}");
}

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

/// The median of a metric of `suite` in `case`, by contestant.
fn middle(suite: &Value, metric: &str, case: &str, contestant: &str) -> f64 {
    let found = cases(suite, metric).iter().find(|known| known["name"] == case);
    let figures = figures(found.unwrap_or_else(|| panic!("no {case} in {metric}")));
    let rounds = figures.into_iter().find(|figure| figure.0 == contestant);
    let mut rounds = rounds.unwrap_or_else(|| panic!("no {contestant} in {case}")).1;
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

#[test]
fn packets_pass_the_layers_of_their_way_and_no_others() {
    let (suite, _) = quick("layers", &[]);
    let passes = |case: &str, way: &str| middle(&suite, "passes for a packet", case, way);
    let [ip, tcp] = [
        ["IP: packets received", "IP: packets forwarded"],
        ["TCP: segments received", "TCP: segments sent"],
    ];
    for way in ["redirectd-xdp", "redirectd-tc", "iptables", "deputy", "deputy-gather", "socat"] {
        assert!(passes("driver: frames received", way) > 0.9, "{way}");
    }
    for way in ["redirectd-xdp", "redirectd-tc"] {
        for case in ip.iter().chain(&tcp) {
            // Whatever else may speak to home is not a packet in a hundred.
            assert!(passes(case, way) < 0.01, "{way}: {case}");
        }
    }
    for case in ip {
        assert!(passes(case, "iptables") > 0.0, "{case}");
    }
    for case in tcp {
        assert_eq!(passes(case, "iptables"), 0.0, "{case}");
        for way in ["deputy", "deputy-gather", "socat"] {
            assert!(passes(case, way) > 0.01, "{way}: {case}");
        }
    }
    let time = |layer: &str, way: &str| middle(&suite, "time of a packet by layer", layer, way);
    for (way, layers) in [
        ("redirectd-xdp", &["driver", "XDP"][..]),
        ("redirectd-tc", &["driver", "device", "tc"]),
        ("iptables", &["driver", "device", "IP", "netfilter"]),
        ("deputy", &["driver", "device", "IP", "TCP", "copy", "socket", "user space", "scheduler"]),
    ] {
        for layer in layers {
            assert!(time(layer, way) > 0.0, "{way} spends no time in {layer}");
        }
    }
    for way in ["redirectd-xdp", "redirectd-tc"] {
        for layer in ["IP", "netfilter", "TCP", "socket"] {
            assert!(time(layer, way) < 0.1 * time("all layers", way), "{way}: {layer}");
        }
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
