//! The bench works, end to end: the real programs on real interfaces. Nothing
//! here judges speed.

use std::{
    ffi::OsStr,
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
    Command::new(bench)
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

#[test]
fn every_contestant_forwards_what_is_sent() {
    let (suite, text) = quick("pps", &["--rounds".as_ref(), "2".as_ref()]);
    let losses = cases(&suite, "lost");
    assert_eq!(losses.len(), 4);
    for case in losses {
        let figures = figures(case);
        let names: Vec<_> = figures.iter().map(|figure| figure.0).collect();
        let mut expected = vec!["drop", "redirectd-xdp", "redirectd-tc", "nftables"];
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
}

/// Each measurement itself makes sure that its packets were translated.
#[test]
fn the_programs_translate_every_packet_they_are_timed_with() {
    let (suite, _) = quick("program", &[]);
    let cases = cases(&suite, "time of a packet");
    assert_eq!(cases.len(), 5);
    for case in cases {
        for (entry, ns) in figures(case) {
            assert!(ns.iter().all(|ns| *ns > 0.0) && !ns.is_empty(), "{entry}, {case}");
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

#[test]
fn redirects_are_applied_and_added() {
    let (suite, _) = quick("control", &[]);
    assert_eq!(cases(&suite, "many at once")[0]["name"], "1,000 redirects");
    for case in cases(&suite, "one more") {
        let (_, milliseconds) = &figures(case)[0];
        assert_eq!(milliseconds.len(), 20);
        assert!(milliseconds.iter().all(|ms| *ms > 0.0), "{case}");
    }
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
fn an_unknown_contestant_is_an_error_that_names_it() {
    let output = bench().args(["pps", "--only", "ipvs"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("ipvs"));
}
