//! Packets and the programs they go through.

use serde_json::Value;

use crate::{bench, cases, figures, quick};

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
        let mut expected = vec![
            "drop",
            "bounce-xdp",
            "touch-xdp",
            "bounce-tc",
            "redirectd-xdp",
            "redirectd-tc",
            "nftables",
        ];
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
        "parked, UDP over IPv4",
    ];
    assert_eq!(names, expected);
    for case in times {
        let at_tc_only = ["new flow, TCP over IPv4", "ICMP error, IPv4", "parked, UDP over IPv4"];
        let is_at_tc_only = at_tc_only.contains(&case["name"].as_str().unwrap());
        let figures = figures(case);
        let entries: Vec<_> = figures.iter().map(|figure| figure.0).collect();
        assert_eq!(entries, if is_at_tc_only { vec!["tc"] } else { vec!["XDP", "tc"] });
        assert!(figures.iter().all(|(_, rounds)| rounds.len() == 1), "{case}");
    }
    assert_eq!(suite["absent"], Value::Array(Vec::new()));
    let memory = cases(&suite, "memory of the maps");
    assert!(memory.iter().any(|case| case["name"] == "FLOWS4" && figures(case)[0].1[0] > 0.0));
    let sizes = cases(&suite, "size of the programs");
    for program in ["redirectd_xdp", "redirectd_tc"] {
        assert!(sizes.iter().any(|case| case["name"] == program), "{program}");
    }
    // Names that the kernel cuts off are told apart.
    assert!(sizes.iter().all(|case| figures(case)[0].1.len() == 1), "{sizes:?}");
}

/// A contestant whose tools are not there is absent with that reason; the others
/// are measured.
#[test]
fn what_is_not_installed_is_absent_and_keeps_nobody_else_from_being_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for tool in ["ip", "nsenter", "sysctl", "ethtool", "taskset"] {
        let found = std::env::split_paths(&path).map(|folder| folder.join(tool));
        let found = found.into_iter().find(|file| file.is_file());
        let found = found.unwrap_or_else(|| panic!("{tool} is not installed"));
        std::os::unix::fs::symlink(found, folder.path().join(tool)).unwrap();
    }
    let json = folder.path().join("results.json");
    let mut command = bench();
    command.env("PATH", folder.path()).args(["pps", "--quick", "--only", "drop,nftables,iptables"]);
    let output = command.arg("--json").arg(&json).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let suite = &run["suites"][0];
    for case in cases(suite, "lost") {
        assert_eq!(figures(case).len(), 1, "{case}");
    }
    for (name, tool) in [("nftables", "nft"), ("iptables", "iptables")] {
        let mut absent = suite["absent"].as_array().unwrap().iter();
        let reason = format!("{tool} is not installed");
        let is_told = |absent: &Value| {
            absent["contestant"] == name && absent["reason"].as_str().unwrap().contains(&reason)
        };
        assert!(absent.any(is_told), "{name}: {}", suite["absent"]);
    }
}
